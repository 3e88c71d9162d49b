/**
 * Whether a node may be taken out of the cluster for good (SPEC.md N8). Its record goes; that its copies are absent,
 * and replaced, follows from that (N4).
 */
import type { NodeId } from '../replication/configuration.ts'
import { someOf } from './amounts.ts'
import type { Cluster } from './cluster.ts'
import { copyFacts, isCounted } from './copy-facts.ts'
import type { CopyFact } from './copy-facts.ts'
import { livenessOf } from './node-state.ts'
import type { VolumeRecord } from './volume-record.ts'

/** As a sentence; undefined: it may go. @param name  of a node that is there */
export function whyNodeStays(cluster: Cluster, name: NodeId, nowMs: number): string | undefined {
  const node = cluster.nodes.get(name)!
  if (livenessOf(node, cluster.options, nowMs) !== 'down') return `${name} is not down: stop it first`
  const homes: string[] = []
  const held: string[] = []
  for (const volume of cluster.volumes.values()) {
    const { config, record, id } = volume
    if (config?.attach.holders[name] !== undefined) held.push(record?.spec.name ?? id)
    if (config?.members[name] === undefined) continue
    const facts = copyFacts(cluster, volume, nowMs)
    // It has all that was acknowledged; until there is one, the copy that would go may be needed again.
    const isHome = (fact: CopyFact) =>
      fact.node !== name && fact.isInSync && isCounted(fact) && isWhole(fact, record)
    if (!facts.some(isHome)) homes.push(record?.spec.name ?? id)
  }
  if (homes.length > 0) return `no other node is seen to have a copy in sync of ${named(homes)}`
  // Another node may get its name, and would hold them.
  return held.length > 0 ? `it holds ${named(held)}: \`holdfast volume detach NAME --from ${name}\` first` : undefined
}

const named = (volumes: string[]): string => `volume${volumes.length === 1 ? '' : 's'} ${someOf(volumes.sort())}`

/** One of which nothing is known is whole in `durable`; a change of that is not in the record before it is in force. */
const isWhole = ({ status }: CopyFact, record: VolumeRecord | undefined): boolean =>
  status?.isWhole ?? record?.spec.durability !== 'writeback'
