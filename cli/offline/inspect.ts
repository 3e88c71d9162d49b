/**
 * `holdfast inspect superblock|segment|extent-map`: what stands on a disk, field by field, for people and scripts.
 * Reads only, needs neither a daemon nor `level`. The salt of a stream is not shown: it keeps a guest's data from
 * passing for a batch.
 */
import { formatSize } from '../../cluster/api/amounts.ts'
import { uuidToHex } from '../../engine/log/bytes.ts'
import { readBatch, readBody, readFrame, readRoot } from '../../engine/log/disk-reader.ts'
import type { ReadBatch } from '../../engine/log/disk-reader.ts'
import { hasDescriptor, OPERATION, RECORD_FLAG, RECORD_KIND } from '../../engine/log/record.ts'
import type { RecordHeader } from '../../engine/log/record.ts'
import { ROOT_FLAG } from '../../engine/log/root.ts'
import { scanLog } from '../../engine/log/scan.ts'
import { TRAILER_FLAG } from '../../engine/log/segment.ts'
import type { SegmentHeader, Trailer } from '../../engine/log/segment.ts'
import { decodeDescriptor } from '../../engine/volume/descriptor.ts'
import { decodeLeaf } from '../../engine/volume/snapshot-leaves.ts'
import { parseArguments, usageError } from '../arguments.ts'
import type { Arguments } from '../arguments.ts'
import { EXIT_OK, fields, table } from '../output.ts'
import type { Output } from '../output.ts'
import { openDisk, openDisks } from './disk-image.ts'
import type { DiskImage } from './disk-image.ts'
import { extentRuns } from './extent-list.ts'
import type { ExtentRun } from './extent-list.ts'
import { createProgress } from './progress.ts'
import { chooseVolume, nameOf, readCatalog, sizeOf } from './volume-catalog.ts'
import { layersOf } from './volume-image.ts'

const USAGE = [
  'holdfast inspect superblock PATH                       the superblock copies and the roots of the streams',
  'holdfast inspect segment PATH NUMBER [--records]       header, batches and trailer of a segment',
  'holdfast inspect extent-map PATH... --volume NAME|ID   where the blocks of a volume lie, put together from the log',
  '    --deleted     a deleted volume        --from OFFSET --limit COUNT    a part of the list (default: 1000 runs)',
  'Nothing is written. `-o json` for scripts.',
]
const HELP = '`holdfast inspect --help` shows how'
const LIMIT_DEFAULT = 1000

type Inspect = (given: Arguments, output: Output) => number
const INSPECT: Record<string, Inspect> = {
  'superblock': inspectSuperblock, 'segment': inspectSegment, 'extent-map': inspectExtentMap,
}

export async function run(words: string[], output: Output): Promise<number> {
  const given = parseArguments(words, {
    options: {
      records: { summary: 'every record' },
      volume: { value: 'NAME|ID', summary: 'which volume' },
      deleted: { summary: 'a deleted volume' },
      from: { value: 'OFFSET', summary: 'first offset in bytes' },
      limit: { value: 'COUNT', summary: 'runs at most' },
      help: { short: 'h', summary: 'usage' },
    },
    positionals: [{ name: 'WHAT', optional: true, many: true }],
  }, HELP)
  const [what] = given.positionals
  if (given.flag('help')) {
    output.result({ help: USAGE }, () => USAGE)
    return EXIT_OK
  }
  if (what === undefined) throw usageError('inspect what? superblock, segment or extent-map', HELP)
  const inspect = Object.hasOwn(INSPECT, what) ? INSPECT[what]! : undefined
  if (inspect === undefined) throw usageError(`${what} cannot be inspected`, 'use superblock, segment or extent-map')
  return inspect({ ...given, positionals: given.positionals.slice(1) }, output)
}

/** The words behind the path are `wanted` many, no more. */
function onePath(given: Arguments, wanted: number): DiskPath {
  const [path, ...rest] = given.positionals
  if (path === undefined) throw usageError('PATH is missing', HELP)
  if (rest.length > wanted) throw usageError(`${rest[wanted]} is one word too many`, HELP)
  return { path, rest }
}

interface DiskPath {
  path: string
  rest: string[]
}

function withDisk(path: string, output: Output, use: (disk: DiskImage) => number): number {
  const disk = openDisk(path, output)
  try {
    return use(disk)
  } finally {
    disk.close()
  }
}

function inspectSuperblock(given: Arguments, output: Output): number {
  return withDisk(onePath(given, 0).path, output, (disk) => {
    const { superblock } = disk
    const copies = disk.copies.map((copy, i) => copy.ok
      ? { copy: i, state: 'valid', generation: copy.value.generation }
      : { copy: i, state: copy.reason })
    const streams = Array.from({ length: disk.streamCount }, (_, streamId) => {
      const root = readRoot(disk, streamId)
      if (root === undefined) return { streamId, state: 'no root' }
      const { generation, checkpoint, watermarkBatch, incarnation, bootId, indexUuid } = root
      const shown = { generation, checkpoint, watermarkBatch, incarnation, bootId, indexUuid }
      return { streamId, ...shown, state: 'valid', clean: (root.flags & ROOT_FLAG.clean) !== 0 }
    }).filter((stream) => superblock !== undefined || stream.state === 'valid')
    const { path, sizeBytes } = disk
    output.result({ path, sizeBytes, superblock: superblock ?? null, copies, streams }, () => [
      ...fields([
        ['disk', `${path}, ${formatSize(sizeBytes)}`],
        ['copies', copies.map(({ copy, state }) => `${copy} ${state}`).join(', ')],
        ['segments', `${disk.segmentCount} of ${formatSize(disk.segmentBytes)}`],
        ['disk uuid', disk.diskUuid],
        ...(superblock === undefined ? [['superblock', 'lost; found from the segments']] as Array<[string, string]> : [
          ['node', `${superblock.nodeName} (${superblock.nodeId})`],
          ['cluster', superblock.clusterId],
          ['pool', superblock.pool],
          ['tags', superblock.tags.join(', ') || '-'],
          ['generation', String(superblock.generation)],
          ['created', new Date(superblock.createdMs).toISOString()],
        ] as Array<[string, string]>),
      ]),
      '',
      ...table(['STREAM', 'GENERATION', 'CHECKPOINT', 'WATERMARK', 'INCARNATION', 'STATE'], streams.map((stream) =>
        'generation' in stream
          ? [stream.streamId, stream.generation, stream.checkpoint, stream.watermarkBatch, stream.incarnation,
              stream.clean ? 'clean' : 'in use'].map(String)
          : [String(stream.streamId), '-', '-', '-', '-', stream.state])),
    ])
    return EXIT_OK
  })
}

function inspectSegment(given: Arguments, output: Output): number {
  const { path, rest } = onePath(given, 1)
  const [text] = rest
  return withDisk(path, output, (disk) => {
    const most = disk.segmentCount - 1
    const segment = Number(text)
    if (text === undefined || !/^\d+$/.test(text) || segment > most) {
      throw usageError(`segment ${text ?? ''} is not there`, `give a number from 0 to ${most}`)
    }
    const { header, trailer, trailerDamaged } = readFrame(disk, segment)
    const scanned = scanLog(disk)
    const found = scanned.segments.find((candidate) => candidate.segment === segment)
    const batches = (found?.startBlocks ?? []).flatMap((startBlock) => {
      const batch = readBatch(disk, { segment, generation: found!.generation, startBlock })
      return batch === undefined ? [] : [describeBatch(disk, segment, batch, given.flag('records'))]
    })
    const damages = scanned.damages.filter((damage) => damage.segment === segment).map(({ reason }) => reason)
    const state = found === undefined ? 'free' : found.sealed ? 'sealed' : 'open'
    const value = { path, segment, state, header: header ?? null, trailer: trailer ?? null, batches, damages }
    output.result(value, () => [
      ...fields([
        ['segment', `${segment} of ${path}, ${state}`],
        ['header', header === undefined ? 'none that fits its checksum' : describeHeader(header)],
        ['trailer', trailer === undefined ? (trailerDamaged ? 'damaged' : 'none') : describeTrailer(trailer)],
      ]),
      ...damages.map((damage) => `damage: ${damage}`),
      ...(batches.length === 0 ? [] : ['', ...table(
        ['BATCH', 'BLOCK', 'BLOCKS', 'RECORDS', 'DURABLE'],
        batches.map((b) => [b.batch, b.startBlock, b.totalBlocks, b.recordCount, b.durableBatch].map(String)),
      )]),
      ...(given.flag('records') ? ['', ...table(
        ['BATCH', 'KIND', 'VOLUME', 'LBA', 'BLOCKS', 'EPOCH', 'SEQ', 'NOTES'],
        batches.flatMap(({ batch, records }) => records.map((record) => [
          String(batch), record.kind, record.volumeId,
          ...[record.lba, record.blockCount, record.epoch, record.seq].map(String), record.notes,
        ])),
      )] : []),
    ])
    return EXIT_OK
  })
}

function describeHeader(header: SegmentHeader): string {
  const { streamId, generation, firstBatch, incarnation } = header
  if (header.free) return `free, generation ${generation}`
  return `stream ${streamId}, generation ${generation}, first batch ${firstBatch}, incarnation ${incarnation}`
}

function describeTrailer({ batchCount, lastBatch, endBlock, flags }: Trailer): string {
  const how = (flags & TRAILER_FLAG.sealedByRecovery) === 0 ? '' : ', sealed by recovery'
  return `${batchCount} batches up to ${lastBatch}, end block ${endBlock}${how}`
}

function describeBatch(disk: DiskImage, segment: number, batch: ReadBatch, withRecords: boolean) {
  const { salt: _, ...header } = batch.header
  return {
    ...header,
    records: withRecords ? batch.records.map((record) => describeRecord(disk, segment, batch, record)) : [],
  }
}

const nameIn = (names: Record<string, number>, value: number): string =>
  Object.entries(names).find(([, number]) => number === value)?.[0] ?? String(value)

function describeRecord(disk: DiskImage, segment: number, batch: ReadBatch, record: RecordHeader) {
  const { seq, epoch, lba, blockCount, part, parts, previousSeq, sliceGeneration, bornBatch, payloadUnits } = record
  const moved = (record.flags & RECORD_FLAG.moved) !== 0
  const operation = record.kind === RECORD_KIND.control ? nameIn(OPERATION, record.operation) : ''
  const body = record.kind === RECORD_KIND.control ? readBody(disk, segment, batch, record) : undefined
  const notes = [
    operation,
    moved ? record.kind === RECORD_KIND.write ? `moved from segment ${record.fromSegment}` : 'moved' : '',
    parts > 1 ? `part ${part} of ${parts}` : '',
    record.kind === RECORD_KIND.control && body === undefined ? 'body damaged' : '',
  ].filter((note) => note !== '').join(', ')
  return {
    kind: nameIn(RECORD_KIND, record.kind), volumeId: uuidToHex(record.volumeId), lba, blockCount, epoch, seq,
    previousSeq, part, parts, sliceGeneration, bornBatch, payloadUnits, moved, operation, notes,
    descriptor: body === undefined || !hasDescriptor(record) ? null : decodeDescriptor(body) ?? null,
    snapshotLeaf: body === undefined || hasDescriptor(record) ? null : decodeLeaf(body) ?? null,
  }
}

function wholeNumber(given: Arguments, option: string, fallback: number): number {
  const text = given.text(option)
  if (text === undefined) return fallback
  if (!/^\d{1,15}$/.test(text)) throw usageError(`--${option} ${text} is not a whole number`, HELP)
  return Number(text)
}

function inspectExtentMap(given: Arguments, output: Output): number {
  const name = given.text('volume')
  if (given.positionals.length === 0) throw usageError('PATH is missing', HELP)
  if (name === undefined) throw usageError('--volume is missing', '`holdfast salvage PATH...` lists the volumes')
  const fromBytes = wholeNumber(given, 'from', 0)
  const limit = wholeNumber(given, 'limit', output.json ? Number.MAX_SAFE_INTEGER : LIMIT_DEFAULT)
  const progress = createProgress()
  const disks = openDisks(given.positionals, output)
  try {
    const catalog = readCatalog(disks, progress)
    const volume = chooseVolume(catalog, name, given.flag('deleted'))
    const { layers } = layersOf(catalog, volume, progress)
    progress.end()
    const extents: ExtentRun[] = []
    let dataBytes = 0
    let next: number | undefined
    for (const run of extentRuns(layers)) {
      dataBytes += run.lengthBytes
      if (run.offsetBytes + run.lengthBytes <= fromBytes) continue
      if (extents.length < limit) extents.push(run)
      else next ??= run.offsetBytes
    }
    const shown = { volume: nameOf(volume), id: volume.id, sizeBytes: sizeOf(volume), dataBytes }
    const value = { ...shown, extents, nextOffsetBytes: next ?? null }
    output.result(value, () => [
      `${shown.volume} (${volume.id}): ${formatSize(shown.sizeBytes)}, ${formatSize(dataBytes)} of it data,`
        + ' the rest reads as zeroes',
      ...(extents.length === 0 ? [] : table(
        ['OFFSET', 'LENGTH', 'DISK', 'SEGMENT', 'PLACE', 'EPOCH', 'SEQ', 'NOTES'],
        extents.map((run) => [
          ...[run.offsetBytes, run.lengthBytes, run.disk, run.segment, run.placeBytes, run.epoch, run.seq].map(String),
          [run.moved ? 'moved' : '', run.volumeId === volume.id ? '' : `of ${run.volumeId}`].filter(Boolean).join(', '),
        ]),
      )),
      ...(next === undefined ? [] : [`more follows: add --from ${next}`]),
    ])
    return EXIT_OK
  } finally {
    progress.end()
    for (const disk of disks) disk.close()
  }
}
