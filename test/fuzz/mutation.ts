/** Changes of an input, a few at once: of bits, of numbers, of pieces, of words. Deterministic in what it draws. */
import type { Random } from '../sim/random.ts'
import { jsonMutated } from './json-mutation.ts'

/** Ends of ranges, and what lies beside them. */
const NUMBERS = [
  0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 1024, 4095, 4096, 4097, 8192, 32_767,
  32_768, 65_535, 65_536, 0xff_ffff, 0x100_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
]

/** Most are small: what goes one step further is one change away. */
const CHANGES = [1, 1, 1, 2, 3, 6]

export function mutated(
  random: Random, from: Uint8Array, other: Uint8Array, words: readonly Uint8Array[], bytesMax: number,
): Uint8Array {
  const bracket = from.findIndex((byte) => byte === 0x7b || byte === 0x5b)
  const asJson = bracket >= 0 && bracket <= 1 && random.int(4) > 0 ? jsonMutated(random, from, bracket) : undefined
  if (asJson !== undefined) return asJson.subarray(0, bytesMax)
  let bytes: Uint8Array = from.slice()
  for (let i = random.pick(CHANGES); i > 0; i--) bytes = changed(random, bytes, other, words)
  return bytes.length > bytesMax ? bytes.subarray(0, bytesMax) : bytes
}

function changed(random: Random, bytes: Uint8Array, other: Uint8Array, words: readonly Uint8Array[]): Uint8Array {
  const { length } = bytes
  const at = random.int(length + 1)
  switch (random.int(words.length > 0 ? 11 : 9)) {
    case 0:
      if (at < length) bytes[at]! ^= 1 << random.int(8)
      return bytes
    case 1:
      if (at < length) bytes[at] = random.int(256)
      return bytes
    case 2:
      if (at < length) bytes[at]! += random.between(-16, 16)
      return bytes
    case 3: return withNumber(random, bytes, at)
    case 4: {
      const count = Math.min(length - at, 1 + random.int(1 << random.int(8)))
      return spliced(bytes, at, count, new Uint8Array(0))
    }
    case 5: {
      const count = 1 + random.int(1 << random.int(8))
      return spliced(bytes, at, 0, new Uint8Array(count).fill(random.int(3) === 0 ? random.int(256) : 0))
    }
    case 6: {
      const from = random.int(length + 1)
      const piece = bytes.slice(from, from + random.int(64))
      return spliced(bytes, at, random.int(2) === 0 ? piece.length : 0, piece)
    }
    case 7: {
      const from = random.int(other.length + 1)
      return spliced(bytes, at, random.int(2) === 0 ? length : 0, other.subarray(from, from + random.int(256)))
    }
    case 8: return random.int(4) === 0 ? bytes.slice(0, at) : bytes
    case 9: return spliced(bytes, at, 0, random.pick(words))
    default: {
      const word = random.pick(words)
      return spliced(bytes, at, word.length, word)
    }
  }
}

function withNumber(random: Random, bytes: Uint8Array, at: number): Uint8Array {
  const width = random.pick([1, 2, 4, 8])
  if (at + width > bytes.length) return bytes
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, width)
  const value = random.pick(NUMBERS)
  const little = random.int(2) === 0
  switch (width) {
    case 1: view.setUint8(0, value); break
    case 2: view.setUint16(0, value, little); break
    case 4: view.setUint32(0, value, little); break
    default: view.setBigUint64(0, random.int(2) === 0 ? BigInt(value) : ~BigInt(value), little)
  }
  return bytes
}

function spliced(bytes: Uint8Array, at: number, removed: number, piece: Uint8Array): Uint8Array {
  const end = Math.min(bytes.length, at + removed)
  const result = new Uint8Array(at + piece.length + bytes.length - end)
  result.set(bytes.subarray(0, at))
  result.set(piece, at)
  result.set(bytes.subarray(end), at + piece.length)
  return result
}
