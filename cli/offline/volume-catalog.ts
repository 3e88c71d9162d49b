/**
 * Which volumes the disks of a node hold, and in which segments their records lie. Of each volume the descriptor with
 * the greatest revision counts, wherever it lies (FORMAT.md section 4); a volume whose descriptor is lost is known by
 * its records alone and can still be salvaged by its id.
 */
import { assert } from '../../engine/assert.ts'
import { uuidToHex } from '../../engine/log/bytes.ts'
import { readBatch, readBody } from '../../engine/log/disk-reader.ts'
import type { ReadBatch } from '../../engine/log/disk-reader.ts'
import { hasDescriptor, RECORD_KIND } from '../../engine/log/record.ts'
import type { RecordHeader } from '../../engine/log/record.ts'
import { scanLog } from '../../engine/log/scan.ts'
import type { Damage, LogScan, ScannedSegment } from '../../engine/log/scan.ts'
import { BLOCK_BYTES, MIB, PAGE_BLOCKS } from '../../engine/units.ts'
import { decodeDescriptor } from '../../engine/volume/descriptor.ts'
import type { VolumeDescriptor } from '../../engine/volume/descriptor.ts'
import { decodeLeaf } from '../../engine/volume/snapshot-leaves.ts'
import { usageError } from '../arguments.ts'
import type { DiskImage } from './disk-image.ts'
import type { Progress } from './progress.ts'

export interface SourceDisk {
  image: DiskImage
  scan: LogScan
}

export interface SourceSegment {
  disk: SourceDisk
  segment: ScannedSegment
}

export interface FoundVolume {
  id: string
  /** Undefined: every descriptor is lost. */
  descriptor: VolumeDescriptor | undefined
  /** Where the descriptor was first read, to tell whether a later one may be lost. */
  descriptorAt: { disk: SourceDisk; streamId: number; batch: number } | undefined
  /** Records of snapshot leaves (FORMAT.md section 7), by their revision; each was found whole. */
  leaves: Map<number, FoundControl>
  /** Of the records, for a volume without a descriptor. */
  endBlock: number
  /** Every segment that holds records of it. */
  segments: SourceSegment[]
}

interface FoundControl {
  source: SourceSegment
  batch: ReadBatch
  record: RecordHeader
}

export interface Catalog {
  disks: SourceDisk[]
  volumes: Map<string, FoundVolume>
  damages: Array<Damage & { disk: SourceDisk }>
  batches: number
  records: number
}

export function readCatalog(images: readonly DiskImage[], progress: Progress): Catalog {
  const catalog: Catalog = { disks: [], volumes: new Map(), damages: [], batches: 0, records: 0 }
  for (const image of images) {
    progress.say(`${image.path}: looking for segments and batches`)
    const scan = scanLog(image)
    const disk = { image, scan }
    catalog.disks.push(disk)
    for (const damage of scan.damages) catalog.damages.push({ ...damage, disk })
    for (const segment of scan.segments) {
      progress.say(`${image.path}: segment ${segment.segment} of ${image.segmentCount}`)
      addSegment(catalog, { disk, segment })
    }
  }
  for (const volume of catalog.volumes.values()) completeList(catalog, volume)
  progress.end()
  return catalog
}

/** Every batch that counts, in the order of the segment. */
export function* batchesOf({ disk, segment }: SourceSegment): Generator<ReadBatch> {
  const { segment: number, generation } = segment
  for (const startBlock of segment.startBlocks) {
    const batch = readBatch(disk.image, { segment: number, generation, startBlock })
    // It was read before; a medium that fails the second time is the only way to get here.
    if (batch !== undefined) yield batch
  }
}

function addSegment(catalog: Catalog, source: SourceSegment): void {
  for (const batch of batchesOf(source)) {
    catalog.batches++
    for (const record of batch.records) {
      catalog.records++
      const id = uuidToHex(record.volumeId)
      let volume = catalog.volumes.get(id)
      if (volume === undefined) {
        volume = { id, descriptor: undefined, descriptorAt: undefined, leaves: new Map(), endBlock: 0, segments: [] }
        catalog.volumes.set(id, volume)
      }
      if (volume.segments.at(-1) !== source) volume.segments.push(source)
      if (record.kind === RECORD_KIND.control) addDescriptor(catalog, volume, { source, batch, record })
      else volume.endBlock = Math.max(volume.endBlock, record.lba + record.blockCount)
    }
  }
}

const bodyOf = ({ source: { disk, segment }, batch, record }: FoundControl): Uint8Array | undefined =>
  readBody(disk.image, segment.segment, batch, record)

function addDescriptor(catalog: Catalog, volume: FoundVolume, found: FoundControl): void {
  const { disk, segment } = found.source
  const body = bodyOf(found)
  const damaged = (what: string): void => {
    catalog.damages.push({
      disk, streamId: segment.streamId, segment: segment.segment, batch: found.batch.header.batch,
      block: found.batch.startBlock, loss: false,
      reason: `${what} of volume ${nameOf(volume)} (revision ${found.record.lba}) is damaged`,
    })
  }
  if (!hasDescriptor(found.record)) {
    if (body === undefined || decodeLeaf(body) === undefined) damaged('a part of the list of snapshots')
    else volume.leaves.set(found.record.lba, found)
    return
  }
  const descriptor = body === undefined ? undefined : decodeDescriptor(body)
  if (descriptor === undefined || descriptor.spec.id !== volume.id) {
    damaged('a descriptor')
    return
  }
  if (volume.descriptor !== undefined && descriptor.revision <= volume.descriptor.revision) return
  volume.descriptor = descriptor
  volume.descriptorAt = { disk, streamId: segment.streamId, batch: found.batch.header.batch }
}

/** The descriptor that counts gets its whole list of snapshots; what is lost of it is said. */
function completeList({ damages }: Catalog, volume: FoundVolume): void {
  const { descriptor: stored, descriptorAt: at } = volume
  if (stored?.leaves === undefined || at === undefined) return
  const { leaves: names, ...descriptor } = stored
  const lists = names.map(([revision, crc]) => {
    const found = volume.leaves.get(revision)
    const body = found?.record.bodyCrc === crc ? bodyOf(found) : undefined
    return body === undefined ? undefined : decodeLeaf(body)
  })
  volume.descriptor = { ...descriptor, snapshots: [...lists.flatMap((list) => list ?? []), ...stored.snapshots] }
  const lost = lists.filter((list) => list === undefined).length
  if (lost === 0) return
  const reason = `${lost} of ${lists.length} parts of the list of snapshots of volume ${nameOf(volume)} are lost`
  const { disk, streamId, batch } = at
  damages.push({ disk, streamId, segment: undefined, batch, block: undefined, loss: false, reason })
}

export const nameOf = (volume: FoundVolume): string => volume.descriptor?.spec.name ?? volume.id

/** As the descriptor says; else as far as its records reach, in whole MiB. */
export function sizeOf(volume: FoundVolume): number {
  if (volume.descriptor !== undefined) return volume.descriptor.spec.sizeBytes
  assert(MIB === PAGE_BLOCKS * BLOCK_BYTES, 'a page is one MiB')
  return Math.ceil(volume.endBlock / PAGE_BLOCKS) * MIB
}

export function stateOf(volume: FoundVolume): 'live' | 'deleted' | 'no descriptor' {
  if (volume.descriptor === undefined) return 'no descriptor'
  return volume.descriptor.deleted ? 'deleted' : 'live'
}

/** The volume of this name or id. A deleted one only when that is asked for. */
export function chooseVolume(catalog: Catalog, nameOrId: string, deleted: boolean): FoundVolume {
  const byId = catalog.volumes.get(nameOrId)
  const named = [...catalog.volumes.values()].filter((volume) => volume.descriptor?.spec.name === nameOrId)
  const live = named.filter((volume) => stateOf(volume) === 'live')
  const candidates = byId !== undefined ? [byId] : live.length > 0 && !deleted ? live : named
  const isWanted = (volume: FoundVolume): boolean => !deleted || byId !== undefined || stateOf(volume) === 'deleted'
  const wanted = candidates.filter(isWanted)
  if (wanted.length > 1) {
    const ids = wanted.map(({ id }) => id).join(', ')
    throw usageError(`${wanted.length} volumes were called ${nameOrId}: ${ids}`, 'name one by its id')
  }
  const [volume] = wanted
  if (volume === undefined) {
    const problem = `these disks hold no ${deleted ? 'deleted ' : ''}volume ${nameOrId}`
    throw usageError(problem, '`holdfast salvage PATH...` lists what they hold')
  }
  if (stateOf(volume) === 'deleted' && !deleted) {
    throw usageError(`volume ${nameOrId} is deleted`, 'add --deleted to read out what is left of it')
  }
  return volume
}
