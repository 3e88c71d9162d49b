/** Risk: an export that is none of a snapshot is looked for at the primary, under a name that no snapshot has. */
import t from 'tap'
import { snapshotName } from '../../dataplane/snapshot-exports.ts'

t.test('an export is a snapshot\'s by two names', async (t) => {
  const id = 'a0'.repeat(16)
  t.same(snapshotName('v@daily'), { volume: 'v', snapshot: 'daily' })
  t.same(snapshotName(`${id}@${id}`), { volume: id, snapshot: id })
  t.same(snapshotName(`v@${'x'.repeat(63)}`), { volume: 'v', snapshot: 'x'.repeat(63) })
  for (const other of ['v', '@', 'v@', '@daily', 'v@a@b', 'v@A', `v@${'x'.repeat(64)}`, `${'x'.repeat(64)}@a`, ''])
    t.equal(snapshotName(other), undefined, other)
})
