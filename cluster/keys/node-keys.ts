/** The keys that a node has: of users, in its key folder, and of its cluster. What a frontend opens its volume with. */
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { hasSameEntries, wrappedKeyOf } from '../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import { checkValuesOf, eraseKeys, unwrapKeys } from './data-key.ts'
import type { UnwrappedKeys } from './data-key.ts'
import { keptCheckValues } from './key-folder.ts'
import type { KeptKey, KeyFolder } from './key-folder.ts'
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
   * and was not when somebody unlocked it here. All that it had then are among them, at their places: who writes the
   * cluster store may put others in their place, which the cluster key opens.
   * @throws HoldfastError `key-missing`, `key-refused`, `key-folder`, `cipher-unavailable`
   */
  open({ id, name, encryption }: VolumeSpec): UnwrappedKeys | undefined {
    if (encryption === undefined) return this.#refuseIfUnlocked(id, name)
    this.#o.requireCipher()
    const kept = this.#o.folder.get(id)
    try {
      const opened = this.#unwrap(encryption, kept, name)
      const known = kept === undefined ? this.#o.folder.checkValues(id) : keptCheckValues(kept)
      if (known === undefined || isAmong(known, checkValuesOf(opened))) return opened
      eraseKeys(opened)
      throw new HoldfastError('key-refused', { volume: name, wanted: kept?.key.id ?? 'of before' })
    } finally {
      kept?.key.key.erase()
    }
  }

  #unwrap(encryption: VolumeEncryption, kept: KeptKey | undefined, name: string): UnwrappedKeys {
    const wanted = wrappedKeyOf(encryption).wrappedBy
    if (kept?.key.id === wanted) return unwrapKeys(encryption, kept.key, name)
    // Wrapped anew since, or by a key server: the data keys are those of then, the step is that of its spec.
    if (kept !== undefined && hasSameEntries(kept.encryption, encryption)) {
      const { cipher, keys } = kept.encryption
      const { writesUnder } = encryption
      return unwrapKeys({ cipher, keys, ...(writesUnder === undefined ? {} : { writesUnder }) }, kept.key, name)
    }
    if (this.cluster?.id === wanted) return unwrapKeys(encryption, this.cluster, name)
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

/** No data key is ever taken out of a spec, or moved in it. None is known: what is found may be another one. */
const isAmong = (known: readonly string[], found: readonly string[]): boolean =>
  known.length > 0 && known.every((value, at) => found[at] === value)
