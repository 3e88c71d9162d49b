/**
 * Which disk a slice of a volume goes to: the node's own decision, kept in the disks' control records. Slices spread
 * over the disks of the pool in proportion to their capacity, counting what volumes may grow to, so that disks fill
 * evenly.
 */
import type { Target } from './block-reader.ts'

export interface PlacementDisk {
  diskUuid: string
  stream: number
  capacityBytes: number
  /** Slices of all volumes that lie there. */
  slices: number
}

export type SliceRuns = Array<
  [diskUuid: string, stream: number, runs: Array<[first: number, count: number, generation: number]>]
>

/**
 * Place slices `first .. first + count - 1` behind what `present` has. Pure; ties go to the earlier disk.
 * @param disks  at least one; their `slices` are counted up
 */
export function placeSlices(
  present: SliceRuns,
  disks: PlacementDisk[],
  range: { first: number; count: number; generation: number },
): SliceRuns {
  const placed: SliceRuns = present.map(([disk, stream, runs]) => [disk, stream, runs.map((run) => [...run])])
  for (let slice = range.first; slice < range.first + range.count; slice++) {
    let best = disks[0]!
    for (const disk of disks)
      if ((disk.slices + 1) / disk.capacityBytes < (best.slices + 1) / best.capacityBytes) best = disk
    best.slices++
    let entry = placed.find(([disk, stream]) => disk === best.diskUuid && stream === best.stream)
    if (entry === undefined) placed.push((entry = [best.diskUuid, best.stream, []]))
    const last = entry[2].at(-1)
    if (last !== undefined && last[0] + last[1] === slice && last[2] === range.generation) last[1]++
    else entry[2].push([slice, 1, range.generation])
  }
  return placed
}

export const slicesOf = (runs: SliceRuns): number =>
  runs.reduce((sum, [, , list]) => sum + list.reduce((part, [, count]) => part + count, 0), 0)

/** By slice: the index into `targets` of the disk it lies on. */
export function placementOf(slices: SliceRuns, sliceCount: number, targets: readonly Target[]): Uint16Array {
  const placement = new Uint16Array(sliceCount)
  for (const [disk, stream, runs] of slices) {
    const target = targets.findIndex(({ stream: s }) => s.context.diskUuid === disk && s.context.streamId === stream)
    for (const [first, count] of runs) placement.fill(target, first, first + count)
  }
  return placement
}
