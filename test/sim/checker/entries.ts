/**
 * The versions a stream's maps show, as lines that can be compared over a restart: what they are, not where they lie,
 * because the cleaner may move them meanwhile. A zero entry that may be forgotten reads like a hole (FORMAT.md 6).
 */
import { ENTRY_KIND, epochOf, kindOf, seqOf } from '../../../engine/log/entry.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import type { MappedEntry } from '../fsck.ts'

export function entryKinds(entries: MappedEntry[], stream: StoreStream): Set<string> {
  const lines = new Set<string>()
  for (const { volumeId, lba, where, words } of entries) {
    const { views } = stream.volumesById.get(volumeId)!
    if (kindOf(words, 0) !== ENTRY_KIND.data) continue
    // History that no view sees any more waits for a sweep.
    if (where === 'history' && !views.seenBelow(seqOf(words, 0), Infinity)) continue
    lines.add(`${where} of ${volumeId.slice(-6)} block ${lba}: epoch ${epochOf(words, 0)} seq ${seqOf(words, 0)}`)
  }
  return lines
}
