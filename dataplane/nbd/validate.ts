/**
 * What is answered without asking the volume: a request that is malformed, out of range, or not allowed. Pure; the
 * device behind asserts what was checked here.
 *
 * The order is: known command, known flags, writable, range. Range checks never add (`length <= size - offset`), so
 * no 64-bit value wraps. The size is the volume's at this moment: volumes grow while sessions are open.
 *
 * Source: doc/proto.md "Request types", "Error values".
 */
import { NBD_ERRNO } from '../../engine/errors.ts'
import {
  NBD_CMD_BLOCK_STATUS, NBD_CMD_DISC, NBD_CMD_FLAG_DF, NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_FLAG_REQ_ONE, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM,
  NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES, PAYLOAD_BYTES_MAX,
} from './protocol.ts'
import type { RequestHeader } from './request-parser.ts'

export interface ExportFacts {
  readonly sizeBytes: number
  readonly readOnly: boolean
}

export interface SessionFacts {
  /** Structured replies or extended headers. */
  readonly chunkedReplies: boolean
  readonly extendedHeaders: boolean
  /** base:allocation was selected. */
  readonly blockStatus: boolean
}

export interface Refusal {
  readonly errno: number
  /** For a person at the client; sent where the protocol has room for it. */
  readonly message: Buffer
}

const refusal = (errno: number, message: string): Refusal => ({ errno, message: Buffer.from(message) })

const { EINVAL, EPERM, ENOSPC } = NBD_ERRNO
export const REFUSED = {
  command: refusal(EINVAL, 'unknown command'),
  flags: refusal(EINVAL, 'flag not known or not for this command'),
  readOnly: refusal(EPERM, 'the export is read-only'),
  pastEnd: refusal(EINVAL, 'range past the end of the export'),
  noSpace: refusal(ENOSPC, 'write past the end of the export'),
  tooLong: refusal(EINVAL, 'longer than the maximum payload of 64 MiB'),
  flushRange: refusal(EINVAL, 'a flush has no offset and no length'),
  noContext: refusal(EINVAL, 'no metadata context was selected'),
  zeroLength: refusal(EINVAL, 'block status of nothing'),
} as const

/** Flags that go with a command; FUA goes with all once it was advertised. */
const FLAGS: readonly number[] = [
  NBD_CMD_FLAG_DF,
  0,
  0,
  0,
  0,
  0,
  NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_REQ_ONE,
]

/** @returns undefined when the volume may be asked; DISC is always fine. */
export function validate(header: RequestHeader, volume: ExportFacts, session: SessionFacts): Refusal | undefined {
  const { type, offsetBytes, lengthBytes } = header
  if (type === NBD_CMD_DISC) return undefined
  const allowed = FLAGS[type]
  if (allowed === undefined) return REFUSED.command
  if (!flagsFit(header, allowed, session)) return REFUSED.flags
  const inRange = offsetBytes <= volume.sizeBytes && lengthBytes <= volume.sizeBytes - offsetBytes
  switch (type) {
    case NBD_CMD_READ:
      if (!inRange) return REFUSED.pastEnd
      return lengthBytes > PAYLOAD_BYTES_MAX ? REFUSED.tooLong : undefined
    case NBD_CMD_WRITE:
    case NBD_CMD_WRITE_ZEROES:
      if (volume.readOnly) return REFUSED.readOnly
      return inRange ? undefined : REFUSED.noSpace
    case NBD_CMD_TRIM:
      if (volume.readOnly) return REFUSED.readOnly
      return inRange ? undefined : REFUSED.pastEnd
    case NBD_CMD_FLUSH:
      return offsetBytes === 0 && lengthBytes === 0 ? undefined : REFUSED.flushRange
    case NBD_CMD_BLOCK_STATUS:
      if (!session.blockStatus) return REFUSED.noContext
      if (lengthBytes === 0) return REFUSED.zeroLength
      return inRange ? undefined : REFUSED.pastEnd
    default:
      return inRange ? undefined : REFUSED.pastEnd
  }
}

function flagsFit({ type, flags }: RequestHeader, allowed: number, session: SessionFacts): boolean {
  if (session.extendedHeaders && type === NBD_CMD_WRITE) {
    return (flags & ~NBD_CMD_FLAG_FUA) === NBD_CMD_FLAG_PAYLOAD_LEN
  }
  if ((flags & ~(allowed | NBD_CMD_FLAG_FUA)) !== 0) return false
  return (flags & NBD_CMD_FLAG_DF) === 0 || session.chunkedReplies
}

/** The volume's own errors on the wire: anything NBD has no value for becomes EIO. */
export function volumeRefusal(errno: number): Refusal {
  return VOLUME_REFUSALS.get(errno) ?? VOLUME_REFUSALS.get(NBD_ERRNO.EIO)!
}

const VOLUME_REFUSALS: ReadonlyMap<number, Refusal> = new Map([
  [EPERM, refusal(EPERM, 'the volume refused the operation')],
  [NBD_ERRNO.EIO, refusal(NBD_ERRNO.EIO, 'the volume could not be read or written')],
  [NBD_ERRNO.ENOMEM, refusal(NBD_ERRNO.ENOMEM, 'out of memory')],
  [EINVAL, refusal(EINVAL, 'the volume refused the request')],
  [ENOSPC, refusal(ENOSPC, 'the pool is full, or the volume ends before that')],
  [NBD_ERRNO.EOVERFLOW, refusal(NBD_ERRNO.EOVERFLOW, 'value too large')],
  [NBD_ERRNO.ENOTSUP, refusal(NBD_ERRNO.ENOTSUP, 'not supported by the volume')],
  [NBD_ERRNO.ESHUTDOWN, refusal(NBD_ERRNO.ESHUTDOWN, 'the volume is served here no more')],
])
