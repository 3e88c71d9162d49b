/**
 * The disks of a store: the streams it serves, the ones it had to refuse, what they hold and what may be placed on
 * them.
 */
import { claimRefused } from '../log/recovery.ts'
import { Maintenance } from '../log/maintenance.ts'
import type { StoreStream, StreamContext } from '../log/store-stream.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { ClockPort, LogPort } from '../ports.ts'
import type { Task } from '../task.ts'
import { BLOCK_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { VolumeDescriptor } from './descriptor.ts'
import type { PlacementDisk } from './placement.ts'
import type { Volume } from './volume.ts'
import type { DiskStatus, VolumeSpec } from './volume-spec.ts'

export interface StoreDisk {
  context: StreamContext
  path: string
  pool: string
  tags: string[]
}

export interface StoreEntry {
  disk: StoreDisk
  stream: StoreStream
  maintenance: Maintenance
}

/** Those whose data lies on the streams. */
export interface StreamUsers {
  /** Space may have come back. */
  retryHeld(): void
  /** Make durable what other disks hold of the volumes of this one. Not `ok`: some of a copy is gone there. */
  syncPeers(stream: StoreStream, done: (ok: boolean) => void): void
  streamFailed(stream: StoreStream, reason: string): void
}

export class StoreDisks {
  readonly entries: StoreEntry[] = []
  /** Disks whose stream could not be opened: their slices answer EIO. */
  readonly refused: Array<{ disk: StoreDisk; reason: string }> = []
  /** By uuid, why: nothing new is placed on them. */
  readonly suspects = new Map<string, string>()
  private readonly clock: ClockPort
  private readonly log: LogPort
  private readonly newVolumeStream: number
  private readonly users: StreamUsers

  constructor(options: { clock: ClockPort; log: LogPort; newVolumeStream: number }, users: StreamUsers) {
    this.clock = options.clock
    this.log = options.log
    this.newVolumeStream = options.newVolumeStream
    this.users = users
  }

  /** Serve a stream that is open. */
  add(disk: StoreDisk, stream: StoreStream): void {
    const maintenance = new Maintenance(stream)
    const entry = { disk, stream, maintenance }
    this.entries.push(entry)
    stream.onSpace = () => {
      // Whoever still waits says so again.
      maintenance.shortOfSpace = false
      this.users.retryHeld()
      maintenance.kick()
    }
    stream.onShort = () => maintenance.kick()
    stream.map.onPressure = () => maintenance.kick()
    stream.syncPeers = (done) => this.users.syncPeers(stream, done)
    stream.onFailed = (reason) => {
      this.log.event('error', 'a disk failed; its slices answer EIO', {
        disk: stream.context.diskUuid,
        path: disk.path,
        reason,
      })
      // What was held for it fails now, what waits behind that goes on.
      this.clock.defer(() => this.users.streamFailed(stream, reason))
    }
  }

  /** Its segments stay its own: what salvage could read is not written over by the disk's other streams. */
  *refuseStream(disk: StoreDisk, reason: string): Task<void> {
    yield* claimRefused(disk.context)
    this.refuse(disk, reason)
  }

  /** Its slices answer EIO. */
  refuse(disk: StoreDisk, reason: string): void {
    this.refused.push({ disk, reason })
    this.log.event('error', 'a disk cannot be served', { disk: disk.context.diskUuid, path: disk.path, reason })
  }

  /** They are opened anew: what a former try said of them is over. */
  triedAgain(disks: readonly StoreDisk[]): void {
    const isOther = ({ disk: { context } }: { disk: StoreDisk }): boolean =>
      !disks.some((one) => one.context.diskUuid === context.diskUuid)
    this.refused.splice(0, this.refused.length, ...this.refused.filter(isOther))
  }

  /** There is work in the background, or a stream is short of space. */
  kick(shortOf: StoreStream | undefined): void {
    for (const entry of this.entries) {
      if (entry.stream === shortOf) entry.maintenance.shortOfSpace = true
      entry.maintenance.kick()
    }
  }

  /** Stands for a disk that is not served. */
  missingTarget(diskUuid: string, descriptor: VolumeDescriptor): Target {
    const known = this.refused.find(({ disk }) => disk.context.diskUuid === diskUuid)
    const context = known?.disk.context ?? {
      diskUuid,
      streamId: descriptor.slices.find(([disk]) => disk === diskUuid)![1],
    }
    return standIn(context, known?.reason ?? 'the disk is not there')
  }

  /** @param volumes  those in whose reads checksum errors were counted */
  statuses(volumes: Iterable<Volume>): DiskStatus[] {
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
      const suspected = this.suspects.get(disk.context.diskUuid)
      if (suspected !== undefined) Object.assign(status, { state: 'suspect', reason: suspected })
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
    for (const volume of volumes)
      for (const diskUuid of new Set(volume.targets.map(({ stream }) => stream.context.diskUuid))) {
        const status = byUuid.get(diskUuid)
        if (status !== undefined) status.checksumErrors += volume.checksumErrors
      }
    return [...byUuid.values()]
  }

  /** The disks a volume may be placed on, with what lies there. */
  placementDisks(
    spec: VolumeSpec,
    slicesOn: (diskUuid: string) => number,
  ): Array<{ disk: PlacementDisk; entry: StoreEntry }> {
    const status = this.statuses([])
    return this.entries
      .filter(
        ({ disk, stream }) =>
          disk.pool === spec.pool &&
          !stream.failed &&
          !this.suspects.has(disk.context.diskUuid) &&
          disk.context.streamId === this.newVolumeStream &&
          spec.diskTags.every((tag) => disk.tags.includes(tag)),
      )
      .map((entry) => {
        const { diskUuid, streamId } = entry.disk.context
        return {
          entry,
          disk: {
            diskUuid,
            stream: streamId,
            slices: slicesOn(diskUuid),
            capacityBytes: status.find((one) => one.uuid === diskUuid)!.capacityBytes,
          },
        }
      })
  }
}

const diskFacts = ({ context, path, pool, tags }: StoreDisk) => ({ uuid: context.diskUuid, path, pool, tags })

/** Stands for a disk that is not served: every request for its slices ends with an error. */
function standIn(context: { diskUuid: string; streamId: number }, reason: string): Target {
  const fail = (append: Parameters<StoreStream['append']>[0]): void => append.done(false, append)
  const stream = {
    context,
    failed: true,
    failedReason: reason,
    freeSegments: 0,
    reserveSegments: 0,
    append: fail,
    log: { sync: (done: (ok: boolean) => void) => done(false), recordBlocksMax: 256 },
    map: { usage: () => ({ storedBytes: 0, logicalBytes: 0 }) },
  } as unknown as StoreStream
  const map = { previousSeq: 0 } as unknown as VolumeMap
  return { stream, map }
}
