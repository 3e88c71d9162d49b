/**
 * Writes narrower than a block (SPEC S4): the frontend merged them into blocks it read, and names the seq of each. The
 * primary compares with the newest *ordered* version, committed or not, and refuses when somebody was faster.
 *
 * The store knows what is applied, the window what is not; what is ordered while the store looks is noted here.
 */
import type { NodeId } from './configuration.ts'
import { nextToken } from './copy-state.ts'
import { isHeld } from './hold.ts'
import { hold, isKnown, isOrderable, order } from './primary.ts'
import type { EdgeCheck, PrimaryState } from './primary-state.ts'
import type { ReplicatedRecord, RequestId } from './record.ts'
import { recordAt } from './record-window.ts'
import { openSessionOf } from './sessions.ts'
import { answer } from './turn.ts'
import type { Turn } from './turn.ts'

export function checkEdges(
  { state, port }: Turn,
  primary: PrimaryState,
  { from, id, operation }: { from: NodeId; id: RequestId; operation: EdgeCheck['operation'] },
): void {
  const check: EdgeCheck = { from, id, operation, newest: operation.edges.map(() => 0) }
  const { log } = state
  for (let seq = log.appliedSeq + 1; seq <= log.tail; seq++) noteRecord(check, recordAt(log.window, seq)!)
  const token = nextToken(state)
  primary.edges.set(token, check)
  port.store.lookUp(
    token,
    operation.edges.map(([lba]) => lba),
  )
}

/** A record was ordered while edges are being looked up. */
export function noteNewer(primary: PrimaryState, record: ReplicatedRecord): void {
  for (const check of primary.edges.values()) noteRecord(check, record)
}

function noteRecord({ operation, newest }: EdgeCheck, record: ReplicatedRecord): void {
  // After a rollback no edge is what it was.
  const isRollback = record.kind === 'control' && record.change.operation === 'rollback'
  if (record.kind === 'control' && !isRollback) return
  for (let i = 0; i < newest.length; i++) {
    const lba = operation.edges[i]![0]
    const covers = record.kind === 'control' || (lba >= record.lba && lba < record.lba + record.blockCount)
    if (covers && record.seq > newest[i]!) newest[i] = record.seq
  }
}

export function onLookedUp(turn: Turn, token: number, ok: boolean, seqs: readonly number[]): void {
  const { primary } = turn.state
  const check = primary?.edges.get(token)
  if (primary === undefined || check === undefined) return
  primary.edges.delete(token)
  const { from, id, operation, newest } = check
  const session = openSessionOf(primary, id, from)
  if (turn.state.role !== 'primary' || session === undefined) return
  // The store has failed and is about to say so (D5): it is asked again of who takes our place.
  if (!ok) return
  // It may have been sent twice, and the first one ordered or refused meanwhile.
  if (isKnown(turn, session, id, operation.fua)) return
  if (!isOrderable(turn, primary, session, id, operation)) return
  // Compared anew behind the hold.
  if (isHeld(turn, primary)) return hold(primary, { from, id, operation })
  const isChanged = operation.edges.some(([, seq], i) => Math.max(seqs[i] ?? 0, newest[i]!) !== seq)
  if (isChanged) answer(turn, from, id, { ok: false, code: 'edge-changed' })
  else order(turn, primary, from, id, operation)
}
