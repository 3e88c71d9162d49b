/**
 * The volume descriptor: what a volume's control record says of it (FORMAT.md section 4), and what its views see.
 *
 * A view is the head (seq = infinity, absent once deleted) or a snapshot. It sees at each block the entry with the
 * greatest seq <= its own that no rollback hides. An entry no view sees is dead.
 */
import { epochAt } from '../replication/record-id.ts'
import type { SnapshotTitle } from '../replication/record.ts'
import type { CopyPart } from './copy-part.ts'
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
  /** [toSeq, atSeq]: entries with toSeq < seq <= atSeq are hidden from views >= atSeq. */
  rollbacks: Array<[toSeq: number, atSeq: number]>
  origin: null | [volumeId: string, seq: number]
  deleted: boolean
  /** Of the control record itself. */
  seq: number
  /** Of a copy of a replicated volume. */
  copy?: CopyPart
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const encodeDescriptor = (descriptor: VolumeDescriptor): Uint8Array =>
  encoder.encode(JSON.stringify(descriptor))

/** Undefined when the bytes are not a descriptor of this format. */
export function decodeDescriptor(bytes: Uint8Array): VolumeDescriptor | undefined {
  try {
    const value = JSON.parse(decoder.decode(bytes)) as VolumeDescriptor
    if (value.format !== 1 || typeof value.spec?.id !== 'string' || !Array.isArray(value.epochs)) return undefined
    return value
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

/**
 * Visibility of versions, made from a descriptor whenever it changes. The lineage of a view: `V(v) = (at, v] + V(to)`
 * for the rollback (to, at] with the greatest at <= v, `(0, v]` without one; so a rollback that was rolled away
 * itself counts for nothing.
 */
export class Views {
  readonly snapshotSeqs: number[]
  readonly headExists: boolean
  readonly hasRollbacks: boolean
  private readonly rollbacks: Array<[number, number]>
  private readonly epochs: Array<[number, number]>
  private readonly isCopy: boolean
  private readonly lineages = new Map<number, Array<[above: number, upTo: number]>>()

  constructor(descriptor: VolumeDescriptor) {
    this.snapshotSeqs = descriptor.snapshots.map((s) => s.seq).sort((a, b) => a - b)
    this.rollbacks = descriptor.rollbacks
    this.hasRollbacks = descriptor.rollbacks.length > 0
    this.headExists = !descriptor.deleted
    this.epochs = descriptor.epochs
    this.isCopy = descriptor.copy !== undefined
  }

  /** Whether a view of this seq is kept from seeing an entry by a rollback (or by being older). */
  hidden(viewSeq: number, entrySeq: number): boolean {
    if (!this.hasRollbacks) return entrySeq > viewSeq
    for (const [above, upTo] of this.lineage(viewSeq)) if (entrySeq > above && entrySeq <= upTo) return false
    return true
  }

  /** Whether older versions may be worth keeping at all. */
  get keepsOlder(): boolean {
    return this.snapshotSeqs.length > 0 || this.hasRollbacks
  }

  /**
   * Whether some view still shows an entry although a newer one lies above it (infinity: none): a snapshot that is
   * older than the newer one, or any view from which a rollback hides the newer one, the head included.
   */
  seenBelow(entrySeq: number, newerSeq: number): boolean {
    const seqs = this.snapshotSeqs
    if (this.hasRollbacks) {
      const sees = (view: number): boolean => !this.hidden(view, entrySeq) && this.hidden(view, newerSeq)
      return (this.headExists && sees(Infinity)) || seqs.some(sees)
    }
    if (seqs.length === 0) return false
    let low = 0
    let high = seqs.length
    while (low < high) {
      const mid = (low + high) >>> 1
      if (seqs[mid]! < entrySeq) low = mid + 1
      else high = mid
    }
    return low < seqs.length && seqs[low]! < newerSeq
  }

  /** Which of a block's versions (seqs, ascending) the snapshots show: of each the greatest that is not hidden. */
  shownBySnapshots(seqs: readonly number[]): Set<number> {
    const shown = new Set<number>()
    for (const view of this.snapshotSeqs) {
      const seq = seqs.findLast((one) => one <= view && !this.hidden(view, one))
      if (seq !== undefined) shown.add(seq)
    }
    return shown
  }

  /** Whether a later epoch began at or below this seq: such a record was cut and counts for nothing. */
  isVoid(epoch: number, seq: number): boolean {
    for (const [laterEpoch, firstSeq] of this.epochs) if (laterEpoch > epoch && seq >= firstSeq) return true
    // A copy may also have had records of an epoch that its volume's history does not name.
    const named = this.isCopy ? epochAt(this.epochs, seq) : 0
    return named !== 0 && named !== epoch
  }

  private lineage(viewSeq: number): Array<[number, number]> {
    let intervals = this.lineages.get(viewSeq)
    if (intervals !== undefined) return intervals
    intervals = []
    for (let at = viewSeq; ;) {
      let best: [number, number] | undefined
      for (const rollback of this.rollbacks)
        if (rollback[1] <= at && (best === undefined || rollback[1] > best[1])) best = rollback
      intervals.push([best === undefined ? 0 : best[1], at])
      if (best === undefined) break
      at = best[0]
    }
    this.lineages.set(viewSeq, intervals)
    return intervals
  }
}

const EPOCHS_KEPT = 64

/** The descriptor under a new epoch that begins with this seq. */
export const newEpoch = (now: VolumeDescriptor, seq: number): VolumeDescriptor => ({
  ...now,
  epoch: now.epoch + 1,
  epochs: [...now.epochs, [now.epoch + 1, seq] as [number, number]].slice(-EPOCHS_KEPT),
})
