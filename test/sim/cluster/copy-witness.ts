/**
 * What a copy was told and what its store confirmed, written down beside it: a `CopyStore` that passes everything on
 * and lets the checkers know. It outlives the process, as the disk does. It never answers for the store.
 */
import type { CopyFacts, CopyStore, StoredCopy } from '../../../engine/replication/copy-store.ts'
import type { OpenedSnapshot } from '../../../engine/replication/messages.ts'
import { epochAt } from '../../../engine/replication/record-id.ts'
import type { BlockVersion, ReplicatedRecord, VersionId } from '../../../engine/replication/record.ts'
import { covers, NO_FENCE, type SessionFence } from '../../../engine/replication/session-fence.ts'
import type { MemberLog } from './checker/acknowledged-is-durable.ts'

export interface WitnessPort {
  /** In the order of everything. */
  position(): number
  applied(node: string, record: ReplicatedRecord): void
  promiseTold(node: string, epoch: number): void
  promiseKept(node: string, epoch: number): void
  /** `isWhole`: on all of its disks. */
  promiseFound(node: string, epoch: number, isWhole: boolean): void
  /** It lacks something that was durable, or written in the boot that goes on. True: its disk lied. */
  cameBackShort(node: string): boolean
  /** It gives up what it has, to be filled from another copy. */
  fillStarts(node: string): void
  /** It is given a version to fill in. `target`: what is above comes as records (F3). */
  fillsIn(node: string, version: BlockVersion, target: number): void
  /** It was filled from another copy. */
  filled(node: string): void
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
  /** Of trims up to here the source of its last filling may have left no trace: it knows no more itself. */
  forgottenSeq = 0
  private readonly port: WitnessPort
  private store: CopyStore | undefined
  private epochs: Array<readonly [number, number]> = []
  /** Up to here it was filled from another copy, under whatever epochs. */
  private filledTo = 0
  private fillToken = -1
  private fillForgotSeq = 0
  private fillTarget = 0
  private accepted: ReplicatedRecord[] = []
  /** Of each seq, in the order of everything, when it was stored here last. */
  private readonly positions: number[] = []
  private readonly keeping = new Map<number, { facts: Partial<CopyFacts>; order: number }>()
  /** What it had written when its machine lost power or a disk; it may have said so, and that may be on its way yet. */
  private written: { seq: number; epochs: Array<readonly [number, number]> } = { seq: 0, epochs: [] }
  /** What was durable on a disk that was taken out, or that lied, until the copy was filled again. */
  private takenSeq = 0
  private boot = ''
  private order = 0
  /** Of the calls whose consistency, and whose fence, are known to be durable: earlier ones may be confirmed later. */
  private consistencyOrder = 0
  private attachOrder = 0

  constructor(node: string, port: WitnessPort) {
    this.node = node
    this.port = port
  }

  /** A new process has opened the store. */
  opened(store: CopyStore, stored: StoredCopy): void {
    this.store = store
    const isRebooted = stored.boot !== this.boot
    if (isRebooted && this.storedSeq > stored.tail) {
      this.written = { seq: this.storedSeq, epochs: this.epochs }
    }
    const { facts } = stored
    const lacksPromise = facts.promise.epoch < this.durablePromise
    // In the same boot what was written is there, synced or not.
    const leastTail = isRebooted ? this.durableSeq : this.storedSeq
    if (stored.tail < leastTail || lacksPromise || !covers(facts.attach, this.durableAttach)) {
      const hasLied = this.port.cameBackShort(this.node)
      if (hasLied) this.wasTaken()
    }
    this.boot = stored.boot
    this.epochs = [...stored.epochs]
    this.accepted = stored.unapplied.slice()
    this.appliedSeq = stored.appliedSeq
    this.placed(stored.tail)
    this.storedSeq = this.durableSeq = stored.tail
    this.durablePromise = facts.promise.epoch
    this.port.promiseFound(this.node, this.durablePromise, stored.lostSlices.length === 0)
    this.durableAttach = facts.attach
    this.isConsistent = facts.consistency.state === 'consistent'
    this.keeping.clear()
    // The next process counts its calls anew.
    this.fillToken = -1
  }

  /** The same store, by a machine that begins anew: it counts its calls anew, and nothing is under way. */
  reopened(stored: StoredCopy): void {
    this.opened(this.store!, stored)
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

  /** A disk of it is gone. */
  diskTaken(): void {
    this.forgottenSeq = 0
    this.wasTaken()
  }

  /** What it had, and may have said to be durable, is gone. */
  private wasTaken(): void {
    this.takenSeq = Math.max(this.takenSeq, this.durableSeq)
    if (this.storedSeq > this.written.seq) this.written = { seq: this.storedSeq, epochs: this.epochs }
  }

  /** The store said so; it may take a while until the copy hears it. */
  stored(seq: number, durableSeq: number): void {
    this.placed(seq)
    this.storedSeq = seq
    this.durableSeq = durableSeq
  }

  /** When its record of this seq was stored, or that seq was filled; unset: never. */
  storedAt(seq: number): number | undefined {
    return this.positions[seq]
  }

  private placed(toSeq: number): void {
    const at = this.port.position()
    for (let seq = this.storedSeq + 1; seq <= toSeq; seq++) this.positions[seq] = at
  }

  kept(token: number): void {
    const kept = this.keeping.get(token)
    this.keeping.delete(token)
    if (token === this.fillToken) {
      this.forgottenSeq = Math.max(this.forgottenSeq, this.fillForgotSeq)
      const { storedSeq } = this
      // What it had before, too, is as its source has it only now.
      this.storedSeq = 0
      this.placed(this.filledTo)
      this.storedSeq = Math.max(storedSeq, this.filledTo)
      this.durableSeq = Math.max(this.durableSeq, this.filledTo)
    }
    if (kept === undefined) return
    const { facts, order } = kept
    if (facts.promise !== undefined) {
      this.durablePromise = Math.max(this.durablePromise, facts.promise.epoch)
      this.port.promiseKept(this.node, this.durablePromise)
    }
    if (facts.attach !== undefined && order > this.attachOrder) {
      this.durableAttach = facts.attach
      this.attachOrder = order
    }
    if (facts.consistency === undefined || order < this.consistencyOrder) return
    this.isConsistent = facts.consistency.state === 'consistent'
    if (this.isConsistent) {
      this.takenSeq = 0
      this.port.filled(this.node)
    }
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
    const { epochs, forgottenSeq } = start.descriptor as {
      epochs: Array<readonly [number, number]>
      forgottenSeq: number
    }
    this.fillForgotSeq = forgottenSeq
    this.epochs = [...epochs]
    this.appliedSeq = start.target
    this.filledTo = this.fillTarget = start.target
    this.fillToken = token
    // Up to the fork it keeps what it has, whenever it crashes: applied in the turn in which the begin is durable.
    const keptSeq = start.wipe.length === 0 ? start.fork : 0
    this.storedSeq = Math.min(this.storedSeq, keptSeq)
    this.durableSeq = Math.min(this.durableSeq, keptSeq)
    this.isConsistent = false
    this.keeping.set(token, { facts: start.facts, order: ++this.order })
    this.port.fillStarts(this.node)
    this.store!.startFill(token, start)
  }

  sync(): void {
    this.store!.sync()
  }

  read(token: number, lba: number, blockCount: number): void {
    this.store!.read(token, lba, blockCount)
  }

  snapshot(wanted: string): OpenedSnapshot | undefined {
    return this.store!.snapshot(wanted)
  }

  readSnapshot(...read: Parameters<CopyStore['readSnapshot']>): void {
    this.store!.readSnapshot(...read)
  }

  mapSnapshot(...map: Parameters<CopyStore['mapSnapshot']>): void {
    this.store!.mapSnapshot(...map)
  }

  lookUp(token: number, lbas: readonly number[]): void {
    this.store!.lookUp(token, lbas)
  }

  countBeyond(token: number, lba: number): void {
    this.store!.countBeyond(token, lba)
  }

  slicesShown(): number {
    return this.store!.slicesShown()
  }

  scan(token: number, range: Parameters<CopyStore['scan']>[1]): void {
    this.store!.scan(token, range)
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    for (const version of versions) this.port.fillsIn(this.node, version, this.fillTarget)
    this.store!.fill(token, versions)
  }

  readVersions(token: number, wanted: readonly VersionId[]): void {
    this.store!.readVersions(token, wanted)
  }

  findMarks(token: number, range: Parameters<CopyStore['findMarks']>[1]): void {
    this.store!.findMarks(token, range)
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
