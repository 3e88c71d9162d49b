/**
 * Where the slices of a copy lie, for what is accepted from now on: a resize gives new slices a place when it is
 * accepted, a filling gives wiped ones a new generation, and those of a missing disk a place on another.
 */
import type { StoreStream } from '../log/store-stream.ts'
import { SLICE_BLOCKS, SLICE_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { placementOf, placeSlices, slicesOf, type SliceRuns } from './placement.ts'

export class CopyLayout {
  slices: SliceRuns
  private readonly targets: readonly Target[]
  /** By slice: the index into `targets`. */
  private placement: Uint16Array
  /** By slice: what every record of it is given, for each write looks it up. */
  private generations: number[]

  constructor(targets: readonly Target[], slices: SliceRuns) {
    this.targets = targets
    this.slices = slices
    this.placement = this.placementFor(slices)
    this.generations = generationsOf(slices, this.placement.length)
  }

  set(slices: SliceRuns): void {
    this.slices = slices
    this.placement = this.placementFor(slices)
    this.generations = generationsOf(slices, this.placement.length)
  }

  /** Where a block lies; undefined: on a disk that is not there. */
  target(lba: number): Target | undefined {
    return this.targets[this.placement[Math.floor(lba / SLICE_BLOCKS)] ?? -1]
  }

  generation(lba: number): number {
    return this.generations[Math.floor(lba / SLICE_BLOCKS)] ?? 0
  }

  slicesOn(diskUuid: string): number {
    return slicesOf(this.slices.filter(([disk]) => disk === diskUuid))
  }

  /**
   * Slices to be wiped get this generation; those of a missing disk lie on no disk for the moment, and so do those of a
   * resize that was accepted and is beyond this size: it comes again, and gives them a place.
   */
  renewed(wipe: ReadonlySet<number>, newGeneration: number, sizeBytes: number): SliceRuns {
    const sliceCount = Math.ceil(sizeBytes / SLICE_BYTES)
    const present = new Set(this.targets.map(({ stream }) => stream.context.diskUuid))
    const next: SliceRuns = []
    for (const [disk, stream, runs] of this.slices) {
      const kept: SliceRuns[number][2] = []
      for (const [first, count, generation] of runs)
        for (let slice = first; slice < first + count; slice++) {
          if ((wipe.has(slice) || slice >= sliceCount) && !present.has(disk)) continue
          const last = kept.at(-1)
          const is = wipe.has(slice) ? newGeneration : generation
          if (last !== undefined && last[0] + last[1] === slice && last[2] === is) last[1]++
          else kept.push([slice, 1, is])
        }
      next.push([disk, stream, kept])
    }
    return next.filter(([disk, , runs]) => runs.length > 0 || present.has(disk))
  }

  /** The same with a place for every slice of a size, on the disks the copy has. */
  placed(slices: SliceRuns, sizeBytes: number, generation: number): SliceRuns {
    const count = Math.ceil(sizeBytes / SLICE_BYTES)
    const has = new Set<number>()
    for (const [, , runs] of slices) for (const [first, n] of runs) for (let i = 0; i < n; i++) has.add(first + i)
    const disks = this.targets.map(({ stream }) => placementDisk(stream, slices))
    let placed = slices
    for (let slice = 0; slice < count; slice++)
      if (!has.has(slice)) placed = placeSlices(placed, disks, { first: slice, count: 1, generation })
    return placed
  }

  /** A resize may be accepted and not applied: its slices have places beyond the size in force. */
  private placementFor(slices: SliceRuns): Uint16Array {
    const slicesMost = slices.flatMap(([, , runs]) => runs.map(([first, count]) => first + count))
    return placementOf(slices, Math.max(0, ...slicesMost), this.targets)
  }
}

function placementDisk(stream: StoreStream, slices: SliceRuns) {
  const { diskUuid, streamId, segmentCount, segmentBytes } = stream.context
  let held = 0
  for (const [disk, , runs] of slices) if (disk === diskUuid) for (const [, n] of runs) held += n
  return { diskUuid, stream: streamId, slices: held, capacityBytes: segmentCount * segmentBytes }
}

/** As `generationOfSlice` has it of each. */
function generationsOf(slices: SliceRuns, sliceCount: number): number[] {
  const generations = new Array<number>(sliceCount).fill(0)
  for (const [, , runs] of slices.toReversed())
    for (const [first, count, generation] of runs.toReversed()) generations.fill(generation, first, first + count)
  return generations
}
