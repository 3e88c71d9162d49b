/**
 * Random words of a machine to a copy's store against a model, with kills, power cuts and lost indexes: what is stored
 * stays, what is not applied is not shown, what was cut stays away, a filled copy shows what its source did. A bounded
 * selection of seeds.
 */
// test-timeout-seconds: 240
import t from 'tap'
import { runs } from './copy-runs.ts'

const tiny = { pagesMax: 2, checkpointBytes: 16 * 1024, pendingMax: 8 }

t.test('accepting, applying, dropping', (t) => {
  runs(t, 1, 12, { operations: 200 })
  t.end()
})

t.test('snapshots and rollbacks, a page cache of two pages and checkpoints all the time', (t) => {
  runs(t, 101, 8, { operations: 250, snapshots: true, world: tiny })
  t.end()
})

t.test('rollbacks that keep what they roll away, which is rolled back to', (t) => {
  runs(t, 121, 6, { operations: 250, snapshots: true, keeps: true, world: tiny })
  runs(t, 131, 4, { operations: 250, snapshots: true, keeps: true, fills: true })
  t.end()
})

t.test('pages that a rollback emptied are trimmed behind the next one', (t) => {
  runs(t, 711, 8, { operations: 300, snapshots: true, undoes: true, world: tiny })
  t.end()
})

t.test('snapshots are read and compared while they are made, deleted and gone back to', (t) => {
  runs(t, 601, 6, { operations: 300, snapshots: true, reads: true, world: tiny })
  runs(t, 611, 4, { operations: 300, snapshots: true, keeps: true, reads: true, world: { segments: 24 } })
  const world = { disks: 2, segments: 20, ...tiny }
  runs(t, 621, 4, { operations: 300, snapshots: true, reads: true, fills: true, world })
  t.end()
})

t.test('a small disk, the cleaner at work', (t) => {
  runs(t, 201, 4, { operations: 600, snapshots: true, world: { segments: 20 } })
  t.end()
})

t.test('filled again and again', (t) => {
  runs(t, 301, 10, { operations: 250, snapshots: true, fills: true })
  t.end()
})

t.test('it grows, and is filled anew by who forgot trims', (t) => {
  runs(t, 4, 6, { operations: 300, snapshots: true, fills: true, grows: true, world: { segments: 60 } })
  const world = { disks: 2, segments: 40, ...tiny }
  runs(t, 704, 3, { operations: 300, snapshots: true, fills: true, grows: true, world })
  t.end()
})

t.test('two disks, small, filled', (t) => {
  const world = { disks: 2, segments: 20, ...tiny }
  runs(t, 401, 4, { operations: 400, snapshots: true, fills: true, world })
  const many = { snapshots: true, changes: true, snapshotsMost: 5, keeps: true }
  runs(t, 20_060, 3, { operations: 400, ...many, fills: true, world })
  t.end()
})

t.test('two disks that write back', (t) => {
  runs(t, 501, 6, { operations: 250, snapshots: true, fills: true, writeback: true, world: { disks: 2, ...tiny } })
  t.end()
})

t.test('a crash while a filling begins leaves the copy as it was', (t) => {
  runs(t, 438, 1, { operations: 300, fills: true, world: { segments: 24, pagesMax: 2, pendingMax: 20 } })
  t.end()
})

t.test('filled up to less than it had, a copy says anew what it applied before records are given back', (t) => {
  runs(t, 540, 1, { operations: 300, snapshots: true, fills: true, world: { segments: 24, pagesMax: 1 } })
  t.end()
})

t.test('what is wiped does not come back out of the history', (t) => {
  const world = { segments: 40, pagesMax: 1, pendingMax: 20 }
  runs(t, 518, 1, { operations: 300, snapshots: true, fills: true, writeback: true, world })
  t.end()
})
