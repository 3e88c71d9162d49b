/**
 * One attempt to reach a peer: connect, say our preface, read and judge the answer. Ends once, with a socket that is
 * ready for frames or with a reason, within a deadline.
 *
 *   in plain text   connect -> preface -> answer -> judged
 *   over TLS        connect -> preface -> `start-tls` -> handshake -> preface -> answer -> judged
 *
 * Invariant: with certificates, nothing but the first preface is said to whom has not shown that he is the node that is
 * meant, and no answer in plain text is taken for more than leave to begin, or a reason not to.
 */
import net from 'node:net'
import { wishForNode, secure } from '../../cluster/tls/tls-connect.ts'
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import type { ClockPort } from '../../engine/ports.ts'
import { PeerSocket, PrefaceReader } from './peer-socket.ts'
import type { PeerEndpoint } from './peer-socket.ts'
import { decodePreface, encodePreface, judgeAnswer } from './preface.ts'
import type { Preface } from './preface.ts'
import { FRAME_BYTES_MAX, PEER_PROTOCOL, PREFACE_BYTES } from './protocol.ts'

export interface DialOptions {
  endpoint: PeerEndpoint
  preface: Preface
  clock: ClockPort
  deadlineMs: number
  /** Undefined: in plain text. */
  tls?: TlsFolder | undefined
  /** `strange`: somebody else answers there, or in words that are not ours. */
  failed(why: string, strange: boolean): void
  answered(socket: PeerSocket, answer: Preface): void
}

/** @returns what gives the attempt up without a word */
export function dial(options: DialOptions): () => void {
  const attempt = new Attempt(options)
  if (!isPlace(options.endpoint)) attempt.nowhere()
  else if (options.tls === undefined) attempt.inPlain()
  else attempt.securely(options.tls)
  return () => attempt.giveUp()
}

/** A socket throws at once for a port that none can be, in whoever's turn it is. */
const isPlace = (endpoint: PeerEndpoint): boolean =>
  'path' in endpoint || (Number.isInteger(endpoint.port) && endpoint.port >= 1 && endpoint.port <= 65535)

class Attempt {
  readonly #o: DialOptions
  readonly #deadline: { cancel(): void }
  #isOver = false
  /** The last one of those that belong to the connection. */
  #socket: net.Socket | undefined
  #unwatch: () => void = () => undefined

  constructor(options: DialOptions) {
    this.#o = options
    this.#deadline = options.clock.after(options.deadlineMs, () => this.#fail('no answer in time', false))
  }

  nowhere(): void {
    this.#o.clock.defer(() => this.#fail('its address has no port', true))
  }

  inPlain(): void {
    const { endpoint, preface } = this.#o
    const reader = new PrefaceReader((bytes) => this.#judge(peer, bytes))
    const peer = new PeerSocket({ endpoint, reader })
    this.#watch(peer.socket)
    peer.socket.on('connect', () => peer.socket.write(encodePreface(preface)))
  }

  securely(tls: TlsFolder): void {
    const { endpoint, preface } = this.#o
    const socket = net.connect({ ...endpoint, allowHalfOpen: true, noDelay: true })
    this.#watch(socket)
    socket.on('connect', () => socket.write(encodePreface({ ...preface, wantsTls: true })))
    let said: Buffer = Buffer.alloc(0)
    const onData = (bytes: Buffer): void => {
      said = said.length === 0 ? bytes : Buffer.concat([said, bytes])
      if (said.length > PREFACE_BYTES) return this.#fail('it says more than a preface', true)
      if (said.length < PREFACE_BYTES) return
      socket.off('data', onData)
      const answer = decodePreface(said)
      if (typeof answer === 'string') return this.#fail(answer, true)
      if (answer.answer === 'start-tls') return this.#begin(socket, tls)
      const isUsual = answer.answer === 'stopping'
      this.#fail(judgeAnswer(preface, answer) ?? 'it would talk in plain text', !isUsual)
    }
    socket.on('data', onData)
  }

  giveUp(): void {
    if (this.#end()) this.#socket?.destroy()
  }

  #begin(socket: net.Socket, tls: TlsFolder): void {
    const { preface } = this.#o
    this.#unwatch()
    const wish = wishForNode(tls, preface.toNode, PEER_PROTOCOL)
    this.#socket = secure(socket, wish, (secured) => {
      const reader = new PrefaceReader((bytes) => this.#judge(peer, bytes))
      const peer = new PeerSocket({ secured, reader })
      this.#watch(secured)
      secured.write(encodePreface(preface))
    }, (why) => this.#fail(why, true))
  }

  /** What it does is ours, until the next stage. An error that comes between two must not end the process: it stays. */
  #watch(socket: net.Socket): void {
    this.#socket = socket
    const onClose = (): void => this.#fail('it closed the connection', false)
    const onEnd = (): void => this.#fail('it ended the connection', false)
    socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(error.code ?? error.message, false))
    socket.on('close', onClose).on('end', onEnd)
    this.#unwatch = () => void socket.off('close', onClose).off('end', onEnd)
  }

  #judge(peer: PeerSocket, bytes: Uint8Array): void {
    const { preface } = this.#o
    const answer = decodePreface(bytes)
    if (typeof answer === 'string') return this.#fail(answer, true)
    const problem = judgeAnswer(preface, answer)
    if (problem !== undefined) {
      return this.#fail(problem, answer.answer !== 'duplicate' && answer.answer !== 'stopping')
    }
    if (answer.windowBytes < 2 * FRAME_BYTES_MAX) return this.#fail('its window is smaller than two frames', true)
    if (!this.#end()) return
    this.#unwatch()
    this.#o.answered(peer, answer)
  }

  #end(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    this.#deadline.cancel()
    return true
  }

  #fail(why: string, strange: boolean): void {
    if (!this.#end()) return
    this.#socket?.destroy()
    this.#o.failed(why, strange)
  }
}
