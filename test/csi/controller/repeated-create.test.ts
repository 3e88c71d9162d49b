/** CreateVolume that is repeated: what the first try made is judged before it is answered for. */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { CreateVolumeRequest as ApiRequest, Volume } from '../../../cluster/api/definition.ts'
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

  readonly api = {
    getVolume: async ({ name }: { name: string }) => {
      if (name === 'b'.repeat(32)) return { ...this.view(name, 16 * MIB), id: name }
      if (this.volume === undefined) throw new HoldfastError('volume-not-found', { name })
      return { ...this.volume, ...this.state }
    },
    createVolume: async ({ name, sizeBytes, labels = {} }: ApiRequest) => {
      this.volume = { ...this.view(name, sizeBytes), labels }
      throw new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'the answer did not come' })
    },
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
