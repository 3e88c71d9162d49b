/**
 * Risk: a disk missed a change of a volume's descriptor, learns of it from the volume's other disk, and then loses the
 * only record of the volume that its own log has: with its index lost, what it holds would be nobody's.
 */
import { crc32c } from '@node-rs/crc32'
import t, { type Test } from 'tap'
import { GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { Store } from '../../../engine/volume/store.ts'
import { cleanAll } from '../../sim/cleaned-stream.ts'
import { fsck } from '../../sim/fsck.ts'
import { SimIndex } from '../../sim/index.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

const BLOCK_BYTES = 4096
const QOS = { iops: 100, bandwidthBytes: 0, burstMs: 0 }

/** A volume of one slice a disk, of which disk 1 was away while its limits changed; everything stopped. */
function missed(t: Test, disks = 2): StoreWorld {
  let world = new StoreWorld({ seed: 3, disks, segments: 24, segmentBytes: 64 * 1024 })
  world.open()
  const spec = world.spec('v', disks * GIB)
  const made = world.await<Result<unknown>>((done) => world.store!.createVolume(spec, done))
  t.ok(made.ok)
  for (const slice of [0, 1]) write(t, world, slice * SLICE_BLOCKS, 5 + slice)
  // Its control record lies in a sealed segment.
  for (let i = 1; i < 40; i++) for (const slice of [0, 1]) write(t, world, slice * SLICE_BLOCKS + i, i)
  world = stopped(world)
  world.disks[1]!.readErrorChance = 1
  world.open()
  t.equal(world.store!.streams().length, disks - 1)
  const answer = world.await<Result<unknown>>((done) => world.store!.setQos('v', QOS, done))
  t.match(answer, { ok: false, error: { code: 'disk-failed' } }, 'it is not on every disk')
  return stopped(world)
}

function stopped(world: StoreWorld): StoreWorld {
  world.await((done) => world.store!.stop(done))
  return world.crash({ kind: 'synced' }, { kind: 'synced' })
}

function write(t: Test, world: StoreWorld, lba: number, stamp: number): void {
  const device = world.store!.device('v')!
  t.equal(world.await<number>((done) => device.write(lba * BLOCK_BYTES, stamped(stamp), false, done)), 0)
}

function read(world: StoreWorld, lba: number): number {
  const into = new Uint8Array(BLOCK_BYTES)
  const errno = world.await<number>((done) => world.store!.device('v')!.read(lba * BLOCK_BYTES, into, done))
  return errno === 0 ? stampOf(into) : -errno
}

function withoutIndex(world: StoreWorld): StoreWorld {
  const next = world.crash({ kind: 'synced' }, { kind: 'synced' })
  next.indexes[1] = new SimIndex({ clock: next.clock, random: next.random.fork('lost') })
  return next
}

t.test('what a disk learned from another one, while a third was away, is carried on by the cleaner', (t) => {
  let world = missed(t, 3)
  world.disks[2]!.readErrorChance = 1
  world.open()
  const stream = world.store!.streams()[1]!
  for (let round = 0; round < 3; round++) {
    stream.log.sealOpen()
    cleanAll(world, stream)
  }
  t.strictSame(fsck(world), [])
  world = withoutIndex(world)
  world.open()
  t.equal(world.store!.streams().length, 3)
  t.same([read(world, 0), read(world, SLICE_BLOCKS)], [5, 6])
  t.match(world.store!.volume('v')!.spec, { qos: QOS })
  t.strictSame(fsck(world), [])
  t.end()
})

/** Its second disk has it without its index, while the one that had it first is away. */
function isRecorded(t: Test, world: StoreWorld): void {
  const next = withoutIndex(world)
  next.disks[0]!.readErrorChance = 1
  next.open()
  t.match(next.store!.volume('v')?.spec, { qos: QOS })
  t.equal(read(next, SLICE_BLOCKS), 6)
}

t.test('it is recorded there when the store opens', (t) => {
  const world = missed(t)
  world.open()
  world.clock.runUntilIdle()
  isRecorded(t, world)
  t.end()
})

t.test('it is recorded there when the disk is added while the store runs', (t) => {
  const world = missed(t)
  const [first, added] = world.contexts()
  const options = { clock: world.clock, crc32c, log: first!.context.log, newVolumeStream: 0 }
  const store = world.await<Store>((done) => Store.open({ ...options, recovered: (go) => go() }, [first!], done))
  t.match(world.await<Result<void>>((done) => store.addDisk([added!], [], (go) => go(), done)), { ok: true })
  world.clock.runUntilIdle()
  isRecorded(t, world)
  t.end()
})

t.test('the end of a volume is recorded on a disk that missed it', (t) => {
  let world = missed(t)
  world.disks[1]!.readErrorChance = 1
  world.open()
  t.match(world.await<Result<unknown>>((done) => world.store!.deleteVolume('v', done)), { ok: false })
  world = stopped(world)
  world.open()
  world.clock.runUntilIdle()
  t.equal(world.store!.streams().length, 2)
  t.equal(world.store!.volume('v'), undefined)
  world = withoutIndex(world)
  world.disks[0]!.readErrorChance = 1
  world.open()
  t.equal(world.store!.streams().length, 1)
  t.equal(world.store!.volume('v'), undefined, 'it does not come back from there')
  t.end()
})
