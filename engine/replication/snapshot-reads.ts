/**
 * Snapshots that are read (SPEC section 11), at the primary: what readers ask of the snapshot they opened.
 *
 *   ask -> (a few at a time) -> own store -> blocks, a map, or refused
 *
 * N2: what a snapshot shows was committed before it was made, and never changes. So no lease is needed and nobody is
 *     asked: who was deposed and does not know it answers with the same bytes, or not at all.
 * N3: `gone` is said only by a primary that has applied every change it ordered. It is for ever: an id is drawn once,
 *     and one that stands at another record, after a promotion by force, is another snapshot.
 * N6: of one node `ASKED_MAX` reads of a volume wait for their answers at most. What is asked beyond is not heard, as
 *     if it had been lost: its reader asks again.
 */
import type { NodeId } from './configuration.ts'
import type { CopyEvent } from './copy-port.ts'
import { nextToken } from './copy-state.ts'
import type { FrontendMessage, SnapshotFailure } from './messages.ts'
import type { PendingRead, PrimaryState, SnapshotAsked } from './primary-state.ts'
import { isLost } from './primary.ts'
import type { BlockVersion } from './record.ts'
import { awaitRepair } from './repair.ts'
import { redirect } from './turn.ts'
import type { Turn } from './turn.ts'

/** At the store at once, of all readers: they have the disk beside who writes, not in front of him. */
const RUNNING_MAX = 64
/** As much as four readers have under way that read as many single blocks as they may. */
export const ASKED_MAX = 4096

type Ask = Extract<FrontendMessage, { type: 'snapshot-ask' }>
export type SnapshotRead = PendingRead & { id: SnapshotAsked }

export const isOfSnapshot = (read: PendingRead): read is SnapshotRead => 'reader' in read.id

const keyOf = ({ id: { reader, number } }: SnapshotRead): string => `${reader} ${number}`

export function onSnapshotAsk(turn: Turn, from: NodeId, { reader, number, snapshot, operation }: Ask): void {
  const { state } = turn
  const { primary } = state
  if (state.role !== 'primary' || primary === undefined) {
    if (primary === undefined && state.isRecovered) redirect(turn, from, undefined)
    return
  }
  const { lba, blockCount } = operation
  const id = { reader, number, snapshot }
  const read: SnapshotRead =
    operation.type === 'read' ? { from, id, lba, blockCount }
      : { from, id, lba, blockCount, map: { since: operation.since } }
  // Of the size of its own, which its reader knows; where nothing has a place there is nothing to read.
  if (lba + blockCount > state.sliceCount * state.sliceBlocks) return refuse(turn, read, 'range')
  // Asked again while it is under way: it is answered once.
  const asked = primary.snapshotReads.get(from) ?? new Map<string, PendingRead>()
  if (asked.has(keyOf(read)) || asked.size >= ASKED_MAX) return
  primary.snapshotReads.set(from, asked.set(keyOf(read), read))
  readSnapshot(turn, primary, read)
}

/** Now, or when others have been read. */
export function readSnapshot(turn: Turn, primary: PrimaryState, read: SnapshotRead): void {
  if (primary.snapshotsRunning >= RUNNING_MAX) {
    primary.snapshotsWaiting.push(read)
    return
  }
  const { state, port } = turn
  const { id: { snapshot }, lba, blockCount, map } = read
  const token = nextToken(state)
  primary.snapshotsRunning++
  primary.reads.set(token, read)
  if (map === undefined) port.store.readSnapshot(token, snapshot, lba, blockCount)
  else port.store.mapSnapshot(token, snapshot, { lba, blockCount, since: map.since })
}

export function onSnapshotRead(
  turn: Turn,
  primary: PrimaryState,
  read: SnapshotRead,
  { ok, versions, damaged, isGone }: Extract<CopyEvent, { type: 'read-ended' }>,
): void {
  ended(turn, primary)
  if (damaged !== undefined && damaged.length > 0) return awaitRepair(turn, primary, read, damaged)
  if (ok) return answerBlocks(turn, read, versions)
  if (isGone === true) return sayGone(turn, primary, read)
  if (isLost(turn, read)) refuse(turn, read, 'damaged')
  // The store has failed and is about to say so: who takes our place is asked again.
  else forget(turn, read)
}

export function onMapped(turn: Turn, event: Extract<CopyEvent, { type: 'mapped' }>): void {
  const { token, ok, runs, endLba, isGone } = event
  const { primary } = turn.state
  const read = primary?.reads.get(token)
  if (primary === undefined || read === undefined || !isOfSnapshot(read)) return
  primary.reads.delete(token)
  ended(turn, primary)
  if (isGone === true) return sayGone(turn, primary, read)
  if (!ok) return forget(turn, read)
  forget(turn, read)
  const { from, id: { reader, number } } = read
  turn.port.reply(from, { type: 'snapshot-map', reader, number, epoch: primary.epoch, runs, endLba })
}

/** There is room for another one. */
function ended(turn: Turn, primary: PrimaryState): void {
  primary.snapshotsRunning--
  const next = primary.snapshotsWaiting.shift()
  if (next !== undefined && isOfSnapshot(next)) readSnapshot(turn, primary, next)
}

/** Whether everything that was ordered of the volume's changes is applied here. */
export const knowsChanges = ({ state: { log } }: Turn, { changed }: PrimaryState): boolean =>
  changed.seq <= Math.min(log.appliedSeq, log.writtenSeq)

/** Who does not know yet says nothing, and is asked again. */
function sayGone(turn: Turn, primary: PrimaryState, read: SnapshotRead): void {
  if (knowsChanges(turn, primary)) refuse(turn, read, 'gone')
  else forget(turn, read)
}

function answerBlocks(turn: Turn, read: SnapshotRead, versions: BlockVersion[]): void {
  forget(turn, read)
  const { from, id: { reader, number } } = read
  const { epoch } = turn.state.primary!
  turn.port.reply(from, { type: 'snapshot-blocks', reader, number, epoch, versions })
}

export function refuse(turn: Turn, read: SnapshotRead, code: SnapshotFailure): void {
  forget(turn, read)
  const { from, id: { reader, number } } = read
  const { epoch } = turn.state.primary!
  turn.port.reply(from, { type: 'snapshot-refused', reader, number, epoch, code })
}

function forget({ state }: Turn, read: SnapshotRead): void {
  const { snapshotReads } = state.primary!
  const asked = snapshotReads.get(read.from)
  asked?.delete(keyOf(read))
  if (asked?.size === 0) snapshotReads.delete(read.from)
}
