/**
 * The volumes a store serves, by name: made of what the disks have of them, created, resized, cloned and deleted (K5).
 * A request is answered when its control record is durable on every disk of the volume.
 */
import { OPERATION } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import { until, type Task } from '../task.ts'
import { SLICE_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { VolumeDescriptor } from './descriptor.ts'
import { placeSlices } from './placement.ts'
import type { QosLimits } from './qos-limits.ts'
import { failure, type Reply } from './store-api.ts'
import type { StoreDisks } from './store-disks.ts'
import { unpin } from './time-travel.ts'
import { Volume } from './volume.ts'
import type { VolumeSpec, VolumeStatus } from './volume-spec.ts'

export interface VolumeSetOptions {
  clock: ClockPort
  crc32c: Crc32c
  log: LogPort
  disks: StoreDisks
  placementDisks(spec: VolumeSpec): ReturnType<StoreDisks['placementDisks']>
}

export class VolumeSet {
  readonly byName = new Map<string, Volume>()
  /** Deleted, but clones read through them: they take a record when a clone goes. By id. */
  private readonly pinned = new Map<string, Volume>()
  /** Being created or deleted, by name: not recorded yet. */
  private readonly unsettled = new Map<string, Volume>()
  private readonly o: VolumeSetOptions

  constructor(options: VolumeSetOptions) {
    this.o = options
  }

  // --- from what the disks have ------------------------------------------------------------------------------------

  /**
   * One volume over the maps that its disks have of it; the greatest revision counts, also on disks that lack it
   * (`isBehind`): it is in their maps then, and no record of it in their logs.
   */
  *fromMaps(): Generator<{ volume: Volume; isBehind: boolean }, void, undefined> {
    const byId = new Map<string, Array<{ stream: StoreStream; map: VolumeMap }>>()
    for (const { stream } of this.o.disks.entries)
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
      const isBehind = behind.length > 0
      const isGone = descriptor.deleted && descriptor.snapshots.length === 0
      // Its end is recorded once more when a disk lacks it: without its index that disk would bring it back.
      if (isGone && !isBehind) continue
      let seq = descriptor.seq
      for (const { map } of targets) seq = Math.max(seq, map.appliedSeq)
      const volume = this.make(descriptor, targets, seq + 1)
      if (isGone) {
        yield { volume, isBehind }
        continue
      }
      if (descriptor.deleted) this.pinned.set(descriptor.spec.id, volume)
      else this.serve(volume)
      yield { volume, isBehind }
    }
  }

  make(descriptor: VolumeDescriptor, targets: Target[], nextSeq: number): Volume {
    const { crc32c, clock, log, disks } = this.o
    // Slices of a disk that is not served answer EIO.
    const all = [...targets]
    for (const [diskUuid] of descriptor.slices)
      if (!all.some(({ stream }) => stream.context.diskUuid === diskUuid))
        all.push(disks.missingTarget(diskUuid, descriptor))
    return new Volume({
      descriptor,
      targets: all,
      crc32c,
      clock,
      log,
      nextSeq,
      onWork: (shortOf) => disks.kick(shortOf),
    })
  }

  /**
   * A volume that was being created when the crash came may be recorded on some of its disks only. It was not
   * answered, so it is empty, and gets its place on the others now; its next epoch is recorded on all of them.
   */
  finishCreations(): Set<string> {
    const ids = new Set<string>()
    for (const { stream } of this.o.disks.entries)
      for (const { descriptor } of [...stream.map.volumes.values()])
        for (const [diskUuid, streamId] of descriptor.slices)
          for (const { stream: other } of this.o.disks.entries) {
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
   * A crash between the pin of a clone and the clone itself, or between its end and its pin's, leaves a pin for
   * nobody.
   */
  *dropOrphanPins(): Task<void> {
    if (this.o.disks.refused.length > 0) return
    const clones = new Set([...this.byName.values()].map((volume) => volume.descriptor.spec.id))
    for (const origin of [...this.byName.values(), ...this.pinned.values()])
      for (const { pinnedBy } of origin.descriptor.snapshots)
        if (pinnedBy !== null && !clones.has(pinnedBy))
          yield* until<boolean>((resume) => unpin(origin, pinnedBy, resume))
  }

  /** Offer a volume under its name; when another volume has it (an adopted disk), under one with part of its id. */
  serve(volume: Volume, others: string[] = []): void {
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

  /** Volumes a disk brought: new ones are served, of known ones the missing slices are. */
  take(stream: StoreStream, others: string[]): void {
    for (const map of stream.map.volumes.values()) {
      if (map.copy !== undefined) continue
      const { descriptor } = map
      const known = [...this.byName.values()].find((volume) => volume.descriptor.spec.id === descriptor.spec.id)
      if (known !== undefined) known.takeTarget({ stream, map })
      else if (!descriptor.deleted)
        this.serve(
          this.make(descriptor, [{ stream, map }], Math.max(descriptor.seq, map.appliedSeq) + 1),
          others,
        )
    }
  }

  // --- requests ----------------------------------------------------------------------------------------------------

  create(spec: VolumeSpec, reply: Reply<VolumeStatus>): void {
    const existing = this.byName.get(spec.name)
    if (existing !== undefined || this.unsettled.has(spec.name))
      return reply(
        failure('volume-exists', {
          name: spec.name,
          existing: existing === undefined ? 'being created or deleted' : `${existing.sizeBytes} bytes`,
        }),
      )
    const usable = this.o.placementDisks(spec)
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
    for (const { stream } of this.o.disks.entries)
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
    const volume = this.make(descriptor, targets, 1)
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

  resize(name: string, sizeBytes: number, reply: Reply<VolumeStatus>): void {
    const volume = this.byName.get(name)
    if (volume === undefined) return reply(failure('volume-not-found', { name }))
    if (sizeBytes < volume.sizeBytes)
      return reply(failure('volume-shrink', { name, current: volume.sizeBytes, size: sizeBytes }))
    const disks = this.o.placementDisks(volume.descriptor.spec).filter(({ entry }) =>
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

  setQos(name: string, qos: QosLimits | undefined, reply: Reply<VolumeStatus>): void {
    const volume = this.byName.get(name)
    if (volume === undefined) return reply(failure('volume-not-found', { name }))
    volume.control(
      OPERATION.change,
      (now) => {
        const { qos: _former, ...spec } = now.spec
        return { ...now, spec: qos === undefined ? spec : { ...spec, qos } }
      },
      (ok) =>
        reply(
          ok
            ? { ok: true, value: volume.status() }
            : failure('disk-failed', { disk: name, reason: 'its limits could not be recorded' }),
        ),
    )
  }

  delete(name: string, reply: Reply<void>): void {
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
      this.o.disks.kick(undefined)
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
      this.o.disks.kick(undefined)
    })
  }

  retryHeld(): void {
    for (const volume of this.byName.values()) if (volume.heldRequests > 0) volume.retryHeld()
  }

  /** What was held for the stream fails now, what waits behind that goes on. */
  streamFailed(): void {
    for (const volume of this.byName.values()) volume.retryHeld()
  }

  /** The other streams of the written-back volumes that lie on this one. */
  *peersOf(stream: StoreStream): Generator<StoreStream> {
    for (const { descriptor, targets } of this.byName.values())
      if (descriptor.spec.durability === 'writeback' && targets.some((target) => target.stream === stream))
        for (const target of targets) yield target.stream
  }

  slicesOn(diskUuid: string): number {
    let slices = 0
    for (const volume of this.byName.values())
      for (const [disk, , runs] of volume.descriptor.slices)
        if (disk === diskUuid) for (const [, count] of runs) slices += count
    return slices
  }

  /** Refuse what comes, and wait for what is under way. */
  *stopTask(): Task<void> {
    for (const volume of this.byName.values()) volume.close()
    for (const volume of [...this.byName.values(), ...this.pinned.values(), ...this.unsettled.values()])
      yield* until<void>((resume) => volume.drained(() => resume()))
  }
}
