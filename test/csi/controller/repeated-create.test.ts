/** CreateVolume that is repeated: what the first try made is judged before it is answered for. */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import type { CreateVolumeRequest as ApiRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { volumeView } from '../../../cluster/api/volume-view.ts'
import { createVolume } from '../../../csi/controller/create-volume.ts'
import type { CreateVolumeRequest } from '../../../csi/messages.ts'
import { refusalOf } from '../../../csi/refusal.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'

const ID = 'a'.repeat(32)
const STATUS = { aborted: 10, unavailable: 14 } as const

const wanted: CreateVolumeRequest = {
  name: 'pvc-one', capacityRange: { requiredBytes: 16 * MIB, limitBytes: 0 },
  volumeCapabilities: [{ block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
  parameters: {}, secrets: {}, volumeContentSource: { volume: { volumeId: 'b'.repeat(32) } },
  accessibilityRequirements: null, mutableParameters: {},
}

/** Keeps one volume as it was asked for; `state` is what is said of it. */
class OneVolume {
  volume: Volume | undefined
  state: Partial<Volume> = { epoch: 1, health: 'healthy' }
  readonly modified: Array<Record<string, string>> = []
  /** What a change is refused with. */
  refused: HoldfastError | undefined

  readonly api = {
    getVolume: async ({ name }: { name: string }) => {
      if (name === 'b'.repeat(32)) return { ...this.view(name, 16 * MIB), id: name }
      if (this.volume === undefined) throw new HoldfastError('volume-not-found', { name })
      return { ...this.volume, ...this.state }
    },
    createVolume: async ({ name, sizeBytes, labels = {}, allowedZones = [] }: ApiRequest) => {
      this.volume = { ...this.view(name, sizeBytes), labels, allowedZones }
      throw new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'the answer did not come' })
    },
    modifyVolume: async ({ parameters }: { parameters: Record<string, string> }) => {
      if (this.refused !== undefined) throw this.refused
      this.modified.push(parameters)
      return { ...this.volume, ...this.state }
    },
    listNodes: async () => ({ nodes: [{ name: 'n1', zone: 'a' }] }),
  } as unknown as ControlClient

  private view(name: string, sizeBytes: number): Volume {
    return volumeView({
      spec: {
        id: ID, name, sizeBytes, blockSizeBytes: 4096, replicas: 2, durability: 'durable', onFull: 'hold',
        ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
      },
      health: 'healthy', healthReason: '', epoch: 1, usedBytes: 0, logicalBytes: 0, seq: 1, commitSeq: 1,
      heldRequests: 0,
    }, { node: 'n1', nbd: [], frontends: [] })
  }
}

/** Volume id, or the status that it was refused with. */
async function asked(one: OneVolume, request: CreateVolumeRequest): Promise<string | number> {
  try {
    return (await createVolume({ api: one.api, log: () => undefined }, request)).volumeId
  } catch (error) {
    return refusalOf(error)?.code ?? Promise.reject(error)
  }
}

t.test('a clone of which nothing is there yet is not told as made', async (t) => {
  const one = new OneVolume()
  t.equal(await asked(one, wanted), STATUS.unavailable)
  one.state = { epoch: 0, health: 'suspended', healthReason: 'it waits for a place' }
  const options = { api: one.api, log: () => undefined }
  await t.rejects(createVolume(options, wanted), { code: 'volume-waits', message: /it waits for a place/ })
  one.state = { epoch: 1, health: 'suspended', healthReason: 'no copy can lead' }
  t.equal(await asked(one, wanted), STATUS.unavailable)
  one.state = { epoch: 1, health: 'degraded', healthReason: 'n3 is away' }
  t.equal(await asked(one, wanted), ID)
})

t.test('what an attributes class says by now is made so, and is none of what has to be equal', async (t) => {
  const one = new OneVolume()
  const fast = { ...wanted, mutableParameters: { 'holdfast.io/qos-iops': '500' } }
  t.equal(await asked(one, fast), STATUS.unavailable)
  t.equal(await asked(one, fast), ID)
  t.same(one.modified, [], 'it was made so')
  const faster = { ...wanted, mutableParameters: { 'holdfast.io/qos-iops': '900' } }
  t.equal(await asked(one, faster), ID)
  t.same(one.modified, [{ 'qos-iops': '900' }])
  t.equal(await asked(one, wanted), ID, 'nor is one that is not named any more')
  one.refused = new HoldfastError('too-few-nodes', { replicas: 3, needed: 4, nodes: 3, most: 2 })
  t.equal(await asked(one, faster), STATUS.aborted, 'the volume is there: Kubernetes has to come again')
  const slip = { ...wanted, mutableParameters: { 'holdfast.io/pool': 'x' } }
  t.equal(await asked(one, slip), STATUS.aborted)
  one.refused = new HoldfastError('no-controller', { reason: 'nobody is elected' })
  t.equal(await asked(one, faster), STATUS.unavailable)
})

t.test('places are judged of what is to be made only', async (t) => {
  const one = new OneVolume()
  const zone = (name: string) => ({ segments: { 'topology.csi.holdfast.io/zone': name } })
  const bound = (name: string): CreateVolumeRequest =>
    ({ ...wanted, accessibilityRequirements: { requisite: [zone(name)], preferred: [] } })
  t.equal(await asked(one, bound('gone')), 8)
  t.equal(await asked(one, bound('a')), STATUS.unavailable)
  t.equal(await asked(one, bound('gone')), ID, 'its nodes have left since')
  t.same((await createVolume({ api: one.api, log: () => undefined }, bound('a'))).accessibleTopology, [])
  one.state = { ...one.state, allowedZones: ['a'] }
  t.same((await createVolume({ api: one.api, log: () => undefined }, bound('a'))).accessibleTopology, [zone('a')])
})

t.test('a name that is taken, and free again at once, is asked for again', async (t) => {
  const one = new OneVolume()
  const api = { ...one.api, createVolume: async () => { throw new HoldfastError('volume-exists', { name: 'x' }) } }
  const options = { api: api as unknown as ControlClient, log: () => undefined }
  await t.rejects(createVolume(options, wanted), { code: STATUS.aborted })
})

t.test('a volume for an xfs is made as large as that needs', async (t) => {
  const one = new OneVolume()
  const mount = { fsType: 'xfs', mountFlags: [], volumeMountGroup: '' }
  const small: CreateVolumeRequest = {
    ...wanted, volumeContentSource: null,
    volumeCapabilities: [{ mount, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
  }
  t.equal(await asked(one, small), STATUS.unavailable, 'its outcome is not known')
  t.equal(one.volume?.sizeBytes, 300 * MIB)
  t.equal(await asked(one, small), ID, 'and it is what was asked for')
})
