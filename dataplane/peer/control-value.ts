/**
 * Control parts as msgpack: plain values only (null, booleans, numbers, strings, arrays, maps with text keys).
 *
 * msgpackr knows more than we want from a stranger: extensions that make Dates, Maps and Errors, and record definitions
 * out of which it compiles functions. So bytes are walked before it sees them: only the tokens that our own writer
 * uses, no deeper than `DEPTH_MAX`, no more values than `VALUES_MAX`, every length within the bytes that are there, and
 * nothing behind the value. After that walk decoding cannot throw, allocate without bound or make anything but data.
 */
import { Packr } from 'msgpackr'
import { assert } from '../../engine/assert.ts'

export const DEPTH_MAX = 16
export const VALUES_MAX = 1 << 20

const packr = new Packr({ useRecords: false, variableMapSize: true, mapsAsObjects: true, moreTypes: false })

export type Plain = null | boolean | number | string | Plain[] | { [key: string]: Plain }

/** `value` without what is undefined: absent is the only way to say nothing. Asserts that it is plain data. */
export function plainOf(value: unknown, depth = 0): Plain {
  assert(depth <= DEPTH_MAX, 'a control value is not that deep')
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value === 'number') {
    assert(Number.isFinite(value), 'a control value holds finite numbers')
    return value
  }
  assert(typeof value === 'object' && value !== undefined, 'a control value is plain data')
  if (Array.isArray(value)) return value.map((one) => plainOf(one === undefined ? null : one, depth + 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  assert(prototype === Object.prototype || prototype === null, 'a control value has no class')
  const plain: { [key: string]: Plain } = {}
  for (const [key, one] of Object.entries(value)) {
    assert(key !== '__proto__', 'no key is the prototype')
    if (one !== undefined) plain[key] = plainOf(one, depth + 1)
  }
  return plain
}

/** Bytes of a plain value. They are valid until the next call at least; the caller copies them to their place. */
export const encodeValue = (value: unknown): Uint8Array => packr.pack(plainOf(value))

/** @returns `refused` when the bytes are not exactly one plain value */
export function decodeValue(bytes: Uint8Array): { value: Plain } | { refused: string } {
  const refused = walk(bytes)
  if (refused !== undefined) return { refused }
  return { value: packr.unpack(bytes) as Plain }
}

/** What each token has behind it: a fixed number of bytes, or a length of so many bytes and then bytes or values. */
const FIXED: Record<number, number> = {
  0xc0: 0, 0xc2: 0, 0xc3: 0, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xd0: 1, 0xd1: 2, 0xd2: 4,
}
const LENGTH_BYTES: Record<number, number> = { 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4 }

const FLOAT = 0xcb
const PROTO = '__proto__'

function walk(bytes: Uint8Array): string | undefined {
  const end = bytes.length
  /** Values still to come at each depth, and whether every second of them is a key. */
  const left: number[] = [1]
  const isMap: boolean[] = [false]
  let at = 0
  let values = 0
  while (left.length > 0) {
    const top = left.length - 1
    if (left[top] === 0) {
      left.pop()
      isMap.pop()
      continue
    }
    const isKey = isMap[top]! && left[top]! % 2 === 0
    left[top]!--
    if (++values > VALUES_MAX) return 'too many values'
    if (at >= end) return 'the value is cut off'
    const token = bytes[at++]!
    let children = -1
    let isObject = false
    let textLength = -1
    if (token < 0x80 || token >= 0xe0) textLength = -1
    else if (token < 0x90) [children, isObject] = [token - 0x80, true]
    else if (token < 0xa0) children = token - 0x90
    else if (token < 0xc0) textLength = token - 0xa0
    else {
      const fixed = FIXED[token]
      if (fixed !== undefined) {
        if (token === FLOAT && isEndless(bytes, at)) return 'a number that is not finite'
        at += fixed
      } else {
        const lengthBytes = LENGTH_BYTES[token]
        if (lengthBytes === undefined) return 'a token that is not used here'
        if (at + lengthBytes > end) return 'the value is cut off'
        let length = 0
        for (let i = 0; i < lengthBytes; i++) length = length * 256 + bytes[at++]!
        if (token <= 0xdb) textLength = length
        else [children, isObject] = [length, token >= 0xde]
      }
    }
    if (isKey && textLength < 0) return 'a key that is not text'
    if (textLength >= 0) {
      if (at + textLength > end) return 'the value is cut off'
      if (isKey && isProto(bytes, at, textLength)) return 'a key that is the prototype'
      at += textLength
    } else if (children >= 0) {
      // Each takes a byte at least, so nothing is allocated for what is not there.
      if (children * (isObject ? 2 : 1) > end - at) return 'the value is cut off'
      if (left.length > DEPTH_MAX) return 'too deep'
      left.push(isObject ? 2 * children : children)
      isMap.push(isObject)
    }
  }
  if (at > end) return 'the value is cut off'
  return at < end ? 'something lies behind the value' : undefined
}

/** All bits of a double's exponent are set: it stands for no number, or for one without end. */
function isEndless(bytes: Uint8Array, at: number): boolean {
  return (bytes[at]! & 0x7f) === 0x7f && bytes[at + 1]! >= 0xf0
}

function isProto(bytes: Uint8Array, at: number, length: number): boolean {
  if (length !== PROTO.length) return false
  for (let i = 0; i < length; i++) if (bytes[at + i] !== PROTO.charCodeAt(i)) return false
  return true
}
