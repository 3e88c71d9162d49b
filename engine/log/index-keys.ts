/**
 * Keys and page values of the index (FORMAT.md section 5). Numbers in keys are big-endian, so that byte order is
 * numeric order and one range read brings everything of a page, a volume or a block's history.
 */
import { assert } from '../assert.ts'
import { copyEntry, ENTRY_WORDS } from './entry.ts'

const KEY = {
  meta: 0x6d,
  segment: 0x73,
  generation: 0x67,
  volume: 0x76,
  page: 0x70,
  history: 0x68,
  tombstone: 0x74,
  waiting: 0x75,
  scrub: 0x63,
  leaf: 0x6c,
  change: 0x64,
}

export const HISTORY_KEY_BYTES = 21

function key(prefix: number, ...fields: Array<[value: number, bytes: 4 | 6]>): Uint8Array {
  let length = 1
  for (const [, bytes] of fields) length += bytes
  const out = new Uint8Array(length)
  const view = new DataView(out.buffer)
  out[0] = prefix
  let at = 1
  for (const [value, bytes] of fields) {
    if (bytes === 6) {
      const high = Math.floor(value / 2 ** 32)
      view.setUint16(at, high)
      view.setUint32(at + 2, value - high * 2 ** 32)
    } else view.setUint32(at, value)
    at += bytes
  }
  return out
}

export const metaKey = (): Uint8Array => Uint8Array.of(KEY.meta)
export const segmentKey = (segment: number): Uint8Array => key(KEY.segment, [segment, 4])
export const generationKey = (segment: number): Uint8Array => key(KEY.generation, [segment, 4])
export const volumeKey = (volume: number): Uint8Array => key(KEY.volume, [volume, 4])
export const pageKey = (volume: number, page: number, checkpoint: number): Uint8Array =>
  key(KEY.page, [volume, 4], [page, 4], [checkpoint, 6])
export const historyKey = (volume: number, lba: number, epoch: number, seq: number): Uint8Array =>
  key(KEY.history, [volume, 4], [lba, 6], [epoch, 4], [seq, 6])

/** The same at a place of memory that is there: the cleaner needs two for each block that it moves. */
export function putHistoryKey(
  view: DataView,
  at: number,
  { volume, lba, epoch, seq }: { volume: number; lba: number; epoch: number; seq: number },
): void {
  const lbaHigh = Math.floor(lba / 2 ** 32)
  const seqHigh = Math.floor(seq / 2 ** 32)
  view.setUint8(at, KEY.history)
  view.setUint32(at + 1, volume)
  view.setUint16(at + 5, lbaHigh)
  view.setUint32(at + 7, lba - lbaHigh * 2 ** 32)
  view.setUint32(at + 11, epoch)
  view.setUint16(at + 15, seqHigh)
  view.setUint32(at + 17, seq - seqHigh * 2 ** 32)
}

export const tombstoneKey = (volume: number, epoch: number, seq: number, firstPage: number): Uint8Array =>
  key(KEY.tombstone, [volume, 4], [epoch, 4], [seq, 6], [firstPage, 4])

export const waitingKey = (volume: number, seq: number, epoch: number): Uint8Array =>
  key(KEY.waiting, [volume, 4], [seq, 6], [epoch, 4])

/** Of no checkpoint: written when it changes (volume/scrub-note.ts). */
export const scrubKey = (volume: number): Uint8Array => key(KEY.scrub, [volume, 4])
export const leafKey = (volume: number, revision: number): Uint8Array => key(KEY.leaf, [volume, 4], [revision, 6])
export const parseLeafKey = (k: Uint8Array): { volume: number; revision: number } => {
  const view = viewOfKey(k)
  return { volume: view.getUint32(1), revision: u48(view, 5) }
}

/** What changed in a slice. @param seq  between the marks that the changes lie between */
export interface ChangeKey {
  volume: number
  slice: number
  seq: number
  checkpoint: number
}
export const changeKey = ({ volume, slice, seq, checkpoint }: ChangeKey): Uint8Array =>
  key(KEY.change, [volume, 4], [slice, 4], [seq, 6], [checkpoint, 6])
export const parseChangeKey = (k: Uint8Array): ChangeKey => {
  const view = viewOfKey(k)
  return { volume: view.getUint32(1), slice: view.getUint32(5), seq: u48(view, 9), checkpoint: u48(view, 15) }
}
/** Of a slice those with `above < seq <= upTo` (infinity: all behind). */
export const changeRange = (
  { volume, slice }: { volume: number; slice: number },
  above: number,
  upTo: number,
): { from: Uint8Array; below: Uint8Array } => ({
  from: key(KEY.change, [volume, 4], [slice, 4], [above + 1, 6]),
  below:
    upTo === Infinity
      ? key(KEY.change, [volume, 4], [slice + 1, 4])
      : key(KEY.change, [volume, 4], [slice, 4], [upTo + 1, 6]),
})
/** Of slices `first .. end - 1`. */
export const changesOfSlices = (
  volume: number,
  first: number,
  end: number,
): { from: Uint8Array; below: Uint8Array } => ({
  from: key(KEY.change, [volume, 4], [first, 4]),
  below: key(KEY.change, [volume, 4], [end, 4]),
})
/** The first key behind this one. */
export function keyBehind(k: Uint8Array): Uint8Array {
  const out = new Uint8Array(k.length + 1)
  out.set(k)
  return out
}

/** All keys of one kind. */
export const rangeOf = (kind: keyof typeof KEY): { from: Uint8Array; below: Uint8Array } => ({
  from: Uint8Array.of(KEY[kind]),
  below: Uint8Array.of(KEY[kind] + 1),
})
/** The keys of pages `first .. end - 1` of a volume. */
export const pageRange = (volume: number, first: number, end: number): { from: Uint8Array; below: Uint8Array } => ({
  from: key(KEY.page, [volume, 4], [first, 4]),
  below: end > 0xffffffff ? key(KEY.page, [volume + 1, 4]) : key(KEY.page, [volume, 4], [end, 4]),
})
/** The older versions of blocks `first .. end - 1` of a volume, oldest first within a block. */
export const historyRange = (
  volume: number,
  first: number,
  end: number,
): { from: Uint8Array; below: Uint8Array } => ({
  from: key(KEY.history, [volume, 4], [first, 6]),
  below: key(KEY.history, [volume, 4], [end, 6]),
})

const viewOfKey = (k: Uint8Array): DataView => new DataView(k.buffer, k.byteOffset, k.byteLength)
const u48 = (view: DataView, at: number): number => view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2)
/** The number behind the prefix of a segment, generation or volume key. */
export const numberOfKey = (k: Uint8Array): number => viewOfKey(k).getUint32(1)
export const parsePageKey = (k: Uint8Array): { volume: number; page: number; checkpoint: number } => {
  const view = viewOfKey(k)
  return { volume: view.getUint32(1), page: view.getUint32(5), checkpoint: u48(view, 9) }
}
export const parseHistoryKey = (k: Uint8Array): { volume: number; lba: number; epoch: number; seq: number } => {
  const view = viewOfKey(k)
  return { volume: view.getUint32(1), lba: u48(view, 5), epoch: view.getUint32(11), seq: u48(view, 15) }
}

/** A page's base, or what one checkpoint changed in it: parallel lists, later ones newer. */
export interface PageValue {
  /** Replaces everything older of the page. */
  base: boolean
  /** The live counts already know what these entries superseded. */
  resolved: boolean
  /** Block numbers inside the page, 0..255. */
  indexes: Uint8Array
  /** `indexes.length * 6` words. */
  words: Uint32Array
}

const FLAG = { base: 1, resolved: 2 }

export function encodePageValue(value: PageValue): Uint8Array {
  const count = value.indexes.length
  assert(count < 2 ** 24, 'a page has fewer entries than its value can count')
  const entriesAt = 4 + Math.ceil(count / 4) * 4
  const out = new Uint8Array(entriesAt + count * ENTRY_WORDS * 4)
  out[0] = (value.base ? FLAG.base : 0) | (value.resolved ? FLAG.resolved : 0)
  out[1] = count >>> 16
  out[2] = count & 0xff
  out[3] = (count >>> 8) & 0xff
  out.set(value.indexes, 4)
  out.set(new Uint8Array(value.words.buffer, value.words.byteOffset, count * ENTRY_WORDS * 4), entriesAt)
  return out
}

/** The same for blocks `indexes` of a page in memory, whose entries lie at their places (`PAGE_BLOCKS * 6` words). */
export function encodePageBlocks(
  page: { words: Uint32Array; indexes: Uint8Array },
  flags: { base: boolean; resolved: boolean },
): Uint8Array {
  const { words, indexes } = page
  const count = indexes.length
  const entriesAt = 4 + Math.ceil(count / 4) * 4
  const out = new Uint8Array(entriesAt + count * ENTRY_WORDS * 4)
  out[0] = (flags.base ? FLAG.base : 0) | (flags.resolved ? FLAG.resolved : 0)
  out[2] = count & 0xff
  out[3] = count >>> 8
  out.set(indexes, 4)
  const entries = new Uint32Array(out.buffer, entriesAt)
  if (entries.length === words.length) entries.set(words)
  else for (let i = 0; i < count; i++) copyEntry(words, indexes[i]! * ENTRY_WORDS, entries, i * ENTRY_WORDS)
  return out
}

/** Undefined when the bytes are not a page value. Copies, because index buffers may be unaligned. */
export function decodePageValue(bytes: Uint8Array): PageValue | undefined {
  if (bytes.length < 4) return undefined
  const count = bytes[1]! * 65_536 + bytes[3]! * 256 + bytes[2]!
  const entriesAt = 4 + Math.ceil(count / 4) * 4
  if (bytes.length !== entriesAt + count * ENTRY_WORDS * 4) return undefined
  const words = new Uint32Array(count * ENTRY_WORDS)
  new Uint8Array(words.buffer).set(bytes.subarray(entriesAt))
  return {
    base: (bytes[0]! & FLAG.base) !== 0,
    resolved: (bytes[0]! & FLAG.resolved) !== 0,
    indexes: bytes.slice(4, 4 + count),
    words,
  }
}

export function decodeEntryValue(bytes: Uint8Array): Uint32Array | undefined {
  if (bytes.length !== ENTRY_WORDS * 4) return undefined
  const words = new Uint32Array(ENTRY_WORDS)
  new Uint8Array(words.buffer).set(bytes)
  return words
}
