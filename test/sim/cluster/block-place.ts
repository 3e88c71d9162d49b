/**
 * Where a block that the head of a copy shows lies on its disk: one that the map has in memory, drawn at random.
 * `isSettled`: a durable body says that it was applied, so that an opening does not read it. `isTail`: it lies in the
 * segment that is being filled, where an opening may take what cannot be read for torn, and what was synced with it;
 * with `isRootAsked` also in one that was sealed, while the root does not say that all of it was durable.
 */
import { ENTRY_KIND, ENTRY_WORDS, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { PAGE_BLOCKS, UNIT_BYTES } from '../../../engine/units.ts'
import type { LocalCopyStore } from '../../../engine/volume/copy-store.ts'
import type { Random } from '../random.ts'

interface BlockPlace {
  lba: number
  isTail: boolean
  diskUuid: string
  offsetBytes: number
  lengthBytes: number
}

export function blockPlace(
  copy: LocalCopyStore,
  random: Random,
  isWanted: (lba: number, isSettled: boolean, isTail: boolean) => boolean,
  isRootAsked: boolean,
): BlockPlace | undefined {
  const found: BlockPlace[] = []
  for (const { stream, map } of copy.targets)
    for (const page of map.pages.values())
      for (let i = 0; i < PAGE_BLOCKS; i++) {
        const at = i * ENTRY_WORDS
        if (kindOf(page.words, at) !== ENTRY_KIND.data) continue
        const lba = page.firstLba + i
        const segment = segmentOf(page.words, at)
        const { watermarkBatch } = stream['root']
        const isProved = !isRootAsked || stream.segments.lastBatch[segment]! <= watermarkBatch
        const isTail = segment === stream.log.openSegment || !isProved
        if (!isWanted(lba, seqOf(page.words, at) <= map.copy!.hintSeq, isTail)) continue
        const base = segmentOffsetBytes(stream.context.segmentBytes, segment)
        const { diskUuid } = stream.context
        const offsetBytes = base + unitsOf(page.words, at) * UNIT_BYTES
        const lengthBytes = storedUnitsOf(page.words, at) * UNIT_BYTES
        found.push({ lba, isTail, diskUuid, offsetBytes, lengthBytes })
      }
  return found.length === 0 ? undefined : random.pick(found)
}
