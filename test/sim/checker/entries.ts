/**
 * The versions a stream's maps show, as lines that can be compared over a restart: what they are, not where they lie,
 * because the cleaner may move them meanwhile. A zero entry that may be forgotten reads like a hole (FORMAT.md 6).
 */
import { ENTRY_KIND, epochOf, kindOf, seqOf } from '../../../engine/log/entry.ts'
import type { StoreStream } from '../../../engine/log/store-stream.ts'
import type { MappedEntry } from '../fsck.ts'

export function entryKinds(entries: MappedEntry[], stream: StoreStream): Set<string> {
  const lines = new Set<string>()
  const seqs = new Map<string, number[]>()
  for (const { volumeId, lba, words } of entries) {
    const key = `${volumeId}/${lba}`
    seqs.set(key, [...(seqs.get(key) ?? []), seqOf(words, 0)])
  }
  for (const { volumeId, lba, where, words } of entries) {
    const { views } = stream.volumesById.get(volumeId)!
    if (kindOf(words, 0) !== ENTRY_KIND.data) continue
    // History that no view shows any more waits for a sweep.
    const versions = seqs.get(`${volumeId}/${lba}`)!.sort((a, b) => a - b)
    if (where === 'history' && !views.shownBySnapshots(versions).has(seqOf(words, 0))) continue
    lines.add(`${where} of ${volumeId.slice(-6)} block ${lba}: epoch ${epochOf(words, 0)} seq ${seqOf(words, 0)}`)
  }
  return lines
}
