/**
 * A copy whose list of snapshots lies in leaves (FORMAT.md section 7): after kills, power cuts, lost indexes, fillings
 * and with the cleaner at work its list is that of the model. Leaves are small here, so that a change makes several.
 */
// test-timeout-seconds: 240
import t from 'tap'
import { CopyWorld } from '../../sim/copy-world.ts'
import { runs } from './copy-runs.ts'

const tiny = { pagesMax: 2, checkpointBytes: 16 * 1024, pendingMax: 8 }
const lists = { snapshots: true, snapshotsMost: 14 }

t.test('made, deleted, rolled back to, checkpoints all the time', (t) => {
  runs(t, 601, 10, { operations: 300, ...lists, world: { leafSnapshots: 3, ...tiny } })
  t.end()
})

t.test('a small disk, the cleaner at work', (t) => {
  runs(t, 621, 6, { operations: 600, ...lists, world: { leafSnapshots: 3, segments: 20 } })
  t.end()
})

t.test('filled again and again', (t) => {
  runs(t, 641, 8, { operations: 300, ...lists, fills: true, keeps: true, world: { leafSnapshots: 3 } })
  t.end()
})

t.test('two disks, one of which may have less', (t) => {
  runs(t, 5001, 24, { operations: 250, ...lists, fills: true, world: { leafSnapshots: 2, disks: 2, ...tiny } })
  const world = { leafSnapshots: 3, disks: 2, segments: 20, ...tiny }
  runs(t, 681, 6, { operations: 300, ...lists, fills: true, writeback: true, world })
  t.end()
})

t.test('a disk on which lists are whole, and a long list that comes at once', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let world = new CopyWorld({ seed: 9, leafSnapshots: 1_000_000 })
    const namesOf = (): string[] => world.copy.descriptor().snapshots.map(({ id }) => id)
    const leavesOf = (): number => world.copy.targets[0]!.map.copy!.leaves.leaves.length
    world.open()
    world.epoch(1, 1)
    const change = (seq: number, id: string, operation: 'snapshot' | 'snapshot-delete' = 'snapshot'): void =>
      world.control(1, seq, { operation, id })
    for (let seq = 2; seq <= 30; seq++) change(seq, `s${seq}`)
    world.settle()
    world.copy.apply(30, {})
    const names = Array.from({ length: 29 }, (_, i) => `s${i + 2}`)
    t.same(namesOf(), names)
    t.equal(leavesOf(), 0, 'as a version of before writes it')
    world = world.crash('kill', index)
    world.world.options.leafSnapshots = 4
    world = world.crash('kill', index)
    world.open()
    world.copy.apply(30, {})
    t.same(namesOf(), names)
    change(31, 's31')
    world.settle()
    world.copy.apply(31, {})
    world.drained()
    t.equal(leavesOf(), 7, 'thirty in leaves of four')
    change(32, 's9', 'snapshot-delete')
    world.settle()
    world.copy.apply(32, {})
    world.drained()
    t.equal(leavesOf(), 7)
    const left = [...names.filter((name) => name !== 's9'), 's31']
    world = world.crash({ kind: 'synced' }, index)
    world.open()
    world.copy.apply(32, {})
    t.same(namesOf(), left, `index ${JSON.stringify(index)}`)
    t.equal(leavesOf(), 7)
  }
  t.end()
})
