/**
 * Records as copies exchange them, and as the log has them: the same ids, so the same checksums on every copy. The crc
 * of a blob without its identity goes along with the bytes, so that it is computed once.
 */
import { assert } from '../assert.ts'
import { blockIdentity, recordSeed } from '../log/identity.ts'
import { blankRecord, OPERATION, RECORD_KIND, type RecordHeader } from '../log/record.ts'
import type { Crc32c } from '../ports.ts'
import type { BlockVersion, ControlChange, Payload, ReplicatedRecord, RequestId } from '../replication/record.ts'
import { TRANSFORM } from '../transform/transform.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'

/** What a payload carries here: blobs one behind the other, one a block, and the crc32c of each. */
export interface Blobs {
  bytes: Uint8Array
  crcs: ArrayLike<number>
  /** Undefined: all are whole blocks as they are. */
  stored?: StoredForm | undefined
}

/** How blobs are stored (FORMAT.md 2.3). No copy looks into what it stores; frontends undo it. */
export interface StoredForm {
  transform: number
  /** Of each blob, 1 to 65. */
  units: ArrayLike<number>
}

/** Of one blob. Of 64 units it is a block as it is, whatever else of its record was compressed. */
export const storedForm = (transform: number, units: number): StoredForm | undefined =>
  units === UNITS_PER_BLOCK && (transform & ~TRANSFORM.lz4) === 0 ? undefined : { transform, units: [units] }

export const FULL_UNITS: readonly number[] = Array.from({ length: PAGE_BLOCKS }, () => UNITS_PER_BLOCK)

export const blobsOf = (payload: Payload): Blobs => payload.data as Blobs

/** Blocks of data as a payload. */
export function payloadOf(crc32c: Crc32c, bytes: Uint8Array): Payload {
  const count = bytes.length / BLOCK_BYTES
  // An array of one takes a quarter of the memory.
  if (count === 1) return { bytes: BLOCK_BYTES, data: { bytes, crcs: [crc32c(bytes) >>> 0] } satisfies Blobs }
  const crcs = new Uint32Array(count)
  for (let i = 0; i < count; i++) crcs[i] = crc32c(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))
  return { bytes: bytes.length, data: { bytes, crcs } satisfies Blobs }
}

/** Blobs as a write record has them. @param bytes  all of them, and nothing else */
export function payloadOfRecord(crc32c: Crc32c, record: RecordHeader, bytes: Uint8Array): Payload {
  const { blockCount, transform, storedUnits } = record
  if (bytes.length === blockCount * BLOCK_BYTES && transform === 0) return payloadOf(crc32c, bytes)
  const crcs = new Uint32Array(blockCount)
  for (let i = 0, at = 0; i < blockCount; i++) {
    const end = at + storedUnits[i]! * UNIT_BYTES
    crcs[i] = crc32c(bytes.subarray(at, end))
    at = end
  }
  const stored = { transform, units: storedUnits }
  return { bytes: bytes.length, data: { bytes, crcs, stored } satisfies Blobs }
}

export const OPERATION_OF: Record<ControlChange['operation'], number> = {
  epoch: OPERATION.epoch,
  resize: OPERATION.resize,
  shrink: OPERATION.resize,
  durability: OPERATION.resize,
  snapshot: OPERATION.snapshot,
  'snapshot-delete': OPERATION.snapshotDelete,
  rollback: OPERATION.rollback,
  delete: OPERATION.delete,
}

/** A header with everything that most records have not. */
export function headerOf(
  volumeId: Uint8Array,
  of: { kind: number; epoch: number; seq: number; lba: number; blockCount: number },
  request: RequestId | undefined,
): RecordHeader {
  const { kind, epoch, seq, lba, blockCount } = of
  const record = blankRecord({ kind, volumeId, lba, blockCount, epoch, seq })
  if (request === undefined) return record
  record.part = request.part
  record.parts = request.parts
  record.attachGeneration = request.generation
  record.frontendIncarnation = request.incarnation
  record.requestNumber = request.request
  return record
}

/** Give a write record its table. */
export function setTable(
  record: RecordHeader,
  tag: number,
  { crcs: rawCrcs, stored }: Pick<Blobs, 'crcs' | 'stored'>,
): void {
  assert(rawCrcs.length >= record.blockCount, 'a write comes with a crc for each block')
  const seed = recordSeed(tag, record.epoch, record.seq)
  const { lba, blockCount } = record
  if (blockCount === 1) record.crcs = [(rawCrcs[0]! ^ blockIdentity(seed, lba)) >>> 0]
  else {
    const crcs = new Uint32Array(blockCount)
    for (let i = 0; i < blockCount; i++) crcs[i] = rawCrcs[i]! ^ blockIdentity(seed, lba + i)
    record.crcs = crcs
  }
  record.transform = stored?.transform ?? 0
  record.storedUnits = stored === undefined ? FULL_UNITS : Uint8Array.from(stored.units)
}

export const requestOf = (record: RecordHeader): RequestId | undefined =>
  record.parts === 0
    ? undefined
    : {
        generation: record.attachGeneration,
        incarnation: record.frontendIncarnation,
        request: record.requestNumber,
        part: record.part,
        parts: record.parts,
      }

const KIND_NAME = { 1: 'write', 2: 'zero', 3: 'trim' } as const

export const kindName = (kind: number): BlockVersion['kind'] => KIND_NAME[kind as 1 | 2 | 3]
export const kindNumber = (kind: BlockVersion['kind']): 1 | 2 | 3 => RECORD_KIND[kind]

/** The record again as it came. */
export function replicatedOf(
  record: RecordHeader,
  payload: Payload | undefined,
  change: ControlChange | undefined,
): ReplicatedRecord {
  const { epoch, seq, lba, blockCount } = record
  const base = { epoch, seq, request: requestOf(record) }
  if (record.kind === RECORD_KIND.control) {
    assert(change !== undefined, 'a replicated control record has its change')
    return { ...base, kind: 'control', change }
  }
  if (record.kind === RECORD_KIND.write) return { ...base, kind: 'write', lba, blockCount, payload: payload! }
  return { ...base, kind: record.kind === RECORD_KIND.zero ? 'zero' : 'trim', lba, blockCount }
}
