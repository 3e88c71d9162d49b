/**
 * Netlink messages and their attributes as bytes (linux/netlink.h), in the byte order of this host, which is
 * little-endian (x86_64, arm64).
 *
 *   message    length u32 | type u16 | flags u16 | sequence u32 | port u32 | payload, padded to 4
 *   attribute  length u16 with these 4 bytes | type u16, bit 15: nested | value, padded to 4
 */
import { assert } from '../../engine/assert.ts'

export const NLMSG_HEADER_BYTES = 16
export const NLM_F_REQUEST = 1
export const NLM_F_ACK = 4
export const NLMSG_ERROR = 2

const NLA_HEADER_BYTES = 4
const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff
const TEXT_BYTES_MAX = 0xffff - NLA_HEADER_BYTES - 1

const padded = (bytes: number): number => Math.ceil(bytes / 4) * 4

function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(padded(NLA_HEADER_BYTES + value.length))
  bytes.writeUInt16LE(NLA_HEADER_BYTES + value.length, 0)
  bytes.writeUInt16LE(type, 2)
  value.copy(bytes, NLA_HEADER_BYTES)
  return bytes
}

export function u32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return attribute(type, bytes)
}

export function u64(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return attribute(type, bytes)
}

/** With the zero byte at its end that the kernel expects. */
export function text(type: number, value: string): Buffer {
  const bytes = Buffer.from(`${value}\0`)
  assert(bytes.length <= TEXT_BYTES_MAX && !value.includes('\0'), 'a text is short, and has no zero byte')
  return attribute(type, bytes)
}

export function nested(type: number, attributes: readonly Buffer[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes))
}

/**
 * Values by type; of several of one type the last. Undefined: lengths do not add up. The bytes are parts of `bytes`.
 */
export function decodeAttributes(bytes: Buffer): Map<number, Buffer> | undefined {
  const list = listAttributes(bytes)
  return list === undefined ? undefined : new Map(list)
}

/** In order, for lists in which each has the same type. */
export function listAttributes(bytes: Buffer): Array<[type: number, value: Buffer]> | undefined {
  const found: Array<[number, Buffer]> = []
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < NLA_HEADER_BYTES) return undefined
    const length = bytes.readUInt16LE(at)
    if (length < NLA_HEADER_BYTES || at + length > bytes.length) return undefined
    found.push([bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + NLA_HEADER_BYTES, at + length)])
    at += padded(length)
  }
  return found
}

/** Undefined: it is not there, or shorter than that. */
export function u32Of(value: Buffer | undefined): number | undefined {
  return value === undefined || value.length < 4 ? undefined : value.readUInt32LE(0)
}

export function u16Of(value: Buffer | undefined): number | undefined {
  return value === undefined || value.length < 2 ? undefined : value.readUInt16LE(0)
}

/** What a message of type NLMSG_ERROR says, as a positive errno; 0: done. Undefined: it is too short to say it. */
export function errnoOf({ type, payload }: NetlinkMessage): number | undefined {
  return type === NLMSG_ERROR && payload.length >= 4 ? -payload.readInt32LE(0) : undefined
}

export function textOf(value: Buffer): string {
  const end = value.indexOf(0)
  return value.toString('utf8', 0, end < 0 ? value.length : end)
}

export interface NetlinkMessage {
  type: number
  sequence: number
  payload: Buffer
}

export function encodeMessage({ type, sequence, payload }: NetlinkMessage, flags: number): Buffer {
  const bytes = Buffer.alloc(NLMSG_HEADER_BYTES + padded(payload.length))
  bytes.writeUInt32LE(NLMSG_HEADER_BYTES + payload.length, 0)
  bytes.writeUInt16LE(type, 4)
  bytes.writeUInt16LE(flags, 6)
  bytes.writeUInt32LE(sequence, 8)
  payload.copy(bytes, NLMSG_HEADER_BYTES)
  return bytes
}

/** All of one datagram; what does not add up ends it. */
export function decodeMessages(bytes: Buffer): NetlinkMessage[] {
  const found: NetlinkMessage[] = []
  for (let at = 0; bytes.length - at >= NLMSG_HEADER_BYTES;) {
    const length = bytes.readUInt32LE(at)
    if (length < NLMSG_HEADER_BYTES || at + length > bytes.length) break
    const payload = bytes.subarray(at + NLMSG_HEADER_BYTES, at + length)
    found.push({ type: bytes.readUInt16LE(at + 4), sequence: bytes.readUInt32LE(at + 8), payload })
    at += padded(length)
  }
  return found
}
