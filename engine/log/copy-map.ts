/**
 * What the map of a volume has besides when the volume is a copy of a replicated one (FORMAT.md section 7): records
 * that wait, what was applied with them, and the trace that trims have to leave.
 */
import type { VersionId } from '../replication/record.ts'
import { laterBatches, type CopyDescriptor, type CopyPart } from '../volume/copy-part.ts'
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import { LeafTable } from './leaf-table.ts'
import { WaitingRecords } from './waiting-records.ts'

export class CopyMap {
  readonly waiting = new WaitingRecords()
  leaves = new LeafTable()
  /** Encoded session windows as of the applied seq. */
  windows: unknown
  /** Highest seq of a zero or trim whose trace is gone. */
  forgottenSeq: number
  /** Zeroes and trims above this keep their trace. */
  keepTrimsAbove = 0
  /** Slices whose old versions are not yet out of the map; nothing is applied before. */
  wiping: number[] = []
  /** The applied seq that a durable body names: what lies below it may be given back. */
  hintSeq: number
  /** Make a newer body durable, for the cleaner. False: there is no room for one. */
  writeHint: (done: () => void) => boolean = () => false
  /** The cleaner found a version that is not what was written. */
  onDamaged: (id: VersionId) => void = () => {}
  /** The last batch here with a record that is applied. */
  appliedBatch = 0
  /** Of each disk of the copy: up to here it is durable when a checkpoint that is collected now is. */
  batches: () => Record<string, number> = () => ({})
  /** What roll-forward found, not yet in force. */
  rolled: CopyDescriptor | undefined

  constructor(part: CopyPart) {
    this.windows = part.windows
    this.forgottenSeq = part.forgottenSeq
    this.hintSeq = part.appliedSeq
  }

  /** The descriptor as a checkpoint stores it. */
  stored(descriptor: VolumeDescriptor, appliedSeq: number): VolumeDescriptor {
    const { windows, forgottenSeq } = this
    const durable = laterBatches(descriptor.copy!.durable, this.batches())
    const copy = { ...descriptor.copy!, appliedSeq, windows, forgottenSeq, durable }
    return this.leaves.stored({ ...descriptor, copy })
  }

  forgot(seq: number): void {
    if (seq > this.forgottenSeq) this.forgottenSeq = seq
  }
}
