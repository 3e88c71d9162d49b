/**
 * Where the snapshot leaves of a copy lie in one stream (FORMAT.md section 7): what the cleaner has to carry on, and
 * the index to keep. Changes wait in memory for the checkpoint that writes them.
 *
 * Invariant V4: a leaf goes from here when a body that does not name it is appended to the stream behind all that do.
 * The checkpoint by which its segment may be given back syncs that body with the log, and of two bodies the later one
 * counts; so whatever a crash leaves, what the body that counts names is there.
 */
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import { withNames, type LeafName, type SnapshotLeaf } from '../volume/snapshot-leaves.ts'
import { leafKey } from './index-keys.ts'

export interface LeafIndexValue {
  segment: number
  crc: number
  snapshots: SnapshotLeaf['snapshots']
}

export class LeafTable {
  private readonly placed = new Map<number, { leaf: SnapshotLeaf; segment: number }>()
  private readonly changed = new Set<number>()
  /** Into which the list in force is cut, in order; of what is not placed yet nothing is stored. */
  private cut: readonly SnapshotLeaf[] = []

  /** Those of the list in force that lie here, in order. */
  get leaves(): readonly SnapshotLeaf[] {
    return this.cut.filter(({ revision, crc }) => this.find([revision, crc]) !== undefined)
  }

  /** All that lie here, named or not. */
  get places(): ReadonlyMap<number, { leaf: SnapshotLeaf; segment: number }> {
    return this.placed
  }

  find([revision, crc]: LeafName): SnapshotLeaf | undefined {
    const leaf = this.placed.get(revision)?.leaf
    return leaf?.crc === crc ? leaf : undefined
  }

  /** It is written, or was found. */
  place(leaf: SnapshotLeaf, segment: number): void {
    this.placed.set(leaf.revision, { leaf, segment })
    this.changed.add(leaf.revision)
  }

  /** As the index has it. */
  adopt(leaf: SnapshotLeaf, segment: number): void {
    this.placed.set(leaf.revision, { leaf, segment })
  }

  /** Whether the record in this segment is the one that counts. */
  isAt(name: LeafName, segment: number): boolean {
    return this.find(name) !== undefined && this.placed.get(name[0])!.segment === segment
  }

  /** The cleaner wrote it anew. */
  move(name: LeafName, from: number, to: number): void {
    if (this.isAt(name, from)) this.place(this.find(name)!, to)
  }

  /** The list in force is cut so. The objects of these leaves count, where another disk had the same ones. */
  setCut(leaves: readonly SnapshotLeaf[]): void {
    this.cut = leaves
    for (const leaf of leaves) {
      const here = this.placed.get(leaf.revision)
      if (here?.leaf.crc === leaf.crc) here.leaf = leaf
    }
  }

  /** V4: every other one goes. */
  retain(revisions: ReadonlySet<number>): void {
    for (const revision of this.placed.keys())
      if (!revisions.has(revision)) {
        this.placed.delete(revision)
        this.changed.add(revision)
      }
  }

  /** A descriptor in force as a checkpoint stores it: it names what lies here. */
  stored<T extends VolumeDescriptor>(descriptor: T): T {
    return withNames(descriptor, this.leaves)
  }

  /** What a checkpoint writes of it. */
  collect(
    volume: number,
    put: (key: Uint8Array, value: Uint8Array) => void,
    del: (key: Uint8Array) => void,
  ): void {
    for (const revision of this.changed) {
      const here = this.placed.get(revision)
      const key = leafKey(volume, revision)
      if (here === undefined) del(key)
      else put(key, encode({ segment: here.segment, crc: here.leaf.crc, snapshots: here.leaf.snapshots }))
    }
    this.changed.clear()
  }
}

const encode = (value: LeafIndexValue): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
