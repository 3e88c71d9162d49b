/**
 * What the main thread of the daemon and a data worker say to each other over the worker's message port. The main
 * thread never touches the store: it asks by call, gets exactly one answer per call, and hands over accepted sockets.
 * Messages of one port arrive in order, which is what makes `delete` see every session posted before it.
 */
import type { RekeyReport } from '../cluster/reconcile/node-calls.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../engine/control/volume-snapshots.ts'
import type { Detail, ErrorCode } from '../engine/errors.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { NodeId } from '../engine/replication/configuration.ts'
import type { ChangeCommand, HoldCommand } from '../engine/replication/copy-port.ts'
import type { OpenedSnapshot, SnapshotPlace } from '../engine/replication/messages.ts'
import type { CloneSource } from '../engine/volume/copy-sharing.ts'
import type { QosLimits } from '../engine/volume/qos-limits.ts'
import type { ShownVersion, SliceDigest } from '../engine/volume/digest-comparison.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from '../engine/volume/volume-spec.ts'
import type { CopyHomes } from './copy-homes.ts'
import type { ConfigAnswer, ConfigAsk } from './copy/config-messages.ts'
import type { StatusChanges } from './copy/status-changes.ts'
import type { ScrubOptions } from './copy/scrub-options.ts'
import type { CopyTiming } from './copy/timing.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import type { ExportAnswer, ExportAsk } from './nbd/export-calls.ts'
import type { NbdSession, SecureArrival } from './nbd/listener.ts'
import type { Arrival } from './peer/arrival.ts'
import type { PeerAddress } from './peer/transport.ts'

export interface DiskOption {
  path: string
  /** Undefined: the size the file or device has. */
  sizeBytes: number | undefined
  pool: string
  tags: string[]
  /** The node served it before: when it is not there it is gone, and none is made in its place. */
  isKnown?: boolean
}

/** `workerData` of a worker. */
export interface WorkerStart {
  disks: PreparedDisk[]
  indexDir: string
  worker: number
  workers: number
  /** One word: how many workers have recovered their streams. */
  barrier: SharedArrayBuffer
  /** The folder of the node's certificates: clients over TCP talk TLS. */
  tls?: string
  /** Of a node of a cluster: the worker has copies and frontends of replicated volumes, and no others. */
  replication?: ReplicationStart
}

export interface ReplicationStart {
  clusterId: string
  node: NodeId
  /** Of this process: 32 hex digits. */
  instance: string
  /** Of this start of a daemon, as no other in the cluster has; below 2^24. */
  startNumber: number
  /** The folder of the node's certificates; unset: peers in plain text. */
  tls?: string
  timing: CopyTiming
  evidenceDir: string
  scrub: ScrubOptions
  /** Disks that the node goes on without, as this worker shows them. */
  lostDisks: DiskStatus[]
  /** Disks that are not trusted any more, and why. */
  suspectDisks: Array<{ uuid: string; reason: string }>
  /** Where the copies of this node are: what another worker has is not this one's. */
  homes: CopyHomes
  /** Of this node; names its key folder. */
  nodeId: string
  /** The key itself: the worker's copy of it, from now on. */
  clusterKey: Uint8Array | undefined
}

export interface SessionReport {
  volume: string
  /** The listener's number of it, unique for the life of the daemon. */
  session: number
  /** Attach generation; 0 on a node by itself. */
  generation: number
}

/** Everything the control thread may know of a worker, at one moment. */
export interface WorkerReport {
  volumes: VolumeStatus[]
  disks: DiskStatus[]
  sessions: SessionReport[]
}

/** Calls by name: what goes in, what a success answers. */
export interface WorkerCalls {
  create: { request: { spec: VolumeSpec }; answer: VolumeStatus }
  resize: { request: { name: string; sizeBytes: number }; answer: VolumeStatus }
  /** What clients may ask of it from now on, also those that wait. */
  'set-qos': { request: { name: string; qos: QosLimits | undefined }; answer: VolumeStatus }
  /** With `force`, sessions are ended first; without, they are a reason to refuse. */
  delete: { request: { name: string; force: boolean }; answer: undefined }
  report: { request: object; answer: WorkerReport }
  /** All workers at once: each waits for the others. `otherNames` are volumes that other workers serve. */
  'add-disk': { request: { disk: PreparedDisk; otherNames: string[] }; answer: undefined }
  /** Drain sessions for at most `drainMs`, then stop the store. */
  stop: { request: { drainMs: number }; answer: undefined }
}

/** What a worker of a node of a cluster is asked besides `stop`; it has no volumes of its own. */
export interface ReplicationCalls {
  /** A copy that begins as a copy here shows `source`, else an empty one; durable. Refused when there is one. */
  'make-copy': {
    request: { spec: VolumeSpec; copyId: string; source: CloneSource | undefined }
    answer: undefined
  }
  /** With all it holds; durable. */
  'erase-copy': { request: { volumeId: string; copyId: string }; answer: undefined }
  /** Durable: the copy keeps what the cluster store says of its volume. */
  note: { request: { volumeId: string; copyId: string; noted: unknown }; answer: undefined }
  'hand-over': { request: { volumeId: string; to: NodeId }; answer: undefined }
  /** `heldMs`: if it is a snapshot that ended a hold, for how long that was in force; else 0. */
  change: { request: { volumeId: string } & Omit<ChangeCommand, 'type'>; answer: { seq: number; heldMs: number } }
  hold: { request: { volumeId: string } & Omit<HoldCommand, 'type'>; answer: { seq: number } }
  release: { request: { volumeId: string; hold: string }; answer: undefined }
  /** As of the last change that the primary here ordered; refused by who does not lead, or before that is applied. */
  snapshots: { request: { query: SnapshotQuery }; answer: SnapshotAnswer }
  /**
   * For one client, who holds it until `close-snapshot`, or until his session ends. Null: there is no such snapshot.
   * Refused when nobody who leads the volume answers within `waitMs`.
   */
  'open-snapshot': { request: { wish: SnapshotWish; waitMs: number }; answer: OpenReader | null }
  /** Of a reader that is open: where its snapshot holds something, as far as one answer goes. */
  'map-snapshot': {
    request: { reader: number; lba: number; blockCount: number; since: SnapshotPlace | null }
    answer: { runs: number[]; endLba: number }
  }
  'close-snapshot': { request: { reader: number }; answer: undefined }
  /** @see NbdSessions.clients */
  clients: { request: { volumeId: string; mostMs: number }; answer: number[] }
  scrub: { request: { volumeId: string; isDeep: boolean }; answer: undefined }
  /** Answers with how many slices the copy shares. */
  hydrate: { request: { volumeId: string }; answer: number }
  /** The frontend of the volume takes its keys; with `isPass` it writes blocks of former data keys anew. */
  rekey: { request: { spec: VolumeSpec; isPass: boolean }; answer: RekeyReport }
  /** Null: the slice is not here, not whole, or could not be looked at. */
  digest: { request: { volumeId: string; slice: number }; answer: SliceDigest | null }
  shown: { request: { volumeId: string; slice: number; page: number }; answer: ShownVersion[] | null }
  offer: { request: VolumeOffer; answer: undefined }
  withdraw: { request: { volumeId: string }; answer: undefined }
  /** Sessions by the name of the export, a volume's name or id. @see StatusTeller */
  status: { request: { since: number }; answer: StatusChanges & { sessions: SessionReport[] } }
  /** All workers at once: each waits for the others. What it brings of copies is served after the next start. */
  'add-disk': { request: { disk: PreparedDisk }; answer: undefined }
}

/** A snapshot that somebody wants to read here. */
export interface SnapshotWish {
  spec: VolumeSpec
  /** Its name, else its id. */
  wanted: string
  /** How long what is asked of it is held before it fails; 0 = for ever. */
  ioTimeoutMs: number
}

export interface OpenReader {
  reader: number
  snapshot: OpenedSnapshot
}

/** A volume that clients of this node may use. */
export interface VolumeOffer {
  spec: VolumeSpec
  /** How long a request is held before it fails; 0 = for ever. */
  ioTimeoutMs: number
  /** What its clients here may ask of it: this node's part of what is wished. Undefined: as much as they like. */
  qos?: QosLimits | undefined
}

export type ReplicationCallName = keyof ReplicationCalls
export type ReplicationCallOf<K extends ReplicationCallName> = { kind: K } & ReplicationCalls[K]['request']
export type AnyReplicationCall = { [K in ReplicationCallName]: ReplicationCallOf<K> }[ReplicationCallName]

export type CallName = keyof WorkerCalls
export type CallOf<K extends CallName> = { kind: K } & WorkerCalls[K]['request']
export type AnyCall = { [K in CallName]: CallOf<K> }[CallName]

export interface PackedError {
  code: ErrorCode
  detail: Detail
}

export type Answer<T> = { ok: true; value: T } | { ok: false; error: PackedError }

export type ToWorker =
  | { kind: 'call'; id: number; call: AnyCall }
  | { kind: 'session'; session: NbdSession }
  /** A client that begins TLS now; the descriptor in it is the worker's from now on. */
  | { kind: 'secure-nbd'; arrival: SecureArrival }
  | { kind: 'exports'; answer: ExportAnswer }
  /** What was counted, for metrics: an answer of `WorkerFigures`. */
  | { kind: 'figures'; id: number }
  /** Answered with nothing, by who is alive. */
  | { kind: 'ping'; id: number }
  | { kind: 'replication-call'; id: number; call: AnyReplicationCall }
  | { kind: 'config'; message: ConfigAnswer }
  /** All other nodes of the cluster. */
  | { kind: 'peers'; addresses: PeerAddress[] }
  /** A peer's connection; the descriptor in it is the worker's from now on. */
  | { kind: 'arrival'; arrival: Arrival }

export type FromWorker =
  | { kind: 'opened'; report: WorkerReport }
  | { kind: 'refused'; error: PackedError }
  | { kind: 'answer'; id: number; answer: Answer<unknown> }
  | { kind: 'session-ended'; session: number }
  | { kind: 'exports'; ask: ExportAsk }
  /** A client over TLS of a volume that another worker has. */
  | { kind: 'session'; session: NbdSession }
  | { kind: 'config'; message: ConfigAsk }
  /** Which copies lead here is not what the last status said. */
  | { kind: 'leads-changed' }
  | {
    kind: 'event'
    level: 'info' | 'warn' | 'error'
    message: string
    fields: Record<string, string | number | boolean>
  }

/** Error objects lose their class between threads; code and detail are all there is to them. */
export function packError({ code, detail }: HoldfastError): PackedError {
  return { code, detail }
}

export function unpackError({ code, detail }: PackedError): HoldfastError {
  return new HoldfastError(code, detail)
}
