/**
 * A row of engine/errors.ts on its way through gRPC: the status number for any client, and code and detail in the
 * trailers for ours, which builds the same HoldfastError from them.
 */
import { Metadata, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { ERRORS, HoldfastError } from '../../engine/errors.ts'
import type { Detail, ErrorCode } from '../../engine/errors.ts'
import { isText } from '../../engine/value-shape.ts'
import { parseRecord } from '../store/json-value.ts'

const CODE_TRAILER = 'holdfast-code'
const DETAIL_TRAILER = 'holdfast-detail-bin'

export function refusalToStatus(error: HoldfastError): { code: number; details: string; metadata: Metadata } {
  const metadata = new Metadata()
  metadata.set(CODE_TRAILER, error.code)
  metadata.set(DETAIL_TRAILER, Buffer.from(JSON.stringify(error.detail)))
  return { code: ERRORS[error.code].grpc, details: error.message, metadata }
}

/** The refusal inside a failed call, or undefined when the failure is the transport's. */
export function refusalFromStatus(error: ServiceError): HoldfastError | undefined {
  const code = error.metadata?.get(CODE_TRAILER)[0]
  if (typeof code !== 'string') return undefined
  if (!Object.hasOwn(ERRORS, code)) {
    return new HoldfastError('usage', { problem: error.details, hint: 'the daemon is newer than this command' })
  }
  return new HoldfastError(code as ErrorCode, detailOf(error.metadata.get(DETAIL_TRAILER)[0]))
}

/** Whoever answers may be no daemon of ours: what is no detail says nothing. */
function detailOf(packed: string | Buffer | undefined): Detail {
  const found = packed === undefined ? undefined : parseRecord(Buffer.from(packed))
  if (found === undefined) return {}
  const told = Object.entries(found).filter(([, value]) => isText(value) || typeof value === 'number')
  return Object.fromEntries(told) as Detail
}

const NOTHING_LISTENS = 'nothing listens there any more'
const NO_SOCKET = 'there is no such socket'

/** No connection was made, so nothing of the call was sent, and nothing can have been begun. */
export const wasNotSent = ({ code, detail }: HoldfastError): boolean =>
  code === 'unreachable' && [NOTHING_LISTENS, NO_SOCKET].includes(String(detail['reason']))

/** What the transport said, for the reason of `unreachable`. */
export function transportReason(error: ServiceError): string {
  if (error.code === status.DEADLINE_EXCEEDED) return 'it accepts connections but does not answer in time'
  const refused = /\b(ECONNREFUSED|ENOENT|EACCES|EPERM|ECONNRESET|ETIMEDOUT)\b/.exec(error.details)?.[1]
  switch (refused) {
    case 'ENOENT': return NO_SOCKET
    case 'ECONNREFUSED': return NOTHING_LISTENS
    case 'EACCES': case 'EPERM': return 'this user may not open it'
    case undefined: return error.details === '' ? `gRPC status ${error.code}` : error.details
    default: return refused
  }
}
