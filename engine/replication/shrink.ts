/**
 * A volume is made smaller (SPEC W9): ordered only where nothing of the head lives beyond, which is judged at the
 * record's own place in the log. Nothing is held meanwhile.
 *
 *   shrink -> (what is ordered by then is applied) -> own store counts the data beyond -> ordered, in that very step
 *                a write that is ordered beyond since, another change of the volume, data: refused
 *
 * I26: from the order on the end is the new one. What lies beyond is not ordered any more: while it is not known if the
 *      record is committed it is not answered, and its frontend sends it again; afterwards it is refused.
 */
import { BLOCK_BYTES } from '../units.ts'
import { orderChange } from './control.ts'
import type { CommandResult, CopyEvent } from './copy-port.ts'
import { nextToken } from './copy-state.ts'
import type { PrimaryState } from './primary-state.ts'
import type { RecordId } from './record-id.ts'
import type { BlockRun, ReplicatedRecord } from './record.ts'
import type { Turn } from './turn.ts'

/** A shrink that is being judged. */
export interface Shrinking {
  /** Of the order. */
  token: number
  sizeBytes: number
  /** Everything up to here is applied before the store is asked: what comes behind it is seen as it is ordered. */
  afterSeq: number
  /** Of the last change of the volume when it began. */
  changed: RecordId
  /** Of the question to the store; undefined: it is not asked yet. */
  countToken: number | undefined
  /** A write that reaches beyond was ordered since it began. */
  isWrittenBeyond: boolean
}

/** Of the volume, once everything that is ordered is applied. */
export function orderedBytes({ state: { log, sizeBytes } }: Turn, { resized }: PrimaryState): number {
  return resized !== undefined && log.appliedSeq < resized.seq ? resized.sizeBytes : sizeBytes
}

export const isBeyondOrdered = (turn: Turn, primary: PrimaryState, { lba, blockCount }: BlockRun): boolean =>
  (lba + blockCount) * BLOCK_BYTES > orderedBytes(turn, primary)

/** The same order once more takes the place of the former one, and goes on where that is; another one begins. */
export function judgeShrink(turn: Turn, primary: PrimaryState, token: number, sizeBytes: number): void {
  const { state, port } = turn
  const { shrinking: former, changed } = primary
  if (former !== undefined) {
    port.commandEnded(former.token, { ok: false, code: 'superseded', why: 'it is asked for a smaller size again' })
    const isSame = former.sizeBytes === sizeBytes && !former.isWrittenBeyond && isSameId(former.changed, changed)
    if (isSame) {
      former.token = token
      return
    }
  }
  const afterSeq = state.log.tail
  primary.shrinking = { token, sizeBytes, afterSeq, changed, countToken: undefined, isWrittenBeyond: false }
  askWhatLivesBeyond(turn, primary.shrinking)
}

/** When everything before is applied. */
export function askWhatLivesBeyond({ state, port }: Turn, shrinking: Shrinking): void {
  if (shrinking.countToken !== undefined || state.log.appliedSeq < shrinking.afterSeq) return
  shrinking.countToken = nextToken(state)
  port.store.countBeyond(shrinking.countToken, shrinking.sizeBytes / BLOCK_BYTES)
}

/** A record of a client is ordered. Zeroes and trims leave nothing that lives. */
export function noteBeyond(shrinking: Shrinking, record: ReplicatedRecord): void {
  if (record.kind !== 'write') return
  if ((record.lba + record.blockCount) * BLOCK_BYTES > shrinking.sizeBytes) shrinking.isWrittenBeyond = true
}

export function onBeyondCounted(turn: Turn, event: Extract<CopyEvent, { type: 'beyond-counted' }>): void {
  const { state, port } = turn
  const { primary } = state
  const shrinking = primary?.shrinking
  if (primary === undefined || shrinking?.countToken !== event.token) return
  primary.shrinking = undefined
  const { token, sizeBytes } = shrinking
  const refusal = refusalOf(turn, primary, shrinking, event)
  if (refusal !== undefined) return port.commandEnded(token, refusal)
  orderChange(turn, primary, token, { change: { operation: 'shrink', sizeBytes } })
}

function refusalOf(
  { state }: Turn,
  primary: PrimaryState,
  { changed, isWrittenBeyond }: Shrinking,
  { ok, bytes, unsized }: Extract<CopyEvent, { type: 'beyond-counted' }>,
): Extract<CommandResult, { ok: false }> | undefined {
  if (state.role !== 'primary') return { ok: false, code: 'not-primary', why: 'it gives the lead away' }
  if (!isSameId(primary.changed, changed)) {
    return { ok: false, code: 'superseded', why: 'another change of the volume came first' }
  }
  if (!ok) return { ok: false, code: 'refused', why: 'its map cannot be read' }
  if (unsized !== undefined) {
    return { ok: false, code: 'occupied', why: `snapshot ${unsized} has no size of its own, and would end there too` }
  }
  if (bytes > 0) return { ok: false, code: 'occupied', why: `${bytes} bytes of data live beyond the new end` }
  if (!isWrittenBeyond) return undefined
  return { ok: false, code: 'occupied', why: 'a client wrote beyond the new end while that was looked at' }
}

const isSameId = (a: RecordId, b: RecordId): boolean => a.epoch === b.epoch && a.seq === b.seq
