/**
 * Whether a copy may be taken away (SPEC.md section 7). Each answer is a sentence that says why not, or undefined: it
 * may. Asked anew for every step, of what is known then.
 *
 * I23: the control plane never takes the last copy of the set that is there and complete, nor the last that is or may
 *      be whole, nor the only consistent one; nor one that may have the only good copy of a block (E5); and nothing at
 *      all while the primary does not serve.
 */
import { assert } from '../assert.ts'
import type { NodeId } from '../replication/configuration.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { isComplete } from './copy-facts.ts'
import type { CopyFact } from './copy-facts.ts'
import { livenessOf } from './node-state.ts'

/** E1: out of the set. */
export function whyNotEvict(
  cluster: Cluster,
  volume: VolumeView,
  facts: readonly CopyFact[],
  node: NodeId,
  nowMs: number,
): string | undefined {
  const config = volume.config!
  if (config.primary === node) return `${node} leads it`
  const primary = whyNoActivePrimary(cluster, volume, facts, nowMs)
  if (primary !== undefined) return primary
  const rest = facts.filter((fact) => fact.isInSync && fact.node !== node)
  if (rest.length < config.minInSync) return `${config.minInSync} copies are required, and it is one of them`
  // In `durable` all are whole, and in which durability it is only they know (replication W10).
  const leaver = facts.find((fact) => fact.node === node)
  const isKnownNotWhole = leaver?.status !== undefined && isFresh(cluster, leaver, nowMs) && !leaver.status.isWhole
  const isOneWhole = rest.some((fact) => isComplete(fact) && isFresh(cluster, fact, nowMs) && fact.status!.isWhole)
  if (!isKnownNotWhole && !isOneWhole) return 'no other copy says that it has all that it acknowledged'
  assert(rest.some((fact) => fact.isPrimary && isComplete(fact)), 'I23: the last complete copy is not taken away')
  return whyAwaited(facts, node)
}

/** E2: out of the members, of one that is not in the set. */
export function whyNotRemove(
  cluster: Cluster,
  volume: VolumeView,
  facts: readonly CopyFact[],
  node: NodeId,
  nowMs: number,
): string | undefined {
  assert(!volume.config!.inSync.includes(node), 'I23: a member of the set is evicted before it is removed')
  const inactive = whyNoActivePrimary(cluster, volume, facts, nowMs)
  if (inactive !== undefined) return inactive
  return isGone(cluster, facts.find((fact) => fact.node === node)!, nowMs) ? undefined : whyAwaited(facts, node)
}

/** Nothing of it is read any more, whoever waits for it; also of one that was given up before (N4). */
function isGone({ nodes, options }: Cluster, { node, presence, status }: CopyFact, nowMs: number): boolean {
  if (presence === 'failed' || presence === 'absent') return true
  const view = nodes.get(node)
  if (view?.record === undefined) return true
  if (status !== undefined) return status.failure !== ''
  return livenessOf(view, options, nowMs) !== 'down' && view.said?.isOpen === true
}

/** E5: members of the set ask it for a block that they cannot read, and it has not answered. */
export function whyAwaited(facts: readonly CopyFact[], node: NodeId): string | undefined {
  const others = facts.filter((fact) => fact.isInSync && fact.node !== node)
  const asking = others.filter(({ status }) => status?.awaits.includes(node) === true)
  if (asking.length === 0) return undefined
  return `${node} may have block(s) that ${asking.map((fact) => fact.node).join(' and ')} cannot read`
}

/** E3: off the disk, of one that is no member. The node looks once more at what the store says. */
export function whyNotErase(
  cluster: Cluster,
  volume: VolumeView,
  facts: readonly CopyFact[],
  copyId: string,
  nowMs: number,
): string | undefined {
  if (volume.record === undefined) return 'nothing is known of its volume'
  if (volume.record.trash?.isPurging === true) return undefined
  if (volume.config === undefined) return 'its volume has no configuration'
  if (facts.some((fact) => fact.copyId === copyId)) return 'it is a member'
  return whyNoActivePrimary(cluster, volume, facts, nowMs)
}

/** The primary says, not long ago, that it serves under the very epoch of the configuration, with all of its copy. */
export function whyNoActivePrimary(
  cluster: Cluster,
  volume: VolumeView,
  facts: readonly CopyFact[],
  nowMs: number,
): string | undefined {
  const { primary, epoch } = volume.config!
  const fact = facts.find(({ node }) => node === primary)
  if (fact?.status === undefined) return `its primary on ${primary} is not heard`
  if (!isFresh(cluster, fact, nowMs)) return `its primary on ${primary} has not spoken for a while`
  const { role } = fact.status
  if (role !== 'primary') return `its primary on ${primary} does not serve yet (${role})`
  if (fact.status.epoch !== epoch) return `its primary on ${primary} is at epoch ${fact.status.epoch}, not ${epoch}`
  return isComplete(fact) ? undefined : `its primary on ${primary} lacks part of its copy`
}

const isFresh = ({ options }: Cluster, { saidAtMs }: CopyFact, nowMs: number): boolean =>
  nowMs - saidAtMs <= options.freshMs
