/**
 * A copy whose list of snapshots lies in leaves (FORMAT.md section 7): after kills, power cuts, lost indexes, fillings
 * and with the cleaner at work its list is that of the model. Leaves are small here, so that a change makes several.
 */
// test-timeout-seconds: 240
import t from 'tap'
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
