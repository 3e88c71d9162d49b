/** What a copy of this worker says of itself to the control plane (engine/control/node-status.ts). */
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../engine/control/node-status.ts'
import type { CopyStatus, ScrubStatus } from '../../engine/control/node-status.ts'
import { bytes, seconds } from '../../engine/control/amounts.ts'
import { isLetGo } from '../../engine/replication/configuration-change.ts'
import { durabilityAt, progressOf } from '../../engine/replication/copy-state.ts'
import type { CopyState } from '../../engine/replication/copy-state.ts'
import { fillPatienceMs } from '../../engine/replication/fill-source.ts'
import { awaitedMembers } from '../../engine/replication/kept-marks.ts'
import { BLOCK_BYTES, SLICE_BYTES } from '../../engine/units.ts'
import { sharingOf } from '../../engine/volume/copy-shares.ts'
import type { LocalCopyStore } from '../../engine/volume/copy-store.ts'
import { usageOf } from '../../engine/volume/usage.ts'
import type { HostedCopy } from './hosted-copy.ts'
import type { ScrubReport } from './scrubber.ts'

/** @param scrubs  undefined: not known yet, or it cannot be scrubbed */
export function copyStatus(
  { volumeId, state, store, snapshots: index }: HostedCopy,
  scrubs: ScrubReport | undefined,
  nowMs: number,
): CopyStatus {
  const { role, primary, promise, log, consistency } = state
  const snapshots = index.summary
  const usage = usageOf(store?.targets ?? [])
  return {
    volumeId,
    copyId: state.copyId,
    role,
    epoch: primary?.epoch ?? promise.epoch,
    isConsistent: consistency.state === 'consistent',
    isWhole: state.isWhole,
    durability: state.durability,
    durabilityNext: durabilityNext(state),
    isVirgin:
      state.isRecovered && promise.epoch === 0 && log.tail === state.baseSeq && state.config === undefined,
    seq: log.tail,
    commitSeq: log.commitSeq,
    lostSlices: state.lostSlices.length,
    diskUuids: store?.targets.map(({ stream }) => stream.context.diskUuid) ?? [],
    usedBytes: usage.storedBytes,
    logicalBytes: usage.logicalBytes,
    snapshots: snapshots.count,
    newestSnapshot: snapshots.newest,
    newestSnapshotAtMs: snapshots.newestAtMs,
    newestScheduledAtMs: snapshots.newestScheduledAtMs,
    lagBytes: lagBytes(state),
    joining: joiningWords(state, nowMs),
    hearsPrimary: hearsPrimary(state, nowMs),
    held: whyHeld(state, store, nowMs),
    isPoolFull: (store?.heldRecords ?? 0) > 0,
    awaits: awaitedMembers(state),
    heldRequests: heldRequests(primary, store),
    failure: isLetGo(state) ? '' : state.fencedBecause ?? '',
    ...(scrubs === undefined ? NEVER_SCRUBBED : scrubStatus(scrubs)),
    ...(store === undefined ? NOTHING_SHARED : sharingOf(store)),
  }
}

/** What is ordered, or waits until everything is synced that was answered before (replication W10). */
function durabilityNext(state: CopyState): CopyStatus['durabilityNext'] {
  const asked = state.primary?.changes.find(({ order }) => order !== undefined)?.order?.change
  if (asked?.operation === 'durability') return asked.to
  const next = durabilityAt(state, state.log.tail)
  return next === state.durability ? '' : next
}

/** It goes by the time alone, too: nobody is stepped when it ends. */
export function hearsPrimary({ role, isFollowing, grace, options }: CopyState, nowMs: number): boolean {
  const heardAtMs = grace.boundUntilMs - options.graceMs
  return role === 'replica' && isFollowing && nowMs <= heardAtMs + options.leaseMs
}

export const scrubStatus = ({ light, deep, isWaiting, isOverdue }: ScrubReport): ScrubStatus => ({
  scrubbedAtMs: deep.endedAtMs,
  checkedAtMs: light.endedAtMs,
  isScrubbing: isWaiting || deep.isRunning || light.isRunning,
  scrubPercent: Math.floor(100 * (deep.isRunning ? deep.doneShare : light.doneShare)),
  isScrubOverdue: isOverdue,
  damagedBlocks: deep.counts.damaged,
  unrepairedBlocks: deep.unrepaired,
  lostBlocks: deep.lost,
  mapProblems: light.counts.problems,
  // The main thread compares.
  comparedAtMs: 0,
  differences: 0,
})

/** Requests of clients of which a part was not let in, or its record has no room. */
export function heldRequests(primary: CopyState['primary'], store: LocalCopyStore | undefined): number {
  const held = store?.heldRequests() ?? []
  for (const { id } of primary?.held.slice(primary.heldHead) ?? []) held.push(id)
  return new Set(held.map(({ generation, incarnation, request }) => `${generation}.${incarnation}.${request}`)).size
}

/** A guess from above: a slice may hold less than it could, and a record more than a block. */
export function lagBytes({ primary, consistency, log, sizeBytes }: CopyState): number {
  if (primary !== undefined) return 0
  if (consistency.state === 'filling') return Math.min(sizeBytes, consistency.slices.length * SLICE_BYTES)
  return Math.max(0, log.toldCommitSeq - log.appliedSeq) * BLOCK_BYTES
}

/** What a copy that is out of the set does, and waits for, as far as it knows; empty: it is in the set. */
export function joiningWords(state: CopyState, nowMs: number): string {
  const { role, fillTarget, log, config, promise } = state
  if (role !== 'out') return ''
  const primary = config?.config.primary ?? promise.primary
  if (fillTarget === undefined) return `asks ${primary} to be filled`
  const records = Math.max(0, log.toldCommitSeq - progressOf(state))
  const silentMs = nowMs - fillTarget.heardAtMs
  if (fillTarget.phase === 'ended') {
    return `was filled, asks ${primary} to take it in, and is ${records} record(s) behind`
  }
  if (silentMs >= fillPatienceMs(state)) {
    return `has heard nothing of its filling by ${primary} for ${seconds(silentMs)}`
  }
  if (fillTarget.phase === 'starting') return 'makes room for its filling'
  return `is being filled, at most ${bytes(lagBytes(state))} and ${records} record(s) are left`
}

function whyHeld({ primary, options }: CopyState, store: LocalCopyStore | undefined, nowMs: number): string {
  if ((store?.heldRecords ?? 0) > 0) return 'the pool has no room for what is to be stored'
  if (primary === undefined) return ''
  const silent = primary.required.filter((node) => {
    const since = primary.peers.get(node)?.owedSinceMs
    return since !== undefined && nowMs - since >= options.evictAfterMs
  })
  return silent.length === 0 ? '' : `it waits for the copy on ${silent.join(' and ')}, which may not be let go`
}
