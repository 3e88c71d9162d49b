/**
 * What a CSI call is refused with: a gRPC status of those that the standard lists for it, and the sentence of
 * engine/errors.ts, which ends in what to do. Callers of the standard go by the status: which of them is final, and
 * which is tried again, here or on another node.
 */
import { status } from '@grpc/grpc-js'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import type { ErrorCode } from '../engine/errors.ts'

export class CsiRefusal extends Error {
  readonly code: status

  constructor(code: status, message: string) {
    super(message)
    this.code = code
  }
}

export const invalid = (message: string): CsiRefusal => new CsiRefusal(status.INVALID_ARGUMENT, message)
export const notFound = (message: string): CsiRefusal => new CsiRefusal(status.NOT_FOUND, message)
export const outOfRange = (message: string): CsiRefusal => new CsiRefusal(status.OUT_OF_RANGE, message)
export const exists = (message: string): CsiRefusal => new CsiRefusal(status.ALREADY_EXISTS, message)
export const precondition = (message: string): CsiRefusal => new CsiRefusal(status.FAILED_PRECONDITION, message)
export const aborted = (message: string): CsiRefusal => new CsiRefusal(status.ABORTED, message)

/** Where the standard asks for another status than our own API gives. */
const OTHERWISE: Partial<Record<ErrorCode, status>> = {
  // Unable to provision: a pod that waits for its volume goes to another node.
  'too-few-nodes': status.RESOURCE_EXHAUSTED,
  'pool-not-found': status.RESOURCE_EXHAUSTED,
  'clone-smaller': status.OUT_OF_RANGE,
  'volume-size': status.OUT_OF_RANGE,
  // It cannot be deleted alone, and the group has to be.
  'snapshot-in-group': status.INVALID_ARGUMENT,
  // Of the one who asked the daemon, not of who asked us.
  'usage': status.INTERNAL,
}

/**
 * The same words for what did not end: who is told a final status takes nothing to be left behind, and asks nobody to
 * undo it. @returns what is a bug of ours as it is
 */
export function unfinished(error: unknown): unknown {
  const refusal = refusalOf(error)
  const isTold = refusal === undefined || refusal.code === status.UNAVAILABLE
  return isTold ? error : new CsiRefusal(status.UNAVAILABLE, refusal.message)
}

/** Undefined: it is a bug of ours. */
export function refusalOf(error: unknown): CsiRefusal | undefined {
  if (error instanceof CsiRefusal) return error
  if (!(error instanceof HoldfastError)) return undefined
  return new CsiRefusal(OTHERWISE[error.code] ?? ERRORS[error.code].grpc, error.message)
}
