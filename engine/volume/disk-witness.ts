/**
 * What copies say of the logs of their disks (`durable`, FORMAT.md section 7): a disk that lost the end of its log,
 * though it was durable, does not know it, and the other disks of a copy do. Looked at before anything is written to a
 * log that was opened. Only the disk that lied is refused: the others have everything that they say.
 */
import type { RolledRecord } from '../log/log-tail.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { VolumeDescriptor } from './descriptor.ts'

export interface FoundLog {
  stream: StoreStream
  /** Behind its checkpoint. */
  rolled: readonly RolledRecord[]
}

/** By log: every batch up to this one was durable. */
export type Witnessed = ReadonlyMap<string, number>

const logName = (diskUuid: string, streamId: number): string => `${diskUuid}/${streamId}`

/** What all these say. @param served  that are open already */
export function witnessed(found: readonly FoundLog[], served: readonly StoreStream[] = []): Witnessed {
  const batches = new Map<string, number>()
  const note = ({ slices, copy }: VolumeDescriptor): void => {
    // What a copy says of a disk that it does not lie on any more is of no concern to it.
    for (const [diskUuid, streamId] of slices) {
      const name = logName(diskUuid, streamId)
      batches.set(name, Math.max(batches.get(name) ?? 0, copy?.durable?.[diskUuid] ?? 0))
    }
  }
  for (const { volumesById } of [...served, ...found.map(({ stream }) => stream)])
    for (const { descriptor } of volumesById.values()) note(descriptor)
  for (const { rolled } of found) for (const { descriptor } of rolled) if (descriptor !== undefined) note(descriptor)
  return batches
}

/** Why a log is not to be served, if it lacks what was durable. */
export function lackOf({ context, foundBatch }: StoreStream, batches: Witnessed): string | undefined {
  const durable = batches.get(logName(context.diskUuid, context.streamId)) ?? 0
  if (foundBatch >= durable) return undefined
  const [batch, { streamId }] = [foundBatch + 1, context]
  return `batch ${batch} of stream ${streamId} is damaged, though it was durable (a copy says so, up to ${durable})`
}
