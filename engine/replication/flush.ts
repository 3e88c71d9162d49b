/**
 * FLUSH and FUA (SPEC S6). Where all that was answered stands behind a change to `durable`, it is durable on the whole
 * set. In `writeback` a flush is answered when every required copy, the primary included, reports everything answered
 * before it as durable; a FUA write the same for its own seq. What others answer who took our place a flush has to
 * cover, too, and they may have changed the durability (W10): in both it waits as a read does until it is certain that
 * there is nobody.
 *
 * I13: FLUSH answered -> all earlier answered writes durable on the whole set.
 */
import { assert } from '../assert.ts'
import { requiredPeers } from './commit.ts'
import { orderChange, refusalOf } from './control.ts'
import type { NodeId } from './configuration.ts'
import type { ChangeCommand } from './copy-port.ts'
import { noteOwing } from './own-disk.ts'
import type { FlushWait, Peer, PrimaryState } from './primary-state.ts'
import type { RequestId } from './record.ts'
import { whenLed } from './reads.ts'
import { answer, DONE, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

export function onFlush(turn: Turn, from: NodeId, id: RequestId): void {
  const { state } = turn
  const { durability, log } = state
  const seq = log.commitSeq
  assert(durability !== 'durable' || log.durableSeq >= seq, 'I13: what was answered is durable')
  whenLed(turn, { from, id, lba: 0, blockCount: 0, flushSeq: seq })
}

/** Answered when everything up to this seq is durable everywhere. */
export function awaitSync(turn: Turn, wait: FlushWait): void {
  if (durableEverywhere(turn) >= wait.seq) return answer(turn, wait.from, wait.id, DONE)
  turn.state.primary!.flushes.push(wait)
  askForSync(turn, wait.seq)
  releaseFlushes(turn)
}

/** A write that took effect is asked for again. With FUA it may still wait for being durable. */
export function answerAgain(turn: Turn, from: NodeId, id: RequestId, fua: boolean): void {
  const { primary, log, durability } = turn.state
  if (!fua || durability === 'durable') return answer(turn, from, id, DONE)
  const isWaiting = primary!.flushes.some(
    (wait) =>
      wait.id.request === id.request &&
      wait.id.part === id.part &&
      wait.id.incarnation === id.incarnation &&
      wait.id.generation === id.generation,
  )
  if (!isWaiting) awaitSync(turn, { seq: log.commitSeq, from, id })
}

export function waitForFua(primary: PrimaryState, wait: FlushWait): void {
  primary.fua.set(wait.seq, wait)
}

/** Whether the write at this seq is answered later, when it is durable. */
export function noteFua(primary: PrimaryState, seq: number): boolean {
  if (primary.fua.size === 0) return false
  const wait = primary.fua.get(seq)
  if (wait === undefined) return false
  primary.fua.delete(seq)
  primary.flushes.push(wait)
  return true
}

/** Have everything up to this seq made durable everywhere. @param joining  there, too: it may not be required yet */
export function askForSync(turn: Turn, seq: number, joining?: Peer): void {
  const { state, port, nowMs } = turn
  const { primary, log, options } = state
  primary!.syncAskedSeq = Math.max(primary!.syncAskedSeq, seq)
  if (log.durableSeq < seq) port.store.sync()
  noteOwing(turn)
  const peers = requiredPeers(primary!)
  if (joining !== undefined && !peers.includes(joining)) peers.push(joining)
  for (const peer of peers) {
    if (peer.durableSeq < seq && peer.isFollowing) {
      port.send(peer.node, { type: 'sync', epoch: primary!.epoch, seq })
      peer.owedSinceMs ??= nowMs
      peer.sentAtMs = nowMs
    }
  }
  wakeBy(turn, nowMs + options.retryMs)
}

export function durableEverywhere({ state }: Turn): number {
  let seq = state.log.durableSeq
  for (const peer of requiredPeers(state.primary!)) seq = Math.min(seq, peer.durableSeq)
  return seq
}

export function releaseFlushes(turn: Turn): void {
  const { primary } = turn.state
  if (primary === undefined || primary.flushes.length + primary.changes.length === 0) return
  const seq = durableEverywhere(turn)
  const changes = primary.changes.filter((change) => change.seq <= seq)
  if (changes.length > 0) primary.changes = primary.changes.filter((change) => change.seq > seq)
  for (const { token, seq: at, order } of changes) {
    if (order === undefined) turn.port.commandEnded(token, { ok: true, seq: at })
  }
  const still = primary.flushes.filter((wait) => wait.seq > seq)
  if (still.length < primary.flushes.length) {
    for (const wait of primary.flushes) {
      if (wait.seq <= seq) answer(turn, wait.from, wait.id, DONE)
    }
    primary.flushes = still
  }
  const highest = highestWaiting(primary)
  if (highest > primary.syncAskedSeq) askForSync(turn, highest)
  for (const { token, order } of changes) if (order !== undefined) orderSynced(turn, token, order)
}

/**
 * A change to `durable` (W10): first everything is synced everywhere that was answered until now, for nothing is
 * answered between the order and the time when all before it is durable.
 */
export function syncBefore(turn: Turn, token: number, order: ChangeCommand): void {
  const { log, primary } = turn.state
  primary!.changes.push({ seq: log.commitSeq, token, order })
  releaseFlushes(turn)
}

function orderSynced(turn: Turn, token: number, order: ChangeCommand): void {
  const { state, port } = turn
  const { primary } = state
  if (primary === undefined || state.role !== 'primary') {
    const why = 'it ceased to order changes before everything was synced'
    return port.commandEnded(token, { ok: false, code: 'not-primary', why })
  }
  const refusal = refusalOf(turn, primary, order)
  if (refusal === undefined) orderChange(turn, primary, token, order)
  else port.commandEnded(token, refusal)
}

/** Lost `sync` messages are sent again. */
export function retryFlushes(turn: Turn): void {
  const { primary } = turn.state
  if (primary === undefined || primary.flushes.length + primary.changes.length === 0) return
  askForSync(turn, highestWaiting(primary))
}

function highestWaiting({ flushes, changes }: PrimaryState): number {
  let highest = 0
  for (const { seq } of flushes) if (seq > highest) highest = seq
  for (const { seq } of changes) if (seq > highest) highest = seq
  return highest
}
