/** Risk: what the cleaner looked up ahead is believed although it is not so any more. */
import t from 'tap'
import { knownOlder, type CleanerWindow } from '../../../engine/log/cleaner-window.ts'
import { ENTRY_WORDS, hasEntry, segmentOf, seqOf } from '../../../engine/log/entry.ts'
import { blankRecord, RECORD_KIND } from '../../../engine/log/record.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import { dropHistory, findVersions, putHistory } from '../../../engine/log/version-history.ts'
import { MapStage } from './map-stage.ts'

/** An older version of block 0, in the index, as a window knows it that was looked up now. */
function scene({ isBegun = false } = {}) {
  const stage = new MapStage()
  const { seq } = stage.write(0)
  stage.snapshot()
  stage.write(0)
  stage.load()
  stage.checkpoint()
  const endBegun = isBegun ? stage.begin().end : () => {}
  let older: Uint32Array = new Uint32Array(0)
  findVersions(stage.map, stage.volume, [{ lba: 0, epoch: 1, seq }], (found) => (older = found!))
  stage.clock.runUntilIdle()
  const foundAtBegun = stage.map.loads.begun
  const window = { older, olderAt: Int32Array.of(0, -1), foundAtBegun } as unknown as CleanerWindow
  const volumeId = new Uint8Array(16)
  const record = blankRecord({ kind: RECORD_KIND.write, volumeId, lba: 0, blockCount: 2, epoch: 1, seq })
  const into = new Uint32Array(ENTRY_WORDS)
  const isKnown = (i = 0): boolean =>
    knownOlder({ map: stage.map } as StoreStream, window, { volume: stage.volume, record, i, block: i }, into)
  return { stage, seq, older, into, isKnown, endBegun }
}

t.test('as long as nothing came between it is what was found', (t) => {
  const { seq, into, isKnown } = scene()
  t.equal(isKnown(), true)
  t.equal(seqOf(into, 0), seq)
  t.equal(isKnown(1), false, 'what nobody looked for is not known')
  t.end()
})

t.test('one that moved is where it is now, and one that went is none', (t) => {
  const { stage, older, into, isKnown } = scene()
  const place = putHistory(stage.volume, 0, older)
  stage.volume.history.words[place] = 3
  t.equal(isKnown(), true)
  t.equal(segmentOf(into, 0), 2)
  dropHistory(stage.volume, 0, older)
  t.equal(isKnown(), true)
  t.notOk(hasEntry(into, 0))
  t.end()
})

t.test('once a checkpoint ended it is looked for anew, and before that it is known', (t) => {
  const { stage, older, into, isKnown } = scene()
  dropHistory(stage.volume, 0, older)
  const { end } = stage.begin()
  t.equal(isKnown(), true)
  t.notOk(hasEntry(into, 0), 'on its way to the index')
  end()
  t.equal(isKnown(), false)
  t.end()
})

t.test('a checkpoint that had begun takes nothing out of memory that was not seen', (t) => {
  const { stage, older, seq, into, isKnown, endBegun } = scene({ isBegun: true })
  endBegun()
  t.equal(isKnown(), true)
  t.equal(seqOf(into, 0), seq)
  dropHistory(stage.volume, 0, older)
  t.equal(isKnown(), true)
  t.notOk(hasEntry(into, 0), 'it waits for the next one')
  stage.checkpoint()
  t.equal(isKnown(), false, 'which has taken it')
  t.end()
})
