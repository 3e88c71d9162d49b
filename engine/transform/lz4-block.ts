/**
 * The block format of LZ4, for blocks of 4096 B: sequences of a token (length of the literals, length of the match),
 * literals, and an offset back of two bytes; the last sequence has literals only. What was compressed has no length of
 * its own: it ends where 4096 bytes are out.
 *
 * In this language because of what a block costs: bindings and WebAssembly builds that can be had take memory and copy
 * at every call, which for 4 KiB is more than the compression itself (`bench/micro/compression.ts`). Everything here
 * works in memory that is there already; the module is not re-entrant, and never needs to be.
 *
 * `decompressBlock` believes nothing: each length and offset is held against both ends before a byte moves.
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES } from '../units.ts'

const MATCH_LEAST = 4
/** The format's own: the last five bytes are literals, and no match begins in the last twelve. */
const LITERALS_AT_END = 5
const MATCH_STARTS_BELOW = BLOCK_BYTES - 12
const MATCHES_END = BLOCK_BYTES - LITERALS_AT_END
const LENGTH_IN_TOKEN = 15
const HASH_BITS = 12
/** After as many places without a match the steps grow by one: what does not compress is passed over fast. */
const MISSES_PER_STEP_BITS = 5
/** From here on a call that copies is faster than a loop. */
const LONG_BYTES = 64

const source = new Uint8Array(BLOCK_BYTES)
const words = new DataView(source.buffer)
/** By hash, where it was seen last. A place of 0 that nobody noted is harmless: matches are compared. */
const seen = new Uint16Array(1 << HASH_BITS)

const hashOf = (word: number): number => Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS)

/**
 * @param block  4096 bytes
 * @param into  gets at most `into.length` bytes; what is in it behind the result may be overwritten
 * @returns how many bytes of `into` are used, 0 when they are too few
 */
export function compressBlock(block: Uint8Array, into: Uint8Array): number {
  assert(block.length === BLOCK_BYTES, 'blocks are compressed one by one')
  source.set(block)
  seen.fill(0)
  let out = 0
  /** First byte that is not in the result. */
  let anchor = 0
  let misses = 1 << MISSES_PER_STEP_BITS
  for (let at = 1; at < MATCH_STARTS_BELOW;) {
    const word = words.getInt32(at, true)
    const slot = hashOf(word)
    let from = seen[slot]!
    seen[slot] = at
    if (words.getInt32(from, true) !== word) {
      at += misses++ >> MISSES_PER_STEP_BITS
      continue
    }
    misses = 1 << MISSES_PER_STEP_BITS
    // Backwards too: steps may have passed over the beginning.
    while (at > anchor && from > 0 && source[at - 1] === source[from - 1]) {
      at--
      from--
    }
    let end = at + MATCH_LEAST
    for (let old = from + MATCH_LEAST; end < MATCHES_END && source[end] === source[old]; old++) end++
    const matched = end - at - MATCH_LEAST
    out = putLiterals(into, out, anchor, at, Math.min(matched, LENGTH_IN_TOKEN))
    if (out < 0 || out + 2 + lengthBytes(matched) > into.length) return 0
    const offset = at - from
    into[out++] = offset & 0xff
    into[out++] = offset >>> 8
    if (matched >= LENGTH_IN_TOKEN) out = putLength(into, out, matched)
    at = anchor = end
    if (end < MATCH_STARTS_BELOW) seen[hashOf(words.getInt32(end - 2, true))] = end - 2
  }
  return Math.max(0, putLiterals(into, out, anchor, BLOCK_BYTES, 0))
}

/** Bytes of a length behind the token. */
const lengthBytes = (length: number): number =>
  length < LENGTH_IN_TOKEN ? 0 : Math.floor((length - LENGTH_IN_TOKEN) / 255) + 1

function putLength(into: Uint8Array, out: number, length: number): number {
  let left = length - LENGTH_IN_TOKEN
  for (; left >= 255; left -= 255) into[out++] = 255
  into[out++] = left
  return out
}

/** A token and its literals. @returns where they end, -1 when there is no room */
function putLiterals(into: Uint8Array, out: number, from: number, end: number, matchInToken: number): number {
  const length = end - from
  if (out + 1 + lengthBytes(length) + length > into.length) return -1
  into[out++] = (Math.min(length, LENGTH_IN_TOKEN) << 4) | matchInToken
  if (length >= LENGTH_IN_TOKEN) out = putLength(into, out, length)
  if (length >= LONG_BYTES) {
    into.set(source.subarray(from, end), out)
    return out + length
  }
  for (let at = from; at < end; at++) into[out++] = source[at]!
  return out
}

/**
 * @param bytes  what `compressBlock` made, and at its end nothing but zeroes
 * @param into  4096 bytes; when the answer is false they are undefined
 * @returns whether that is a block
 */
export function decompressBlock(bytes: Uint8Array, into: Uint8Array): boolean {
  assert(into.length === BLOCK_BYTES, 'blocks are decompressed one by one')
  const end = bytes.length
  let at = 0
  let out = 0
  while (at < end) {
    const token = bytes[at++]!
    let literals = token >>> 4
    if (literals === LENGTH_IN_TOKEN) {
      let more = 255
      while (more === 255) {
        if (at >= end || literals > BLOCK_BYTES) return false
        literals += more = bytes[at++]!
      }
    }
    if (literals > end - at || literals > BLOCK_BYTES - out) return false
    if (literals >= LONG_BYTES) {
      into.set(bytes.subarray(at, at + literals), out)
      at += literals
      out += literals
    } else for (let i = 0; i < literals; i++) into[out++] = bytes[at++]!
    if (out === BLOCK_BYTES) return isZeroFrom(bytes, at)
    if (end - at < 2) return false
    const offset = bytes[at]! | (bytes[at + 1]! << 8)
    at += 2
    let matched = token & LENGTH_IN_TOKEN
    if (matched === LENGTH_IN_TOKEN) {
      let more = 255
      while (more === 255) {
        if (at >= end || matched > BLOCK_BYTES) return false
        matched += more = bytes[at++]!
      }
    }
    matched += MATCH_LEAST
    if (offset === 0 || offset > out || matched > BLOCK_BYTES - out) return false
    const from = out - offset
    if (matched >= LONG_BYTES && offset >= matched) {
      into.copyWithin(out, from, from + matched)
      out += matched
    } else if (matched >= LONG_BYTES && offset === 1) into.fill(into[from]!, out, (out += matched))
    else for (let old = from, stop = out + matched; out < stop;) into[out++] = into[old++]!
  }
  return false
}

function isZeroFrom(bytes: Uint8Array, from: number): boolean {
  for (let at = from; at < bytes.length; at++) if (bytes[at] !== 0) return false
  return true
}
