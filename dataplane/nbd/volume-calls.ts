/**
 * Checked requests -> calls of the volume. A read is filled where it will be sent from; a long one is first looked up
 * for zeroes, which a client with structured replies or extended headers gets as holes.
 *
 * Every call ends in the request's `done` or `statusDone`, perhaps before it returns (in-flight-request.ts).
 */
import { unreachable } from '../../engine/assert.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { BlockDevice, Extent } from '../../engine/volume/block-device.ts'
import { EXTENTS_MAX, planSparseRead } from './block-status.ts'
import type { ReadPart } from './block-status.ts'
import type { InFlightRequest } from './in-flight-request.ts'
import {
  NBD_CMD_BLOCK_STATUS, NBD_CMD_CACHE, NBD_CMD_FLAG_DF, NBD_CMD_FLAG_FUA, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES,
} from './protocol.ts'
import type { ReplyWriter } from './reply-writer.ts'

/** Shorter reads are not worth looking up. */
const SPARSE_READ_BYTES_MIN = 64 * 1024
/** More pieces than this in one read are not worth their headers. */
const SPARSE_READ_EXTENTS_MAX = 64

const ZERO_OPTIONS = [
  { noHole: false, fua: false },
  { noHole: true, fua: false },
  { noHole: false, fua: true },
  { noHole: true, fua: true },
] as const

export class VolumeCalls {
  readonly #device: BlockDevice
  readonly #writer: ReplyWriter
  readonly #chunkedReplies: boolean

  constructor(options: { device: BlockDevice; writer: ReplyWriter; chunkedReplies: boolean }) {
    this.#device = options.device
    this.#writer = options.writer
    this.#chunkedReplies = options.chunkedReplies
  }

  /** @param payload  of a write; the volume's until the request is done */
  submit(request: InFlightRequest, payload: Uint8Array): void {
    const device = this.#device
    const { offsetBytes, lengthBytes, flags } = request
    const fua = (flags & NBD_CMD_FLAG_FUA) !== 0
    request.submitted(1)
    switch (request.type) {
      case NBD_CMD_READ: {
        const sparse = lengthBytes >= SPARSE_READ_BYTES_MIN && this.#chunkedReplies && (flags & NBD_CMD_FLAG_DF) === 0
        if (!sparse || device.knowsZeroesOnlyByAsking === true) return this.#read(request)
        return device.blockStatus(offsetBytes, lengthBytes, SPARSE_READ_EXTENTS_MAX, request.statusDone)
      }
      case NBD_CMD_WRITE: return device.write(offsetBytes, payload, fua, request.done)
      case NBD_CMD_FLUSH: return device.flush(request.done)
      case NBD_CMD_TRIM: return device.trim(offsetBytes, lengthBytes, fua, request.done)
      case NBD_CMD_WRITE_ZEROES: {
        const options = ZERO_OPTIONS[((flags & NBD_CMD_FLAG_NO_HOLE) !== 0 ? 1 : 0) + (fua ? 2 : 0)]!
        return device.writeZeroes(offsetBytes, lengthBytes, options, request.done)
      }
      // Advice, and not followed: what is read ahead for a client would lie in memory that no limit counts.
      case NBD_CMD_CACHE: return request.done(NBD_ERRNO.NONE)
      case NBD_CMD_BLOCK_STATUS: {
        const extentsMax = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : EXTENTS_MAX
        return device.blockStatus(offsetBytes, lengthBytes, extentsMax, request.statusDone)
      }
      default: return unreachable(request.type as never)
    }
  }

  /** A long read goes on, with what is known of its range. */
  readKnowing(request: InFlightRequest, extents: readonly Extent[]): void {
    const parts = planSparseRead(extents, request)
    if (parts !== undefined) return this.#readParts(request, parts)
    request.submitted(1)
    this.#read(request)
  }

  #read(request: InFlightRequest): void {
    const writer = this.#writer
    request.replyBytes = writer.readHeaderBytes + request.lengthBytes
    request.replyAt = writer.reserve(request.replyBytes)
    const slab = writer.slab!
    request.replySlab = slab
    const dataAt = request.replyAt + writer.readHeaderBytes
    const into = slab.bytes.subarray(dataAt, dataAt + request.lengthBytes)
    this.#device.read(request.offsetBytes, into, request.done)
  }

  /** All chunks in one reservation, so that a failed part can still turn the reply into an error. */
  #readParts(request: InFlightRequest, parts: readonly ReadPart[]): void {
    const writer = this.#writer
    request.inParts = true
    request.replyBytes = 0
    let dataParts = 0
    for (const part of parts) {
      request.replyBytes += writer.partBytes(part.hole, part.lengthBytes)
      if (!part.hole) dataParts++
    }
    request.replyAt = writer.reserve(request.replyBytes)
    const slab = writer.slab!
    request.replySlab = slab
    // One more than the data parts: the request must not end while its later parts are not asked for.
    request.submitted(dataParts + 1)
    let at = request.replyAt
    parts.forEach((part, index) => {
      const dataAt = writer.readPart(slab, at, request, { ...part, last: index === parts.length - 1 })
      at = part.hole ? dataAt : dataAt + part.lengthBytes
      if (!part.hole) this.#device.read(part.offsetBytes, slab.bytes.subarray(dataAt, at), request.done)
    })
    request.done(0)
  }
}
