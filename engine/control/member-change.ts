/**
 * The configurations that the control plane writes: the first one of a volume, and changes of members and minInSync
 * (SPEC.md V1, V2, V5, E1, E2). Each is a new value for one compare-and-swap; undefined: the rules of replication do
 * not allow it.
 */
import { assert } from '../assert.ts'
import { assertConfig, withoutMembers } from '../replication/configuration.ts'
import type { AttachMode, NodeId, VolumeConfig } from '../replication/configuration.ts'

/** V1: all that were made are in the set. `copies` by node, not empty; the primary is one of them. */
export function firstConfig(options: {
  volumeId: string
  primary: NodeId
  copies: ReadonlyMap<NodeId, string>
  minInSync: number
  attachMode: AttachMode
  nonce: string
  /** Above every epoch in what its copies begin with. */
  epoch: number
}): VolumeConfig {
  const { volumeId, primary, copies, minInSync, attachMode, nonce, epoch } = options
  const members: VolumeConfig['members'] = {}
  for (const [node, copyId] of copies) members[node] = { copyId, state: 'in-sync' }
  const config: VolumeConfig = {
    volumeId,
    epoch,
    primary,
    inSync: [...copies.keys()],
    members,
    minInSync: Math.min(minInSync, copies.size),
    // Generation 0 was never given: sessions of it count as broken (S6 of replication).
    attach: { generation: attachMode === 'open' ? 1 : 0, mode: attachMode, holders: {} },
    nonce,
  }
  assertConfig(config)
  return config
}

/**
 * V2: it may join; whose acknowledgement is required does not change. Of a copy that was a member before nothing is
 * taken for granted: all of it is filled.
 */
export function withNewMember(
  config: VolumeConfig,
  node: NodeId,
  { copyId, isVirgin }: { copyId: string; isVirgin: boolean },
  nonce: string,
): VolumeConfig | undefined {
  if (config.members[node] !== undefined) return undefined
  const state = isVirgin ? 'catching-up' : 'needs-full'
  return { ...config, members: { ...config.members, [node]: { copyId, state } }, nonce }
}

/** E1: out of the set under the next epoch, and not to come back by itself. */
export function withEvicted(config: VolumeConfig, node: NodeId, nonce: string): VolumeConfig | undefined {
  if (!config.inSync.includes(node)) return undefined
  const next = withoutMembers(config, [node], nonce)
  if (next === undefined) return undefined
  return { ...next, members: { ...next.members, [node]: { ...next.members[node]!, state: 'failed' } } }
}

/** E2: no member any more. */
export function withoutMember(config: VolumeConfig, node: NodeId, nonce: string): VolumeConfig | undefined {
  if (config.members[node] === undefined || config.inSync.includes(node)) return undefined
  const members = { ...config.members }
  delete members[node]
  const next = { ...config, members, nonce }
  assertConfig(next)
  return next
}

/** V5: never more than there are members of the set. */
export function withMinInSync(config: VolumeConfig, minInSync: number, nonce: string): VolumeConfig {
  const isRaise = minInSync > config.minInSync
  const mayBe = minInSync >= 1 && (!isRaise || minInSync <= config.inSync.length)
  assert(mayBe, 'V5: minInSync is raised by a set that has it')
  return { ...config, minInSync, nonce }
}
