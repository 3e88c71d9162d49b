/** What the disks of a worker's store hold, for metrics. Costs a look at every segment. */
import type { DiskFigures, LatencyFigures } from '../../cluster/metrics/figures.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../../engine/units.ts'
import type { DiskStatus } from '../../engine/volume/volume-spec.ts'
import { LatencyHistogram } from './latency-histogram.ts'

/** @param syncsOf  by uuid; undefined of a disk that was refused */
export function diskFigures(
  statuses: readonly DiskStatus[],
  streams: readonly StoreStream[],
  syncsOf: (uuid: string) => LatencyFigures | undefined,
): DiskFigures[] {
  return statuses.map(({ uuid, path, pool, state, capacityBytes, freeBytes, checksumErrors }) => ({
    uuid, path, pool, capacityBytes, freeBytes, checksumErrors,
    isOnline: state !== 'failed',
    isSuspect: state === 'suspect',
    reclaimableBytes: streams.filter(({ context }) => context.diskUuid === uuid)
      .reduce((bytes, stream) => bytes + reclaimableBytes(stream), 0),
    sync: syncsOf(uuid) ?? new LatencyHistogram().figures(),
  }))
}

/** In sealed segments: what nothing refers to any more, as far as it is known without loading the map. */
function reclaimableBytes({ segments, log }: StoreStream): number {
  const usable = log.usableBlocks * BLOCK_BYTES
  let bytes = 0
  for (let segment = 0; segment < segments.count; segment++) {
    if (segments.state[segment] !== SEGMENT_STATE.sealed) continue
    bytes += Math.max(0, usable - segments.live[segment]! * UNIT_BYTES)
  }
  return bytes
}
