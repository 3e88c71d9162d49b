/**
 * What only one snapshot shows: what its deletion gives back. The light scrub looks at every version that the map of a
 * copy has, and this adds up along the way what lies in a page; a list of snapshots costs nothing more for it.
 *
 * The figures are from below, and stay so: writes, trims and deletions of other snapshots only leave more to a snapshot
 * alone. What takes away ends them until the next scrub: a rollback makes versions the head again, a filling may bring
 * another history. A clone that reads beside the copy shows all that its snapshot does.
 *
 * In memory alone, O(snapshots that have any): a process that starts has none before its first whole light scrub.
 */
import { ENTRY_KIND, kindOf, seqOf, storedUnitsOf } from '../log/entry.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import { UNIT_BYTES } from '../units.ts'
import type { CopyDescriptor } from './copy-part.ts'
import type { FoundVersion } from './copy-reader.ts'

export interface Exclusive {
  bytes: number
  /** Since when it is counted, wall clock; 0: it is not known. */
  atMs: number
}

interface Pass {
  atMs: number
  /** Snapshots up to here were there when it began. */
  upToSeq: number
  rollbacks: number
  fills: number
  /** By the seq of the snapshot. */
  units: Map<number, number>
}

const NOT_KNOWN: Exclusive = { bytes: 0, atMs: 0 }

export class ExclusiveBytes {
  private underWay: Pass | undefined
  private whole: Pass | undefined

  /** All of the copy is looked at from here on. @param now  of the copy, as of `appliedSeq` */
  begin({ rollbacks, copy: { fills } }: CopyDescriptor, appliedSeq: number, atMs: number): void {
    this.underWay = { atMs, upToSeq: appliedSeq, rollbacks: rollbacks.length, fills, units: new Map() }
  }

  /** Not all of the copy is looked at, or no more. */
  abandon(): void {
    this.underWay = undefined
  }

  /** @param versions  all of a page, in order of the blocks, as the map has them now */
  add({ views }: VolumeMap, versions: readonly FoundVersion[]): void {
    if (this.underWay === undefined || views.snapshotSeqs.length === 0) return
    const { units } = this.underWay
    for (let from = 0; from < versions.length;) {
      const { lba } = versions[from]!
      let end = from + 1
      while (versions[end]?.lba === lba) end++
      // The head of a block that was rolled back is older than what snapshots show of it.
      const of = versions.slice(from, end).sort((a, b) => seqOf(a.words, 0) - seqOf(b.words, 0))
      from = end
      const alone = views.shownByOne(of.map(({ words }) => seqOf(words, 0)))
      of.forEach(({ words }, i) => {
        const seq = alone[i]!
        if (seq === 0 || kindOf(words, 0) !== ENTRY_KIND.data) return
        units.set(seq, (units.get(seq) ?? 0) + storedUnitsOf(words, 0))
      })
    }
  }

  end(): void {
    this.whole = this.underWay ?? this.whole
    this.underWay = undefined
  }

  /** @param now  of the copy @param seq  where the snapshot stands */
  of({ rollbacks, copy: { fills, pins = [] } }: CopyDescriptor, seq: number): Exclusive {
    const { whole } = this
    if (whole === undefined || seq > whole.upToSeq) return NOT_KNOWN
    if (whole.rollbacks !== rollbacks.length || whole.fills !== fills) return NOT_KNOWN
    const isRead = pins.some(([, pinned]) => pinned === seq)
    return { bytes: isRead ? 0 : (whole.units.get(seq) ?? 0) * UNIT_BYTES, atMs: whole.atMs }
  }
}
