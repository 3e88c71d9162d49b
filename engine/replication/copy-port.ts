/**
 * The world as the machine of a copy sees it: what it may ask (every call returns at once; what follows comes back as
 * an event of a later step) and what may happen to it. `step(state, event, nowMs, port)` runs to its end; a port only
 * enqueues, so nothing is re-entered.
 *
 * Times are milliseconds of this node's CLOCK_BOOTTIME.
 */
import type { VolumeConfig, NodeId } from './configuration.ts'
import type { CopyStore, StoredCopy, StoreEvent } from './copy-store.ts'
import type { FrontendMessage, PeerMessage } from './messages.ts'
import type { RecordId } from './record-id.ts'
import type { ControlChange, Durability } from './record.ts'

/** A value of the cluster store with its opaque version. */
export interface VersionedConfig {
  config: VolumeConfig
  version: string
}

export interface CopyPort {
  store: CopyStore
  /** To the copy of this volume on another node. May be lost, repeated or reordered. */
  send(to: NodeId, message: PeerMessage): void
  /** Whether the node is told of marks (SPEC.md D8): one of before is not. A port without it tells all. */
  takesMarks?(node: NodeId): boolean
  /** To a frontend of this volume. */
  reply(to: NodeId, message: FrontendMessage): void
  /** Linearizable. Later: `config-read`. */
  readConfig(token: number): void
  /** Replace the value of this version. Later: `cas-ended`. */
  compareAndSwap(token: number, version: string, config: VolumeConfig): void
  /** A fresh nonce. */
  nonce(): string
  /** Step again with `tick` at about this time; only the earliest counts. */
  wakeAt(atMs: number): void
  /**
   * This copy is no more bound by beacons of that node: the next acknowledgements to it say so (SPEC L2). A port
   * without it leaves the copy bound for as long as beacons come.
   */
  left?(node: NodeId): void
  /** What a peer said cannot be, and was refused. A port without it does not look. */
  disbelieved?(from: NodeId, why: string): void
  /** The end of an operator's command. */
  commandEnded(token: number, result: CommandResult): void
}

/**
 * `superseded`: it was judged on what is not so any more, or is not known here yet. `lost`: it may still happen.
 * `occupied`: of a shrink, something lives beyond.
 */
export type CommandResult =
  | { ok: true; seq: number }
  | { ok: false; code: 'not-primary' | 'refused' | 'lost' | 'superseded' | 'in-use' | 'occupied'; why: string }

export interface ChangeCommand {
  type: 'change'
  change: ControlChange
  /** Only while this is the last change that was ordered (SPEC W7). */
  expected?: RecordId
  /** Of a rollback: only when nobody has used the volume under this attach generation or a later one (SPEC S7). */
  unusedSince?: number
  /** Only in that hold, which is over with it (SPEC W8). */
  hold?: string
}

/** Order nothing of clients for so long at most, if this is still the last change that was ordered (SPEC W8). */
export interface HoldCommand {
  type: 'hold'
  /** Given to one hold of one volume. */
  hold: string
  holdMs: number
  expected?: RecordId
}

export type OperatorCommand =
  | ChangeCommand
  | HoldCommand
  | { type: 'release'; hold: string }
  | { type: 'hand-over'; to: NodeId }

export type CopyEvent =
  | { type: 'recovered'; stored: StoredCopy }
  | StoreEvent
  | { type: 'message'; from: NodeId; instance: string; message: PeerMessage }
  | { type: 'frontend'; from: NodeId; message: FrontendMessage }
  /** A hint of the watch; may be old. */
  | { type: 'config-hint'; value: VersionedConfig }
  | { type: 'config-read'; token: number; value: VersionedConfig | undefined; ok: boolean }
  | { type: 'cas-ended'; token: number; outcome: 'won' | 'lost' | 'unknown'; version: string | undefined }
  /** From the node's links (leases.ts): beacons as they concern this volume. */
  /** The commit point counts only under the promised epoch; without `epoch` it is not looked at. */
  | { type: 'beacon'; from: NodeId; instance: string; atMs: number; commitSeq: number | undefined; epoch?: number }
  /** `left`: the copy there said that beacons bind it no more. */
  | { type: 'beacon-acknowledged'; from: NodeId; instance: string; sentAtMs: number; left?: boolean }
  /** A supervisor saw this instance end. */
  | { type: 'instance-ended'; node: NodeId; instance: string }
  /** Boot and wall clock moved apart, or the loop stood still: no lease counts any more. */
  | { type: 'clock-doubt' }
  | { type: 'command'; token: number; command: OperatorCommand }
  | { type: 'tick' }

export interface CopyOptions {
  node: NodeId
  instance: string
  volumeId: string
  /** As its store had applied it when it was opened; records change it (W10). */
  mode: Durability
  readCheck: 'lease' | 'confirm'
  leaseMs: number
  graceMs: number
  evictAfterMs: number
  /** Between one attempt of the same thing and the next. */
  retryMs: number
  candidateStepMs: number
  /** Of records not yet stored everywhere. */
  windowBytesMax: number
  windowRecordsMax: number
  fillBytesMax: number
  /** Marks that are kept one by one (SPEC.md D9); each is written with facts of the copy. */
  marksMost: number
}
