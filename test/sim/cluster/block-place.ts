/**
 * Where a block that the head of a copy shows lies on its disk: one that the map has in memory, drawn at random.
 * `isSettled`: a durable body says that it was applied, so that an opening does not read it.
 */
import { ENTRY_KIND, ENTRY_WORDS, kindOf, segmentOf, seqOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { PAGE_BLOCKS, UNIT_BYTES } from '../../../engine/units.ts'
import type { LocalCopyStore } from '../../../engine/volume/copy-store.ts'
import type { Random } from '../random.ts'

export function blockPlace(
  copy: LocalCopyStore,
  random: Random,
  isWanted: (lba: number, isSettled: boolean) => boolean,
): { lba: number; diskUuid: string; offsetBytes: number } | undefined {
  const found: Array<{ lba: number; diskUuid: string; offsetBytes: number }> = []
  for (const { stream, map } of copy.targets)
    for (const page of map.pages.values())
      for (let i = 0; i < PAGE_BLOCKS; i++) {
        const at = i * ENTRY_WORDS
        if (kindOf(page.words, at) !== ENTRY_KIND.data) continue
        if (!isWanted(page.firstLba + i, seqOf(page.words, at) <= map.copy!.hintSeq)) continue
        const base = segmentOffsetBytes(stream.context.segmentBytes, segmentOf(page.words, at))
        const { diskUuid } = stream.context
        found.push({ lba: page.firstLba + i, diskUuid, offsetBytes: base + unitsOf(page.words, at) * UNIT_BYTES })
      }
  return found.length === 0 ? undefined : random.pick(found)
}
