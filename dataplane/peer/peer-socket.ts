/**
 * A socket whose bytes land where its present reader wants them: first whoever reads the preface, then the connection.
 * The kernel is told of the next place before it is known who will read there, so bytes that landed in another one's
 * place are moved over.
 */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { assert } from '../../engine/assert.ts'
import { writeNow } from '../write-now.ts'
import { PREFACE_BYTES } from './protocol.ts'

export interface SocketReader {
  /** Where the next bytes go; never empty. */
  space(): Uint8Array
  received(count: number): void
}

/** Where a peer listens. */
export type PeerEndpoint = { host: string; port: number } | { path: string }

export const endpointName = (endpoint: PeerEndpoint): string =>
  'path' in endpoint ? endpoint.path : `${endpoint.host}:${endpoint.port}`

const FIRST_BYTES = 4096

export class PeerSocket {
  readonly socket: net.Socket
  reader: SocketReader | undefined
  readonly #isSecure: boolean
  #armed: SocketReader | undefined
  #space: Uint8Array = new Uint8Array(0)

  /** Of a descriptor that is ours from now on, on its way to an endpoint, or behind a TLS handshake. */
  constructor(
    target: { fd: number } | ({ endpoint: PeerEndpoint } | { secured: TLSSocket }) & { reader: SocketReader },
  ) {
    if ('reader' in target) this.reader = target.reader
    this.#isSecure = 'secured' in target
    if ('secured' in target) {
      this.socket = target.secured
      // What was decrypted has a place of its own already: it is copied, at a small part of the cost of decrypting it.
      this.socket.on('data', (bytes: Uint8Array) => this.#move(bytes))
      return
    }
    const fd = 'fd' in target ? { fd: target.fd } : {}
    this.socket = new net.Socket({
      ...fd,
      allowHalfOpen: true,
      onread: { buffer: () => this.#arm(), callback: (count) => this.#received(count) },
    })
    if ('endpoint' in target) this.socket.connect(target.endpoint)
    this.socket.setNoDelay(true)
  }

  /** Over TLS all of it is left for the stream. @returns the pieces that are (`write-now.ts`) */
  writeNow(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
    return this.#isSecure ? pieces : writeNow(this.socket, pieces)
  }

  #arm(): Uint8Array {
    this.#armed = this.reader
    this.#space = this.reader === undefined ? new Uint8Array(FIRST_BYTES) : this.reader.space()
    return this.#space
  }

  #received(count: number): boolean {
    const { reader } = this
    assert(reader !== undefined, 'a reader is named in the turn in which the socket is made')
    if (this.#armed === reader) reader.received(count)
    else this.#move(this.#space.subarray(0, count))
    return true
  }

  /** To whoever reads now. */
  #move(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.socket.destroyed; ) {
      const reader = this.reader!
      const space = reader.space()
      const length = Math.min(space.length, bytes.length - at)
      space.set(bytes.subarray(at, at + length))
      at += length
      reader.received(length)
    }
  }
}

/** Exactly the bytes of a preface, and not one behind it. */
export class PrefaceReader implements SocketReader {
  readonly bytes = new Uint8Array(PREFACE_BYTES)
  readonly #onWhole: (bytes: Uint8Array) => void
  #length = 0

  constructor(onWhole: (bytes: Uint8Array) => void) {
    this.#onWhole = onWhole
  }

  /** One byte that is thrown away when the preface is whole: the reader changes before it can be filled. */
  space(): Uint8Array {
    return this.#length < PREFACE_BYTES ? this.bytes.subarray(this.#length) : new Uint8Array(1)
  }

  received(count: number): void {
    if (this.#length === PREFACE_BYTES) return
    this.#length += count
    if (this.#length === PREFACE_BYTES) this.#onWhole(this.bytes)
  }
}
