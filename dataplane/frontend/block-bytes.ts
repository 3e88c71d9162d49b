/**
 * Between a client's bytes and blocks as copies have them. A write of whole blocks is not copied: its payload is the
 * client's own buffer, with the crc32c of each block, computed here once for every copy, disk and connection it goes
 * through. What is narrower is laid over the old block. What was read is copied once, to where it leaves from.
 *
 * What a volume's blocks are compressed and encrypted with is done behind all that and undone before it: answers are
 * restored when they arrive, so the blocks that edges are laid over, and those a client reads, are what was written.
 */
import { assert } from '../../engine/assert.ts'
import type { ComposedWrite } from '../../engine/replication/frontend-port.ts'
import type { FrontendMessage } from '../../engine/replication/messages.ts'
import type { BlockVersion, Payload } from '../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import { openedBlock, restored, type BlobOpener } from '../../engine/volume/restored-blocks.ts'

/** Of whole blocks from `lba` on, in bytes that nobody changes from now on. */
export type PayloadOf = (bytes: Uint8Array, lba: number) => Payload

/** `data` of a write is a Uint8Array that nobody changes from now on. */
export function composeBlocks(write: ComposedWrite, payloadOf: PayloadOf): Payload {
  const { data, fromBytes, skipBytes, lengthBytes, lba, blockCount, old } = write
  const given = data as Uint8Array | undefined
  const isAll = fromBytes === 0 && given?.length === lengthBytes
  const source = isAll ? given : given?.subarray(fromBytes, fromBytes + lengthBytes)
  if (source !== undefined && skipBytes === 0 && lengthBytes === blockCount * BLOCK_BYTES) {
    return payloadOf(source, lba)
  }
  const bytes = new Uint8Array(blockCount * BLOCK_BYTES)
  for (const version of old) {
    const at = (version.lba - lba) * BLOCK_BYTES
    assert(at >= 0 && at < bytes.length, 'an old block is one of those that are written')
    if (version.payload !== undefined) bytes.set(blobsOf(version.payload).bytes, at)
  }
  if (source === undefined) bytes.fill(0, skipBytes, skipBytes + lengthBytes)
  else bytes.set(source, skipBytes)
  return payloadOf(bytes, lba)
}

/**
 * The same answer with blocks as they were written; one that cannot be restored is damage.
 * @param opener  of an encrypted volume
 */
export function restoredAnswer(message: FrontendMessage, opener?: BlobOpener): FrontendMessage {
  if (message.type === 'reply' && message.result.ok) {
    const { versions } = message.result
    const blocks = restored(versions, opener)
    if (blocks === versions) return message
    if (blocks === undefined) return { ...message, result: { ok: false, code: 'damaged' } }
    return { ...message, result: { ok: true, versions: blocks } }
  }
  if (message.type !== 'snapshot-blocks') return message
  const { type: _, versions, ...answer } = message
  const blocks = restored(versions, opener)
  if (blocks === versions) return message
  if (blocks === undefined) return { type: 'snapshot-refused', ...answer, code: 'damaged' }
  return { type: 'snapshot-blocks', ...answer, versions: blocks }
}

/** The same event, unless it brings blocks that were compressed or encrypted. */
export function asWritten<Event extends { type: string; message?: FrontendMessage }>(
  event: Event,
  opener?: BlobOpener,
): Event {
  if (event.message === undefined) return event
  const message = restoredAnswer(event.message, opener)
  return message === event.message ? event : { ...event, message }
}

/**
 * Fill `into`, the bytes of the volume from `offsetBytes` on, with what was read; what has no version is zeroes.
 * @returns false: no answer to that question, and `into` has zeroes
 */
export function fillFrom(versions: readonly BlockVersion[], offsetBytes: number, into: Uint8Array): boolean {
  if (!isReady(versions, offsetBytes, into)) return false
  const end = offsetBytes + into.length
  for (const { lba, payload } of versions) {
    if (payload === undefined) continue
    const { bytes } = blobsOf(payload)
    const at = lba * BLOCK_BYTES
    const from = Math.max(at, offsetBytes)
    const to = Math.min(at + BLOCK_BYTES, end)
    into.set(bytes.subarray(from - at, to - at), from - offsetBytes)
  }
  return true
}

/**
 * The same of an encrypted volume, whose blocks are opened where they go: memory of their own would be one more piece
 * for each read. False also when one of them cannot be opened.
 */
export function openInto(
  versions: readonly BlockVersion[], offsetBytes: number, into: Uint8Array, opener: BlobOpener,
): boolean {
  if (!isReady(versions, offsetBytes, into)) return false
  const end = offsetBytes + into.length
  for (const version of versions) {
    if (version.payload === undefined) continue
    const at = version.lba * BLOCK_BYTES
    const from = Math.max(at, offsetBytes)
    const to = Math.min(at + BLOCK_BYTES, end)
    const target = into.subarray(from - offsetBytes, to - offsetBytes)
    const block = openedBlock(version, opener, target.length === BLOCK_BYTES ? target : undefined)
    if (block === undefined) {
      into.fill(0)
      return false
    }
    if (block !== target) target.set(block.subarray(from - at, to - at))
  }
  return true
}

/**
 * Whether versions are of blocks of that range, each once and in order, as everybody answers who is right. `into` comes
 * with what others left in it: where they do not cover it, it is zeroes from now on, and all of it when they are wrong.
 */
function isReady(versions: readonly BlockVersion[], offsetBytes: number, into: Uint8Array): boolean {
  if (strangeLba(versions, offsetBytes, into.length) !== undefined) {
    into.fill(0)
    return false
  }
  const blocks = Math.ceil((offsetBytes + into.length) / BLOCK_BYTES) - Math.floor(offsetBytes / BLOCK_BYTES)
  let filled = 0
  for (const { payload } of versions) if (payload !== undefined) filled++
  if (filled < blocks) into.fill(0)
  return true
}

/** The first block that is no part of an answer to that question: not asked for, there twice, or out of order. */
export function strangeLba(versions: readonly BlockVersion[], offsetBytes: number, bytes: number): number | undefined {
  const endLba = Math.ceil((offsetBytes + bytes) / BLOCK_BYTES)
  let next = Math.floor(offsetBytes / BLOCK_BYTES)
  for (const { lba } of versions) {
    if (lba < next || lba >= endLba) return lba
    next = lba + 1
  }
  return undefined
}
