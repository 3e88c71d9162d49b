/**
 * Fields of the on-disk formats (FORMAT.md): little-endian integers, u48, uuids, fixed text fields.
 *
 * A u48 is an LBA, a seq, a batch number or a generation: it exceeds 32 bits, so it is split by division, never by a
 * shift or a mask. Ids are 32 lower-case hex digits in memory wherever they are compared or printed, raw bytes where
 * they are written once per record.
 */
import { assert } from '../assert.ts'
import { U48_MAX } from '../units.ts'

export const UUID_BYTES = 16
/** 2^32: what the high part of a u48 counts. */
const HIGH_UNIT = 0x1_0000_0000

const HEX_DIGITS = '0123456789abcdef'
const encoder = new TextEncoder()
// A byte order mark is a character like any other here, so that every text comes back as it was written.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function getU48(view: DataView, at: number): number {
  return view.getUint16(at + 4, true) * HIGH_UNIT + view.getUint32(at, true)
}

export function putU48(view: DataView, at: number, value: number): void {
  assert(value >= 0 && value <= U48_MAX, 'a u48 field holds 0..2^48-1')
  const high = Math.floor(value / HIGH_UNIT)
  view.setUint32(at, value - high * HIGH_UNIT, true)
  view.setUint16(at + 4, high, true)
}

/** A u48 with its two reserved bytes (`u48+2` in FORMAT.md), which are written as zero. */
export function putU48Padded(view: DataView, at: number, value: number): void {
  putU48(view, at, value)
  view.setUint16(at + 6, 0, true)
}

export function uuidToHex(bytes: Uint8Array): string {
  assert(bytes.length === UUID_BYTES, 'a uuid has 16 bytes')
  let hex = ''
  for (const byte of bytes) hex += HEX_DIGITS.charAt(byte >>> 4) + HEX_DIGITS.charAt(byte & 15)
  return hex
}

export function hexToUuid(hex: string): Uint8Array {
  assert(/^[0-9a-f]{32}$/.test(hex), 'a uuid is written as 32 lower-case hex digits')
  const bytes = new Uint8Array(UUID_BYTES)
  for (let i = 0; i < UUID_BYTES; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

/** How many bytes `text` takes in a fixed field; the caller refuses what is too long before it encodes. */
export function textBytes(text: string): number {
  return encoder.encode(text).length
}

/** A zero-padded UTF-8 field of `lengthBytes`. The text fits and holds no NUL: the caller has checked. */
export function putText(bytes: Uint8Array, at: number, lengthBytes: number, text: string): void {
  const encoded = encoder.encode(text)
  assert(encoded.length <= lengthBytes, 'the text fits its field')
  assert(!encoded.includes(0), 'the text of a zero-padded field holds no NUL')
  bytes.fill(0, at, at + lengthBytes)
  bytes.set(encoded, at)
}

export function getText(bytes: Uint8Array, at: number, lengthBytes: number): string {
  const field = bytes.subarray(at, at + lengthBytes)
  const end = field.indexOf(0)
  return decoder.decode(end < 0 ? field : field.subarray(0, end))
}

export function isZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}
