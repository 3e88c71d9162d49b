/**
 * The store of one copy of a replicated volume (contract: engine/replication/copy-store.ts; on disk: FORMAT.md
 * section 7), over the streams of the disks it lies on.
 *
 *   append -> accepted, queued in order of seq -> written -> `stored` up to the first that is not
 *   apply  -> from the queue into the map                dropAbove -> out of the queue, void
 *
 * `copy-queue.ts` (Y1 to Y3) has what is not applied, `copy-appends.ts` the way to the disks, `copy-bodies.ts` (Y4) the
 * control records, `copy-layout.ts` where slices lie, `copy-filling.ts` what a filling does.
 * Invariant Y5: one failed disk fails the copy: nothing is reported as stored or kept afterwards.
 */
import { assert } from '../assert.ts'
import { hexToUuid } from '../log/bytes.ts'
import { seqOf } from '../log/entry.ts'
import { volumeTag } from '../log/identity.ts'
import { RECORD_KIND, recordPayloadUnits } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { WaitingRecord } from '../log/waiting-records.ts'
import type { ClockPort, Crc32c } from '../ports.ts'
import type { CopyFacts, CopyStore, ScanRange, StoredCopy, StoreEvent } from '../replication/copy-store.ts'
import type { OpenedSnapshot, SnapshotPlace } from '../replication/messages.ts'
import { epochAt, type EpochHistory } from '../replication/record-id.ts'
import type { BlockVersion, DamagedId, ReplicatedRecord, RequestId, VersionId } from '../replication/record.ts'
import { runTask, type Task } from '../task.ts'
import { BLOCK_BYTES, SLICE_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { CopyAppends } from './copy-appends.ts'
import { CopyBodies } from './copy-bodies.ts'
import { CopyFilling, type CopyIdentity, type FillStart } from './copy-filling.ts'
import { payloadOfRecord, replicatedOf } from './copy-headers.ts'
import { CopyLayout } from './copy-layout.ts'
import { newCopyPart, type CopyDescriptor } from './copy-part.ts'
import { CopyQueue, release } from './copy-queue.ts'
import { readHead, readIds, type CopyReading } from './copy-reader.ts'
import { AWAY_REVISIONS, readBody, type SettledCopy } from './copy-recovery.ts'
import { readExact, repairVersions, type Mended } from './copy-repair.ts'
import { roomFor } from './held-requests.ts'
import { CopyHydration, isShared } from './copy-hydration.ts'
import { dataBeyond } from './data-beyond.ts'
import { findMarks } from './mark-search.ts'
import { shownBytes } from './descriptor.ts'
import type { HydrationPace } from './hydration-pace.ts'
import { withoutPinned } from './own-views.ts'
import { readMended, type MetDamage, type SharedDamage } from './shared-damage.ts'
import { scanSlice, versionsOfBlock } from './slice-scan.ts'
import { findSnapshot, readSnapshotBlocks, type Shown } from './snapshot-blocks.ts'
import { mapSnapshot, type SnapshotMap } from './snapshot-map.ts'
import type { Durability, OnFull } from './volume-spec.ts'

/** Runs of one answer to `mapSnapshot`, about. */
const SNAPSHOT_RUNS_MAX = 16_384

export interface CopyOptions {
  settled: SettledCopy
  crc32c: Crc32c
  clock: ClockPort
  /** Of all copies of the store. */
  pace: HydrationPace
  /** Something was appended, or waits for space in a stream. */
  onWork(shortOf: StoreStream | undefined): void
  /** Of a copy that has pins: the clones beside it that share one of these slices get blocks of their own first. */
  freeSlices(copy: LocalCopyStore, slices: readonly number[]): Task<void>
  /** What clones beside the copy show of it, and it does not itself, was found damaged: theirs to repair. */
  tellReaders(copy: LocalCopyStore, versions: readonly DamagedId[]): void
  /** Some of what the copy shared is durably its own, or gone. */
  onUnshared(copy: LocalCopyStore): void
  /** A repair ended: these are whole again, some of which others may share. */
  onMended(mended: readonly Mended[]): void
  /** Of all copies of the store. */
  sharedDamage: SharedDamage
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

export class LocalCopyStore implements CopyStore {
  readonly volumeId: string
  readonly id: Uint8Array
  readonly targets: Target[]
  readonly o: CopyOptions
  readonly reading: CopyReading
  readonly layout: CopyLayout
  readonly bodies: CopyBodies
  readonly queue: CopyQueue
  readonly appends: CopyAppends
  readonly filling: CopyFilling
  readonly hydration: CopyHydration
  onEvent: (event: StoreEvent) => void = () => {}
  /** Of what was given to `fill`, when it is durable: nobody here refers to its bytes any more. */
  onFilled: (versions: readonly BlockVersion[]) => void = () => {}
  /** Of versions that no member has, and of those that were written anew, or are gone. */
  onLost: (versions: readonly VersionId[]) => void = () => {}
  onRepaired: (versions: readonly VersionId[]) => void = () => {}
  /** All of it is to be scrubbed, without waiting for the next time. */
  onScrubSoon: () => void = () => {}
  failedReason = ''
  /** False while the body that counts is not durable on every disk, since they disagreed when it was opened. */
  isAgreed = true
  private mapChanges = 0
  private quietWaiter: (() => void) | undefined

  constructor(options: CopyOptions) {
    const { settled, crc32c } = options
    const { descriptor } = settled
    this.o = options
    this.volumeId = descriptor.spec.id
    this.id = hexToUuid(this.volumeId)
    this.targets = settled.targets
    this.layout = new CopyLayout(this.targets, descriptor.slices)
    this.reading = { crc32c, tag: volumeTag(crc32c, this.id), target: (lba) => this.layout.target(lba) }
    this.queue = new CopyQueue(this, settled)
    this.appends = new CopyAppends(this)
    this.filling = new CopyFilling(this)
    this.bodies = new CopyBodies(this, descriptor)
    this.hydration = new CopyHydration(this)
    for (const { map } of this.targets)
      map.copy!.onDamaged = (id) => this.tellDamage([id])
  }

  /** Finish what a crash interrupted, and read what waits. A sentence, why not, when some of it cannot be read. */
  *openTask(): Task<StoredCopy | string> {
    this.filling.isSettling = true
    const isWiped = yield* this.filling.wipeTask()
    this.filling.isSettling = false
    if (!isWiped) return this.failedReason || 'slices of a former history cannot be wiped'
    const unapplied: ReplicatedRecord[] = []
    let epochs: EpochHistory = this.queue.epochs.filter(([, firstSeq]) => firstSeq <= this.appliedSeq)
    for (const accepted of this.queue.entries) {
      const { target, waiting } = accepted.places[0]!
      const { record, segment, units } = waiting
      if (record.kind === RECORD_KIND.control) {
        const body = yield* readBody(target.stream, segment, units, record)
        if (body?.copy.change === undefined) return `the change at seq ${record.seq} cannot be read`
        const { change } = body.copy
        this.queue.changeRead(accepted, change)
        if (change.operation === 'epoch') {
          accepted.epochsBefore = epochs
          epochs = change.epochs
        }
      }
      const bytes = yield* this.payload(target, waiting)
      if (bytes === undefined) return `the record at seq ${record.seq} cannot be read`
      const payload = record.kind === RECORD_KIND.write ? payloadOfRecord(this.o.crc32c, record, bytes) : undefined
      unapplied.push(replicatedOf(record, payload, accepted.change))
    }
    // Disks that disagreed are brought to one body.
    if (this.targets.some(({ map }) => map.descriptor.revision !== this.bodies.revision)) {
      this.isAgreed = false
      this.bodies.writeLocal(this.bodies.body(), (ok) => (this.isAgreed = ok))
    }
    return { ...this.stored(), unapplied }
  }

  get tail(): number {
    return this.queue.tail
  }

  get appliedSeq(): number {
    return this.queue.appliedSeq
  }

  private get forgottenSeq(): number {
    return Math.max(...this.targets.map(({ map }) => map.copy!.forgottenSeq))
  }

  /** Record a new copy. */
  create(done: (ok: boolean) => void): void {
    this.bodies.writeLocal(this.bodies.body(), done)
  }

  /** Run when nothing is on its way to a disk any more. */
  drained(run: () => void): void {
    this.appends.drained(run)
  }

  /** A map of the copy is changed over several turns. @returns what ends that */
  changes(): () => void {
    this.mapChanges++
    return () => {
      if (--this.mapChanges === 0) this.quietWaiter?.()
    }
  }

  /** Of a copy that failed: run when nothing of it is on its way to a disk or into a map any more. */
  quiet(run: () => void): void {
    assert(this.failedReason !== '', 'a copy that goes on is never quiet')
    this.quietWaiter = () => {
      if (this.mapChanges > 0) return
      this.quietWaiter = undefined
      run()
    }
    this.drained(() => this.quietWaiter?.())
  }

  /**
   * Of a copy that failed, and is quiet: what is left of it on the disks that did not, as a start without the others
   * would find it, but for what was not applied: that is void from now on.
   */
  rest(): SettledCopy {
    const targets = this.targets.filter(({ stream }) => !stream.failed)
    for (const target of targets) {
      for (const waiting of [...target.map.copy!.waiting.all]) release({ target, waiting })
    }
    const { now, revision } = this.bodies
    const { appliedSeq, windows } = this.queue
    const descriptor = { ...now, revision: revision + AWAY_REVISIONS, copy: { ...now.copy, appliedSeq, windows } }
    return { descriptor, targets, tail: appliedSeq, unapplied: [] }
  }

  /** What the copy is now, without its unapplied records. */
  stored(): StoredCopy {
    const { spec, slices, rollbacks, copy } = this.bodies.now
    const present = new Set(this.targets.map(({ stream }) => stream.context.diskUuid))
    const lostSlices: number[] = []
    for (const [diskUuid, , runs] of slices)
      if (!present.has(diskUuid))
        for (const [first, count] of runs)
          for (let slice = first; slice < first + count; slice++) lostSlices.push(slice)
    return {
      copyId: copy.copyId,
      ...(copy.baseSeq === undefined ? {} : { baseSeq: copy.baseSeq }),
      facts: copy.facts,
      epochs: this.queue.epochs,
      tail: this.tail,
      appliedSeq: this.appliedSeq,
      unapplied: [],
      durability: this.durability,
      boot: [...new Set(this.targets.map(({ stream }) => stream.context.bootId))].join(' '),
      forgottenSeq: this.forgottenSeq,
      windows: this.queue.windows,
      rollbacks,
      sliceCount: endOf(slices, Math.ceil(spec.sizeBytes / SLICE_BYTES)),
      sizeBytes: spec.sizeBytes,
      lostSlices,
    }
  }

  /** No slice lies on a disk that is not there, and all are filled. */
  get isWhole(): boolean {
    const { facts } = this.bodies.now.copy
    return this.stored().lostSlices.length === 0 && facts.consistency.state === 'consistent'
  }

  /** As of the applied seq. */
  get durability(): Durability {
    return this.bodies.now.spec.durability
  }

  /** As of the tail: what comes next is durable when it is stored. */
  get isDurable(): boolean {
    return this.queue.isDurable
  }

  get readCheck(): 'lease' | 'confirm' {
    return this.bodies.now.spec.readCheck ?? 'lease'
  }

  // --- the contract ------------------------------------------------------------------------------------------------

  append(record: ReplicatedRecord): void {
    this.queue.append(record)
  }

  apply(seq: number, windows: unknown): void {
    this.queue.apply(seq, windows)
  }

  dropAbove(seq: number): void {
    this.queue.dropAbove(seq)
  }

  keep(token: number, facts: Partial<CopyFacts>): void {
    this.bodies.keep(facts, () => this.onEvent({ type: 'kept', token }))
  }

  sync(): void {
    const { queue } = this
    const seq = queue.storedSeq
    this.bodies.syncAll((ok) => {
      if (!ok) return this.fail(this.targets.find((one) => one.stream.failed)?.stream.failedReason ?? '')
      queue.durableSeq = Math.max(queue.durableSeq, Math.min(seq, queue.storedSeq))
      queue.sayStored()
    })
  }

  read(token: number, lba: number, blockCount: number): void {
    const head = (met: MetDamage[]) => readHead(this.reading, lba, blockCount, met)
    readMended(this, head, (versions, damaged) =>
      this.answer({ type: 'read-ended', token, ok: versions !== undefined, versions: versions ?? [], damaged }),
    )
  }

  snapshot(wanted: string): OpenedSnapshot | undefined {
    return findSnapshot(this.bodies.now, this.queue.epochs, wanted)
  }

  readSnapshot(token: number, snapshot: SnapshotPlace, lba: number, blockCount: number): void {
    const read = (versions: Shown<BlockVersion[]>, damaged: DamagedId[] = []): void => {
      const isGone = versions === 'gone'
      const found = versions === 'gone' ? undefined : versions
      this.answer({ type: 'read-ended', token, ok: found !== undefined, versions: found ?? [], damaged, isGone })
    }
    if (!this.has(snapshot)) return read('gone')
    const range = { lba, blockCount }
    readMended(this, (met) => readSnapshotBlocks(this.reading, snapshot.seq, range, met), read)
  }

  mapSnapshot(
    token: number,
    snapshot: SnapshotPlace,
    { lba, blockCount, since }: { lba: number; blockCount: number; since: SnapshotPlace | undefined },
  ): void {
    const map = (found: Shown<SnapshotMap>): void => {
      const isGone = found === 'gone'
      const { runs, endLba } = found === 'gone' || found === undefined ? { runs: [], endLba: lba } : found
      this.answer({ type: 'mapped', token, ok: found !== undefined && !isGone, runs, endLba, isGone })
    }
    if (!this.has(snapshot) || (since !== undefined && !this.has(since))) return map('gone')
    const range = { lba, blockCount, sinceSeq: since?.seq, runsMax: SNAPSHOT_RUNS_MAX }
    runTask(mapSnapshot(this.reading, snapshot.seq, range), map)
  }

  /** Whether exactly that snapshot is there, as of the applied seq. */
  private has({ id, epoch, seq }: SnapshotPlace): boolean {
    const isThere = this.bodies.now.snapshots.some((one) => one.id === id && one.seq === seq)
    return isThere && epochAt(this.queue.epochs, seq) === epoch
  }

  countBeyond(token: number, lba: number): void {
    const { now } = this.bodies
    const [unsized] = now.snapshots.filter(({ sizeBytes }) => sizeBytes === undefined)
    runTask(dataBeyond(this.reading, lba, Math.ceil(now.spec.sizeBytes / BLOCK_BYTES)), (blocks) => {
      const name = unsized?.title?.name ?? unsized?.id
      const counted = { ok: blocks !== undefined, bytes: (blocks ?? 0) * BLOCK_BYTES }
      this.answer({ type: 'beyond-counted', token, ...counted, ...(name === undefined ? {} : { unsized: name }) })
    })
  }

  slicesShown(): number {
    return Math.ceil(shownBytes(this.bodies.now) / SLICE_BYTES)
  }

  lookUp(token: number, lbas: readonly number[]): void {
    runTask(readIds(this.reading, lbas), (seqs) =>
      this.answer({ type: 'looked-up', token, ok: seqs !== undefined, seqs: seqs ?? [] }),
    )
  }

  scan(token: number, range: ScanRange): void {
    const damaged: DamagedId[] = []
    runTask(scanSlice(this.reading, range, damaged), (found) =>
      this.answer({
        type: 'scanned',
        token,
        ok: found !== undefined,
        versions: found?.versions ?? [],
        cursor: found?.cursor,
        damaged,
      }),
    )
  }

  readVersions(token: number, wanted: readonly VersionId[]): void {
    runTask(readExact(this.reading, wanted), (exact) => this.answer({ type: 'versions-read', token, ...exact }))
  }

  findMarks(token: number, range: Parameters<CopyStore['findMarks']>[1]): void {
    runTask(findMarks(this.reading, this.stored().sliceCount, range), (found) =>
      this.answer({ type: 'marks-found', token, ok: found !== undefined, ids: [], from: undefined, ...found }),
    )
  }

  repair(token: number, versions: readonly BlockVersion[]): void {
    runTask(repairVersions(this, versions), (mended) => {
      if (this.failedReason !== '') return
      this.onRepaired(versions)
      this.o.onMended(mended)
      this.answer({ type: 'kept', token })
    })
  }

  lost(versions: readonly VersionId[]): void {
    this.onLost(this.o.sharedDamage.lost(this, versions))
  }

  scrubSoon(): void {
    this.onScrubSoon()
  }

  startFill(token: number, start: FillStart): void {
    this.filling.start(start, () => this.onEvent({ type: 'kept', token }))
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    this.filling.fill(token, versions)
  }

  keepTrimsAbove(seq: number): void {
    for (const { map } of this.targets) map.copy!.keepTrimsAbove = seq
  }

  roomFor({ type, lba, blockCount }: Parameters<NonNullable<CopyStore['roomFor']>>[0]): 'there' | 'wait' | 'refuse' {
    const stream = this.layout.target(lba)?.stream
    const isData = type === 'write'
    const isShort = stream !== undefined && !stream.failed && !roomFor(stream, isData ? blockCount : 1, isData)
    if (!isShort && this.heldRecords === 0) return 'there'
    if (!isData || this.onFull !== 'error') return 'wait'
    this.o.onWork(stream)
    return 'refuse'
  }

  /** As the note of the record says, which follows the wish; else as the copy was made. */
  private get onFull(): OnFull {
    const { noted, now } = this.bodies
    const wished = (noted as { record?: { spec?: { onFull?: unknown } } } | undefined)?.record?.spec?.onFull
    return wished === 'error' || wished === 'hold' ? wished : now.spec.onFull
  }

  descriptor(): ReplicatedDescriptor {
    const { spec, snapshots, rollbacks, deleted } = this.bodies.now
    const epochs = this.queue.epochs.filter(([, firstSeq]) => firstSeq <= this.appliedSeq)
    return { spec, epochs, snapshots, rollbacks, deleted, forgottenSeq: this.forgottenSeq }
  }

  /**
   * Begin anew, empty, as another copy or as one that is removed: a filling of which nothing comes. What was there is
   * gone when `done` runs, on all its disks; when one fails it never runs.
   */
  renew(spec: CopyDescriptor['spec'], identity: CopyIdentity, done: () => void): void {
    const { isRemoved, copyId } = identity
    const facts: CopyFacts = { ...newCopyPart(copyId).facts, wholeBoot: '' }
    const rest = { spec, snapshots: [], deleted: isRemoved, forgottenSeq: this.forgottenSeq }
    const { pins, now } = this.bodies
    if (isRemoved && pins.length > 0) {
      // What clones beside it read stays, as it is and where it is.
      const target = this.appliedSeq
      const descriptor: ReplicatedDescriptor = { ...rest, epochs: this.queue.epochs, rollbacks: now.rollbacks }
      this.filling.start({ fork: target, target, wipe: [], descriptor, facts, windows: [], identity }, done)
      return
    }
    const descriptor: ReplicatedDescriptor = { ...rest, epochs: [], rollbacks: [] }
    const wipe = slicesIn(this.layout.slices)
    this.filling.start({ fork: 0, target: 0, wipe, descriptor, facts, windows: [], identity }, done)
  }

  /** Get blocks of its own for what it shares, in the background. @returns how many slices it shares now */
  hydrate(): number {
    const shared = slicesIn(this.layout.slices).filter((slice) => isShared(this.bodies.now.origin, slice))
    this.hydration.want(shared)
    this.hydration.lookAgain()
    return shared.length
  }

  /** What `note` kept last; undefined: nothing. */
  get noted(): unknown {
    return this.bodies.noted
  }

  /** Keep what the cluster store says of the volume (FORMAT.md section 7). @param ended  as `CopyBodies.note` */
  note(noted: unknown, ended: (ok: boolean) => void): void {
    if (this.failedReason !== '') ended(false)
    else this.bodies.note(noted, ended)
  }

  /** Versions that nobody reads were found damaged: the machine is told, which has them repaired (SPEC.md D1). */
  tellDamage(versions: readonly DamagedId[]): void {
    runTask(this.haveMended(versions), () => {})
  }

  /** The same. @returns those of which the machine is told, which has other members of the volume asked */
  *haveMended(versions: readonly DamagedId[]): Task<DamagedId[]> {
    const own = this.bodies.pins.length === 0 ? [...versions] : yield* this.ownDamage(versions)
    this.answer({ type: 'damaged', versions: own })
    return own
  }

  /**
   * Those that the volume itself shows. What only clones beside the copy show is theirs to repair, for other copies of
   * this volume need not have it: they are told.
   */
  *ownDamage(versions: readonly DamagedId[]): Task<DamagedId[]> {
    const own: DamagedId[] = []
    for (const id of versions) {
      const target = this.layout.target(id.lba)
      const found = target === undefined ? [] : yield* versionsOfBlock(target, id.lba)
      const shown = target === undefined || found === undefined ? undefined : withoutPinned(target.map, found)
      if (shown === undefined || shown.some(({ words }) => seqOf(words, 0) === id.seq)) own.push(id)
    }
    const read = versions.filter((id) => !own.includes(id))
    if (read.length > 0) this.o.tellReaders(this, read)
    return own
  }

  // --- for the store it is part of ---------------------------------------------------------------------------------

  get heldRecords(): number {
    return this.appends.heldCount
  }

  /** Of clients, once for each of their records that wait for room. */
  heldRequests(): RequestId[] {
    return this.appends.heldRequests()
  }

  /** Space may have come back. */
  retryHeld(): void {
    this.appends.retryHeld()
  }

  slicesOn(diskUuid: string): number {
    return this.layout.slicesOn(diskUuid)
  }

  /** A stream of the copy failed. */
  streamFailed(stream: StoreStream, reason: string): void {
    if (this.targets.some((target) => target.stream === stream)) this.fail(reason)
  }

  fail(reason: string): void {
    if (this.failedReason !== '') return
    this.failedReason = reason === '' ? 'a disk of the copy failed' : reason
    this.filling.breakOff()
    this.onEvent({ type: 'store-failed', reason: this.failedReason })
  }

  /** In a later turn, also when nothing had to be waited for: the machine is not entered twice. */
  private answer(event: StoreEvent): void {
    this.o.clock.defer(() => this.onEvent(event))
  }

  private *payload({ stream, map }: Target, waiting: WaitingRecord): Task<Uint8Array | undefined> {
    const { record, segment, units } = waiting
    if (record.kind !== RECORD_KIND.write) return new Uint8Array(0)
    const { reader } = stream
    const bytes = yield* reader.readUnits(segment, units, recordPayloadUnits(record))
    const isWhole = bytes !== undefined && reader.recordIsWhole({ ...record, payloadUnits: 0 }, bytes)
    assert(map.copy !== undefined, 'only copies wait')
    return isWhole ? bytes : undefined
  }
}

/** Behind the last slice that has a place, at least so many. */
const endOf = (slices: CopyDescriptor['slices'], least: number): number =>
  slices.flatMap(([, , runs]) => runs).reduce((end, [first, count]) => Math.max(end, first + count), least)

/** Every slice that has a place, also on a disk that is not there. */
export function slicesIn(slices: CopyDescriptor['slices']): number[] {
  const all = new Set<number>()
  for (const [, , runs] of slices)
    for (const [first, count] of runs) for (let slice = first; slice < first + count; slice++) all.add(slice)
  return [...all]
}
