/**
 * Unsynced writes land in any order, so the batches behind the watermark may be whole while one before them is gone
 * with the whole segment it lay in: header, batches and seal. Without the index nothing tells of that segment but the
 * number of the batch that is missing, and what lies behind it was never acknowledged: it is cut (FORMAT.md 3.3).
 */
import t from 'tap'
import { segmentOffsetBytes } from '../../engine/log/geometry.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import { StoreWorld } from '../sim/store-world.ts'
import { hasRefused, openStore, ScriptedWork, thaw, workVolume, type Frozen } from './scripted-work.ts'

const SEGMENT_BYTES = 64 * 1024

interface Cut {
  frozen: Frozen
  /** The segments behind the lost one, and their generations. */
  behind: Array<[segment: number, generation: number]>
}

/** As a power cut leaves it now, when whole segments are not synced: the first of them lost, all else written. */
function cutNow(world: StoreWorld): Cut | undefined {
  const { segments, log } = world.store!.streams()[0]!
  const unsynced = [...segments.state.keys()]
    .filter((one) => segments.state[one] !== SEGMENT_STATE.none && segments.firstBatch[one]! > log.durableBatch)
    .filter((one) => segments.lastBatch[one]! >= segments.firstBatch[one]!)
    .sort((a, b) => segments.firstBatch[a]! - segments.firstBatch[b]!)
  const [lost, ...behind] = unsynced
  if (lost === undefined || behind.length === 0 || log.writtenBatch < log.nextBatch - 1) return undefined
  const disks = world.disks.map((disk) => disk.image({ kind: 'all' }))
  const former = new Uint8Array(BLOCK_BYTES)
  const synced = world.disks[0]!.image({ kind: 'synced' })
  const start = segmentOffsetBytes(SEGMENT_BYTES, lost)
  // A sync that has ended is not heard of yet.
  for (const at of [start, start + BLOCK_BYTES]) {
    synced.read(at, former)
    if (Buffer.compare(former, world.disks[0]!.peek(at, BLOCK_BYTES)) === 0) return undefined
  }
  for (let at = start; at < start + SEGMENT_BYTES; at += BLOCK_BYTES) {
    synced.read(at, former)
    disks[0]!.apply(at, [former.slice()])
  }
  const indexes = world.indexes.map((index) => index.image({ kind: 'synced' }))
  return {
    frozen: { options: world.options, disks, indexes },
    behind: behind.map((one) => [one, segments.generation[one]!]),
  }
}

t.test('what lies behind a lost segment does not count', (t) => {
  const world = new StoreWorld({ seed: 1, segments: 60, segmentBytes: SEGMENT_BYTES, checkpointBytes: 128 * 1024 })
  openStore(world)
  const work = new ScriptedWork(1, [workVolume('a', 1, [[0, 200]])])
  const cuts: Cut[] = []
  const before: Array<Map<number, number[]>> = []
  world.disks[0]!.onOperation = (what) => {
    const cut = what === 'write-end' && cuts.length < 40 && world.store !== undefined ? cutNow(world) : undefined
    if (cut === undefined) return
    cuts.push(cut)
    before.push(...work.volumes.map(({ possible }) => new Map(possible)))
  }
  // In a pause the watermark is written: then the gap is the first thing behind it.
  work.run(world, { rounds: 20, eachRound: () => world.clock.advance(2000) })
  t.ok(cuts.length > 0, `${cuts.length} power cuts`)
  for (const [i, { frozen, behind }] of cuts.entries()) {
    const after = thaw(frozen, { seed: i, lost: true })
    openStore(after)
    t.notOk(hasRefused(after), after.store!.disks()[0]!.reason || 'it is served')
    const { segments } = after.store!.streams()[0]!
    for (const [segment, generation] of behind) {
      const isInUse = segments.state[segment] !== SEGMENT_STATE.none && segments.generation[segment] === generation
      const isEmpty = segments.lastBatch[segment]! < segments.firstBatch[segment]!
      t.ok(!isInUse || isEmpty, `nothing of segment ${segment} is kept`)
    }
    work.volumes.forEach((volume, v) => (volume.possible = before[i * work.volumes.length + v]!))
    t.same(work.readBack(after).wrong, [], 'and all that was answered is there')
  }
  t.end()
})
