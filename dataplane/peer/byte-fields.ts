/**
 * Integers of frames that the formats on disk do not have: `u53`, eight bytes that hold what a double holds exactly
 * (session incarnations, request numbers, tokens), and checked reads of `u48+2`. Little-endian like everything else
 * here. Reads answer -1 for what no writer wrote: the world's error, which the codec turns into a refusal.
 */
import { assert } from '../../engine/assert.ts'
import { getU48, putU48Padded, uuidToHex, UUID_BYTES, hexToUuid } from '../../engine/log/bytes.ts'

export { putU48Padded }

const HIGH_UNIT = 0x1_0000_0000
const HIGH_END = 0x20_0000

export function getU53(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true)
  return high < HIGH_END ? high * HIGH_UNIT + view.getUint32(at, true) : -1
}

export function putU53(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a u53 field holds 0..2^53-1')
  const high = Math.floor(value / HIGH_UNIT)
  view.setUint32(at, value - high * HIGH_UNIT, true)
  view.setUint32(at + 4, high, true)
}

/** A u48 whose two reserved bytes are zero. */
export function getU48Padded(view: DataView, at: number): number {
  return view.getUint16(at + 6, true) === 0 ? getU48(view, at) : -1
}

export function putU32(view: DataView, at: number, value: number): void {
  assert(Number.isInteger(value) && value >= 0 && value < HIGH_UNIT, 'a u32 field holds 0..2^32-1')
  view.setUint32(at, value, true)
}

const REMEMBERED_MAX = 4096

/** Volume ids as text and as bytes, remembered: a connection carries few of them, millions of times. */
export class VolumeIds {
  readonly #bytes = new Map<string, Uint8Array>()
  /** By the first four bytes. */
  readonly #texts = new Map<number, Array<{ words: Int32Array; text: string }>>()
  #count = 0

  bytesOf(text: string): Uint8Array {
    let bytes = this.#bytes.get(text)
    if (bytes !== undefined) return bytes
    if (this.#bytes.size >= REMEMBERED_MAX) this.#bytes.clear()
    bytes = hexToUuid(text)
    this.#bytes.set(text, bytes)
    return bytes
  }

  textAt(view: DataView, at: number): string {
    const first = view.getInt32(at, true)
    const known = this.#texts.get(first)
    if (known !== undefined) {
      for (const { words, text } of known) {
        if (
          words[1] === view.getInt32(at + 4, true) &&
          words[2] === view.getInt32(at + 8, true) &&
          words[3] === view.getInt32(at + 12, true)
        )
          return text
      }
    }
    if (this.#count++ >= REMEMBERED_MAX) {
      this.#texts.clear()
      this.#count = 1
    }
    const text = uuidToHex(new Uint8Array(view.buffer, view.byteOffset + at, UUID_BYTES))
    const words = Int32Array.from([0, 4, 8, 12], (offset) => view.getInt32(at + offset, true))
    const list = this.#texts.get(first)
    if (list === undefined) this.#texts.set(first, [{ words, text }])
    else list.push({ words, text })
    return text
  }
}
