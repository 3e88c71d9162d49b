/**
 * `holdfast salvage`: read a volume out of the disks of one node, without `level` and without a daemon. The image is
 * raw and sparse; what cannot be trusted is in the damage map. Both are durable when it says that they are there, for
 * the disks may be thrown away then. Without --volume it lists what the disks hold.
 */
import fs from 'node:fs'
import path from 'node:path'
import { formatSize } from '../../cluster/api/amounts.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { parseArguments, usageError } from '../arguments.ts'
import { EXIT_FAILED, EXIT_OK, fields, table } from '../output.ts'
import type { Output } from '../output.ts'
import { syncFolder, writeWhole } from '../whole-write.ts'
import { addUncertainRanges, DamageMap } from './damage-map.ts'
import type { BlockReason, DamagedRange } from './damage-map.ts'
import { openDisks } from './disk-image.ts'
import { createProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { chooseVolume, nameOf, readCatalog, sizeOf, stateOf } from './volume-catalog.ts'
import type { Catalog, FoundVolume } from './volume-catalog.ts'
import { isSeen, layersOf } from './volume-image.ts'
import type { LiveBlock } from './volume-image.ts'

const USAGE = [
  'holdfast salvage PATH...                                    list the volumes that these disks hold',
  'holdfast salvage PATH... --volume NAME|ID --to FILE         write the volume as a raw sparse image',
  '    --damage-map FILE   write the ranges that are wrong or may be, as JSON',
  '    --deleted           a deleted volume, as far as it is still there',
  'Name all disks of one node. Nothing is written to them. Exit code 1: the image has damage.',
]
const HELP = '`holdfast salvage --help` shows how'

export async function run(words: string[], output: Output): Promise<number> {
  const given = parseArguments(words, {
    options: {
      'volume': { value: 'NAME|ID', summary: 'which volume' },
      'to': { value: 'FILE', summary: 'the image to write' },
      'damage-map': { value: 'FILE', summary: 'the damage map to write' },
      'deleted': { summary: 'a deleted volume' },
      'help': { short: 'h', summary: 'usage' },
    },
    positionals: [{ name: 'PATH', many: true, optional: true }],
  }, HELP)
  if (given.flag('help')) {
    output.result({ help: USAGE }, () => USAGE)
    return EXIT_OK
  }
  if (given.positionals.length === 0) throw usageError('PATH is missing', HELP)
  const [name, to, mapFile] = [given.text('volume'), given.text('to'), given.text('damage-map')]
  if (name !== undefined && to === undefined) throw usageError('--to is missing', 'name the image, e.g. --to data.img')
  if (mapFile !== undefined && fs.existsSync(mapFile)) throw exists(mapFile)
  if (name === undefined && (to ?? mapFile) !== undefined) throw usageError('--volume is missing', HELP)
  const progress = createProgress()
  const disks = openDisks(given.positionals, output)
  try {
    const catalog = readCatalog(disks, progress)
    for (const { disk, reason } of catalog.damages) output.note(`damage: ${disk.image.path}: ${reason}`)
    if (name === undefined || to === undefined) return list(catalog, output)
    const volume = chooseVolume(catalog, name, given.flag('deleted'))
    return salvage(catalog, { volume, to, mapFile, output, progress })
  } finally {
    progress.end()
    for (const disk of disks) disk.close()
  }
}

function list(catalog: Catalog, output: Output): number {
  const volumes = [...catalog.volumes.values()].map((volume) => ({
    name: nameOf(volume), id: volume.id, state: stateOf(volume), sizeBytes: sizeOf(volume),
    disks: new Set(volume.segments.map(({ disk }) => disk)).size, segments: volume.segments.length,
  }))
  output.result(volumes, () => volumes.length === 0 ? ['these disks hold no volumes'] : table(
    ['NAME', 'ID', 'STATE', 'SIZE', 'DISKS', 'SEGMENTS'],
    volumes.map(({ name, id, state, sizeBytes, disks, segments }) =>
      [name, id, state, formatSize(sizeBytes), String(disks), String(segments)]),
  ))
  return EXIT_OK
}

function salvage(
  catalog: Catalog,
  options: { volume: FoundVolume; to: string; mapFile: string | undefined; output: Output; progress: Progress },
): number {
  const { volume, to, mapFile, output, progress } = options
  const sizeBytes = sizeOf(volume)
  const { layers, missingOrigin } = layersOf(catalog, volume, progress)
  const damage = new DamageMap()
  let writtenBlocks = 0
  const image = new ImageFile(to, sizeBytes)
  try {
    for (const [index, layer] of layers.entries()) {
      layer.eachLive((lba) => isSeen(layers, index, lba), (block) => {
        if (block.bytes === undefined) damage.add({ lba: block.lba, blocks: 1, ...causeOf(block) })
        else {
          image.put(block.lba * BLOCK_BYTES, block.bytes)
          writtenBlocks++
        }
      }, progress)
    }
    image.sync()
  } finally {
    image.close()
  }
  addUncertainRanges(damage, catalog, { volume, layers, missingOrigin })
  const ranges = damage.result()
  const result = {
    volume: nameOf(volume), id: volume.id, state: stateOf(volume), sizeBytes, image: to,
    dataBytes: writtenBlocks * BLOCK_BYTES, damagedBytes: totalBytes(ranges), ranges,
  }
  if (mapFile !== undefined) writeNew(mapFile, `${JSON.stringify(result, undefined, 2)}\n`)
  output.result(result, () => [
    ...fields([
      ['volume', `${result.volume} (${volume.id}), ${result.state}`],
      ['image', `${to}: ${formatSize(sizeBytes)}, ${formatSize(result.dataBytes)} of it data`],
      ['damage', ranges.length === 0 ? 'none' : `${ranges.length} range(s), ${formatSize(result.damagedBytes)}`],
    ]),
    ...describeRanges(ranges, mapFile),
  ])
  return ranges.length === 0 ? EXIT_OK : EXIT_FAILED
}

const CAUSES = {
  checksum: 'does not fit its checksum',
  unreadable: 'cannot be read',
  transform: 'has a transform that is not known here, or is no compressed block',
  lost: 'was lost on every copy when this one was filled',
  encrypted: 'is encrypted; offline there is no key: start a cluster with its disks, and unlock the volume',
}

/** Why a block that is known could not be had. */
export function causeOf(block: LiveBlock): { reason: BlockReason; detail: string } {
  const { source } = block
  const reason = block.reason!
  const place = `segment ${source.segment.segment} of ${source.disk.image.path}`
  return { reason, detail: `block in ${place} ${CAUSES[reason]}` }
}

const RANGES_SHOWN = 20

export function describeRanges(ranges: readonly DamagedRange[], mapFile?: string): string[] {
  const shown = ranges.slice(0, RANGES_SHOWN).map(({ offsetBytes, lengthBytes, reason, detail }) =>
    `  ${offsetBytes}+${lengthBytes}  ${reason}: ${detail}`)
  const more = ranges.length - shown.length
  const where = mapFile === undefined ? '`-o json` or --damage-map lists them' : `${mapFile} lists them`
  return more > 0 ? [...shown, `  and ${more} more; ${where}`] : shown
}

/** Bytes in any of the ranges, which may overlap. */
function totalBytes(ranges: readonly DamagedRange[]): number {
  let total = 0
  let end = 0
  for (const { offsetBytes, lengthBytes } of ranges) {
    const from = Math.max(end, offsetBytes)
    total += Math.max(0, offsetBytes + lengthBytes - from)
    end = Math.max(end, offsetBytes + lengthBytes)
  }
  return total
}

/** A new sparse file; runs of blocks are written together. */
class ImageFile {
  private readonly file: string
  private readonly fd: number
  private readonly run = Buffer.allocUnsafe(MIB)
  private runBytes = 0
  private runAt = 0

  constructor(file: string, sizeBytes: number) {
    this.file = file
    this.fd = openNew(file)
    write(file, () => fs.ftruncateSync(this.fd, sizeBytes))
  }

  put(offsetBytes: number, bytes: Uint8Array): void {
    if (offsetBytes !== this.runAt + this.runBytes || this.runBytes + bytes.length > this.run.length) this.flush()
    if (this.runBytes === 0) this.runAt = offsetBytes
    this.run.set(bytes, this.runBytes)
    this.runBytes += bytes.length
  }

  private flush(): void {
    write(this.file, () => writeWhole(this.fd, this.run, 0, this.runBytes, this.runAt))
    this.runBytes = 0
  }

  /** What was put, and the file's name. */
  sync(): void {
    this.flush()
    makeDurable(this.file, this.fd)
  }

  close(): void {
    fs.closeSync(this.fd)
  }
}

const exists = (file: string): HoldfastError => usageError(`${file} exists already`, 'name a new file')

const failed = (file: string, error: unknown): HoldfastError =>
  new HoldfastError('image-write', { path: file, reason: String((error as NodeJS.ErrnoException).code) })

/** @throws HoldfastError `image-write` */
function write(file: string, run: () => void): void {
  try {
    run()
  } catch (error) {
    throw failed(file, error)
  }
}

function makeDurable(file: string, fd: number): void {
  write(file, () => {
    fs.fsyncSync(fd)
    syncFolder(path.dirname(path.resolve(file)))
  })
}

/** What is there is never overwritten: it may be the only copy of something. */
function openNew(file: string): number {
  try {
    return fs.openSync(file, 'wx', 0o600)
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? exists(file) : failed(file, error)
  }
}

function writeNew(file: string, text: string): void {
  const fd = openNew(file)
  try {
    write(file, () => fs.writeFileSync(fd, text))
    makeDurable(file, fd)
  } finally {
    fs.closeSync(fd)
  }
}
