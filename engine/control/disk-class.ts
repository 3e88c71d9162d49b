/**
 * How full a node is, for one volume: its usable disks sorted by pool and tags, and what counts on them. A node spreads
 * a copy over its matching disks in proportion to their capacity (engine/volume/placement.ts), so here the same.
 */
import type { DiskStatus, VolumeSpec } from '../volume/volume-spec.ts'

export interface DiskClass {
  pool: string
  tags: string[]
  capacityBytes: number
  freeBytes: number
  /** Sizes of the copies that count here, and what they use. */
  committedBytes: number
  usedBytes: number
}

export interface Space {
  capacityBytes: number
  freeBytes: number
  committedBytes: number
  usedBytes: number
}

type Wanted = Pick<VolumeSpec, 'pool' | 'diskTags'>

/** Online disks that are not being evicted. */
export function classesOf(disks: readonly DiskStatus[], evicted: ReadonlySet<string>): DiskClass[] {
  const classes: DiskClass[] = []
  for (const { uuid, pool, tags, state, capacityBytes, freeBytes } of disks) {
    if (state !== 'online' || evicted.has(uuid)) continue
    const sorted = [...tags].sort()
    const known = classes.find((one) => one.pool === pool && one.tags.join() === sorted.join())
    if (known === undefined) {
      classes.push({ pool, tags: sorted, capacityBytes, freeBytes, committedBytes: 0, usedBytes: 0 })
    } else {
      known.capacityBytes += capacityBytes
      known.freeBytes += freeBytes
    }
  }
  return classes
}

const fits = ({ pool, tags }: DiskClass, wanted: Wanted): boolean =>
  pool === wanted.pool && wanted.diskTags.every((tag) => tags.includes(tag))

/** All that a volume may lie on; undefined when there is nothing. */
export function spaceFor(classes: readonly DiskClass[], wanted: Wanted): Space | undefined {
  let space: Space | undefined
  for (const one of classes) {
    if (!fits(one, wanted)) continue
    space ??= { capacityBytes: 0, freeBytes: 0, committedBytes: 0, usedBytes: 0 }
    space.capacityBytes += one.capacityBytes
    space.freeBytes += one.freeBytes
    space.committedBytes += one.committedBytes
    space.usedBytes += one.usedBytes
  }
  return space
}

/** Count a copy on the disks it may lie on, or, with negative numbers, no more. */
export function spread(
  classes: readonly DiskClass[],
  wanted: Wanted,
  { sizeBytes, usedBytes }: { sizeBytes: number; usedBytes: number },
): void {
  const capacityBytes = spaceFor(classes, wanted)?.capacityBytes ?? 0
  if (capacityBytes === 0) return
  for (const one of classes) {
    if (!fits(one, wanted)) continue
    one.committedBytes += (sizeBytes * one.capacityBytes) / capacityBytes
    one.usedBytes += (usedBytes * one.capacityBytes) / capacityBytes
  }
}

/**
 * Share of 1, of what copies use or, against the limit, of what is committed, whichever is greater. Counted from what
 * lies there by the records, not from what is free just now: that lags behind a copy that comes or goes.
 * @param more  a copy that would come, or with negative numbers go
 */
export function fullness(space: Space, overCommit: number, more = { sizeBytes: 0, usedBytes: 0 }): number {
  const { capacityBytes } = space
  if (capacityBytes <= 0) return 1
  const used = space.usedBytes + more.usedBytes
  return Math.max(used, (space.committedBytes + more.sizeBytes) / overCommit) / capacityBytes
}

/** What may still be written there: what is free, less what copies that are being filled will take. */
export const roomBytes = ({ capacityBytes, freeBytes, usedBytes }: Space): number =>
  Math.min(freeBytes, capacityBytes - usedBytes)
