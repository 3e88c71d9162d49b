/**
 * The rebuild table (key `rebuilds`, SPEC.md section 8): every copy that the control plane fills, as one value. What is
 * not in it is not begun, so controllers that do not know of each other share one budget, and keep their choices.
 */
import { assert } from '../assert.ts'
import type { NodeId } from '../replication/configuration.ts'
import { REBUILDS_MOST } from './control-options.ts'

export type RebuildWhy = 'replace' | 'add' | 'drain' | 'move' | 'rebalance'

export interface Rebuild {
  volumeId: string
  to: NodeId
  /** Whose copy goes afterwards; empty: whoever is too many. */
  from: NodeId | ''
  why: RebuildWhy
}

export type RebuildTable = Rebuild[]

export const isSame = (a: Rebuild, b: Rebuild): boolean => a.volumeId === b.volumeId && a.to === b.to

export function assertTable(table: RebuildTable, rebuildsMax: number): void {
  assert(table.length <= Math.min(rebuildsMax, REBUILDS_MOST), 'B1: no more rebuilds than the budget')
}
