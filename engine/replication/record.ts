/**
 * A record on its way between copies (SPEC.md 2.2, section 3): what is ordered once and stored by every copy. The
 * bytes are a reference that this core never looks at; they are freed when no copy needs the record any more.
 */
import type { EpochHistory, RecordId } from './record-id.ts'

export interface Session {
  generation: number
  incarnation: number
}

/** Which request a record comes from; `part` of `parts`, from 0. Control records and epochs have none. */
export interface RequestId extends Session {
  request: number
  part: number
  parts: number
  /** On a record: all lower numbers of the session are answered, and never ordered again. */
  answeredBelow?: number
}

/** What users know of a snapshot besides; no copy decides anything by it. */
export interface SnapshotTitle {
  name: string
  /** Wall clock of whoever asked for it. */
  createdAtMs: number
  labels: Record<string, string>
  /** Name of the group snapshot that it was taken for. */
  group?: string
}

export interface NewSnapshot {
  id: string
  title?: SnapshotTitle
}

/** When a record counts as stored on a copy: when it is on stable storage there, or when it is written. */
export type Durability = 'durable' | 'writeback'

/** What a control record does to the volume; the same on every copy. */
export type ControlChange =
  | { operation: 'epoch'; epochs: EpochHistory }
  | { operation: 'resize'; sizeBytes: number }
  /** To less: ordered only where nothing lives beyond (W9). */
  | { operation: 'shrink'; sizeBytes: number }
  /** What is answered behind it (W10). */
  | { operation: 'durability'; to: Durability }
  | ({ operation: 'snapshot' } & NewSnapshot)
  | { operation: 'snapshot-delete'; id: string }
  /** `kept`: a snapshot of the record before this one, of what is rolled away. */
  | { operation: 'rollback'; to: string; kept?: NewSnapshot }
  | { operation: 'delete' }

export interface BlockRun {
  /** First block of 4096 B. */
  lba: number
  blockCount: number
}

export type ReplicatedRecord = RecordId & { request: RequestId | undefined } & (
    | ({ kind: 'write'; payload: Payload } & BlockRun)
    | ({ kind: 'zero' | 'trim' } & BlockRun)
    | { kind: 'control'; change: ControlChange }
  )

/**
 * Blobs of a write, one a block, and their checksums. Opaque here: production carries bytes, the exhaustive model a
 * number. `bytes` counts what the window may hold.
 */
export interface Payload {
  bytes: number
  data: unknown
}

/** Names one version of one block. */
export interface VersionId extends RecordId {
  lba: number
}

/** A version that could not be read. */
export interface DamagedId extends VersionId {
  /** The medium gave what was written there: the mark of a block that nobody had (SPEC.md D8). */
  isMark?: true
}

/** One version of one block, as the map has it: what filling moves. */
export interface BlockVersion extends VersionId {
  kind: 'write' | 'zero' | 'trim'
  payload: Payload | undefined
  /** The payload is none of the block: the mark of one that could not be had when it was filled (SPEC.md D8). */
  isMark?: true
}
