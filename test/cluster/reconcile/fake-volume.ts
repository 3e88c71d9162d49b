/** What the copies of a volume agree on, for data sides without bytes: its changes, as its primaries order them. */
import { SnapshotIndex } from '../../../engine/control/snapshot-index.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../../../engine/control/volume-snapshots.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import type { Attach, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { ChangeCommand, HoldCommand } from '../../../engine/replication/copy-port.ts'
import type { RecordId } from '../../../engine/replication/record-id.ts'
import type { ControlChange, Durability, NewSnapshot } from '../../../engine/replication/record.ts'
import { MIB } from '../../../engine/units.ts'
import type { Snapshot } from '../../../engine/volume/descriptor.ts'

export class FakeVolume {
  changed: RecordId = { epoch: 0, seq: 0 }
  sizeBytes = 64 * MIB
  /** Empty: its nodes do not say. */
  durability: Durability | '' = 'durable'
  snapshots: Snapshot[] = []
  /** Snapshot ids, in the order of the rollbacks to them. */
  readonly rolledBackTo: string[] = []
  readonly changes: ControlChange[] = []
  /** In mode `open`: generation of the newest session that was opened. */
  newestSession = -1
  /** In which no write is ordered; it does not end by its time here. */
  hold: string | undefined
  lastHold = ''
  /** Who reads any of its snapshots. */
  inUse = ''
  /** Why it does not become smaller. */
  occupied = ''
  private seq = 0

  /** A primary begins to serve. */
  newTerm(epoch: number): void {
    this.changed = { epoch, seq: ++this.seq }
    this.hold = undefined
    this.lastHold = ''
  }

  beginHold(node: string, { hold, expected }: Omit<HoldCommand, 'type'>): { seq: number } {
    const detail = { node, volume: 'v' }
    this.check(expected, detail)
    if (this.hold !== undefined || this.lastHold === hold) {
      throw new HoldfastError('copy-refused', { ...detail, reason: 'it is held' })
    }
    this.hold = hold
    this.lastHold = hold
    return { seq: this.seq }
  }

  release(hold: string): void {
    if (this.hold === hold) this.hold = undefined
  }

  /** @param config  as this primary knows it @throws HoldfastError when a primary would refuse */
  order(node: string, command: Omit<ChangeCommand, 'type'>, { epoch, attach }: VolumeConfig): { seq: number } {
    const { change, expected, unusedSince, hold } = command
    const detail = { node, volume: 'v' }
    this.check(expected, detail)
    if (hold !== undefined && hold !== this.hold) {
      throw new HoldfastError('copy-refused', { ...detail, reason: 'the hold is over' })
    }
    if (hold !== undefined) this.hold = undefined
    if (unusedSince !== undefined && attach.generation < unusedSince) {
      throw new HoldfastError('change-superseded', { ...detail, reason: 'that generation is not known' })
    }
    if (unusedSince !== undefined && Object.keys(attach.holders).length > 0) {
      throw new HoldfastError('rollback-in-use', { ...detail, reason: 'it is held' })
    }
    if (unusedSince !== undefined && this.newestSession >= unusedSince) {
      throw new HoldfastError('rollback-in-use', { ...detail, reason: 'node n2 uses it' })
    }
    if (change.operation === 'shrink' && this.occupied !== '') {
      throw new HoldfastError('volume-occupied', { ...detail, reason: this.occupied })
    }
    const seq = ++this.seq
    this.changed = { epoch, seq }
    this.changes.push(change)
    this.apply(change, seq)
    return { seq }
  }

  tell(query: SnapshotQuery, epoch: number, { generation, holders }: Attach): SnapshotAnswer {
    const { changed, sizeBytes, durability, snapshots } = this
    const { inUse } = this
    const { snapshots: found, ...all } = new SnapshotIndex().follow(snapshots).answer(query)
    const told = found.map((one) => ({ ...one, exclusiveBytes: 0, exclusiveAtMs: 0 }))
    return { epoch, changed, sizeBytes, durability, ...all, snapshots: told, inUse, attach: { generation, holders } }
  }

  private check(expected: RecordId | undefined, detail: { node: string; volume: string }): void {
    if (expected === undefined) return
    if (expected.epoch === this.changed.epoch && expected.seq === this.changed.seq) return
    throw new HoldfastError('change-superseded', { ...detail, reason: 'another change came first' })
  }

  private apply(change: ControlChange, seq: number): void {
    if (change.operation === 'resize' || change.operation === 'shrink') this.sizeBytes = change.sizeBytes
    if (change.operation === 'durability') this.durability = change.to
    if (change.operation === 'snapshot') this.make(change, seq)
    if (change.operation === 'snapshot-delete') this.snapshots = this.snapshots.filter(({ id }) => id !== change.id)
    if (change.operation === 'rollback') {
      if (change.kept !== undefined) this.make(change.kept, seq - 1)
      this.rolledBackTo.push(change.to)
    }
  }

  private make({ id, title }: NewSnapshot, seq: number): void {
    const { sizeBytes } = this
    const made = { id, seq, pinnedBy: null, sizeBytes, ...(title === undefined ? {} : { title }) }
    this.snapshots = [...this.snapshots, made]
  }
}
