/**
 * What was wished for a volume (key `volumes/<id>`), and its changes in the trash. Written by the API; the control
 * plane only says that the purge has begun (SPEC.md section 1). What is observed is elsewhere.
 */
import type { AttachMode, NodeId } from '../replication/configuration.ts'
import { requiredCopies } from './failure-modes.ts'
import type { FailureMode } from './failure-modes.ts'
import type { VolumeSpec } from '../volume/volume-spec.ts'
import type { SnapshotSchedule } from './snapshot-schedule.ts'

export interface Trash {
  /** The cluster's age at that time, as it was read (T2). */
  deletedAtAgeMs: number
  /** 0: purged as soon as possible. */
  keepMs: number
  /** There is no way back. */
  isPurging: boolean
  /** Drawn for the deletion that put it there: it alone takes that back. Absent: of a former version. */
  by?: string
}

/** What a clone begins as: a snapshot of another volume (cluster/reconcile/CLONES.md K1). */
export interface CloneOrigin {
  volumeId: string
  snapshotId: string
  seq: number
  /** Under which the origin was led when that was read. */
  epoch: number
}

/** Where copies may lie: on these nodes, and on all of these zones. Not both are empty. */
export interface Allowed {
  nodes: readonly NodeId[]
  zones: readonly string[]
}

/** Whether a copy is to be where the volume is used: not at all, if it can be, or always. */
export type DataLocality = 'disabled' | 'best-effort' | 'strict'

/**
 * Why a clone gets blocks of its own for all that it shares (SPEC.md section 14): a user asked for it, its chain of
 * origins is long, its origin has many clones, or it is the last that reads what is left of one.
 */
export type HydrationWhy = 'asked' | 'depth' | 'clones' | 'remains'

export interface VolumeRecord {
  spec: VolumeSpec
  /** It never changes. Absent: it begins empty. */
  origin?: CloneOrigin
  /** Absent: it goes on sharing, or there is nothing that it could share. */
  hydration?: HydrationWhy
  /** Copies whose acknowledgement is required; 0: as `failureMode` says, or else 2 of three and more copies, else 1. */
  minInSync: number
  failureMode?: FailureMode
  /** Made and kept with fewer copies than wished when there are too few nodes. */
  allowDegraded: boolean
  /** Takes the first copy and the primary if it can; empty: whoever is best. */
  firstNode: NodeId | ''
  /** Absent: anywhere. */
  allowed?: Allowed
  /** The last move of a copy that was asked for and is done: it is not rebalanced back (V7). Absent: none was. */
  moved?: { from: NodeId | ''; to: NodeId }
  /** Absent: `disabled`. */
  dataLocality?: Exclude<DataLocality, 'disabled'>
  attachMode: AttachMode
  /** What its makers say of it; nothing is decided by them. Absent: none. */
  labels?: Readonly<Record<string, string>>
  /** Absent: snapshots are made by hand. */
  snapshotSchedule?: SnapshotSchedule
  trash: Trash | null
}

/** A copy is moved to a named node, or the lead is (key `moves/<id>`). */
export interface Move {
  what: 'copy' | 'primary'
  to: NodeId
  /** Whose copy goes; empty: whoever is best, or nobody. */
  from: NodeId | ''
  /** The lead follows who attached the volume (SPEC.md A6). Absent: an operator asked for it. */
  isFollowing?: true
}

export const TRASH_KEEP_MS = 3_600_000
/** The age that a deletion was stamped with may lag so much: how seldom it is written (T2). */
export const AGE_STEP_MS = 60_000

export const wantedCopies = ({ spec }: VolumeRecord): number => spec.replicas + 1

/** V5: what is wished; the configuration may still have less. */
export function wishedMinInSync(record: VolumeRecord): number {
  const copies = wantedCopies(record)
  if (record.minInSync > 0) return Math.min(record.minInSync, copies)
  if (record.failureMode !== undefined) return requiredCopies(record.failureMode, copies)
  return copies >= 3 ? 2 : 1
}

/** T1. Undefined when it is there already. */
export function deleted(record: VolumeRecord, ageMs: number, keepMs = TRASH_KEEP_MS): VolumeRecord | undefined {
  if (record.trash !== null) return undefined
  return { ...record, trash: { deletedAtAgeMs: ageMs, keepMs, isPurging: false } }
}

/** Undefined when it is not in the trash, or no more to be saved. */
export function restored(record: VolumeRecord): VolumeRecord | undefined {
  return record.trash === null || record.trash.isPurging ? undefined : { ...record, trash: null }
}

/** O1. Undefined when it is no clone, or has a wish. */
export function hydrated(record: VolumeRecord, why: HydrationWhy): VolumeRecord | undefined {
  return record.origin === undefined || record.hydration !== undefined ? undefined : { ...record, hydration: why }
}

/** O3. */
export function notHydrated({ hydration: _, ...record }: VolumeRecord): VolumeRecord {
  return record
}

/** T3, also at once when the operator asks. Undefined when it is not in the trash, or purged already. */
export function purged(record: VolumeRecord): VolumeRecord | undefined {
  if (record.trash === null || record.trash.isPurging) return undefined
  return { ...record, trash: { ...record.trash, isPurging: true } }
}

/** V7. Undefined when it says so. */
export function moved(record: VolumeRecord, { from, to }: Move): VolumeRecord | undefined {
  return record.moved?.from === from && record.moved.to === to ? undefined : { ...record, moved: { from, to } }
}

/** T2: how long the trash still keeps it; 0 or less: its time is over. */
export function keptForMs({ deletedAtAgeMs, keepMs }: Trash, ageMs: number): number {
  return keepMs === 0 ? 0 : deletedAtAgeMs + keepMs + AGE_STEP_MS - ageMs
}
