/**
 * Ready replies -> one write to the socket, past the stream where that can be (`write-now.ts`). While what the kernel
 * did not take is under way more replies gather in the writer; they are the next write. The socket owns the pieces from
 * `flush` until `onSent`, which also runs when it is destroyed.
 *
 * `heldBytes` are the bytes of reads that count against the client until it has taken them (memory-budget.ts).
 */
import type net from 'node:net'
import { writeNow } from '../write-now.ts'
import type { Piece, ReplyWriter } from './reply-writer.ts'

export class ReplySender {
  /** Read bytes inside what is ready. */
  readyHeldBytes = 0
  readonly #socket: net.Socket
  readonly #isSecure: boolean
  readonly #writer: ReplyWriter
  readonly #onSent: (heldBytes: number, failed: boolean) => void
  #pieces: Piece[] | undefined
  #bytes = 0
  #heldBytes = 0

  /** @param onSent  of what `flush` took; inside of it when the kernel took all at once */
  constructor(
    { socket, isSecure, writer }: { socket: net.Socket; isSecure: boolean; writer: ReplyWriter },
    onSent: (heldBytes: number, failed: boolean) => void,
  ) {
    this.#socket = socket
    this.#isSecure = isSecure
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

  /** Whether something is ready, and nothing under way. */
  get isDue(): boolean {
    return this.#pieces === undefined && this.#writer.readyBytes > 0
  }

  /** When it is due. */
  flush(): void {
    this.#bytes = this.#writer.readyBytes
    this.#heldBytes = this.readyHeldBytes
    this.readyHeldBytes = 0
    this.#pieces = this.#writer.take()
    const socket = this.#socket
    const all = this.#pieces.map(({ slab: { bytes }, from, to }) => bytes.subarray(from, to))
    const rest = this.#isSecure ? all : writeNow(socket, all)
    if (rest.length === 0) return this.#sent()
    if (rest.length > 1) socket.cork()
    for (let i = 0; i < rest.length - 1; i++) socket.write(rest[i]!)
    socket.write(rest[rest.length - 1]!, this.#sent)
    if (rest.length > 1) socket.uncork()
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
