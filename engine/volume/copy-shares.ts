/**
 * What a copy shares, and with how many (cluster/reconcile/CLONES.md section 2): for the control plane, which decides
 * by it when clones get blocks of their own. Looked at in memory, for every report: O(levels), nothing for others.
 */
import { NOTHING_SHARED, type SharingStatus } from '../control/node-status.ts'
import { SLICE_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { LocalCopyStore } from './copy-store.ts'
import type { VolumeDescriptor } from './descriptor.ts'

/** Maps of its origins, the nearest first, whatever slices they share. */
export function* originsOf({ stream, map }: Target): Generator<Target> {
  for (let { descriptor } = map; descriptor.origin !== null;) {
    const below = stream.volumesById.get(descriptor.origin[0])
    if (below === undefined) return
    yield { stream, map: below }
    descriptor = below.descriptor
  }
}

/** How many there are. */
export const levelsOf = (target: Target): number => [...originsOf(target)].length

export function sharingOf({ bodies, targets, hydration }: LocalCopyStore): SharingStatus {
  const { pins, now: { origin } } = bodies
  if (origin === null) return pins.length === 0 ? NOTHING_SHARED : { ...NOTHING_SHARED, readers: pins.length }
  const below = targets.map((target) => [...originsOf(target)])
  let sharedSlices = 0
  for (const [, count] of origin[2] ?? []) sharedSlices += count
  let storedBytes = 0
  for (const { stream, map } of below.flat()) storedBytes += stream.map.usage(map).storedBytes
  return {
    sharedSlices,
    sharedBytes: Math.min(storedBytes, sharedSlices * SLICE_BYTES),
    isHydrating: hydration.isUnderWay,
    levels: Math.max(0, ...below.map(({ length }) => length)),
    readers: pins.length,
    isLastReader: below.length > 0 && below.every(([first]) => isLeftForOne(first?.map.descriptor)),
  }
}

const isLeftForOne = (of: VolumeDescriptor | undefined): boolean =>
  of?.copy?.isRemoved === true && of.copy.pins?.length === 1
