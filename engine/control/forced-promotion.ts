/**
 * The operator's last resort (SPEC.md section 11; replication C9): a copy leads although nobody knows that it has
 * everything. Whether that may be asked for, and what it may cost, in words to be confirmed.
 */
import type { NodeId } from '../replication/configuration.ts'
import { someOf } from './amounts.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { conditionOf, copyFacts } from './copy-facts.ts'
import type { CopyFact } from './copy-facts.ts'

export type ForcedPromotion =
  /** Why not, as a sentence. */
  | { isPossible: false; why: string }
  /**
   * What may be lost, and what becomes of others, one sentence each. `endsSessions`: writes that were answered are lost
   * and the copy cannot know it, so whoever used the volume has to be told (W3).
   */
  | { isPossible: true; costs: string[]; endsSessions: boolean }

/** @param to  the node whose copy is to lead */
export function judgeForcedPromotion(
  cluster: Cluster, volume: VolumeView, to: NodeId, nowMs: number,
): ForcedPromotion {
  const { config, verdict } = volume
  if (config === undefined) return { isPossible: false, why: 'no copy of it was ever in use' }
  if (verdict === undefined) return { isPossible: false, why: 'it was not looked at yet' }
  if (verdict.health !== 'suspended' && verdict.health !== 'faulted') {
    return { isPossible: false, why: `${config.primary} leads it and serves` }
  }
  const facts = copyFacts(cluster, volume, nowMs)
  const { freshMs } = cluster.options
  const isFresh = ({ saidAtMs }: CopyFact) => nowMs - saidAtMs <= freshMs
  const primary = facts.find(({ isPrimary }) => isPrimary)!
  const role = isFresh(primary) ? primary.status?.role : undefined
  if (role === 'primary' || role === 'handing-over') {
    return { isPossible: false, why: `${config.primary} leads it, and waits: ${verdict.healthReason}` }
  }
  const copy = facts.find(({ node }) => node === to)
  if (copy === undefined) return { isPossible: false, why: `${to} has no copy of it that was ever filled` }
  const { status } = copy
  if (status === undefined || status.failure !== '') return { isPossible: false, why: conditionOf(copy) }
  if (!isFresh(copy)) return { isPossible: false, why: `${to} has not been heard just now` }
  if (status.role === 'starting') return { isPossible: false, why: `${to} is starting its copy` }
  if (!status.isConsistent) {
    return { isPossible: false, why: `${to} was being filled, and what it has is no state the volume was ever in` }
  }
  // One that knows that it is not whole ends them itself (replication S6).
  const endsSessions = !copy.isInSync && status.isWhole
  return { isPossible: true, costs: costsOf(cluster, volume, copy, facts), endsSessions }
}

function costsOf(
  cluster: Cluster, volume: VolumeView, { node: to, isInSync, status }: CopyFact, facts: readonly CopyFact[],
): string[] {
  const costs: string[] = []
  if (!isInSync) costs.push(`${to} is not in sync: what was acknowledged since it left the set is lost`)
  else if (status!.isWhole) costs.push(`${to} is in sync, and has all that was acknowledged before now`)
  else costs.push(`${to} lost its power: what was acknowledged and not flushed may be lost`)
  const others = facts.filter(({ node }) => node !== to)
  const missed = Math.max(0, ...others.map((fact) => lastCommit(cluster, volume, fact))) - status!.commitSeq
  if (missed > 0 && !isInSync) costs.push(`other nodes told of at least ${missed} change(s) that it did not know of`)
  if (status!.lostSlices > 0) {
    costs.push(`${status!.lostSlices} slice(s) of it went with a disk, and cannot be read any more`)
  }
  const unheard = others.filter(({ isInSync: was, presence }) => was && presence === 'away').map(({ node }) => node)
  if (unheard.length > 0) {
    const names = someOf(unheard)
    costs.push(`${names} may only be cut off and still serve: stop it first, what it takes from now on is lost`)
  }
  if (others.length > 0) costs.push(`what ${someOf(others.map(({ node }) => node))} has is replaced by what ${to} has`)
  if (!isInSync) costs.push('who uses the volume gets errors until it connects anew: check it before that')
  return costs
}

/** What it told last, however long ago. */
function lastCommit(cluster: Cluster, volume: VolumeView, { node, copyId }: CopyFact): number {
  const said = cluster.nodes.get(node)?.copies.get(volume.id)
  return said?.copyId === copyId ? said.commitSeq : 0
}
