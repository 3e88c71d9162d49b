/**
 * The store of one data worker: volumes over the streams it owns (K5 of the control path ends here). How it opens is
 * `store-opening.ts`, what it has `store-disks.ts`, `volume-set.ts` and `copy-set.ts`.
 */
import { assert } from '../assert.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { ClockPort, Crc32c, LogPort } from '../ports.ts'
import { runTask, until, type Task } from '../task.ts'
import type { BlockDevice } from './block-device.ts'
import { CopySet } from './copy-set.ts'
import type { Remains } from './copy-set.ts'
import type { CloneSource } from './copy-sharing.ts'
import type { OpenCopy } from './copy-store.ts'
import type { VolumeDescriptor } from './descriptor.ts'
import { Foreground } from './foreground.ts'
import type { QosLimits } from './qos-limits.ts'
import { failure, type Reply, type StoreApi } from './store-api.ts'
import { StoreDisks, type StoreDisk } from './store-disks.ts'
import { addDisk, openStore, type StoreParts } from './store-opening.ts'
import type { Volume } from './volume.ts'
import { VolumeSet } from './volume-set.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from './volume-spec.ts'

export interface StoreOptions {
  clock: ClockPort
  crc32c: Crc32c
  log: LogPort
  /** New volumes go to the streams of this number on their disks. */
  newVolumeStream: number
  /** Runs `go` when every stream of every disk, also those of other workers, has said which segments are its own. */
  recovered(go: () => void): void
}

const SHARED_LOOK_MS = 1000
/**
 * A checkpoint that may not be made (`CopySet.hasLost`) waits for so long for the copy to be taken away, which the
 * control plane orders when another one is in its place.
 */
const LOST_WAIT_MS = 30_000
const LOST_LOOK_MS = 50

export class Store implements StoreApi {
  /** Told of all that is asked of the worker; what works in the background yields to it. */
  readonly foreground: Foreground
  private readonly o: StoreOptions
  private readonly parts: StoreParts
  private stopping = false
  private sharedTimer: { cancel(): void } | undefined

  private constructor(options: StoreOptions) {
    this.o = options
    this.foreground = new Foreground(options.clock)
    const disks = new StoreDisks(options, {
      retryHeld: () => this.retryHeld(),
      syncPeers: (stream, done) => this.syncPeers(stream, done),
      streamFailed: (stream, reason) => {
        volumes.streamFailed()
        copies.streamFailed(stream, reason)
      },
    })
    const placementDisks = (spec: VolumeSpec): ReturnType<StoreDisks['placementDisks']> =>
      disks.placementDisks(spec, (diskUuid) => {
        let slices = volumes.slicesOn(diskUuid)
        for (const { copy } of copies.byId.values()) slices += copy.slicesOn(diskUuid)
        return slices
      })
    const { clock, crc32c, log, recovered } = options
    const volumes = new VolumeSet({ clock, crc32c, log, disks, placementDisks })
    const copies = new CopySet({ clock, crc32c, log, disks, foreground: this.foreground, placementDisks })
    this.parts = { disks, volumes, copies, recovered }
  }

  /** Open all streams of a worker. A stream that cannot be served is reported and left out; the others go on. */
  static open(options: StoreOptions, disks: StoreDisk[], done: (store: Store) => void): void {
    const store = new Store(options)
    runTask(openStore(store.parts, disks), () => {
      store.lookAtShared()
      done(store)
    })
  }

  /**
   * Take a disk while the store runs, with the volumes it holds.
   * @param disks  the streams of it that this worker owns
   * @param others  names that other workers serve
   * @param recovered  runs `go` when every worker has recovered its streams of the disk
   */
  addDisk(disks: StoreDisk[], others: string[], recovered: (go: () => void) => void, reply: Reply<void>): void {
    runTask(addDisk(this.parts, disks, others, recovered), (problem) => {
      if (problem !== undefined)
        return reply(failure('disk-failed', { disk: disks[0]?.path ?? '', reason: problem }))
      this.lookAtShared()
      reply({ ok: true, value: undefined })
    })
  }

  /** Streams of one disk tell each other nothing; once a second each looks what the others left. */
  private lookAtShared(): void {
    this.sharedTimer?.cancel()
    if (this.stopping) return
    const shared = this.parts.disks.entries.filter(({ stream }) => stream.isShared)
    for (const { maintenance } of shared) maintenance.lookAgain()
    if (shared.length === 0) return
    this.retryHeld()
    this.sharedTimer = this.o.clock.after(SHARED_LOOK_MS, () => this.lookAtShared())
  }

  private retryHeld(): void {
    this.parts.volumes.retryHeld()
    this.parts.copies.retryHeld()
  }

  private syncPeers(stream: StoreStream, done: (ok: boolean) => void): void {
    const { volumes, copies } = this.parts
    const peers = new Set<StoreStream>()
    for (const set of [copies, volumes])
      for (const peer of set.peersOf(stream)) if (peer !== stream && !peer.failed) peers.add(peer)
    let left = peers.size + 1
    const { clock } = this.o
    const endMs = clock.nowMs() + LOST_WAIT_MS
    const look = (): void => {
      const isPressed = stream.freeSegments <= stream.context.holdSegments
      const isOver = this.stopping || stream.failed || isPressed || clock.nowMs() >= endMs
      if (!isOver && copies.hasLost(stream)) clock.after(LOST_LOOK_MS, look)
      else done(!copies.hasLost(stream))
    }
    const ended = (): void => {
      if (--left === 0) look()
    }
    for (const peer of peers) peer.log.sync(ended)
    ended()
  }

  // --- StoreApi ----------------------------------------------------------------------------------------------------

  createVolume(spec: VolumeSpec, reply: Reply<VolumeStatus>): void {
    this.parts.volumes.create(spec, reply)
  }

  createClone(spec: VolumeSpec, origin: VolumeDescriptor, seq: number, reply: Reply<VolumeStatus>): void {
    this.parts.volumes.createClone(spec, origin, seq, reply)
  }

  resizeVolume(name: string, sizeBytes: number, reply: Reply<VolumeStatus>): void {
    this.parts.volumes.resize(name, sizeBytes, reply)
  }

  setQos(name: string, qos: QosLimits | undefined, reply: Reply<VolumeStatus>): void {
    this.parts.volumes.setQos(name, qos, reply)
  }

  deleteVolume(name: string, reply: Reply<void>): void {
    this.parts.volumes.delete(name, reply)
  }

  volumes(): VolumeStatus[] {
    return [...this.parts.volumes.byName.values()].map((volume) => volume.status())
  }

  volume(name: string): VolumeStatus | undefined {
    return this.volumeObject(name)?.status()
  }

  device(name: string): BlockDevice | undefined {
    return this.volumeObject(name)
  }

  /** The volume itself, for what has no command yet (snapshots, clones, rollback). */
  volumeObject(name: string): Volume | undefined {
    return this.parts.volumes.byName.get(name)
  }

  disks(): DiskStatus[] {
    return this.parts.disks.statuses(this.parts.volumes.byName.values())
  }

  /**
   * A copy of a replicated volume, empty; durable on all its disks before the answer. One that is there already (a
   * request that is repeated) is answered as it is.
   */
  createCopy(spec: VolumeSpec, copyId: string, reply: Reply<OpenCopy>): void {
    this.parts.copies.create(spec, copyId, reply)
  }

  /** A copy of a clone of a replicated volume, from the copy of its origin that is here (`CopySet.clone`). */
  cloneCopy(spec: VolumeSpec, copyId: string, source: CloneSource, reply: Reply<OpenCopy>): void {
    this.parts.copies.clone(spec, copyId, source, reply)
  }

  /** Take a copy away with all it holds, durably; one that is not there is no error. */
  removeCopy(volumeId: string, reply: Reply<void>): void {
    this.parts.copies.remove(volumeId, reply)
  }

  /** Copies of replicated volumes, by volume id, with what each found when it was opened. */
  copies(): ReadonlyMap<string, OpenCopy> {
    return this.parts.copies.byId
  }

  /** What is left of copies that were removed, for the clones that read it. */
  remains(): Remains[] {
    return this.parts.copies.remains()
  }

  /** Place nothing new on a disk; what is there is served. It is shown as `suspect`, with the reason. */
  suspectDisk(diskUuid: string, reason: string): void {
    this.parts.disks.suspects.set(diskUuid, reason)
  }

  /** What describes a segment is damaged: what is live in it is moved elsewhere, and it is given back. */
  emptySegment(stream: StoreStream, segment: number): void {
    this.parts.disks.entries.find((entry) => entry.stream === stream)?.maintenance.empty(segment)
  }

  /** Streams, for tests, tools and metrics. */
  streams(): readonly StoreStream[] {
    return this.parts.disks.entries.map((entry) => entry.stream)
  }

  stop(reply: Reply<void>): void {
    assert(!this.stopping, 'a store is stopped once')
    this.stopping = true
    this.sharedTimer?.cancel()
    runTask(this.stopTask(), () => reply({ ok: true, value: undefined }))
  }

  private *stopTask(): Task<void> {
    const { disks, volumes, copies } = this.parts
    yield* volumes.stopTask()
    yield* copies.drainTask()
    for (const { maintenance } of disks.entries) yield* until<void>((resume) => maintenance.stop(() => resume()))
    // All in one turn: what comes now for several disks is on none of them. A clean root on the one would hide it.
    for (const { stream } of disks.entries) stream.log.close()
    yield* copies.drainTask()
    for (const { stream } of disks.entries) yield* stream.stopTask()
  }
}
