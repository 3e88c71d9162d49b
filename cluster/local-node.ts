/**
 * What the control plane may ask of its own node. The data plane implements it.
 */
import type { NodeStatus } from '../engine/control/node-status.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../engine/control/volume-snapshots.ts'
import type { VolumeRecord } from '../engine/control/volume-record.ts'
import type { AttachMode, NodeId, VolumeConfig } from '../engine/replication/configuration.ts'
import type { ChangeCommand, HoldCommand } from '../engine/replication/copy-port.ts'
import type { CloneSource } from '../engine/volume/copy-sharing.ts'
import type { QosLimits } from '../engine/volume/qos-limits.ts'
import type { ChangeAnswer, DigestAnswer, DigestQuery, RekeyReport } from './reconcile/node-calls.ts'
import type { VolumeSpec } from '../engine/volume/volume-spec.ts'

/** A volume that clients of this node may use. */
export interface OfferedVolume {
  spec: VolumeSpec
  mode: AttachMode
  /** Under which this node may use it. */
  generation: number
  ioTimeoutMs: number
  /** This node's part of what is wished; undefined: no limits. */
  qos: QosLimits | undefined
}

/** What the control plane may ask of its own node. Rejects with a HoldfastError. */
export interface LocalNode {
  /** Everything a node says of itself (engine/control/node-status.ts). */
  status(): Promise<NodeStatus>
  /**
   * A copy; the id it was given. Refused when there is one of that volume.
   * @param source  it begins with that, from the copy that is here, or is refused; undefined: it is empty
   */
  makeCopy(spec: VolumeSpec, source: CloneSource | undefined): Promise<{ copyId: string }>
  /** Erase it; the caller has judged by E3. */
  eraseCopy(volumeId: string, copyId: string): Promise<void>
  /** The copy here leads and gives the lead away (C8). */
  handOver(volumeId: string, to: NodeId): Promise<void>
  /** A change of the volume by its primary here; answered when it is durable on the whole set. */
  change(volumeId: string, command: Omit<ChangeCommand, 'type'>): Promise<ChangeAnswer>
  /** No write of a client is ordered by the primary here for so long at most. @returns its tail */
  hold(volumeId: string, command: Omit<HoldCommand, 'type'>): Promise<{ seq: number }>
  release(volumeId: string, hold: string): Promise<void>
  /** By the primary here, as of its last change; it may be deposed and not know it. */
  snapshots(query: SnapshotQuery): Promise<SnapshotAnswer>
  /** Offer or change the NBD export of a volume. */
  offer(volume: OfferedVolume): Promise<void>
  /** Whether clients here can use it under that attach generation or a later one, by then. */
  offered(volumeId: string, generation: number, mostMs: number): Promise<boolean>
  /**
   * Attach generations of the clients here that use it now, one for each connection. Of one that has left, what it had
   * asked is waited for, `mostMs` at most.
   */
  clients(volumeId: string, mostMs: number): Promise<number[]>
  /** Scrub the copy here, every block or its map alone; answered when that is begun, or waits its turn. */
  scrub(volumeId: string, isDeep: boolean): Promise<void>
  /** The copy here gets blocks of its own for what it shares, in the background. @returns of how many slices */
  hydrate(volumeId: string): Promise<number>
  /** The copy here notes the keys of a volume, and its frontend takes them; with `isPass` blocks are written anew. */
  rekey(seen: { record: VolumeRecord; config: VolumeConfig }, isPass: boolean): Promise<RekeyReport>
  /** What the copy here shows of a slice, in digests or version by version. */
  digest(query: DigestQuery): Promise<DigestAnswer>
  /** No new clients; those that are there hear for themselves that this node does not hold it any more. */
  hide(volumeId: string): Promise<void>
  /** It is gone, or in the trash: its clients are ended. Its key stays: it may come back. */
  withdraw(volumeId: string): Promise<void>
}
