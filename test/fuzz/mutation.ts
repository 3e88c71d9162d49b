/**
 * Changes of an input, a few at once: of bits, of numbers, of pieces, of words. Deterministic in what it draws, and
 * made where the result is to lie: nothing is taken from the heap for it.
 */
import type { Random } from '../sim/random.ts'
import { jsonMutated } from './json-mutation.ts'

/** Ends of ranges, and what lies beside them. */
const NUMBERS = [
  0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 1024, 4095, 4096, 4097, 8192, 32_767,
  32_768, 65_535, 65_536, 0xff_ffff, 0x100_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
]
const WIDTHS = [1, 2, 4, 8]

/** Most are small: what goes one step further is one change away. */
const CHANGES = [1, 1, 1, 2, 3, 6]
const PIECE_BYTES_MAX = 256

/** An input that others are made of. */
export class Original {
  readonly bytes: Uint8Array
  /** Of an input that is JSON, maybe behind one byte. */
  readonly jsonAt: number
  readonly json: string = ''

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    const bracket = bytes.findIndex((byte) => byte === 0x7b || byte === 0x5b)
    this.jsonAt = -1
    if (bracket < 0 || bracket > 1) return
    const text = Buffer.from(bytes.buffer, bytes.byteOffset + bracket, bytes.length - bracket).toString()
    try {
      JSON.parse(text)
    } catch {
      return
    }
    this.jsonAt = bracket
    this.json = text
  }
}

export class Mutator {
  readonly #into: Uint8Array
  readonly #text: Buffer
  readonly #view: DataView
  readonly #words: readonly Uint8Array[]
  readonly #bytesMax: number
  readonly #piece = new Uint8Array(PIECE_BYTES_MAX)
  #begin = 0
  #length = 0

  /** @param into  results are laid here; there are `bytesMax` bytes free where one begins */
  constructor(into: Uint8Array, options: { words: readonly Uint8Array[]; bytesMax: number }) {
    this.#into = into
    this.#text = Buffer.from(into.buffer, into.byteOffset, into.length)
    this.#view = new DataView(into.buffer, into.byteOffset, into.length)
    this.#words = options.words
    this.#bytesMax = options.bytesMax
  }

  /** @returns how long the result at `begin` is */
  mutate(random: Random, from: Original, other: Original, begin: number): number {
    if (from.jsonAt >= 0 && random.int(4) > 0) {
      this.#into.set(from.bytes.subarray(0, from.jsonAt), begin)
      const text = jsonMutated(random, from.json)
      return from.jsonAt + this.#text.write(text, begin + from.jsonAt, this.#bytesMax - from.jsonAt)
    }
    this.#begin = begin
    this.#length = Math.min(from.bytes.length, this.#bytesMax)
    this.#into.set(from.bytes.length > this.#length ? from.bytes.subarray(0, this.#length) : from.bytes, begin)
    for (let i = random.pick(CHANGES); i > 0; i--) this.#change(random, other.bytes)
    return this.#length
  }

  #change(random: Random, other: Uint8Array): void {
    const length = this.#length
    const at = random.int(length + 1)
    const into = this.#into
    switch (random.int(this.#words.length > 0 ? 11 : 9)) {
      case 0:
        if (at < length) into[this.#begin + at]! ^= 1 << random.int(8)
        return
      case 1:
        if (at < length) into[this.#begin + at] = random.int(256)
        return
      case 2:
        if (at < length) into[this.#begin + at]! += random.between(-16, 16)
        return
      case 3: return this.#setNumber(random, at)
      case 4: return void this.#resize(at, Math.min(length - at, 1 + random.int(1 << random.int(8))), 0)
      case 5: {
        const count = this.#resize(at, 0, 1 + random.int(1 << random.int(8)))
        into.fill(random.int(3) === 0 ? random.int(256) : 0, this.#begin + at, this.#begin + at + count)
        return
      }
      case 6: {
        const from = random.int(length + 1)
        const count = Math.min(random.int(64), length - from)
        this.#piece.set(into.subarray(this.#begin + from, this.#begin + from + count))
        return this.#splice(at, random.int(2) === 0 ? count : 0, this.#piece.subarray(0, count))
      }
      case 7: {
        const from = random.int(other.length + 1)
        return this.#splice(at, random.int(2) === 0 ? length : 0, other.subarray(from, from + random.int(256)))
      }
      case 8:
        if (random.int(4) === 0) this.#length = at
        return
      case 9: return this.#splice(at, 0, random.pick(this.#words))
      default: {
        const word = random.pick(this.#words)
        return this.#splice(at, word.length, word)
      }
    }
  }

  #setNumber(random: Random, at: number): void {
    const width = random.pick(WIDTHS)
    if (at + width > this.#length) return
    const value = random.pick(NUMBERS)
    const isLittle = random.int(2) === 0
    const place = this.#begin + at
    switch (width) {
      case 1: return this.#view.setUint8(place, value)
      case 2: return this.#view.setUint16(place, value, isLittle)
      case 4: return this.#view.setUint32(place, value, isLittle)
      default: {
        const isInverse = random.int(2) === 0
        const high = isInverse ? 0xffff_ffff : 0
        this.#view.setUint32(place + (isLittle ? 4 : 0), high, isLittle)
        this.#view.setUint32(place + (isLittle ? 0 : 4), isInverse ? ~value : value, isLittle)
      }
    }
  }

  #splice(at: number, removed: number, piece: Uint8Array): void {
    const count = this.#resize(at, removed, piece.length)
    this.#into.set(count < piece.length ? piece.subarray(0, count) : piece, this.#begin + at)
  }

  /** Makes room for `added` bytes in the place of `removed`. @returns how many there is room for */
  #resize(at: number, removed: number, added: number): number {
    const room = Math.min(added, this.#bytesMax - at)
    const from = Math.min(this.#length, at + removed)
    const moved = Math.min(this.#length - from, this.#bytesMax - at - room)
    this.#into.copyWithin(this.#begin + at + room, this.#begin + from, this.#begin + from + moved)
    this.#length = at + room + moved
    return room
  }
}
