/**
 * The key folder of a node: what its daemon needs to unwrap the keys of volumes while they are used, so that it serves
 * them again after a restart (ENCRYPTION.md section 4). It is memory (tmpfs), and only its owner may look into it.
 *
 * A file has the user's key, and the volume's encryption as it was when that key was given: after a rewrap it still
 * opens what it opened.
 *
 * `<volume id>.was` says that the volume was unlocked here, with the check values of its data keys, and stays when its
 * key goes: what is taken for plain by then is not, nor is another data key taken for its own. A reboot takes it away.
 */
import { lstatSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import { isText } from '../../engine/value-shape.ts'
import { decodeEncryption } from '../store/volume-records.ts'
import { checkValuesOf, eraseKeys, unwrapKeys } from './data-key.ts'
import { USER_KEY_BYTES, userKeyOf } from './user-key.ts'
import type { UserKey } from './user-key.ts'

const PARENT = '/dev/shm'
const TMPFS_MAGIC = 0x01021994
const VOLUME_ID = /^[0-9a-f]{32}$/

export interface KeptKey {
  key: UserKey
  encryption: VolumeEncryption
}

/** Of its data keys, by key number - 1. None: they do not open, so none is known. */
export function keptCheckValues({ key, encryption }: KeptKey): string[] {
  try {
    const opened = unwrapKeys(encryption, key, '')
    const values = checkValuesOf(opened)
    eraseKeys(opened)
    return values
  } catch (error) {
    if (error instanceof HoldfastError) return []
    throw error
  }
}

/** What a file of the folder says. Undefined: it is none of that volume. */
export function keptKeyOf(volumeId: string, bytes: Buffer): KeptKey | undefined {
  if (bytes.length < USER_KEY_BYTES) return undefined
  let value: unknown
  try {
    value = JSON.parse(bytes.subarray(USER_KEY_BYTES).toString())
  } catch {
    return undefined
  }
  const encryption = decodeEncryption(value, volumeId)
  const key = new Uint8Array(bytes.subarray(0, USER_KEY_BYTES))
  return encryption === undefined ? undefined : { key: userKeyOf(key), encryption }
}

export class KeyFolder {
  readonly dir: string

  /** @param nodeId  32 hex digits */
  constructor(nodeId: string, parent = PARENT) {
    this.dir = path.join(parent, `holdfast-keys-${nodeId}`)
  }

  /** @throws HoldfastError `key-folder` */
  put(volumeId: string, { key, encryption }: KeptKey): void {
    const file = this.#file(volumeId)
    const bytes = Buffer.concat([key.key.reveal(), Buffer.from(JSON.stringify(encryption))])
    try {
      mkdirSync(this.dir, { recursive: true, mode: 0o700 })
      this.#check()
      if (statfsSync(this.dir).type !== TMPFS_MAGIC) throw new Error('it does not lie in memory (tmpfs)')
      this.#mark(volumeId, keptCheckValues({ key, encryption }))
      const unfinished = this.#unfinished(volumeId)
      writeFileSync(unfinished, bytes, { mode: 0o600 })
      renameSync(unfinished, file)
    } catch (error) {
      throw this.#refusal(error)
    } finally {
      bytes.fill(0)
    }
  }

  /** Undefined: it has none for that volume. @throws HoldfastError `key-folder` */
  get(volumeId: string): KeptKey | undefined {
    const file = this.#file(volumeId)
    let bytes: Buffer
    try {
      if (!this.#isThere()) return undefined
      this.#check()
      bytes = readFileSync(file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw this.#refusal(error)
    }
    try {
      const kept = keptKeyOf(volumeId, bytes)
      if (kept === undefined) throw this.#refusal(new Error(`${volumeId} is damaged`))
      return kept
    } finally {
      bytes.fill(0)
    }
  }

  /** Whether there was one. @throws HoldfastError `key-folder` */
  remove(volumeId: string): boolean {
    try {
      if (!this.#isThere()) return false
      this.#check()
      const had = this.has(volumeId)
      try {
        // A key that a former version put here has no mark, or one that says nothing.
        if (had && !this.checkValues(volumeId)?.length) this.#mark(volumeId, this.#keptCheckValues(volumeId))
      } finally {
        rmSync(this.#file(volumeId), { force: true })
        rmSync(this.#unfinished(volumeId), { force: true })
      }
      this.#removeIfEmpty()
      return had
    } catch (error) {
      throw this.#refusal(error)
    }
  }

  /** Whether a volume was unlocked here since the host booted, also when its key is gone. */
  wasUnlocked(volumeId: string): boolean {
    return this.has(volumeId) || lstatSync(this.#markOf(volumeId), { throwIfNoEntry: false }) !== undefined
  }

  /**
   * Of the data keys that the volume had when it was unlocked here last, by key number - 1. Undefined: it never was
   * since the host booted; none: by a version that kept none.
   */
  checkValues(volumeId: string): string[] | undefined {
    let text: string
    try {
      text = readFileSync(this.#markOf(volumeId), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw this.#refusal(error)
    }
    try {
      const values: unknown = JSON.parse(text)
      return Array.isArray(values) && values.every(isText) ? values : []
    } catch {
      return []
    }
  }

  has(volumeId: string): boolean {
    return lstatSync(this.#file(volumeId), { throwIfNoEntry: false }) !== undefined
  }

  /** Whether there is a folder, and keys in it are ours: one that a stranger made says nothing of any volume. */
  get isOwn(): boolean {
    if (!this.#isThere()) return false
    try {
      this.#check()
      return true
    } catch {
      return false
    }
  }

  #isThere(): boolean {
    return lstatSync(this.dir, { throwIfNoEntry: false }) !== undefined
  }

  /** Somebody else may have made a folder of that name: everybody may write to its parent. */
  #check(): void {
    const found = lstatSync(this.dir)
    if (!found.isDirectory()) throw new Error('it is no folder')
    if (found.uid !== process.geteuid!()) throw new Error(`it belongs to user ${found.uid}`)
    if ((found.mode & 0o077) !== 0) throw new Error('others than its owner may look into it')
  }

  /** The id comes from a store, and becomes part of a path. */
  #file(volumeId: string): string {
    if (!VOLUME_ID.test(volumeId)) throw this.#refusal(new Error('a volume id has 32 hex digits'))
    return path.join(this.dir, volumeId)
  }

  /** Its place while it is written. Somebody who was killed then left a key there. */
  #unfinished(volumeId: string): string {
    return `${this.#file(volumeId)}.new`
  }

  #markOf(volumeId: string): string {
    return `${this.#file(volumeId)}.was`
  }

  #mark(volumeId: string, checkValues: readonly string[]): void {
    // Whole or as it was: half a mark knows no data key, and refuses each.
    const unfinished = `${this.#markOf(volumeId)}.new`
    writeFileSync(unfinished, JSON.stringify(checkValues), { mode: 0o600 })
    renameSync(unfinished, this.#markOf(volumeId))
  }

  /** It goes, also when it is damaged. */
  #keptCheckValues(volumeId: string): string[] {
    try {
      const kept = this.get(volumeId)!
      try {
        return keptCheckValues(kept)
      } finally {
        kept.key.key.erase()
      }
    } catch (error) {
      if (error instanceof HoldfastError) return []
      throw error
    }
  }

  #removeIfEmpty(): void {
    try {
      rmdirSync(this.dir)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error
    }
  }

  #refusal(error: unknown): HoldfastError {
    if (error instanceof HoldfastError) return error
    return new HoldfastError('key-folder', { dir: this.dir, reason: (error as Error).message })
  }
}
