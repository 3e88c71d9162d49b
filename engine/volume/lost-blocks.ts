/**
 * Blocks of a copy that no member has any more (engine/replication/SPEC.md D4): a count for people, on which nothing
 * depends. The machine says which, each time it has asked all others; they are kept with the notes of scrubs until they
 * are healed: repaired by a member that was found again, written over, trimmed, or seen by no view any more.
 */
import type { VersionId } from '../replication/record.ts'
import type { Task } from '../task.ts'
import { SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { isShared } from './copy-hydration.ts'
import { findExact } from './copy-repair.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { writeScrubNote, type ScrubNote } from './scrub-note.ts'
import { isOver } from './medium-blocks.ts'

/** Of a disk, those that are kept. */
const LOST_MOST = 1024

const isAmong = (ids: readonly VersionId[], { lba, epoch, seq }: VersionId): boolean =>
  ids.some((one) => one.lba === lba && one.seq === seq && one.epoch === epoch)

export const without = <T extends VersionId>(ids: readonly T[], gone: readonly VersionId[]): T[] =>
  ids.filter((id) => !isAmong(gone, id))

export class LostBlocks {
  private readonly copy: LocalCopyStore
  private readonly notes: ReadonlyMap<Target, ScrubNote>
  /** They are others than the ones that were written. */
  private isChanged = false
  private healedAtSeq = -1

  /** @param notes  filled when they are read; what is lost before that is found again */
  constructor(copy: LocalCopyStore, notes: ReadonlyMap<Target, ScrubNote>) {
    this.copy = copy
    this.notes = notes
    copy.onLost = (versions) => this.note(versions)
    copy.onRepaired = (versions) => this.repaired(versions)
  }

  get count(): number {
    let count = 0
    for (const { lost } of this.notes.values()) count += lost.length
    return count
  }

  /**
   * A deep scrub has come to its end: what it did not find, and have to leave, is not lost. What the copy shares it did
   * not come by.
   * @param still  those of what it did not come by that cannot be read now
   */
  *foundOnly(note: ScrubNote, still: (ids: readonly VersionId[]) => Task<VersionId[]>): Task<void> {
    const { origin } = this.copy.bodies.now
    const shared = note.lost.filter((id) => isShared(origin, Math.floor(id.lba / SLICE_BLOCKS)))
    const known = [...note.lost]
    const left = [...note.left, ...(yield* still(without(shared, note.left)))]
    // What was lost meanwhile was not looked at.
    note.lost = note.lost.filter((id) => !isAmong(known, id) || isAmong(left, id))
  }

  /** Whether there is anything for `healTask` to do. */
  get mayHaveHealed(): boolean {
    if (this.isChanged) return true
    const hasAny = [...this.notes.values()].some(({ lost, left }) => lost.length + left.length > 0)
    return hasAny && this.healedAtSeq !== this.copy.appliedSeq
  }

  /** Forget what no view shows any more, of those that scrubs left too; by the map alone. Not while a scrub runs. */
  *healTask(): Task<void> {
    this.healedAtSeq = this.copy.appliedSeq
    this.isChanged = false
    for (const [target, note] of this.notes) {
      const gone: VersionId[] = []
      for (const id of [...note.left, ...note.lost]) {
        const found = yield* findExact(target, id)
        if (isOver(target)) break
        if (found === 'none') gone.push(id)
      }
      // What it shows cannot be told any more.
      if (isOver(target)) continue
      note.left = without(note.left, gone)
      note.lost = without(note.lost, gone)
      yield* writeScrubNote(target, note)
    }
  }

  private note(versions: readonly VersionId[]): void {
    for (const id of versions) {
      const target = this.copy.layout.target(id.lba)
      const note = target === undefined ? undefined : this.notes.get(target)
      if (note === undefined || note.lost.length >= LOST_MOST || isAmong(note.lost, id)) continue
      note.lost.push(id)
      this.isChanged = true
    }
  }

  private repaired(versions: readonly VersionId[]): void {
    for (const note of this.notes.values()) {
      const lost = without(note.lost, versions)
      if (lost.length === note.lost.length) continue
      note.lost = lost
      this.isChanged = true
    }
  }
}
