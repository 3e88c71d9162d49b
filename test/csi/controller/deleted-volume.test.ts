/** Risk: a volume is deleted with its snapshots, because nobody could be asked for them. */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { controllerServices } from '../../../csi/controller/controller-services.ts'
import { deleteVolume } from '../../../csi/controller/volume-calls.ts'
import { groupIdOf, snapshotHandle, snapshotIdOf } from '../../../csi/names.ts'
import { Operations } from '../../../csi/operations.ts'
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

/** A volume without snapshots, until what is asked for is let go on; one call at a time is kept back. */
class KeptBack {
  readonly calls: string[] = []
  #goOn = (): void => undefined
  #held = ''
  private readonly snapshots: object[] = []

  hold(call: string): void {
    this.#held = call
  }

  goOn(): void {
    this.#held = ''
    this.#goOn()
  }

  private async step(call: string): Promise<void> {
    this.calls.push(call)
    if (this.#held === call) await new Promise<void>((resolve) => { this.#goOn = resolve })
  }

  readonly api = {
    getVolume: async ({ name }: { name: string }) => {
      if (name !== ID) throw new HoldfastError('volume-not-found', { name })
      return { id: ID, name: 'pvc-one', epoch: 3, sizeBytes: 1 } as Volume
    },
    listSnapshots: async () => {
      const snapshots = [...this.snapshots]
      await this.step('listSnapshots')
      return { snapshots, next: '', unread: [] }
    },
    createSnapshot: async ({ name, id }: { name: string; id: string }) => {
      await this.step('createSnapshot')
      const made = { volumeId: ID, id, name, group: '', sizeBytes: 1, createdAtMs: 0 }
      this.snapshots.push(made)
      return made
    },
    createGroup: async ({ name }: { name: string }) => {
      await this.step('createGroup')
      this.snapshots.push({ group: name })
      return { id: groupIdOf(name, [ID]), name, members: [], createdAtMs: 0 }
    },
    createVolume: async () => {
      await this.step('createVolume')
      return { id: 'b'.repeat(32), name: 'clone', sizeBytes: 1, allowedNodes: [], allowedZones: [] }
    },
    getSnapshot: async () => ({ volumeId: ID, id: snapshotIdOf(ID, 's'), name: 's', sizeBytes: 1 }),
    deleteVolume: async () => this.step('deleteVolume'),
  }

  /** Calls of CSI by their name. */
  readonly csi = Object.assign({}, ...controllerServices({
    api: this.api as unknown as ControlClient, async *diff() {}, operations: new Operations(), volumesMax: 0,
    mayAsk: async () => undefined, log: () => undefined,
  }).map(({ calls }) => calls)) as Record<string, (request: object) => Promise<unknown>>
}

const clone = (name: string, volumeContentSource: object) => ({
  name, volumeContentSource, capacityRange: null, parameters: {}, mutableParameters: {}, secrets: {},
  volumeCapabilities: [{ block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }], accessibilityRequirements: null,
})
const USES = {
  createSnapshot: ['CreateSnapshot', { name: 's', sourceVolumeId: ID, parameters: {} }],
  createGroup: ['CreateVolumeGroupSnapshot', { name: 'g', sourceVolumeIds: [ID, ID], parameters: {} }],
  createVolume: ['CreateVolume', clone('c', { volume: { volumeId: ID } })],
} as const
const SNAPSHOT = snapshotHandle({ volumeId: ID, snapshotId: snapshotIdOf(ID, 's') })
const RESTORED = clone('r', { snapshot: { snapshotId: SNAPSHOT } })

t.test('what is made of a volume, and its deletion, come one after the other', async (t) => {
  for (const [call, [rpc, request]] of Object.entries(USES)) {
    const one = new KeptBack()
    one.hold(call)
    const made = one.csi[rpc]!(request)
    while (!one.calls.includes(call)) await new Promise((resolve) => setImmediate(resolve))
    const refused = { code: 10, message: new RegExp(`${rpc} of .*${ID} is under way`) }
    await t.rejects(one.csi.DeleteVolume!({ volumeId: ID }), refused, rpc)
    one.goOn()
    await made
    const isKept = rpc !== 'CreateVolume'
    const deleted = one.csi.DeleteVolume!({ volumeId: ID })
    await (isKept ? t.rejects(deleted, { code: 9, message: /has snapshots/ }) : deleted)
  }
  for (const [rpc, request] of [...Object.values(USES), ['CreateVolume', RESTORED] as const]) {
    const one = new KeptBack()
    one.hold('listSnapshots')
    const deleted = one.csi.DeleteVolume!({ volumeId: ID })
    while (one.calls.length === 0) await new Promise((resolve) => setImmediate(resolve))
    await t.rejects(one.csi[rpc]!(request), { code: 10, message: /DeleteVolume of .* is under way/ }, rpc)
    one.goOn()
    await deleted
    t.same(one.calls, ['listSnapshots', 'deleteVolume'])
  }
})

t.test('many things are made of one volume side by side', async () => {
  const one = new KeptBack()
  one.hold('createVolume')
  const first = one.csi.CreateVolume!(clone('one', { volume: { volumeId: ID } }))
  while (!one.calls.includes('createVolume')) await new Promise((resolve) => setImmediate(resolve))
  await one.csi.CreateSnapshot!({ name: 's', sourceVolumeId: ID, parameters: {} })
  one.goOn()
  await Promise.all([first, one.csi.CreateVolume!(RESTORED)])
})
