/** The keys that a node has: of users, in its key folder, and of its cluster. What a frontend opens its volume with. */
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { hasSameEntries, wrappedKeyOf } from '../../engine/volume/volume-encryption.ts'
import { eraseKeys, unwrapKeys } from './data-key.ts'
import type { UnwrappedKeys } from './data-key.ts'
import type { KeyFolder } from './key-folder.ts'
import type { UserKey } from './user-key.ts'

export interface NodeKeysOptions {
  node: string
  folder: KeyFolder
  cluster: UserKey | undefined
  /** That blocks can be encrypted in this process. @throws HoldfastError `cipher-unavailable` */
  requireCipher(): void
}

export class NodeKeys {
  readonly cluster: UserKey | undefined
  readonly #o: NodeKeysOptions

  constructor(options: NodeKeysOptions) {
    this.#o = options
    this.cluster = options.cluster
  }

  /**
   * The data keys of a volume, to be erased by the caller; undefined: it is not encrypted,
   * and was not when somebody unlocked it here.
   * @throws HoldfastError `key-missing`, `key-refused`, `key-folder`, `cipher-unavailable`
   */
  open({ id, name, encryption }: VolumeSpec): UnwrappedKeys | undefined {
    if (encryption === undefined) return this.#refuseIfUnlocked(id, name)
    this.#o.requireCipher()
    const wanted = wrappedKeyOf(encryption).wrappedBy
    const kept = this.#o.folder.get(id)
    try {
      if (kept !== undefined) {
        if (kept.key.id === wanted) return unwrapKeys(encryption, kept.key, name)
        // Wrapped anew since, or by a key server: the data keys are those of then, the step is that of its spec.
        if (hasSameEntries(kept.encryption, encryption)) {
          const { cipher, keys } = kept.encryption
          const { writesUnder } = encryption
          return unwrapKeys({ cipher, keys, ...(writesUnder === undefined ? {} : { writesUnder }) }, kept.key, name)
        }
      }
      if (this.cluster?.id === wanted) return unwrapKeys(encryption, this.cluster, name)
    } finally {
      kept?.key.key.erase()
    }
    throw new HoldfastError('key-missing', { volume: name, wanted, node: this.#o.node })
  }

  /** A volume that was unlocked here is encrypted, whatever its spec says by now: it is not written in the clear. */
  #refuseIfUnlocked(id: string, name: string): undefined {
    const { folder } = this.#o
    if (!folder.isOwn || !folder.wasUnlocked(id)) return undefined
    const kept = folder.get(id)
    kept?.key.key.erase()
    throw new HoldfastError('key-refused', { volume: name, wanted: kept?.key.id ?? 'of before' })
  }

  /** The same, with its refusal as a value. */
  tryOpen(spec: VolumeSpec): { ok: true; value: UnwrappedKeys | undefined } | { ok: false; error: HoldfastError } {
    try {
      return { ok: true, value: this.open(spec) }
    } catch (error) {
      if (error instanceof HoldfastError) return { ok: false, error }
      throw error
    }
  }

  /** Why a volume cannot be opened with what is here; undefined: it can. */
  whyLocked(spec: VolumeSpec): HoldfastError | undefined {
    const opened = this.tryOpen(spec)
    if (!opened.ok) return opened.error
    eraseKeys(opened.value)
    return undefined
  }

  /** The volume is gone for good. A folder that is not ours has no key of ours. */
  forget(volumeId: string): void {
    try {
      this.#o.folder.remove(volumeId)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
    }
  }
}
