/**
 * What a copy was told and what its store confirmed, written down beside it: a `CopyStore` that passes everything on
 * and lets the checkers know. It outlives the process, as the disk does. It never answers for the store.
 */
import type { CopyFacts, CopyStore, StoredCopy } from '../../../engine/replication/copy-store.ts'
import { epochAt } from '../../../engine/replication/record-id.ts'
import type { BlockVersion, ReplicatedRecord, VersionId } from '../../../engine/replication/record.ts'
import { joined, NO_FENCE, type SessionFence } from '../../../engine/replication/session-fence.ts'
import type { MemberLog } from './checker/acknowledged-is-durable.ts'

export interface WitnessPort {
  applied(node: string, record: ReplicatedRecord): void
  promiseTold(node: string, epoch: number): void
  promiseKept(node: string, epoch: number): void
  promiseFound(node: string, epoch: number): void
}

export class CopyWitness implements CopyStore, MemberLog {
  readonly node: string
  storedSeq = 0
  durableSeq = 0
  appliedSeq = 0
  /** Of what the store said is kept. */
  durablePromise = 0
  durableAttach: SessionFence = NO_FENCE
  isConsistent = true
  private readonly port: WitnessPort
  private store: CopyStore | undefined
  private epochs: Array<readonly [number, number]> = []
  /** Up to here it was filled from another copy, under whatever epochs. */
  private filledTo = 0
  private fillToken = -1
  private accepted: ReplicatedRecord[] = []
  private readonly keeping = new Map<number, { facts: Partial<CopyFacts>; order: number }>()
  /** What it had written when its machine lost power: it may have said so, and that may still be on its way. */
  private written: { seq: number; epochs: Array<readonly [number, number]> } = { seq: 0, epochs: [] }
  /** What was durable on a disk that was taken out. */
  private takenSeq = 0
  private boot = ''
  private order = 0
  /** Of the call whose consistency is known to be durable: an earlier one may be confirmed later. */
  private consistencyOrder = 0

  constructor(node: string, port: WitnessPort) {
    this.node = node
    this.port = port
  }

  /** A new process has opened the store. */
  opened(store: CopyStore, stored: StoredCopy): void {
    this.store = store
    if (stored.boot !== this.boot && this.storedSeq > stored.tail) {
      this.written = { seq: this.storedSeq, epochs: this.epochs }
    }
    this.boot = stored.boot
    this.epochs = [...stored.epochs]
    this.accepted = stored.unapplied.slice()
    this.appliedSeq = stored.appliedSeq
    this.storedSeq = this.durableSeq = stored.tail
    this.durablePromise = stored.facts.promise.epoch
    this.port.promiseFound(this.node, this.durablePromise)
    this.durableAttach = stored.facts.attach
    this.isConsistent = stored.facts.consistency.state === 'consistent'
    this.keeping.clear()
  }

  has(epoch: number, seq: number): boolean {
    return seq <= this.filledTo || epochAt(this.epochs, seq) === epoch
  }

  hadWritten(epoch: number, seq: number): boolean {
    return seq <= this.written.seq && epochAt(this.written.epochs, seq) === epoch
  }

  hadDurable(seq: number): boolean {
    return seq <= this.takenSeq
  }

  /** Its disk is gone; another one comes in its place. */
  diskTaken(): void {
    this.takenSeq = Math.max(this.takenSeq, this.durableSeq)
  }

  /** The store said so; it may take a while until the copy hears it. */
  stored(seq: number, durableSeq: number): void {
    this.storedSeq = seq
    this.durableSeq = durableSeq
  }

  kept(token: number): void {
    const kept = this.keeping.get(token)
    this.keeping.delete(token)
    if (token === this.fillToken) {
      this.storedSeq = Math.max(this.storedSeq, this.filledTo)
      this.durableSeq = Math.max(this.durableSeq, this.filledTo)
    }
    if (kept === undefined) return
    const { facts, order } = kept
    if (facts.promise !== undefined) {
      this.durablePromise = Math.max(this.durablePromise, facts.promise.epoch)
      this.port.promiseKept(this.node, this.durablePromise)
    }
    if (facts.attach !== undefined) this.durableAttach = joined(this.durableAttach, facts.attach)
    if (facts.consistency === undefined || order < this.consistencyOrder) return
    this.isConsistent = facts.consistency.state === 'consistent'
    this.consistencyOrder = order
  }

  append(record: ReplicatedRecord): void {
    this.accepted = this.accepted.filter(({ seq }) => seq < record.seq)
    this.accepted.push(record)
    if (record.kind === 'control' && record.change.operation === 'epoch') {
      this.epochs = [...record.change.epochs]
      this.filledTo = Math.min(this.filledTo, record.seq - 1)
    }
    this.store!.append(record)
  }

  dropAbove(seq: number): void {
    this.accepted = this.accepted.filter((record) => record.seq <= seq)
    this.epochs = this.epochs.filter(([, firstSeq]) => firstSeq <= seq)
    this.storedSeq = Math.min(this.storedSeq, seq)
    this.durableSeq = Math.min(this.durableSeq, seq)
    this.takenSeq = Math.min(this.takenSeq, seq)
    this.store!.dropAbove(seq)
  }

  apply(seq: number, windows: unknown): void {
    let count = 0
    for (const record of this.accepted) {
      if (record.seq > seq) break
      this.port.applied(this.node, record)
      count++
    }
    this.accepted.splice(0, count)
    this.appliedSeq = Math.max(this.appliedSeq, seq)
    this.store!.apply(seq, windows)
  }

  keep(token: number, facts: Partial<CopyFacts>): void {
    if (facts.promise !== undefined) this.port.promiseTold(this.node, facts.promise.epoch)
    this.keeping.set(token, { facts, order: ++this.order })
    this.store!.keep(token, facts)
  }

  startFill(token: number, start: Parameters<CopyStore['startFill']>[1]): void {
    this.accepted = []
    const { epochs } = start.descriptor as { epochs: Array<readonly [number, number]> }
    this.epochs = [...epochs]
    this.appliedSeq = start.target
    this.filledTo = start.target
    this.fillToken = token
    this.storedSeq = this.durableSeq = 0
    this.written = { seq: 0, epochs: [] }
    this.takenSeq = 0
    this.isConsistent = false
    this.keeping.set(token, { facts: start.facts, order: ++this.order })
    this.store!.startFill(token, start)
  }

  sync(): void {
    this.store!.sync()
  }

  read(token: number, lba: number, blockCount: number): void {
    this.store!.read(token, lba, blockCount)
  }

  lookUp(token: number, lbas: readonly number[]): void {
    this.store!.lookUp(token, lbas)
  }

  scan(token: number, range: Parameters<CopyStore['scan']>[1]): void {
    this.store!.scan(token, range)
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    this.store!.fill(token, versions)
  }

  readVersions(token: number, wanted: readonly VersionId[]): void {
    this.store!.readVersions(token, wanted)
  }

  repair(token: number, versions: readonly BlockVersion[]): void {
    this.store!.repair(token, versions)
  }

  descriptor(): unknown {
    return this.store!.descriptor()
  }

  keepTrimsAbove(seq: number): void {
    this.store!.keepTrimsAbove(seq)
  }
}
