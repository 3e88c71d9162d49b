/**
 * The NBD sessions of one worker: which connection uses which volume, and how they are ended. A session is reported
 * ended exactly once, when the volume holds nothing of it any more.
 */
import type { TLSSocket } from 'node:tls'
import type { BlockDevice } from '../engine/volume/block-device.ts'
import type { QosGate } from '../engine/volume/qos-gate.ts'
import { closeFd } from '../cluster/libc.ts'
import type { RequestMeter } from './meters/request-meter.ts'
import type { NbdSession } from './nbd/listener.ts'
import { Transmission } from './nbd/transmission.ts'
import type { SessionTable } from './store-calls.ts'
import type { SessionReport } from './worker-messages.ts'

/** A device of a replicated volume has the attach generation of its attachment. */
export type ServedDevice = BlockDevice & { readonly generation?: number }

/** `fd`: of the connection under the TLS. */
export type SecureSession = Omit<NbdSession, 'worker' | 'clientFd'> & { socket: TLSSocket }

interface Session {
  volume: string
  generation: number
  transmission: Transmission
}

export class NbdSessions implements SessionTable {
  readonly #sessions = new Map<number, Session>()
  /** Run when a session has ended. */
  readonly #looking = new Set<() => void>()
  readonly #deviceOf: (exportName: string, reader?: number, generation?: number) => ServedDevice | undefined
  readonly #onEnded: (session: number, volume: string, reason: string) => void
  readonly #meterOf: (volume: string) => RequestMeter | undefined
  readonly #gateOf: (volume: string) => QosGate | undefined

  constructor(options: {
    /** `reader`: of the snapshot that the export is. `generation`: under no other attachment than that. */
    deviceOf: (exportName: string, reader?: number, generation?: number) => ServedDevice | undefined
    onEnded: (session: number, volume: string, reason: string) => void
    meterOf?: (volume: string) => RequestMeter | undefined
    gateOf?: (volume: string) => QosGate | undefined
  }) {
    this.#deviceOf = options.deviceOf
    this.#onEnded = options.onEnded
    this.#meterOf = options.meterOf ?? (() => undefined)
    this.#gateOf = options.gateOf ?? (() => undefined)
  }

  /** Serve a connection whose handshake is done. Its volume may have been deleted on the way here. */
  add({ fd, clientFd, ...session }: NbdSession): void {
    const device = this.#deviceOf(session.exportName, session.reader, session.generation)
    if (device !== undefined) return this.#serve(session, { fd, clientFd }, device)
    closeFd(fd)
    if (clientFd !== undefined) closeFd(clientFd)
    this.#onEnded(session.id, session.exportName, 'volume-gone')
  }

  /** The same over TLS, of which the handshake was in this thread. */
  addSecure({ fd, socket, ...session }: SecureSession): void {
    const device = this.#deviceOf(session.exportName, session.reader)
    if (device !== undefined) return this.#serve(session, { fd, secured: socket }, device)
    socket.destroy()
    this.#onEnded(session.id, session.exportName, 'volume-gone')
  }

  #serve(
    { id, exportName, reader, negotiated, leftover }: Omit<SecureSession, 'fd' | 'socket'>,
    connection: { fd: number; secured?: TLSSocket; clientFd?: number | undefined },
    device: ServedDevice,
  ): void {
    const onClose = (reason: string) => {
      this.#sessions.delete(id)
      this.#onEnded(id, exportName, reason)
      for (const look of this.#looking) look()
    }
    // A snapshot's requests are not the volume's.
    const isVolume = reader === undefined
    const meter = isVolume ? this.#meterOf(exportName) : undefined
    const gate = isVolume ? this.#gateOf(exportName) : undefined
    const transmission = new Transmission({ ...connection, negotiated, leftover, device, meter, gate, onClose })
    this.#sessions.set(id, { volume: exportName, generation: device.generation ?? 0, transmission })
  }

  reports(): SessionReport[] {
    return [...this.#sessions].map(([session, { volume, generation }]) => ({ session, volume, generation }))
  }

  count(volume: string): number {
    let count = 0
    for (const session of this.#sessions.values()) if (session.volume === volume) count++
    return count
  }

  /**
   * Attach generations of the connections to some exports that are in use now. While all that are left are of clients
   * that have gone, who wait for nothing any more, their end is waited for.
   * @param mostMs  then those count too
   */
  clients(isOf: (exportName: string) => boolean, mostMs: number, told: (generations: number[]) => void): void {
    const look = (isLate = false): void => {
      const sessions = [...this.#sessions.values()].filter(({ volume }) => isOf(volume))
      if (!isLate && sessions.length > 0 && sessions.every(({ transmission }) => transmission.isLeft)) return
      this.#looking.delete(look)
      clearTimeout(late)
      told(sessions.map(({ generation }) => generation))
    }
    const late = setTimeout(look, mostMs, true)
    this.#looking.add(look)
    look()
  }

  /**
   * Held requests (a full pool) may outlast any drain: their connections are closed at the deadline, unanswered, which
   * a client takes as "perhaps done".
   */
  end(volume: string | undefined, drainMs: number): Promise<void> {
    const ending = [...this.#sessions.values()].filter((session) => volume === undefined || session.volume === volume)
    if (ending.length === 0) return Promise.resolve()
    return new Promise((resolve) => {
      let left = ending.length
      const deadline = setTimeout(() => {
        for (const { transmission } of ending) transmission.destroy()
        resolve()
      }, drainMs)
      for (const { transmission } of ending) {
        transmission.drain(() => {
          if (--left > 0) return
          clearTimeout(deadline)
          resolve()
        })
      }
    })
  }
}
