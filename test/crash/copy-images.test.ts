/**
 * Power cuts at every step of what a copy does for long: a clone that gets blocks of its own, and a volume that shrinks
 * and grows again. With what was synced, all that was written, some of it, and writes torn anywhere; with the index as
 * it was, and lost. Each time it shows what it showed, and comes to its end when it is asked again.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { GIB, SLICE_BLOCKS } from '../../engine/units.ts'
import type { CrashChoice } from '../sim/disk.ts'
import { CopyWorld, write } from '../sim/copy-world.ts'

t.setTimeout(300_000)
const ALL = process.env.CRASH_ALL === '1'
const STRIDE = ALL ? 1 : 2
/** Two slices, one on each disk. */
const SIZE = 2 * GIB

const choicesAt = (step: number): CrashChoice[] => [
  { kind: 'synced' }, { kind: 'all' }, { kind: 'subset', seed: step }, { kind: 'shredded', unitBytes: 512, seed: step },
]

/** Each way to crash at every step, until what is under way has ended. @returns how many images were looked at */
function cutEverywhere<T>(
  begin: () => T, isOver: (one: T) => boolean, worldOf: (one: T) => CopyWorld,
  look: (one: T, crashed: CopyWorld, step: number) => void,
): number {
  let images = 0
  for (let step = 0, isEnd = false; !isEnd; step += STRIDE) {
    const indexes = [{ kind: 'synced' as const }, 'lost' as const]
    for (const disk of choicesAt(step)) {
      const one = begin()
      const { clock } = worldOf(one).world
      for (let i = 0; i < step && !isOver(one); i++) clock.step()
      isEnd = isOver(one)
      look(one, worldOf(one).crash(disk, indexes[images++ % indexes.length]!), step)
    }
  }
  return images
}

/** Another copy of the same store. */
function played(of: CopyWorld, volumeId: string): CopyWorld {
  const other = new CopyWorld(of.world.options, {}, of.world)
  other.use(of.world.store!.copies().get(volumeId)!.copy)
  return other
}

const BLOCKS = 14
const ORIGIN = [0, 0, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 0, 0]
const CLONE = ORIGIN.map((stamp, lba) => (lba === 5 ? 205 : lba === 6 ? 0 : lba === 7 ? 207 : stamp))
/** What the clone had before its last write. */
const CLONE_SEQ = 17

/** A volume, written since it was cloned; and the clone, with a snapshot, written before and behind it. */
function sharing(): { first: CopyWorld; clone: CopyWorld } {
  const first = new CopyWorld({ seed: 11, segments: 40, disks: 2 }, { sizeBytes: SIZE })
  first.openWithSnapshot()
  const source = { volumeId: first.copy.volumeId, snapshotId: 's', seq: 12 }
  const spec = first.world.spec('clone', SIZE)
  const made = first.world.await<{ ok: boolean }>((done) =>
    first.world.store!.cloneCopy(spec, 'clone-copy', source, done))
  t.ok(made.ok)
  const clone = played(first, spec.id)
  clone.epoch(2, 13)
  clone.append(write(2, 14, 5, [205]))
  clone.append({ kind: 'trim', epoch: 2, seq: 15, request: undefined, lba: 6, blockCount: 1 })
  clone.control(2, 16, { operation: 'snapshot', id: 'of-clone' })
  clone.append(write(2, CLONE_SEQ, 7, [207]))
  clone.settle()
  clone.copy.apply(CLONE_SEQ, {})
  clone.drained()
  return { first, clone }
}

const isShared = ({ copy }: CopyWorld): boolean => copy.bodies.now.origin !== null

t.test('a clone that gets blocks of its own', (t) => {
  let ended = 0
  const begin = () => {
    const both = sharing()
    both.clone.copy.hydrate()
    return both
  }
  const images = cutEverywhere(begin, ({ clone }) => !isShared(clone), ({ first }) => first, (both, crashed, step) => {
    crashed.world.open()
    const [first, clone] = [both.first, both.clone].map(({ copy }) => played(crashed, copy.volumeId))
    first!.copy.apply(12, {})
    clone!.copy.apply(CLONE_SEQ, {})
    const at = `step ${step}`
    if (!isShared(both.clone)) t.notOk(isShared(clone!), `${at}: it was its own, durably`)
    if (!isShared(clone!)) ended++
    t.same(clone!.readStamps(0, BLOCKS), CLONE, at)
    clone!.copy.hydrate()
    crashed.world.clock.runUntil(() => !isShared(clone!))
    crashed.world.clock.runUntil(() => first!.copy.bodies.pins.length === 0)
    t.same(clone!.readStamps(0, BLOCKS), CLONE, `${at}, with blocks of its own`)
    t.same(first!.readStamps(0, BLOCKS), ORIGIN, `${at}, its origin`)
  })
  t.ok(images > 40 && ended > 0 && ended < images, `${images} images, ${ended} of which shared nothing`)
  t.end()
})

t.test('a volume that shrinks, and grows again', (t) => {
  const beyond = SLICE_BLOCKS + 7
  const begin = (): CopyWorld => {
    const world = new CopyWorld({ seed: 12, segments: 40 }, { sizeBytes: 2 * GIB })
    world.open()
    world.epoch(1, 1)
    world.append(write(1, 2, 5, [105]))
    world.append(write(1, 3, beyond, [303]))
    world.control(1, 4, { operation: 'snapshot', id: 's' })
    world.append({ kind: 'trim', epoch: 1, seq: 5, request: undefined, lba: SLICE_BLOCKS, blockCount: 64 })
    world.settle()
    world.copy.apply(5, {})
    world.drained()
    world.control(1, 6, { operation: 'shrink', sizeBytes: GIB })
    return world
  }
  /** Applied in the turn in which it is durable, as a machine does. */
  const isOver = (world: CopyWorld): boolean => {
    if (world.durableSeq >= 6) world.copy.apply(6, {})
    return world.durableSeq >= 6 && world.copy.targets.every(({ map }) => map.descriptor.spec.sizeBytes === GIB)
  }
  let shrunk = 0
  const images = cutEverywhere(begin, isOver, (world) => world, (before, world, step) => {
    const wasDurable = before.durableSeq >= 6
    world.open()
    const at = `step ${step}`
    const { tail } = world.copy
    t.ok(tail === 6 || (tail === 5 && !wasDurable), `${at}: tail ${tail}`)
    if (tail === 6) shrunk++
    else world.control(1, 6, { operation: 'shrink', sizeBytes: GIB })
    world.control(1, 7, { operation: 'resize', sizeBytes: 2 * GIB })
    world.settle()
    world.copy.apply(6, {})
    t.equal(world.copy.descriptor().spec.sizeBytes, GIB, at)
    t.same(world.readStamps(5, 1), [105], at)
    world.copy.apply(7, {})
    t.equal(world.copy.descriptor().spec.sizeBytes, 2 * GIB, at)
    t.same(world.readStamps(beyond, 1), [0], `${at}: what was there stays gone`)
    const versions = world.exactly([{ lba: beyond, epoch: 1, seq: 3 }])
    t.same(versions.stamps, [303], `${at}: the snapshot shows it`)
  })
  t.ok(images >= 8 && shrunk > 0 && shrunk < images, `${images} images, ${shrunk} of which had become smaller`)
  t.end()
})
