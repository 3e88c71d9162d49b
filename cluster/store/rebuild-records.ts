/** Copies that the control plane fills: one value under `rebuilds` (engine/control/rebuild-table.ts). */
import type { Rebuild, RebuildTable, RebuildWhy } from '../../engine/control/rebuild-table.ts'
import { REBUILDS_MOST } from '../../engine/control/control-options.ts'
import { isRecord } from '../../engine/value-shape.ts'
import { encodeJson, isNode, isNodeOrNone, isOneOf, isVolumeId, parseRecord } from './json-value.ts'

export const REBUILDS_KEY = 'rebuilds'

const WHYS: readonly RebuildWhy[] = ['replace', 'add', 'drain', 'move', 'rebalance']

export const encodeRebuilds = (rebuilds: RebuildTable): Uint8Array => encodeJson({ rebuilds })

export function decodeRebuilds(value: Uint8Array): RebuildTable | undefined {
  const found = parseRecord(value)
  if (found === undefined || !Array.isArray(found.rebuilds) || found.rebuilds.length > REBUILDS_MOST) return undefined
  const rebuilds: RebuildTable = []
  for (const one of found.rebuilds as unknown[]) {
    const rebuild = rebuildOf(one)
    if (rebuild === undefined) return undefined
    rebuilds.push(rebuild)
  }
  return rebuilds
}

function rebuildOf(value: unknown): Rebuild | undefined {
  if (!isRecord(value)) return undefined
  const { volumeId, to, from, why } = value
  if (!isVolumeId(volumeId) || !isNode(to) || !isNodeOrNone(from) || !isOneOf(why, WHYS)) return undefined
  return { volumeId, to, from, why }
}
