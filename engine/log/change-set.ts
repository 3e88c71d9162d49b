/**
 * Which blocks of a slice changed: painted in memory, one value of the index on disk (FORMAT.md section 5, key `d`).
 *
 *   runs      gap to the end of the former run, then 2 * (blocks - 1) + (look ? 1 : 0), both as varints
 *   bitmaps   one bit a block, what was written and then what has to be looked at, where runs would take more
 *
 * A block that was written shows data, newer than all that was there before. What a zero or trim did there only the map
 * knows, because it may have come over nothing: such a block is to be looked at.
 *
 * Values are added up in any order: what one of them says is to be looked at stays so. Versions do not come into a map
 * in order of seq when a copy is filled, and nobody has to know which of two values is the later one.
 */
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'

export const CHANGE = { none: 0, written: 1, look: 2 } as const
export type Change = (typeof CHANGE)[keyof typeof CHANGE]

const FORM = { runs: 1, bitmaps: 2 } as const
const BITMAP_BYTES = SLICE_BLOCKS / 8
const RUNS_BYTES_MAX = 2 * BITMAP_BYTES
const PAGES = SLICE_BLOCKS / PAGE_BLOCKS

export class ChangePaint {
  readonly kinds = new Uint8Array(SLICE_BLOCKS)
  private readonly words = new Uint32Array(this.kinds.buffer)
  /** Kinds with which something of the page was painted, added up. */
  readonly pages = new Uint8Array(PAGES)

  /** What a later one did; it counts. @param first  block of the slice */
  put(first: number, count: number, kind: Change): void {
    if (count === 1) this.kinds[first] = kind
    else this.kinds.fill(kind, first, first + count)
    this.notePages(first, count, kind)
  }

  /** What another one did, before or after what is painted. */
  add(first: number, count: number, kind: Change): void {
    if (kind === CHANGE.look) return this.put(first, count, kind)
    const { kinds } = this
    for (let at = first; at < first + count; at++) if (kinds[at] === CHANGE.none) kinds[at] = kind
    this.notePages(first, count, kind)
  }

  private notePages(first: number, count: number, kind: Change): void {
    const end = first + count - 1
    for (let page = first >>> 8; page <= end >>> 8; page++) this.pages[page] = this.pages[page]! | kind
  }

  clear(): void {
    for (let page = 0; page < PAGES; page++) {
      if (this.pages[page] === 0) continue
      this.kinds.fill(CHANGE.none, page * PAGE_BLOCKS, (page + 1) * PAGE_BLOCKS)
      this.pages[page] = 0
    }
  }

  /** Runs of one kind in blocks `first .. end - 1`, in order. */
  eachRun(first: number, end: number, visit: (first: number, count: number, kind: Change) => void): void {
    const { kinds, pages, words } = this
    for (let at = first; at < end;) {
      if (pages[at >>> 8] === 0) {
        at = ((at >>> 8) + 1) * PAGE_BLOCKS
        continue
      }
      // Most of a page is none: four blocks at a time.
      if ((at & 3) === 0 && words[at >>> 2] === 0) {
        at += 4
        continue
      }
      const kind = kinds[at]! as Change
      let stop = at + 1
      if (kind !== CHANGE.none) {
        while (stop < end && kinds[stop] === kind) stop++
        visit(at, stop - at, kind)
      }
      at = stop
    }
  }

  /** Whether a block of this page has to be looked at. */
  hasLook(page: number): boolean {
    if ((this.pages[page]! & CHANGE.look) === 0) return false
    return this.kinds.subarray(page * PAGE_BLOCKS, (page + 1) * PAGE_BLOCKS).includes(CHANGE.look)
  }
}

const runBytes = new Uint8Array(RUNS_BYTES_MAX + 16)

function putVarint(at: number, value: number): number {
  while (value >= 128) {
    runBytes[at++] = (value & 127) | 128
    value >>>= 7
  }
  runBytes[at++] = value
  return at
}

export function encodeChanges(paint: ChangePaint): Uint8Array {
  runBytes[0] = FORM.runs
  let at = 1
  let end = 0
  paint.eachRun(0, SLICE_BLOCKS, (first, count, kind) => {
    if (at > RUNS_BYTES_MAX) return
    at = putVarint(at, first - end)
    at = putVarint(at, (count - 1) * 2 + (kind === CHANGE.look ? 1 : 0))
    end = first + count
  })
  return at <= RUNS_BYTES_MAX ? runBytes.slice(0, at) : encodeBitmaps(paint)
}

function encodeBitmaps(paint: ChangePaint): Uint8Array {
  const out = new Uint8Array(1 + 2 * BITMAP_BYTES)
  out[0] = FORM.bitmaps
  const { kinds } = paint
  for (let i = 0; i < SLICE_BLOCKS; i++) {
    if (kinds[i] === CHANGE.none) continue
    const at = 1 + (kinds[i] === CHANGE.look ? BITMAP_BYTES : 0) + (i >>> 3)
    out[at] = out[at]! | (1 << (i & 7))
  }
  return out
}

/** Add a value to what is painted. False: these bytes are none, and some of it may be painted. */
export function addChanges(bytes: Uint8Array, paint: ChangePaint): boolean {
  if (bytes[0] === FORM.bitmaps) return bytes.length === 1 + 2 * BITMAP_BYTES && paintBitmaps(bytes, paint)
  if (bytes[0] !== FORM.runs) return false
  let at = 1
  let end = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 28 && at < bytes.length; shift += 7) {
      const byte = bytes[at++]!
      value |= (byte & 127) << shift
      if (byte < 128) return value
    }
    return Infinity
  }
  while (at < bytes.length) {
    const first = end + varint()
    const run = varint()
    end = first + Math.floor(run / 2) + 1
    if (!(end <= SLICE_BLOCKS)) return false
    paint.add(first, end - first, (run & 1) === 1 ? CHANGE.look : CHANGE.written)
  }
  return true
}

function paintBitmaps(bytes: Uint8Array, paint: ChangePaint): true {
  for (let i = 0; i < 2 * BITMAP_BYTES; i++) {
    const byte = bytes[1 + i]!
    if (byte === 0) continue
    const [kind, first] = i < BITMAP_BYTES ? [CHANGE.written, i * 8] : [CHANGE.look, (i - BITMAP_BYTES) * 8]
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) paint.add(first + bit, 1, kind)
  }
  return true
}
