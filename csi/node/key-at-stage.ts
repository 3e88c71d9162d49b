/**
 * The key of an encrypted volume comes with the secrets of NodeStageVolume, and goes where `holdfast volume unlock`
 * puts it: the key folder of the node whose data process serves this host. It goes with the stage that brought it;
 * one that was given by hand stays.
 *
 * That we brought it is a file in our state, made before the key is put there and gone after the key is.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { fileSource, keptKeyOf } from '../../cluster/keys/key-source.ts'
import { decodeEncryption } from '../../cluster/store/volume-records.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { keyOfSecrets } from '../encryption-key.ts'

export class KeyAtStage {
  readonly #api: Pick<ControlClient, 'getKeys'>
  readonly #folder: KeyFolder
  readonly #dir: string

  /** @param nodeId  of the node whose data process serves this host */
  constructor(api: Pick<ControlClient, 'getKeys'>, nodeId: string, stateFolder: string) {
    this.#api = api
    this.#folder = new KeyFolder(nodeId)
    this.#dir = path.join(stateFolder, 'unlocked')
  }

  /**
   * Without a secret nothing: the cluster key opens it, or somebody unlocked it. Who brings a key has an encrypted
   * volume: one that is plain by now is not written in the clear.
   * @throws CsiRefusal, HoldfastError `volume-plain`, `key-wrong`, `key-refused`, `key-folder`
   */
  async put({ id, name }: Pick<Volume, 'id' | 'name'>, secrets: Readonly<Record<string, string>>): Promise<void> {
    const userKey = keyOfSecrets(secrets)
    if (userKey === undefined) return
    try {
      const { encryption: text } = await this.#api.getKeys({ name: id })
      const encryption = text === '' ? undefined : decodeEncryption(JSON.parse(text), id)
      if (encryption === undefined) throw new HoldfastError('volume-plain', { volume: name })
      const kept = await keptKeyOf(encryption, fileSource(userKey), name)
      const mark = this.#mark(id)
      if (!this.#folder.has(id) && !existsSync(mark)) {
        mkdirSync(this.#dir, { recursive: true, mode: 0o700 })
        writeFileSync(mark, '')
      }
      this.#folder.put(id, kept)
    } finally {
      userKey.key.erase()
    }
  }

  /** @throws HoldfastError `key-folder` */
  take(volumeId: string): void {
    const mark = this.#mark(volumeId)
    if (!existsSync(mark)) return
    this.#folder.remove(volumeId)
    rmSync(mark, { force: true })
  }

  #mark(volumeId: string): string {
    if (!/^[0-9a-f]{32}$/.test(volumeId)) throw new HoldfastError('volume-not-found', { name: volumeId })
    return path.join(this.#dir, volumeId)
  }
}
