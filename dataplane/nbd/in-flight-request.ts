/**
 * One request between its header and its reply. Requests are pooled per connection and keep their callbacks, so the
 * data path makes no closure and no promise per request.
 *
 * Invariant: between `submitted` and its last `done` a request belongs to the volume; a second `done` for the same
 * submission is a bug of the volume and stops here.
 */
import { assert } from '../../engine/assert.ts'
import type { Extent } from '../../engine/volume/block-device.ts'
import type { ReplyTo } from './reply-writer.ts'
import type { RequestHeader } from './request-parser.ts'
import type { MeteredRequest } from '../meters/request-meter.ts'
import type { Slab } from '../slab-pool.ts'

export interface RequestOwner {
  /** Every call of the volume that this request stands for has ended; `errno` is the first that was not 0. */
  requestEnded(request: InFlightRequest, errno: number): void
  statusKnown(request: InFlightRequest, errno: number, extents: readonly Extent[]): void
}

export class InFlightRequest implements ReplyTo, MeteredRequest {
  type = 0
  flags = 0
  cookieHigh = 0
  cookieLow = 0
  offsetBytes = 0
  offsetHigh = 0
  offsetLow = 0
  lengthBytes = 0
  /** Holds the payload of a write. */
  payloadSlab: Slab | undefined
  /** Where the reply of a read is being built. */
  replySlab: Slab | undefined
  replyAt = 0
  replyBytes = 0
  /** The header of a plain read is written when its data is there; a read in parts has its headers already. */
  inParts = false
  beganMs = 0
  older: MeteredRequest | undefined
  newer: MeteredRequest | undefined
  /** For the volume. */
  readonly done: (errno: number) => void
  readonly statusDone: (errno: number, extents: readonly Extent[]) => void
  #calls = 0
  #errno = 0

  constructor(owner: RequestOwner) {
    this.done = (errno) => {
      assert(this.#calls > 0, 'a volume answers each call once')
      if (this.#errno === 0) this.#errno = errno
      if (--this.#calls === 0) owner.requestEnded(this, this.#errno)
    }
    this.statusDone = (errno, extents) => {
      assert(this.#calls === 1, 'a volume answers each call once')
      this.#calls = 0
      owner.statusKnown(this, errno, extents)
    }
  }

  take(header: RequestHeader): void {
    this.type = header.type
    this.flags = header.flags
    this.cookieHigh = header.cookieHigh
    this.cookieLow = header.cookieLow
    this.offsetBytes = header.offsetBytes
    this.offsetHigh = header.offsetHigh
    this.offsetLow = header.offsetLow
    this.lengthBytes = header.lengthBytes
    this.payloadSlab = undefined
    this.replySlab = undefined
    this.inParts = false
    this.#errno = 0
    assert(this.#calls === 0, 'a pooled request is not with the volume')
  }

  /** `calls` answers are to come. */
  submitted(calls: number): void {
    this.#calls += calls
  }
}
