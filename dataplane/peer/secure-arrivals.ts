/**
 * The accepting side of TLS between data workers, in the worker that is meant (PROTOCOL.md section 8):
 *
 *   plain preface -> `start-tls` -> handshake, both certificates -> the preface again, inside -> onArrived
 *        `-> another worker, plain text: said so        `-> closed, logged
 *
 * Invariant: what is handed on was said by a node of this cluster, and the node that it names is the one that its
 * certificate is for. Of the plain preface nothing is handed on.
 */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ClockPort } from '../../engine/ports.ts'
import { identityName } from '../../cluster/tls/identity.ts'
import type { TlsIdentity } from '../../cluster/tls/identity.ts'
import { TlsAcceptor, addressOf } from '../../cluster/tls/tls-accept.ts'
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import { judgePlain } from './arrival.ts'
import type { Arrival, ArrivedPeer } from './arrival.ts'
import { PeerSocket, PrefaceReader } from './peer-socket.ts'
import { answeringPreface, decodePreface, encodePreface } from './preface.ts'
import type { PeerSelf } from './preface.ts'
import { PEER_PROTOCOL, WINDOW_BYTES } from './protocol.ts'
import type { RefusalLog } from './refusal-log.ts'

export interface SecureArrivalsOptions {
  self: PeerSelf
  tls: TlsFolder
  clock: ClockPort
  refusals: RefusalLog
  nonce(): string
  limits: { handshakeMs: number; unprovenMax: number }
  onArrived(arrived: ArrivedPeer): void
}

export class SecureArrivals {
  readonly #o: SecureArrivalsOptions
  readonly #acceptor: TlsAcceptor
  /** Their preface has not come yet. */
  readonly #reading = new Set<TLSSocket>()

  constructor(options: SecureArrivalsOptions) {
    this.#o = options
    const { tls, limits } = options
    this.#acceptor = new TlsAcceptor({
      folder: tls,
      protocol: PEER_PROTOCOL,
      handshakeMs: limits.handshakeMs,
      handshakesMax: limits.unprovenMax,
      onSecure: (socket, identity) => this.#read(socket, identity),
      onRefused: (address, reason) => this.#refuse(address, reason),
    })
  }

  accept({ fd, preface, address }: Arrival): void {
    const { self, nonce } = this.#o
    const { answer, why } = judgePlain(self, preface)
    const socket = new net.Socket({ fd, allowHalfOpen: true })
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.write(encodePreface(answeringPreface(self, preface, { nonce: nonce(), windowBytes: WINDOW_BYTES, answer })))
    if (answer === 'start-tls') return this.#acceptor.accept(socket, undefined)
    this.#refuse(address, why)
    socket.resume().on('end', () => socket.destroy())
    socket.destroySoon()
  }

  close(): void {
    this.#acceptor.close()
    for (const socket of this.#reading) socket.destroy()
  }

  #refuse(address: string, reason: string): void {
    const host = address.replace(/:\d+$/, '')
    this.#o.refusals.refused('peer refused', `${host} ${reason}`, { address, reason })
  }

  #read(secured: TLSSocket, identity: TlsIdentity): void {
    const { clock, limits, onArrived } = this.#o
    const address = addressOf(secured)
    const refuse = (reason: string): void => {
      this.#refuse(address, reason)
      secured.destroy()
    }
    if (identity.role !== 'node') return refuse(`its certificate is for ${identityName(identity)}, not for a node`)
    if (this.#reading.size >= limits.unprovenMax) return refuse('too many at once')
    const deadline = clock.after(limits.handshakeMs, () => refuse('no preface in time'))
    const over = (): void => {
      deadline.cancel()
      this.#reading.delete(secured)
    }
    secured.on('close', over)
    this.#reading.add(secured)
    const reader = new PrefaceReader((bytes) => {
      secured.off('close', over)
      over()
      const preface = decodePreface(bytes)
      if (typeof preface === 'string') return refuse(preface)
      if (preface.answer !== 'asked') return refuse('an answer to nothing')
      if (preface.node !== identity.name) {
        return refuse(`it says that it is node ${preface.node}, its certificate is for ${identityName(identity)}`)
      }
      onArrived({ socket, preface, address })
    })
    const socket = new PeerSocket({ secured, reader })
  }
}
