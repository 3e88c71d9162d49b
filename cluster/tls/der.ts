/**
 * DER (ITU-T X.690) as far as a certificate needs it: writing only. What is written here is read back by OpenSSL, and
 * nothing that a stranger sends is ever parsed by code of ours.
 */
import { isIPv4 } from 'node:net'
import { assert } from '../../engine/assert.ts'

const TAG = {
  boolean: 0x01, integer: 0x02, bitString: 0x03, octetString: 0x04, oid: 0x06, utf8: 0x0c, utcTime: 0x17,
  generalizedTime: 0x18, sequence: 0x30, set: 0x31,
} as const

const IN_CONTEXT = 0x80
const CONSTRUCTED = 0x20
/** RFC 5280 4.1.2.5: from this year on times have four digits of it. */
const GENERALIZED_FROM = 2050

function value(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const { length } = body
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), body])
  const bytes = Buffer.from(length.toString(16).padStart(length < 0x100 ? 2 : 4, '0'), 'hex')
  assert(length < 0x10000, 'no part of a certificate has 64 KiB')
  return Buffer.concat([Buffer.of(tag, 0x80 | bytes.length), bytes, body])
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => value(TAG.sequence, ...parts)
export const set = (...parts: readonly Uint8Array[]): Buffer => value(TAG.set, ...parts)
export const octetString = (bytes: Uint8Array): Buffer => value(TAG.octetString, bytes)
export const utf8 = (text: string): Buffer => value(TAG.utf8, Buffer.from(text))
export const boolean = (isTrue: boolean): Buffer => value(TAG.boolean, Buffer.of(isTrue ? 0xff : 0))
/** @param unused  bits at the end of the last byte */
export const bitString = (bytes: Uint8Array, unused = 0): Buffer => value(TAG.bitString, Buffer.of(unused), bytes)

/** @param bytes  of a number that is not negative, the greatest byte first, without zeroes in front */
export function integer(bytes: Uint8Array): Buffer {
  assert(bytes.length > 0 && (bytes[0] !== 0 || bytes.length === 1), 'a number has no zeroes in front')
  return value(TAG.integer, bytes[0]! >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes)
}

/** `1.2.840.10045.4.3.2` */
export function oid(text: string): Buffer {
  const [first, second, ...rest] = text.split('.').map(Number) as [number, number, ...number[]]
  const bytes = [40 * first + second]
  for (const arc of rest) {
    const digits = [arc & 0x7f]
    for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift(0x80 | (left & 0x7f))
    bytes.push(...digits)
  }
  return value(TAG.oid, Buffer.from(bytes))
}

/** To the second. */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\.\d+Z$/, 'Z').replace(/[-:T]/g, '')
  const isShort = date.getUTCFullYear() < GENERALIZED_FROM
  return value(isShort ? TAG.utcTime : TAG.generalizedTime, Buffer.from(isShort ? digits.slice(2) : digits))
}

/** `[number] EXPLICIT`. */
export const explicit = (number: number, part: Uint8Array): Buffer => value(IN_CONTEXT | CONSTRUCTED | number, part)

/** `[number] IMPLICIT` of bytes. */
export const implicit = (number: number, bytes: Uint8Array): Buffer => value(IN_CONTEXT | number, bytes)

/** The bytes of an IP address, as a certificate has them. @param text  as `net.isIP` accepts it */
export function ipBytes(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number))
  const [head, tail] = text.split('::')
  const words = (part: string | undefined): number[] => (part === undefined || part === '' ? [] : part.split(':')
    .flatMap((word) => {
      if (!word.includes('.')) return [Number.parseInt(word, 16)]
      const [a, b, c, d] = word.split('.').map(Number) as [number, number, number, number]
      return [(a << 8) | b, (c << 8) | d]
    }))
  const [left, right] = [words(head), words(tail)]
  const zeroes = tail === undefined ? [] : new Array<number>(8 - left.length - right.length).fill(0)
  const bytes = Buffer.alloc(16)
  for (const [at, word] of [...left, ...zeroes, ...right].entries()) bytes.writeUInt16BE(word, 2 * at)
  return bytes
}
