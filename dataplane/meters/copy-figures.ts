/** What a copy of this worker tells metrics. */
import type { CopyFigures } from '../../cluster/metrics/figures.ts'
import { NEVER_SCRUBBED } from '../../engine/control/node-status.ts'
import { sharingOf } from '../../engine/volume/copy-shares.ts'
import { usageOf } from '../../engine/volume/usage.ts'
import type { DiskStatus } from '../../engine/volume/volume-spec.ts'
import { lagBytes, scrubStatus } from '../copy/copy-report.ts'
import type { HostedCopy } from '../copy/hosted-copy.ts'
import type { ScrubReport } from '../copy/scrubber.ts'

/** @param scrubs  undefined: not known yet, or it cannot be scrubbed */
export function copyFigures(
  { volumeId, state, store, meter }: HostedCopy,
  scrubs: ScrubReport | undefined,
): CopyFigures {
  const { role, primary, promise, config } = state
  return {
    volumeId,
    volume: store?.targets[0]?.map.descriptor.spec.name ?? volumeId,
    role,
    isLeading: role === 'primary' || role === 'handing-over',
    epoch: primary?.epoch ?? promise.epoch,
    epochChanges: meter.epochChanges,
    members: Object.keys(config?.config.members ?? {}).length,
    inSync: config?.config.inSync.length ?? 0,
    lagBytes: lagBytes(state),
    usage: usageOf(store?.targets ?? []),
    scrubs: scrubs === undefined ? NEVER_SCRUBBED : scrubStatus(scrubs),
    sharedSlices: store === undefined ? 0 : sharingOf(store).sharedSlices,
    append: meter.append.figures(),
    replicate: meter.replicate.figures(),
    commit: meter.commit.figures(),
  }
}

/** By disk, over all copies: blocks that could not be read as they were written. */
export function damagedReadsOf(copies: Iterable<HostedCopy>): Map<string, number> {
  const sums = new Map<string, number>()
  for (const { meter } of copies)
    for (const [uuid, count] of meter.damagedReads) sums.set(uuid, (sums.get(uuid) ?? 0) + count)
  return sums
}

/** The store counts what its own volumes met; copies are read by others. */
export const withDamagedReads = (disks: readonly DiskStatus[], damagedReads: ReadonlyMap<string, number>) =>
  disks.map((disk): DiskStatus => (
    { ...disk, checksumErrors: disk.checksumErrors + (damagedReads.get(disk.uuid) ?? 0) }))
