/**
 * Disks for the tests of the offline tools, written with the codecs alone: small segments, batches exactly where a test
 * wants them, and what a crash or a bad medium leaves.
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32c } from '../../dataplane/checksum.ts'
import { BATCH_HEADER_BYTES, finishBatchHeader } from '../../engine/log/batch.ts'
import { hexToUuid, viewOf } from '../../engine/log/bytes.ts'
import { rootOffsetBytes, segmentOffsetBytes, superblockOffsetBytes } from '../../engine/log/geometry.ts'
import { blockIdentity, recordSeed, volumeTag } from '../../engine/log/identity.ts'
import { encodeRecord, OPERATION, RECORD_FLAG, RECORD_KIND, recordBytes } from '../../engine/log/record.ts'
import type { RecordHeader } from '../../engine/log/record.ts'
import { encodeRoot } from '../../engine/log/root.ts'
import { encodeSeal, encodeSegmentHeader } from '../../engine/log/segment.ts'
import type { SummaryEntry } from '../../engine/log/segment.ts'
import { encodeSuperblock } from '../../engine/log/superblock.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { encodeDescriptor } from '../../engine/volume/descriptor.ts'
import type { Snapshot, VolumeDescriptor } from '../../engine/volume/descriptor.ts'
import { encodeLeaf, type LeafName } from '../../engine/volume/snapshot-leaves.ts'

export const SEGMENT_BYTES = 65536
export const NODE_ID = '10'.repeat(16)
const SALT = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)

/** A record and the bytes of its blobs. */
export interface Item {
  record: RecordHeader
  payload: Uint8Array
}

/** What a test reads back: every byte of the block is the stamp. */
export const blockOf = (stamp: number): Buffer => Buffer.alloc(BLOCK_BYTES, stamp)

type Change = Partial<VolumeDescriptor> & { name: string; sizeBytes?: number }

export function descriptorOf(id: string, change: Change): VolumeDescriptor {
  const { name, sizeBytes, ...rest } = change
  return {
    format: 1, revision: 1,
    spec: {
      id, name, sizeBytes: sizeBytes ?? MIB, blockSizeBytes: 4096, replicas: 0, durability: 'durable', onFull: 'hold',
      ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
    },
    epoch: 1, epochs: [[1, 1]], slices: [], snapshots: [], rollbacks: [], origin: null, deleted: false, seq: 1, ...rest,
  }
}

function recordOf(kind: number, volume: string, change: Partial<RecordHeader>): RecordHeader {
  return {
    kind, flags: 0, blockCount: 1, volumeId: hexToUuid(volume), lba: 0, part: 0, parts: 1, seq: 1, epoch: 1,
    attachGeneration: 1, previousSeq: 0, transform: 0, operation: 0, frontendIncarnation: 1, keyId: 0, requestNumber: 1,
    sliceGeneration: 1,
    payloadUnits: 0, fromSegment: 0, fromGeneration: 0, fromUnits: 0, bornBatch: 1, bodyBytes: 0, bodyCrc: 0, crcs: [],
    storedUnits: [], ...change,
  }
}

/** Blocks from `lba` on, each filled with its stamp. */
export function writeItem(
  volume: string,
  at: { lba: number; seq: number; epoch?: number; moved?: boolean; sliceGeneration?: number },
  stamps: number[],
): Item {
  const { moved, ...place } = at
  const seed = recordSeed(volumeTag(crc32c, hexToUuid(volume)), at.epoch ?? 1, at.seq)
  const blobs = stamps.map(blockOf)
  const record = recordOf(RECORD_KIND.write, volume, {
    ...place, flags: moved === true ? RECORD_FLAG.moved : 0, blockCount: stamps.length,
    crcs: blobs.map((blob, i) => (crc32c(blob) ^ blockIdentity(seed, at.lba + i)) >>> 0),
    storedUnits: stamps.map(() => 64),
  })
  return { record, payload: Buffer.concat(blobs) }
}

export function zeroItem(volume: string, at: { lba: number; blocks: number; seq: number; trim?: boolean }): Item {
  const { lba, blocks, seq, trim } = at
  const kind = trim === true ? RECORD_KIND.trim : RECORD_KIND.zero
  return { record: recordOf(kind, volume, { lba, seq, blockCount: blocks }), payload: new Uint8Array(0) }
}

export function controlItem(descriptor: VolumeDescriptor): Item {
  const { spec, revision, seq } = descriptor
  return bodyItem(spec.id, { lba: revision, seq, operation: OPERATION.change }, encodeDescriptor(descriptor))
}

/** A part of a list of snapshots, and how a descriptor names it. */
export function leafItem(
  volume: string, at: { revision: number; seq: number }, snapshots: Snapshot[],
): { item: Item; name: LeafName } {
  const { revision, seq } = at
  const item = bodyItem(volume, { lba: revision, seq, operation: OPERATION.snapshotLeaf }, encodeLeaf(snapshots))
  return { item, name: [revision, item.record.bodyCrc] }
}

function bodyItem(volume: string, change: Partial<RecordHeader>, body: Uint8Array): Item {
  const payload = new Uint8Array(Math.ceil(body.length / BLOCK_BYTES) * BLOCK_BYTES)
  payload.set(body)
  const about = { blockCount: 0, bodyBytes: body.length, bodyCrc: crc32c(body) }
  return { record: recordOf(RECORD_KIND.control, volume, { ...about, ...change }), payload }
}

export interface PlacedBatch {
  batch: number
  segment: number
  startBlock: number
  /** Of the header and of the payload, from the disk's start. */
  headerBytesAt: number
  payloadBytesAt: number
}

export class OfflineDisk {
  readonly bytes: Buffer
  readonly diskUuid: string
  readonly streamId: number
  nextBatch = 1
  incarnation = 1
  private segment = -1
  private generation = 0
  private firstBatch = 1
  private startBlock = 1
  private summary: SummaryEntry[] = []
  private readonly segmentCount: number

  constructor(options: { diskUuid: string; segmentCount?: number; nodeId?: string; streamId?: number }) {
    this.diskUuid = options.diskUuid
    this.streamId = options.streamId ?? 0
    this.segmentCount = options.segmentCount ?? 12
    this.bytes = Buffer.alloc(segmentOffsetBytes(SEGMENT_BYTES, this.segmentCount))
    const superblock = encodeSuperblock({
      featuresCompatible: 0, featuresReadOnly: 0, featuresIncompatible: 0, clusterId: '0c'.repeat(16),
      nodeId: options.nodeId ?? NODE_ID, diskUuid: this.diskUuid, generation: 1, createdMs: 1_700_000_000_000,
      segmentBytes: SEGMENT_BYTES, segmentCount: this.segmentCount, streamCount: 2, nodeName: 'n1', pool: 'default',
      tags: ['ssd'],
    }, crc32c)
    for (let copy = 0; copy < 4; copy++) this.bytes.set(superblock, superblockOffsetBytes(copy))
    this.root({})
  }

  root(change: { watermarkBatch?: number; generation?: number }): void {
    for (const slot of [0, 1]) {
      const bytes = encodeRoot({
        streamId: this.streamId, diskUuid: this.diskUuid, generation: 2 + slot, checkpoint: 1, watermarkBatch: 0,
        incarnation: this.incarnation, flags: 0, bootId: 'b0'.repeat(16), indexUuid: '1d'.repeat(16), salt: SALT,
        ...change,
      }, crc32c)
      this.bytes.set(bytes, rootOffsetBytes(this.streamId, slot))
    }
  }

  open(segment: number, generation = 1): void {
    Object.assign(this, { segment, generation, firstBatch: this.nextBatch, startBlock: 1, summary: [] })
    const { diskUuid, streamId, firstBatch, incarnation } = this
    const header = { streamId, diskUuid, segment, generation, firstBatch, incarnation, free: false }
    this.bytes.set(encodeSegmentHeader(header, crc32c), segmentOffsetBytes(SEGMENT_BYTES, segment))
  }

  append(items: Item[], options: { durableBatch?: number } = {}): PlacedBatch {
    const headerBytes = items.reduce((sum, { record }) => sum + recordBytes(record), BATCH_HEADER_BYTES)
    const headerBlocks = Math.ceil(headerBytes / BLOCK_BYTES)
    const header = new Uint8Array(headerBlocks * BLOCK_BYTES)
    const view = viewOf(header)
    let at = BATCH_HEADER_BYTES
    let payloadBytes = headerBlocks * BLOCK_BYTES
    for (const { record, payload } of items) {
      const payloadUnits = payload.length === 0 ? 0 : payloadBytes / 64
      at += encodeRecord(view, at, { ...record, payloadUnits })
      payloadBytes += payload.length
    }
    const totalBlocks = Math.ceil(payloadBytes / BLOCK_BYTES)
    const { segment, generation, startBlock, streamId, incarnation } = this
    const batch = this.nextBatch++
    const headerCrc = finishBatchHeader(header, view, {
      headerBytes, totalBlocks, recordCount: items.length, batch, durableBatch: options.durableBatch ?? batch - 1,
      segment, generation, incarnation, streamId, startBlock, salt: SALT,
    }, hexToUuid(this.diskUuid).subarray(0, 8), crc32c)
    const headerBytesAt = segmentOffsetBytes(SEGMENT_BYTES, segment) + startBlock * BLOCK_BYTES
    const payloadBytesAt = headerBytesAt + header.length
    this.bytes.set(header, headerBytesAt)
    this.bytes.set(Buffer.concat(items.map(({ payload }) => payload)), payloadBytesAt)
    this.summary.push({ startBlock, headerCrc, batch, headerBlocks })
    this.startBlock += totalBlocks
    if (this.startBlock > SEGMENT_BYTES / BLOCK_BYTES - 2) throw new Error('the test overfills a segment')
    return { batch, segment, startBlock, headerBytesAt, payloadBytesAt }
  }

  seal(): void {
    const { diskUuid, streamId, segment, generation, firstBatch, incarnation, startBlock, summary } = this
    const frame = { diskUuid, streamId, segment, generation, firstBatch, incarnation }
    const bytes = encodeSeal({ ...frame, endBlock: startBlock, flags: 0, entries: summary }, crc32c)
    this.bytes.set(bytes, segmentOffsetBytes(SEGMENT_BYTES, segment + 1) - bytes.length)
  }

  /** One flipped bit. */
  rot(offsetBytes: number): void {
    this.bytes[offsetBytes]! ^= 1
  }

  erase(offsetBytes: number, lengthBytes = BLOCK_BYTES): void {
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes)
  }

  save(folder: string, name = 'disk.img'): string {
    const file = path.join(folder, name)
    fs.writeFileSync(file, this.bytes)
    return file
  }
}
