/** Risk: a volume ends before data that were not counted, its own or what a clone shares (SPEC W9, I26). */
import t from 'tap'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { GIB, MIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'

const trim = (seq: number, lba: number, blockCount: number, kind: 'trim' | 'zero' = 'trim'): ReplicatedRecord =>
  ({ epoch: 1, seq, request: undefined, kind, lba, blockCount })

/** Blocks of the head from that one on. */
function beyond(world: CopyWorld, lba: number): { blocks: number; unsized: string | undefined } {
  const { bytes, unsized } = world.countBeyond(lba)
  return { blocks: bytes / 4096, unsized }
}

const blocksBeyond = (world: CopyWorld, lba: number): number => beyond(world, lba).blocks

t.test('data of the head count, in all slices; zeroes, trims and what only a snapshot shows do not', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let world = new CopyWorld({ seed: 5, segments: 40 }, { sizeBytes: 2 * GIB + 4 * MIB })
    world.open()
    world.epoch(1, 1)
    for (let seq = 2; seq <= 11; seq++) world.append(write(1, seq, seq, [100 + seq]))
    world.append(write(1, 12, SLICE_BLOCKS + 300, [7, 8]))
    world.append(write(1, 13, 2 * SLICE_BLOCKS + 1023, [9]))
    world.control(1, 14, { operation: 'snapshot', id: 's' })
    world.settle()
    world.copy.apply(14, {})
    world = world.crash('kill', index)
    world.open()
    world.copy.apply(14, {})
    t.same([0, 2, 5, 12].map((lba) => blocksBeyond(world, lba)), [13, 13, 10, 3])
    t.same([SLICE_BLOCKS + 301, 2 * SLICE_BLOCKS, 2 * SLICE_BLOCKS + 1024].map((lba) => blocksBeyond(world, lba)),
      [2, 1, 0])
    world.append(trim(15, 10, 100))
    world.append(trim(16, SLICE_BLOCKS, SLICE_BLOCKS, 'zero'))
    world.append(trim(17, 2 * SLICE_BLOCKS, 1024))
    world.settle()
    world.copy.apply(17, {})
    t.same([0, 9, 10, SLICE_BLOCKS].map((lba) => blocksBeyond(world, lba)), [8, 1, 0, 0])
    world.control(1, 18, { operation: 'shrink', sizeBytes: MIB })
    world.settle()
    world.copy.apply(18, {})
    t.equal(world.copy.descriptor().spec.sizeBytes, MIB)
    t.equal(world.copy.slicesShown(), 3, 'the snapshot has them')
    world = world.crash('kill', index)
    const stored = world.open()
    world.copy.apply(18, {})
    t.same([stored.sliceCount, stored.lostSlices], [3, []])
    t.equal(world.copy.descriptor().spec.sizeBytes, MIB)
    t.equal(world.copy.slicesShown(), 3)
    world.control(1, 19, { operation: 'snapshot-delete', id: 's' })
    world.settle()
    world.copy.apply(19, {})
    t.equal(world.copy.slicesShown(), 1)
  }
  t.end()
})

t.test('what a rollback shows again counts, though nobody has looked at it since', (t) => {
  let world = new CopyWorld({ seed: 5 }, { sizeBytes: 4 * MIB })
  world.open()
  world.epoch(1, 1)
  world.control(1, 2, { operation: 'snapshot', id: 'empty' })
  world.append(write(1, 3, 5, [7]))
  world.control(1, 4, { operation: 'snapshot', id: 'one' })
  world.control(1, 5, { operation: 'rollback', to: 'empty' })
  world.settle()
  world.copy.apply(5, {})
  t.same(world.readStamps(5, 1), [0])
  world.world.await<boolean>((done) => world.world.store!.streams()[0]!.makeCheckpoint(done))
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  world.open()
  world.control(1, 6, { operation: 'rollback', to: 'one' })
  world.settle()
  world.copy.apply(6, {})
  t.equal(blocksBeyond(world, 0), 1)
  t.same(world.readStamps(5, 1), [7])
  t.end()
})

t.test('a snapshot of which no size is known is named', (t) => {
  const world = new CopyWorld({ seed: 5 })
  world.open()
  world.epoch(1, 1)
  world.control(1, 2, { operation: 'snapshot', id: 's', title: { name: 'old', createdAtMs: 1, labels: {} } })
  world.settle()
  world.copy.apply(2, {})
  t.same(beyond(world, 0), { blocks: 0, unsized: undefined })
  const { now } = world.copy.bodies
  world.copy.bodies.install({ ...now, snapshots: now.snapshots.map(({ sizeBytes: _, ...one }) => one) })
  t.same(beyond(world, 0), { blocks: 0, unsized: 'old' })
  t.end()
})

t.test('of a clone what it shows counts, shared or its own', (t) => {
  const world = new CopyWorld({ seed: 6, segments: 40 }, { sizeBytes: 4 * MIB })
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq <= 11; seq++) world.append(write(1, seq, seq, [100 + seq]))
  world.append(trim(12, 11, 1))
  world.control(1, 13, { operation: 'snapshot', id: 's' })
  world.append(write(1, 14, 600, [5]))
  world.settle()
  world.copy.apply(14, {})
  const source = { volumeId: world.copy.volumeId, snapshotId: 's', seq: 13 }
  const spec = world.world.spec('clone', 4 * MIB)
  const made = world.world.await<Result<OpenCopy>>((done) =>
    world.world.store!.cloneCopy(spec, 'clone-copy', source, done))
  if (!made.ok) throw made.error
  const clone = new CopyWorld(world.world.options, {}, world.world)
  clone.use(made.value.copy)
  t.same([0, 5, 11, 600].map((lba) => blocksBeyond(clone, lba)), [9, 6, 0, 0])
  clone.epoch(2, 14)
  clone.append({ ...trim(15, 5, 3), epoch: 2 })
  clone.append(write(2, 16, 700, [6]))
  clone.settle()
  clone.copy.apply(16, {})
  t.same([0, 5, 11, 700, 701].map((lba) => blocksBeyond(clone, lba)), [7, 4, 1, 1, 0])
  clone.copy.hydrate()
  clone.world.clock.runUntil(() => clone.copy.bodies.now.origin === null)
  t.same([0, 5, 11, 700, 701].map((lba) => blocksBeyond(clone, lba)), [7, 4, 1, 1, 0], 'of its own')
  t.end()
})
