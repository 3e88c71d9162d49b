/**
 * `holdfast verify`: every structure of the disks of a node, and every live block of every volume and snapshot, checked
 * against its checksum. Reads only. Exit code 0: clean, 1: damage.
 */
import { BLOCK_BYTES } from '../../engine/units.ts'
import { ROOT_SLOTS, rootOffsetBytes } from '../../engine/log/geometry.ts'
import { isZero } from '../../engine/log/bytes.ts'
import { decodeRoot } from '../../engine/log/root.ts'
import { parseArguments, usageError } from '../arguments.ts'
import { EXIT_FAILED, EXIT_OK, table } from '../output.ts'
import type { Output } from '../output.ts'
import { addUncertainRanges, DamageMap } from './damage-map.ts'
import type { DamagedRange } from './damage-map.ts'
import { openDisks } from './disk-image.ts'
import type { DiskImage } from './disk-image.ts'
import { createProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { causeOf, describeRanges } from './salvage.ts'
import { nameOf, readCatalog, stateOf } from './volume-catalog.ts'
import type { Catalog, FoundVolume, SourceDisk } from './volume-catalog.ts'
import { layersOf } from './volume-image.ts'
import type { Layer } from './volume-image.ts'

const USAGE = [
  'holdfast verify PATH...     check every structure and every live block of these disks',
  'Name all disks of one node, so that volumes spread over them are complete. Nothing is written.',
  'Exit code 0: clean, 1: damage.',
]
const HELP = '`holdfast verify --help` shows how'

interface VolumeReport {
  name: string
  id: string
  state: string
  view: string
  liveBlocks: number
  damagedBlocks: number
  ranges: DamagedRange[]
}

interface DiskReport {
  path: string
  diskUuid: string
  segments: number
  sealedSegments: number
  openSegments: number
  freeSegments: number
  batches: number
  cutBatches: number
  damages: string[]
  notes: string[]
}

export async function run(words: string[], output: Output): Promise<number> {
  const given = parseArguments(words, {
    options: { help: { short: 'h', summary: 'usage' } },
    positionals: [{ name: 'PATH', many: true, optional: true }],
  }, HELP)
  if (given.flag('help')) {
    output.result({ help: USAGE }, () => USAGE)
    return EXIT_OK
  }
  if (given.positionals.length === 0) throw usageError('PATH is missing', HELP)
  const progress = createProgress()
  const images = openDisks(given.positionals, output)
  try {
    const catalog = readCatalog(images, progress)
    const disks = catalog.disks.map((disk) => reportDisk(catalog, disk))
    const volumes = [...catalog.volumes.values()].flatMap((volume) => checkVolume(catalog, volume, progress))
    progress.end()
    const damaged = disks.some(({ damages }) => damages.length > 0) || volumes.some(({ ranges }) => ranges.length > 0)
    const { batches, records } = catalog
    output.result({ clean: !damaged, disks, volumes, batches, records }, () => [
      ...disks.flatMap(describeDisk),
      ...(volumes.length === 0 ? ['no volumes'] : table(
        ['VOLUME', 'ID', 'STATE', 'VIEW', 'LIVE BLOCKS', 'DAMAGED'],
        volumes.map((v) => [v.name, v.id, v.state, v.view, String(v.liveBlocks), String(v.damagedBlocks)]),
      )),
      ...volumes.filter(({ ranges }) => ranges.length > 0).flatMap(({ name, view, ranges }) => [
        `damage of ${name}, ${view} (offset+length in bytes):`, ...describeRanges(ranges),
      ]),
      damaged ? 'damage was found; `holdfast salvage` reads out what is left'
        : `clean: ${batches} batches, ${records} records`,
    ])
    return damaged ? EXIT_FAILED : EXIT_OK
  } finally {
    progress.end()
    for (const image of images) image.close()
  }
}

function reportDisk(catalog: Catalog, disk: SourceDisk): DiskReport {
  const { image, scan } = disk
  const sealed = scan.segments.filter((segment) => segment.sealed).length
  return {
    path: image.path, diskUuid: image.diskUuid, segments: image.segmentCount, sealedSegments: sealed,
    openSegments: scan.segments.length - sealed, freeSegments: scan.freeSegments,
    batches: scan.segments.reduce((sum, { batches }) => sum + batches.length, 0), cutBatches: scan.cutBatches,
    damages: [
      ...superblockDamages(image),
      ...catalog.damages.filter((damage) => damage.disk === disk).map(({ reason }) => reason),
    ],
    notes: rootNotes(image),
  }
}

function superblockDamages(image: DiskImage): string[] {
  if (image.superblock === undefined) return ['all superblock copies are damaged; segments were found without them']
  return image.copies.flatMap((copy, i) => copy.ok ? [] : [`superblock copy ${i} is ${copy.reason}`])
}

/** A torn write of a crash leaves one slot that does not fit: that is what the other slot is for. */
function rootNotes(image: DiskImage): string[] {
  const notes: string[] = []
  for (let stream = 0; stream < image.streamCount; stream++) {
    for (let slot = 0; slot < ROOT_SLOTS; slot++) {
      const bytes = image.read(rootOffsetBytes(stream, slot), BLOCK_BYTES)
      const isGood = bytes !== undefined && (isZero(bytes) || decodeRoot(bytes, image.crc32c) !== undefined)
      if (isGood) continue
      notes.push(`root slot ${slot} of stream ${stream} does not fit its checksum (a torn write, or damage)`)
    }
  }
  return notes
}

function describeDisk(disk: DiskReport): string[] {
  const { sealedSegments, openSegments, freeSegments, batches, cutBatches } = disk
  const cut = cutBatches === 0 ? '' : `, ${cutBatches} cut behind a torn tail`
  return [
    `${disk.path} (disk ${disk.diskUuid}): ${disk.segments} segments, ${sealedSegments} sealed, ${openSegments} open, `
      + `${freeSegments} free; ${batches} batches${cut}`,
    ...disk.damages.map((damage) => `  damage: ${damage}`),
    ...disk.notes.map((note) => `  note: ${note}`),
  ]
}

/** The head, if there is one, and every snapshot. Blocks that a snapshot shares with the head are read once. */
function checkVolume(catalog: Catalog, volume: FoundVolume, progress: Progress): VolumeReport[] {
  const views: Array<{ view: string; seq: number }> = []
  if (stateOf(volume) !== 'deleted') views.push({ view: 'head', seq: Number.POSITIVE_INFINITY })
  for (const { id, seq } of volume.descriptor?.snapshots ?? []) views.push({ view: `snapshot ${id}`, seq })
  let head: Layer | undefined
  return views.map(({ view, seq }) => {
    const { layers, missingOrigin } = layersOf(catalog, volume, progress, seq)
    const [own] = layers
    const damage = new DamageMap()
    let liveBlocks = 0
    let damagedBlocks = 0
    const isShared = (lba: number): boolean => {
      const [a, b] = [head?.entry(lba), own!.entry(lba)]
      return a !== undefined && b !== undefined && a.source === b.source && a.units === b.units && a.kind === b.kind
    }
    // What an origin shows is checked as its snapshot; here it only has to be found.
    own!.eachLive((lba) => !isShared(lba), (block) => {
      liveBlocks++
      // Its checksum fits; what is in it is for who has the key.
      if (block.bytes !== undefined || block.reason === 'encrypted') return
      damagedBlocks++
      damage.add({ lba: block.lba, blocks: 1, ...causeOf(block) })
    }, progress)
    addUncertainRanges(damage, catalog, { volume, layers, missingOrigin })
    if (view === 'head') head = own
    // A disk that was not named is no damage of those that were.
    const ranges = damage.result().filter(({ reason }) => !reason.startsWith('missing-'))
    return { name: nameOf(volume), id: volume.id, state: stateOf(volume), view, liveBlocks, damagedBlocks, ranges }
  })
}
