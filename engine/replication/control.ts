/**
 * What an operator asks of the volume (SPEC 2.2): changes take their place among the writes as control records, the
 * same on every copy (I21), and end when they are committed; a hand-over changes the configuration.
 */
import { sendToAll } from './primary.ts'
import { advance } from './commit.ts'
import { appendRecord } from './copy-log.ts'
import type { CopyEvent } from './copy-port.ts'
import { beginHandOver } from './hand-over.ts'
import { noteNewer } from './narrow-writes.ts'
import type { ControlChange, ReplicatedRecord } from './record.ts'
import type { CopyState } from './copy-state.ts'
import type { Turn } from './turn.ts'

export function onCommand(turn: Turn, { token, command }: Extract<CopyEvent, { type: 'command' }>): void {
  const { state, port } = turn
  if (command.type === 'hand-over') return beginHandOver(turn, token, command.to)
  const { primary } = state
  if (primary === undefined || state.role !== 'primary') {
    return port.commandEnded(token, { ok: false, code: 'not-primary', why: 'this copy does not lead' })
  }
  const why = whyNot(state, command.change)
  if (why !== undefined) return port.commandEnded(token, { ok: false, code: 'refused', why })
  const seq = state.log.tail + 1
  const { change } = command
  const record: ReplicatedRecord = { epoch: primary.epoch, seq, request: undefined, kind: 'control', change }
  primary.commands.set(seq, token)
  if (primary.edges.size > 0) noteNewer(primary, record)
  appendRecord(turn, record)
  sendToAll(turn)
  advance(turn)
}

/** Names of snapshots are checked where they are known, before the command comes here. */
function whyNot(state: CopyState, change: ControlChange): string | undefined {
  switch (change.operation) {
    case 'epoch':
      return 'an epoch begins with a configuration'
    case 'resize':
      return change.sizeBytes < state.sizeBytes ? `it has ${state.sizeBytes} bytes and does not shrink` : undefined
    case 'snapshot':
    case 'snapshot-delete':
    case 'rollback':
    case 'delete':
      return undefined
  }
}
