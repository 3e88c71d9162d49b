/**
 * The shell around a worker's store: real disks, `level` indexes, the clock and randomness for
 * `engine/volume/store.ts`.
 *
 *   <index folder>/<disk uuid>/<stream>     one database a stream, rebuilt from the log when it is missing or damaged
 *   <index folder>/<disk uuid>/failed       the disk failed in that boot (`disk-boot.ts`)
 *
 * With several workers a barrier keeps every worker from taking a segment before all streams of all disks have said
 * what is theirs.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { DiskFigures } from '../cluster/metrics/figures.ts'
import { levelDamage } from '../cluster/store/level-damage.ts'
import { HoldfastError } from '../engine/errors.ts'
import { CheckedIndex } from '../engine/log/checked-index.ts'
import { hexToUuid } from '../engine/log/bytes.ts'
import { SharedSegmentGrants } from '../engine/log/segment-grants.ts'
import type { ClockPort, LogPort } from '../engine/ports.ts'
import { MIB } from '../engine/units.ts'
import type { BlockDevice } from '../engine/volume/block-device.ts'
import type { QosLimits } from '../engine/volume/qos-limits.ts'
import type { Reply, Result, StoreApi } from '../engine/volume/store-api.ts'
import type { DiskStatus, VolumeSpec, VolumeStatus } from '../engine/volume/volume-spec.ts'
import { Store } from '../engine/volume/store.ts'
import type { StoreDisk } from '../engine/volume/store-disks.ts'
import { crc32c } from './checksum.ts'
import { clock as daemonClock } from './clock.ts'
import { bootOf, noteFailure } from './disk-boot.ts'
import { markOf } from './index-damage.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { FileDisk } from './disk/file-disk.ts'
import { diskFigures } from './meters/disk-figures.ts'
import { discardIndex, openLevelIndex, type LevelIndex } from './disk/level-index.ts'

export interface StoreShellOptions {
  disks: PreparedDisk[]
  indexDir: string
  worker: number
  workers: number
  /** One word: how many workers have recovered. */
  barrier: SharedArrayBuffer
  log: LogPort
  /** The turns of the worker, when it has some; else what is put off waits for the next cycle of the loop. */
  clock?: ClockPort
}

/** Memory for pages of extent maps, shared by the streams of a worker. */
const MAP_CACHE_BYTES = 16 * MIB
const PAGE_BYTES = 6 * 1024
const CHECKPOINT_BYTES = 256 * MIB
const PENDING_MAX = 16_384
const SYNCS_MAX = 2
const SEGMENTS_AHEAD = 8

interface OpenedStream {
  diskUuid: string
  disk: FileDisk
  index: LevelIndex
}

/** The store of a worker with real disks below it: `Store`, and what needs promises. */
export class StoreShell implements StoreApi {
  readonly store: Store
  private readonly options: StoreShellOptions
  private opened: OpenedStream[]

  constructor(store: Store, options: StoreShellOptions, opened: OpenedStream[]) {
    this.store = store
    this.options = options
    this.opened = opened
  }

  createVolume(spec: VolumeSpec, reply: Reply<VolumeStatus>): void {
    this.store.createVolume(spec, reply)
  }

  resizeVolume(name: string, sizeBytes: number, reply: Reply<VolumeStatus>): void {
    this.store.resizeVolume(name, sizeBytes, reply)
  }

  setQos(name: string, qos: QosLimits | undefined, reply: Reply<VolumeStatus>): void {
    this.store.setQos(name, qos, reply)
  }

  deleteVolume(name: string, reply: Reply<void>): void {
    this.store.deleteVolume(name, reply)
  }

  volumes(): VolumeStatus[] {
    return this.store.volumes()
  }

  volume(name: string): VolumeStatus | undefined {
    return this.store.volume(name)
  }

  device(name: string): BlockDevice | undefined {
    return this.store.device(name)
  }

  disks(): DiskStatus[] {
    return this.store.disks()
  }

  diskFigures(statuses = this.disks()): DiskFigures[] {
    const syncsOf = (uuid: string) => this.opened.find(({ diskUuid }) => diskUuid === uuid)?.disk.syncs.figures()
    return diskFigures(statuses, this.store.streams(), syncsOf)
  }

  /** Take a prepared disk into the running store, with the volumes it holds. */
  addDisk(disk: PreparedDisk, otherNames: string[], reply: Reply<undefined>): void {
    void this.#addDisk(disk, otherNames).then(reply)
  }

  /** Checkpoint everything, mark the disks clean, close them. */
  stop(reply: Reply<void>): void {
    this.store.stop((result) => void this.#close().then(() => reply(result)))
  }

  async #addDisk(disk: PreparedDisk, otherNames: string[]): Promise<Result<undefined>> {
    const { workers } = this.options
    const opened: OpenedStream[] = []
    const contexts = await streamsOf(disk, this.options, opened, 1)
    if (!contexts.ok) {
      // The others need not wait for this worker.
      void allRecovered({ barrier: disk.barrier, workers })
      await closeAll(opened)
      return contexts
    }
    this.opened.push(...opened)
    const recovered = (go: () => void): void => void allRecovered({ barrier: disk.barrier, workers }).then(go)
    const added = await new Promise<Result<void>>((resolve) =>
      this.store.addDisk(contexts.value, otherNames, recovered, resolve),
    )
    if (added.ok) return { ok: true, value: undefined }
    // No stream of a disk that is refused is used any more. A stop may have closed them meanwhile.
    const open = this.opened.filter((one) => opened.includes(one))
    this.opened = this.opened.filter((one) => !open.includes(one))
    await closeAll(open)
    return added
  }

  #close(): Promise<void> {
    const { opened } = this
    this.opened = []
    return closeAll(opened)
  }
}

async function closeAll(streams: readonly OpenedStream[]): Promise<void> {
  for (const { disk, index } of streams) {
    await index.close()
    await new Promise<void>((resolve) => disk.close(resolve))
  }
}

export async function openStore(options: StoreShellOptions): Promise<Result<StoreShell>> {
  const opened: OpenedStream[] = []
  const disks: StoreDisk[] = []
  const streams = options.disks.reduce((sum, disk) => sum + streamIdsOf(disk, options).length, 0)
  for (const disk of options.disks) {
    const contexts = await streamsOf(disk, options, opened, streams)
    if (!contexts.ok) return contexts
    disks.push(...contexts.value)
  }
  const { log, clock = daemonClock } = options
  const store = await new Promise<Store>((resolve) =>
    Store.open(
      { clock, crc32c, log, newVolumeStream: options.worker, recovered: (go) => void allRecovered(options).then(go) },
      disks,
      resolve,
    ),
  )
  return { ok: true, value: new StoreShell(store, options, opened) }
}

/** The streams of a disk that this worker owns, also those of a time with another number of workers. */
function streamIdsOf(disk: PreparedDisk, options: StoreShellOptions): number[] {
  return Array.from({ length: disk.streamCount }, (_, id) => id).filter(
    (id) => id % options.workers === options.worker,
  )
}

/** @param opened  they are added to it, also those before one that cannot be opened */
async function streamsOf(
  disk: PreparedDisk,
  options: StoreShellOptions,
  opened: OpenedStream[],
  streams: number,
): Promise<Result<StoreDisk[]>> {
  const found: StoreDisk[] = []
  const { log, clock = daemonClock } = options
  const { diskUuid, segmentBytes, segmentCount, file } = disk
  const diskFolder = path.join(options.indexDir, diskUuid)
  const bootId = bootOf(diskFolder)
  for (const streamId of streamIdsOf(disk, options)) {
    const fileDisk = FileDisk.open(file, {
      onFailed: () => {
        const reason = noteFailure(diskFolder)
        if (reason === undefined) return
        log.event('error', 'that the disk failed cannot be noted: its copies may count as whole after a restart', {
          disk: diskUuid, reason,
        })
      },
    })
    if (!fileDisk.ok) return fileDisk
    const folder = path.join(diskFolder, String(streamId))
    const index = await openIndex(folder, log)
    if (!index.ok) {
      await new Promise<void>((resolve) => fileDisk.value.close(resolve))
      return index
    }
    opened.push({ diskUuid, disk: fileDisk.value, index: index.value })
    const damaged = (): void => {
      log.event('error', 'the index is damaged; the daemon starts again and rebuilds it', { disk: diskUuid, folder })
      fs.writeFileSync(markOf(folder, 'damaged'), '')
      setImmediate(() => {
        throw new Error(`the index ${folder} is damaged`)
      })
    }
    index.value.onDamaged = damaged
    found.push({
      path: file.path,
      pool: disk.pool,
      tags: disk.tags,
      context: {
        disk: fileDisk.value,
        index: new CheckedIndex(index.value, crc32c, damaged),
        crc32c,
        clock,
        grants: new SharedSegmentGrants(segmentCount, disk.grants),
        log,
        diskUuid,
        diskTag: hexToUuid(diskUuid).subarray(0, 8),
        streamId,
        segmentBytes,
        segmentCount,
        random: (bytes) => randomBytes(bytes),
        bootId,
        pagesMax: Math.max(256, Math.floor(MAP_CACHE_BYTES / PAGE_BYTES / Math.max(1, streams))),
        checkpointBytes: CHECKPOINT_BYTES,
        pendingMax: PENDING_MAX,
        syncsMax: SYNCS_MAX,
        segmentsAhead: SEGMENTS_AHEAD,
        // Each cleaner may fill two segments before it gives any back.
        holdSegments: 1 + 2 * disk.streamCount,
      },
    })
  }
  return { ok: true, value: found }
}

async function openIndex(folder: string, log: LogPort): Promise<Result<LevelIndex>> {
  const [damaged, suspected] = [markOf(folder, 'damaged'), markOf(folder, 'suspected')]
  if (fs.existsSync(damaged)) {
    await discardIndex(folder)
    fs.rmSync(damaged)
  }
  const rotten = fs.existsSync(suspected) ? rottenTable(folder) : undefined
  let opening = rotten === undefined ? await openLevelIndex(folder) : ({ kind: 'discard', reason: rotten } as const)
  if (opening.kind === 'discard') {
    log.event('warn', 'the index cannot be opened and is rebuilt', { folder, reason: opening.reason })
    await discardIndex(folder)
    opening = await openLevelIndex(folder)
  }
  // Only now: a start that was cut short before verifies again.
  fs.rmSync(suspected, { force: true })
  if (opening.kind === 'open') return { ok: true, value: opening.index }
  const error =
    opening.kind === 'in-use'
      ? opening.error
      : new HoldfastError('disk-open', { disk: folder, reason: `its index cannot be made: ${opening.reason}` })
  return { ok: false, error }
}

function rottenTable(folder: string): string | undefined {
  try {
    return levelDamage(folder)
  } catch (error) {
    return (error as Error).message
  }
}

async function allRecovered({ barrier, workers }: { barrier: SharedArrayBuffer; workers: number }): Promise<void> {
  const count = new Int32Array(barrier)
  Atomics.add(count, 0, 1)
  Atomics.notify(count, 0)
  for (let now = Atomics.load(count, 0); now < workers; now = Atomics.load(count, 0)) {
    const wait = Atomics.waitAsync(count, 0, now)
    if (wait.async) await wait.value
  }
}
