/**
 * A copy's list of snapshots, cut so that a change writes little of it (FORMAT.md section 7): the list begins with
 * *leaves*, which are records of their own, and a descriptor that is stored names them and has only the rest.
 *
 *   list   s1 ... s64 | s65 ... s128 | s129 ... s150
 *            leaf 17  |    leaf 81   |  rest           {leaves: [[17, crc], [81, crc]], snapshots: [s129, ..., s150]}
 *
 * Invariants
 * - V1 a leaf is never changed: a list that lost something of one gets another leaf in its place.
 * - V2 leaves hold at most `most` snapshots, and two neighbours, one of which was made anew, more than that together:
 *   so there are as many as `list / most`, and a change makes one or two.
 * - V3 the list is that of all leaves in order, then the rest; objects are the same in list and leaf, by which it is
 *   seen at no cost what of a leaf is still there.
 */
import { assert } from '../assert.ts'
import { isSnapshot } from './descriptor-shape.ts'
import type { Snapshot, VolumeDescriptor } from './descriptor.ts'

/** Of a leaf. Bodies have fewer beside what is applied in one go, so they stay below 64 KiB for 10,000 snapshots. */
export const LEAF_SNAPSHOTS_MAX = 64

/** How a descriptor names a leaf: the revision under which it was written, and the crc of its body. */
export type LeafName = [revision: number, crc: number]

export interface SnapshotLeaf {
  revision: number
  crc: number
  snapshots: readonly Snapshot[]
}

/** A leaf, or snapshots that are to become one. */
export type Piece = SnapshotLeaf | readonly Snapshot[]

export const isLeaf = (piece: Piece): piece is SnapshotLeaf => 'revision' in piece

const snapshotsOf = (piece: Piece): readonly Snapshot[] => (isLeaf(piece) ? piece.snapshots : piece)

/**
 * What of the list each leaf still begins, in order; the last is the rest.
 * @param list  what it has of the leaves stands in the order of the leaves, or is taken for gone from them (V3)
 */
function* alignedWith(
  list: readonly Snapshot[],
  leaves: readonly SnapshotLeaf[],
): Generator<{ leaf: SnapshotLeaf | undefined; from: number; end: number }, number> {
  let end = 0
  for (const leaf of leaves) {
    const from = end
    for (const one of leaf.snapshots) if (list[end] === one) end++
    yield { leaf: end - from === leaf.snapshots.length ? leaf : undefined, from, end }
  }
  return end
}

/**
 * Cut a list anew: leaves that are whole stay as they are.
 * @param leaves  into which a former state of the list was cut
 * Cost O(snapshots) comparisons of references, and what is new.
 */
export function cutList(
  list: readonly Snapshot[],
  leaves: readonly SnapshotLeaf[],
  most = LEAF_SNAPSHOTS_MAX,
): Piece[] {
  const pieces: Piece[] = []
  let at = 0
  for (const { leaf, from, end } of alignedWith(list, leaves)) {
    join(pieces, leaf ?? list.slice(from, end), most)
    at = end
  }
  for (; list.length - at >= most; at += most) pieces.push(list.slice(at, at + most))
  return pieces
}

/** V2. */
function join(pieces: Piece[], piece: Piece, most: number): void {
  const last = pieces.at(-1)
  if (snapshotsOf(piece).length === 0) return
  const isOne = last !== undefined && !(isLeaf(last) && isLeaf(piece))
  if (isOne && snapshotsOf(last).length + snapshotsOf(piece).length <= most)
    pieces[pieces.length - 1] = [...snapshotsOf(last), ...snapshotsOf(piece)]
  else pieces.push(piece)
}

/**
 * A descriptor as it is stored: leaves by their names, and the rest.
 * @param leaves  into which a former state of its list was cut; those that are not whole any more are not named
 */
export function withNames<T extends VolumeDescriptor>(descriptor: T, leaves: readonly SnapshotLeaf[]): T {
  assert(descriptor.leaves === undefined, 'what is in force has its whole list')
  if (leaves.length === 0) return descriptor
  const names: LeafName[] = []
  const rest: Snapshot[] = []
  const { snapshots } = descriptor
  let at = 0
  for (const { leaf, from, end } of alignedWith(snapshots, leaves)) {
    if (leaf === undefined) rest.push(...snapshots.slice(from, end))
    else names.push([leaf.revision, leaf.crc])
    at = end
  }
  rest.push(...snapshots.slice(at))
  return names.length === 0 ? descriptor : { ...descriptor, leaves: names, snapshots: rest }
}

/** A stored descriptor with its whole list, and its leaves in order; undefined when one of them is not there. */
export function withList<T extends VolumeDescriptor>(
  stored: T,
  find: (name: LeafName) => SnapshotLeaf | undefined,
): { descriptor: T; leaves: SnapshotLeaf[] } | undefined {
  const { leaves: names, ...descriptor } = stored
  if (names === undefined) return { descriptor: stored, leaves: [] }
  const leaves: SnapshotLeaf[] = []
  for (const name of names) {
    const leaf = find(name)
    if (leaf === undefined) return undefined
    leaves.push(leaf)
  }
  const snapshots = inOrder([...leaves.flatMap((leaf) => leaf.snapshots), ...stored.snapshots])
  return { descriptor: { ...(descriptor as T), snapshots }, leaves }
}

/** Of a leaf that is not whole what is left stands behind the leaves that come after it. */
function inOrder(list: Snapshot[]): Snapshot[] {
  const isAscending = list.every(({ seq }, i) => i === 0 || list[i - 1]!.seq <= seq)
  return isAscending ? list : list.sort((a, b) => a.seq - b.seq)
}

/** The list of one descriptor, leaves included, in another one. */
export function withListOf<T extends VolumeDescriptor>(descriptor: T, of: VolumeDescriptor): T {
  const { leaves: _, ...rest } = descriptor
  const { leaves, snapshots } = of
  return { ...(rest as T), snapshots, ...(leaves === undefined ? {} : { leaves }) }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The body of the record of a leaf. */
export const encodeLeaf = (snapshots: readonly Snapshot[]): Uint8Array =>
  encoder.encode(JSON.stringify({ format: 1, snapshots }))

/** Undefined when the bytes are not a leaf of this format. */
export function decodeLeaf(bytes: Uint8Array): readonly Snapshot[] | undefined {
  try {
    const { format, snapshots } = JSON.parse(decoder.decode(bytes)) as { format: unknown; snapshots: unknown }
    return format === 1 && Array.isArray(snapshots) && snapshots.every(isSnapshot) ? snapshots : undefined
  } catch {
    return undefined
  }
}
