/**
 * Marks that a copy was filled with in place of blocks that its source could not read (SPEC.md D8), until it is known
 * what became of each. They are kept with the copy, so that a process of later asks on; and whoever has not answered is
 * named to the control plane, which takes nobody away who may have the only good copy of a block (control/SPEC.md E5).
 *
 *   fill brings a mark -> kept -> asked of all members (D2) -> whole again, or no view shows it: dropped
 *                                                           -> nobody has it: dropped, and counted as lost
 */
import type { NodeId } from './configuration.ts'
import type { CopyState } from './copy-state.ts'
import type { KeptMarks } from './copy-store.ts'
import type { BlockVersion, VersionId } from './record.ts'
import { nextToken } from './copy-state.ts'
import { hasNoneAt, isAsked, noteDamage, othersOf } from './repair.ts'
import type { Turn } from './turn.ts'

/** Of one copy; each is written with every fact of it. */
export const MARKS_MOST = 64

const isAmong = (ids: readonly VersionId[], { lba, epoch, seq }: VersionId): boolean =>
  ids.some((one) => one.lba === lba && one.seq === seq && one.epoch === epoch)

/** What a piece of a fill brought. It is durable with the slice. */
export function takeMarks(state: CopyState, versions: readonly BlockVersion[]): void {
  const { marks } = state
  const found = versions.filter((version) => version.isMark === true && !isAmong(marks.ids, version))
  if (found.length === 0) return
  const ids = [...marks.ids, ...found.map(({ lba, epoch, seq }) => ({ lba, epoch, seq }))]
  state.marks = { ids: ids.slice(0, MARKS_MOST), isMore: marks.isMore || ids.length > MARKS_MOST }
}

/** Those of a former fill that are still there when another one begins. @param sliceCount  what there was */
export function unwiped({ marks, sliceBlocks }: CopyState, wipe: readonly number[], sliceCount: number): KeptMarks {
  const wiped = new Set(wipe)
  const ids = marks.ids.filter(({ lba }) => !wiped.has(Math.floor(lba / sliceBlocks)))
  return { ids, isMore: marks.isMore && wiped.size < sliceCount }
}

/** A process, or a filled copy, that does not know yet what became of them. */
export function askForMarks(turn: Turn): void {
  const { consistency, marks } = turn.state
  if (consistency.state === 'consistent' && marks.ids.length > 0) noteDamage(turn, marks.ids)
}

/** They are whole again, gone, or lost. */
export function dropMarks({ state, port }: Turn, versions: readonly VersionId[]): void {
  const { ids, isMore } = state.marks
  const left = ids.filter((id) => !isAmong(versions, id))
  if (left.length === ids.length) return
  state.marks = { ids: left, isMore }
  const token = nextToken(state)
  state.kept.set(token, { type: 'nothing' })
  port.store.keep(token, { marks: state.marks })
}

/**
 * Members that may have a block which cannot be read here, as far as this copy knows: each was asked, or is about to
 * be, and has not said that it has none. Of marks that are not known one by one those out of the set count.
 */
export function awaitedMembers(state: CopyState): NodeId[] {
  const { marks, damaged, config } = state
  const asked = damaged.filter(isAsked)
  if (asked.length === 0 && !marks.isMore) return []
  const isIn = (node: NodeId): boolean => config!.config.inSync.includes(node)
  return othersOf(state).filter((node) =>
    asked.some((one) => !hasNoneAt(one, node)) || (marks.isMore && !isIn(node)))
}
