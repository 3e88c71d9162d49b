/**
 * The leaves into which a copy's list of snapshots is cut, and the records that are written of them (FORMAT.md
 * section 7). A body that goes to all disks brings the leaves that it is the first to name, in the log before it.
 */
import { OPERATION } from '../log/record.ts'
import { UNIT_BYTES } from '../units.ts'
import type { CopyDescriptor } from './copy-part.ts'
import type { CopyBodies } from './copy-bodies.ts'
import type { LocalCopyStore } from './copy-store.ts'
import type { Snapshot } from './descriptor.ts'
import { cutList, encodeLeaf, isLeaf, LEAF_SNAPSHOTS_MAX, withNames } from './snapshot-leaves.ts'
import type { Piece, SnapshotLeaf } from './snapshot-leaves.ts'

export class CopyList {
  private readonly copy: LocalCopyStore
  private readonly bodies: CopyBodies
  /** Of the list in force, in order; all of them are on all disks, or on their way. */
  private leaves: readonly SnapshotLeaf[]
  /** Of a filling whose beginning is not durable on all disks: it may come, and the former list may stay. */
  private filled: readonly SnapshotLeaf[] = []

  constructor(copy: LocalCopyStore, bodies: CopyBodies) {
    this.copy = copy
    this.bodies = bodies
    const [first, ...others] = this.tables
    const isOnAll = ({ revision, crc }: SnapshotLeaf): boolean =>
      others.every((table) => table.find([revision, crc]) !== undefined)
    this.leaves = first!.leaves.filter(isOnAll)
  }

  /** A body as it is stored. */
  stored(body: CopyDescriptor): CopyDescriptor {
    return withNames(body, this.leaves)
  }

  /** Before a body with this list is written to all disks. */
  cut(list: readonly Snapshot[]): void {
    this.leaves = this.written(cutList(list, this.leaves, this.most))
    for (const table of this.tables) table.setCut(this.leaves)
  }

  /** Behind it: what neither names is dead (V4). */
  forgetOthers(): void {
    const revisions = new Set([...this.leaves, ...this.filled].map(({ revision }) => revision))
    for (const table of this.tables) table.retain(revisions)
  }

  /** The body with which a filling begins, as it is stored: its list is another one. */
  cutFilled(body: CopyDescriptor): CopyDescriptor {
    this.filled = this.written(cutList(body.snapshots, [], this.most))
    return withNames(body, this.filled)
  }

  /** That body is durable on all disks, and outranks all others. */
  begin(): void {
    this.leaves = this.filled
    this.filled = []
    for (const table of this.tables) table.setCut(this.leaves)
    this.forgetOthers()
  }

  private get tables() {
    return this.copy.targets.map(({ map }) => map.copy!.leaves)
  }

  private get most(): number {
    return this.copy.targets[0]!.stream.context.leafSnapshots ?? LEAF_SNAPSHOTS_MAX
  }

  private written(pieces: readonly Piece[]): SnapshotLeaf[] {
    return pieces.map((piece) => (isLeaf(piece) ? piece : this.write(piece)))
  }

  private write(snapshots: readonly Snapshot[]): SnapshotLeaf {
    const { appends, targets } = this.copy
    const bytes = encodeLeaf(snapshots)
    const name = this.bodies.writeBytes(OPERATION.snapshotLeaf, bytes, targets, (target, record, payload) => {
      const payloadUnits = payload[0]!.length / UNIT_BYTES
      appends.append(target, { record, payload, payloadUnits, durable: true }, (append) => {
        target.map.copy!.leaves.place(leaf, append.segment)
        target.stream.applied(append.batch!)
      })
    })
    const leaf: SnapshotLeaf = { ...name, snapshots }
    return leaf
  }
}
