/**
 * Records of a copy on their way to its disks: held while there is no room, then appended; when one is written it waits
 * beside the map until it is applied. Whatever fails on one disk fails the copy (Y5).
 */
import type { Append } from '../log/log-batch.ts'
import { RECORD_KIND, type RecordHeader } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { WaitingRecord } from '../log/waiting-records.ts'
import type { ControlChange, ReplicatedRecord, RequestId } from '../replication/record.ts'
import { UNIT_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { blobsOf, headerOf, OPERATION_OF, setTable } from './copy-headers.ts'
import type { Accepted, Place } from './copy-queue.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { roomFor } from './held-requests.ts'

export interface HeldAppend {
  accepted: Accepted | undefined
  /** Of a client, of which this is a part. */
  request: RequestId | undefined
  targets: readonly Target[]
  blocks: number
  run: () => void
}

const isShort = ({ stream }: Target, blocks: number): boolean =>
  !stream.failed && !roomFor(stream, Math.max(1, blocks), blocks > 0)

/** The stream that has no room for what is held. */
const shortOf = ({ targets, blocks }: HeldAppend): StoreStream | undefined =>
  targets.find((target) => isShort(target, blocks))?.stream

const NO_PAYLOAD: Uint8Array[] = []

export class CopyAppends {
  /** While it is above 0 nothing is written: a filling begins, and its record comes first. */
  barrier = 0
  private readonly copy: LocalCopyStore
  private held: HeldAppend[] = []
  /** Repairs, which a filling that begins may wait for (CLONES.md B4). */
  private repairs: HeldAppend[] = []
  private underWay = 0
  private drainedWaiters: Array<() => void> = []

  constructor(copy: LocalCopyStore) {
    this.copy = copy
  }

  get heldCount(): number {
    return this.held.length + this.repairs.length
  }

  /** Of clients, once for each part that is held. */
  heldRequests(): RequestId[] {
    return this.held.flatMap(({ request }) => request ?? [])
  }

  /** Run when nothing is on its way to a disk any more. */
  drained(run: () => void): void {
    if (this.underWay === 0) run()
    else this.drainedWaiters.push(run)
  }

  /** Whether nothing is held, and there is room. */
  isFree(target: Target, blocks: number): boolean {
    return this.held.length === 0 && this.barrier === 0 && !isShort(target, blocks)
  }

  /** Run when there is room, and nothing is held before it. */
  hold(held: HeldAppend): void {
    if (this.held.length === 0 && this.barrier === 0 && shortOf(held) === undefined) return held.run()
    this.held.push(held)
    if (this.barrier === 0) this.copy.o.onWork(shortOf(this.held[0]!))
  }

  /**
   * Of a version that is written anew, as the cleaner would: whatever a filling makes of its slice, the record counts
   * only where the map shows the damaged place. So it waits for room, and not for the beginning of a filling: before
   * that clones get what they share, the damaged block among it.
   */
  holdRepair(held: HeldAppend): void {
    if (shortOf(held) === undefined) return held.run()
    this.repairs.push(held)
    this.copy.o.onWork(shortOf(held))
  }

  /** Space may have come back. */
  retryHeld(): void {
    while (this.repairs.length > 0 && shortOf(this.repairs[0]!) === undefined) this.repairs.shift()!.run()
    while (this.barrier === 0 && this.held.length > 0) {
      const stream = shortOf(this.held[0]!)
      if (stream !== undefined) return this.copy.o.onWork(stream)
      this.held.shift()!.run()
    }
  }

  forgetDropped(): void {
    this.held = this.held.filter(({ accepted }) => accepted === undefined || !accepted.dropped)
  }

  /** What is held goes: records of the log to whoever asks, versions of a former filling are of no use any more. */
  takeHeld(): HeldAppend[] {
    return this.held.splice(0).filter(({ accepted }) => accepted !== undefined)
  }

  writeRecord(accepted: Accepted, target: Target, record: Exclude<ReplicatedRecord, { kind: 'control' }>): void {
    const { copy } = this
    const { epoch, seq, lba, blockCount, request } = record
    const header = headerOf(copy.id, { kind: RECORD_KIND[record.kind], epoch, seq, lba, blockCount }, request)
    header.sliceGeneration = copy.layout.generation(lba)
    let payload = NO_PAYLOAD
    if (record.kind === 'write') {
      const blobs = blobsOf(record.payload)
      setTable(header, copy.reading.tag, blobs)
      payload = [blobs.bytes]
    }
    const units = record.kind === 'write' ? payload[0]!.length / UNIT_BYTES : 0
    this.appendTo(accepted, target, header, payload, units, accepted.isDurable)
  }

  writeChange(accepted: Accepted, epoch: number, change: ControlChange): void {
    const { bodies, targets } = this.copy
    if (change.operation === 'epoch') bodies.loggedEpochs = change.epochs
    const body = bodies.body({ change })
    bodies.install(bodies.now)
    const id = { epoch, seq: accepted.seq }
    bodies.write(OPERATION_OF[change.operation], id, bodies.list.stored(body), targets, (target, header, payload) => {
      this.appendTo(accepted, target, header, payload, payload[0]!.length / 64, true)
    })
  }

  private appendTo(
    accepted: Accepted,
    target: Target,
    record: RecordHeader,
    payload: Uint8Array[],
    payloadUnits: number,
    durable: boolean,
  ): void {
    const waiting: WaitingRecord = {
      record, segment: 0, generation: 0, units: 0, batch: undefined, listed: false, at: -1,
    }
    const place = { target, waiting }
    // Most lie on one disk: an array that grows from nothing has room for many.
    if (accepted.places.length === 0) accepted.places = [place]
    else accepted.places.push(place)
    if (this.copy.failedReason !== '') return
    this.underWay++
    target.stream.append(new RecordAppend(this, accepted, place, { payload, payloadUnits, durable }))
  }

  /** Of a record of the log. */
  recordEnded(append: RecordAppend, ok: boolean): void {
    const { accepted, place, record } = append
    const { target, waiting } = place
    const { stream, map } = target
    const { queue, bodies } = this.copy
    if (this.hasWritten(stream, append, ok)) {
      waiting.segment = append.segment
      waiting.generation = stream.segments.generation[append.segment]!
      waiting.units = append.units
      waiting.batch = append.batch
      accepted.left--
      if (record.kind === RECORD_KIND.control) bodies.written(target, append)
      map.copy!.waiting.add(waiting)
      if (accepted.dropped) queue.drop(accepted, place)
      queue.advance()
    }
    this.lookDrained()
  }

  /** @param failed  the copy failed, nothing is written of it any more; one of both is called */
  append(
    { stream }: Target,
    what: { record: RecordHeader; payload: Uint8Array[]; payloadUnits: number; durable: boolean },
    written: (append: Append) => void,
    failed?: () => void,
  ): void {
    const { copy } = this
    if (copy.failedReason !== '') return failed?.()
    this.underWay++
    const { record, payload, payloadUnits, durable } = what
    stream.append({
      record,
      payload,
      payloadUnits,
      durable,
      segment: 0,
      units: 0,
      batch: undefined,
      mapOnly: false,
      done: (ok, append) => {
        if (this.hasWritten(stream, append, ok)) written(append)
        else failed?.()
        this.lookDrained()
      },
    })
  }

  /** It is on its way no more. @returns whether it is written, and the copy goes on */
  private hasWritten(stream: StoreStream, append: Append, ok: boolean): boolean {
    const { copy } = this
    this.underWay--
    if (!ok) copy.fail(stream.failedReason)
    if (copy.failedReason === '') return true
    if (ok) stream.applied(append.batch!)
    return false
  }

  private lookDrained(): void {
    if (this.underWay > 0 || this.drainedWaiters.length === 0) return
    for (const run of this.drainedWaiters.splice(0)) run()
  }
}

/** A record of the log on its way to a disk. Nearly all appends are such: one object, where closures would be two. */
class RecordAppend implements Append {
  readonly record: RecordHeader
  readonly payload: readonly Uint8Array[]
  readonly payloadUnits: number
  readonly durable: boolean
  segment = 0
  units = 0
  batch: Append['batch'] = undefined
  readonly mapOnly = false
  readonly accepted: Accepted
  readonly place: Place
  private readonly owner: CopyAppends

  constructor(
    owner: CopyAppends,
    accepted: Accepted,
    place: Place,
    { payload, payloadUnits, durable }: Pick<Append, 'payload' | 'payloadUnits' | 'durable'>,
  ) {
    this.record = place.waiting.record
    this.payload = payload
    this.payloadUnits = payloadUnits
    this.durable = durable
    this.accepted = accepted
    this.place = place
    this.owner = owner
  }

  done(ok: boolean): void {
    this.owner.recordEnded(this, ok)
  }
}
