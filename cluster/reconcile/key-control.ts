/** With what the data keys of a volume are wrapped: told, and exchanged for the same keys, wrapped otherwise. */
import { HoldfastError } from '../../engine/errors.ts'
import { hasSameKeys, isRekeyed, wrappedKeyOf } from '../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import type { Volume, VolumeKeys } from '../api/volume-messages.ts'
import type { ChangeKeysRequest } from '../api/volume-wish-messages.ts'
import { decodeEncryption } from '../store/volume-records.ts'
import type { ElectedView } from './elected-view.ts'
import type { VolumeWishes } from './volume-wishes.ts'

export interface KeyControlOptions {
  wishes: VolumeWishes
  elected: ElectedView
}

export class KeyControl {
  private readonly wishes: VolumeWishes
  private readonly elected: ElectedView

  constructor({ wishes, elected }: KeyControlOptions) {
    this.wishes = wishes
    this.elected = elected
  }

  async get({ name }: { name: string }): Promise<VolumeKeys> {
    const { spec: { id: volumeId, encryption } } = await this.wishes.find(name)
    const { cluster } = this.elected.term()
    const nodes = Object.keys(cluster.volumes.get(volumeId)?.config?.members ?? {}).sort()
    if (encryption === undefined) return { volumeId, encryption: '', nodes, sharedWith: [] }
    const sharedWith: string[] = []
    for (const { record } of cluster.volumes.values()) {
      if (record === undefined || record.spec.id === volumeId) continue
      if (record.spec.encryption?.keys[0]?.volumeId === encryption.keys[0]!.volumeId) sharedWith.push(record.spec.name)
    }
    return { volumeId, encryption: JSON.stringify(encryption), nodes, sharedWith: sharedWith.sort() }
  }

  /** The same data keys, wrapped otherwise; frontends go on with what they have. */
  async change({ name, former, encryption: wanted, wrappedBy }: ChangeKeysRequest): Promise<Volume> {
    const { spec: { id } } = await this.wishes.find(name)
    const next = encryptionOf(wanted, id)
    const term = this.elected.term()
    const record = await this.wishes.update(id, (one) => {
      const { encryption } = one.spec
      if (encryption === undefined) throw new HoldfastError('volume-plain', { volume: name })
      if (JSON.stringify(encryption) !== former) throw new HoldfastError('key-changed', { volume: name })
      const isAllowed = next !== undefined && (hasSameKeys(encryption, next) || isRekeyed(encryption, next))
      if (!isAllowed || wrappedKeyOf(next).wrappedBy !== wrappedBy) {
        const allowed = 'the same, wrapped anew, or one more under which nobody writes yet'
        throw new HoldfastError('parameter', { parameter: 'keys', value: 'others', allowed })
      }
      return { ...one, spec: { ...one.spec, encryption: next } }
    })
    return this.elected.view(record, term)
  }
}

function encryptionOf(text: string, volumeId: string): VolumeEncryption | undefined {
  try {
    return decodeEncryption(JSON.parse(text), volumeId)
  } catch {
    return undefined
  }
}
