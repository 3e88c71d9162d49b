/**
 * What a user must know before trusting a salvaged image: ranges of the volume that are wrong or may be, each with the
 * reason. Adjacent ranges of one reason are one.
 *
 *   checksum, unreadable, transform   the newest version is known and cannot be had; the image has zeroes
 *   lost                              every copy had lost the block when this one was filled; the image has zeroes
 *   missing-disk                      their slice lies on a disk that was not given; the image has zeroes
 *   missing-origin                    they show a volume that these disks do not hold; the image has zeroes
 *   unknown                           a damaged place may have held newer data; the image has the newest found
 */
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS } from '../../engine/units.ts'
import type { Catalog, FoundVolume } from './volume-catalog.ts'
import { sizeOf } from './volume-catalog.ts'
import { isSeen } from './volume-image.ts'
import type { Layer } from './volume-image.ts'

/** Of a block that is known, and is not in the image. */
export type BlockReason = 'checksum' | 'unreadable' | 'transform' | 'encrypted' | 'lost'
export type DamageReason = BlockReason | 'missing-disk' | 'missing-origin' | 'unknown'

export interface DamagedRange {
  offsetBytes: number
  lengthBytes: number
  reason: DamageReason
  detail: string
}

interface BlockRange {
  lba: number
  blocks: number
  reason: DamageReason
  detail: string
}

export class DamageMap {
  private ranges: BlockRange[] = []

  add(range: BlockRange): void {
    const last = this.ranges.at(-1)
    if (last !== undefined && isSame(last, range) && last.lba + last.blocks === range.lba) last.blocks += range.blocks
    else if (range.blocks > 0) this.ranges.push(range)
  }

  /** In order of place, merged. */
  result(): DamagedRange[] {
    const sorted = this.ranges.sort((a, b) => a.reason.localeCompare(b.reason) || a.lba - b.lba)
    this.ranges = []
    for (const range of sorted) this.add({ ...range })
    return this.ranges.sort((a, b) => a.lba - b.lba).map(({ lba, blocks, reason, detail }) => ({
      offsetBytes: lba * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES, reason, detail,
    }))
  }
}

const isSame = (a: BlockRange, b: BlockRange): boolean => a.reason === b.reason && a.detail === b.detail

/** Ranges that follow from what is missing or damaged in the logs, not from a block that was read. */
export function addUncertainRanges(
  map: DamageMap,
  catalog: Catalog,
  from: { volume: FoundVolume; layers: readonly Layer[]; missingOrigin: string | undefined },
): void {
  const { layers, missingOrigin } = from
  const endBlock = sizeOf(from.volume) / BLOCK_BYTES
  for (const [index, layer] of layers.entries()) {
    for (const place of placesOf(layer.volume, endBlock)) {
      if (!catalog.disks.some((disk) => disk.image.diskUuid === place.diskUuid)) {
        const detail = `disk ${place.diskUuid} was not given`
        addWhere(map, layers, place, { reason: 'missing-disk', detail }, (lba) => isSeen(layers, index, lba))
      }
    }
    addLost(map, catalog, { layers, index, endBlock })
  }
  if (missingOrigin === undefined) return
  const detail = `volume ${missingOrigin}, which this one is a clone of, is not on these disks`
  const whole = { first: 0, end: endBlock }
  addWhere(map, layers, whole, { reason: 'missing-origin', detail }, (lba) => isSeen(layers, layers.length, lba))
}

/** Damaged batches: whatever is surely newer than them is certain, the rest of what lies on their stream is not. */
function addLost(
  map: DamageMap,
  catalog: Catalog,
  from: { layers: readonly Layer[]; index: number; endBlock: number },
): void {
  const { layers, index, endBlock } = from
  const layer = layers[index]!
  const { descriptor, descriptorAt } = layer.volume
  for (const { disk, streamId, batch, reason, loss } of catalog.damages) {
    if (!loss) continue
    const { diskUuid } = disk.image
    const isHit = (place: SlicePlace): boolean =>
      place.diskUuid === diskUuid && (streamId === undefined || place.streamId === streamId)
    // A lost batch may have held a newer descriptor, by which slices lie here that the known one does not name.
    const isNewest = descriptor !== undefined && descriptorAt?.disk === disk && descriptorAt.streamId === streamId
      && batch !== undefined && descriptorAt.batch > batch
    const unplaced = isNewest ? [] : unplacedRanges(layer.volume, endBlock)
    for (const place of [...placesOf(layer.volume, endBlock).filter(isHit), ...unplaced]) {
      addWhere(map, layers, place, { reason: 'unknown', detail: `${disk.image.path}: ${reason}` }, (lba) => {
        if (!isSeen(layers, index, lba)) return false
        const entry = layer.entry(lba)
        if (entry === undefined || batch === undefined || entry.moved || entry.kind !== 'data') return true
        const { source } = entry
        return source.disk !== disk || source.segment.streamId !== streamId || entry.batch < batch
      })
    }
  }
}

function addWhere(
  map: DamageMap,
  layers: readonly Layer[],
  range: { first: number; end: number },
  why: { reason: DamageReason; detail: string },
  isDamaged: (lba: number) => boolean,
): void {
  for (let lba = range.first; lba < range.end; ) {
    const pageEnd = Math.min((Math.floor(lba / PAGE_BLOCKS) + 1) * PAGE_BLOCKS, range.end)
    // Where nothing is mapped all blocks of a page are alike; most of a large volume is that.
    const isEmpty = layers.length === 1 && !layers[0]!.pages.has(Math.floor(lba / PAGE_BLOCKS))
    const blocks = isEmpty ? pageEnd - lba : 1
    if (isDamaged(lba)) map.add({ lba, blocks, ...why })
    lba += blocks
  }
}

interface SlicePlace {
  diskUuid: string
  streamId: number
  first: number
  end: number
}

/** Where the descriptor says the volume's slices lie. */
function placesOf(volume: FoundVolume, endBlock: number): SlicePlace[] {
  return (volume.descriptor?.slices ?? []).flatMap(([diskUuid, streamId, runs]) => runs.map(([first, count]) => ({
    diskUuid, streamId, first: first * SLICE_BLOCKS, end: Math.min((first + count) * SLICE_BLOCKS, endBlock),
  }))).filter(({ first, end }) => first < end)
}

/** Slices no disk is named for. */
function unplacedRanges(volume: FoundVolume, endBlock: number): SlicePlace[] {
  const placed = placesOf(volume, endBlock).sort((a, b) => a.first - b.first)
  const found: SlicePlace[] = []
  let from = 0
  for (const { first, end } of [...placed, { first: endBlock, end: endBlock }]) {
    if (first > from) found.push({ diskUuid: '', streamId: -1, first: from, end: first })
    from = Math.max(from, end)
  }
  return found
}
