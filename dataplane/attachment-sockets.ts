/**
 * A socket for each volume that this node holds, `attached/VOLUME-ID.GENERATION`: whoever is given one can open that
 * volume under that attach generation, and nothing else, ever. It is there before the attachment is answered, and gone
 * when another generation takes its place or the node holds the volume no more. One of an older attachment finds no
 * socket; should he have connected in the moment in which it ends, the worker serves no session of a generation that
 * is not in force (offered-volumes.ts).
 *
 * Mode `open` has no holder, so no socket: there everybody comes by name. A path that is too long for a unix socket is
 * told; the volume is offered by name all the same. Whatever else is in the way may pass: who offers tries again.
 */
import { rmSync } from 'node:fs'
import type { Server } from 'node:net'
import path from 'node:path'
import { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'
import type { ExportDirectory } from './nbd/handshake.ts'
import type { NbdListener } from './nbd/listener.ts'

export interface AttachmentSocketsOptions {
  /** What is there was left by a daemon that is dead. */
  folder: string
  listener: Pick<NbdListener, 'listenUnix' | 'stopListening'>
  /** That volume alone. */
  exportsOf(volumeId: string): ExportDirectory
  log: LogPort
}

export class AttachmentSockets {
  readonly #o: AttachmentSocketsOptions
  /** By volume. One offer of a volume at a time is the caller's care. */
  readonly #open = new Map<string, { generation: number; server: Server }>()

  constructor(options: AttachmentSocketsOptions) {
    this.#o = options
    rmSync(options.folder, { recursive: true, force: true })
  }

  /**
   * The volume is held here under that generation: when this resolves its socket is there, and no former one.
   * @throws HoldfastError `socket-busy`, `socket-taken`, `listen`: there is none, and later there may be
   */
  async offer(volumeId: string, generation: number): Promise<void> {
    const { folder, listener, exportsOf, log } = this.#o
    if (this.#open.get(volumeId)?.generation === generation) return
    this.withdraw(volumeId)
    const file = path.join(folder, `${volumeId}.${generation}`)
    try {
      const server = await listener.listenUnix(file, { exports: exportsOf(volumeId), generation })
      this.#open.set(volumeId, { generation, server })
    } catch (error) {
      if (!(error instanceof HoldfastError)) {
        const { code } = error as NodeJS.ErrnoException
        if (code === undefined) throw error
        throw new HoldfastError('listen', { endpoint: file, reason: code }, { cause: error })
      }
      if (error.code !== 'socket-path') throw error
      log.event('warn', 'an attachment has no socket of its own', { volume: volumeId, reason: error.message })
    }
  }

  withdraw(volumeId: string): void {
    const open = this.#open.get(volumeId)
    if (open === undefined) return
    this.#open.delete(volumeId)
    this.#o.listener.stopListening(open.server)
  }
}
