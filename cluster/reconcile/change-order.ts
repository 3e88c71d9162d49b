/**
 * A change of a volume on its way to its primary's node: what the elected controller orders, as one flat message, and
 * the command that the node makes of it (SNAPSHOTS.md T1, T6).
 */
import { unreachable } from '../../engine/assert.ts'
import type { ChangeCommand } from '../../engine/replication/copy-port.ts'
import type { RecordId } from '../../engine/replication/record-id.ts'
import type { Durability, SnapshotTitle } from '../../engine/replication/record.ts'

const OPERATIONS = ['resize', 'shrink', 'durability', 'snapshot', 'snapshot-delete', 'rollback'] as const

/** What of an order the operation does not need is empty, 0 or null. */
export interface OrderedChange {
  operation: (typeof OPERATIONS)[number]
  /** resize, shrink. */
  sizeBytes: number
  durability: Durability | ''
  /** Which snapshot is made or deleted, or what a rollback keeps. */
  snapshotId: string
  title: SnapshotTitle | null
  /** rollback: id of a snapshot. */
  toId: string
  /** Null: whatever was changed before. */
  expected: RecordId | null
  /** rollback: an attach generation. No rollback is ordered without one. */
  unusedSince: number
  /** Empty: in no hold. */
  hold: string
}

const NOTHING = {
  sizeBytes: 0, durability: '' as const, snapshotId: '', title: null, toId: '', unusedSince: 0, hold: '',
}

/** Of what the control plane orders; epochs and deletions are not ordered. */
export function orderedChange(command: Omit<ChangeCommand, 'type'>): OrderedChange {
  const { change, expected, unusedSince = 0, hold = '' } = command
  const base = { ...NOTHING, expected: expected ?? null }
  switch (change.operation) {
    case 'resize':
    case 'shrink':
      return { ...base, operation: change.operation, sizeBytes: change.sizeBytes }
    case 'durability':
      return { ...base, operation: change.operation, durability: change.to }
    case 'snapshot':
      return { ...base, operation: change.operation, snapshotId: change.id, title: toldTitle(change.title), hold }
    case 'snapshot-delete':
      return { ...base, operation: change.operation, snapshotId: change.id }
    case 'rollback': {
      const { to: toId, kept } = change
      const keeps = { snapshotId: kept?.id ?? '', title: toldTitle(kept?.title) }
      return { ...base, operation: change.operation, toId, ...keeps, unusedSince }
    }
    default:
      throw new Error(`${change.operation} is no order`)
  }
}

/** Undefined: of an operation that this node does not know. */
export function commandOf(ordered: OrderedChange): Omit<ChangeCommand, 'type'> | undefined {
  const { operation, sizeBytes, snapshotId: id, title, toId: to, expected, unusedSince, hold } = ordered
  if (!OPERATIONS.includes(operation)) return undefined
  const condition = expected === null ? {} : { expected }
  const snapshot = title === null ? { id } : { id, title: titleOf(title) }
  switch (operation) {
    case 'resize':
    case 'shrink':
      return { change: { operation, sizeBytes }, ...condition }
    case 'durability':
      return ordered.durability === '' ? undefined
        : { change: { operation, to: ordered.durability }, ...condition }
    case 'snapshot':
      return { change: { operation, ...snapshot }, ...condition, ...(hold === '' ? {} : { hold }) }
    case 'snapshot-delete':
      return { change: { operation, id }, ...condition }
    case 'rollback': {
      const kept = id === '' ? {} : { kept: snapshot }
      return { change: { operation, to, ...kept }, ...condition, unusedSince }
    }
    default:
      return unreachable(operation)
  }
}

const toldTitle = (title?: SnapshotTitle): SnapshotTitle | null =>
  title === undefined ? null : { group: '', ...title }

/** Without what the message has for nothing. */
const titleOf = ({ group = '', ...title }: SnapshotTitle): SnapshotTitle => (group === '' ? title : { ...title, group })
