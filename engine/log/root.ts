/**
 * The root of a stream: one block, two slots, slot `generation % 2` is written (FORMAT.md 1.2). It says which index
 * checkpoint is current, up to which batch everything was durable, and under which incarnation batches are written.
 *
 * A slot is trusted only when it names this disk and this stream: a slot written to the wrong place, or left over
 * from a disk that was copied, is no root.
 */
import { assert } from '../assert.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES } from '../units.ts'
import { hasMagic, isSealed, seal } from './block-seal.ts'
import { getU48, hexToUuid, putText, putU48Padded, uuidToHex, viewOf } from './bytes.ts'
import { FORMAT_VERSION } from './superblock.ts'

const MAGIC = 'HFSTROOT'
/** `clean`: closed in order, the checkpoint holds everything. */
export const ROOT_FLAG = { clean: 1 } as const

export interface Root {
  streamId: number
  /** Ids: 32 lower-case hex digits. */
  diskUuid: string
  generation: number
  checkpoint: number
  watermarkBatch: number
  incarnation: number
  /** Bits of ROOT_FLAG. */
  flags: number
  bootId: string
  /** Drawn when the index database was created: another index is never taken for this stream's. */
  indexUuid: string
  /** 8 bytes: the salt of this incarnation's batches. */
  salt: Uint8Array
}

export function encodeRoot(root: Root, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES)
  const view = viewOf(bytes)
  putText(bytes, 0, 8, MAGIC)
  view.setUint32(8, FORMAT_VERSION, true)
  view.setUint32(12, root.streamId, true)
  bytes.set(hexToUuid(root.diskUuid), 16)
  putU48Padded(view, 32, root.generation)
  putU48Padded(view, 40, root.checkpoint)
  putU48Padded(view, 48, root.watermarkBatch)
  view.setUint32(56, root.incarnation, true)
  view.setUint32(60, root.flags, true)
  bytes.set(hexToUuid(root.bootId), 64)
  bytes.set(hexToUuid(root.indexUuid), 80)
  bytes.set(root.salt, 96)
  seal(bytes, crc32c)
  return bytes
}

export function decodeRoot(bytes: Uint8Array, crc32c: Crc32c): Root | undefined {
  assert(bytes.length === BLOCK_BYTES, 'a root slot is one block')
  if (!hasMagic(bytes, MAGIC) || !isSealed(bytes, crc32c)) return undefined
  const view = viewOf(bytes)
  if (view.getUint32(8, true) !== FORMAT_VERSION) return undefined
  return {
    streamId: view.getUint32(12, true),
    diskUuid: uuidToHex(bytes.subarray(16, 32)),
    generation: getU48(view, 32),
    checkpoint: getU48(view, 40),
    watermarkBatch: getU48(view, 48),
    incarnation: view.getUint32(56, true),
    flags: view.getUint32(60, true),
    bootId: uuidToHex(bytes.subarray(64, 80)),
    indexUuid: uuidToHex(bytes.subarray(80, 96)),
    salt: Uint8Array.from(bytes.subarray(96, 104)),
  }
}

/** The newest valid root of this stream on this disk, undefined when no slot holds one. */
export function chooseRoot(
  slots: readonly Uint8Array[],
  expect: { diskUuid: string; streamId: number },
  crc32c: Crc32c,
): Root | undefined {
  let best: Root | undefined
  for (const slot of slots) {
    const root = decodeRoot(slot, crc32c)
    if (root === undefined || root.diskUuid !== expect.diskUuid || root.streamId !== expect.streamId) continue
    if (best === undefined || root.generation > best.generation) best = root
  }
  return best
}
