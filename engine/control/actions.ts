/**
 * What a pass asks the shell to do (SPEC.md section 2): compare-and-swaps of one key on the version they were planned
 * on, and orders to one node.
 */
import type { NodeId, VolumeConfig } from '../replication/configuration.ts'
import type { Version } from './cluster.ts'
import type { RebuildTable } from './rebuild-table.ts'
import type { VolumeRecord } from './volume-record.ts'

export type Action =
  /** To absent. */
  | { type: 'create-config'; volumeId: string; config: VolumeConfig; why: string }
  | { type: 'change-config'; volumeId: string; version: Version; config: VolumeConfig; why: string }
  | { type: 'delete-config'; volumeId: string; version: Version; why: string }
  | { type: 'change-volume'; volumeId: string; version: Version; record: VolumeRecord; why: string }
  | { type: 'delete-volume'; volumeId: string; version: Version; why: string }
  | { type: 'delete-move'; volumeId: string; version: Version; why: string }
  | { type: 'change-rebuilds'; version: Version; rebuilds: RebuildTable; why: string }
  | { type: 'change-age'; version: Version; ageMs: number; why: string }
  /** The node draws the copyId, and makes none when it has a copy of that volume. */
  | { type: 'make-copy'; volumeId: string; node: NodeId; why: string }
  /** The node erases it only as E3 says; `epoch` 0: there is no configuration to be judged by. */
  | { type: 'erase-copy'; volumeId: string; node: NodeId; copyId: string; epoch: number; why: string }
  /** It gets blocks of its own for what it shares, if the record still wishes it. */
  | { type: 'hydrate-copy'; volumeId: string; node: NodeId; why: string }
  | { type: 'hand-over'; volumeId: string; node: NodeId; to: NodeId; why: string }

/** What makes two actions the same one, given out again. */
export function keyOf(action: Action): string {
  const { type } = action
  if (type === 'make-copy' || type === 'hydrate-copy' || type === 'hand-over') return `${type} ${action.node}`
  return type === 'erase-copy' ? `${type} ${action.node} ${action.copyId}` : type
}
