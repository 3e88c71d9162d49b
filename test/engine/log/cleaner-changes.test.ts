/**
 * Risk: what a pass of the cleaner changes of older versions waits in memory for the one checkpoint at its end, which
 * then holds up clients while it takes all of them, or piles up without a bound while a checkpoint takes long.
 */
import t from 'tap'
import { cleanSegment, newCleanerBuffer } from '../../../engine/log/cleaner.ts'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import { runTask } from '../../../engine/task.ts'
import { createSnapshot } from '../../../engine/volume/time-travel.ts'
import { fsck } from '../../sim/fsck.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

const BLOCKS = 240
const PENDING_MAX = 10
/** A checkpoint is made at twice `PENDING_MAX`; while one is under way up to four times as many wait, and a window. */
const CHANGES_MOST = 4 * PENDING_MAX + 4

/** A volume all of whose blocks have an older version, which a snapshot sees, and the segments those lie in. */
function scene() {
  const options = { seed: 4, segments: 60, segmentBytes: 128 * 1024, checkpointBytes: 1 << 30, pendingMax: PENDING_MAX }
  const world = new StoreWorld(options)
  world.open()
  world.await((done) => world.store!.createVolume(world.spec('v', 2 << 20), done))
  const volume = world.store!.volumeObject('v')!
  const fill = (round: number): void => {
    for (let lba = 0; lba < BLOCKS; lba++)
      world.await<number>((done) => volume.write(lba * 4096, stamped(round * 1000 + lba), false, done))
  }
  fill(1)
  world.await((done) => createSnapshot(volume, 's', done))
  fill(2)
  const stream = world.store!.streams()[0]!
  world.await<boolean>((done) => stream.makeCheckpoint(done))
  world.clock.runUntilIdle()
  const { segments, log } = stream
  const { batch } = log.position()
  const sealed = Array.from({ length: segments.count }, (_, segment) => segment)
    .filter((one) => segments.state[one] === SEGMENT_STATE.sealed && segments.lastBatch[one]! < batch)
  return { world, volume, stream, sealed }
}

t.test('a pass over older versions makes checkpoints on its way', (t) => {
  const { world, volume, stream, sealed } = scene()
  let taken = 0
  let most = 0
  const [index] = world.indexes
  const batch = index!.batch.bind(index)
  index!.batch = (operations, done) => {
    let changes = 0
    const counted = function* () {
      for (const one of operations) {
        if (one.key[0] === 0x68) changes++
        yield one
      }
    }
    batch(counted(), done)
    taken++
    most = Math.max(most, changes)
  }
  for (const segment of sealed)
    world.await<boolean>((done) => runTask(cleanSegment(stream, segment, newCleanerBuffer(4)), done))
  t.ok(taken > BLOCKS / CHANGES_MOST, `${taken} checkpoints`)
  t.ok(most > 0 && most <= CHANGES_MOST, `at most ${most} changes in one`)
  world.clock.runUntilIdle()
  t.strictSame(fsck(world), [])
  const into = new Uint8Array(4096)
  t.equal(world.await<number>((done) => volume.read(7 * 4096, into, done)), 0)
  t.equal(stampOf(into), 2007)
  t.end()
})

t.test('while a checkpoint does not end, what waits behind it is bounded', (t) => {
  const { world, stream, sealed } = scene()
  const held: Array<() => void> = []
  let isHeld = true
  const [index] = world.indexes
  const batch = index!.batch.bind(index)
  index!.batch = (operations, done) =>
    batch(operations, (ok) => {
      if (isHeld) held.push(() => done(ok))
      else done(ok)
    })
  let cleaned = 0
  const next = (): void => {
    if (cleaned < sealed.length)
      runTask(cleanSegment(stream, sealed[cleaned]!, newCleanerBuffer(4)), () => {
        cleaned++
        next()
      })
  }
  next()
  for (let step = 0; step < 5000; step++) world.clock.step()
  t.equal(held.length, 1)
  const { changes } = stream.map.historyTally
  t.ok(changes >= 4 * PENDING_MAX && changes <= CHANGES_MOST, `${changes} changes wait`)
  t.ok(cleaned < sealed.length, 'the cleaner, too')
  isHeld = false
  held[0]!()
  world.clock.runUntilIdle()
  t.equal(cleaned, sealed.length)
  t.strictSame(fsck(world), [])
  t.end()
})
