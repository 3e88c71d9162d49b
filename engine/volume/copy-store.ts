/**
 * The store of one copy of a replicated volume (contract: engine/replication/copy-store.ts; on disk: FORMAT.md
 * section 7), over the streams of the disks it lies on.
 *
 *   append -> accepted, queued in order of seq -> written -> `stored` up to the first that is not
 *   apply  -> from the queue into the map                dropAbove -> out of the queue, void
 *
 * Invariants
 * - Y1 the queue holds exactly the seqs `appliedSeq + 1 .. tail`, without gaps.
 * - Y2 what is not applied is in no map; until a checkpoint lists it, it holds back the position of its log.
 * - Y3 `appliedSeq` and the windows change together, on all disks of the copy in one turn.
 * - Y4 a body that says what was applied is durable before the cleaner gives back a record it covers.
 * - Y5 one failed disk fails the copy: nothing is reported as stored or kept afterwards.
 */
import { assert } from '../assert.ts'
import type { Append } from '../log/log-batch.ts'
import { OPERATION, RECORD_KIND, type RecordHeader } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { WaitingRecord } from '../log/waiting-records.ts'
import { hexToUuid } from '../log/bytes.ts'
import { volumeTag } from '../log/identity.ts'
import type { ClockPort, Crc32c } from '../ports.ts'
import type { CopyFacts, CopyStore, StoredCopy, StoreEvent } from '../replication/copy-store.ts'
import type { EpochHistory } from '../replication/record-id.ts'
import { epochAt } from '../replication/record-id.ts'
import type { BlockVersion, ControlChange, ReplicatedRecord } from '../replication/record.ts'
import { runTask, until, type Task } from '../task.ts'
import { BLOCK_BYTES, SLICE_BLOCKS, SLICE_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { withChange, type CopyDescriptor } from './copy-part.ts'
import { fillVersions } from '../log/fill-version.ts'
import { fillRecords, wipeSlices } from './copy-fill.ts'
import { blobsOf, headerOf, OPERATION_OF, payloadOf, replicatedOf, setTable } from './copy-headers.ts'
import { readHead, readIds, scanSlice, type CopyReading } from './copy-reader.ts'
import { readBody, type SettledCopy } from './copy-recovery.ts'
import { encodeDescriptor, generationOfSlice } from './descriptor.ts'
import { roomFor } from './held-requests.ts'
import { placementOf, placeSlices, slicesOf, type SliceRuns } from './placement.ts'

export interface CopyOptions {
  settled: SettledCopy
  crc32c: Crc32c
  clock: ClockPort
  /** The machine did not boot since the disks were last written. */
  sameBoot: boolean
  /** Something was appended, or waits for space in a stream. */
  onWork(shortOf: StoreStream | undefined): void
}

/** What every copy of the volume has in common. */
export interface ReplicatedDescriptor {
  spec: CopyDescriptor['spec']
  epochs: EpochHistory
  snapshots: CopyDescriptor['snapshots']
  rollbacks: CopyDescriptor['rollbacks']
  deleted: boolean
  forgottenSeq: number
}

/** A copy with what it found when it was opened. */
export interface OpenCopy {
  copy: LocalCopyStore
  stored: StoredCopy
}

interface Place {
  target: Target
  waiting: WaitingRecord
}

/** A record of the queue. */
interface Accepted {
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
}

interface Held {
  accepted: Accepted | undefined
  targets: Target[]
  blocks: number
  run: () => void
}

/** The stream that has no room for what is held. */
const shortOf = ({ targets, blocks }: Held): StoreStream | undefined =>
  targets.find(({ stream }) => !stream.failed && !roomFor(stream, Math.max(1, blocks), blocks > 0))?.stream

const mutable = (epochs: EpochHistory): CopyDescriptor['epochs'] =>
  epochs.map(([epoch, firstSeq]) => [epoch, firstSeq])

/** A body is written when so much was applied since the last one: a rebuild keeps no more in memory. */
const HINT_RECORDS = 4096
const HINT_BYTES = 32 << 20

export class LocalCopyStore implements CopyStore {
  readonly volumeId: string
  readonly targets: Target[]
  onEvent: (event: StoreEvent) => void = () => {}
  tail: number
  appliedSeq: number
  storedSeq: number
  durableSeq: number
  failedReason = ''
  private readonly o: CopyOptions
  private readonly id: Uint8Array
  private readonly reading: CopyReading
  /** What is in force; each map has the same under the revision of its disk. */
  private now: CopyDescriptor
  private revision: number
  /** Given to `keep`, durable or not. */
  private facts: CopyFacts
  private epochs: EpochHistory
  /** As of what was handed to the log: bodies name these. */
  private loggedEpochs: EpochHistory
  /** Fillings whose record is not durable. */
  private fillsPending = 0
  private windows: unknown
  private queue: Accepted[] = []
  private head = 0
  /** Entries of the queue that are stored, from `head` on. */
  private storedCount = 0
  private toApply: Array<{ seq: number; windows: unknown }> = []
  private held: Held[] = []
  private saysStored = false
  /** A filling begins, or slices are wiped: nothing is written behind it, respectively applied. */
  private barrier = 0
  private fillStarts: Array<(this: LocalCopyStore) => Task<boolean>> = []
  /** The queue begins behind it. */
  private baseSeq: number
  /** Calls of `dropAbove` and `startFill`. */
  private drops = 0
  /** What was in force at the last sync of all disks. */
  private claimed: CopyDescriptor
  private droppedEpochs: Place[] = []
  private settling = false
  private drainWaiter: (() => void) | undefined
  private hintRecords = 0
  private hintBytes = 0
  /** Where slices lie for what is accepted from now on, and by slice the index into `targets`. */
  private layout: SliceRuns
  private placement: Uint16Array
  /** FILL records that are not in the map yet. */
  private fillsUnderWay = 0
  private appendsUnderWay = 0
  private drainedWaiters: Array<() => void> = []

  constructor(options: CopyOptions) {
    const { settled, crc32c } = options
    this.o = options
    this.targets = settled.targets
    this.now = settled.descriptor
    this.claimed = this.now
    this.layout = this.now.slices
    // A resize may be accepted and not applied: its slices have places beyond the size in force.
    this.placement = this.placementFor(this.layout)
    this.revision = this.now.revision
    this.facts = this.now.copy.facts
    this.epochs = this.now.epochs
    this.loggedEpochs = this.epochs
    this.windows = this.now.copy.windows
    this.appliedSeq = this.now.copy.appliedSeq
    this.baseSeq = this.appliedSeq
    this.tail = settled.tail
    this.storedSeq = settled.tail
    this.durableSeq = settled.tail
    this.volumeId = this.now.spec.id
    this.id = hexToUuid(this.volumeId)
    for (const { seq, places } of settled.unapplied) {
      const { record } = places[0]!.waiting
      this.queue.push({
        seq,
        epoch: record.epoch,
        change: undefined,
        places,
        left: 0,
        dropped: false,
        epochsBefore: undefined,
      })
    }
    this.storedCount = this.queue.length
    this.reading = { crc32c, tag: volumeTag(crc32c, this.id), target: (lba) => this.target(lba) }
    for (const target of this.targets) target.map.copy!.writeHint = (done) => this.writeHint(target, done)
  }

  /** Finish what a crash interrupted, and read what waits. Undefined when some of it cannot be read. */
  *openTask(): Task<StoredCopy | undefined> {
    this.settling = true
    if (!(yield* this.wipeTask())) return undefined
    this.settling = false
    const unapplied: ReplicatedRecord[] = []
    let epochs: EpochHistory = this.epochs.filter(([, firstSeq]) => firstSeq <= this.appliedSeq)
    for (const accepted of this.queue) {
      const { target, waiting } = accepted.places[0]!
      const { record, segment, units } = waiting
      if (record.kind === RECORD_KIND.control) {
        const body = yield* readBody(target.stream, segment, units, record)
        if (body?.copy.change === undefined) return undefined
        accepted.change = body.copy.change
        if (accepted.change.operation === 'epoch') {
          accepted.epochsBefore = epochs
          epochs = accepted.change.epochs
        }
      }
      const bytes = yield* this.payload(target, waiting)
      if (bytes === undefined) return undefined
      const payload = record.kind === RECORD_KIND.write ? payloadOf(this.o.crc32c, bytes) : undefined
      unapplied.push(replicatedOf(record, payload, accepted.change))
    }
    // Disks that disagreed are brought to one body.
    if (this.targets.some(({ map }) => map.descriptor.revision !== this.revision))
      this.writeLocal(this.body(), () => {})
    return { ...this.stored(), unapplied }
  }

  private get forgottenSeq(): number {
    return Math.max(...this.targets.map(({ map }) => map.copy!.forgottenSeq))
  }

  /** Record a new copy. */
  create(done: (ok: boolean) => void): void {
    this.writeLocal(this.body(), done)
  }

  /** Run when nothing is on its way to a disk any more. */
  drained(run: () => void): void {
    if (this.appendsUnderWay === 0) run()
    else this.drainedWaiters.push(run)
  }

  /** What the copy is now, without its unapplied records. */
  stored(): StoredCopy {
    const { spec, rollbacks, copy } = this.now
    const present = new Set(this.targets.map(({ stream }) => stream.context.diskUuid))
    const lostSlices: number[] = []
    for (const [diskUuid, , runs] of this.now.slices)
      if (!present.has(diskUuid))
        for (const [first, count] of runs)
          for (let slice = first; slice < first + count; slice++) lostSlices.push(slice)
    return {
      copyId: copy.copyId,
      facts: copy.facts,
      epochs: this.epochs,
      tail: this.tail,
      appliedSeq: this.appliedSeq,
      unapplied: [],
      sameBoot: this.o.sameBoot,
      forgottenSeq: this.forgottenSeq,
      windows: this.windows,
      rollbacks,
      sliceCount: Math.ceil(spec.sizeBytes / SLICE_BYTES),
      sizeBytes: spec.sizeBytes,
      lostSlices,
    }
  }

  // --- records -----------------------------------------------------------------------------------------------------

  append(record: ReplicatedRecord): void {
    const change = record.kind === 'control' ? record.change : undefined
    if (change?.operation === 'epoch' && record.seq <= this.tail) this.forgetAbove(record.seq - 1)
    assert(record.seq === this.tail + 1, 'Y1: records are accepted without gaps')
    this.tail = record.seq
    const { seq, epoch } = record
    const accepted: Accepted = { seq, epoch, change, places: [], left: 0, dropped: false, epochsBefore: undefined }
    this.queue.push(accepted)
    if (change?.operation === 'epoch') this.takeEpochs(accepted, change.epochs)
    if (change?.operation === 'resize') this.place(change.sizeBytes)
    if (record.kind === 'control') {
      accepted.left = this.targets.length
      this.hold(accepted, this.targets, 0, () => this.writeChange(accepted, record.epoch, record.change))
    } else {
      accepted.left = 1
      const target = this.target(record.lba)
      assert(target !== undefined, 'a record lies in a slice this copy has a disk for')
      const blocks = record.kind === 'write' ? record.blockCount : 0
      this.hold(accepted, [target], blocks, () => this.writeRecord(accepted, target, record))
    }
    this.o.onWork(undefined)
  }

  private takeEpochs(accepted: Accepted, epochs: EpochHistory): void {
    accepted.epochsBefore = this.epochs
    this.epochs = epochs
  }

  private writeRecord(
    accepted: Accepted,
    target: Target,
    record: Exclude<ReplicatedRecord, { kind: 'control' }>,
  ): void {
    const header = headerOf(this.id, { ...record, kind: RECORD_KIND[record.kind] }, record.request)
    header.sliceGeneration = generationOfSlice({ slices: this.layout }, Math.floor(record.lba / SLICE_BLOCKS))
    let payload: Uint8Array[] = []
    if (record.kind === 'write') {
      const { bytes, crcs } = blobsOf(record.payload)
      setTable(header, this.reading.tag, crcs)
      payload = [bytes]
    }
    const units = record.kind === 'write' ? record.blockCount * UNITS_PER_BLOCK : 0
    this.appendTo(accepted, target, header, payload, units, this.isDurable)
  }

  private writeChange(accepted: Accepted, epoch: number, change: ControlChange): void {
    const ended = (): void => {
      // Everything before it in each log is durable with it.
      if (accepted.left === 0 && !accepted.dropped && accepted.seq > this.durableSeq) this.durableSeq = accepted.seq
    }
    if (change.operation === 'epoch') this.loggedEpochs = change.epochs
    const body = this.body({ change })
    this.install(this.now)
    this.writeBody(
      OPERATION_OF[change.operation],
      { epoch, seq: accepted.seq },
      body,
      this.targets,
      (target, header, payload) => {
        this.appendTo(accepted, target, header, payload, payload[0]!.length / 64, true, ended)
      },
    )
  }

  private appendTo(
    accepted: Accepted,
    target: Target,
    record: RecordHeader,
    payload: Uint8Array[],
    payloadUnits: number,
    durable: boolean,
    ended?: () => void,
  ): void {
    const { stream, map } = target
    const waiting: WaitingRecord = { record, segment: 0, generation: 0, units: 0, batch: undefined, listed: false }
    accepted.places.push({ target, waiting })
    this.appendRaw(target, { record, payload, payloadUnits, durable }, (append) => {
      waiting.segment = append.segment
      waiting.generation = stream.segments.generation[append.segment]!
      waiting.units = append.units
      waiting.batch = append.batch
      accepted.left--
      if (record.kind === RECORD_KIND.control) this.bodyWritten(target, append)
      map.copy!.waiting.all.add(waiting)
      if (accepted.dropped) this.drop(accepted, { target, waiting })
      ended?.()
      this.advance()
    })
  }

  private appendRaw(
    { stream }: Target,
    what: { record: RecordHeader; payload: Uint8Array[]; payloadUnits: number; durable: boolean },
    written: (append: Append) => void,
    failed?: () => void,
  ): void {
    this.appendsUnderWay++
    stream.append({
      ...what,
      segment: 0,
      units: 0,
      batch: undefined,
      done: (ok, append) => {
        this.appendsUnderWay--
        if (!ok) this.fail(stream.failedReason)
        if (this.failedReason === '') written(append)
        else {
          if (ok) stream.applied(append.batch!)
          failed?.()
        }
        if (this.appendsUnderWay === 0) for (const run of this.drainedWaiters.splice(0)) run()
      },
    })
  }

  /** Run when there is room, and nothing is held before it. */
  private hold(accepted: Accepted | undefined, targets: Target[], blocks: number, run: () => void): void {
    const held: Held = { accepted, targets, blocks, run }
    if (this.held.length === 0 && this.barrier === 0 && shortOf(held) === undefined) return run()
    this.held.push(held)
    if (this.barrier === 0) this.o.onWork(shortOf(this.held[0]!))
  }

  /** Space may have come back. */
  retryHeld(): void {
    while (this.barrier === 0 && this.held.length > 0) {
      const stream = shortOf(this.held[0]!)
      if (stream !== undefined) return this.o.onWork(stream)
      this.held.shift()!.run()
    }
  }

  get heldRecords(): number {
    return this.held.length
  }

  private advance(): void {
    const { queue } = this
    const before = this.storedSeq
    while (this.head + this.storedCount < queue.length && queue[this.head + this.storedCount]!.left === 0) {
      const { seq, change } = queue[this.head + this.storedCount++]!
      this.storedSeq = seq
      if (change?.operation === 'epoch' && this.fillsPending === 0) this.releaseDropped()
    }
    const seq = this.storedSeq
    if (this.isDurable && seq > this.durableSeq) this.durableSeq = seq
    if (this.drainWaiter !== undefined) this.drainWaiter()
    if (this.settling || seq === before) return
    this.runApply()
    // The last one of what was accepted speaks for all; before it, once a turn.
    if (seq === this.tail) this.sayStored()
    else this.sayStoredLater()
  }

  private sayStoredLater(): void {
    if (this.saysStored) return
    this.saysStored = true
    this.o.clock.defer(() => {
      if (this.saysStored) this.sayStored()
    })
  }

  private sayStored(): void {
    this.saysStored = false
    if (this.failedReason === '')
      this.onEvent({ type: 'stored', seq: this.storedSeq, durableSeq: this.durableSeq, drops: this.drops })
  }

  dropAbove(seq: number): void {
    assert(seq >= this.baseSeq, 'what is applied is not dropped')
    this.drops++
    this.forgetAbove(seq)
  }

  private forgetAbove(seq: number): void {
    if (seq >= this.tail) return
    const keep = Math.max(0, this.queue.length - (this.tail - seq))
    let epochs: EpochHistory | undefined
    let logged: EpochHistory | undefined
    for (const accepted of this.queue.splice(keep)) {
      accepted.dropped = true
      epochs ??= accepted.epochsBefore
      if (accepted.epochsBefore !== undefined && accepted.places.length > 0) logged ??= accepted.epochsBefore
      for (const place of accepted.places)
        if (place.target.map.copy!.waiting.all.has(place.waiting)) this.drop(accepted, place)
    }
    this.held = this.held.filter(({ accepted }) => accepted === undefined || !accepted.dropped)
    this.tail = seq
    this.storedCount = Math.min(this.storedCount, this.queue.length - this.head)
    this.storedSeq = Math.min(this.storedSeq, seq)
    this.durableSeq = Math.min(this.durableSeq, seq)
    this.toApply = this.toApply.filter((one) => one.seq <= seq)
    if (epochs !== undefined) this.epochs = epochs
    if (logged === undefined) return
    this.loggedEpochs = logged
    this.install(this.now)
  }

  /** An epoch record that goes has cut others: it stays beside the map until the next one is stored in its place. */
  private drop({ change }: Accepted, { target, waiting }: Place): void {
    if (change?.operation === 'epoch') this.droppedEpochs.push({ target, waiting })
    else this.release(target, waiting)
  }

  private releaseDropped(): void {
    for (const { target, waiting } of this.droppedEpochs.splice(0)) this.release(target, waiting)
  }

  private release({ stream, map }: Target, waiting: WaitingRecord): void {
    map.copy!.waiting.release(waiting, stream.log, stream.segments, map.number)
  }

  // --- applying ----------------------------------------------------------------------------------------------------

  apply(seq: number, windows: unknown): void {
    assert(seq <= this.tail, 'only what was accepted is applied')
    if (seq <= this.appliedSeq || this.failedReason !== '') return
    this.toApply.push({ seq, windows })
    this.runApply()
  }

  private runApply(): void {
    while (this.toApply.length > 0 && !this.settling) {
      const { seq, windows } = this.toApply[0]!
      if (seq > this.storedSeq) return
      this.toApply.shift()
      if (seq > this.appliedSeq) this.applyTo(seq, windows)
    }
  }

  private applyTo(seq: number, windows: unknown): void {
    const { queue } = this
    const changed: Place[] = []
    while (this.head < queue.length && queue[this.head]!.seq <= seq) {
      this.applyOne(queue[this.head++]!, changed)
      this.storedCount--
    }
    if (this.head === queue.length) {
      queue.length = 0
      this.head = 0
    } else if (this.head > 1024) {
      queue.splice(0, this.head)
      this.head = 0
    }
    this.appliedSeq = seq
    this.baseSeq = seq
    this.windows = windows
    this.noteApplied()
    // They may be cleaned away when a body says what they did.
    if (changed.length > 0)
      this.writeLocal(this.body(), () => {
        for (const { target, waiting } of changed) this.release(target, waiting)
      })
    if (this.hintRecords >= HINT_RECORDS || this.hintBytes >= HINT_BYTES)
      for (const target of this.targets) this.writeHint(target, () => {})
    this.o.onWork(undefined)
  }

  private noteApplied(): void {
    for (const { map } of this.targets) {
      map.appliedSeq = this.appliedSeq
      map.copy!.windows = this.windows
      map.changed = true
    }
  }

  private applyOne({ seq, change, places }: Accepted, changed: Place[]): void {
    if (change === undefined) {
      const { target, waiting } = places[0]!
      target.stream.apply(target.map, waiting.record, waiting.segment, waiting.units)
      target.stream.recordsApplied++
      this.release(target, waiting)
      this.hintRecords++
      this.hintBytes += waiting.record.kind === RECORD_KIND.write ? waiting.record.blockCount * BLOCK_BYTES : 0
      return
    }
    if (change.operation === 'epoch') {
      for (const { target, waiting } of places) this.release(target, waiting)
      return
    }
    this.install(withChange(this.now, change, seq))
    changed.push(...places)
  }

  // --- bodies ------------------------------------------------------------------------------------------------------

  private install(now: CopyDescriptor): void {
    // Those of a filling count when its record is durable.
    const epochs = this.fillsPending > 0 ? now.epochs : mutable(this.loggedEpochs)
    this.now = { ...now, epochs, epoch: epochs.at(-1)?.[0] ?? 0 }
    // The revision of what lies on the disk, or the cleaner would take it for old.
    for (const { map } of this.targets) map.setDescriptor({ ...this.now, revision: map.descriptor.revision })
  }

  /** The descriptor as it is written now. */
  private body(also: { change?: ControlChange } = {}): CopyDescriptor {
    const { facts, now, layout: slices } = this
    const { spec, snapshots, rollbacks, deleted, copy } = this.mayClaim ? this.inForce() : this.claimed
    const epochs = mutable(this.loggedEpochs)
    return { ...now, spec, snapshots, rollbacks, deleted, epochs, slices, copy: { ...copy, facts, ...also } }
  }

  /**
   * Whether a body may say at once what was applied: with write-back on several disks another one may not have it
   * durably; then a body says what was applied at the last sync of all.
   */
  private get mayClaim(): boolean {
    return this.isDurable || this.targets.length === 1
  }

  private inForce(): CopyDescriptor {
    const { appliedSeq, windows, now } = this
    return { ...now, copy: { ...now.copy, appliedSeq, windows } }
  }

  private syncAll(done: (ok: boolean) => void): void {
    const claim = this.inForce()
    let left = this.targets.length
    let isWhole = true
    for (const { stream } of this.targets)
      stream.log.sync((ok) => {
        if (!ok) isWhole = false
        if (--left > 0) return
        if (isWhole && claim.copy.fills === this.now.copy.fills) this.claimed = claim
        done(isWhole)
      })
  }

  /** @param ended  when it is durable on every disk, or never will be */
  private writeLocal(body: CopyDescriptor, ended: (ok: boolean) => void, targets = this.targets): void {
    const id = { epoch: epochAt(this.epochs, this.tail), seq: this.tail }
    const written: Array<{ target: Target; append: Append }> = []
    let failed = 0
    this.writeBody(OPERATION.change, id, body, targets, (target, record, payload) => {
      const payloadUnits = payload[0]!.length / 64
      this.appendRaw(
        target,
        { record, payload, payloadUnits, durable: true },
        (append) => {
          this.bodyWritten(target, append)
          const { copy } = target.map
          copy!.hintSeq = Math.max(copy!.hintSeq, body.copy.appliedSeq)
          written.push({ target, append })
          // Only then the log may begin behind it: what it says is in force on all disks.
          if (written.length === targets.length) {
            ended(true)
            for (const one of written) one.target.stream.applied(one.append.batch!)
          }
        },
        () => {
          if (++failed === 1) ended(false)
        },
      )
    })
    this.hintRecords = 0
    this.hintBytes = 0
    this.o.onWork(undefined)
  }

  private writeBody(
    operation: number,
    id: { epoch: number; seq: number },
    body: CopyDescriptor,
    targets: readonly Target[],
    write: (target: Target, record: RecordHeader, payload: Uint8Array[]) => void,
  ): void {
    const revision = ++this.revision
    const bytes = encodeDescriptor({ ...body, revision, seq: id.seq })
    const padded = new Uint8Array(Math.ceil(bytes.length / BLOCK_BYTES) * BLOCK_BYTES)
    padded.set(bytes)
    const bodyCrc = this.o.crc32c(bytes) >>> 0
    for (const target of targets) {
      const record = headerOf(this.id, { kind: RECORD_KIND.control, ...id, lba: revision, blockCount: 0 }, undefined)
      Object.assign(record, { operation, bodyBytes: bytes.length, bodyCrc })
      write(target, record, [padded])
    }
  }

  private bodyWritten({ map }: Target, append: Append): void {
    map.setDescriptor({ ...this.now, revision: append.record.lba })
    map.controlSegment = append.segment
    map.controlBornBatch = append.record.bornBatch
  }

  /** For the cleaner, and now and then. False when there is no room. */
  private writeHint(target: Target, done: () => void): boolean {
    const { log, freeSegments } = target.stream
    const body = this.body()
    const blocks = 2 + Math.ceil(encodeDescriptor(body).length / BLOCK_BYTES)
    // It may take the last segment, as the cleaner's copies may: what is cleaned next gives one back.
    if (freeSegments === 0 && log.openBlocksLeft < log.queuedBlocks + blocks) return false
    if (this.mayClaim) this.writeLocal(body, done, [target])
    else
      this.syncAll((ok) => {
        if (ok) this.writeLocal(this.body(), done, [target])
        else done()
      })
    return true
  }

  keep(token: number, facts: Partial<CopyFacts>): void {
    this.facts = { ...this.facts, ...facts }
    const kept = this.facts
    this.writeLocal(this.body(), (ok) => {
      if (!ok) return
      this.install({ ...this.now, copy: { ...this.now.copy, facts: kept } })
      this.onEvent({ type: 'kept', token })
    })
  }

  sync(): void {
    const seq = this.storedSeq
    this.syncAll((ok) => {
      if (!ok) return this.fail(this.targets.find((one) => one.stream.failed)?.stream.failedReason ?? '')
      this.durableSeq = Math.max(this.durableSeq, Math.min(seq, this.storedSeq))
      this.sayStored()
    })
  }

  private get isDurable(): boolean {
    return this.now.spec.durability === 'durable'
  }

  private fail(reason: string): void {
    if (this.failedReason !== '') return
    this.failedReason = reason === '' ? 'a disk of the copy failed' : reason
    this.onEvent({ type: 'store-failed', reason: this.failedReason })
  }

  /** A stream of the copy failed. */
  streamFailed(stream: StoreStream, reason: string): void {
    if (this.targets.some((target) => target.stream === stream)) this.fail(reason)
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  read(token: number, lba: number, blockCount: number): void {
    runTask(readHead(this.reading, lba, blockCount), (versions) =>
      this.answer({ type: 'read-ended', token, ok: versions !== undefined, versions: versions ?? [] }),
    )
  }

  lookUp(token: number, lbas: readonly number[]): void {
    runTask(readIds(this.reading, lbas), (seqs) =>
      this.answer({ type: 'looked-up', token, ok: seqs !== undefined, seqs: seqs ?? [] }),
    )
  }

  scan(token: number, range: { slice: number; above: number; upTo: number; cursor: number; bytesMax: number }): void {
    runTask(scanSlice(this.reading, range), (found) =>
      this.answer({
        type: 'scanned',
        token,
        ok: found !== undefined,
        versions: found?.versions ?? [],
        cursor: found?.cursor,
      }),
    )
  }

  /** In a later turn, also when nothing had to be waited for: the machine is not entered twice. */
  private answer(event: StoreEvent): void {
    this.o.clock.defer(() => this.onEvent(event))
  }

  private *payload({ stream, map }: Target, waiting: WaitingRecord): Task<Uint8Array | undefined> {
    const { record, segment, units } = waiting
    if (record.kind !== RECORD_KIND.write) return new Uint8Array(0)
    const { reader } = stream
    const bytes = yield* reader.read(segment, units / UNITS_PER_BLOCK, record.blockCount)
    const isWhole = bytes !== undefined && reader.recordIsWhole({ ...record, payloadUnits: 0 }, bytes)
    assert(map.copy !== undefined, 'only copies wait')
    return isWhole ? bytes : undefined
  }

  private target(lba: number): Target | undefined {
    return this.targets[this.placement[Math.floor(lba / SLICE_BLOCKS)] ?? -1]
  }

  // --- filling -----------------------------------------------------------------------------------------------------

  startFill(
    token: number,
    start: {
      fork: number
      target: number
      wipe: number[]
      descriptor: unknown
      facts: Partial<CopyFacts>
      windows?: unknown
    },
  ): void {
    this.drops++
    const { fork, target } = start
    this.forgetAbove(Math.max(fork, this.baseSeq))
    const { epochs } = start.descriptor as ReplicatedDescriptor
    const adopted = epochs.filter(([, firstSeq]) => firstSeq <= target)
    this.epochs = adopted
    this.fillsPending++
    // What is left is committed: it is applied before its slices count as whole up to the fork.
    const rest = this.queue.splice(this.head)
    // Versions of a former filling that are not written yet are of no use any more.
    const restHeld = this.held.filter(({ accepted }) => accepted !== undefined)
    this.queue = []
    this.head = 0
    this.storedCount = 0
    this.held = []
    this.toApply = []
    this.tail = target
    this.baseSeq = target
    this.storedSeq = target
    this.durableSeq = target
    this.barrier++
    this.fillStarts.push(function* (this: LocalCopyStore): Task<boolean> {
      const ok = yield* this.startFillTask(start, adopted, rest, restHeld)
      if (ok) this.onEvent({ type: 'kept', token })
      return ok
    })
    if (this.settling) return
    this.settling = true
    runTask(this.fillStartsTask(), (ok) => {
      if (!ok) return this.fail('filling cannot begin')
      this.settling = false
      if (this.storedSeq > this.baseSeq) this.sayStored()
      this.runApply()
    })
  }

  /** One after the other: the next may be asked for before the slices of the former are wiped. */
  private *fillStartsTask(): Task<boolean> {
    for (;;) {
      const next = this.fillStarts.shift()
      if (next === undefined) return true
      if (!(yield* next.call(this))) return false
    }
  }

  private *startFillTask(
    start: {
      fork: number
      target: number
      wipe: number[]
      descriptor: unknown
      facts: Partial<CopyFacts>
      windows?: unknown
    },
    adopted: EpochHistory,
    rest: Accepted[],
    restHeld: Held[],
  ): Task<boolean> {
    for (const held of restHeld) held.run()
    yield* until<void>((resume) => {
      const look = (): void => {
        if (this.fillsUnderWay > 0 || rest.some((accepted) => accepted.left > 0)) return
        this.drainWaiter = undefined
        resume()
      }
      this.drainWaiter = look
      look()
    })
    const changed: Place[] = []
    for (const accepted of rest) this.applyOne(accepted, changed)
    // What it says is applied has to be durable on all disks before it is on one.
    if (!this.mayClaim && !(yield* until<boolean>((resume) => this.syncAll(resume)))) return false
    const { spec, snapshots, rollbacks, deleted } = start.descriptor as ReplicatedDescriptor
    const { copy } = this.now
    const fillBorn: Record<string, number> = {}
    for (const { stream } of this.targets) fillBorn[stream.context.diskUuid] = stream.log.nextBatch
    this.facts = { ...this.facts, ...start.facts }
    const kept = this.facts
    const next: CopyDescriptor = {
      ...this.now,
      spec,
      snapshots,
      rollbacks,
      deleted,
      epochs: mutable(adopted),
      slices: this.placed(this.renewed(this.layout, new Set(start.wipe)), spec.sizeBytes),
      copy: {
        ...copy,
        facts: this.facts,
        appliedSeq: start.target,
        windows: start.windows ?? this.windows,
        fills: copy.fills + 1,
        fork: start.fork,
        fillBorn,
      },
    }
    const isKept = yield* until<boolean>((resume) => {
      this.loggedEpochs = adopted
      this.writeLocal(next, (ok) => {
        // In force in the turn in which it is durable, so that no checkpoint passes it before.
        if (ok) this.fillBegun(start, { ...next, copy: { ...next.copy, facts: kept } }, changed)
        resume(ok)
      })
      // From here on records go into the log again, behind it.
      this.setLayout(next.slices)
      this.barrier--
      this.retryHeld()
    })
    return isKept && (yield* this.wipeTask())
  }

  private fillBegun(
    start: { target: number; wipe: number[]; descriptor: unknown; windows?: unknown },
    next: CopyDescriptor,
    changed: Place[],
  ): void {
    const { forgottenSeq } = start.descriptor as ReplicatedDescriptor
    this.appliedSeq = start.target
    this.windows = start.windows ?? this.windows
    for (const { map } of this.targets) {
      const wiping = map.copy!.wiping
      for (const slice of start.wipe) if (!wiping.includes(slice)) wiping.push(slice)
      // What the source forgot nobody can learn from this copy either.
      map.copy!.forgot(forgottenSeq)
    }
    if (--this.fillsPending === 0) this.releaseDropped()
    this.install({ ...next, slices: this.layout })
    this.claimed = this.inForce()
    this.noteApplied()
    for (const { target, waiting } of changed) this.release(target, waiting)
  }

  /** Empty slices whose old versions are not this copy's any more; then a checkpoint, so that it is never repeated. */
  private *wipeTask(): Task<boolean> {
    for (const target of this.targets) {
      const { stream, map } = target
      if (!(yield* wipeSlices(target, map.copy!.wiping))) return false
      map.copy!.wiping = []
      map.changed = true
      if (!(yield* until<boolean>((resume) => stream.makeCheckpoint(resume)))) return false
    }
    return true
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    let left = 1
    const ended = (): void => {
      if (--left === 0) this.onEvent({ type: 'kept', token })
    }
    const blocksMost = Math.min(...this.targets.map(({ stream }) => stream.log.recordBlocksMax))
    for (const { record, payload } of fillRecords(this.id, this.reading.tag, versions, blocksMost)) {
      const target = this.target(record.lba)
      assert(target !== undefined, 'a slice that is filled has a disk')
      record.sliceGeneration = generationOfSlice({ slices: this.layout }, Math.floor(record.lba / SLICE_BLOCKS))
      record.bornBatch = this.now.copy.fillBorn[target.stream.context.diskUuid] ?? 1
      left++
      const payloadUnits = payload.length * UNITS_PER_BLOCK
      this.hold(undefined, [target], payload.length, () => {
        this.fillsUnderWay++
        this.appendRaw(target, { record, payload, payloadUnits, durable: true }, (append) => {
          runTask(fillVersions(target.stream, target.map, record, append), (ok) => {
            this.fillsUnderWay--
            if (!ok) return this.fail('the index cannot be read')
            target.stream.applied(append.batch!)
            ended()
            if (this.drainWaiter !== undefined) this.drainWaiter()
          })
        })
      })
    }
    this.o.clock.defer(ended)
    this.o.onWork(undefined)
  }

  /** Slices to be wiped get a new generation; those of a missing disk lie on no disk for the moment. */
  private renewed(slices: SliceRuns, wipe: ReadonlySet<number>): SliceRuns {
    const present = new Set(this.targets.map(({ stream }) => stream.context.diskUuid))
    const next: SliceRuns = []
    for (const [disk, stream, runs] of slices) {
      const kept: SliceRuns[number][2] = []
      for (const [first, count, generation] of runs)
        for (let slice = first; slice < first + count; slice++) {
          if (wipe.has(slice) && !present.has(disk)) continue
          const last = kept.at(-1)
          const is = wipe.has(slice) ? this.newGeneration() : generation
          if (last !== undefined && last[0] + last[1] === slice && last[2] === is) last[1]++
          else kept.push([slice, 1, is])
        }
      next.push([disk, stream, kept])
    }
    return next.filter(([disk, , runs]) => runs.length > 0 || present.has(disk))
  }

  /** Give every slice of a size a place, on the disks the copy has. */
  private placed(slices: SliceRuns, sizeBytes: number): SliceRuns {
    const count = Math.ceil(sizeBytes / SLICE_BYTES)
    const has = new Set<number>()
    for (const [, , runs] of slices) for (const [first, n] of runs) for (let i = 0; i < n; i++) has.add(first + i)
    const disks = this.targets.map(({ stream }) => {
      const { diskUuid, streamId, segmentCount, segmentBytes } = stream.context
      let held = 0
      for (const [disk, , runs] of slices) if (disk === diskUuid) for (const [, n] of runs) held += n
      return { diskUuid, stream: streamId, slices: held, capacityBytes: segmentCount * segmentBytes }
    })
    let placed = slices
    for (let slice = 0; slice < count; slice++)
      if (!has.has(slice))
        placed = placeSlices(placed, disks, { first: slice, count: 1, generation: this.newGeneration() })
    return placed
  }

  /** Above every generation a slice of this copy ever had: it may come back to a disk that has old records of it. */
  private newGeneration(): number {
    return this.now.copy.fills + 2
  }

  private place(sizeBytes: number): void {
    this.setLayout(this.placed(this.layout, sizeBytes))
    if (this.fillsPending === 0) this.install({ ...this.now, slices: this.layout })
  }

  private setLayout(slices: SliceRuns): void {
    this.layout = slices
    this.placement = this.placementFor(slices)
  }

  private placementFor(slices: SliceRuns): Uint16Array {
    const slicesMost = slices.flatMap(([, , runs]) => runs.map(([first, count]) => first + count))
    const sizeBytes = Math.max(0, ...slicesMost) * SLICE_BYTES
    return placementOf({ ...this.now, slices, spec: { ...this.now.spec, sizeBytes } }, this.targets)
  }

  slicesOn(diskUuid: string): number {
    return slicesOf(this.layout.filter(([disk]) => disk === diskUuid))
  }

  keepTrimsAbove(seq: number): void {
    for (const { map } of this.targets) map.copy!.keepTrimsAbove = seq
  }

  descriptor(): ReplicatedDescriptor {
    const { spec, snapshots, rollbacks, deleted } = this.now
    const epochs = this.epochs.filter(([, firstSeq]) => firstSeq <= this.appliedSeq)
    return { spec, epochs, snapshots, rollbacks, deleted, forgottenSeq: this.forgottenSeq }
  }
}
