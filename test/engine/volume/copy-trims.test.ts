/**
 * When a copy forgets a trim: one risk a test that older data, which the trim covers and a snapshot keeps, shows again
 * because the record of the trim went before the data's.
 */
import t from 'tap'
import type { BlockVersion, ReplicatedRecord } from '../../../engine/replication/record.ts'
import { cleanCopy } from '../../sim/cleaned-stream.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const trim = (seq: number, lba: number, blockCount: number): ReplicatedRecord => ({
  kind: 'trim',
  epoch: 1,
  seq,
  request: undefined,
  lba,
  blockCount,
})

const snapshot = (seq: number): ReplicatedRecord => ({
  kind: 'control',
  epoch: 1,
  seq,
  request: undefined,
  change: { operation: 'snapshot', id: `s${seq}` },
})

/** A copy in small segments, nothing of which is cleaned by itself, with an epoch record at seq 1. */
function opened(seed: number, segmentBytes = 64 * 1024): CopyWorld {
  const world = new CopyWorld({ seed, segments: 200, segmentBytes }, { sizeBytes: 4 << 20 })
  world.open()
  world.epoch(1, 1)
  return world
}

/** Appended, stored and applied. */
function take(world: CopyWorld, records: ReplicatedRecord[]): void {
  for (const record of records) world.append(record)
  world.settle()
  world.copy.apply(world.copy.tail, {})
}

/** Writes of other blocks, so that what was before them lies in sealed segments. */
const others = (firstSeq: number, count: number): ReplicatedRecord[] =>
  Array.from({ length: count }, (_, i) => write(1, firstSeq + i, 500 + firstSeq + i, [firstSeq + i]))

/** What a copy has of a block, oldest first. */
const versionsOf = (world: CopyWorld, lba: number): string[] =>
  world
    .scan({ above: 0, upTo: 1000 })
    .filter((version) => version.lba === lba)
    .map(({ seq, kind }) => `${kind} ${seq}`)

const consistent = { consistency: { state: 'consistent' as const } }

t.test('a trim of a history that was wiped does not stand for the same one that is filled', (t) => {
  const records = [write(1, 2, 10, [2, 2]), snapshot(3), trim(4, 10, 2), snapshot(5), write(1, 6, 11, [6])]
  const source = opened(1)
  take(source, [...records, ...others(7, 60)])
  for (const isNear of [true, false]) {
    const world = opened(2, isNear ? 256 * 1024 : 64 * 1024)
    take(world, [...records, ...others(7, 60)])
    // Near, its copy lies in the segment into which the other one is filled.
    if (isNear) cleanCopy(world)
    world.startFill({ fork: 0, target: 66, wipe: [0], descriptor: source.copy.descriptor() })
    world.fill(source.scan({ above: 0, upTo: 66 }))
    take(world, others(67, 60))
    for (let round = 0; round < 3; round++) cleanCopy(world)
    t.ok(world.keep(consistent))
    world.copy.keepTrimsAbove(1000)
    for (let round = 0; round < 4; round++) cleanCopy(world)
    t.same(versionsOf(world, 10), ['write 2', 'trim 4'], `near ${isNear}`)
    t.same(versionsOf(world, 11), ['write 2', 'trim 4', 'write 6'])
  }
  t.end()
})

t.test('a trim that is filled outlives data that was filled and moved before it came', (t) => {
  const source = opened(3)
  take(source, [write(1, 2, 10, [2]), snapshot(3), trim(4, 10, 1), ...others(5, 20)])
  const versions = source.scan({ above: 0, upTo: 24 })
  // What is filled waits while the pool is full, and the cleaner works.
  const isTrim = ({ kind }: BlockVersion): boolean => kind === 'trim'
  const world = opened(4)
  world.settle()
  world.startFill({ fork: 0, target: 24, wipe: [0], descriptor: source.copy.descriptor() })
  world.fill(versions.filter((version) => !isTrim(version)))
  take(world, others(25, 30))
  for (let round = 0; round < 2; round++) cleanCopy(world)
  world.fill(versions.filter(isTrim))
  take(world, others(55, 30))
  t.ok(world.keep(consistent))
  world.copy.keepTrimsAbove(1000)
  for (let round = 0; round < 4; round++) cleanCopy(world)
  t.same(versionsOf(world, 10), ['write 2', 'trim 4'])
  t.end()
})

t.test('a trim outlives older data that a later filling of the same slice brings', (t) => {
  const source = opened(5)
  take(source, [write(1, 2, 10, [2]), snapshot(3), ...others(4, 20)])
  const world = opened(6)
  take(world, [])
  // The filling is begun again before it brought anything; what came behind its target is there, and committed.
  world.startFill({ fork: 1, target: 23, wipe: [], descriptor: source.copy.descriptor() })
  take(world, [trim(24, 10, 1), ...others(25, 30)])
  take(source, [trim(24, 10, 1), ...others(25, 30)])
  world.startFill({ fork: 54, target: 54, wipe: [], descriptor: source.copy.descriptor() })
  world.fill(source.scan({ above: 0, upTo: 54 }))
  take(world, others(55, 30))
  t.ok(world.keep(consistent))
  world.copy.keepTrimsAbove(1000)
  for (let round = 0; round < 4; round++) cleanCopy(world)
  t.same(versionsOf(world, 10), ['write 2', 'trim 24'])
  t.end()
})

t.test('a trim that came behind the target outlives older data that the same filling brings', (t) => {
  const source = opened(9)
  take(source, [write(1, 2, 10, [2]), snapshot(3), ...others(4, 20)])
  const world = opened(10)
  take(world, [])
  world.startFill({ fork: 1, target: 23, wipe: [], descriptor: source.copy.descriptor() })
  take(world, [trim(24, 10, 1), ...others(25, 30)])
  world.fill(source.scan({ above: 0, upTo: 23 }))
  take(world, others(55, 30))
  t.ok(world.keep(consistent))
  world.copy.keepTrimsAbove(1000)
  for (let round = 0; round < 4; round++) cleanCopy(world)
  t.same(versionsOf(world, 10), ['write 2', 'trim 24'])
  t.end()
})

t.test('a trim that was dropped does not stand for the same one that came again', (t) => {
  for (const isNear of [true, false])
    for (const isFilledLater of [false, true]) {
      const source = opened(7)
      take(source, [write(1, 2, 10, [2, 2])])
      // Near, both lie in one segment.
      const world = opened(8, isNear ? 256 * 1024 : 64 * 1024)
      take(world, [write(1, 2, 10, [2, 2])])
      const records = [write(1, 3, 10, [3, 3]), snapshot(4), trim(5, 10, 2), snapshot(6), write(1, 7, 11, [7])]
      // Accepted and stored; the primary does not know yet that it is committed, and sends it once more.
      for (const record of [...records, ...others(8, isNear ? 0 : 30)]) world.append(record)
      world.settle()
      world.startFill({ fork: 2, target: 2, wipe: [], descriptor: source.copy.descriptor() })
      t.ok(world.keep(consistent))
      take(world, [...records, ...others(8, 60)])
      if (isFilledLater) {
        world.startFill({ fork: 67, target: 67, wipe: [], descriptor: world.copy.descriptor() })
        t.ok(world.keep(consistent))
        take(world, others(68, 30))
      }
      world.copy.keepTrimsAbove(1000)
      for (let round = 0; round < 5; round++) cleanCopy(world)
      t.same(versionsOf(world, 10), ['write 3', 'trim 5'], `near ${isNear}, filled later ${isFilledLater}`)
    }
  t.end()
})
