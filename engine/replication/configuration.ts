/**
 * The configuration of a volume: who is primary, whose acknowledgement is required. One value under one key of the
 * cluster store, replaced whole by compare-and-swap (SPEC.md 2.1). Everything here is pure: a change is a new value.
 *
 * I1: one (primary, set) per epoch; every change of either adds to the epoch.
 * I2: the primary is in the set, the set is not empty and lies within the members.
 * I24: each holder has a generation of its own, never given before; one holder when the mode is `single`.
 */
import { assert } from '../assert.ts'

export type NodeId = string

export type MemberState = 'in-sync' | 'catching-up' | 'failed' | 'needs-full'

export interface Member {
  /** Of the copy on that node; another one there is not this member. */
  copyId: string
  state: MemberState
}

export type AttachMode = 'single' | 'shared' | 'read-only' | 'open'

export interface Attach {
  /** The highest that was given: +1 with each new holder. */
  generation: number
  mode: AttachMode
  /** Each under the generation it was given; sessions of any other are refused for ever. Nobody in mode `open`. */
  holders: Record<NodeId, number>
}

export interface VolumeConfig {
  volumeId: string
  epoch: number
  primary: NodeId
  /** In no particular order, without repetition. */
  inSync: NodeId[]
  members: Record<NodeId, Member>
  minInSync: number
  attach: Attach
  /** Drawn for each CAS, so that a writer knows its own value again. */
  nonce: string
}

/** What of it is sent from node to node has bounds, and what is read from elsewhere has them too. */
export const MEMBERS_MAX = 64
export const HOLDERS_MAX = 1024
export const NONCE_CHARS_MAX = 128
export const COPY_ID_CHARS_MAX = 64

/** What a forced promotion adds to the epoch: above everything any copy may have promised meanwhile. */
export const FORCED_EPOCH_STEP = 2 ** 20

/** Whether that node has a copy of the volume. A node may be called like what every object has. */
export const hasMember = ({ members }: VolumeConfig, node: NodeId): boolean => Object.hasOwn(members, node)

export function assertConfig(config: VolumeConfig): void {
  const { primary, inSync, members, epoch, minInSync } = config
  assert(Number.isSafeInteger(epoch) && epoch >= 1, 'an epoch is a positive number')
  assert(inSync.length > 0 && inSync.includes(primary), 'I2: the primary is in the in-sync set')
  assert(new Set(inSync).size === inSync.length, 'I2: the in-sync set has no repetition')
  assert(
    inSync.every((node) => members[node] !== undefined),
    'I2: the in-sync set lies within the members',
  )
  assert(minInSync >= 1, 'at least one copy is required')
  const given = Object.values(config.attach.holders)
  assert(config.attach.mode !== 'single' || given.length <= 1, 'I24: one holder in mode single')
  assert(new Set(given).size === given.length, 'I24: each holder has a generation of its own')
  assert(
    given.every((generation) => generation <= config.attach.generation),
    'I24: a generation was given',
  )
}

/** Whether automatic changes may let these go (SPEC C1, C2). */
export function mayShrinkTo(config: VolumeConfig, size: number): boolean {
  return size >= config.minInSync && size >= 1
}

/** `S \ nodes`, under the next epoch; undefined when the set would fall below minInSync or lose its primary. */
export function withoutMembers(
  config: VolumeConfig,
  nodes: readonly NodeId[],
  nonce: string,
): VolumeConfig | undefined {
  const inSync = config.inSync.filter((node) => !nodes.includes(node))
  if (!inSync.includes(config.primary) || !mayShrinkTo(config, inSync.length)) return undefined
  return changed(config, {
    inSync,
    epoch: config.epoch + 1,
    nonce,
    members: withStates(config, nodes, 'catching-up'),
  })
}

/** `S + node`, and without `gone` (dead members that minInSync kept in the set), under the next epoch. */
export function withMember(
  config: VolumeConfig,
  node: NodeId,
  gone: readonly NodeId[],
  nonce: string,
): VolumeConfig | undefined {
  const inSync = [...config.inSync.filter((one) => !gone.includes(one)), node]
  if (config.members[node] === undefined || config.inSync.includes(node)) return undefined
  if (!inSync.includes(config.primary) || inSync.length < Math.min(config.inSync.length, config.minInSync))
    return undefined
  const members = withStates({ ...config, members: withStates(config, gone, 'catching-up') }, [node], 'in-sync')
  return changed(config, { inSync, epoch: config.epoch + 1, nonce, members })
}

/**
 * `candidate` in place of the primary (SPEC C3). The old one leaves the set unless that would fall below minInSync;
 * a primary that succeeds itself only takes the next epoch.
 */
export function withPrimary(config: VolumeConfig, candidate: NodeId, nonce: string): VolumeConfig | undefined {
  if (!config.inSync.includes(candidate)) return undefined
  const others = config.inSync.filter((node) => node !== config.primary)
  const drops = candidate !== config.primary && mayShrinkTo(config, others.length)
  return changed(config, {
    primary: candidate,
    inSync: drops ? others : config.inSync,
    epoch: config.epoch + 1,
    nonce,
    members: drops ? withStates(config, [config.primary], 'catching-up') : config.members,
  })
}

/** A planned hand-over: the set stays (SPEC C8). */
export function withSuccessor(config: VolumeConfig, successor: NodeId, nonce: string): VolumeConfig | undefined {
  if (!config.inSync.includes(successor)) return undefined
  return changed(config, { primary: successor, epoch: config.epoch + 1, nonce })
}

/** The operator's last resort (SPEC C9): may lose what only the others have. */
export function withForcedPrimary(config: VolumeConfig, node: NodeId, nonce: string): VolumeConfig | undefined {
  if (config.members[node] === undefined) return undefined
  const others = Object.keys(config.members).filter((one) => one !== node)
  const members = withStates({ ...config, members: withStates(config, others, 'needs-full') }, [node], 'in-sync')
  return changed(config, { primary: node, inSync: [node], epoch: config.epoch + FORCED_EPOCH_STEP, nonce, members })
}

/** Another holder takes over, or is added (SPEC S2, S3). Who holds it keeps its generation. */
export function withHolder(config: VolumeConfig, node: NodeId, mode: AttachMode, nonce: string): VolumeConfig {
  const { attach } = config
  if (attach.mode === mode && attach.holders[node] !== undefined) return config
  const keeps = mode === attach.mode && mode !== 'single'
  return withGeneration(config, node, mode, keeps ? attach.holders : {}, nonce)
}

/** Under a new generation, after its session broke (S6). */
export function withHolderAnew(config: VolumeConfig, node: NodeId, nonce: string): VolumeConfig {
  const { mode, holders } = config.attach
  return withGeneration(config, node, mode, holders, nonce)
}

/** It holds it no more; the others do as before. */
export function withoutHolder(config: VolumeConfig, node: NodeId, nonce: string): VolumeConfig {
  if (config.attach.holders[node] === undefined) return config
  const holders = { ...config.attach.holders }
  delete holders[node]
  return changed(config, { attach: { ...config.attach, holders }, nonce })
}

function withGeneration(
  config: VolumeConfig,
  node: NodeId,
  mode: AttachMode,
  others: Record<NodeId, number>,
  nonce: string,
): VolumeConfig {
  const generation = config.attach.generation + 1
  const holders = mode === 'open' ? {} : { ...others, [node]: generation }
  return changed(config, { attach: { generation, mode, holders }, nonce })
}

function withStates(config: VolumeConfig, nodes: readonly NodeId[], state: MemberState): Record<NodeId, Member> {
  const members = { ...config.members }
  for (const node of nodes) if (members[node] !== undefined) members[node] = { ...members[node], state }
  return members
}

function changed(config: VolumeConfig, change: Partial<VolumeConfig>): VolumeConfig {
  const next = { ...config, ...change }
  assertConfig(next)
  const isSame = next.primary === config.primary && sameSet(next.inSync, config.inSync)
  assert(next.epoch > config.epoch || isSame, 'I1: a change of primary or set takes a new epoch')
  return next
}

function sameSet(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((node) => b.includes(node))
}
