/**
 * The store of one data worker: volumes over the streams it owns (K5 of the control path ends here).
 *
 * Opening: every stream reads what it has; a volume's tail is the last seq without a gap over all its disks, what lies
 * behind is cut; then every stream finishes, every volume that may have lost its tail takes a new epoch, and only
 * then is a segment granted or a request accepted.
 */
import { assert } from '../assert.ts'
import { HoldfastError } from '../errors.ts'
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import { Maintenance } from '../log/maintenance.ts'
import { OPERATION } from '../log/record.ts'
import type { RolledRecord } from '../log/log-tail.ts'
import { claimRefused, finishOpen, openStream, type OpenedStream } from '../log/recovery.ts'
import { adoptRolled, applyRolled } from '../log/roll-forward.ts'
import type { StoreStream, StreamContext } from '../log/store-stream.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import { runTask, until, type Task } from '../task.ts'
import { BLOCK_BYTES, SLICE_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { BlockDevice } from './block-device.ts'
import type { Target } from './block-reader.ts'
import { newCopyPart, type CopyDescriptor } from './copy-part.ts'
import { rollCopyRecord, settleCopies, type SettledCopy } from './copy-recovery.ts'
import { LocalCopyStore, type OpenCopy } from './copy-store.ts'
import { newEpoch, type VolumeDescriptor } from './descriptor.ts'
import { placeSlices, type PlacementDisk } from './placement.ts'
import type { Reply, StoreApi } from './store-api.ts'
import { unpin } from './time-travel.ts'
import { Volume } from './volume.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from './volume-spec.ts'

export interface StoreDisk {
  context: StreamContext
  path: string
  pool: string
  tags: string[]
}

export interface StoreOptions {
  clock: ClockPort
  crc32c: Crc32c
  log: LogPort
  /** New volumes go to the streams of this number on their disks. */
  newVolumeStream: number
  /** Runs `go` when every stream of every disk, also those of other workers, has said which segments are its own. */
  recovered(go: () => void): void
}

interface StoreEntry {
  disk: StoreDisk
  stream: StoreStream
  maintenance: Maintenance
}

const SHARED_LOOK_MS = 1000

export class Store implements StoreApi {
  private readonly o: StoreOptions
  private readonly entries: StoreEntry[] = []
  /** Disks whose stream could not be opened: their slices answer EIO. */
  private readonly refused: Array<{ disk: StoreDisk; reason: string }> = []
  private readonly byName = new Map<string, Volume>()
  /** Deleted, but clones read through them: they take a record when a clone goes. By id. */
  private readonly pinned = new Map<string, Volume>()
  private readonly copiesById = new Map<string, OpenCopy>()
  /** Being created or deleted, by name: not recorded yet. */
  private readonly unsettled = new Map<string, Volume>()
  private stopping = false
  private sharedTimer: { cancel(): void } | undefined

  private constructor(options: StoreOptions) {
    this.o = options
  }

  /** Open all streams of a worker. A stream that cannot be served is reported and left out; the others go on. */
  static open(options: StoreOptions, disks: StoreDisk[], done: (store: Store) => void): void {
    const store = new Store(options)
    runTask(store.openTask(disks), () => done(store))
  }

  private *openTask(disks: StoreDisk[]): Task<void> {
    const opened: Array<{ disk: StoreDisk; opened: OpenedStream }> = []
    for (const disk of disks) {
      const outcome = yield* openStream(disk.context)
      if (outcome.ok) opened.push({ disk, opened: outcome.opened })
      else yield* this.refuseStream(disk, outcome.reason)
    }
    for (const one of opened) adoptRolled(one.opened)
    const cut = this.addNewVolumes(opened)
    const readable = new Set<OpenedStream>()
    for (const one of opened) {
      let ok = true
      for (const rolled of one.opened.rolled) {
        const volume = one.opened.stream.volumesById.get(rolled.volumeId)
        if (volume?.copy !== undefined) {
          ok &&= yield* rollCopyRecord(one.opened.stream, volume, rolled)
          continue
        }
        if (volume === undefined || volume.views.isVoid(rolled.record.epoch, rolled.record.seq)) continue
        const tail = cut.get(rolled.volumeId)
        const isFresh = (rolled.record.flags & 1) === 0
        if (isFresh && tail !== undefined && rolled.record.seq > tail) continue
        ok &&= yield* applyRolled(one.opened.stream, volume, rolled)
      }
      if (ok) readable.add(one.opened)
    }
    const settled = yield* settleCopies(
      opened.filter((one) => readable.has(one.opened)).map((one) => one.opened.stream),
    )
    for (const one of opened) {
      const ok = readable.has(one.opened) && (yield* finishOpen(one.opened))
      if (ok) this.addStream(one.disk, one.opened.stream)
      else this.refuse(one.disk, one.opened.stream.failedReason || 'its recovery could not be finished')
    }
    const unfinished = this.finishCreations()
    const epochs: Volume[] = []
    const unclean = new Set(opened.filter((one) => !one.opened.plan.clean).map((one) => one.opened.stream))
    for (const volume of this.makeVolumes())
      // With a disk missing nothing was cut, and what it holds must not become void.
      if (unfinished.has(volume.descriptor.spec.id) || volume.targets.some((t) => unclean.has(t.stream)))
        if (!volume.targets.some((t) => t.stream.failed)) epochs.push(volume)
    yield* until<void>((resume) => this.o.recovered(() => resume()))
    for (const { stream } of this.entries) stream.supply.start()
    yield* this.openCopies(settled, opened)
    // Every opening takes a segment for its epochs: one crash after the other must not use them up.
    for (const { maintenance } of this.entries) maintenance.kick()
    for (const volume of epochs) yield* until<boolean>((resume) => volume.control(OPERATION.epoch, newEpoch, resume))
    yield* this.dropOrphanPins()
    for (const { maintenance } of this.entries) maintenance.kick()
    this.lookAtShared()
  }

  /** Copies are opened from what their disks agreed on; one of which something cannot be read is left out. */
  private *openCopies(settled: SettledCopy[], opened: Array<{ disk: StoreDisk; opened: OpenedStream }>): Task<void> {
    const { bootId } = opened[0]?.disk.context ?? { bootId: '' }
    const sameBoot = opened.every((one) => (one.opened.plan.former?.bootId ?? bootId) === bootId)
    for (const one of settled) {
      const { id, name } = one.descriptor.spec
      // A disk that could not finish its recovery has nothing to say any more.
      if (one.targets.some(({ stream }) => !this.entries.some((entry) => entry.stream === stream))) continue
      const copy = this.makeCopy(one, sameBoot)
      const stored = yield* copy.openTask()
      if (stored !== undefined) this.copiesById.set(id, { copy, stored })
      else
        this.o.log.event('error', 'a copy cannot be served: what it accepted cannot be read', {
          volume: name,
          reason: copy.failedReason,
        })
    }
  }

  private makeCopy(settled: SettledCopy, sameBoot: boolean): LocalCopyStore {
    const { crc32c, clock } = this.o
    return new LocalCopyStore({ settled, crc32c, clock, sameBoot, onWork: (shortOf) => this.kick(shortOf) })
  }

  private kick(shortOf: StoreStream | undefined): void {
    for (const entry of this.entries) {
      if (entry.stream === shortOf) entry.maintenance.shortOfSpace = true
      entry.maintenance.kick()
    }
  }

  /**
   * A copy of a replicated volume, empty; durable on all its disks before the answer. One that is there already (a
   * request that is repeated) is answered as it is.
   */
  createCopy(spec: VolumeSpec, copyId: string, reply: Reply<OpenCopy>): void {
    const existing = this.copiesById.get(spec.id)
    if (existing !== undefined) return reply({ ok: true, value: existing })
    const usable = this.placementDisks(spec)
    if (usable.length === 0)
      return reply(failure('pool-not-found', { pool: spec.pool, tags: spec.diskTags.join('+') || '(any)' }))
    const disks = usable.map((one) => one.disk)
    const slices = placeSlices([], disks, { first: 0, count: Math.ceil(spec.sizeBytes / SLICE_BYTES), generation: 1 })
    const descriptor: CopyDescriptor = {
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
    const targets = slices.map(([diskUuid]) => {
      const { stream } = usable.find((one) => one.disk.diskUuid === diskUuid)!.entry
      return { stream, map: stream.addVolume(descriptor) }
    })
    const copy = this.makeCopy({ descriptor, targets, tail: 0, unapplied: [] }, true)
    copy.create((ok) => {
      if (!ok) return reply(failure('disk-failed', { disk: spec.name, reason: 'the copy could not be recorded' }))
      const one = { copy, stored: copy.stored() }
      this.copiesById.set(spec.id, one)
      reply({ ok: true, value: one })
    })
  }

  /** Copies of replicated volumes, by volume id, with what each found when it was opened. */
  copies(): ReadonlyMap<string, OpenCopy> {
    return this.copiesById
  }

  /** Streams of one disk tell each other nothing; once a second each looks what the others left. */
  private lookAtShared(): void {
    this.sharedTimer?.cancel()
    if (this.stopping) return
    const shared = this.entries.filter(({ stream }) => stream.isShared)
    for (const { maintenance } of shared) maintenance.lookAgain()
    if (shared.length === 0) return
    this.retryHeld()
    this.sharedTimer = this.o.clock.after(SHARED_LOOK_MS, () => this.lookAtShared())
  }

  /**
   * A crash between the pin of a clone and the clone itself, or between its end and its pin's, leaves a pin for
   * nobody.
   */
  private *dropOrphanPins(): Task<void> {
    if (this.refused.length > 0) return
    const clones = new Set([...this.byName.values()].map((volume) => volume.descriptor.spec.id))
    for (const origin of [...this.byName.values(), ...this.pinned.values()])
      for (const { pinnedBy } of origin.descriptor.snapshots)
        if (pinnedBy !== null && !clones.has(pinnedBy))
          yield* until<boolean>((resume) => unpin(origin, pinnedBy, resume))
  }

  /** Volumes whose first control record lies behind the checkpoint; and the tail of each volume that has a gap. */
  private addNewVolumes(opened: Array<{ opened: OpenedStream }>): Map<string, number> {
    interface Known {
      applied: number
      found: number[]
      newest: VolumeDescriptor | undefined
    }
    const seqs = new Map<string, Known>()
    const at = (id: string): Known => {
      let one = seqs.get(id)
      if (one === undefined) seqs.set(id, (one = { applied: 0, found: [], newest: undefined }))
      return one
    }
    const note = (one: Known, descriptor: VolumeDescriptor): void => {
      if (descriptor.revision >= (one.newest?.revision ?? 0)) one.newest = descriptor
      // What lies below an epoch was settled when it began, also the gap that a failed disk left.
      one.applied = Math.max(one.applied, descriptor.epochs.at(-1)![1] - 1)
    }
    for (const {
      opened: { stream, rolled },
    } of opened) {
      for (const record of rolled) {
        if (record.descriptor !== undefined && !stream.volumesById.has(record.volumeId))
          stream.addVolume(record.descriptor)
        if (stream.volumesById.get(record.volumeId)?.copy !== undefined) continue
        if (record.descriptor !== undefined) note(at(record.volumeId), record.descriptor)
        if ((record.record.flags & 1) === 0) at(record.volumeId).found.push(record.record.seq)
      }
      for (const [id, volume] of stream.volumesById) {
        if (volume.copy !== undefined) continue
        const one = at(id)
        one.applied = Math.max(one.applied, volume.appliedSeq)
        note(one, volume.descriptor)
      }
    }
    const tails = new Map<string, number>()
    const isOpen = ([disk, stream]: VolumeDescriptor['slices'][number]): boolean =>
      opened.some(({ opened: { stream: s } }) => s.context.diskUuid === disk && s.context.streamId === stream)
    for (const [id, { applied, found, newest }] of seqs) {
      // One disk: its log order has no gaps. A missing disk: what it held is unknown, nothing that is there is cut.
      if (newest === undefined || newest.slices.length < 2 || !newest.slices.every(isOpen)) continue
      let tail = applied
      const sorted = [...new Set(found)].sort((a, b) => a - b)
      for (const seq of sorted) if (seq === tail + 1) tail = seq
      if (sorted.length > 0 && sorted.at(-1)! > tail) tails.set(id, tail)
    }
    return tails
  }

  private addStream(disk: StoreDisk, stream: StoreStream): void {
    const maintenance = new Maintenance(stream)
    const entry = { disk, stream, maintenance }
    this.entries.push(entry)
    stream.onSpace = () => {
      // Whoever still waits says so again.
      maintenance.shortOfSpace = false
      this.retryHeld()
      maintenance.kick()
    }
    stream.map.onPressure = () => maintenance.kick()
    stream.syncPeers = (done) => this.syncPeers(stream, done)
    stream.onFailed = (reason) => {
      this.o.log.event('error', 'a disk failed; its slices answer EIO', {
        disk: stream.context.diskUuid,
        path: disk.path,
        reason,
      })
      // What was held for it fails now, what waits behind that goes on.
      this.o.clock.defer(() => {
        for (const volume of this.byName.values()) volume.retryHeld()
        for (const { copy } of this.copiesById.values()) copy.streamFailed(stream, reason)
      })
    }
  }

  /** Its segments stay its own: what salvage could read is not written over by the disk's other streams. */
  private *refuseStream(disk: StoreDisk, reason: string): Task<void> {
    yield* claimRefused(disk.context)
    this.refuse(disk, reason)
  }

  private retryHeld(): void {
    for (const volume of this.byName.values()) if (volume.heldRequests > 0) volume.retryHeld()
    for (const { copy } of this.copiesById.values()) if (copy.heldRecords > 0) copy.retryHeld()
  }

  private syncPeers(stream: StoreStream, done: () => void): void {
    const peers = new Set<StoreStream>()
    for (const { copy } of this.copiesById.values())
      if (copy.targets.some((target) => target.stream === stream))
        for (const target of copy.targets)
          if (target.stream !== stream && !target.stream.failed) peers.add(target.stream)
    for (const { descriptor, targets } of this.byName.values())
      if (descriptor.spec.durability === 'writeback' && targets.some((target) => target.stream === stream))
        for (const target of targets) if (target.stream !== stream && !target.stream.failed) peers.add(target.stream)
    let left = peers.size + 1
    const ended = (): void => {
      if (--left === 0) done()
    }
    for (const peer of peers) peer.log.sync(ended)
    ended()
  }

  private refuse(disk: StoreDisk, reason: string): void {
    this.refused.push({ disk, reason })
    this.o.log.event('error', 'a disk cannot be served', { disk: disk.context.diskUuid, path: disk.path, reason })
  }

  /**
   * A volume that was being created when the crash came may be recorded on some of its disks only. It was not
   * answered, so it is empty, and gets its place on the others now; its next epoch is recorded on all of them.
   */
  private finishCreations(): Set<string> {
    const ids = new Set<string>()
    for (const { stream } of this.entries)
      for (const { descriptor } of [...stream.map.volumes.values()])
        for (const [diskUuid, streamId] of descriptor.slices)
          for (const { stream: other } of this.entries) {
            const { context } = other
            if (context.diskUuid !== diskUuid || context.streamId !== streamId) continue
            if (descriptor.deleted || descriptor.copy !== undefined) continue
            if (other.volumesById.has(descriptor.spec.id)) continue
            other.addVolume(descriptor)
            ids.add(descriptor.spec.id)
          }
    return ids
  }

  /**
   * One volume over the maps that its disks have of it; the greatest revision counts, and goes to disks that lack it.
   */
  private *makeVolumes(): Generator<Volume, void, undefined> {
    const byId = new Map<string, Array<{ stream: StoreStream; map: VolumeMap }>>()
    for (const { stream } of this.entries)
      for (const map of stream.map.volumes.values()) {
        if (map.copy !== undefined) continue
        const id = map.descriptor.spec.id
        byId.set(id, [...(byId.get(id) ?? []), { stream, map }])
      }
    for (const targets of byId.values()) {
      let descriptor = targets[0]!.map.descriptor
      for (const { map } of targets) if (map.descriptor.revision > descriptor.revision) descriptor = map.descriptor
      const behind = targets.filter(({ map }) => map.descriptor.revision < descriptor.revision)
      for (const { map } of behind) map.setDescriptor(descriptor)
      const isGone = descriptor.deleted && descriptor.snapshots.length === 0
      // Its end is recorded once more when a disk lacks it: without its index that disk would bring it back.
      if (isGone && behind.length === 0) continue
      let seq = descriptor.seq
      for (const { map } of targets) seq = Math.max(seq, map.appliedSeq)
      const volume = this.makeVolume(descriptor, targets, seq + 1)
      if (isGone) {
        yield volume
        continue
      }
      if (descriptor.deleted) this.pinned.set(descriptor.spec.id, volume)
      else this.serve(volume)
      yield volume
    }
  }

  private makeVolume(descriptor: VolumeDescriptor, targets: Target[], nextSeq: number): Volume {
    const { crc32c, clock, log } = this.o
    // Slices of a disk that is not served answer EIO.
    const all = [...targets]
    for (const [diskUuid] of descriptor.slices)
      if (!all.some(({ stream }) => stream.context.diskUuid === diskUuid))
        all.push(this.missingTarget(diskUuid, descriptor))
    return new Volume({
      descriptor,
      targets: all,
      crc32c,
      clock,
      log,
      nextSeq,
      onWork: (shortOf) => this.kick(shortOf),
    })
  }

  private missingTarget(diskUuid: string, descriptor: VolumeDescriptor): Target {
    const known = this.refused.find(({ disk }) => disk.context.diskUuid === diskUuid)
    const context = known?.disk.context ?? {
      diskUuid,
      streamId: descriptor.slices.find(([disk]) => disk === diskUuid)![1],
    }
    return missingTarget(context, known?.reason ?? 'the disk is not there')
  }

  // --- StoreApi ----------------------------------------------------------------------------------------------------

  createVolume(spec: VolumeSpec, reply: Reply<VolumeStatus>): void {
    const existing = this.byName.get(spec.name)
    if (existing !== undefined || this.unsettled.has(spec.name))
      return reply(
        failure('volume-exists', {
          name: spec.name,
          existing: existing === undefined ? 'being created or deleted' : `${existing.sizeBytes} bytes`,
        }),
      )
    const usable = this.placementDisks(spec)
    if (usable.length === 0)
      return reply(failure('pool-not-found', { pool: spec.pool, tags: spec.diskTags.join('+') || '(any)' }))
    const slices = placeSlices(
      [],
      usable.map((one) => one.disk),
      { first: 0, count: Math.ceil(spec.sizeBytes / SLICE_BYTES), generation: 1 },
    )
    const descriptor: VolumeDescriptor = {
      format: 1,
      revision: 0,
      spec,
      epoch: 1,
      epochs: [[1, 1]],
      slices,
      snapshots: [],
      rollbacks: [],
      origin: null,
      deleted: false,
      seq: 0,
    }
    const targets = slices.map(([diskUuid]) => {
      const { stream } = usable.find((one) => one.disk.diskUuid === diskUuid)!.entry
      return { stream, map: stream.addVolume(descriptor) }
    })
    this.record(descriptor, targets, OPERATION.create, reply)
  }

  /** The volume lies where its origin does, so that it finds there what it reads through. */
  createClone(spec: VolumeSpec, origin: VolumeDescriptor, seq: number, reply: Reply<VolumeStatus>): void {
    if (this.byName.has(spec.name) || this.unsettled.has(spec.name))
      return reply(failure('volume-exists', { name: spec.name, existing: 'in use' }))
    const descriptor: VolumeDescriptor = {
      ...origin,
      revision: 0,
      spec: { ...spec, sizeBytes: origin.spec.sizeBytes },
      epoch: 1,
      epochs: [[1, 1]],
      snapshots: [],
      rollbacks: [],
      origin: [origin.spec.id, seq],
      deleted: false,
      seq: 0,
    }
    const targets: Target[] = []
    for (const { stream } of this.entries)
      if (stream.volumesById.has(origin.spec.id)) targets.push({ stream, map: stream.addVolume(descriptor) })
    this.record(descriptor, targets, OPERATION.clone, reply)
  }

  private record(
    descriptor: VolumeDescriptor,
    targets: Target[],
    operation: number,
    reply: Reply<VolumeStatus>,
  ): void {
    const { spec } = descriptor
    const volume = this.makeVolume(descriptor, targets, 1)
    this.unsettled.set(spec.name, volume)
    volume.control(
      operation,
      (now) => now,
      (ok) => {
        this.unsettled.delete(spec.name)
        if (!ok) return reply(failure('disk-failed', { disk: spec.pool, reason: 'the volume could not be recorded' }))
        this.byName.set(spec.name, volume)
        reply({ ok: true, value: volume.status() })
      },
    )
  }

  resizeVolume(name: string, sizeBytes: number, reply: Reply<VolumeStatus>): void {
    const volume = this.byName.get(name)
    if (volume === undefined) return reply(failure('volume-not-found', { name }))
    if (sizeBytes < volume.sizeBytes)
      return reply(failure('volume-shrink', { name, current: volume.sizeBytes, size: sizeBytes }))
    const disks = this.placementDisks(volume.descriptor.spec).filter(({ entry }) =>
      volume.targets.some((target) => target.stream === entry.stream),
    )
    if (disks.length === 0)
      return reply(
        failure('disk-failed', { disk: volume.descriptor.spec.pool, reason: 'no disk of the volume is online' }),
      )
    volume.control(
      OPERATION.resize,
      (now) => {
        const first = Math.ceil(now.spec.sizeBytes / SLICE_BYTES)
        const count = Math.ceil(sizeBytes / SLICE_BYTES) - first
        const slices = placeSlices(
          now.slices,
          disks.map((one) => one.disk),
          { first, count, generation: 1 },
        )
        return { ...now, spec: { ...now.spec, sizeBytes }, slices }
      },
      (ok) =>
        reply(
          ok
            ? { ok: true, value: volume.status() }
            : failure('disk-failed', { disk: name, reason: 'the new size could not be recorded' }),
        ),
    )
  }

  deleteVolume(name: string, reply: Reply<void>): void {
    const volume = this.byName.get(name)
    if (volume === undefined) return reply(failure('volume-not-found', { name }))
    this.byName.delete(name)
    this.unsettled.set(name, volume)
    volume.close()
    const { spec, origin } = volume.descriptor
    const deleted = (ok: boolean): void => {
      this.unsettled.delete(name)
      if (volume.descriptor.snapshots.length > 0) this.pinned.set(spec.id, volume)
      if (ok && origin !== null) this.dropPin(origin[0], spec.id)
      for (const { maintenance } of this.entries) maintenance.kick()
      reply(
        ok
          ? { ok: true, value: undefined }
          : failure('disk-failed', { disk: name, reason: 'the deletion could not be recorded on every disk' }),
      )
    }
    // Nothing of it may get its place behind the record that says it is gone.
    volume.drained(() =>
      volume.control(
        OPERATION.delete,
        // Its own snapshots go with it, what clones read through stays.
        (now) => ({ ...now, deleted: true, snapshots: now.snapshots.filter(({ pinnedBy }) => pinnedBy !== null) }),
        deleted,
      ),
    )
  }

  private dropPin(originId: string, cloneId: string): void {
    const isOrigin = (volume: Volume): boolean => volume.descriptor.spec.id === originId
    const origin = this.pinned.get(originId) ?? [...this.byName.values()].find(isOrigin)
    if (origin === undefined) return
    unpin(origin, cloneId, () => {
      if (origin.descriptor.snapshots.length === 0) this.pinned.delete(originId)
      for (const { maintenance } of this.entries) maintenance.kick()
    })
  }

  volumes(): VolumeStatus[] {
    return [...this.byName.values()].map((volume) => volume.status())
  }

  volume(name: string): VolumeStatus | undefined {
    return this.byName.get(name)?.status()
  }

  device(name: string): BlockDevice | undefined {
    return this.byName.get(name)
  }

  /** The volume itself, for what has no command yet (snapshots, clones, rollback). */
  volumeObject(name: string): Volume | undefined {
    return this.byName.get(name)
  }

  disks(): DiskStatus[] {
    const byUuid = new Map<string, DiskStatus>()
    for (const { disk, stream } of this.entries) {
      const usable = stream.log.usableBlocks * BLOCK_BYTES
      const known = byUuid.get(disk.context.diskUuid)
      const capacityBytes = Math.max(0, disk.context.segmentCount - stream.reserveSegments) * usable
      const liveBytes = (stream.segments.liveUnits() / UNITS_PER_BLOCK) * BLOCK_BYTES
      const status: DiskStatus = known ?? {
        ...diskFacts(disk),
        state: 'online',
        reason: '',
        capacityBytes,
        freeBytes: capacityBytes,
        reserveBytes: stream.reserveSegments * usable,
        checksumErrors: 0,
      }
      status.freeBytes = Math.max(0, status.freeBytes - liveBytes)
      if (stream.failed) Object.assign(status, { state: 'failed', reason: stream.failedReason })
      byUuid.set(disk.context.diskUuid, status)
    }
    for (const { disk, reason } of this.refused)
      byUuid.set(disk.context.diskUuid, {
        ...diskFacts(disk),
        state: 'failed',
        reason,
        capacityBytes: 0,
        freeBytes: 0,
        reserveBytes: 0,
        checksumErrors: 0,
      })
    for (const volume of this.byName.values())
      for (const diskUuid of new Set(volume.targets.map(({ stream }) => stream.context.diskUuid))) {
        const status = byUuid.get(diskUuid)
        if (status !== undefined) status.checksumErrors += volume.checksumErrors
      }
    return [...byUuid.values()]
  }

  /** Streams, for tests, tools and metrics. */
  streams(): readonly StoreStream[] {
    return this.entries.map((entry) => entry.stream)
  }

  /**
   * Take a disk while the store runs, with the volumes it holds.
   * @param disks  the streams of it that this worker owns
   * @param others  names that other workers serve
   * @param recovered  runs `go` when every worker has recovered its streams of the disk
   */
  addDisk(disks: StoreDisk[], others: string[], recovered: (go: () => void) => void, reply: Reply<void>): void {
    runTask(this.addDiskTask(disks, others, recovered), (problem) =>
      reply(
        problem === undefined
          ? { ok: true, value: undefined }
          : failure('disk-failed', { disk: disks[0]?.path ?? '', reason: problem }),
      ),
    )
  }

  private *addDiskTask(
    disks: StoreDisk[],
    others: string[],
    recovered: (go: () => void) => void,
  ): Task<string | undefined> {
    const streams: Array<{ disk: StoreDisk; stream: StoreStream }> = []
    let problem: string | undefined
    for (const disk of disks) {
      const outcome = yield* openStream(disk.context)
      if (!outcome.ok) {
        yield* this.refuseStream(disk, outcome.reason)
        problem ??= outcome.reason
        continue
      }
      problem ??= yield* this.rollAdded(outcome.opened)
      streams.push({ disk, stream: outcome.opened.stream })
    }
    // No segment is granted before all streams of the disk have said which are theirs, also those of other workers.
    yield* until<void>((resume) => recovered(() => resume()))
    if (problem !== undefined) return problem
    for (const { disk, stream } of streams) {
      this.addStream(disk, stream)
      stream.supply.start()
      this.takeVolumes(stream, others)
    }
    this.lookAtShared()
    return undefined
  }

  private *rollAdded(opened: OpenedStream): Task<string | undefined> {
    const { stream } = opened
    adoptRolled(opened)
    for (const rolled of opened.rolled as RolledRecord[]) {
      if (rolled.descriptor !== undefined && !stream.volumesById.has(rolled.volumeId))
        stream.addVolume(rolled.descriptor)
      const volume = stream.volumesById.get(rolled.volumeId)
      if (volume === undefined) continue
      const roll = volume.copy === undefined ? applyRolled : rollCopyRecord
      if (!(yield* roll(stream, volume, rolled))) return 'its index cannot be read'
    }
    // What a disk brings of copies is served after the next start.
    yield* settleCopies([stream])
    if (yield* finishOpen(opened)) return undefined
    return stream.failedReason || 'its recovery could not be finished'
  }

  /** Volumes a disk brought: new ones are served, of known ones the missing slices are. */
  private takeVolumes(stream: StoreStream, others: string[]): void {
    for (const map of stream.map.volumes.values()) {
      if (map.copy !== undefined) continue
      const { descriptor } = map
      const known = [...this.byName.values()].find((volume) => volume.descriptor.spec.id === descriptor.spec.id)
      if (known !== undefined) known.takeTarget({ stream, map })
      else if (!descriptor.deleted)
        this.serve(
          this.makeVolume(descriptor, [{ stream, map }], Math.max(descriptor.seq, map.appliedSeq) + 1),
          others,
        )
    }
  }

  /** Offer a volume under its name; when another volume has it (an adopted disk), under one with part of its id. */
  private serve(volume: Volume, others: string[] = []): void {
    const { name, id } = volume.descriptor.spec
    if (!this.byName.has(name) && !others.includes(name)) {
      this.byName.set(name, volume)
      return
    }
    const other = `${name.slice(0, 54)}-${id.slice(0, 8)}`
    this.byName.set(other, volume)
    volume.control(
      OPERATION.change,
      (now) => ({ ...now, spec: { ...now.spec, name: other } }),
      () => {},
    )
    this.o.log.event('warn', 'two volumes have one name; the one that came later is renamed', {
      volume: name,
      as: other,
    })
  }

  stop(reply: Reply<void>): void {
    assert(!this.stopping, 'a store is stopped once')
    this.stopping = true
    this.sharedTimer?.cancel()
    runTask(this.stopTask(), () => reply({ ok: true, value: undefined }))
  }

  private *stopTask(): Task<void> {
    for (const volume of this.byName.values()) volume.close()
    for (const volume of [...this.byName.values(), ...this.pinned.values(), ...this.unsettled.values()])
      yield* until<void>((resume) => volume.drained(() => resume()))
    for (const { copy } of this.copiesById.values()) yield* until<void>((resume) => copy.drained(() => resume()))
    for (const { maintenance, stream } of this.entries) {
      yield* until<void>((resume) => maintenance.stop(() => resume()))
      yield* stream.stopTask()
    }
  }

  private placementDisks(spec: VolumeSpec): Array<{ disk: PlacementDisk; entry: StoreEntry }> {
    const status = this.disks()
    return this.entries
      .filter(
        ({ disk, stream }) =>
          disk.pool === spec.pool &&
          !stream.failed &&
          disk.context.streamId === this.o.newVolumeStream &&
          spec.diskTags.every((tag) => disk.tags.includes(tag)),
      )
      .map((entry) => {
        const { diskUuid, streamId } = entry.disk.context
        let slices = 0
        for (const volume of this.byName.values())
          for (const [disk, , runs] of volume.descriptor.slices)
            if (disk === diskUuid) for (const [, count] of runs) slices += count
        for (const { copy } of this.copiesById.values()) slices += copy.slicesOn(diskUuid)
        return {
          entry,
          disk: {
            diskUuid,
            stream: streamId,
            slices,
            capacityBytes: status.find((s) => s.uuid === diskUuid)!.capacityBytes,
          },
        }
      })
  }
}

const diskFacts = ({ context, path, pool, tags }: StoreDisk) => ({ uuid: context.diskUuid, path, pool, tags })

const failure = (code: ConstructorParameters<typeof HoldfastError>[0], detail: Record<string, string | number>) =>
  ({ ok: false, error: new HoldfastError(code, detail) }) as const

/** Stands for a disk that is not served: every request for its slices ends with an error. */
function missingTarget(context: { diskUuid: string; streamId: number }, reason: string): Target {
  const fail = (append: Parameters<StoreStream['append']>[0]): void => append.done(false, append)
  const stream = {
    context,
    failed: true,
    failedReason: reason,
    freeSegments: 0,
    reserveSegments: 0,
    append: fail,
    log: { sync: (done: (ok: boolean) => void) => done(false), recordBlocksMax: 256 },
  } as unknown as StoreStream
  const map = { usedUnits: 0, previousSeq: 0 } as unknown as VolumeMap
  return { stream, map }
}
