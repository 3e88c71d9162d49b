/**
 * What an operator asks of the volume (SPEC 2.2, W7 to W10, S7): changes take their place among the writes as control
 * records, the same on every copy (I21), and end when they are committed; a hand-over changes the configuration.
 */
import { sendToAll } from './primary.ts'
import { advance } from './commit.ts'
import { readConfig } from './configuration-change.ts'
import { appendRecord } from './copy-log.ts'
import type { ChangeCommand, CommandResult, CopyEvent } from './copy-port.ts'
import { syncBefore } from './flush.ts'
import { beginHandOver } from './hand-over.ts'
import { endHold, holdRefusal, isAsExpected, onHold } from './hold.ts'
import { noteNewer } from './narrow-writes.ts'
import type { PrimaryState } from './primary-state.ts'
import type { ReplicatedRecord } from './record.ts'
import type { CopyState } from './copy-state.ts'
import { judgeShrink, orderedBytes } from './shrink.ts'
import { snapshotRefusal } from './snapshot-uses.ts'
import type { Turn } from './turn.ts'

type Refusal = Extract<CommandResult, { ok: false }>

export function onCommand(turn: Turn, { token, command }: Extract<CopyEvent, { type: 'command' }>): void {
  const { state, port } = turn
  if (command.type === 'hand-over') return beginHandOver(turn, token, command.to)
  const { primary } = state
  if (primary === undefined || state.role !== 'primary') {
    return port.commandEnded(token, { ok: false, code: 'not-primary', why: 'this copy does not lead' })
  }
  if (command.type === 'hold' || command.type === 'release') return onHold(turn, primary, { token, command })
  const refusal = refusalOf(turn, primary, command)
  if (refusal !== undefined) return port.commandEnded(token, refusal)
  const { change } = command
  if (change.operation === 'shrink') judgeShrink(turn, primary, token, change.sizeBytes)
  else if (change.operation === 'durability' && change.to === 'durable') syncBefore(turn, token, command)
  else orderChange(turn, primary, token, command)
}

/** Put it at the end of the log. Everything that speaks against it was asked in this very step. */
export function orderChange(
  turn: Turn,
  primary: PrimaryState,
  token: number,
  { change, hold }: Pick<ChangeCommand, 'change' | 'hold'>,
): void {
  const seq = turn.state.log.tail + 1
  const record: ReplicatedRecord = { epoch: primary.epoch, seq, request: undefined, kind: 'control', change }
  primary.commands.set(seq, token)
  primary.changed = { epoch: primary.epoch, seq }
  if (change.operation === 'resize' || change.operation === 'shrink')
    primary.resized = { seq, sizeBytes: change.sizeBytes }
  if (primary.edges.size > 0) noteNewer(primary, record)
  appendRecord(turn, record)
  sendToAll(turn)
  // I25: what waited is ordered behind it.
  if (hold !== undefined) endHold(turn, primary)
  advance(turn)
}

/** Names of snapshots are checked where they are known, before the command comes here. */
export function refusalOf(turn: Turn, primary: PrimaryState, command: ChangeCommand): Refusal | undefined {
  const { change, expected, unusedSince, hold } = command
  if (!isAsExpected(primary, expected)) {
    return { ok: false, code: 'superseded', why: 'another change of the volume came first' }
  }
  const why = hold === undefined ? undefined : holdRefusal(turn, primary, hold)
  if (why !== undefined) return { ok: false, code: 'refused', why }
  switch (change.operation) {
    case 'epoch':
      return { ok: false, code: 'refused', why: 'an epoch begins with a configuration' }
    case 'resize': {
      const sizeBytes = orderedBytes(turn, primary)
      if (change.sizeBytes >= sizeBytes) return undefined
      return { ok: false, code: 'refused', why: `it has ${sizeBytes} bytes and does not shrink` }
    }
    case 'shrink': {
      const sizeBytes = orderedBytes(turn, primary)
      if (change.sizeBytes <= sizeBytes) return undefined
      return { ok: false, code: 'refused', why: `it has ${sizeBytes} bytes and does not grow` }
    }
    case 'rollback': {
      // I26: what the snapshot shows behind the end of the volume would be there again.
      const [own, to] = [orderedBytes(turn, primary), turn.port.store.snapshot(change.to)?.sizeBytes ?? 0]
      if (to > own) return { ok: false, code: 'refused', why: `its snapshot has ${to} bytes, and it has ${own}` }
      return unusedSince === undefined ? undefined : useRefusal(turn, turn.state, unusedSince)
    }
    case 'snapshot-delete':
      return snapshotRefusal(turn, primary, change.id)
    case 'durability':
    case 'snapshot':
    case 'delete':
      return undefined
  }
}

/** S7. Who is refused a second time on what was read meanwhile is refused rightly. */
function useRefusal(turn: Turn, { attach: fence, config }: CopyState, since: number): Refusal | undefined {
  const { attach } = config!.config
  if (attach.generation < since) {
    readConfig(turn)
    return { ok: false, code: 'superseded', why: `attach generation ${since} is not known here yet` }
  }
  const isOpen = attach.mode === 'open'
  const users = isOpen ? (fence.open ?? []).filter(([, generation]) => generation >= since).map(([node]) => node)
    : Object.keys(attach.holders)
  if (users.length === 0) return undefined
  readConfig(turn)
  return { ok: false, code: 'in-use', why: `node ${users.sort().join(' and ')} uses it` }
}

/** Its term as primary is over, or begins anew: nobody waits for what it was asked for. @param why  it may be done */
export function endCommands({ port }: Turn, { commands, changes, shrinking }: PrimaryState, why: string): void {
  const undone = (token: number, what: string): void =>
    port.commandEnded(token, { ok: false, code: 'not-primary', why: `it ceased to lead before ${what}` })
  if (shrinking !== undefined) undone(shrinking.token, 'it had judged that')
  for (const { token, order } of changes) {
    if (order !== undefined) undone(token, 'everything was synced')
    else port.commandEnded(token, { ok: false, code: 'lost', why })
  }
  for (const token of commands.values()) port.commandEnded(token, { ok: false, code: 'lost', why })
}
