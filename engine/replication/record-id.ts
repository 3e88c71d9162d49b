/**
 * Record ids and the history of epochs (SPEC.md 2.2). A log is described by its `epochs` ([epoch, firstSeq], ascending
 * in both) and its tail: what lies between is contiguous. An epoch record stands at each `firstSeq`, so two logs that
 * name the same epoch have the same records in it, as far as both go.
 */
import { assert } from '../assert.ts'

export interface RecordId {
  epoch: number
  seq: number
}

/** Oldest first; the first one may begin above 1 when older ones were forgotten. */
export type EpochHistory = ReadonlyArray<readonly [epoch: number, firstSeq: number]>

export interface LogSummary {
  epochs: EpochHistory
  /** Last accepted seq, 0 = none. */
  tail: number
}

export const ROOT_ID: RecordId = { epoch: 0, seq: 0 }

/** Under which epoch a seq was written, 0 when the history does not reach that far back. */
export function epochAt(epochs: EpochHistory, seq: number): number {
  for (let i = epochs.length - 1; i >= 0; i--) if (epochs[i]![1] <= seq) return epochs[i]![0]
  return 0
}

export const tailId = ({ epochs, tail }: LogSummary): RecordId =>
  tail === 0 ? ROOT_ID : { epoch: epochAt(epochs, tail), seq: tail }

/** By epoch, then seq. */
export const compareIds = (a: RecordId, b: RecordId): number => a.epoch - b.epoch || a.seq - b.seq

/**
 * The last seq up to which two logs are the same, 0 when they share nothing.
 * An epoch both name is common up to where the first of both ends it.
 */
export function forkOf(a: LogSummary, b: LogSummary): number {
  for (let i = a.epochs.length - 1; i >= 0; i--) {
    const [epoch, firstSeq] = a.epochs[i]!
    const j = b.epochs.findIndex(([other]) => other === epoch)
    if (j < 0) continue
    assert(b.epochs[j]![1] === firstSeq, 'an epoch begins at one seq')
    const endA = Math.min(a.tail, (a.epochs[i + 1]?.[1] ?? Infinity) - 1)
    const endB = Math.min(b.tail, (b.epochs[j + 1]?.[1] ?? Infinity) - 1)
    const fork = Math.min(endA, endB)
    if (fork >= firstSeq) return fork
  }
  return 0
}
