/** The head of a volume as runs: blocks that follow each other in the volume, in the log and in their history. */
import { BLOCK_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { isSeen } from './volume-image.ts'
import type { BlockEntry, Layer } from './volume-image.ts'

export interface ExtentRun {
  offsetBytes: number
  lengthBytes: number
  disk: string
  segment: number
  /** Of the first block, in bytes from the segment's start. */
  placeBytes: number
  epoch: number
  seq: number
  batch: number
  moved: boolean
  /** Id of the volume that owns the blocks: not the volume itself where a clone reads through. */
  volumeId: string
}

export function* extentRuns(layers: readonly Layer[]): Generator<ExtentRun> {
  const found = layers.map((layer, index) => ({ layer, index, blocks: layer.dataBlocks() }))
  const heads = found.map(({ blocks }) => blocks.next())
  let run: ExtentRun | undefined
  let last: BlockEntry | undefined
  for (;;) {
    let next = -1
    for (const [i, head] of heads.entries()) {
      if (head.done !== true && (next < 0 || head.value < (heads[next]!.value as number))) next = i
    }
    if (next < 0) break
    const lba = heads[next]!.value as number
    heads[next] = found[next]!.blocks.next()
    const { layer } = found[next]!
    if (!isSeen(layers, next, lba)) continue
    const entry = layer.entry(lba)!
    const here = { lba, entry, volumeId: layer.volume.id }
    if (run !== undefined && last !== undefined && follows(run, last, here)) {
      run.lengthBytes += BLOCK_BYTES
    } else {
      if (run !== undefined) yield run
      const { source, units, epoch, seq, batch, moved } = entry
      run = {
        offsetBytes: lba * BLOCK_BYTES, lengthBytes: BLOCK_BYTES, disk: source.disk.image.path,
        segment: source.segment.segment, placeBytes: (units / UNITS_PER_BLOCK) * BLOCK_BYTES,
        epoch, seq, batch, moved, volumeId: layer.volume.id,
      }
    }
    last = entry
  }
  if (run !== undefined) yield run
}

interface Next {
  lba: number
  entry: BlockEntry
  volumeId: string
}

function follows(run: ExtentRun, last: BlockEntry, next: Next): boolean {
  const { entry } = next
  return run.offsetBytes + run.lengthBytes === next.lba * BLOCK_BYTES && run.volumeId === next.volumeId
    && last.source === entry.source && last.units + last.storedUnits === entry.units
    && last.seq === entry.seq && last.epoch === entry.epoch && last.batch === entry.batch
}
