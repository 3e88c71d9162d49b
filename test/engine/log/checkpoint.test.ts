/**
 * Risks of a checkpoint: it writes more than changed, folds a page wrongly, loses what changes while it is under way,
 * or gives a segment back that somebody still needs.
 */
import t from 'tap'
import { parsePageKey } from '../../../engine/log/index-keys.ts'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import type { IndexOperation } from '../../../engine/ports.ts'
import { MapStage, shown } from './map-stage.ts'

const KEY = { segment: 0x73, generation: 0x67, page: 0x70, history: 0x68, tombstone: 0x74 }

const ofKind = (operations: readonly IndexOperation[], kind: keyof typeof KEY, type: 'put' | 'del' = 'put') =>
  operations.filter((one) => one.key[0] === KEY[kind] && one.type === type)
const bytesOf = (operations: readonly IndexOperation[]): number =>
  operations.reduce((sum, one) => sum + (one.type === 'put' ? one.value.length : 0), 0)

t.test('its bytes are in proportion to what changed, in memory or not', (t) => {
  const stage = new MapStage()
  for (let lba = 0; lba < 256; lba++) stage.write(lba)
  stage.load()
  stage.checkpoint()
  stage.write(7)
  stage.write(300)
  const pages = ofKind(stage.checkpoint(), 'page')
  t.same(
    pages.map(({ key }) => parsePageKey(key).page),
    [0, 1],
  )
  t.equal(bytesOf(pages), 2 * (8 + 24), 'one entry each')
  t.equal(ofKind(stage.checkpoint(), 'page').length, 0, 'and nothing when nothing changed')
  t.end()
})

t.test('many small changes of a page are folded, and it reads the same before and after', (t) => {
  const stage = new MapStage({ pagesMax: 1 })
  const expected = new Map<number, string>()
  let keys = 0
  let keysMost = 0
  let folds = 0
  for (let i = 0; i < 100; i++) {
    const lba = (i * 37) % 256
    // In memory or not when it is written; other pages push it out.
    if (i % 3 === 0) stage.load(0)
    expected.set(lba, `data ${stage.write(lba).seq} in 0`)
    const operations = stage.checkpoint()
    const gone = ofKind(operations, 'page', 'del').length
    if (gone > 0) folds++
    keys += ofKind(operations, 'page').filter(({ key }) => parsePageKey(key).page === 0).length - gone
    keysMost = Math.max(keysMost, keys)
    for (let page = 1; page < 5; page++) stage.load(page)
    if (i % 10 === 9) {
      const page = stage.load(0)
      for (const [lba, text] of expected) t.equal(shown(page, lba), text)
    }
  }
  t.ok(folds > 1, `${folds} folds`)
  t.ok(keysMost <= 40, `at most ${keysMost} keys a page`)
  t.equal(stage.segments.liveUnits(), expected.size * 64)
  t.end()
})

t.test('a hole is written as a hole: what a delta cannot say makes a base', (t) => {
  const stage = new MapStage({ pagesMax: 1 })
  stage.write(0)
  const to = stage.snapshot()
  stage.write(1)
  stage.load()
  stage.checkpoint()
  stage.change({ rollbacks: [[to, ++stage.seq]] })
  t.equal(shown(stage.load(), 1), '-')
  stage.checkpoint()
  for (let page = 1; page < 5; page++) stage.load(page)
  const again = stage.load()
  t.equal(shown(again, 0), 'data 1 in 0')
  t.equal(shown(again, 1), '-', 'not what an older key says')
  t.end()
})

t.test('what changes while it is under way belongs to the next one', (t) => {
  const stage = new MapStage()
  const page = stage.load()
  stage.write(1)
  stage.write(600)
  const first = stage.begin()
  const [seen, unseen] = [stage.write(1), stage.write(600)]
  t.equal(shown(page, 1), `data ${seen.seq} in 0`)
  first.end()
  t.same(
    ofKind(stage.checkpoint(), 'page').map(({ key }) => parsePageKey(key).page),
    [0, 2],
  )
  t.equal(shown(stage.load(2), 600 - 512), `data ${unseen.seq} in 0`)
  t.equal(stage.segments.liveUnits(), 2 * 64)
  t.end()
})

t.test('history that comes or goes while it is under way is read right at every moment', (t) => {
  const stage = new MapStage()
  const first = stage.write(0)
  stage.snapshot()
  stage.load()
  stage.write(0)
  t.same(stage.history(0), [first.seq], 'in memory')
  const taken = stage.begin()
  t.same(stage.history(0), [first.seq], 'being written')
  stage.snapshot()
  const third = stage.write(0)
  t.same(stage.history(0), [first.seq, third.seq - 2], 'being written and in memory')
  taken.end()
  t.same(stage.history(0), [first.seq, third.seq - 2], 'in the index and in memory')
  t.equal(ofKind(stage.checkpoint(), 'history').length, 1)
  t.same(stage.history(0), [first.seq, third.seq - 2])
  t.end()
})

t.test('a segment is given back when it is empty, older than the position, and nobody reads it', (t) => {
  const stage = new MapStage()
  const { segments } = stage
  const states = (): number[] => [...segments.state.subarray(0, 4)]
  for (const segment of [0, 1, 2]) {
    segments.seal(segment, segment * 100 + 50)
    segments.setState(segment, SEGMENT_STATE.cleaned)
  }
  segments.readers[1] = 1
  segments.lastBatch[2] = 1000
  const { operations, freed, end } = stage.begin()
  t.same(freed, [0], 'one is read, one holds the batch at which a recovery would begin')
  t.same(ofKind(operations, 'segment', 'del').length, 1)
  t.same(ofKind(operations, 'generation').length, 1, 'its generation is remembered')
  const { givenBack, cleaned, open } = SEGMENT_STATE
  t.same(states(), [givenBack, cleaned, cleaned, open])
  end()
  segments.readers[1] = 0
  segments.lastBatch[2] = 999
  t.same(stage.begin().freed, [1, 2], 'the others the next time')
  t.end()
})

t.test('a page in which nothing changed, and that left memory, is not written as what took its memory', (t) => {
  const stage = new MapStage({ pagesMax: 1 })
  const seqs = [stage.write(256).seq, stage.write(512).seq]
  stage.load(0)
  const written = Array.from({ length: 32 }, (_, i) => {
    const { seq } = stage.write(i)
    stage.checkpoint()
    return seq
  })
  // A hole stays one. The page has so many keys that whoever writes it writes all of it.
  stage.zero(200, 4)
  for (let page = 1; page < 4; page++) stage.load(page)
  t.equal(stage.volume.pages.get(0), undefined)
  t.equal(ofKind(stage.checkpoint(), 'page').filter(({ key }) => parsePageKey(key).page === 0).length, 0)
  for (const [i, seq] of written.entries()) t.equal(shown(stage.load(0), i), `data ${seq} in 0`)
  t.equal(shown(stage.load(0), 200), '-')
  for (const [i, seq] of seqs.entries()) t.equal(shown(stage.load(i + 1), 0), `data ${seq} in 0`)
  t.end()
})

t.test('a zero of whole pages that waits is written once, and again when its record moved', (t) => {
  const stage = new MapStage()
  stage.change({ origin: ['2'.padStart(32, '0'), 1] })
  stage.zero(0, 512)
  const puts = (): number => ofKind(stage.checkpoint(), 'tombstone').length
  t.equal(puts(), 1)
  t.equal(puts(), 0, 'those of a clone stay for ever')
  stage.zero(1024, 512)
  t.equal(puts(), 1, 'a new one')
  stage.volume.tombstones[0]!.segment = 2
  t.equal(puts(), 1, 'the cleaner copied its record')
  t.equal(puts(), 0)
  t.end()
})
