/**
 * "Safe to reboot node X: yes or no, because" (SPEC.md S1): whether every volume that has a copy there goes on without
 * it. What is not known is no.
 */
import type { NodeId } from '../replication/configuration.ts'
import { seconds, someOf } from './amounts.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { copyFacts, isComplete } from './copy-facts.ts'
import { isQuiet, livenessOf } from './node-state.ts'
import { wantedCopies } from './volume-record.ts'

export interface Reboot {
  safeToReboot: boolean
  because: string
}

export function safeToReboot(cluster: Cluster, name: NodeId, nowMs: number): Reboot {
  const node = cluster.nodes.get(name)
  if (node?.record === undefined) return { safeToReboot: false, because: `there is no node ${name}` }
  if (livenessOf(node, cluster.options, nowMs) === 'down') {
    return { safeToReboot: true, because: 'it is down already' }
  }
  if (isQuiet(node, cluster.options, nowMs)) {
    return { safeToReboot: false, because: `it has been silent for ${seconds(nowMs - node.heardAtMs)}` }
  }
  if (node.said === undefined) return { safeToReboot: false, because: 'it has not told yet what it has' }
  const last: string[] = []
  const below: string[] = []
  let copies = 0
  for (const id of node.volumes) {
    const volume = cluster.volumes.get(id)!
    if (volume.config?.inSync.includes(name) !== true) continue
    copies++
    const missed = whatIsMissed(cluster, volume, name, nowMs)
    if (missed === 'last') last.push(nameOf(volume))
    else if (missed === 'required') below.push(nameOf(volume))
  }
  const reasons: string[] = []
  if (last.length > 0) reasons.push(`it has the only complete copy of ${someOf(last.sort())}`)
  if (below.length > 0) reasons.push(`without it fewer copies than required are left of ${someOf(below.sort())}`)
  if (reasons.length > 0) return { safeToReboot: false, because: reasons.join('; ') }
  if (copies === 0) return { safeToReboot: true, because: 'it has no copy that is needed' }
  return { safeToReboot: true, because: `its ${copies} volume(s) have enough other copies` }
}

/** What a volume lacks while the node is away. */
function whatIsMissed(
  cluster: Cluster,
  volume: VolumeView,
  name: NodeId,
  nowMs: number,
): 'last' | 'required' | undefined {
  if (hasToSpare(volume)) return undefined
  const rest = copyFacts(cluster, volume, nowMs).filter((fact) => fact.node !== name && isComplete(fact))
  if (!rest.some(({ status }) => status!.isWhole)) return 'last'
  return rest.length < volume.config!.minInSync ? 'required' : undefined
}

/** All copies were there when it was looked at last, and one may go. */
function hasToSpare({ verdict, record, config }: VolumeView): boolean {
  if (verdict?.health !== 'healthy' || record === undefined || record.spec.durability === 'writeback') return false
  return wantedCopies(record) > Math.max(1, config!.minInSync)
}

export const nameOf = ({ id, record }: VolumeView): string => record?.spec.name ?? id
