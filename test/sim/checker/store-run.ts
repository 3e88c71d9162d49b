/**
 * A random run of a store against its models: operations overlap, processes die, power fails, indexes get lost, and
 * after each of these the volumes are compared with what was answered. A function of its seed and its operations.
 */
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { Volume } from '../../../engine/volume/volume.ts'
import { SimDisk, type CrashChoice } from '../disk.ts'
import type { IndexImage } from '../index.ts'
import { Random } from '../random.ts'
import { StoreWorld, type WorldOptions } from '../store-world.ts'
import type { Operation } from './operations.ts'
import { checkStore, cleanNow, compareAll, reopenAndCompare, settle } from './run-checks.ts'
import { comeBack, crash, openStore, replaceWorld, shadow, stopStore, tryImage } from './run-crashes.ts'
import { askStatus, flushSome, readSome, useHealthy, writeSome, zeroSome } from './run-requests.ts'
import { cloneSome, dropSnapshot, readViews, rollBackSome, takeSnapshot, undoSome } from './run-views.ts'
import { createVolume, deleteVolume, resizeVolume } from './run-volumes.ts'
import { ModelError, VolumeModel, type Stamps } from './volume-model.ts'

export interface RunOptions {
  seed: number
  world?: Partial<WorldOptions>
  /** Blocks in use at most, as a part of what the smallest disk holds. */
  fill?: number
  timeTravel?: boolean
  volumesMax?: number
  /** No crash and no lost index. */
  calm?: boolean
  /** A fault is injected: requests may end with EIO, volumes may be faulted. */
  faults?: boolean
}

export interface Window {
  first: number
  count: number
}

export interface ViewModel {
  id: string
  seq: number
  content: Map<number, Stamps>
  /** What is known to have happened: false until the answer. */
  created: boolean
  deleting: boolean
}

export interface ModelledVolume {
  name: string
  id: string
  model: VolumeModel
  windows: Window[]
  durable: boolean
  state: 'creating' | 'live' | 'deleting'
  sizeBytes: number
  /** Sizes asked for and not answered. */
  resizing: number[]
  views: ViewModel[]
}

export interface RunCounts {
  operations: number
  requests: number
  /** Images of the moment opened beside the run. */
  images: number
  crashes: number
  opens: number
  rebuilds: number
  fscks: number
  blocksCompared: number
}

export interface ImageChoice {
  random: Random
  disk(disk: SimDisk): CrashChoice
  index: 'all' | 'synced' | 'subset' | 'lost'
  /** Fsck and read everything twice; else only what has to be there is compared. */
  check: boolean
  /** How many more crashes while it opens. */
  depth: number
  /** Of the operations of that opening every so many. */
  stride?: number
}

const REQUESTS_MAX = 24

export class StoreRun {
  world: StoreWorld
  readonly counts: RunCounts = {
    operations: 0,
    requests: 0,
    images: 0,
    crashes: 0,
    opens: 0,
    rebuilds: 0,
    fscks: 0,
    blocksCompared: 0,
  }
  readonly o: RunOptions
  volumes: ModelledVolume[] = []
  random: Random
  nextStamp = 1
  nextVolume = 1
  underWay = 0
  staleIndexes: IndexImage[][] = []
  readonly blocksBudget: number
  stopping = false
  /** Since the last opening: a rebuild takes what is behind a gap on another disk too (FORMAT.md 3.6). */
  indexGone = false

  constructor(options: RunOptions) {
    this.o = options
    const random = new Random(`run ${options.seed}`)
    this.random = random
    const world = {
      seed: options.seed,
      disks: random.pick([1, 1, 2, 3]),
      segments: random.between(12, 20),
      segmentBytes: random.pick([64, 128, 256]) * 1024,
      pagesMax: random.between(2, 8),
      checkpointBytes: random.pick([64, 256, 1024]) * 1024,
      pendingMax: random.pick([20, 100, 300]),
      syncsMax: random.between(1, 4),
      ...options.world,
    }
    this.world = new StoreWorld(world)
    const segmentBlocks = world.segmentBytes / BLOCK_BYTES
    this.blocksBudget = Math.floor(
      (options.fill ?? (options.timeTravel === true ? 0.1 : 0.4)) * (world.segments - 5) * (segmentBlocks - 4),
    )
    openStore(this)
    createVolume(this, random.u32(), random.u32())
    settle(this)
  }

  run(operations: readonly Operation[]): void {
    for (const operation of operations) {
      this.counts.operations++
      this.step(operation)
      for (let i = 0; i < operation.turns; i++) this.world.clock.step()
      if (this.underWay >= REQUESTS_MAX) settle(this)
    }
    settle(this)
    compareAll(this)
    checkStore(this)
    reopenAndCompare(this)
  }

  /** Without the restarts at the end: what is compared, images of its moments compare. */
  runCalmly(operations: readonly Operation[]): void {
    for (const operation of operations) {
      this.counts.operations++
      this.step(operation)
      for (let i = 0; i < operation.turns; i++) this.world.clock.step()
    }
    settle(this)
    compareAll(this)
    checkStore(this)
  }

  /**
   * Run on with a fault somewhere (C5): every request is answered, what lies on healthy disks is served, a disk that
   * failed says so; and when the power is cut and the fault is gone, nothing that was answered is lost.
   */
  runFaulty(operations: readonly Operation[], cut: 'all' | 'synced'): void {
    for (const operation of operations) {
      this.counts.operations++
      this.step(operation)
      for (let i = 0; i < operation.turns; i++) this.world.clock.step()
    }
    settle(this)
    this.world.disks.forEach((disk, i) => {
      const status = this.world.store!.disks()[i]!
      if (disk.hasFailed && (status.state !== 'failed' || status.reason === ''))
        throw new ModelError(`disk ${i} failed and is called ${status.state} (${status.reason})`)
    })
    for (const volume of this.volumes)
      if (volume.state === 'live') for (const { first } of volume.windows) useHealthy(this, volume, first)
    replaceWorld(
      this,
      () => ({ kind: cut }),
      () => 'synced',
      false,
    )
    // Several disks, one of which missed some records: each block by itself.
    this.indexGone = true
    comeBack(this)
    checkStore(this)
  }

  private step({ kind, x, y, z }: Operation): void {
    const volume = this.pickVolume(x)
    switch (kind) {
      case 'write':
        return volume && writeSome(this, volume, y, z)
      case 'trim':
        return volume && zeroSome(this, volume, y, z, true)
      case 'zero':
        return volume && zeroSome(this, volume, y, z, false)
      case 'read':
        return volume && readSome(this, volume, y, z)
      case 'status':
        return volume && askStatus(this, volume, y, z)
      case 'flush':
        return volume && flushSome(this, volume)
      case 'settle':
        return settle(this)
      case 'pause':
        return this.world.clock.advance(1 + (x % 3000))
      case 'checkpoint': {
        const streams = this.world.store!.streams()
        return streams[x % streams.length]!.makeCheckpoint(() => {})
      }
      case 'clean':
        return cleanNow(this)
      case 'create':
        return createVolume(this, x, y)
      case 'resize':
        return volume && resizeVolume(this, volume, y)
      case 'delete':
        return volume && deleteVolume(this, volume)
      case 'stop':
        return stopStore(this, x)
      case 'kill':
        return this.o.calm === true ? settle(this) : crash(this, x, y, z, true)
      case 'cut':
        return this.o.calm === true ? settle(this) : crash(this, x, y, z, false)
      case 'fsck':
        return checkStore(this)
      case 'shadow':
        return this.o.calm === true ? undefined : shadow(this, x, y)
      case 'snapshot':
        return volume && takeSnapshot(this, volume)
      case 'unsnapshot':
        return volume && dropSnapshot(this, volume, y)
      case 'clone':
        return volume && cloneSome(this, volume, y)
      case 'rollback':
        return volume && rollBackSome(this, volume, y)
      case 'undo':
        return volume && undoSome(this, volume, y, z)
      case 'view':
        return volume && readViews(this, volume, y)
    }
  }

  /** Wait until nothing is under way. */
  settle(): void {
    settle(this)
  }

  check(): void {
    checkStore(this)
  }

  /** Open what a power cut would leave now, beside the run. */
  tryImage(choice: ImageChoice): void {
    tryImage(this, choice)
  }

  pickVolume(x: number): ModelledVolume | undefined {
    const live = this.volumes.filter(({ state }) => state === 'live')
    return live.length === 0 ? undefined : live[x % live.length]
  }

  device(volume: ModelledVolume): Volume {
    return this.volumeOf(volume)
  }

  volumeOf(volume: ModelledVolume): Volume {
    return this.world.store!.volumeObject(volume.name) ?? volume.model.fail('the store does not know it')
  }
}
