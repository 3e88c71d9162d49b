/**
 * The log of a copy: accept a record, cut back what is not committed, commit and apply (SPEC 2.2, W5).
 *
 * I5: seqs are contiguous; an epoch begins with its epoch record, which carries the history.
 * I10: what was committed, so may have been read, is never cut back.
 * I11: the commit point never decreases.
 * I26: what is applied lies inside the volume as it is at that place of the log.
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES } from '../units.ts'
import { epochAt, tailId } from './record-id.ts'
import type { RecordId } from './record-id.ts'
import type { ReplicatedRecord } from './record.ts'
import { cutWindow, forgetUpTo, pushRecord, recordAt } from './record-window.ts'
import { encodeWindows, noteApplied } from './session-window.ts'
import { durabilityAt, forgetOver, nextToken, noteDurability, slicesOf, wholeBootNow } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import type { Turn } from './turn.ts'

export const tailOf = ({ log }: CopyState): RecordId => tailId(log)

export const idAt = ({ log }: CopyState, seq: number): RecordId => ({ epoch: epochAt(log.epochs, seq), seq })

export function appendRecord(turn: Turn, record: ReplicatedRecord): void {
  const { state, port } = turn
  const { log } = state
  assert(record.seq === log.tail + 1, 'I5: a record follows the tail')
  const last = log.epochs.at(-1)
  if (record.kind === 'control' && record.change.operation === 'epoch') {
    const { epochs } = record.change
    const named = epochs.at(-1)
    assert(named !== undefined && named[0] === record.epoch && named[1] === record.seq, 'I5: an epoch names itself')
    assert(last === undefined || record.epoch > last[0], 'I1: epochs only grow')
    log.epochs = [...epochs]
  } else {
    assert(last !== undefined && last[0] === record.epoch, 'I5: a record is of the last epoch of its log')
  }
  const change = record.kind === 'control' && record.change.operation === 'durability' ? record.change : undefined
  // Durable in order: nothing is acknowledged unsynced before it is known of which boot that is.
  if (change?.to === 'writeback') keepWhole(turn)
  pushRecord(log.window, record)
  noteDurability(log.durabilities, record)
  log.tail = record.seq
  port.store.append(record)
  // W10: it counts when it is durable, in either durability.
  if (change !== undefined) port.store.sync()
}

/** Forget what was accepted above this seq. The epoch record that follows makes it durable. */
export function cutBack(turn: Turn, seq: number): void {
  const { state, port } = turn
  const { log } = state
  if (seq >= log.tail) return
  assert(seq >= log.commitSeq, 'I10: what is committed is not cut back')
  const before = durabilityAt(state, log.tail)
  cutWindow(log.window, seq)
  log.tail = seq
  log.epochs = log.epochs.filter(([, firstSeq]) => firstSeq <= seq)
  log.writtenSeq = Math.min(log.writtenSeq, seq)
  log.durableSeq = Math.min(log.durableSeq, seq)
  log.drops++
  log.durabilities = log.durabilities.filter((change) => change.seq <= seq)
  port.store.dropAbove(seq)
  // It is cut durably by the epoch record that follows, and nothing counts before that (W10).
  if (before === 'durable' && durabilityAt(state, seq) === 'writeback') keepWhole(turn)
}

/** Whether the store's report changed anything. */
export function noteStored(
  { log }: CopyState,
  { seq, durableSeq, drops }: { seq: number; durableSeq: number; drops?: number },
): boolean {
  if (drops !== undefined && drops < log.drops) return false
  const written = Math.min(Math.max(seq, durableSeq), log.tail)
  const durable = Math.min(durableSeq, log.tail)
  if (written <= log.writtenSeq && durable <= log.durableSeq) return false
  log.writtenSeq = Math.max(log.writtenSeq, written)
  log.durableSeq = Math.max(log.durableSeq, durable)
  return true
}

/** Everything up to this seq is committed: from here on it is read. `each` is told in order of seq. */
export function commitTo(turn: Turn, seq: number, each?: (record: ReplicatedRecord) => void): void {
  const { state, port } = turn
  const { log } = state
  assert(seq >= log.commitSeq && seq <= log.tail, 'I11: the commit point grows, within the log')
  if (seq === log.commitSeq) return
  log.commitSeq = seq
  const known = state.windows.length
  for (let at = log.appliedSeq + 1; at <= seq; at++) {
    const record = recordAt(log.window, at)
    assert(record !== undefined, 'I10: what is not applied is kept')
    if (record.kind === 'control') applyControl(turn, record)
    else {
      const endBytes = (record.lba + record.blockCount) * BLOCK_BYTES
      assert(endBytes <= state.sizeBytes, 'I26: what is applied lies inside the volume')
      if (record.request !== undefined) noteApplied(state.windows, record.request)
    }
    each?.(record)
  }
  log.appliedSeq = seq
  // Of one that was over before what is behind it was applied here.
  if (state.windows.length > known) forgetOver(state)
  port.store.apply(seq, encodeWindows(state.windows))
  if (state.primary === undefined) forgetUpTo(log.window, seq)
}

function applyControl(turn: Turn, record: Extract<ReplicatedRecord, { kind: 'control' }>): void {
  const { state } = turn
  const { change, seq } = record
  switch (change.operation) {
    case 'resize':
    case 'shrink':
      state.sizeBytes = change.sizeBytes
      // Slices keep their places: a snapshot may show something there.
      state.sliceCount = Math.max(state.sliceCount, slicesOf(state))
      return
    case 'durability':
      state.durability = change.to
      state.log.durabilities.shift()
      return
    case 'rollback':
      // Which seq it goes back to is the store's business; that there was one decides whether a delta is complete.
      state.rollbacks.push([0, seq])
      return
    case 'epoch':
      // A log chosen since this process began is what the whole set has (C3).
      if (record.epoch > state.epochAtStart) becomeWhole(turn)
      return
    case 'snapshot':
    case 'snapshot-delete':
    case 'delete':
      return
  }
}

/** Nothing that was acknowledged is missing any more, whatever a boot took away. */
export function becomeWhole(turn: Turn): void {
  const { state } = turn
  if (state.isWhole) return
  state.isWhole = true
  if (durabilityAt(state, state.log.tail) === 'writeback') keepWhole(turn)
}

/**
 * W10: everything up to a change to durable is here, and it is as durable as that. Not while it is filled: its log is
 * that of the source from the target on, and ends before a change back to writeback for a moment; it is as whole as
 * its source.
 */
export function noteDurable(turn: Turn): void {
  const { state } = turn
  if (state.isWhole || state.consistency.state !== 'consistent') return
  if (durabilityAt(state, state.log.durableSeq) === 'durable') becomeWhole(turn)
}

function keepWhole({ state, port }: Turn): void {
  const token = nextToken(state)
  state.kept.set(token, { type: 'nothing' })
  port.store.keep(token, wholeBootNow(state))
}
