/** What a copy notes of the cluster store is there after every restart, and is no other copy's. */
import t from 'tap'
import { GIB } from '../../../engine/units.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const NOTE = { config: { epoch: 7, primary: 'n1' }, record: { trash: null } }

const note = (world: CopyWorld, noted: unknown): boolean =>
  world.world.await<boolean>((done) => world.copy.note(noted, done))

t.test('a note survives restarts, later records, the loss of an index and a filling', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    for (const disks of [1, 2]) {
      let world = new CopyWorld({ seed: 21, disks }, { sizeBytes: 2 * GIB })
      const crash = (): void => {
        world = world.crash({ kind: 'synced' }, index)
        world.open()
      }
      world.open()
      t.equal(world.copy.noted, undefined, 'a new copy has none')
      world.epoch(1, 1)
      world.settle()
      t.ok(note(world, { config: { epoch: 1 } }))
      t.ok(note(world, NOTE))
      crash()
      t.same(world.copy.noted, NOTE, `${disks} disks, index ${JSON.stringify(index)}`)
      t.ok(world.keep({ promise: { epoch: 2, primary: 'n1' } }))
      world.append(write(1, 2, 7, [72]))
      world.settle()
      world.copy.apply(2, {})
      crash()
      t.same(world.copy.noted, NOTE, 'after facts and records')
      const descriptor = { ...world.copy.descriptor(), epochs: [[1, 1]] }
      world.startFill({ fork: 0, target: 4, wipe: [0, 1], descriptor })
      crash()
      t.same(world.copy.noted, NOTE, 'while it is filled')
    }
  }
  t.end()
})

t.test('a note is refused by a copy that failed', (t) => {
  const world = new CopyWorld({ seed: 22 })
  world.open()
  world.copy.fail('for the test')
  t.notOk(note(world, NOTE))
  t.end()
})

t.test('the copy that takes the place of a removed one has no note', (t) => {
  let world = new CopyWorld({ seed: 23 })
  world.open()
  t.ok(note(world, NOTE))
  const { volumeId } = world.copy
  t.ok(world.world.await<Result<void>>((done) => world.world.store!.removeCopy(volumeId, done)).ok)
  const made = world.world.await<Result<OpenCopy>>((done) =>
    world.world.store!.createCopy(world.world.spec('vol', 1 << 20), 'c2', done))
  if (!made.ok) throw made.error
  world.use(made.value.copy)
  t.equal(world.copy.noted, undefined)
  world = world.crash({ kind: 'synced' }, 'lost')
  world.open()
  t.equal(world.copy.noted, undefined, 'nor after a restart')
  t.end()
})
