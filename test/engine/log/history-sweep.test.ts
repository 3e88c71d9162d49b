/**
 * Risks of the sweep behind a deleted snapshot: it holds up whoever waits for the space, or for any other maintenance
 * of its stream, fills the memory with what it drops, never ends while snapshots go, or drops what a snapshot still
 * shows.
 */
import t from 'tap'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import type { VolumeMap } from '../../../engine/log/volume-map.ts'
import { createSnapshot, deleteSnapshot } from '../../../engine/volume/time-travel.ts'
import { fsck } from '../../sim/fsck.ts'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

const BLOCKS = 1000
const PIECE_BLOCKS = 8
const PENDING_MAX = 10
/** A checkpoint is made at twice `PENDING_MAX`; a step of the sweep drops so many more. */
const DROPPED_MOST = 2 * PENDING_MAX + 256
const HISTORY_KEY = 0x68
const CHANGE_KEY = 0x64

class Scene {
  world: StoreWorld

  constructor(segments = 200) {
    const options = { seed: 6, segments, checkpointBytes: 1 << 30, pendingMax: PENDING_MAX }
    this.world = new StoreWorld(options)
    this.world.open()
    this.world.await((done) => this.world.store!.createVolume(this.world.spec('v', 4 << 20), done))
  }

  get stream(): StoreStream {
    return this.world.store!.streams()[0]!
  }

  get map(): VolumeMap {
    return [...this.stream.map.volumes.values()][0]!
  }

  get volume() {
    return this.world.store!.volumeObject('v')!
  }

  write(lba: number, round: number, done: (errno: number) => void): void {
    const data = new Uint8Array(PIECE_BLOCKS * 4096)
    for (let i = 0; i < PIECE_BLOCKS; i++) data.set(stamped(round * 10_000 + lba + i), i * 4096)
    this.volume.write(lba * 4096, data, false, done)
  }

  fill(round: number, first = 0, end = BLOCKS): void {
    for (let lba = first; lba < end; lba += PIECE_BLOCKS)
      this.world.await<number>((done) => this.write(lba, round, done))
  }

  snapshot(id: string): void {
    this.world.await((done) => createSnapshot(this.volume, id, done))
  }

  /** All older versions are in the index. */
  settle(): void {
    this.world.await<boolean>((done) => this.stream.makeCheckpoint(done))
    this.world.clock.runUntilIdle()
  }

  /** Each time that the sweep asks which versions come next: what it waits for before it is answered. */
  eachStep(step: (answer: () => void) => void): void {
    this.eachLook({ key: HISTORY_KEY, limit: 256 }, step)
  }

  /** The same for the slice whose changes are merged next. */
  eachMerge(step: (answer: () => void) => void): void {
    this.eachLook({ key: CHANGE_KEY, limit: 1 }, step)
  }

  private eachLook({ key, limit }: { key: number; limit: number }, step: (answer: () => void) => void): void {
    const [index] = this.world.indexes
    const range = index!.range.bind(index)
    index!.range = (options, done) => {
      if (options.from[0] !== key || options.limit !== limit) return range(options, done)
      step(() => range(options, done))
    }
  }

  stamps(): number[] {
    const stamps: number[] = []
    const into = new Uint8Array(4096)
    for (let lba = 0; lba < BLOCKS; lba++) {
      const errno = this.world.await<number>((done) => this.volume.read(lba * 4096, into, done))
      stamps.push(errno === 0 ? stampOf(into) : -errno)
    }
    return stamps
  }
}

const written = (round: number): number[] => Array.from({ length: BLOCKS }, (_, lba) => round * 10_000 + lba)

/** All blocks have an older version, which only the snapshot shows. */
function overwritten(segments?: number): Scene {
  const scene = new Scene(segments)
  scene.fill(1)
  scene.snapshot('s')
  scene.fill(2)
  scene.settle()
  t.equal(scene.map.usedBlocks, 2 * BLOCKS)
  return scene
}

t.test('it makes checkpoints on its way', (t) => {
  const scene = overwritten()
  const { world } = scene
  const dropped: number[] = []
  const [index] = world.indexes
  const batch = index!.batch.bind(index)
  index!.batch = (operations, done) => {
    let count = 0
    const counted = function* () {
      for (const one of operations) {
        if (one.type === 'del' && one.key[0] === HISTORY_KEY) count++
        yield one
      }
    }
    batch(counted(), done)
    dropped.push(count)
  }
  world.await((done) => deleteSnapshot(scene.volume, 's', done))
  world.clock.runUntil(() => !scene.map.sweepHistory)
  scene.settle()
  t.equal(dropped.reduce((sum, count) => sum + count), BLOCKS)
  t.ok(Math.max(...dropped) <= DROPPED_MOST, `at most ${Math.max(...dropped)} in one`)
  t.equal(scene.map.usedBlocks, BLOCKS)
  t.strictSame(fsck(world), [])
  t.same(scene.stamps(), written(2))
  t.end()
})

t.test('writers that wait for space get it before it is over', (t) => {
  const scene = overwritten(90)
  const { world, map } = scene
  // So that nothing dies when it is overwritten.
  scene.snapshot('kept')
  let asked = 0
  let answered = 0
  const write = (): void => {
    scene.write((asked++ * PIECE_BLOCKS) % BLOCKS, 3, (errno) => {
      t.equal(errno, 0)
      answered++
    })
  }
  const { clock } = world
  const held = (): number => world.store!.volume('v')!.heldRequests
  for (let i = 0; i < 400 && held() < 20; i++) {
    write()
    clock.runUntilIdle()
  }
  t.ok(held() >= 20, 'writers are held')
  const before = answered
  let steps = 0
  let onTheWay = 0
  scene.eachStep((answer) => {
    steps++
    if (steps > 2) onTheWay = Math.max(onTheWay, answered - before)
    answer()
  })
  world.await((done) => deleteSnapshot(scene.volume, 's', done))
  clock.runUntil(() => !map.sweepHistory)
  t.ok(steps > 2, `${steps} steps`)
  t.ok(onTheWay > 0, 'some were answered while it was under way')
  clock.runUntil(() => answered === asked)
  scene.settle()
  t.strictSame(fsck(world), [])
  t.end()
})

t.test('snapshots that go meanwhile do not make it begin anew', (t) => {
  const scene = new Scene()
  const { world, map } = scene
  const KEPT_BLOCKS = 600
  scene.fill(1)
  scene.snapshot('kept')
  scene.fill(2)
  scene.snapshot('s')
  scene.fill(3, KEPT_BLOCKS)
  const others = Array.from({ length: 20 }, (_, i) => `other ${i}`)
  for (const id of others) scene.snapshot(id)
  scene.settle()
  const dead = BLOCKS - KEPT_BLOCKS
  t.equal(map.usedBlocks, 2 * BLOCKS + dead)
  scene.eachStep((answer) => {
    const id = others.shift()
    if (id === undefined) answer()
    else deleteSnapshot(scene.volume, id, answer)
  })
  world.await((done) => deleteSnapshot(scene.volume, 's', done))
  world.clock.runUntil(() => map.usedBlocks === 2 * BLOCKS)
  t.ok(others.length > 8, `${others.length} snapshots have not gone yet`)
  world.clock.runUntil(() => !map.sweepHistory)
  scene.settle()
  t.strictSame(fsck(world), [])
  t.same(scene.stamps(), [...written(2).slice(0, KEPT_BLOCKS), ...written(3).slice(KEPT_BLOCKS)])
  world.await((done) => deleteSnapshot(scene.volume, 'kept', done))
  world.clock.runUntil(() => !map.sweepHistory)
  scene.settle()
  t.equal(map.usedBlocks, BLOCKS)
  t.strictSame(fsck(world), [])
  t.end()
})

t.test('wherever it is when another snapshot goes, it ends there, one round later', (t) => {
  for (const [what, each, most] of [['step', 'eachStep', 8], ['merge', 'eachMerge', 2]] as const)
    for (let which = most; which > 0; which -= what === 'step' ? 3 : 1) {
      const scene = overwritten()
      const { world, map } = scene
      scene.snapshot('other')
      scene.fill(3, 0, 304)
      scene.settle()
      let looks = 0
      scene[each]((answer) => {
        if (++looks === which) deleteSnapshot(scene.volume, 'other', answer)
        else answer()
      })
      world.await((done) => deleteSnapshot(scene.volume, 's', done))
      world.clock.runUntil(() => !map.sweepHistory, 100_000)
      if (looks < which) world.await((done) => deleteSnapshot(scene.volume, 'other', done))
      world.clock.runUntil(() => !map.sweepHistory, 100_000)
      scene.settle()
      t.equal(map.usedBlocks, BLOCKS, `${what} ${which}, of ${looks}`)
      t.strictSame(fsck(world), [])
    }
  t.end()
})

t.test('while snapshots go faster than it comes round all other maintenance has its turn', (t) => {
  const scene = overwritten()
  const { world, stream, map } = scene
  const store = world.store!
  // Another volume that is swept, one that is deleted, a damaged segment, a page that waits to be folded.
  for (const name of ['other', 'gone']) {
    world.await((done) => store.createVolume(world.spec(name, 4 << 20), done))
    const volume = store.volumeObject(name)!
    const write = (stamp: number): void =>
      void world.await<number>((done) => volume.write(0, stamped(stamp), false, done))
    write(1)
    world.await((done) => createSnapshot(volume, 'before', done))
    write(2)
    // Only then it is known what lies below.
    world.await<number>((done) => volume.read(0, new Uint8Array(4096), done))
  }
  const [, other, gone] = [...stream.map.volumes.values()]
  scene.settle()
  const damaged = stream.segments.state.indexOf(SEGMENT_STATE.sealed)
  let steps = 0
  scene.eachStep((answer) => {
    if (++steps > 100) return answer()
    const id = `hourly ${steps}`
    createSnapshot(scene.volume, id, () => deleteSnapshot(scene.volume, id, answer))
  })
  world.await((done) => deleteSnapshot(scene.volume, 's', done))
  world.await((done) => deleteSnapshot(store.volumeObject('other')!, 'before', done))
  world.await((done) => store.deleteVolume('gone', done))
  store.emptySegment(stream, damaged)
  stream.foldQueue.push([map, 0])
  const waiting: Array<[what: string, isServed: () => boolean]> = [
    ['the other volume', () => !other!.sweepHistory && other!.usedBlocks === 1],
    ['the deleted volume', () => gone!.emptied],
    ['the damaged segment', () => stream.segments.state[damaged] !== SEGMENT_STATE.sealed],
    ['the page', () => stream.foldQueue.length === 0],
    ['the space', () => map.usedBlocks === BLOCKS],
  ]
  for (const [what, isServed] of waiting) {
    world.clock.runUntil(isServed)
    t.ok(steps < 30, `${what} after ${steps} steps`)
  }
  t.ok(map.sweepHistory, 'it is under way')
  world.clock.runUntil(() => !map.sweepHistory)
  scene.settle()
  t.strictSame(fsck(world), [])
  t.same(scene.stamps(), written(2))
  t.end()
})

t.test('cut off at any step it goes on, and is over in the end; a stop does not wait for it', (t) => {
  for (const how of ['kill', 'cut', 'lost', 'stop'] as const)
    for (const cutAt of [1, 2, 4]) {
      const scene = overwritten()
      scene.fill(3, 0, 304)
      let steps = 0
      let isStopped = false
      scene.eachStep((answer) => {
        steps++
        if (steps === cutAt && how === 'stop') scene.world.store!.stop(() => (isStopped = true))
        if (steps < cutAt || how === 'stop') answer()
      })
      scene.world.await((done) => deleteSnapshot(scene.volume, 's', done))
      scene.world.clock.runUntil(() => (how === 'stop' ? isStopped : steps === cutAt) || !scene.map.sweepHistory)
      if (how === 'stop') t.ok(steps <= cutAt, `${steps} steps`)
      const { world } = scene
      if (how === 'cut') scene.world = world.crash({ kind: 'synced' }, { kind: 'subset', seed: cutAt })
      else if (how === 'lost') scene.world = world.crash({ kind: 'synced' }, 'lost')
      else scene.world = world.crash('kill', { kind: 'all' })
      scene.world.open()
      scene.world.clock.runUntil(() => !scene.map.sweepHistory)
      scene.settle()
      t.strictSame(fsck(scene.world), [], `${how} at step ${cutAt}`)
      t.equal(scene.map.usedBlocks, BLOCKS)
      t.same(scene.stamps(), [...written(3).slice(0, 304), ...written(2).slice(304)])
      const { segments } = scene.stream
      t.notOk(segments.state.includes(SEGMENT_STATE.unreadable))
    }
  t.end()
})
