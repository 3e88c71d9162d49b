/**
 * Of the versions that a copy keeps, which its volume itself shows: the head, or a snapshot of it. The others are kept
 * for clones beside this copy (cluster/reconcile/CLONES.md B2). Another copy of the volume need not have them: it is
 * not filled with them, and whoever finds one damaged has those repair it that read it.
 */
import { ENTRY_KIND, kindOf, seqOf } from '../log/entry.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { FoundVersion } from './copy-reader.ts'

export const hasPins = ({ descriptor: { copy } }: VolumeMap): boolean => (copy?.pins?.length ?? 0) > 0

/** @param found  all versions of some blocks, block by block */
export function withoutPinned({ views }: VolumeMap, found: readonly FoundVersion[]): FoundVersion[] {
  const own: FoundVersion[] = []
  for (let i = 0; i < found.length;) {
    const { lba } = found[i]!
    let end = i + 1
    while (found[end]?.lba === lba) end++
    const versions = found.slice(i, end)
    i = end
    const seqs = versions.map(({ words }) => seqOf(words, 0)).sort((a, b) => a - b)
    const shown = views.shownByList(seqs)
    const head = views.headExists ? seqs.findLast((seq) => !views.hidden(Infinity, seq)) : undefined
    for (const one of versions) {
      const seq = seqOf(one.words, 0)
      if (kindOf(one.words, 0) !== ENTRY_KIND.data || seq === head || shown.has(seq)) own.push(one)
    }
  }
  return own
}
