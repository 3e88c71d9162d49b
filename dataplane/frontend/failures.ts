/** What a client of a frontend is told when a request fails, as a row of the error table. */
import { ERRORS, NBD_ERRNO } from '../../engine/errors.ts'
import type { ErrorCode } from '../../engine/errors.ts'
import type { ClientFailure } from '../../engine/replication/frontend-port.ts'

export const FAILURE_CODE: Record<ClientFailure, ErrorCode> = {
  timeout: 'io-timeout',
  'stale-session': 'session-stale',
  'session-broken': 'session-broken',
  'too-many-sessions': 'sessions-too-many',
  range: 'volume-range',
  'no-space': 'pool-full',
  'read-only': 'volume-read-only',
  damaged: 'media-error',
}

/** @param isWrite  it would have filled blocks: past the end there is no room for them, as NBD has it */
export function errnoOf(failure: ClientFailure, isWrite = false): number {
  return failure === 'range' && isWrite ? NBD_ERRNO.ENOSPC : ERRORS[FAILURE_CODE[failure]].errno
}
