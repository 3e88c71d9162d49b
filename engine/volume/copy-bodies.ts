/**
 * What a copy is, as its control records say it: the descriptor in force, and the bodies that are written of it.
 *
 * Invariant Y4: a body that says what was applied is durable before the cleaner gives back a record it covers.
 */
import { assert } from '../assert.ts'
import type { Append } from '../log/log-batch.ts'
import { OPERATION, RECORD_KIND, type RecordHeader } from '../log/record.ts'
import type { CopyFacts } from '../replication/copy-store.ts'
import { epochAt, type EpochHistory } from '../replication/record-id.ts'
import type { ControlChange } from '../replication/record.ts'
import { BLOCK_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { headerOf } from './copy-headers.ts'
import { CopyList } from './copy-list.ts'
import { laterBatches, withLocal, type CopyDescriptor, type CopyPart, type Pin } from './copy-part.ts'
import { release, type Place } from './copy-queue.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { encodeDescriptor, withoutSlices, type Origin } from './descriptor.ts'

type AppendTo = (target: Target, record: RecordHeader, payload: Uint8Array[]) => void

/** A body is written when so much was applied since the last one: a rebuild keeps no more in memory. */
const HINT_RECORDS = 4096
const HINT_BYTES = 32 << 20

export const mutable = (epochs: EpochHistory): CopyDescriptor['epochs'] =>
  epochs.map(([epoch, firstSeq]) => [epoch, firstSeq])

export class CopyBodies {
  /** What is in force; each map has the same under the revision of its disk. */
  now: CopyDescriptor
  revision: number
  /** Given to `keep` or with a filling, durable or not. */
  facts: CopyFacts
  /** By fact, when it was given: a filling that waits for its begin takes none back that was given since. */
  private readonly givenAt = new Map<string, number>()
  private gifts = 0
  /** As of what was handed to the log: bodies name these. */
  loggedEpochs: EpochHistory
  /** What every body of this copy says of the cluster store. */
  noted: unknown
  /** Clones beside it that read it, in force and in every body from now on. */
  pins: readonly Pin[]
  /** What bodies say of the origin; in force (`now`) is what a durable one said. */
  origin: Origin | null
  /** Fillings whose record is not durable. */
  fillsPending = 0
  readonly list: CopyList
  /** What was in force at the last sync of all disks. */
  private claimed: CopyDescriptor
  private hintRecords = 0
  private hintBytes = 0
  private readonly copy: LocalCopyStore

  constructor(copy: LocalCopyStore, descriptor: CopyDescriptor) {
    this.copy = copy
    this.now = descriptor
    this.claimed = descriptor
    this.revision = descriptor.revision
    this.facts = descriptor.copy.facts
    this.noted = descriptor.copy.noted
    this.pins = descriptor.copy.pins ?? []
    this.origin = descriptor.origin
    this.loggedEpochs = descriptor.epochs
    this.list = new CopyList(copy, this)
    for (const target of copy.targets) {
      target.map.copy!.writeHint = (done) => this.writeHint(target, done)
      // A checkpoint is made when what was applied is durable on all disks, or not at all.
      target.map.copy!.batches = () =>
        this.batches(({ stream, map }) => Math.max(stream.log.durableBatch, map.copy!.appliedBatch))
    }
  }

  install(now: CopyDescriptor): void {
    // Those of a filling count when its record is durable.
    const epochs = this.fillsPending > 0 ? now.epochs : mutable(this.loggedEpochs)
    this.now = { ...now, epochs, epoch: epochs.at(-1)?.[0] ?? 0, copy: this.local(now.copy) }
    // The revision of what lies on the disk, or the cleaner would take it for old.
    for (const { map } of this.copy.targets) map.setDescriptor({ ...this.now, revision: map.descriptor.revision })
  }

  /** With what is said on this node alone. */
  local(copy: CopyPart): CopyPart {
    return withLocal(copy, this)
  }

  /** The descriptor as it is written now. */
  body(also: { change?: ControlChange } = {}): CopyDescriptor {
    const { facts, now, origin } = this
    const { slices } = this.copy.layout
    const { spec, snapshots, rollbacks, deleted, copy } = this.mayClaim ? this.inForce() : this.claimed
    const epochs = mutable(this.loggedEpochs)
    const part = this.local({ ...copy, facts, durable: this.durableBatches(), ...also })
    return { ...now, spec, snapshots, rollbacks, deleted, epochs, slices, origin, copy: part }
  }

  private batches(of: (target: Target) => number): Record<string, number> {
    return Object.fromEntries(this.copy.targets.map((target) => [target.stream.context.diskUuid, of(target)]))
  }

  /** Of each disk: up to here it is durable. */
  durableBatches(): Record<string, number> {
    return laterBatches(this.now.copy.durable, this.batches(({ stream }) => stream.log.durableBatch))
  }

  /**
   * Whether a body may say at once what was applied: with write-back on several disks another one may not have it
   * durably; then a body says what was applied at the last sync of all.
   */
  get mayClaim(): boolean {
    return this.copy.durability === 'durable' || this.copy.targets.length === 1
  }

  private inForce(): CopyDescriptor {
    const { appliedSeq, windows } = this.copy.queue
    return { ...this.now, copy: { ...this.now.copy, appliedSeq, windows } }
  }

  /** What was applied at the last sync of all disks. */
  get claimedSeq(): number {
    return this.claimed.copy.appliedSeq
  }

  /** What is in force is durable on all disks. */
  claim(): void {
    this.claimed = this.inForce()
  }

  syncAll(done: (ok: boolean) => void): void {
    const { targets } = this.copy
    const claim = this.inForce()
    let left = targets.length
    let isWhole = true
    for (const { stream } of targets)
      stream.log.sync((ok) => {
        if (!ok) isWhole = false
        if (--left > 0) return
        if (isWhole && claim.copy.fills === this.now.copy.fills) this.claimed = claim
        done(isWhole)
      })
  }

  /** @param ended  when it is durable on every disk, or never will be */
  writeLocal(body: CopyDescriptor, ended: (ok: boolean) => void, targets = this.copy.targets): void {
    // A leaf lies on every disk.
    if (targets === this.copy.targets) this.list.cut(body.snapshots)
    this.writeStored(this.list.stored(body), ended, targets)
    if (targets === this.copy.targets) this.list.forgetOthers()
  }

  /** The same of the body with which a filling begins. Until `list.begin` others name the leaves of before. */
  writeFilling(body: CopyDescriptor, ended: (ok: boolean) => void): void {
    this.writeStored(this.list.cutFilled(body), ended, this.copy.targets)
  }

  private get localId(): { epoch: number; seq: number } {
    const { queue } = this.copy
    return { epoch: epochAt(queue.epochs, queue.tail), seq: queue.tail }
  }

  private writeStored(body: CopyDescriptor, ended: (ok: boolean) => void, targets: readonly Target[]): void {
    const { appends } = this.copy
    const id = this.localId
    const written: Array<{ target: Target; append: Append }> = []
    let failed = 0
    this.write(OPERATION.change, id, body, targets, (target, record, payload) => {
      const payloadUnits = payload[0]!.length / 64
      appends.append(
        target,
        { record, payload, payloadUnits, durable: true },
        (append) => {
          this.written(target, append)
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
          // It will never be in force, and the logs of the other disks go on without it.
          for (const one of written.splice(0)) one.target.stream.applied(one.append.batch!)
          if (++failed === 1) ended(false)
        },
      )
    })
    this.hintRecords = 0
    this.hintBytes = 0
    this.copy.o.onWork(undefined)
  }

  /**
   * Make a control record for each disk, all under the next revision.
   * @param body  as it is stored
   */
  write(
    operation: number,
    id: { epoch: number; seq: number },
    body: CopyDescriptor,
    targets: readonly Target[],
    append: AppendTo,
  ): void {
    const bytes = encodeDescriptor({ ...body, revision: this.revision + 1, seq: id.seq })
    this.writeBytes(operation, bytes, targets, append, id)
  }

  /** @param id  absent: of a local record */
  writeBytes(
    operation: number,
    bytes: Uint8Array,
    targets: readonly Target[],
    append: AppendTo,
    id = this.localId,
  ): { revision: number; crc: number } {
    const revision = ++this.revision
    const padded = new Uint8Array(Math.ceil(bytes.length / BLOCK_BYTES) * BLOCK_BYTES)
    padded.set(bytes)
    const crc = this.copy.o.crc32c(bytes) >>> 0
    for (const target of targets) {
      const header = { kind: RECORD_KIND.control, ...id, lba: revision, blockCount: 0 }
      const record = headerOf(this.copy.id, header, undefined)
      Object.assign(record, { operation, bodyBytes: bytes.length, bodyCrc: crc })
      append(target, record, [padded])
    }
    return { revision, crc }
  }

  written({ map }: Target, append: Append): void {
    map.setDescriptor({ ...this.now, revision: append.record.lba })
    map.controlSegment = append.segment
    map.controlBornBatch = append.record.bornBatch
  }

  /** Give the slices of a new size their places. */
  place(sizeBytes: number): void {
    const { layout } = this.copy
    layout.set(layout.placed(layout.slices, sizeBytes, this.placedGeneration()))
    if (this.fillsPending === 0) this.install({ ...this.now, slices: layout.slices })
  }

  /** Of slices that get a place: they may have had one before a filling, where old records of them lie. */
  private placedGeneration(): number {
    return this.now.copy.fills + 2
  }

  /**
   * Of slices that are wiped: above every generation that a slice of this copy ever had, those that were placed since
   * the last filling among them, or their old records would count again when the index is built anew.
   */
  wipedGeneration(): number {
    const placed = this.copy.layout.slices.flatMap(([, , runs]) => runs.map(([, , generation]) => generation + 1))
    return Math.max(this.now.copy.fills + 2, ...placed)
  }

  /** The place of what is given now among all facts that are given. */
  nextGift(): number {
    return ++this.gifts
  }

  give(facts: Partial<CopyFacts>, at: number): void {
    for (const [name, fact] of Object.entries(facts)) {
      if ((this.givenAt.get(name) ?? 0) > at) continue
      this.givenAt.set(name, at)
      this.facts = { ...this.facts, [name]: fact }
    }
  }

  keep(facts: Partial<CopyFacts>, kept: () => void): void {
    const givenAt = this.nextGift()
    // What says that a slice is whole is never durable before its versions are.
    const keepNow = (): void => this.keepNow(facts, givenAt, kept)
    if (facts.consistency !== undefined) this.copy.filling.whenFilled(keepNow)
    else keepNow()
  }

  private keepNow(facts: Partial<CopyFacts>, givenAt: number, kept: () => void): void {
    this.give(facts, givenAt)
    const now = this.facts
    this.writeLocal(this.body(), (ok) => {
      if (!ok) return
      this.install({ ...this.now, copy: { ...this.now.copy, facts: now } })
      kept()
    })
  }

  /**
   * Keep what the cluster store says of the volume, for whoever has lost that one. It is a note: nothing depends on it
   * while the store is there, so it may show before it is durable.
   * @param ended  when it is durable on every disk, or never will be
   */
  note(noted: unknown, ended: (ok: boolean) => void): void {
    this.noted = noted
    this.install(this.now)
    this.writeLocal(this.body(), ended)
  }

  // --- clones beside it (FORMAT.md section 8) ----------------------------------------------------------------------

  /**
   * Keep what the copy shows at a seq that it has applied, for a clone beside it.
   * @param ended  when that is durable on every disk, with everything up to the seq as applied; or never will be
   */
  pin(pin: Pin, ended: (ok: boolean) => void): void {
    // From this turn on: what the snapshot of that seq keeps is still there.
    this.pins = [...this.pins.filter(([id]) => id !== pin[0]), pin]
    this.install(this.now)
    const write = (): void => {
      assert(this.mayClaim || this.claimedSeq >= pin[1], 'a pin is of what is durable on all disks')
      this.writeLocal(this.body(), ended)
    }
    if (this.mayClaim) return write()
    this.syncAll((ok) => {
      if (ok) write()
      else ended(false)
    })
  }

  /** The clone shares nothing any more, durably: what only it saw may go. */
  unpin(cloneId: string): void {
    this.pins = this.pins.filter(([id]) => id !== cloneId)
    this.install(this.now)
    this.writeLocal(this.body(), () => {})
  }

  /** Everything these slices show is their own, durably. @param ended  when they are not shared, durably */
  unshare(slices: ReadonlySet<number>, ended: (ok: boolean) => void): void {
    const write = (): void => {
      this.origin = originWithout(this.origin, slices)
      this.writeLocal(this.body(), (ok) => {
        // Not before: a trim may be forgotten as soon as nothing shows through where it was.
        if (ok) this.install({ ...this.now, origin: originWithout(this.now.origin, slices) })
        ended(ok)
      })
    }
    // It names as applied what was when what is shared was looked at: what was over a block then has to stay over it.
    if (this.mayClaim) return write()
    this.syncAll((ok) => {
      if (ok) write()
      else ended(false)
    })
  }

  // --- what was applied, said now and then -------------------------------------------------------------------------

  noteUnhinted(bytes: number): void {
    this.hintRecords++
    this.hintBytes += bytes
  }

  /** @param changed  control records that were applied */
  afterApply(changed: readonly Place[]): void {
    // They may be cleaned away when a body says what they did.
    if (changed.length > 0)
      this.writeLocal(this.body(), () => {
        for (const place of changed) release(place)
      })
    if (this.hintRecords >= HINT_RECORDS || this.hintBytes >= HINT_BYTES)
      for (const target of this.copy.targets) this.writeHint(target, () => {})
  }

  /** For the cleaner, and now and then. False when there is no room. */
  private writeHint(target: Target, done: () => void): boolean {
    const { log, freeSegments } = target.stream
    const body = this.body()
    const blocks = 2 + Math.ceil(encodeDescriptor(this.list.stored(body)).length / BLOCK_BYTES)
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
}

/** An origin of which nothing is shared is none. */
export function originWithout(origin: Origin | null, slices: ReadonlySet<number>): Origin | null {
  if (origin === null) return null
  const shared = withoutSlices(origin[2] ?? [], slices)
  return shared.length === 0 ? null : [origin[0], origin[1], shared]
}
