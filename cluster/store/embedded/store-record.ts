/**
 * Bytes of the embedded store (FORMAT.md section 3): a record for each revision under `r` and the revision, and one
 * head under `h` that says what has to be there. Numbers in keys are big-endian, so that keys are in order of
 * revision; in values they are little-endian. Revisions stay below 2^53, ids have 64 bits.
 */
import { crc32 } from 'node:zlib'
import { assert } from '../../../engine/assert.ts'
import type { KeyRecord } from './key-history.ts'

export const STORE_FORMAT_VERSION = 1
const HEAD_BYTES = 64
const RECORD_HEADER_BYTES = 32
const KIND = { put: 1, delete: 2 } as const

export interface StoreHead {
  formatVersion: number
  clusterId: bigint
  memberId: bigint
  revision: number
  compactedRevision: number
  records: number
  /** Of the checksums of all records: 2^20 records of 32 bits stay below 2^53. */
  checksumSum: number
}

export const HEAD_KEY = Buffer.from('h')
/** All keys of records lie between these. */
export const RECORD_KEYS = { from: Buffer.from('r'), below: Buffer.from('s') }

export function recordKey(revision: number): Buffer {
  const key = Buffer.alloc(9)
  key.write('r')
  key.writeBigUInt64BE(BigInt(revision), 1)
  return key
}

function sealed(bytes: Buffer, begunWith: Uint8Array): Buffer {
  bytes.writeUInt32LE(crc32(bytes.subarray(4), crc32(begunWith)), 0)
  return bytes
}

const isSealed = (bytes: Buffer, begunWith: Uint8Array): boolean =>
  bytes.readUInt32LE(0) === crc32(bytes.subarray(4), crc32(begunWith))

export function encodeHead(head: StoreHead): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES)
  bytes.writeUInt32LE(head.formatVersion, 4)
  bytes.writeBigUInt64LE(head.clusterId, 8)
  bytes.writeBigUInt64LE(head.memberId, 16)
  bytes.writeBigUInt64LE(BigInt(head.revision), 24)
  bytes.writeBigUInt64LE(BigInt(head.compactedRevision), 32)
  bytes.writeBigUInt64LE(BigInt(head.records), 40)
  bytes.writeBigUInt64LE(BigInt(head.checksumSum), 48)
  return sealed(bytes, HEAD_KEY)
}

/** Undefined when the bytes are not a head. The caller looks at the version first. */
export function decodeHead(bytes: Buffer): StoreHead | undefined {
  if (bytes.length !== HEAD_BYTES || !isSealed(bytes, HEAD_KEY)) return undefined
  return {
    formatVersion: bytes.readUInt32LE(4),
    clusterId: bytes.readBigUInt64LE(8),
    memberId: bytes.readBigUInt64LE(16),
    revision: Number(bytes.readBigUInt64LE(24)),
    compactedRevision: Number(bytes.readBigUInt64LE(32)),
    records: Number(bytes.readBigUInt64LE(40)),
    checksumSum: Number(bytes.readBigUInt64LE(48)),
  }
}

export function encodeRecord(record: KeyRecord): Buffer {
  const { revision, kind, key, createRevision, version, value } = record
  const bytes = Buffer.alloc(RECORD_HEADER_BYTES + key.length + value.length)
  bytes.writeUInt32LE(KIND[kind], 4)
  bytes.writeBigUInt64LE(BigInt(createRevision), 8)
  bytes.writeBigUInt64LE(BigInt(version), 16)
  bytes.writeUInt32LE(key.length, 24)
  bytes.writeUInt32LE(value.length, 28)
  assert(bytes.write(key, RECORD_HEADER_BYTES, 'latin1') === key.length, 'a key has a byte for each character')
  bytes.set(value, RECORD_HEADER_BYTES + key.length)
  return sealed(bytes, recordKey(revision))
}

/** Undefined when the bytes are not the record of that key. */
export function decodeRecord(key: Buffer, bytes: Buffer): KeyRecord | undefined {
  if (key.length !== 9 || bytes.length < RECORD_HEADER_BYTES || !isSealed(bytes, key)) return undefined
  const kind = bytes.readUInt32LE(4)
  const valueAt = RECORD_HEADER_BYTES + bytes.readUInt32LE(24)
  if ((kind !== KIND.put && kind !== KIND.delete) || valueAt + bytes.readUInt32LE(28) !== bytes.length) return undefined
  return {
    revision: Number(key.readBigUInt64BE(1)),
    kind: kind === KIND.put ? 'put' : 'delete',
    key: bytes.toString('latin1', RECORD_HEADER_BYTES, valueAt),
    createRevision: Number(bytes.readBigUInt64LE(8)),
    version: Number(bytes.readBigUInt64LE(16)),
    // A copy: what LevelDB handed out may be a piece of something larger.
    value: Uint8Array.from(bytes.subarray(valueAt)),
  }
}

/** What an encoded record adds to the sum in the head. */
export const checksumOf = (encoded: Buffer): number => encoded.readUInt32LE(0)
