/**
 * What a failed call to an etcd says about the request: was it certainly not applied? Only sentences of etcd's own
 * (api/v3rpc/rpctypes) that are said before anything is proposed, or instead of applying it, count as that; a code
 * alone does not, since the client's own library uses the same codes for what it could not read (S2).
 */
import { status } from '@grpc/grpc-js'

/** What is looked at of a failed call. */
export interface CallError {
  code: number
  details: string
}

const NOT_APPLIED: ReadonlyArray<readonly [code: number, sentence: RegExp]> = [
  [status.INVALID_ARGUMENT, /^etcdserver: (?:key is not provided|request is too large|user name is empty)$/],
  [status.RESOURCE_EXHAUSTED, /^(?:etcdserver: too many requests|holdfast store: it is full)$/],
  [status.PERMISSION_DENIED, /^etcdserver: permission denied$/],
  [status.UNAUTHENTICATED, /^etcdserver: invalid auth token$/],
  [status.UNIMPLEMENTED, /^holdfast store: .* is not served/],
]

export function isCertainlyNotApplied({ code, details }: CallError): boolean {
  return NOT_APPLIED.some(([known, sentence]) => known === code && sentence.test(details))
}

/** The store answered, and said no: asking another member would not help. */
export function isRefusal(error: CallError): boolean {
  return isCertainlyNotApplied(error) || isCompacted(error) || isOutOfSpace(error)
}

/** It may have been applied: etcd says this before it proposes anything, and behind what it has just applied, too. */
function isOutOfSpace({ code, details }: CallError): boolean {
  return code === status.RESOURCE_EXHAUSTED && details === 'etcdserver: mvcc: database space exceeded'
}

export function isCompacted({ code, details }: CallError): boolean {
  return code === status.OUT_OF_RANGE && details === 'etcdserver: mvcc: required revision has been compacted'
}

/** For the reason of `store-unreachable`. */
export function reasonOf({ code, details }: CallError): string {
  if (code === status.DEADLINE_EXCEEDED) return 'it did not answer in time'
  const refused = /\b(ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOTFOUND)\b/.exec(details)?.[1]
  switch (refused) {
    case 'ECONNREFUSED': return 'nothing listens there'
    case undefined: return details === '' ? `gRPC status ${code}` : details
    default: return refused
  }
}
