/** Risk: a volume is deleted with its snapshots, because nobody could be asked for them. */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { deleteVolume } from '../../../csi/controller/volume-calls.ts'
import { HoldfastError } from '../../../engine/errors.ts'

const ID = 'a'.repeat(32)

/** Nobody leads the volume, and nobody has said which snapshots it has. */
function unled(epoch: number): { api: ControlClient; deleted: string[] } {
  const deleted: string[] = []
  const calls = {
    getVolume: async () => ({ id: ID, name: 'pvc-one', epoch, snapshots: 0 }) as Volume,
    listSnapshots: async () => {
      throw new HoldfastError('volume-unled', { name: 'pvc-one', reason: 'n1 is away' })
    },
    deleteVolume: async ({ name }: { name: string }) => {
      deleted.push(name)
      return { keptMs: 0 }
    },
  } satisfies Partial<ControlClient>
  return { api: calls as unknown as ControlClient, deleted }
}

t.test('a volume whose snapshots nobody can say is kept, with the way out', async (t) => {
  const { api, deleted } = unled(3)
  const message = /not known: .* n1 is away; .*`holdfast volume delete pvc-one`/
  await t.rejects(deleteVolume(api, { volumeId: ID }), { code: 14, message })
  t.same(deleted, [])
})

t.test('one that never had a copy has none', async (t) => {
  const { api, deleted } = unled(0)
  t.same(await deleteVolume(api, { volumeId: ID }), {})
  t.same(deleted, [ID])
})
