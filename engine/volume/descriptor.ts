/** The volume descriptor: what a volume's control record says of it (FORMAT.md section 4). */
import type { SnapshotTitle } from '../replication/record.ts'
import type { CopyPart } from './copy-part.ts'
import { isDescriptor } from './descriptor-shape.ts'
import type { LeafName } from './snapshot-leaves.ts'
import type { VolumeSpec } from './volume-spec.ts'

export interface Snapshot {
  id: string
  seq: number
  /** Id of the clone that reads through this snapshot; such a one is not listed and not deleted by users. */
  pinnedBy: string | null
  /** Of the volume then. Absent: from before it was kept. */
  sizeBytes?: number
  title?: SnapshotTitle
}

/** Slices whose holes are looked up in the origin's map, and the generation that each has there. */
export type SharedRuns = Array<[first: number, count: number, generation: number]>

/** The same runs without some slices. */
export function withoutSlices(runs: SharedRuns, slices: ReadonlySet<number>): SharedRuns {
  const left: SharedRuns = []
  for (const [first, count, generation] of runs)
    for (let slice = first; slice < first + count; slice++) {
      if (slices.has(slice)) continue
      const last = left.at(-1)
      if (last !== undefined && last[0] + last[1] === slice && last[2] === generation) last[1]++
      else left.push([slice, 1, generation])
    }
  return left
}

/** What a clone shows below its own blocks. Of a copy only `shared` slices read through; else all do (FORMAT.md 8). */
export type Origin = [volumeId: string, seq: number, shared?: SharedRuns]

export interface VolumeDescriptor {
  format: 1
  /** +1 with each descriptor of this copy; the greatest counts. */
  revision: number
  spec: VolumeSpec
  epoch: number
  /** [epoch, first seq of that epoch], oldest first. */
  epochs: Array<[epoch: number, firstSeq: number]>
  /** Which slices lie where: [disk uuid, stream, [[first slice, count, slice generation], ...]]. */
  slices: Array<[diskUuid: string, stream: number, runs: Array<[first: number, count: number, generation: number]>]>
  snapshots: Snapshot[]
  /** Of a copy's, as it is stored: in these leaves its list begins (FORMAT.md section 7). Never of one in force. */
  leaves?: LeafName[]
  /** [toSeq, atSeq]: entries with toSeq < seq <= atSeq are hidden from views >= atSeq. */
  rollbacks: Array<[toSeq: number, atSeq: number]>
  origin: null | Origin
  deleted: boolean
  /** Of the control record itself. */
  seq: number
  /** Of a copy of a replicated volume. */
  copy?: CopyPart
}

/** Of the head and of every snapshot: one may be larger than the volume is now. Cost O(snapshots). */
export const shownBytes = ({ spec, snapshots }: Pick<VolumeDescriptor, 'spec' | 'snapshots'>): number =>
  snapshots.reduce((most, { sizeBytes = 0 }) => Math.max(most, sizeBytes), spec.sizeBytes)

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const encodeDescriptor = (descriptor: VolumeDescriptor): Uint8Array =>
  encoder.encode(JSON.stringify(descriptor))

/** Undefined when the bytes are not a descriptor of this format. */
export function decodeDescriptor(bytes: Uint8Array): VolumeDescriptor | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes))
    return isDescriptor(value) ? value : undefined
  } catch {
    return undefined
  }
}

export const diskOfSlice = (descriptor: VolumeDescriptor, slice: number): string | undefined => {
  for (const [disk, , runs] of descriptor.slices)
    for (const [first, count] of runs) if (slice >= first && slice < first + count) return disk
  return undefined
}

/** Generation of the slice, 0 when it lies nowhere. */
export const generationOfSlice = (descriptor: Pick<VolumeDescriptor, 'slices'>, slice: number): number => {
  for (const [, , runs] of descriptor.slices)
    for (const [first, count, generation] of runs) if (slice >= first && slice < first + count) return generation
  return 0
}

/** Generation of a slice in some runs, 0 when it is in none. */
export const generationIn = (runs: SharedRuns, slice: number): number =>
  runs.find(([first, count]) => slice >= first && slice < first + count)?.[2] ?? 0

const EPOCHS_KEPT = 64

/** The descriptor under a new epoch that begins with this seq. */
export const newEpoch = (now: VolumeDescriptor, seq: number): VolumeDescriptor => ({
  ...now,
  epoch: now.epoch + 1,
  epochs: [...now.epochs, [now.epoch + 1, seq] as [number, number]].slice(-EPOCHS_KEPT),
})
