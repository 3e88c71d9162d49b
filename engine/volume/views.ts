/**
 * What the views of a volume see (FORMAT.md section 4): the head (seq = infinity, absent once deleted) and its
 * snapshots. A view sees at each block the entry with the greatest seq <= its own that no rollback hides. An entry no
 * view sees is dead.
 *
 * There may be ten thousand snapshots and more, so no question walks over them: between two rollbacks they see the
 * same but for what came since, so each question is answered once for such an *era* and by a binary search in it.
 */
import { epochAt } from '../replication/record-id.ts'
import type { Pin } from './copy-part.ts'
import type { VolumeDescriptor } from './descriptor.ts'

/** The views with `at <= seq < end`: they see what came behind `at` up to themselves, and before it the `base`. */
interface Era {
  at: number
  end: number
  base: Array<[above: number, upTo: number]>
}

export interface ViewDifference {
  /** `above < seq <= upTo`, ascending. */
  intervals: Array<[above: number, upTo: number]>
  /** The former snapshot sees all but those, and nothing behind any of them: they are what is new. */
  isOnTop: boolean
}

/**
 * Visibility of versions, made from a descriptor whenever it changes. The lineage of a view: `V(v) = (at, v] + V(to)`
 * for the rollback (to, at] with the greatest at <= v, `(0, v]` without one; so a rollback that was rolled away
 * itself counts for nothing.
 */
export class Views {
  /** Ascending; of snapshots, and of what clones beside the copy read (FORMAT.md section 8). */
  readonly snapshotSeqs: readonly number[]
  readonly headExists: boolean
  readonly hasRollbacks: boolean
  private readonly snapshots: VolumeDescriptor['snapshots']
  /** Of the snapshots alone. */
  readonly listSeqs: readonly number[]
  private readonly pins: readonly Pin[]
  private readonly rollbacks: Array<[number, number]>
  private readonly epochs: Array<[number, number]>
  private readonly isCopy: boolean
  private readonly lineages = new Map<number, Array<[above: number, upTo: number]>>()
  private knownEras: Era[] | undefined
  private knownMarks: readonly number[] | undefined
  private lastMark = 0
  private nextMark = 0

  /** @param former  what its list of snapshots has in common with that one is not looked at again */
  constructor(descriptor: VolumeDescriptor, former?: Views) {
    this.snapshots = descriptor.snapshots
    this.listSeqs = seqsOf(this.snapshots, former)
    this.pins = descriptor.copy?.pins ?? NO_PINS
    const isKnown = former !== undefined && former.listSeqs === this.listSeqs && samePairs(former.pins, this.pins)
    this.snapshotSeqs = isKnown ? former.snapshotSeqs : withPins(this.listSeqs, this.pins)
    this.rollbacks = descriptor.rollbacks
    this.hasRollbacks = descriptor.rollbacks.length > 0
    this.headExists = !descriptor.deleted
    this.epochs = descriptor.epochs
    this.isCopy = descriptor.copy !== undefined
  }

  /** Those of a descriptor: these, when it changes nothing of what is seen. */
  after(descriptor: VolumeDescriptor): Views {
    const { snapshots, rollbacks, deleted, epochs, copy } = descriptor
    const isSame =
      snapshots === this.snapshots &&
      deleted !== this.headExists &&
      (copy !== undefined) === this.isCopy &&
      samePairs(copy?.pins ?? NO_PINS, this.pins) &&
      samePairs(rollbacks, this.rollbacks) &&
      samePairs(epochs, this.epochs)
    return isSame ? this : new Views(descriptor, this)
  }

  /** Whether the list begins with all snapshots of these views. */
  begins(list: VolumeDescriptor['snapshots']): boolean {
    const { snapshots } = this
    if (list === snapshots) return true
    return list.length >= snapshots.length && snapshots.every((one, i) => one === list[i])
  }

  /** Whether a snapshot of `former` is gone. Cost O(snapshots) when one came or went, else O(1). */
  lost(former: Views): boolean {
    const { snapshotSeqs: seqs } = this
    if (former.snapshotSeqs === seqs) return false
    let at = 0
    for (const seq of former.snapshotSeqs) {
      while (at < seqs.length && seqs[at]! < seq) at++
      if (seqs[at] !== seq) return true
    }
    return false
  }

  /** Whether a view of this seq is kept from seeing an entry by a rollback (or by being older). */
  hidden(viewSeq: number, entrySeq: number): boolean {
    if (!this.hasRollbacks) return entrySeq > viewSeq
    for (const [above, upTo] of this.lineage(viewSeq)) if (entrySeq > above && entrySeq <= upTo) return false
    return true
  }

  /** Whether the head may show again what a rollback hides from it: there is a snapshot to go to. */
  get mayGoForth(): boolean {
    return this.hasRollbacks && this.snapshotSeqs.length > 0
  }

  /** Whether older versions may be worth keeping at all. */
  get keepsOlder(): boolean {
    return this.snapshotSeqs.length > 0 || this.hasRollbacks
  }

  /**
   * Whether some view still shows an entry although a newer one lies above it (infinity: none): a snapshot that is
   * older than the newer one, or any view from which a rollback hides the newer one, the head included. Cost
   * O(log snapshots) for each rollback, and once more.
   */
  seenBelow(entrySeq: number, newerSeq: number): boolean {
    if (!this.hasRollbacks) return this.hasSnapshotIn(entrySeq, newerSeq)
    if (this.headExists && !this.hidden(Infinity, entrySeq) && this.hidden(Infinity, newerSeq)) return true
    return this.eras().some((era) => {
      const below = Math.min(era.end, seenFrom(era, newerSeq))
      return this.hasSnapshotIn(seenFrom(era, entrySeq), below)
    })
  }

  /** Whether some view shows none of these versions of a block, but what lies below them. */
  showsBelow(seqs: readonly number[]): boolean {
    if (this.headExists && seqs.every((seq) => this.hidden(Infinity, seq))) return true
    return this.eras().some((era) => {
      const seen = Math.min(...seqs.map((seq) => seenFrom(era, seq)))
      return this.hasSnapshotIn(era.at, Math.min(era.end, seen))
    })
  }

  /** Which of a block's versions (seqs, ascending) the snapshots show: of each the greatest that is not hidden. */
  shownBySnapshots(seqs: readonly number[]): Set<number> {
    return this.shownBy(this.snapshotSeqs, seqs)
  }

  /** The same of the snapshots alone, whatever clones beside this copy read: every copy has those. */
  shownByList(seqs: readonly number[]): Set<number> {
    return this.shownBy(this.listSeqs, seqs)
  }

  private shownBy(snapshotSeqs: readonly number[], seqs: readonly number[]): Set<number> {
    const shown = new Set<number>()
    for (const era of this.eras()) {
      let below = era.end
      for (let i = seqs.length - 1; i >= 0 && below > era.at; i--) {
        const from = seenFrom(era, seqs[i]!)
        if (from >= below) continue
        if (hasIn(snapshotSeqs, from, below)) shown.add(seqs[i]!)
        below = from
      }
    }
    return shown
  }

  /**
   * Of a block's versions (seqs, ascending) the seq of the snapshot that alone shows it, 0: nobody does, the head does,
   * or several. Whoever reads beside the copy counts as a snapshot. Cost as of `shownBySnapshots`.
   */
  shownByOne(seqs: readonly number[]): number[] {
    const { snapshotSeqs } = this
    const counts = new Array<number>(seqs.length).fill(0)
    const views = new Array<number>(seqs.length).fill(0)
    for (const era of this.eras()) {
      let below = era.end
      for (let i = seqs.length - 1; i >= 0 && below > era.at; i--) {
        const from = seenFrom(era, seqs[i]!)
        if (from >= below) continue
        const first = placeIn(snapshotSeqs, from)
        const count = placeIn(snapshotSeqs, below) - first
        if (count > 0) views[i] = snapshotSeqs[first]!
        counts[i]! += count
        below = from
      }
    }
    const head = this.headExists ? seqs.findLastIndex((seq) => !this.hidden(Infinity, seq)) : -1
    return views.map((view, i) => (counts[i] === 1 && i !== head ? view : 0))
  }

  /**
   * The mark behind which a seq lies: the last end of what views see, a snapshot of the list or an end of a rollback,
   * that is less. What lies between two neighbouring marks is seen by the same snapshots. Undefined: there is none, or
   * no snapshot, so all that are ever compared see it. Cost O(1) for neighbours, else O(log marks).
   */
  markBelow(seq: number): number | undefined {
    if (this.listSeqs.length === 0) return undefined
    if (seq > this.lastMark && seq <= this.nextMark) return this.lastMark
    const marks = this.marks()
    if (marks[0]! >= seq) return undefined
    let low = 0
    let high = marks.length
    while (low < high) {
      const mid = (low + high) >>> 1
      if (marks[mid]! < seq) low = mid + 1
      else high = mid
    }
    this.nextMark = marks[low] ?? Infinity
    return (this.lastMark = marks[low - 1]!)
  }

  private marks(): readonly number[] {
    if (!this.hasRollbacks) return this.listSeqs
    this.knownMarks ??= [...new Set([...this.listSeqs, ...this.rollbacks.flat()])].sort((a, b) => a - b)
    return this.knownMarks
  }

  /** Where versions lie that one of two snapshots sees and the other one does not. Cost O(rollbacks^2) at most. */
  difference(viewSeq: number, sinceSeq: number): ViewDifference {
    const ends = new Set([...this.lineage(viewSeq), ...this.lineage(sinceSeq)].flat())
    const intervals: ViewDifference['intervals'] = []
    let isOnTop = true
    let above = 0
    for (const upTo of [...ends].sort((a, b) => a - b)) {
      if (upTo === 0) continue
      const isShown = !this.hidden(viewSeq, upTo)
      const wasShown = !this.hidden(sinceSeq, upTo)
      if (isShown !== wasShown) intervals.push([above, upTo])
      if (wasShown && intervals.length > 0) isOnTop = false
      above = upTo
    }
    return { intervals, isOnTop }
  }

  /** Whether a later epoch began at or below this seq: such a record was cut and counts for nothing. */
  isVoid(epoch: number, seq: number): boolean {
    for (const [laterEpoch, firstSeq] of this.epochs) if (laterEpoch > epoch && seq >= firstSeq) return true
    // A copy may also have had records of an epoch that its volume's history does not name.
    const named = this.isCopy ? epochAt(this.epochs, seq) : 0
    return named !== 0 && named !== epoch
  }

  /** Whether a snapshot stands at `from` or behind it, and before `below`. */
  hasSnapshotIn(from: number, below: number): boolean {
    return hasIn(this.snapshotSeqs, from, below)
  }

  private eras(): Era[] {
    if (this.knownEras !== undefined) return this.knownEras
    const eras: Era[] = [{ at: 0, end: Infinity, base: [] }]
    for (const [to, at] of this.rollbacks.toSorted((a, b) => a[1] - b[1])) {
      eras.at(-1)!.end = at
      eras.push({ at, end: Infinity, base: this.lineage(to) })
    }
    return (this.knownEras = eras)
  }

  private lineage(viewSeq: number): Array<[number, number]> {
    let intervals = this.lineages.get(viewSeq)
    if (intervals !== undefined) return intervals
    intervals = []
    for (let at = viewSeq; ;) {
      let best: [number, number] | undefined
      for (const rollback of this.rollbacks)
        if (rollback[1] <= at && (best === undefined || rollback[1] > best[1])) best = rollback
      intervals.push([best === undefined ? 0 : best[1], at])
      if (best === undefined) break
      at = best[0]
    }
    this.lineages.set(viewSeq, intervals)
    return intervals
  }
}

/** Whether one of them, ascending, is `from` or greater, and less than `below`. */
function hasIn(seqs: readonly number[], from: number, below: number): boolean {
  const at = placeIn(seqs, from)
  return at < seqs.length && seqs[at]! < below
}

/** How many of them, ascending, are less. */
function placeIn(seqs: readonly number[], seq: number): number {
  let low = 0
  let high = seqs.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if (seqs[mid]! < seq) low = mid + 1
    else high = mid
  }
  return low
}

/** The first view of the era that sees an entry, where no newer one lies above; infinity: none does. */
function seenFrom({ at, base }: Era, seq: number): number {
  if (seq > at) return seq
  for (const [above, upTo] of base) if (seq > above && seq <= upTo) return at
  return Infinity
}

/** Most often one came at the end of the list that was there before. */
function seqsOf(
  snapshots: VolumeDescriptor['snapshots'],
  former: Views | undefined,
): readonly number[] {
  if (former !== undefined && former.begins(snapshots)) {
    const known = former.listSeqs
    const added = snapshots.slice(known.length).map(({ seq }) => seq)
    if (added.length === 0) return known
    if (added.every((seq, i) => seq >= (added[i - 1] ?? known.at(-1) ?? 0))) return [...known, ...added]
  }
  return snapshots.map(({ seq }) => seq).sort((a, b) => a - b)
}

const NO_PINS: readonly Pin[] = []

const withPins = (seqs: readonly number[], pins: readonly Pin[]): readonly number[] =>
  pins.length === 0 ? seqs : [...seqs, ...pins.map(([, seq]) => seq)].sort((a, b) => a - b)

type Pairs = ReadonlyArray<readonly [number | string, number]>

const samePairs = (a: Pairs, b: Pairs): boolean =>
  a === b || (a.length === b.length && a.every(([x, y], i) => x === b[i]![0] && y === b[i]![1]))
