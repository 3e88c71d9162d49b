/**
 * The records of a copy that are still needed in memory: consecutive seqs, taken at one end and forgotten at the other.
 * An array with a head index, so that neither end costs more than its record; the dead part is cut off when it is the
 * larger one.
 *
 *   records [ dead | firstSeq ... lastSeq ]
 *                    ^ head
 */
import { assert } from '../assert.ts'
import type { ReplicatedRecord } from './record.ts'

export interface RecordWindow {
  records: ReplicatedRecord[]
  head: number
  /** Of `records[head]`, or the next one to come. */
  firstSeq: number
  bytes: number
}

/** What a record without payload counts for: it takes room too. */
const RECORD_BYTES = 64

export const emptyWindow = (firstSeq: number): RecordWindow => ({ records: [], head: 0, firstSeq, bytes: 0 })

export const lastSeqOf = (window: RecordWindow): number => window.firstSeq + (window.records.length - window.head) - 1

export const countOf = (window: RecordWindow): number => window.records.length - window.head

export function recordBytes(record: ReplicatedRecord): number {
  return record.kind === 'write' ? record.payload.bytes + RECORD_BYTES : RECORD_BYTES
}

export function pushRecord(window: RecordWindow, record: ReplicatedRecord): void {
  assert(record.seq === lastSeqOf(window) + 1, 'I5: seqs are contiguous')
  window.records.push(record)
  window.bytes += recordBytes(record)
}

/** Undefined when it was forgotten, or is not there yet. */
export function recordAt(window: RecordWindow, seq: number): ReplicatedRecord | undefined {
  const index = seq - window.firstSeq
  return index < 0 ? undefined : window.records[window.head + index]
}

/** Consecutive records from this seq on, of at most `bytesMax` (at least one). */
export function recordsFrom(window: RecordWindow, seq: number, bytesMax: number): ReplicatedRecord[] {
  const first = recordAt(window, seq)
  // Most often the one that was just pushed.
  if (first !== undefined && window.head + (seq - window.firstSeq) === window.records.length - 1) return [first]
  const found: ReplicatedRecord[] = []
  let bytes = 0
  for (let record = first; record !== undefined; record = recordAt(window, record.seq + 1)) {
    bytes += recordBytes(record)
    if (found.length > 0 && bytes > bytesMax) break
    found.push(record)
  }
  return found
}

/** Forget everything up to this seq. */
export function forgetUpTo(window: RecordWindow, seq: number): void {
  const count = Math.min(seq - window.firstSeq + 1, countOf(window))
  if (count <= 0) return
  for (let i = 0; i < count; i++) window.bytes -= recordBytes(window.records[window.head + i]!)
  window.head += count
  window.firstSeq += count
  if (window.head * 2 >= window.records.length) {
    window.records = window.records.slice(window.head)
    window.head = 0
  }
}

/** Take back everything above this seq. */
export function cutWindow(window: RecordWindow, seq: number): void {
  const count = lastSeqOf(window) - Math.max(seq, window.firstSeq - 1)
  for (let i = 0; i < count; i++) window.bytes -= recordBytes(window.records.pop()!)
}
