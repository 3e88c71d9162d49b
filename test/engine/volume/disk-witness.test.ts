/**
 * A disk that lost the end of its log and does not know it, beside one that says what lay there was applied (FORMAT.md
 * section 3.3): it is not served, for the copy would have holes below what it counts as applied.
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES, GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { Store } from '../../../engine/volume/store.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import type { SimDisk } from '../../sim/disk.ts'

const DURABILITIES = ['durable', 'writeback'] as const
/** Of slice 0, whose disk will lie, and of slice 1, whose disk tells. */
const LBA = 3
const OTHER_LBA = SLICE_BLOCKS + 3

type Stream = StoreStream

function prepare(durability: (typeof DURABILITIES)[number]) {
  const world = new CopyWorld({ seed: 31, disks: 2 }, { sizeBytes: 2 * GIB, durability })
  world.open()
  world.epoch(1, 1)
  world.settle()
  world.append(write(1, 2, OTHER_LBA, [2]))
  world.settle()
  world.copy.apply(2, {})
  return { world, liar: world.copy.layout.target(LBA)!.stream, witness: world.copy.layout.target(OTHER_LBA)!.stream }
}

/** The stamps of both blocks; undefined: the slice is lost. */
function found(world: CopyWorld): Array<number | undefined> {
  const { lostSlices } = world.open()
  return [LBA, OTHER_LBA].map((lba, slice) => (lostSlices.includes(slice) ? undefined : world.readStamps(lba, 1)[0]))
}

const diskOf = ({ world }: CopyWorld, { context }: Stream): SimDisk =>
  world.disks[Number.parseInt(context.diskUuid, 16) - 1]!

/** Have a disk lose what is written to its log while this runs; it was durable. */
function losing(world: CopyWorld, stream: Stream, run: () => void): void {
  const { context, log } = stream
  const from = log.position()
  run()
  const to = log.position()
  t.equal(from.segment, to.segment)
  const segmentAt = segmentOffsetBytes(context.segmentBytes, from.segment)
  t.ok(to.block > from.block)
  for (let block = from.block; block < to.block; block++)
    diskOf(world, stream).damage(segmentAt + block * BLOCK_BYTES, 'zero')
}

function whyRefused(world: CopyWorld, { context }: Stream): string {
  return world.world.store!.disks().find(({ uuid }) => uuid === context.diskUuid)!.reason
}

t.test('an index that shows what another disk lost proves that it was durable there', (t) => {
  for (const durability of DURABILITIES)
    for (const isLost of [false, true]) {
      const { world, liar, witness } = prepare(durability)
      const run = (): void => {
        world.append(write(1, 3, LBA, [3]))
        world.settle()
        world.copy.apply(3, {})
        t.ok(world.world.await<boolean>((done) => witness.makeCheckpoint(done)))
      }
      if (isLost) losing(world, liar, run)
      else run()
      const after = world.crash('kill', { kind: 'all' })
      t.same(found(after), isLost ? [undefined, 2] : [3, 2], durability)
      if (!isLost) continue
      t.match(whyRefused(after, liar), /is damaged, though it was durable/)
      t.same(found(after.crash('kill', { kind: 'all' })), [undefined, 2], 'nothing was cut')
    }
  t.end()
})

t.test('a body proves it too, without any index', (t) => {
  for (const durability of DURABILITIES)
    for (const isLost of [false, true]) {
      const { world, liar } = prepare(durability)
      const run = (): void => {
        world.append(write(1, 3, LBA, [3]))
        world.settle()
        world.copy.apply(3, {})
        world.copy.sync()
        world.world.clock.runUntil(() => world.durableSeq === 3)
        t.ok(world.keep({ promise: { epoch: 1, primary: 'n1' } }))
      }
      if (isLost) losing(world, liar, run)
      else run()
      const after = world.crash('kill', 'lost')
      t.same(found(after), isLost ? [undefined, 2] : [3, 2], durability)
    }
  t.end()
})

t.test('a filling that ended proves what it brought', (t) => {
  for (const durability of DURABILITIES) {
    const { world, liar } = prepare(durability)
    const [version] = world.read(OTHER_LBA, 1)
    const { payload } = write(1, 3, LBA, [3]) as { payload: BlockVersion['payload'] }
    world.startFill({ fork: 2, target: 3, wipe: [0], descriptor: world.copy.descriptor() })
    losing(world, liar, () => {
      world.fill([{ ...version!, lba: LBA, seq: 3, payload }])
      t.ok(world.keep({ consistency: { state: 'consistent' } }))
    })
    t.same(found(world.crash('kill', { kind: 'all' })), [undefined, 2], durability)
  }
  t.end()
})

t.test('what was not synced may be gone, and proves nothing', (t) => {
  const { world } = prepare('writeback')
  world.copy.sync()
  world.world.clock.runUntil(() => world.durableSeq === 2)
  t.ok(world.keep({ promise: { epoch: 1, primary: 'n1' } }))
  world.append(write(1, 3, LBA, [3]))
  world.settle()
  world.copy.apply(3, {})
  t.same(found(world.crash({ kind: 'synced' }, { kind: 'synced' })), [0, 2])
  t.end()
})

t.test('a disk that is taken while the store runs is held against what the others say', (t) => {
  const { world, liar, witness } = prepare('durable')
  losing(world, liar, () => {
    world.append(write(1, 3, LBA, [3]))
    world.settle()
    world.copy.apply(3, {})
    t.ok(world.world.await<boolean>((done) => witness.makeCheckpoint(done)))
  })
  const after = world.crash('kill', { kind: 'all' })
  const disks = after.world.contexts()
  const taken = disks.find(({ context }) => context.diskUuid === liar.context.diskUuid)!
  const others = disks.filter((disk) => disk !== taken)
  const options = { clock: after.world.clock, crc32c, log: taken.context.log, newVolumeStream: 0 }
  const store = after.world.await<Store>((done) => Store.open({ ...options, recovered: (go) => go() }, others, done))
  const result = after.world.await<Result<void>>((done) => store.addDisk([taken], [], (go) => go(), done))
  t.match(result, { ok: false, error: { code: 'disk-failed', message: /though it was durable/ } })
  t.end()
})

t.test('a checkpoint waits for the other disks of a copy that is being removed, too', (t) => {
  const { world, liar, witness } = prepare('writeback')
  world.append(write(1, 3, LBA, [3]))
  world.settle()
  world.copy.apply(3, {})
  diskOf(world, liar).stall()
  let isEnded = false
  witness.makeCheckpoint(() => (isEnded = true))
  world.world.store!.removeCopy(world.copy.volumeId, () => {})
  world.world.clock.runUntilIdle()
  t.notOk(isEnded)
  const after = world.crash({ kind: 'synced' }, { kind: 'synced' })
  t.same(after.open().lostSlices, [])
  t.end()
})
