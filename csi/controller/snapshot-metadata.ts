/**
 * SnapshotMetadata: which ranges of a snapshot hold something, or differ from another one's, from the map alone. Ranges
 * come in order, so a caller who was cut off goes on at the end of the last one that it has.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import type { DiffSnapshots } from '../../cluster/api/snapshot-diff.ts'
import type {
  BlockMetadata, GetMetadataAllocatedRequest, GetMetadataDeltaRequest, MetadataPart,
} from '../messages.ts'
import { invalid, outOfRange } from '../refusal.ts'
import { snapshotById } from './snapshot-calls.ts'

/** Where the caller does not care; a part of so many has some ten KiB. */
const RANGES_DEFAULT = 1000
const RANGES_MAX = 10_000

export interface MetadataOptions {
  api: ControlClient
  diff: DiffSnapshots
}

export async function* metadataAllocated(
  { api, diff }: MetadataOptions, { snapshotId, ...places }: GetMetadataAllocatedRequest,
): AsyncGenerator<MetadataPart> {
  const { volumeId, id, sizeBytes } = await snapshotById(api, snapshotId)
  yield* parts(diff({ volume: volumeId, snapshot: id, since: '' }), sizeBytes, places)
}

export async function* metadataDelta(
  { api, diff }: MetadataOptions, { baseSnapshotId, targetSnapshotId, ...places }: GetMetadataDeltaRequest,
): AsyncGenerator<MetadataPart> {
  if (baseSnapshotId === '') throw invalid('the id of the base snapshot is missing')
  if (targetSnapshotId === '') throw invalid('the id of the target snapshot is missing')
  const base = await snapshotById(api, baseSnapshotId)
  const { volume, volumeId, id, sizeBytes } = await snapshotById(api, targetSnapshotId)
  if (base.volumeId !== volumeId) {
    throw invalid(`snapshots of two volumes (${base.volume} and ${volume}) have no difference`)
  }
  yield* parts(diff({ volume: volumeId, snapshot: id, since: base.id }), sizeBytes, places)
}

interface Places {
  startingOffset: number
  maxResults: number
}

/** Ranges that touch are one; memory is that of a part. */
async function* parts(
  found: ReturnType<DiffSnapshots>, capacityBytes: number, { startingOffset, maxResults }: Places,
): AsyncGenerator<MetadataPart> {
  if (maxResults < 0) throw invalid(`${maxResults} results at most are none`)
  if (startingOffset < 0 || startingOffset > capacityBytes) {
    throw outOfRange(`the snapshot ends at byte ${capacityBytes}: it cannot be told from byte ${startingOffset} on`)
  }
  const most = maxResults === 0 ? RANGES_DEFAULT : Math.min(maxResults, RANGES_MAX)
  let ranges: BlockMetadata[] = []
  const part = (): MetadataPart =>
    ({ blockMetadataType: 'VARIABLE_LENGTH', volumeCapacityBytes: capacityBytes, blockMetadata: ranges })
  for await (const { offsetBytes, lengthBytes } of found) {
    for (let i = 0; i < offsetBytes.length; i++) {
      const end = Math.min(offsetBytes[i]! + lengthBytes[i]!, capacityBytes)
      const byteOffset = Math.max(offsetBytes[i]!, startingOffset)
      if (end <= byteOffset) continue
      const last = ranges.at(-1)
      if (last !== undefined && last.byteOffset + last.sizeBytes === byteOffset) last.sizeBytes = end - last.byteOffset
      else {
        if (ranges.length === most) {
          yield part()
          ranges = []
        }
        ranges.push({ byteOffset, sizeBytes: end - byteOffset })
      }
    }
  }
  if (ranges.length > 0) yield part()
}
