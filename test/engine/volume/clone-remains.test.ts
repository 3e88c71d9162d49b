/**
 * What is left of a deleted clone: zeroes over whole pages, of which nothing else is in its map, are shown by those who
 * read through it, for below them its origin has other data; and they are gone when nobody reads them any more.
 */
import t, { type Test } from 'tap'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { cloneSnapshot, createSnapshot } from '../../../engine/volume/time-travel.ts'
import { MIB, PAGE_BLOCKS } from '../../../engine/units.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { fsck } from '../../sim/fsck.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

const SIZE = 4 * MIB

function cloned({ world, copy }: CopyWorld, name: string, snapshotId: string, seq: number): CopyWorld {
  const made = world.await<Result<OpenCopy>>((done) =>
    world.store!.cloneCopy(world.spec(name, SIZE), `${name}-copy`, { volumeId: copy.volumeId, snapshotId, seq }, done))
  if (!made.ok) throw made.error
  const clone = new CopyWorld(world.options, {}, world)
  clone.use(made.value.copy)
  return clone
}

function apply(world: CopyWorld): void {
  world.settle()
  world.copy.apply(world.copy.tail, {})
}

/** A volume with stamps 102 to 111 in blocks 2 to 11, and a clone of it with a trim over page 0 between snapshots. */
function trimmed(seed: number, options = {}): { first: CopyWorld; clone: CopyWorld } {
  const first = new CopyWorld({ seed, segments: 40, ...options }, { sizeBytes: SIZE })
  first.open()
  first.epoch(1, 1)
  for (let seq = 2; seq <= 11; seq++) first.append(write(1, seq, seq, [100 + seq]))
  first.control(1, 12, { operation: 'snapshot', id: 's' })
  apply(first)
  const clone = cloned(first, 'clone', 's', 12)
  clone.epoch(2, 13)
  clone.control(2, 14, { operation: 'snapshot', id: 'before' })
  clone.append({ kind: 'trim', epoch: 2, seq: 15, request: undefined, lba: 0, blockCount: PAGE_BLOCKS })
  clone.control(2, 16, { operation: 'snapshot', id: 'behind' })
  apply(clone)
  return { first, clone }
}

function removed({ world, copy }: CopyWorld): void {
  world.await<unknown>((done) => world.store!.removeCopy(copy.volumeId, done))
  world.clock.runUntilIdle()
}

/** Keys of the index that begin with this letter. */
function keys(world: StoreWorld, letter: string): number {
  const [stream] = world.store!.streams()
  const [index] = world.indexes
  world.await<boolean>((done) => stream!.makeCheckpoint(done))
  const from = Uint8Array.of(letter.charCodeAt(0))
  const below = Uint8Array.of(letter.charCodeAt(0) + 1)
  return world.await<number>((done) =>
    index!.range({ from, below, limit: 1 << 20 }, (_ok, found) => done(found.length)))
}

t.test('a clone of it shows the trim of a page of which nothing else was ever there', (t) => {
  const { first, clone } = trimmed(40)
  const second = cloned(clone, 'second', 'behind', 16)
  removed(clone)
  t.same(second.readStamps(2, 3), [0, 0, 0])
  second.epoch(3, 17)
  second.append(write(3, 18, 3, [300]))
  apply(second)
  t.same(second.readStamps(2, 3), [0, 300, 0])
  t.same(fsck(first.world), [])
  second.copy.hydration.want([0])
  first.world.clock.runUntil(() => second.copy.bodies.now.origin === null)
  t.same(second.readStamps(2, 3), [0, 300, 0], 'also when it shares nothing any more')
  t.same(first.readStamps(2, 3), [102, 103, 104])
  t.equal(keys(first.world, 't'), 0, 'nobody needs it then')
  t.end()
})

t.test('also behind a start, with an index or without, and when the page comes and goes', (t) => {
  for (const index of [{ kind: 'all' }, 'lost'] as const) {
    const { first, clone } = trimmed(41, { pagesMax: 1 })
    const id = cloned(clone, 'second', 'behind', 16).copy.volumeId
    removed(clone)
    const again = new CopyWorld(first.world.options, {}, first.world.crash('kill', index))
    const open = again.world.open().copies().get(id)!
    again.use(open.copy)
    for (let i = 0; i < 3; i++) {
      again.world.clock.runUntilIdle()
      t.same(again.readStamps(2, 3), [0, 0, 0])
      t.same(again.readStamps(PAGE_BLOCKS, 1), [0])
    }
    t.same(fsck(again.world), [])
  }
  t.end()
})

t.test('older snapshots show what was there before; the trim goes with the last one who sees it', (t) => {
  const { first, clone } = trimmed(42)
  const second = cloned(clone, 'second', 'behind', 16)
  const third = cloned(clone, 'third', 'before', 14)
  const { map } = clone.copy.targets[0]!
  removed(clone)
  t.same([second, third].map((world) => world.readStamps(2, 1)), [[0], [102]])
  t.equal(map.tombstones.length, 1)
  removed(second)
  t.same(third.readStamps(2, 3), [102, 103, 104])
  t.equal(map.tombstones.length, 0)
  t.equal(keys(first.world, 't'), 0)
  t.same(fsck(first.world), [])
  t.end()
})

/** The same with volumes of one copy: `clone` is deleted, and read by a clone of it. */
function deleted(t: Test): StoreWorld {
  const world = new StoreWorld({ seed: 43, segments: 40, pagesMax: 2 })
  const store = world.open()
  world.await((done) => store.createVolume(world.spec('first', SIZE), done))
  const volumeOf = (name: string) => store.volumeObject(name)!
  for (let lba = 2; lba < 12; lba++)
    world.await<number>((done) => volumeOf('first').write(lba * 4096, stamped(100 + lba), false, done))
  const clone = (from: string, to: string): void => {
    const seq = world.await<Result<unknown>>((done) => createSnapshot(volumeOf(from), `of-${to}`, done))
    t.ok(seq.ok)
    const made = world.await<Result<unknown>>((done) =>
      cloneSnapshot(store, volumeOf(from), `of-${to}`, world.spec(to, SIZE), done))
    t.ok(made.ok)
  }
  clone('first', 'clone')
  world.await<number>((done) => store.device('clone')!.trim(0, PAGE_BLOCKS * 4096, false, done))
  clone('clone', 'second')
  world.await((done) => store.deleteVolume('clone', done))
  world.clock.runUntilIdle()
  return world
}

function read(world: StoreWorld, name: string, lba: number): number | string {
  const into = new Uint8Array(4096)
  const errno = world.await<number>((done) => world.store!.volumeObject(name)!.read(lba * 4096, into, done))
  return errno === 0 ? stampOf(into) : `errno ${errno}`
}

t.test('so it is with a volume of one copy', (t) => {
  let world = deleted(t)
  t.same([2, 3, 4].map((lba) => read(world, 'second', lba)), [0, 0, 0])
  t.same([2, 3, 4].map((lba) => read(world, 'first', lba)), [102, 103, 104])
  t.same(fsck(world), [])
  for (const index of [{ kind: 'all' }, 'lost'] as const) {
    world = world.crash('kill', index)
    world.open()
    t.same([2, 3, 4].map((lba) => read(world, 'second', lba)), [0, 0, 0])
  }
  t.end()
})

t.test('and nothing of the trim is left in the index when the last clone is gone', (t) => {
  const world = deleted(t)
  t.ok(keys(world, 't') > 0)
  world.await((done) => world.store!.deleteVolume('second', done))
  world.clock.runUntilIdle()
  t.equal(keys(world, 't'), 0)
  t.same(fsck(world), [])
  const again = world.crash('kill', { kind: 'all' })
  again.open()
  t.notOk(again.events.some(({ message }) => message === 'the index is rebuilt from the log'), 'the index is whole')
  t.end()
})

t.test('a map that goes takes with it what it has still to take out of the index', (t) => {
  const world = new StoreWorld({ seed: 44, segments: 40 })
  const store = world.open()
  world.await((done) => store.createVolume(world.spec('v', SIZE), done))
  const volume = store.volumeObject('v')!
  const [stream] = store.streams()
  const writeAll = (stamp: number): void => {
    for (let lba = 0; lba < 8; lba++)
      world.await<number>((done) => volume.write(lba * 4096, stamped(stamp + lba), false, done))
  }
  writeAll(100)
  world.await((done) => createSnapshot(volume, 's', done))
  writeAll(200)
  t.equal(read(world, 'v', 0), 200, 'its page is in memory')
  t.equal(keys(world, 'h'), 8)
  const map = [...stream!.map.volumes.values()][0]!
  world.await((done) => store.deleteVolume('v', done))
  world.clock.runUntilIdle()
  t.ok(map.emptied && map.history.size > 0, 'it is swept, and no checkpoint was made since')
  stream!.removeVolume(map)
  t.same(['h', 'd', 'v', 't', 'p'].map((letter) => keys(world, letter)), [0, 0, 0, 0, 0])
  t.end()
})
