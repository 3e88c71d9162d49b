/**
 * What nodes of a cluster ask of each other (proto/holdfast/v1/cluster.proto): reports to the controller, and its
 * orders to a node. Each is bounded by the clock of one machine, however long a message was under way:
 *
 *   controller -> node   ticket, in the answer to a report; the next report carries it, so it is the younger one
 *   node -> controller   stamp of the node's own clock, in every report; orders carry the newest one, and are younger
 */
import type { CopyStatus, NodeStatus } from '../../engine/control/node-status.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../../engine/control/volume-snapshots.ts'
import type { RecordId } from '../../engine/replication/record-id.ts'
import type { ShownVersion, SliceDigest } from '../../engine/volume/digest-comparison.ts'
import type { OrderedChange } from './change-order.ts'

/** Who uses a volume through this node. */
export interface UsedBy {
  volumeId: string
  session: string
  /** Attach generation; 0 of an open attachment. */
  generation: number
  /** Which one is read; empty: the volume itself is used. */
  snapshot: string
}

/** Of a node and its process; for people. */
export interface NodeFacts {
  pid: number
  nodeId: string
  clusterId: string
  version: string
  nodeVersion: string
  uptimeMs: number
  workers: number
  rssBytes: number
  ioFlusher: 'set' | 'refused'
  listening: string[]
  folder: string
}

/** What goes with the status of a node, and decides nothing. */
export interface NodeDetails {
  facts: NodeFacts
  sessions: UsedBy[]
}

export interface NodeReport extends NodeDetails {
  /** Copies that are new or changed since the report that the ticket answered (report-changes.ts); `isWhole`: all. */
  status: NodeStatus
  isWhole: boolean
  /** Volumes of which there is no copy any more. */
  gone: string[]
  ticket: string
  /** Monotonic, of the node; handed back in orders. */
  stampMs: number
}

export interface ReportAnswer {
  /** Not taken: report whole, with this ticket. */
  isTaken: boolean
  /** Empty: who was asked is not the controller. */
  ticket: string
  /** Digest of all heartbeats as the controller listed them last (cluster/membership/beat-list.ts); empty: none. */
  beats: string
  /** Of so many copies of which only figures changed the next report tells; 0: of all. */
  figures: number
}

interface Order {
  volumeId: string
  /** Of the node's process that reported, and its stamp. */
  instance: string
  stampMs: number
}

export type MakeCopyOrder = Order
export type EraseCopyOrder = Order & { copyId: string; epoch: number }
export type HandOverOrder = Order & { to: string }
/** A change of the volume itself, by its primary on that node. */
export type ChangeOrder = Order & OrderedChange
/** Its primary there orders no writes for a moment (GROUPS.md). */
export type HoldOrder = Order & { hold: string; holdMs: number; expected: RecordId }
export type ReleaseOrder = Order & { hold: string }

export interface ChangeAnswer {
  seq: number
  /** Of a snapshot that ended a hold: for so long no write of a client was ordered; else 0. */
  heldMs: number
}

/** It changes nothing: old or late, it does no harm. */
export interface ScrubOrder {
  volumeId: string
  isDeep: boolean
}

export interface DigestQuery {
  volumeId: string
  slice: number
  /** Of the slice, whose versions are asked for; -1: digests of all its pages. */
  page: number
}

export interface DigestAnswer extends SliceDigest {
  /** False: the slice is not there, not whole, or could not be looked at. */
  isTold: boolean
  versions: ShownVersion[]
}

/** What everybody knows by now of the keys of a volume, and the next step (dataplane/frontend/ENCRYPTION.md). */
export type RekeyOrder = Order & {
  /** Blocks of former data keys are written anew there, if the record says so. */
  isPass: boolean
}

/** Of the volume on that node, whose copy has noted the record as the store has it. */
export interface RekeyReport {
  /** That its frontend has; of a node without one all of the record. */
  keyCount: number
  /** Why not all, or why there is no pass; else empty. */
  why: string
  /** Of the pass; 0: there is none. */
  totalBytes: number
  doneBytes: number
  rewrittenBlocks: number
  damagedBlocks: number
  isDone: boolean
}

/** A question, no order: old or late, it does no harm. */
export interface AwaitOfferRequest {
  volumeId: string
  /** Of attach; this one or a later one. */
  generation: number
}

export interface ClientsQuery {
  volumeId: string
}

export interface ClientsAnswer {
  /** Of attach, one for each connection. */
  generations: number[]
}

/** Of one node, here or elsewhere. Rejects with a HoldfastError. */
export interface NodeCalls {
  report(report: NodeReport): Promise<ReportAnswer>
  makeCopy(order: MakeCopyOrder): Promise<{ copyId: string }>
  eraseCopy(order: EraseCopyOrder): Promise<object>
  handOver(order: HandOverOrder): Promise<object>
  change(order: ChangeOrder): Promise<ChangeAnswer>
  hold(order: HoldOrder): Promise<{ seq: number }>
  release(order: ReleaseOrder): Promise<object>
  /** A question to the primary there; answered only while it is certain that it leads (SNAPSHOTS.md T2). */
  snapshots(query: SnapshotQuery): Promise<SnapshotAnswer>
  /** Whether its clients can use the volume under that generation; answered when they can, or after two seconds. */
  awaitOffer(request: AwaitOfferRequest): Promise<{ isOffered: boolean }>
  /** Who uses the volume through it now; one that has left and is not done is waited for, a second at most. */
  clients(query: ClientsQuery): Promise<ClientsAnswer>
  /** Its copy is scrubbed now, or as soon as those that run have ended. */
  scrub(order: ScrubOrder): Promise<object>
  /** Its copy gets blocks of its own for what it shares, if the record wishes it. @returns how many slices those are */
  hydrate(order: MakeCopyOrder): Promise<{ sharedSlices: number }>
  /** Its copy notes the keys of the volume and its frontend takes them; the pass is begun if it is to be. */
  rekey(order: RekeyOrder): Promise<RekeyReport>
  /** What its copy shows of a slice. */
  digest(query: DigestQuery): Promise<DigestAnswer>
}

const isSameList = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, i) => each === b[i])

/** In all that is told, so that what did not change is not told again. */
export function isSameCopy(a: CopyStatus, b: CopyStatus): boolean {
  if (a === b) return true
  for (const name in a) {
    const key = name as keyof CopyStatus
    if (key !== 'diskUuids' && key !== 'awaits' && a[key] !== b[key]) return false
  }
  return isSameList(a.diskUuids, b.diskUuids) && isSameList(a.awaits, b.awaits)
}
