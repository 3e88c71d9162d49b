/** ListSnapshots: a token of one kind of list is none of the other. */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import { SnapshotCalls } from '../../../csi/controller/snapshot-calls.ts'

const ID = 'a'.repeat(32)

t.test('a token fits the list that is asked for, or begins anew', async (t) => {
  const asked: string[] = []
  const listSnapshots = async ({ after }: { after: string }) => {
    asked.push(after)
    return { snapshots: [], next: '', unread: [] }
  }
  const calls = new SnapshotCalls({ listSnapshots } as unknown as ControlClient)
  const list = (sourceVolumeId: string, startingToken: string) =>
    calls.list({ maxEntries: 0, startingToken, sourceVolumeId, snapshotId: '' })
  const [ofOne, ofAll] = ['7.ab', `${ID}.7.ab`]
  await list(ID, ofOne)
  await list('', ofAll)
  t.same(asked, [ofOne, ofAll])
  await t.rejects(list('', ofOne), { code: 10 })
  await t.rejects(list(ID, ofAll), { code: 10 })
})
