/**
 * The superblock: one block, four copies, which names the disk, its owner and its streams (FORMAT.md 1.1).
 *
 * A later format may change everything but three things: the magic, `formatVersion` at byte 8, and a crc32c over
 * bytes 0..4091 at byte 4092. That is why a newer disk can be told from a damaged one, and is refused untouched.
 */
import { assert } from '../assert.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES } from '../units.ts'
import { hasMagic, isSealed, seal } from './block-seal.ts'
import { getText, getU48, hexToUuid, isZero, putText, putU48Padded, uuidToHex, viewOf } from './bytes.ts'
import { isSegmentSize, STREAMS_MAX } from './geometry.ts'

export const FORMAT_VERSION = 1
/** Incompatible features: a version that does not know one would read something else than what is there. */
export const FEATURES_INCOMPATIBLE = {
  /** Copies of clones may share blocks (FORMAT.md section 8). */
  sharedBlocks: 1,
  /** Lists of snapshots may begin in leaves (FORMAT.md section 7). */
  snapshotLeaves: 2,
  /** Blobs may be shorter than a block (2.3). */
  transforms: 4,
  /** Blobs may be a unit longer than a block (2.3). */
  encryptedBlocks: 8,
  /** A snapshot may be larger than its volume is now (FORMAT.md section 7). */
  largerSnapshots: 16,
  /** Blobs may be marks of what was lost (2.3). */
  lostMarks: 32,
  /** Records may change the durability of a copy (FORMAT.md section 7). */
  durabilityChanges: 64,
} as const
/** Bits this version understands. */
export const FEATURES_INCOMPATIBLE_KNOWN = Object.values(FEATURES_INCOMPATIBLE).reduce((bits, bit) => bits | bit, 0)
export const FEATURES_READ_ONLY_KNOWN = 0
export const NODE_NAME_BYTES = 256
export const POOL_BYTES = 64
export const TAGS_BYTES = 256

const MAGIC = 'HOLDFAST'

export interface Superblock {
  featuresCompatible: number
  featuresReadOnly: number
  featuresIncompatible: number
  /** Ids: 32 lower-case hex digits. */
  clusterId: string
  nodeId: string
  diskUuid: string
  generation: number
  createdMs: number
  segmentBytes: number
  segmentCount: number
  streamCount: number
  nodeName: string
  pool: string
  tags: string[]
}

/** In words, for `format-newer`: versions, or versions and the features that a disk needs beside them. */
export interface NewerFormat {
  ok: false
  reason: 'newer'
  version: string
  known: string
}

/**
 * `blank`: zeroes only. `foreign`: something without our magic. `damaged`: ours, the checksum does not fit or the
 * fields make no sense. `newer`: whole, of a version or with an incompatible feature that this code does not know.
 */
export type SuperblockResult =
  | { ok: true; value: Superblock }
  | { ok: false; reason: 'blank' | 'foreign' | 'damaged' }
  | NewerFormat

export function encodeSuperblock(superblock: Superblock, crc32c: Crc32c): Uint8Array {
  assert(isPlausible(superblock), 'a superblock that is written makes sense')
  assert(superblock.tags.every((tag) => tag !== '' && !tag.includes('+')), 'a tag is not empty and holds no +')
  const bytes = new Uint8Array(BLOCK_BYTES)
  const view = viewOf(bytes)
  putText(bytes, 0, 8, MAGIC)
  view.setUint32(8, FORMAT_VERSION, true)
  view.setUint32(12, superblock.featuresCompatible, true)
  view.setUint32(16, superblock.featuresReadOnly, true)
  view.setUint32(20, superblock.featuresIncompatible, true)
  bytes.set(hexToUuid(superblock.clusterId), 24)
  bytes.set(hexToUuid(superblock.nodeId), 40)
  bytes.set(hexToUuid(superblock.diskUuid), 56)
  putU48Padded(view, 72, superblock.generation)
  putU48Padded(view, 80, superblock.createdMs)
  view.setUint32(88, superblock.segmentBytes, true)
  view.setUint32(92, superblock.segmentCount, true)
  view.setUint32(96, superblock.streamCount, true)
  putText(bytes, 160, NODE_NAME_BYTES, superblock.nodeName)
  putText(bytes, 416, POOL_BYTES, superblock.pool)
  putText(bytes, 480, TAGS_BYTES, superblock.tags.join('+'))
  seal(bytes, crc32c)
  return bytes
}

export function decodeSuperblock(bytes: Uint8Array, crc32c: Crc32c): SuperblockResult {
  assert(bytes.length === BLOCK_BYTES, 'a superblock is one block')
  if (isZero(bytes)) return { ok: false, reason: 'blank' }
  if (!hasMagic(bytes, MAGIC)) return { ok: false, reason: 'foreign' }
  if (!isSealed(bytes, crc32c)) return { ok: false, reason: 'damaged' }
  const view = viewOf(bytes)
  const version = view.getUint32(8, true)
  if (version !== FORMAT_VERSION) return newer(String(version), String(FORMAT_VERSION))
  const tags = getText(bytes, 480, TAGS_BYTES)
  const value: Superblock = {
    featuresCompatible: view.getUint32(12, true),
    featuresReadOnly: view.getUint32(16, true),
    featuresIncompatible: view.getUint32(20, true),
    clusterId: uuidToHex(bytes.subarray(24, 40)),
    nodeId: uuidToHex(bytes.subarray(40, 56)),
    diskUuid: uuidToHex(bytes.subarray(56, 72)),
    generation: getU48(view, 72),
    createdMs: getU48(view, 80),
    segmentBytes: view.getUint32(88, true),
    segmentCount: view.getUint32(92, true),
    streamCount: view.getUint32(96, true),
    nodeName: getText(bytes, 160, NODE_NAME_BYTES),
    pool: getText(bytes, 416, POOL_BYTES),
    tags: tags === '' ? [] : tags.split('+'),
  }
  const { featuresIncompatible: features } = value
  if ((features & ~FEATURES_INCOMPATIBLE_KNOWN) !== 0) {
    return newer(withFeatures(version, features), withFeatures(version, FEATURES_INCOMPATIBLE_KNOWN))
  }
  return isPlausible(value) ? { ok: true, value } : { ok: false, reason: 'damaged' }
}

const newer = (version: string, known: string): NewerFormat => ({ ok: false, reason: 'newer', version, known })

/** E.g. `1 with features 0, 2`: numbers of bits (FORMAT.md section 1). */
const withFeatures = (version: number, features: number): string =>
  `${version} with features ${[...Array(32).keys()].filter((bit) => (features & (1 << bit)) !== 0).join(', ')}`

/**
 * What the copies together say. One newer copy refuses the disk, whatever the others say: a newer Holdfast was at
 * work here. Otherwise the highest generation wins, and what no copy can tell is named after the best of the rest.
 */
export function chooseSuperblock(copies: readonly Uint8Array[], crc32c: Crc32c): SuperblockResult {
  let best: SuperblockResult = { ok: false, reason: 'blank' }
  for (const copy of copies) {
    const result = decodeSuperblock(copy, crc32c)
    if (!result.ok && result.reason === 'newer') return result
    if (rank(result) > rank(best)) best = result
    else if (result.ok && best.ok && result.value.generation > best.value.generation) best = result
  }
  return best
}

function rank(result: SuperblockResult): number {
  if (result.ok) return 3
  return result.reason === 'damaged' ? 2 : result.reason === 'foreign' ? 1 : 0
}

function isPlausible(superblock: Superblock): boolean {
  return (
    isSegmentSize(superblock.segmentBytes) && superblock.streamCount >= 1 && superblock.streamCount <= STREAMS_MAX
  )
}
