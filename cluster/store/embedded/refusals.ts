/**
 * What the embedded store refuses, in the words and with the gRPC codes of etcd where etcd has them (FORMAT.md section
 * 2), so that any client of etcd knows what happened. A refused request changed nothing.
 */
import { status } from '@grpc/grpc-js'

/** Thrown by the services, turned into the status of the call by the server. */
export class Refusal extends Error {
  readonly code: number
  constructor(code: number, details: string) {
    super(details)
    this.code = code
  }
}

export const emptyKey = () => new Refusal(status.INVALID_ARGUMENT, 'etcdserver: key is not provided')
export const tooLarge = () => new Refusal(status.INVALID_ARGUMENT, 'etcdserver: request is too large')
export const compacted = () =>
  new Refusal(status.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted')
export const future = () =>
  new Refusal(status.OUT_OF_RANGE, 'etcdserver: mvcc: required revision is a future revision')
/** Not in the words of etcd, which says them of what it has applied, too. */
export const noSpace = () => new Refusal(status.RESOURCE_EXHAUSTED, 'holdfast store: it is full')
export const tooManyRequests = () => new Refusal(status.RESOURCE_EXHAUSTED, 'etcdserver: too many requests')
export const stopped = () => new Refusal(status.UNAVAILABLE, 'etcdserver: server stopped')
export const answerTooLarge = (most: number) =>
  new Refusal(status.RESOURCE_EXHAUSTED, `holdfast store: the answer has more than ${most} bytes; give a limit`)

/** @param what  a thing of the API, in its own words */
export const unserved = (what: string) =>
  new Refusal(status.UNIMPLEMENTED, `holdfast store: ${what} is not served; it serves what Holdfast needs of etcd`)
