/** A record on its way into the log, and the batch it lies in until everything of that is answered and applied. */
import type { RecordHeader } from './record.ts'

export interface Append {
  record: RecordHeader
  /** Blobs, each padded to a unit; owned by the stream until `done`. */
  payload: readonly Uint8Array[]
  payloadUnits: number
  durable: boolean
  /** In log order. On success `segment`, `units` and `batch` say where it lies. */
  done(ok: boolean, append: Append): void
  segment: number
  /** Place of the first blob (zero, trim: 0), from the segment's start. */
  units: number
  batch: LogBatch | undefined
  /** A write that only the map speaks of: without live blocks the cleaner need not look at it. */
  mapOnly: boolean
}

/** A batch that is not yet forgotten: its records are still to be answered or applied. */
export interface LogBatch {
  number: number
  segment: number
  generation: number
  startBlock: number
  appends: Append[]
  /** Records whose effect is not yet in the map. The checkpoint's position is the oldest batch that has any. */
  unapplied: number
  written: boolean
  needsSync: boolean
  totalBlocks: number
  headerBlocks: number
  headerCrc: number
  /** Until it is written. */
  header: HeaderBuffer | undefined
}

export interface HeaderBuffer {
  bytes: Uint8Array
  view: DataView
}

/** Where a roll-forward begins. */
export interface LogPosition {
  segment: number
  generation: number
  block: number
  batch: number
}
