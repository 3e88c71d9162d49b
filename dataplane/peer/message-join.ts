/**
 * Messages that came in several frames, put together again. The frames of one follow each other without anything of
 * another message between, so there is at most one under way; it holds at most `JOINED_BYTES_MAX`.
 */
import type { Slab, SlabPool } from '../slab-pool.ts'
import type { FrameHeader } from './frame-header.ts'
import type { WireMessage } from './message-codec.ts'
import { FLAG_MORE, JOINED_BYTES_MAX } from './protocol.ts'
import { joinRecords } from './records-codec.ts'
import type { RecordsMessage } from './records-codec.ts'

const NO_SLABS: readonly Slab[] = []

export interface Piece {
  message: WireMessage
  volumeId: string
  slab: Slab
  bytes: number
  header: FrameHeader
}

export class MessageJoin {
  readonly #pool: SlabPool
  #begun: { message: RecordsMessage; volumeId: string; slabs: Slab[]; bytes: number } | undefined

  constructor(pool: SlabPool) {
    this.#pool = pool
  }

  /** @returns the whole message, undefined while there is more to come */
  add(piece: Piece): { message: WireMessage; slabs: readonly Slab[] } | { refused: string } | undefined {
    const { message, volumeId, slab, bytes, header } = piece
    const begun = this.#begun
    const hasMore = header.flags === FLAG_MORE
    if (begun === undefined && !hasMore) {
      if (header.payloadBytes > 0) return { message, slabs: [slab] }
      this.#pool.release(slab)
      return { message, slabs: NO_SLABS }
    }
    if (begun === undefined) {
      this.#begun = { message: message as RecordsMessage, volumeId, slabs: [slab], bytes }
      return undefined
    }
    begun.slabs.push(slab)
    begun.bytes += bytes
    if (begun.bytes > JOINED_BYTES_MAX) return { refused: 'a message in pieces is too large' }
    const problem =
      begun.volumeId === volumeId ? joinRecords(begun.message, message as RecordsMessage) : 'another message between'
    if (problem !== undefined) return { refused: problem }
    if (hasMore) return undefined
    this.#begun = undefined
    return { message: begun.message, slabs: begun.slabs }
  }

  close(): void {
    for (const slab of this.#begun?.slabs ?? NO_SLABS) this.#pool.release(slab)
    this.#begun = undefined
  }
}
