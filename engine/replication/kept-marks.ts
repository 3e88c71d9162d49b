/**
 * Marks that a copy was filled with in place of blocks that its source could not read (SPEC.md D8), until it is known
 * what became of each. They are kept with the copy, so that a process of later asks on; and whoever has not answered is
 * named to the control plane, which takes nobody away who may have the only good copy of a block (control/SPEC.md E5).
 *
 *   fill brings a mark -> kept -> asked of all members (D2) -> whole again, or no view shows it: dropped
 *                   |                                       -> nobody has it: dropped, and counted as lost
 *                   '-> more than are kept: left out, and looked for in the map when half of these are gone
 *
 * - A mark of the map that is neither kept nor answered lies at `from` or behind, and `isMore` is true: a fill that
 *   leaves one out sets `from` back to the beginning, and only what was found moves it.
 */
import type { NodeId } from './configuration.ts'
import type { CopyState } from './copy-state.ts'
import type { KeptMarks, StoreEvent } from './copy-store.ts'
import type { BlockVersion, VersionId } from './record.ts'
import { nextToken } from './copy-state.ts'
import { hasNoneAt, isAsked, noteDamage, othersOf } from './repair.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** So many times `retryMs` passes before a map that could not be read is read again. */
const UNREAD_RETRIES = 8

const isAmong = (ids: readonly VersionId[], { lba, epoch, seq }: VersionId): boolean =>
  ids.some((one) => one.lba === lba && one.seq === seq && one.epoch === epoch)

const idOf = ({ lba, epoch, seq }: VersionId): VersionId => ({ lba, epoch, seq })

/** What a piece of a fill brought. It is durable with the slice. */
export function takeMarks(state: CopyState, versions: readonly BlockVersion[]): void {
  const { marks, options: { marksMost } } = state
  const found = versions.filter((version) => version.isMark === true && !isAmong(marks.ids, version))
  if (found.length === 0) return
  const ids = [...marks.ids, ...found.map(idOf)]
  state.marks = ids.length > marksMost ? { ids: ids.slice(0, marksMost), isMore: true } : { ...marks, ids }
}

/** Those of a former fill that are still there when another one begins. @param sliceCount  what there was */
export function unwiped({ marks, sliceBlocks }: CopyState, wipe: readonly number[], sliceCount: number): KeptMarks {
  const wiped = new Set(wipe)
  const ids = marks.ids.filter(({ lba }) => !wiped.has(Math.floor(lba / sliceBlocks)))
  return marks.isMore && wiped.size < sliceCount ? { ...marks, ids } : { ids, isMore: false }
}

/** A process, or a filled copy, that does not know yet what became of them. */
export function askForMarks(turn: Turn): void {
  const { consistency, marks } = turn.state
  if (consistency.state === 'consistent' && marks.ids.length > 0) noteDamage(turn, marks.ids)
  progressMarks(turn)
}

/** They are whole again, gone, or lost. */
export function dropMarks(turn: Turn, versions: readonly VersionId[]): void {
  const { marks } = turn.state
  const ids = marks.ids.filter((id) => !isAmong(versions, id))
  if (ids.length === marks.ids.length) return
  keepMarks(turn, { ...marks, ids })
  progressMarks(turn)
}

function keepMarks({ state, port }: Turn, marks: KeptMarks): void {
  state.marks = marks
  const token = nextToken(state)
  state.kept.set(token, { type: 'nothing' })
  port.store.keep(token, { marks })
}

/** Of those that were left out the map is asked for the next ones, while there is room for them. */
export function progressMarks(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { consistency, marks: { ids, isMore, from }, marksSought, options: { marksMost } } = state
  const isSought = isMore && marksSought.token === undefined && ids.length <= marksMost / 2
  if (!isSought || consistency.state !== 'consistent') return
  if (nowMs < marksSought.afterMs) return wakeBy(turn, marksSought.afterMs)
  marksSought.token = nextToken(state)
  port.store.findMarks(marksSought.token, { from, most: marksMost - ids.length })
}

/** They are asked for from now on. What is looked at again because a process ended in between is only asked twice. */
export function onMarksFound(turn: Turn, event: Extract<StoreEvent, { type: 'marks-found' }>): void {
  const { state, nowMs } = turn
  const { marks, marksSought, options: { retryMs } } = state
  if (event.token !== marksSought.token) return
  marksSought.token = undefined
  marksSought.afterMs = event.ok ? 0 : nowMs + UNREAD_RETRIES * retryMs
  if (event.ok) {
    const found = event.ids.filter((id) => !isAmong(marks.ids, id)).map(idOf)
    const { from } = event
    const ids = [...marks.ids, ...found]
    const known: KeptMarks = from === undefined ? { ids, isMore: false } : { ids, isMore: true, from }
    // Where nothing was, nothing is lost if it is looked at again.
    if (found.length > 0 || from === undefined) keepMarks(turn, known)
    else state.marks = known
    if (found.length > 0) noteDamage(turn, found)
  }
  progressMarks(turn)
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
