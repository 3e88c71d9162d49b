/**
 * Ready replies -> one write to the socket. While it is under way more replies gather in the writer; they are the
 * next write. The socket owns the pieces from `flush` until its callback, which also comes when it is destroyed.
 *
 * `heldBytes` are the bytes of reads that count against the client until it has taken them (memory-budget.ts).
 */
import type net from 'node:net'
import type { Piece, ReplyWriter } from './reply-writer.ts'

export class ReplySender {
  /** Read bytes inside what is ready. */
  readyHeldBytes = 0
  readonly #socket: net.Socket
  readonly #writer: ReplyWriter
  readonly #onSent: (heldBytes: number, failed: boolean) => void
  #pieces: Piece[] | undefined
  #bytes = 0
  #heldBytes = 0

  constructor(socket: net.Socket, writer: ReplyWriter, onSent: (heldBytes: number, failed: boolean) => void) {
    this.#socket = socket
    this.#writer = writer
    this.#onSent = onSent
  }

  /** A write is under way. */
  get busy(): boolean {
    return this.#pieces !== undefined
  }

  /** Ready or under way. */
  get queuedBytes(): number {
    return this.#writer.readyBytes + this.#bytes
  }

  /** @returns whether a write was started */
  flush(): boolean {
    if (this.#pieces !== undefined || this.#writer.readyBytes === 0) return false
    this.#bytes = this.#writer.readyBytes
    this.#heldBytes = this.readyHeldBytes
    this.readyHeldBytes = 0
    const pieces = this.#pieces = this.#writer.take()
    if (pieces.length > 1) this.#socket.cork()
    for (let i = 0; i < pieces.length; i++) {
      const { slab, from, to } = pieces[i]!
      const bytes = slab.bytes.subarray(from, to)
      if (i === pieces.length - 1) this.#socket.write(bytes, this.#sent)
      else this.#socket.write(bytes)
    }
    if (pieces.length > 1) this.#socket.uncork()
    return true
  }

  readonly #sent = (error?: Error | null): void => {
    const pieces = this.#pieces
    if (pieces === undefined) return
    this.#pieces = undefined
    this.#bytes = 0
    this.#writer.sent(pieces)
    const heldBytes = this.#heldBytes
    this.#heldBytes = 0
    this.#onSent(heldBytes, error !== undefined && error !== null)
  }
}
