/**
 * Snapshots, clones and rollbacks (nested ones too) against full copies of every view, with crashes and lost indexes.
 * More random runs: `npm run crash -- --mode time-travel --seeds 36`, and `--mode undoing`.
 */
// test-timeout-seconds: 240
import { crc32c } from '@node-rs/crc32'
import t, { type Test } from 'tap'
import { cleanSegment, newCleanerBuffer } from '../../../engine/log/cleaner.ts'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import { runTask } from '../../../engine/task.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { cloneSnapshot, createSnapshot, deleteSnapshot, rollBack } from '../../../engine/volume/time-travel.ts'
import { readView } from '../../../engine/volume/view-reader.ts'
import { runModel } from '../../sim/checker/model-run.ts'
import { fsck } from '../../sim/fsck.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

t.test('random runs', (t) => {
  const outcome = runModel({ from: 1, seeds: 18, operations: 250, mode: 'time-travel' })
  t.equal(outcome.failure, undefined, outcome.failure ?? 'no run fails')
  t.comment(JSON.stringify(outcome))
  t.end()
})

t.test('rolled back, looked at, and rolled back again', (t) => {
  const outcome = runModel({ from: 1, seeds: 8, operations: 250, mode: 'undoing' })
  t.equal(outcome.failure, undefined, outcome.failure ?? 'no run fails')
  t.comment(JSON.stringify(outcome))
  t.end()
})

/** One volume of 1 MiB with short words for what happens to it. */
class Story {
  world = new StoreWorld({ seed: 7, segments: 16 })
  private readonly t: Test

  constructor(t: Test) {
    this.t = t
    this.world.open()
    this.ok<unknown>((reply) => this.world.store!.createVolume(this.world.spec('v', 1 << 20), reply))
  }

  get volume() {
    return this.world.store!.volumeObject('v')!
  }

  ok<T>(start: (reply: (result: Result<T>) => void) => void): T {
    const result = this.world.await(start)
    if (!result.ok) throw result.error
    return result.value
  }

  write(lba: number, stamp: number, name = 'v'): void {
    this.t.equal(
      this.world.await<number>((done) =>
        this.world.store!.device(name)!.write(lba * 4096, stamped(stamp), false, done),
      ),
      0,
    )
  }

  trim(lba: number): void {
    this.t.equal(
      this.world.await<number>((done) => this.volume.trim(lba * 4096, 4096, false, done)),
      0,
    )
  }

  /** All of the volume. */
  cover(isZero: boolean): void {
    const sizeBytes = 1 << 20
    const errno = this.world.await<number>((done) => {
      if (isZero) this.volume.writeZeroes(0, sizeBytes, { noHole: true, fua: false }, done)
      else this.volume.trim(0, sizeBytes, false, done)
    })
    this.t.equal(errno, 0)
  }

  snapshot(id: string): void {
    this.ok<number>((reply) => createSnapshot(this.volume, id, reply))
  }

  drop(id: string): void {
    this.ok<number>((reply) => deleteSnapshot(this.volume, id, reply))
  }

  back(id: string): void {
    this.ok<number>((reply) => rollBack(this.volume, id, reply))
  }

  shows(lba: number, stamp: number, what: string, name = 'v'): void {
    const into = new Uint8Array(4096)
    const errno = this.world.await<number>((done) => this.world.store!.device(name)!.read(lba * 4096, into, done))
    this.t.same([errno, stampOf(into)], [0, stamp], what)
  }

  snapshotShows(id: string, lba: number, stamp: number, what: string): void {
    const { seq } = this.volume.descriptor.snapshots.find((one) => one.id === id)!
    const { stream, map } = this.volume.targetOfBlock(lba)
    const bytes = this.world.await<Uint8Array | undefined>((done) =>
      readView({ crc32c, stream, map, viewSeq: seq, lba }, done),
    )
    this.t.equal(bytes === undefined ? undefined : stampOf(bytes), stamp, what)
  }

  /** A crash with or without the index, and a look at everything. */
  restart(index: 'synced' | 'lost'): void {
    this.world = this.world.crash({ kind: 'synced' }, index === 'lost' ? 'lost' : { kind: 'synced' })
    this.world.open()
    this.world.clock.runUntilIdle()
    this.t.strictSame(fsck(this.world), [], `fsck after a restart (index ${index})`)
  }

  /** Everything that is sealed is moved once. */
  clean(): void {
    const [stream] = this.world.store!.streams()
    const { segments, log } = stream!
    log.sealOpen()
    this.world.await<boolean>((done) => stream!.makeCheckpoint(done))
    for (let segment = 0; segment < segments.count; segment++)
      if (segments.state[segment] === SEGMENT_STATE.sealed && segments.lastBatch[segment]! < log.position().batch)
        this.world.await<boolean>((done) => runTask(cleanSegment(stream!, segment, newCleanerBuffer()), done))
    this.world.await<boolean>((done) => stream!.makeCheckpoint(done))
    this.world.clock.runUntilIdle()
  }

  live(): number {
    return this.world.store!.streams().reduce((sum, { segments }) => sum + segments.liveUnits() / 64, 0)
  }
}

for (const index of ['synced', 'lost'] as const) {
  t.test(`a rollback that is rolled away itself counts for nothing (index ${index})`, (t) => {
    const story = new Story(t)
    story.write(0, 1)
    story.snapshot('a')
    story.write(0, 2)
    story.snapshot('b')
    story.back('a')
    story.shows(0, 1, 'the first')
    story.write(1, 10)
    story.snapshot('c')
    story.back('b')
    story.shows(0, 2, 'the second is back, though a rollback had hidden it')
    story.shows(1, 0, 'and what was written between is gone')
    story.restart(index)
    story.shows(0, 2, 'after a restart too')
    story.snapshotShows('c', 0, 1, 'the snapshot between shows the first')
    story.snapshotShows('c', 1, 10, 'and what was written there')
    story.drop('a')
    story.world.clock.runUntilIdle()
    story.snapshotShows('c', 0, 1, 'also when the snapshot that was rolled back to is gone')
    story.back('c')
    story.restart(index)
    story.shows(0, 1, 'and a third rollback finds it')
    t.end()
  })

  t.test(`a trim behind a rollback holds, whether the page was looked at or not (index ${index})`, (t) => {
    for (const isRead of [false, true]) {
      const story = new Story(t)
      story.snapshot('empty')
      story.write(5, 1)
      story.snapshot('one')
      story.back('empty')
      if (isRead) story.shows(5, 0, 'empty again')
      story.back('one')
      if (isRead) story.shows(5, 1, 'there again')
      story.trim(5)
      story.shows(5, 0, 'trimmed')
      story.restart(index)
      story.shows(5, 0, 'trimmed after a restart')
      story.snapshotShows('one', 5, 1, 'the snapshot keeps it')
    }
    t.end()
  })

  t.test(`a trim of a page that a rollback emptied, and another one did not load, holds (index ${index})`, (t) => {
    for (const isZero of [false, true]) {
      const story = new Story(t)
      story.snapshot('empty')
      story.write(5, 1)
      story.snapshot('one')
      story.back('empty')
      story.shows(5, 0, 'empty again')
      story.world.await<boolean>((done) => story.world.store!.streams()[0]!.makeCheckpoint(done))
      // No look at everything: the page has to stay as the rollback left it.
      story.world = story.world.crash({ kind: 'synced' }, { kind: 'synced' })
      story.world.open()
      story.back('one')
      story.cover(isZero)
      story.world.clock.runUntilIdle()
      story.shows(5, 0, isZero ? 'zeroes' : 'trimmed')
      story.restart(index)
      story.shows(5, 0, 'after a restart too')
      story.snapshotShows('one', 5, 1, 'the snapshot keeps it')
    }
    t.end()
  })

  t.test(`a trim that a rollback hides outlives what is moved meanwhile (index ${index})`, (t) => {
    const story = new Story(t)
    story.write(5, 1)
    story.snapshot('one')
    story.trim(5)
    story.snapshot('trimmed')
    story.back('one')
    story.shows(5, 1, 'there again')
    story.clean()
    story.back('trimmed')
    story.shows(5, 0, 'trimmed again')
    for (let round = 0; round < 4; round++) story.clean()
    story.snapshotShows('trimmed', 5, 0, 'the snapshot shows no more than before')
    story.restart(index)
    story.shows(5, 0, 'nor does the volume')
    story.snapshotShows('one', 5, 1, 'and that is kept')
    t.end()
  })

  t.test(`a clone outlives its origin, and its pin goes with it (index ${index})`, (t) => {
    const story = new Story(t)
    for (let lba = 0; lba < 8; lba++) story.write(lba, 100 + lba)
    story.snapshot('s')
    const spec = story.world.spec('w', 1 << 20)
    story.ok<unknown>((reply) => cloneSnapshot(story.world.store!, story.volume, 's', spec, reply))
    story.write(0, 1, 'w')
    story.write(1, 2)
    story.ok<void>((reply) => story.world.store!.deleteVolume('v', reply))
    story.restart(index)
    story.shows(0, 1, 'what the clone wrote', 'w')
    story.shows(1, 101, 'what it reads through, not what the origin wrote later', 'w')
    story.ok<void>((reply) => story.world.store!.deleteVolume('w', reply))
    story.world.clock.runUntilIdle()
    story.restart(index)
    t.equal(story.live(), 0, 'all space is free')
    t.end()
  })

  t.test(`a snapshot's space comes back (index ${index})`, (t) => {
    const story = new Story(t)
    for (let lba = 0; lba < 10; lba++) story.write(lba, 1)
    story.snapshot('s')
    for (let lba = 0; lba < 10; lba++) story.write(lba, 2)
    t.equal(story.live(), 20, 'both versions are kept')
    story.drop('s')
    story.restart(index)
    t.equal(story.live(), 10, 'one is left, also when the crash came before the sweep')
    t.end()
  })
}

t.test('refusals', (t) => {
  const story = new Story(t)
  story.snapshot('s')
  const again = story.world.await<Result<number>>((done) => createSnapshot(story.volume, 's', done))
  t.match(again, { ok: false, error: { code: 'snapshot-exists' } })
  const missing = story.world.await<Result<number>>((done) => rollBack(story.volume, 'x', done))
  t.match(missing, { ok: false, error: { code: 'snapshot-not-found' } })
  t.end()
})
