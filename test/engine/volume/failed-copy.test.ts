/**
 * A disk fails under a copy that lies on another one as well: what is left there is taken away while the store runs,
 * another copy takes its place, and the other disk goes on, for this copy and for all others. Whatever comes back with
 * the disk that failed is nothing to the new one.
 */
import t from 'tap'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import { GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import type { DiskStatus } from '../../../engine/volume/volume-spec.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const DURABILITIES = ['durable', 'writeback'] as const
const INDEXES = [{ kind: 'synced' }, 'lost'] as const
const LOST_LBA = 3
const KEPT_LBA = SLICE_BLOCKS + 3

interface Stage {
  world: CopyWorld
  /** The stream whose disk fails, and the one that goes on. */
  lost: StoreStream
  kept: StoreStream
}

const spec = (durability: (typeof DURABILITIES)[number], disks = 2) => ({ sizeBytes: disks * GIB, durability })

/** Both slices hold something durable, and more that is not: of the kept disk applied, and said to be. */
function stage(durability: (typeof DURABILITIES)[number], seed = 41, disks = 2): Stage {
  const world = new CopyWorld({ seed, disks }, spec(durability, disks))
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq <= 5; seq++) world.append(write(1, seq, seq % 2 === 0 ? LOST_LBA : KEPT_LBA, [seq]))
  world.settle()
  world.copy.apply(4, {})
  world.copy.sync()
  world.world.clock.runUntil(() => world.durableSeq === 5)
  const streamAt = (lba: number) => world.copy.layout.target(lba)!.stream
  return { world, lost: streamAt(LOST_LBA), kept: streamAt(KEPT_LBA) }
}

const diskOf = ({ world }: CopyWorld, { context }: StoreStream) =>
  world.disks[Number.parseInt(context.diskUuid, 16) - 1]!

/** Its next sync fails, while something of the copy is on its way to both disks. */
function fail({ world, lost }: Stage): void {
  for (let seq = 6; seq <= 9; seq++) world.append(write(1, seq, seq % 2 === 0 ? LOST_LBA : KEPT_LBA, [seq]))
  if (!world.copy.isDurable) {
    world.settle()
    world.copy.apply(9, {})
  }
  diskOf(world, lost).failAt('sync', 1)
  world.copy.keep(99, { promise: { epoch: 2, primary: 'n2' } })
  world.copy.sync()
  world.world.clock.runUntil(() => world.failedReason !== '')
  t.ok(lost.failed)
}

const remove = ({ world }: Stage): Result<void> =>
  world.world.await<Result<void>>((done) => world.world.store!.removeCopy(world.copy.volumeId, done))

const create = ({ world }: Stage, durability: (typeof DURABILITIES)[number]): Result<OpenCopy> =>
  world.world.await<Result<OpenCopy>>((done) =>
    world.world.store!.createCopy(world.world.spec('vol', 2 * GIB, spec(durability)), 'c2', done))

const statusOf = ({ world }: Stage, { context }: StoreStream): DiskStatus =>
  world.world.store!.disks().find(({ uuid }) => uuid === context.diskUuid)!

t.test('the rest of it goes, another takes its place on the disk that is left, and lives on', (t) => {
  for (const durability of DURABILITIES)
    for (const index of INDEXES) {
      const on = stage(durability)
      const { kept } = on
      fail(on)
      t.ok(remove(on).ok, durability)
      const map = kept.volumesById.get(on.world.copy.volumeId)!
      t.equal(map.usedUnits, 0, 'its space comes back')
      t.equal(map.copy!.waiting.all.length, 0, 'nothing of it waits any more')
      const made = create(on, durability)
      t.match(made, { ok: true, value: { stored: { copyId: 'c2', tail: 0, lostSlices: [], sliceCount: 2 } } })
      if (!made.ok) throw made.error
      const world = new CopyWorld(on.world.world.options, spec(durability), on.world.world)
      world.use(made.value.copy)
      t.same(world.copy.targets.map(({ stream }) => stream), [kept])
      t.same(world.readStamps(KEPT_LBA, 1), [0], 'nothing of the former one shows')
      world.epoch(5, 1)
      for (const [seq, lba] of [[2, LOST_LBA], [3, KEPT_LBA]] as const) world.append(write(5, seq, lba, [500 + seq]))
      world.settle()
      world.copy.apply(3, {})
      world.copy.sync()
      world.world.clock.runUntil(() => world.durableSeq === 3)
      t.ok(world.world.await<boolean>((done) => kept.makeCheckpoint(done)))
      t.match([statusOf(on, kept).state, statusOf(on, on.lost).state], ['online', 'failed'])
      t.equal(kept.log.position().batch, kept.log.nextBatch, 'nothing of the former one holds the log back')
      // Both disks are back.
      const after = world.crash({ kind: 'synced' }, index)
      t.match(after.open(), { copyId: 'c2', tail: 3, lostSlices: [] }, durability)
      after.copy.apply(3, {})
      t.same([LOST_LBA, KEPT_LBA].map((lba) => after.readStamps(lba, 1)[0]), [502, 503])
    }
  t.end()
})

t.test('a crash anywhere in it leaves what was durable, or nothing that is whole', (t) => {
  const outcomes = new Map<string, number>()
  for (const durability of DURABILITIES)
    for (let seed = 100; seed < 160; seed++) {
      const on = stage(durability, seed)
      const { world } = on
      fail(on)
      let isDone = false
      world.world.store!.removeCopy(world.copy.volumeId, () => (isDone = true))
      let steps = (seed - 100) % 12
      world.world.clock.runUntil(() => steps-- <= 0 || isDone)
      const after = world.crash(seed % 2 === 0 ? { kind: 'synced' } : 'kill', INDEXES[seed % 3 === 0 ? 1 : 0])
      let outcome: string
      try {
        const { tail, lostSlices } = after.open()
        t.notOk(isDone, 'what was answered stays')
        outcome = lostSlices.length > 0 ? 'short' : 'whole'
        t.ok(tail >= 5, `seed ${seed}: all that was durable is there`)
        after.copy.apply(tail, {})
        if (outcome === 'whole') {
          // Whatever it says it has it has: the newest of each block up to its tail.
          const newest = (odd: number) => tail - ((tail - odd) % 2)
          t.same(after.readStamps(LOST_LBA, 1), [newest(0)], `seed ${seed}`)
          t.same(after.readStamps(KEPT_LBA, 1), [newest(1)], `seed ${seed}`)
        }
      } catch (error) {
        t.match((error as Error).message, /that copy was removed|though it was durable/, `seed ${seed}`)
        outcome = 'gone'
      }
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
  t.ok((outcomes.get('whole') ?? 0) > 10 && (outcomes.get('gone') ?? 0) > 10, JSON.stringify([...outcomes]))
  t.end()
})

t.test('a checkpoint of the other disk waits until it is gone, and that disk does not fail', (t) => {
  const on = stage('writeback')
  const { world, kept } = on
  fail(on)
  let ended: boolean | undefined
  kept.makeCheckpoint((ok) => (ended = ok))
  const { clock } = world.world
  const untilMs = clock.nowMs() + 5_000
  clock.runUntil(() => clock.nowMs() >= untilMs)
  t.equal(ended, undefined, 'it would show what comes behind a gap')
  t.ok(remove(on).ok)
  clock.runUntil(() => ended !== undefined)
  t.equal(ended, true)
  t.equal(statusOf(on, kept).state, 'online')
  t.end()
})

t.test('nor does the third disk, when another one fails while the rest is taken away', (t) => {
  const on = stage('writeback', 41, 3)
  const { world } = on
  fail(on)
  const third = world.copy.targets.map(({ stream }) => stream).find((one) => one !== on.lost && one !== on.kept)!
  diskOf(world, on.kept).failAt('sync', 1)
  t.match(remove(on), { ok: false, error: { code: 'disk-failed' } })
  t.ok(on.kept.failed)
  t.ok(remove(on).ok, 'asked again, what is left on the third one goes')
  const { clock } = world.world
  const fromMs = clock.nowMs()
  t.ok(world.world.await<boolean>((done) => third.makeCheckpoint(done)))
  t.ok(clock.nowMs() < fromMs + 5_000, 'nothing is waited for')
  t.equal(statusOf(on, third).state, 'online')
  t.end()
})

t.test('nor is it shown while the word that it is gone is on its way', (t) => {
  const on = stage('writeback')
  const { world, kept } = on
  fail(on)
  let isGone = false
  let mayShow: boolean | undefined
  const { clock } = world.world
  const pass = (ms: number) => {
    const untilMs = clock.nowMs() + ms
    clock.runUntil(() => clock.nowMs() >= untilMs)
  }
  pass(100)
  diskOf(world, kept).stall()
  world.world.store!.removeCopy(world.copy.volumeId, () => (isGone = true))
  kept.syncPeers((ok) => (mayShow = ok))
  pass(5_000)
  t.same([isGone, mayShow], [false, undefined])
  diskOf(world, kept).resume()
  clock.runUntil(() => isGone && mayShow !== undefined)
  t.equal(mayShow, true)
  t.end()
})

t.test('what was said on one disk only holds the log there back no longer', (t) => {
  const on = stage('durable')
  const { world, lost, kept } = on
  const { clock } = world.world
  world.copy.apply(5, {})
  const body = kept.log.nextBatch
  diskOf(world, lost).stall()
  world.copy.keep(99, { promise: { epoch: 2, primary: 'n2' } })
  clock.runUntil(() => kept.log.durableBatch >= body)
  diskOf(world, lost).failAt('sync', 1)
  diskOf(world, lost).resume()
  world.copy.sync()
  clock.runUntil(() => world.failedReason !== '')
  t.ok(world.world.await<boolean>((done) => kept.makeCheckpoint(done)))
  t.equal(kept.log.position().batch, kept.log.nextBatch)
  t.match(world.crash({ kind: 'synced' }, { kind: 'synced' }).open(), { tail: 5, lostSlices: [] })
  t.end()
})

t.test('of one that stays for long the other disk fails too: nothing may be shown that is not whole', (t) => {
  const on = stage('writeback')
  const { world, kept } = on
  fail(on)
  t.equal(world.world.await<boolean>((done) => kept.makeCheckpoint(done)), false)
  t.match(statusOf(on, kept), { state: 'failed', reason: /another disk failed, which lost what comes before/ })
  const after = world.crash({ kind: 'synced' }, { kind: 'synced' })
  t.match(after.open(), { copyId: 'c1', lostSlices: [] })
  t.end()
})

t.test('a clone that was getting blocks of its own keeps no segment of the disk that goes on', (t) => {
  const world = new CopyWorld({ seed: 45, disks: 2 }, spec('durable'))
  world.open()
  world.epoch(1, 1)
  for (let i = 0; i < 8; i++) world.append(write(1, 2 + i, i % 2 === 0 ? LOST_LBA + i : KEPT_LBA + i, [200 + i]))
  world.control(1, 10, { operation: 'snapshot', id: 's' })
  world.settle()
  world.copy.apply(10, {})
  const { world: { clock, store } } = world
  const source = { volumeId: world.copy.volumeId, snapshotId: 's', seq: 10 }
  const made = world.world.await<Result<OpenCopy>>((done) =>
    store!.cloneCopy(world.world.spec('clone', 2 * GIB, spec('durable')), 'clone-copy', source, done))
  if (!made.ok) throw made.error
  const { copy } = made.value
  const [lost, kept] = [LOST_LBA, KEPT_LBA].map((lba) => copy.layout.target(lba)!.stream) as [StoreStream, StoreStream]
  let isUnderWay = false
  const { filling } = copy
  const insert = filling.insert.bind(filling)
  filling.insert = (versions, inserted) => {
    insert(versions, inserted)
    isUnderWay = true
  }
  copy.hydration.want([1])
  clock.runUntil(() => isUnderWay)
  t.ok(kept.segments.readers.some((count) => count > 0), 'what is read stays')
  lost.log.fail('for the test')
  clock.runUntilIdle()
  t.match(copy.failedReason, /for the test/)
  t.ok(kept.segments.readers.every((count) => count === 0))
  t.notOk(copy.hydration.isUnderWay)
  t.end()
})
