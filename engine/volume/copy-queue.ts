/**
 * The log of a copy above what is applied: accepted in order of seq, stored from the front, then applied from the front
 * or dropped from the end.
 *
 * Invariants
 * - Y1 the queue holds exactly the seqs `appliedSeq + 1 .. tail`, without gaps.
 * - Y2 what is not applied is in no map; until a checkpoint lists it, it holds back the position of its log.
 * - Y3 `appliedSeq` and the windows change together, on all disks of the copy in one turn.
 */
import { assert } from '../assert.ts'
import { RECORD_KIND } from '../log/record.ts'
import type { WaitingRecord } from '../log/waiting-records.ts'
import type { EpochHistory } from '../replication/record-id.ts'
import type { ControlChange, ReplicatedRecord } from '../replication/record.ts'
import { BLOCK_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { withChange } from './copy-part.ts'
import type { SettledCopy } from './copy-recovery.ts'
import type { LocalCopyStore } from './copy-store.ts'

export interface Place {
  target: Target
  waiting: WaitingRecord
}

/** A record of the queue. */
export interface Accepted {
  seq: number
  epoch: number
  change: ControlChange | undefined
  /** One, but for control records, which lie on every disk. */
  places: Place[]
  /** Disks that have not answered. */
  left: number
  dropped: boolean
  /** Epoch records: what counted before. */
  epochsBefore: EpochHistory | undefined
  /** It is stored only when it is durable, and everything before it. */
  isDurable: boolean
}

/** What is applied leaves the queue soon: garbage that is referred to for long is moved by the collector, and costs. */
const APPLIED_MIN = 32
/** Of what is not handed to a log yet; replaced, never changed. */
const NO_PLACES: Place[] = []

export class CopyQueue {
  tail: number
  appliedSeq: number
  storedSeq: number
  durableSeq: number
  /** Of everything accepted. */
  epochs: EpochHistory
  windows: unknown
  /** The queue begins behind it. */
  baseSeq: number
  /** Calls of `dropAbove` and `startFill`. */
  drops = 0
  private readonly copy: LocalCopyStore
  private queue: Accepted[] = []
  private head = 0
  /** Entries of the queue that are stored, from `head` on. */
  private storedCount = 0
  private toApply: Array<{ seq: number; windows: unknown }> = []
  private saysStored = false
  private droppedEpochs: Place[] = []
  /** As of what is applied, or of the filling that begins; and those that change it. */
  private wasDurable: boolean
  private durabilities: Accepted[] = []

  constructor(copy: LocalCopyStore, { descriptor, tail, unapplied }: SettledCopy) {
    this.copy = copy
    this.epochs = descriptor.epochs
    this.windows = descriptor.copy.windows
    this.appliedSeq = descriptor.copy.appliedSeq
    this.wasDurable = descriptor.spec.durability === 'durable'
    this.baseSeq = this.appliedSeq
    this.tail = tail
    this.storedSeq = tail
    this.durableSeq = tail
    for (const { seq, places } of unapplied) {
      const { epoch } = places[0]!.waiting.record
      const accepted = { seq, epoch, change: undefined, places, left: 0, dropped: false, epochsBefore: undefined }
      this.queue.push({ ...accepted, isDurable: true })
    }
    this.storedCount = this.queue.length
  }

  /** What waits, oldest first. */
  get entries(): readonly Accepted[] {
    return this.queue
  }

  /** As of everything accepted: what comes next is durable when it is stored. */
  get isDurable(): boolean {
    const last = this.durabilities.at(-1)?.change
    return last?.operation === 'durability' ? last.to === 'durable' : this.wasDurable
  }

  /** Of one that waits since before the copy was opened, its change was read. */
  changeRead(accepted: Accepted, change: ControlChange): void {
    accepted.change = change
    if (change.operation === 'durability') this.durabilities.push(accepted)
  }

  append(record: ReplicatedRecord): void {
    const { appends, bodies, layout, targets } = this.copy
    const change = record.kind === 'control' ? record.change : undefined
    if (change?.operation === 'epoch' && record.seq <= this.tail) this.forgetAbove(record.seq - 1)
    assert(record.seq === this.tail + 1, 'Y1: records are accepted without gaps')
    this.tail = record.seq
    const { seq, epoch } = record
    const places = NO_PLACES
    const isDurable = change !== undefined || this.isDurable
    const accepted: Accepted =
      { seq, epoch, change, places, left: 0, dropped: false, epochsBefore: undefined, isDurable }
    this.queue.push(accepted)
    if (change?.operation === 'durability') this.durabilities.push(accepted)
    if (change?.operation === 'epoch') {
      accepted.epochsBefore = this.epochs
      this.epochs = change.epochs
    }
    if (change?.operation === 'resize') bodies.place(change.sizeBytes)
    if (record.kind === 'control') {
      accepted.left = targets.length
      const run = (): void => appends.writeChange(accepted, record.epoch, record.change)
      appends.hold({ accepted, request: undefined, targets, blocks: 0, run })
    } else {
      accepted.left = 1
      const target = layout.target(record.lba)
      assert(target !== undefined, 'a record lies in a slice this copy has a disk for')
      const blocks = record.kind === 'write' ? record.blockCount : 0
      if (appends.isFree(target, blocks)) appends.writeRecord(accepted, target, record)
      else {
        const run = (): void => appends.writeRecord(accepted, target, record)
        appends.hold({ accepted, request: record.request, targets: [target], blocks, run })
      }
    }
  }

  /** Something was written: what is stored without a gap may have grown. */
  advance(): void {
    const { queue } = this
    const { bodies, filling } = this.copy
    const before = this.storedSeq
    while (this.head + this.storedCount < queue.length && queue[this.head + this.storedCount]!.left === 0) {
      const { seq, change, isDurable } = queue[this.head + this.storedCount++]!
      this.storedSeq = seq
      // Of a change: everything before it in each log is durable with it. Behind one to durable each record is.
      if (isDurable && seq > this.durableSeq) this.durableSeq = seq
      if (change?.operation === 'epoch' && bodies.fillsPending === 0) this.releaseDropped()
    }
    const seq = this.storedSeq
    filling.lookDrained()
    if (filling.isSettling || seq === before) return
    this.runApply()
    // The last one of what was accepted speaks for all; before it, once a turn.
    if (seq === this.tail) this.sayStored()
    else this.sayStoredLater()
  }

  private sayStoredLater(): void {
    if (this.saysStored) return
    this.saysStored = true
    this.copy.o.clock.defer(() => {
      if (this.saysStored) this.sayStored()
    })
  }

  sayStored(): void {
    this.saysStored = false
    if (this.copy.failedReason === '')
      this.copy.onEvent({ type: 'stored', seq: this.storedSeq, durableSeq: this.durableSeq, drops: this.drops })
  }

  // --- dropping ----------------------------------------------------------------------------------------------------

  dropAbove(seq: number): void {
    assert(seq >= this.baseSeq, 'what is applied is not dropped')
    this.drops++
    this.forgetAbove(seq)
  }

  forgetAbove(seq: number): void {
    if (seq >= this.tail) return
    const { appends, bodies } = this.copy
    const keep = Math.max(0, this.queue.length - (this.tail - seq))
    let epochs: EpochHistory | undefined
    let logged: EpochHistory | undefined
    for (const accepted of this.queue.splice(keep)) {
      accepted.dropped = true
      epochs ??= accepted.epochsBefore
      if (accepted.epochsBefore !== undefined && accepted.places.length > 0) logged ??= accepted.epochsBefore
      for (const place of accepted.places)
        if (place.target.map.copy!.waiting.has(place.waiting)) this.drop(accepted, place)
    }
    appends.forgetDropped()
    this.tail = seq
    this.storedCount = Math.min(this.storedCount, this.queue.length - this.head)
    this.storedSeq = Math.min(this.storedSeq, seq)
    this.durableSeq = Math.min(this.durableSeq, seq)
    this.toApply = this.toApply.filter((one) => one.seq <= seq)
    this.durabilities = this.durabilities.filter((one) => one.seq <= seq)
    if (epochs !== undefined) this.epochs = epochs
    if (logged === undefined) return
    bodies.loggedEpochs = logged
    bodies.install(bodies.now)
  }

  /** An epoch record that goes has cut others: it stays beside the map until the next one is stored in its place. */
  drop({ change }: Accepted, place: Place): void {
    if (change?.operation === 'epoch') this.droppedEpochs.push(place)
    else release(place)
  }

  releaseDropped(): void {
    for (const place of this.droppedEpochs.splice(0)) release(place)
  }

  /** Begin anew behind a seq, as a filling does. What was left goes to whoever asks. */
  restartAt(seq: number, epochs: EpochHistory, isDurable: boolean): Accepted[] {
    const rest = this.queue.splice(this.head)
    this.queue = []
    this.head = 0
    this.storedCount = 0
    this.toApply = []
    this.durabilities = []
    this.wasDurable = isDurable
    this.epochs = epochs
    this.tail = seq
    this.baseSeq = seq
    this.storedSeq = seq
    this.durableSeq = seq
    return rest
  }

  // --- applying ----------------------------------------------------------------------------------------------------

  apply(seq: number, windows: unknown): void {
    assert(seq <= this.tail, 'only what was accepted is applied')
    if (seq <= this.appliedSeq || this.copy.failedReason !== '') return
    this.toApply.push({ seq, windows })
    this.runApply()
  }

  runApply(): void {
    while (this.toApply.length > 0 && !this.copy.filling.isSettling) {
      const { seq, windows } = this.toApply[0]!
      if (seq > this.storedSeq) return
      this.toApply.shift()
      if (seq > this.appliedSeq) this.applyTo(seq, windows)
    }
  }

  private applyTo(seq: number, windows: unknown): void {
    const { queue } = this
    const changed: Place[] = []
    const ofDurability = this.durabilities.filter((one) => one.seq <= seq)
    // What is in force is durable on all disks with them, and behind one to write-back not all will be.
    if (ofDurability.length > 0) this.copy.bodies.claim()
    while (this.head < queue.length && queue[this.head]!.seq <= seq) {
      this.applyOne(queue[this.head++]!, changed)
      this.storedCount--
    }
    if (this.head === queue.length) {
      queue.length = 0
      this.head = 0
    } else if (this.head >= APPLIED_MIN && this.head * 2 >= queue.length) {
      queue.splice(0, this.head)
      this.head = 0
    }
    if (ofDurability.length > 0) {
      this.durabilities.splice(0, ofDurability.length)
      this.wasDurable = this.copy.durability === 'durable'
    }
    this.baseSeq = seq
    this.noteApplied(seq, windows)
    this.copy.bodies.afterApply(changed)
    this.copy.o.onWork(undefined)
  }

  noteApplied(seq: number, windows: unknown): void {
    this.appliedSeq = seq
    this.windows = windows
    for (const { map } of this.copy.targets) {
      map.appliedSeq = seq
      map.copy!.windows = windows
      map.changed = true
    }
  }

  /** @param changed  gets the places of a control record: they may be cleaned away when a body says what they did */
  applyOne({ seq, change, places }: Accepted, changed: Place[]): void {
    const { bodies } = this.copy
    if (change === undefined) {
      const { target, waiting } = places[0]!
      target.stream.apply(target.map, waiting.record, waiting.segment, waiting.units)
      const copyMap = target.map.copy!
      copyMap.appliedBatch = Math.max(copyMap.appliedBatch, waiting.record.bornBatch)
      target.stream.recordsApplied++
      release(places[0]!)
      bodies.noteUnhinted(waiting.record.kind === RECORD_KIND.write ? waiting.record.blockCount * BLOCK_BYTES : 0)
      return
    }
    if (change.operation === 'epoch') {
      for (const place of places) release(place)
      return
    }
    bodies.install(withChange(bodies.now, change, seq))
    changed.push(...places)
  }
}

/** It waits no more. */
export function release({ target: { stream, map }, waiting }: Place): void {
  map.copy!.waiting.release(waiting, stream.log, stream.segments)
}
