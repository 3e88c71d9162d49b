/**
 * A store stops cleanly while a clone gets blocks of its own: whatever moment that is, nothing goes into a log behind
 * what its clean root says, for no start would look at it there. On two disks one would say that a slice is not shared
 * any more of which the other lacks blocks; and a segment that no index knows makes a rebuild refuse the disk.
 */
import t from 'tap'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { fsck } from '../../sim/fsck.ts'
import { GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import type { IndexCrashChoice } from '../../sim/index.ts'

const SEEDS = 150
const LBAS = [0, 1, 255, 256, 700, 1023].flatMap((lba) => [lba, SLICE_BLOCKS + lba])
const STAMPS = LBAS.map((_, i) => 200 + i)
const SNAPSHOT_SEQ = 2 + LBAS.length

/** A volume of two slices with a snapshot, on each disk one if there are two. */
function origin(seed: number, disks: number): CopyWorld {
  const world = new CopyWorld({ seed, disks, segments: 40 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  LBAS.forEach((lba, i) => world.append(write(1, 2 + i, lba, [STAMPS[i]!])))
  world.control(1, SNAPSHOT_SEQ, { operation: 'snapshot', id: 's' })
  world.settle()
  world.copy.apply(SNAPSHOT_SEQ, {})
  return world
}

function played(first: CopyWorld, copy: CopyWorld['copy']): CopyWorld {
  const other = new CopyWorld(first.world.options, {}, first.world)
  other.use(copy)
  return other
}

/** What is wrong after a start with what the disks hold. */
function problemsOf(world: CopyWorld, volumeId: string, index: IndexCrashChoice | 'lost'): string[] {
  const next = world.crash({ kind: 'all' }, index)
  const store = next.world.open()
  const name = index === 'lost' ? 'its index lost' : 'as it was'
  const refused = store.disks().filter(({ state }) => state !== 'online')
  if (refused.length > 0) return refused.map(({ path, reason }) => `${name}, ${path} is refused: ${reason}`)
  const found = store.copies().get(volumeId)
  if (found === undefined) return [`${name}, the clone is not there`]
  const clone = played(next, found.copy)
  const stamps = LBAS.map((lba) => clone.readStamps(lba, 1)[0])
  const wrong = stamps.flatMap((stamp, i) => (stamp === STAMPS[i] ? [] : [`${name}, block ${LBAS[i]} shows ${stamp}`]))
  return [...wrong, ...fsck(next.world)]
}

for (const disks of [1, 2])
  t.test(`at any moment, on ${disks} disks`, (t) => {
    const wrong: string[] = []
    let cutShort = 0
    for (let seed = 1; seed <= SEEDS; seed++) {
      const first = origin(seed, disks)
      const { world } = first
      const source = { volumeId: first.copy.volumeId, snapshotId: 's', seq: SNAPSHOT_SEQ }
      const made = world.await<Result<OpenCopy>>((done) =>
        world.store!.cloneCopy(world.spec('clone', 2 * GIB), 'clone-copy', source, done))
      if (!made.ok) throw made.error
      const { copy } = made.value
      const { clock } = world
      copy.hydration.want([0, 1])
      if (seed % 3 > 0) clock.advance(world.random.int(60))
      if (copy.bodies.now.origin !== null) cutShort++
      world.await<unknown>((done) => world.store!.stop(done))
      const batches = world.store!.streams().map(({ log }) => log.nextBatch)
      clock.advance(200)
      world.store!.streams().forEach(({ log }, disk) => {
        if (log.nextBatch !== batches[disk]) wrong.push(`seed ${seed}: disk ${disk} is written behind its clean root`)
      })
      for (const index of [{ kind: 'all' } as const, 'lost' as const])
        wrong.push(...problemsOf(first, copy.volumeId, index).map((what) => `seed ${seed}: ${what}`))
    }
    t.same(wrong.slice(0, 12), [])
    t.ok(cutShort > SEEDS / 3, `${cutShort} of them before it had all`)
    t.end()
  })

t.test('however many clones there are, none begins anything once it is asked to', (t) => {
  const CLONES = 12
  let underWay = 0
  for (let seed = 1; seed <= 20; seed++) {
    const first = origin(seed, 1)
    const { world } = first
    const source = { volumeId: first.copy.volumeId, snapshotId: 's', seq: SNAPSHOT_SEQ }
    const inserts: number[] = []
    let isStopping = false
    for (let i = 0; i < CLONES; i++) {
      const spec = world.spec(`clone${i}`, 2 * GIB)
      const made = world.await<Result<OpenCopy>>((done) => world.store!.cloneCopy(spec, `copy${i}`, source, done))
      if (!made.ok) throw made.error
      const { hydration, filling } = made.value.copy
      const insert = filling.insert.bind(filling)
      filling.insert = (versions, done) => {
        if (isStopping) inserts.push(i)
        insert(versions, done)
      }
      hydration.want([0, 1])
    }
    world.clock.advance(world.random.int(20))
    for (const { copy } of world.store!.copies().values()) if (copy.hydration.isUnderWay) underWay++
    isStopping = true
    world.await<unknown>((done) => world.store!.stop(done))
    t.same(inserts, [], `seed ${seed}`)
  }
  t.ok(underWay > CLONES, `${underWay} were under way`)
  t.end()
})
