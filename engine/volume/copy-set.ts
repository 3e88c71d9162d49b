/** The copies of replicated volumes that a store has, opened from what their disks agreed on, or made empty. */
import type { StoreStream } from '../log/store-stream.ts'
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import { runTask, until, untilAll, type Task } from '../task.ts'
import type { VersionId } from '../replication/record.ts'
import { SLICE_BYTES } from '../units.ts'
import { newCopyPart, type CopyDescriptor } from './copy-part.ts'
import { isLaterCopy, type SettledCopy } from './copy-recovery.ts'
import type { Target } from './block-reader.ts'
import { cloneOf, CopySharing, whyNotShared, withLost, type CloneSource } from './copy-sharing.ts'
import { LocalCopyStore, type OpenCopy } from './copy-store.ts'
import type { Foreground } from './foreground.ts'
import { HydrationPace } from './hydration-pace.ts'
import { placeSlices } from './placement.ts'
import { SharedDamage } from './shared-damage.ts'
import { failure, type Reply } from './store-api.ts'
import type { StoreDisks } from './store-disks.ts'
import type { VolumeSpec } from './volume-spec.ts'

export interface CopySetOptions {
  clock: ClockPort
  crc32c: Crc32c
  log: LogPort
  disks: StoreDisks
  foreground: Foreground
  placementDisks(spec: VolumeSpec): ReturnType<StoreDisks['placementDisks']>
}

/** For whoever looks after what no machine has. */
export interface Remains {
  copy: LocalCopyStore
  /** Ids of the volumes that read it. */
  clones(): string[]
  /** As `CopySharing.tellReaders`. */
  tellReaders(versions: readonly VersionId[]): Task<VersionId[]>
}

const UNSETTLED = 'one is being made or removed'

export class CopySet {
  /** By volume id, with what each found when it was opened. */
  readonly byId = new Map<string, OpenCopy>()
  /** On disks and not served: something of it could not be read, or it could not be removed. */
  private readonly leftOut = new Map<string, LocalCopyStore>()
  /** Being made, or removed. */
  private readonly unsettled = new Map<string, LocalCopyStore>()
  /** Copies that failed and are being taken away, until that is done. */
  private readonly failed = new Set<LocalCopyStore>()
  private readonly sharing: CopySharing
  private readonly sharedDamage: SharedDamage
  private readonly pace: HydrationPace
  private readonly o: CopySetOptions

  constructor(options: CopySetOptions) {
    this.o = options
    this.pace = new HydrationPace(options.clock, options.foreground)
    const isOpen = (copy: LocalCopyStore): boolean =>
      ![...this.leftOut.values(), ...this.failed].includes(copy) && copy.failedReason === ''
    this.sharedDamage = new SharedDamage({
      copies: () => this.all(),
      isServed: (copy) => isOpen(copy) && !this.sharing.remains.has(copy),
    })
    this.sharing = new CopySharing({
      copies: () => this.all(),
      isOpen,
      isIncomplete: (copy) => options.disks.refused.length > 0 || copy.stored().lostSlices.length > 0,
      eraseRemains: (copy) => this.takeAway(copy, () => {}),
    })
  }

  /**
   * Copies are opened from what their disks agreed on; one of which something cannot be read is left out, and so is one
   * in whose place another was made while its disk was away. That one shows when the other is not there.
   */
  *openTask(settled: SettledCopy[]): Task<void> {
    const isThere = new Map(settled.map((one) => [one, withLost(one)]))
    for (const one of settled) {
      const { id, name } = one.descriptor.spec
      // A disk that could not finish its recovery has nothing to say any more.
      if (one.targets.some(({ stream }) => !this.o.disks.entries.some((entry) => entry.stream === stream))) continue
      const { settled: found, lost } = isThere.get(one)!
      if (lost.length > 0) {
        const what = { volume: name, slices: lost.join(' ') }
        this.o.log.event('warn', 'what a clone shared is not there as it was: these slices are lost here', what)
      }
      const copy = this.make(found)
      const stored = yield* copy.openTask()
      if (one.descriptor.copy.isRemoved === true) {
        if (copy.bodies.pins.length > 0) this.sharing.remains.add(copy)
        continue
      }
      if (settled.some((other) => other.descriptor.spec.id === id && isLaterCopy(other, one))) {
        const what = { volume: name, copy: one.descriptor.copy.copyId }
        this.o.log.event('warn', 'a disk came back with a former copy, which is left as it is', what)
        continue
      }
      if (typeof stored !== 'string') this.byId.set(id, { copy, stored })
      else {
        this.leftOut.set(id, copy)
        const what = { volume: name, reason: stored }
        this.o.log.event('error', 'a copy cannot be served: what it accepted cannot be read', what)
      }
    }
    this.sharing.look()
  }

  /**
   * A copy of a replicated volume, empty; durable on all its disks before the answer. One that is there already (a
   * request that is repeated) is answered as it is. One that was removed is never made again under its `copyId`: it
   * would have forgotten what it promised. A disk that failed has no say: what it had is a former copy, should it come
   * back.
   */
  create(spec: VolumeSpec, copyId: string, reply: Reply<OpenCopy>): void {
    const existing = this.byId.get(spec.id)
    if (existing !== undefined) return reply({ ok: true, value: existing })
    const left = this.leftOf(spec.id)
    const remains = [...this.sharing.remains].filter(({ volumeId }) => volumeId === spec.id)
    for (const one of remains) this.sharing.free(one)
    const refusal = this.unsettled.has(spec.id) || this.sharing.isMaking(spec.id)
      ? UNSETTLED
      : remains.length > 0
        ? 'clones here get the blocks first that they read in what is left of a former one'
      : left.some(({ copy }) => copy.isRemoved !== true)
        ? 'a copy of it is there and cannot be read'
        : this.wasHere(spec.id, copyId)
          ? 'that copy was removed'
          : undefined
    if (refusal !== undefined) {
      return reply(failure('copy-exists', { volume: spec.name, copy: copyId, reason: refusal }))
    }
    const usable = this.o.placementDisks(spec)
    if (usable.length === 0)
      return reply(failure('pool-not-found', { pool: spec.pool, tags: spec.diskTags.join('+') || '(any)' }))
    const disks = usable.map((one) => one.disk)
    const slices = placeSlices([], disks, { first: 0, count: Math.ceil(spec.sizeBytes / SLICE_BYTES), generation: 1 })
    const streams = slices.map(([diskUuid]) => usable.find((one) => one.disk.diskUuid === diskUuid)!.entry.stream)
    const descriptor: CopyDescriptor = left[0] ?? {
      format: 1,
      revision: 0,
      spec,
      epoch: 0,
      epochs: [],
      slices,
      snapshots: [],
      rollbacks: [],
      origin: null,
      deleted: false,
      seq: 0,
      copy: newCopyPart(copyId),
    }
    const targets: Target[] = []
    for (const { stream } of this.o.disks.entries) {
      const map = stream.volumesById.get(spec.id)
      if (stream.failed) continue
      if (map !== undefined) targets.push({ stream, map })
      else if (streams.includes(stream))
        targets.push({ stream, map: stream.addVolume({ ...descriptor, revision: 0 }) })
    }
    const revision = Math.max(...left.map((one) => one.revision), 0)
    const copy = this.make({ descriptor: { ...descriptor, revision }, targets, tail: 0, unapplied: [] })
    for (const { map } of targets) map.isTaken = true
    const ended = (ok: boolean): void => {
      for (const { map } of targets) map.isTaken = false
      if (!ok) return reply(failure('disk-failed', { disk: spec.name, reason: 'the copy could not be recorded' }))
      const one = { copy, stored: copy.stored() }
      this.byId.set(spec.id, one)
      reply({ ok: true, value: one })
    }
    const done = this.unsettle(copy, ended)
    if (left.length === 0) copy.create(done)
    else copy.renew(spec, { copyId, isRemoved: false }, () => done(true))
  }

  /**
   * A copy of a clone, from the copy of its origin beside it, in O(1); durable on all its disks before the answer. One
   * that is there already is answered as it is. The caller has checked that it is no smaller than the snapshot.
   */
  clone(spec: VolumeSpec, copyId: string, source: CloneSource, reply: Reply<OpenCopy>): void {
    const existing = this.byId.get(spec.id)
    if (existing !== undefined) return reply({ ok: true, value: existing })
    const isBusy = this.unsettled.has(spec.id) || this.sharing.isMaking(spec.id)
    if (isBusy || this.leftOf(spec.id).length > 0) {
      const reason = isBusy ? UNSETTLED : 'one was here before'
      return reply(failure('copy-exists', { volume: spec.name, copy: copyId, reason }))
    }
    const origin = this.byId.get(source.volumeId)?.copy
    const whyNot = whyNotShared(origin, source)
    if (origin === undefined || whyNot !== undefined)
      return reply(failure('clone-source', { volume: spec.name, copy: copyId, reason: whyNot ?? '' }))
    // As of this turn: the snapshot may go while the pin is on its way.
    const descriptor = cloneOf(origin, spec, copyId, source)
    this.sharing.pin(origin, spec.id, source.seq, (isPinned, made) => {
      const ended = (copy: LocalCopyStore | undefined): void => {
        const one = copy === undefined ? undefined : { copy, stored: copy.stored() }
        if (one !== undefined) this.byId.set(spec.id, one)
        made()
        if (one !== undefined) return reply({ ok: true, value: one })
        reply(failure('disk-failed', { disk: spec.name, reason: 'the copy could not be recorded' }))
      }
      if (!isPinned) return ended(undefined)
      const targets = origin.targets.map(({ stream }): Target => {
        const map = stream.addVolume(descriptor)
        map.appliedSeq = source.seq
        return { stream, map }
      })
      const copy = this.make({ descriptor, targets, tail: source.seq, unapplied: [] })
      // What it has beyond the end of its origin.
      copy.bodies.place(spec.sizeBytes)
      copy.create(this.unsettle(copy, (ok) => ended(ok ? copy : undefined)))
    })
  }

  /**
   * Take a copy away with all it holds, durably on all its disks that did not fail, also one that cannot be served; one
   * that is not there is no error. What a disk that failed had of it is that of a former copy, should it come back.
   */
  remove(volumeId: string, reply: Reply<void>): void {
    const copy = this.byId.get(volumeId)?.copy ?? this.leftOut.get(volumeId)
    if (copy === undefined) {
      if (!this.unsettled.has(volumeId)) return reply({ ok: true, value: undefined })
      return reply(failure('copy-exists', { volume: volumeId, copy: '', reason: UNSETTLED }))
    }
    this.byId.delete(volumeId)
    this.leftOut.delete(volumeId)
    if (copy.failedReason === '') return this.takeAway(copy, reply)
    this.unsettled.set(volumeId, copy)
    copy.onEvent = () => {}
    copy.quiet(() => {
      this.unsettled.delete(volumeId)
      const settled = copy.rest()
      this.failed.add(copy)
      if (settled.targets.length === 0) return this.taken(volumeId, reply)
      this.takeAway(this.make(settled), reply)
    })
  }

  private takeAway(copy: LocalCopyStore, reply: Reply<void>): void {
    const { volumeId } = copy
    const { copyId } = copy.bodies.now.copy
    const { spec } = copy.descriptor()
    const isRead = copy.bodies.pins.length > 0
    const done = this.unsettle(copy, (ok) => {
      if (!ok) {
        // It is there as before, and whoever asks again is told so again.
        this.leftOut.set(volumeId, copy)
        return reply(failure('disk-failed', { disk: spec.name, reason: copy.failedReason }))
      }
      if (isRead) this.sharing.remains.add(copy)
      this.taken(volumeId, reply)
    })
    copy.renew(spec, { copyId, isRemoved: true }, () => done(true))
  }

  /** Nothing is left of the copy, however many of its disks failed meanwhile. */
  private taken(volumeId: string, reply: Reply<void>): void {
    for (const copy of this.failed) if (copy.volumeId === volumeId) this.failed.delete(copy)
    this.sharing.look()
    // Its space comes back by the cleaner.
    this.o.disks.kick(undefined)
    reply({ ok: true, value: undefined })
  }

  /** What a copy is changes: until that has ended nothing else is asked of its volume here. @returns what ends it */
  private unsettle(copy: LocalCopyStore, ended: (ok: boolean) => void): (ok: boolean) => void {
    const { volumeId } = copy
    this.unsettled.set(volumeId, copy)
    const done = (ok: boolean): void => {
      if (!this.unsettled.delete(volumeId)) return
      copy.onEvent = () => {}
      ended(ok)
    }
    copy.onEvent = ({ type }) => {
      if (type === 'store-failed') done(false)
    }
    return done
  }

  /** What the streams still have of a volume that has no open copy, but for those that failed. */
  private leftOf(volumeId: string): CopyDescriptor[] {
    const left: CopyDescriptor[] = []
    for (const { stream } of this.o.disks.entries) {
      const map = stream.failed ? undefined : stream.volumesById.get(volumeId)
      if (map?.copy !== undefined) left.push(map.descriptor as CopyDescriptor)
    }
    return left.sort((a, b) => b.copy.fills - a.copy.fills)
  }

  private wasHere(volumeId: string, copyId: string): boolean {
    return this.o.disks.entries.some(({ stream: { volumesById } }) =>
      volumesById.get(volumeId)?.descriptor.copy?.copyId === copyId)
  }

  private make(settled: SettledCopy): LocalCopyStore {
    const { crc32c, clock, disks } = this.o
    return new LocalCopyStore({
      settled,
      crc32c,
      clock,
      pace: this.pace,
      onWork: (shortOf) => disks.kick(shortOf),
      freeSlices: (copy, slices) => this.sharing.freeSlices(copy, slices),
      tellReaders: (copy, versions) => runTask(this.sharing.tellReaders(copy, versions), () => {}),
      onUnshared: () => this.sharing.look(),
      onMended: (mended) => {
        this.sharing.lookAgain()
        this.sharedDamage.mended(mended)
      },
      sharedDamage: this.sharedDamage,
    })
  }

  /** What is left of copies that were removed while clones beside them read them. */
  remains(): Remains[] {
    return [...this.sharing.remains].map((copy) => ({
      copy,
      clones: () => [...this.sharing.clonesOf(copy)].map(({ volumeId }) => volumeId),
      tellReaders: (versions) => this.sharing.tellReaders(copy, versions),
    }))
  }

  retryHeld(): void {
    for (const { copy } of this.byId.values()) if (copy.heldRecords > 0) copy.retryHeld()
    for (const copy of this.sharing.remains) if (copy.heldRecords > 0) copy.retryHeld()
  }

  streamFailed(stream: StoreStream, reason: string): void {
    for (const { copy } of this.byId.values()) copy.streamFailed(stream, reason)
    for (const copy of [...this.unsettled.values(), ...this.sharing.remains]) copy.streamFailed(stream, reason)
  }

  /** Run when nothing of any copy is on its way to a disk, and none begins to get blocks of its own. */
  *drainTask(): Task<void> {
    this.sharedDamage.end()
    // All at once: while one ends the others would go on, and each would end only when it is asked.
    yield* untilAll<void>([...this.all()].map((copy) => (resume) => copy.hydration.end(() => resume())))
    const served = [...this.byId.values()].map((one) => one.copy)
    for (const copy of [...served, ...this.unsettled.values(), ...this.sharing.remains])
      yield* until<void>((resume) => copy.drained(() => resume()))
  }

  /** Also those that are not served (any more): their maps are in the checkpoints of their streams. */
  private *all(): Generator<LocalCopyStore> {
    for (const { copy } of this.byId.values()) yield copy
    yield* this.leftOut.values()
    yield* this.unsettled.values()
    yield* this.failed
    yield* this.sharing.remains
  }

  /**
   * Whether the map of this stream has what a copy applied with write-back and another disk of it failed to keep: an
   * index must not show it, for what came before it is gone (FORMAT.md section 7).
   */
  hasLost(stream: StoreStream): boolean {
    for (const copy of this.all()) {
      // Taken away, it is that from the turn on in which the word is durable on all disks that are left.
      const isOn = copy.targets.some((target) =>
        target.stream === stream && (target.map.descriptor as CopyDescriptor).copy.isRemoved !== true)
      const hasFailed = copy.targets.some((target) => target.stream.failed)
      if (isOn && hasFailed && copy.durability === 'writeback' && copy.appliedSeq > copy.bodies.claimedSeq) return true
    }
    return false
  }

  /** The other streams of the copies that lie on this one. */
  *peersOf(stream: StoreStream): Generator<StoreStream> {
    for (const copy of this.all())
      if (copy.targets.some((target) => target.stream === stream))
        for (const target of copy.targets) yield target.stream
  }
}
