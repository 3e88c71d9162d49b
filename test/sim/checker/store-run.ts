/**
 * A random run of a store against its models: operations overlap, processes die, power fails, indexes get lost, and
 * after each of these the volumes are compared with what was answered. A function of its seed and its operations.
 */
import { uuidToHex } from '../../../engine/log/bytes.ts'
import { RECORD_FLAG, RECORD_KIND, OPERATION } from '../../../engine/log/record.ts'
import type { Append } from '../../../engine/log/log-batch.ts'
import { BLOCK_BYTES, MIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { VolumeStatus } from '../../../engine/volume/volume-spec.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { cloneSnapshot, createSnapshot, deleteSnapshot, rollBack } from '../../../engine/volume/time-travel.ts'
import type { Volume } from '../../../engine/volume/volume.ts'
import { readView } from '../../../engine/volume/view-reader.ts'
import { crc32c } from '@node-rs/crc32'
import { SimClock } from '../clock.ts'
import { SimDisk, type CrashChoice } from '../disk.ts'
import { fsck, mapEntries } from '../fsck.ts'
import { SimIndex, type IndexImage } from '../index.ts'
import { Random } from '../random.ts'
import { StoreWorld, type WorldOptions } from '../store-world.ts'
import { entryKinds } from './entries.ts'
import type { Operation } from './operations.ts'
import {
  BLOCK_SECTORS,
  ModelError,
  SECTOR_BYTES,
  stampedBytes,
  stampsOf,
  VolumeModel,
  type Stamps,
} from './volume-model.ts'

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

interface Window {
  first: number
  count: number
}

interface ViewModel {
  id: string
  seq: number
  content: Map<number, Stamps>
  /** What is known to have happened: false until the answer. */
  created: boolean
  deleting: boolean
}

interface ModelledVolume {
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
/** An opening takes some hundred turns. */
const OPEN_TURNS_MAX = 300_000
const UNDER_WAY_MAX = 3_000_000

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
  private readonly o: RunOptions
  private volumes: ModelledVolume[] = []
  private random: Random
  private nextStamp = 1
  private nextVolume = 1
  private underWay = 0
  private staleIndexes: IndexImage[][] = []
  private readonly blocksBudget: number

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
    this.open()
    this.createVolume(random.u32(), random.u32())
    this.settle()
  }

  run(operations: readonly Operation[]): void {
    for (const operation of operations) {
      this.counts.operations++
      this.step(operation)
      for (let i = 0; i < operation.turns; i++) this.world.clock.step()
      if (this.underWay >= REQUESTS_MAX) this.settle()
    }
    this.settle()
    this.compareAll()
    this.check()
    this.reopenAndCompare()
  }

  /** Without the restarts at the end: what is compared, images of its moments compare. */
  runCalmly(operations: readonly Operation[]): void {
    for (const operation of operations) {
      this.counts.operations++
      this.step(operation)
      for (let i = 0; i < operation.turns; i++) this.world.clock.step()
    }
    this.settle()
    this.compareAll()
    this.check()
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
    this.settle()
    this.world.disks.forEach((disk, i) => {
      const status = this.world.store!.disks()[i]!
      if (disk.hasFailed && (status.state !== 'failed' || status.reason === ''))
        throw new ModelError(`disk ${i} failed and is called ${status.state} (${status.reason})`)
    })
    for (const volume of this.volumes)
      if (volume.state === 'live') for (const { first } of volume.windows) this.useHealthy(volume, first)
    this.replaceWorld(
      () => ({ kind: cut }),
      () => 'synced',
      false,
    )
    // Several disks, one of which missed some records: each block by itself.
    this.indexGone = true
    this.comeBack()
    this.check()
  }

  private useHealthy(volume: ModelledVolume, lba: number): void {
    const { stream } = this.volumeOf(volume).targetOfBlock(lba)
    if (stream.failed) return
    const sector = lba * BLOCK_SECTORS
    const request = volume.model.begin(sector, BLOCK_SECTORS, this.nextStamp)
    const bytes = stampedBytes(this.nextStamp, BLOCK_SECTORS)
    this.nextStamp += BLOCK_SECTORS
    let errno = this.world.await<number>((done) => this.device(volume).write(lba * BLOCK_BYTES, bytes, false, done))
    // It may fail just now.
    if (stream.failed) return volume.model.failed(request)
    if (errno !== 0) volume.model.fail(`block ${lba} on a healthy disk is refused with errno ${errno}`)
    volume.model.acked(request, volume.durable)
    const read = volume.model.beginRead()
    const into = new Uint8Array(BLOCK_BYTES)
    // The fault may be the index's, and come just now; it comes once.
    for (let tries = 0, again = true; tries < 2 && again; tries++, again = errno !== 0)
      errno = this.world.await<number>((done) => this.device(volume).read(lba * BLOCK_BYTES, into, done))
    if (stream.failed) return volume.model.dropRead(read)
    if (errno !== 0) volume.model.fail(`block ${lba} on a healthy disk cannot be read, errno ${errno}`)
    volume.model.endRead(read, sector, into)
  }

  private step({ kind, x, y, z }: Operation): void {
    const volume = this.pickVolume(x)
    switch (kind) {
      case 'write':
        return volume && this.write(volume, y, z)
      case 'trim':
        return volume && this.zero(volume, y, z, true)
      case 'zero':
        return volume && this.zero(volume, y, z, false)
      case 'read':
        return volume && this.read(volume, y, z)
      case 'status':
        return volume && this.status(volume, y, z)
      case 'flush':
        return volume && this.flush(volume)
      case 'settle':
        return this.settle()
      case 'pause':
        return this.world.clock.advance(1 + (x % 3000))
      case 'checkpoint': {
        const streams = this.world.store!.streams()
        return streams[x % streams.length]!.makeCheckpoint(() => {})
      }
      case 'clean':
        return this.clean()
      case 'create':
        return this.createVolume(x, y)
      case 'resize':
        return volume && this.resize(volume, y)
      case 'delete':
        return volume && this.deleteVolume(volume)
      case 'stop':
        return this.stop(x)
      case 'kill':
        return this.o.calm === true ? this.settle() : this.crash(x, y, z, true)
      case 'cut':
        return this.o.calm === true ? this.settle() : this.crash(x, y, z, false)
      case 'fsck':
        return this.check()
      case 'shadow':
        return this.o.calm === true ? undefined : this.shadow(x, y)
      case 'snapshot':
        return volume && this.snapshot(volume)
      case 'unsnapshot':
        return volume && this.unsnapshot(volume, y)
      case 'clone':
        return volume && this.clone(volume, y)
      case 'rollback':
        return volume && this.rollBack(volume, y)
      case 'view':
        return volume && this.readViews(volume, y)
    }
  }

  // --- requests

  private write(volume: ModelledVolume, y: number, z: number): void {
    const [first, sectors] = this.range(volume, y, z)
    const fua = (z >>> 20) % 8 === 0
    const stamp = this.nextStamp
    this.nextStamp += sectors
    const request = volume.model.begin(first, sectors, stamp)
    const bytes = stampedBytes(stamp, sectors)
    this.request(
      (done) => this.device(volume).write(first * SECTOR_BYTES, bytes, fua, done),
      (errno) => {
        if (errno === 0) volume.model.acked(request, volume.durable || fua)
        else this.refused(volume, errno, () => volume.model.failed(request))
      },
    )
  }

  private zero(volume: ModelledVolume, y: number, z: number, trim: boolean): void {
    let [first, sectors] = this.range(volume, y, z)
    const wide = (z >>> 16) % 16
    if (wide < 3) {
      const window = volume.windows[y % volume.windows.length]!
      first = window.first * BLOCK_SECTORS
      sectors = window.count * BLOCK_SECTORS
    } else if (wide === 3) {
      first = 0
      sectors = volume.sizeBytes / SECTOR_BYTES
    }
    const fua = (z >>> 20) % 8 === 0
    const request = volume.model.begin(first, sectors, 0)
    const ended = (errno: number): void => {
      if (errno === 0) volume.model.acked(request, volume.durable || fua)
      else this.refused(volume, errno, () => volume.model.failed(request))
    }
    const device = this.device(volume)
    if (trim) this.request((done) => device.trim(first * SECTOR_BYTES, sectors * SECTOR_BYTES, fua, done), ended)
    else
      this.request(
        (done) =>
          device.writeZeroes(first * SECTOR_BYTES, sectors * SECTOR_BYTES, { noHole: (z & 1) === 0, fua }, done),
        ended,
      )
  }

  private read(volume: ModelledVolume, y: number, z: number): void {
    const [first, sectors] = this.range(volume, y, z)
    const read = volume.model.beginRead()
    const into = new Uint8Array(sectors * SECTOR_BYTES).fill(0xa5)
    this.request(
      (done) => this.device(volume).read(first * SECTOR_BYTES, into, done),
      (errno) => {
        if (errno === 0) volume.model.endRead(read, first, into)
        else this.refused(volume, errno, () => volume.model.dropRead(read))
      },
    )
  }

  private status(volume: ModelledVolume, y: number, z: number): void {
    const [first, sectors] = (z & 7) === 0 ? [0, volume.sizeBytes / SECTOR_BYTES] : this.range(volume, y, z)
    const read = volume.model.beginRead()
    this.underWay++
    const { model } = volume
    const { world } = this
    this.device(volume).blockStatus(first * SECTOR_BYTES, sectors * SECTOR_BYTES, 1 + (z % 64), (errno, extents) => {
      if (this.world !== world) return
      this.underWay--
      if (errno !== 0) return this.refused(volume, errno, () => model.dropRead(read))
      const length = extents.reduce((sum, one) => sum + one.lengthBytes, 0)
      if (extents.length === 0 || extents.length > 1 + (z % 64) || length > sectors * SECTOR_BYTES)
        model.fail(`block status of ${sectors} sectors answers ${JSON.stringify(extents)}`)
      model.endStatus(read, first * SECTOR_BYTES, extents)
    })
  }

  private flush(volume: ModelledVolume): void {
    const point = volume.model.flushPoint()
    this.request(
      (done) => this.device(volume).flush(done),
      (errno) => {
        if (errno === 0) volume.model.flushed(point)
        else this.refused(volume, errno, () => {})
      },
    )
  }

  private request(start: (done: (errno: number) => void) => void, ended: (errno: number) => void): void {
    this.counts.requests++
    this.underWay++
    const { world } = this
    let answered = false
    start((errno) => {
      if (answered) throw new ModelError('a request was answered twice')
      answered = true
      if (this.world !== world) throw new ModelError('a dead store answers')
      this.underWay--
      ended(errno)
    })
  }

  /** Only a volume that is being deleted or a store that stops may refuse. */
  private refused(volume: ModelledVolume, errno: number, allowed: () => void): void {
    if (errno === 5 && this.o.faults === true) return allowed()
    if (errno === 108 && (volume.state === 'deleting' || this.stopping)) return allowed()
    volume.model.fail(
      `a request ends with errno ${errno}: ` +
        `${JSON.stringify(this.world.events.filter((e) => e.level === 'error').slice(-3))}`,
    )
  }

  private stopping = false
  /** Since the last opening: a rebuild takes what is behind a gap on another disk too (FORMAT.md 3.6). */
  private indexGone = false

  /** A range of sectors: mostly a few whole blocks, now and then narrow, wide or crossing pages and slices. */
  private range(volume: ModelledVolume, y: number, z: number): [first: number, sectors: number] {
    const window = volume.windows[y % volume.windows.length]!
    const at = Math.floor(y / 16) % (window.count * BLOCK_SECTORS)
    let first = at
    let sectors: number
    const shape = z % 20
    const length = Math.floor(z / 32)
    if (shape < 12) {
      first -= first % BLOCK_SECTORS
      sectors = BLOCK_SECTORS * (1 + (length % 6))
    } else if (shape < 18) sectors = 1 + (length % 24)
    else {
      first -= first % BLOCK_SECTORS
      sectors = BLOCK_SECTORS * (1 + (length % window.count))
    }
    sectors = Math.min(sectors, window.count * BLOCK_SECTORS - first)
    return [window.first * BLOCK_SECTORS + first, sectors]
  }

  // --- volumes

  private createVolume(x: number, y: number): void {
    const taken = this.volumes.reduce((sum, v) => sum + v.windows.reduce((part, w) => part + w.count, 0), 0)
    const budget = this.blocksBudget - taken
    if (budget < 8 || this.volumes.length >= (this.o.volumesMax ?? 3)) return
    const name = `v${this.nextVolume++}`
    const isWide = this.world.disks.length > 1 || x % 4 === 0
    const sizeBytes = isWide ? (2 + (x % 2)) * 1024 * MIB : (1 + (x % 4)) * MIB
    const windows = this.makeWindows(sizeBytes, Math.min(budget, 16 + (y % 200)), isWide)
    const durable = y % 3 !== 0
    const spec = this.world.spec(name, sizeBytes, {
      durability: durable ? 'durable' : 'writeback',
      blockSizeBytes: y % 2 === 0 ? 512 : 4096,
    })
    const volume = this.addModel({ name, id: spec.id, windows, durable, sizeBytes, model: new VolumeModel(name, 0) })
    this.storeRequest(
      (reply) => this.world.store!.createVolume(spec, reply),
      () => {
        volume.state = 'live'
        volume.model.durableSeq = Math.max(volume.model.durableSeq, 1)
      },
    )
  }

  private addModel(
    from: Pick<ModelledVolume, 'name' | 'id' | 'windows' | 'durable' | 'sizeBytes' | 'model'>,
  ): ModelledVolume {
    const volume: ModelledVolume = { ...from, state: 'creating', resizing: [], views: [] }
    this.volumes.push(volume)
    return volume
  }

  private makeWindows(sizeBytes: number, blocks: number, isWide: boolean): Window[] {
    const sizeBlocks = sizeBytes / BLOCK_BYTES
    if (!isWide) {
      const count = Math.min(blocks, sizeBlocks)
      const half = Math.ceil(count / 2)
      return [
        { first: 0, count: half },
        { first: sizeBlocks - half, count: half },
      ]
    }
    // Across the border of two slices, at the start, at the end.
    const third = Math.ceil(blocks / 3)
    return [
      { first: SLICE_BLOCKS - Math.ceil(third / 2), count: third },
      { first: 256 - Math.ceil(third / 2), count: third },
      { first: sizeBlocks - third, count: third },
    ]
  }

  private resize(volume: ModelledVolume, y: number): void {
    if (volume.state !== 'live') return
    const sizeBytes = Math.max(volume.sizeBytes, ...volume.resizing) + (1 + (y % 3)) * MIB
    volume.resizing.push(sizeBytes)
    const { model } = volume
    this.storeRequest(
      (reply) => this.world.store!.resizeVolume(volume.name, sizeBytes, reply),
      () => {
        volume.sizeBytes = Math.max(volume.sizeBytes, sizeBytes)
        volume.resizing = volume.resizing.filter((size) => size > volume.sizeBytes)
        if (volume.state === 'live' && this.device(volume).sizeBytes < sizeBytes)
          model.fail('a resize was answered and is not seen')
      },
    )
  }

  private deleteVolume(volume: ModelledVolume): void {
    if (volume.state !== 'live' || this.volumes.length < 2) return
    // What a clone reads through stays; deleting such an origin is tested by itself.
    volume.state = 'deleting'
    this.storeRequest(
      (reply) => this.world.store!.deleteVolume(volume.name, reply),
      () => {
        this.volumes = this.volumes.filter((other) => other !== volume)
      },
    )
  }

  private storeRequest<T>(start: (reply: (result: Result<T>) => void) => void, done: (value: T) => void): void {
    this.underWay++
    const { world } = this
    start((result) => {
      if (this.world !== world) throw new ModelError('a dead store answers')
      this.underWay--
      if (!result.ok) {
        if (this.o.faults === true) return
        throw new ModelError(`the store refuses: ${result.error.message}`)
      }
      done(result.value)
    })
  }

  // --- snapshots, clones, rollbacks

  /** Let the cleaner look for a victim, the open segment included, as if writers waited for space. */
  private clean(): void {
    for (const { stream, maintenance } of this.world.store!['parts'].disks.entries) {
      stream.log.sealOpen()
      stream.makeCheckpoint(() => {
        maintenance.shortOfSpace = true
        maintenance.kick()
      })
    }
  }

  private snapshot(volume: ModelledVolume): void {
    if (volume.state !== 'live' || volume.views.length >= 3) return
    const id = `s${this.nextStamp++}`
    this.storeRequest<number>(
      (reply) => createSnapshot(this.volumeOf(volume), id, reply),
      (seq) => {
        const view = volume.views.find((one) => one.id === id)
        if (view === undefined || view.seq !== seq)
          return volume.model.fail(`snapshot ${id} was answered without its record`)
        view.created = true
        volume.model.durableSeq = Math.max(volume.model.durableSeq, seq)
      },
    )
  }

  private unsnapshot(volume: ModelledVolume, y: number): void {
    const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
    if (volume.state !== 'live' || view === undefined) return
    view.deleting = true
    this.storeRequest<number>(
      (reply) => deleteSnapshot(this.volumeOf(volume), view.id, reply),
      (seq) => {
        volume.views = volume.views.filter((one) => one !== view)
        volume.model.durableSeq = Math.max(volume.model.durableSeq, seq)
      },
    )
  }

  private rollBack(volume: ModelledVolume, y: number): void {
    const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
    if (volume.state !== 'live' || view === undefined) return
    this.storeRequest<number>(
      (reply) => rollBack(this.volumeOf(volume), view.id, reply),
      (seq) => {
        volume.model.ackedSeq = Math.max(volume.model.ackedSeq, seq)
        volume.model.durableSeq = Math.max(volume.model.durableSeq, seq)
      },
    )
  }

  private clone(volume: ModelledVolume, y: number): void {
    const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
    if (volume.state !== 'live' || view === undefined || this.volumes.length >= (this.o.volumesMax ?? 3)) return
    const name = `v${this.nextVolume++}`
    const { sizeBytes } = this.volumeOf(volume)
    const spec = this.world.spec(name, sizeBytes, { durability: volume.durable ? 'durable' : 'writeback' })
    const clone = this.addModel({
      name,
      id: spec.id,
      windows: volume.windows,
      durable: volume.durable,
      sizeBytes,
      model: new VolumeModel(name, 0, view.content),
    })
    this.storeRequest<VolumeStatus>(
      (reply) => cloneSnapshot(this.world.store!, this.volumeOf(volume), view.id, spec, reply),
      () => {
        clone.state = 'live'
        clone.model.durableSeq = Math.max(clone.model.durableSeq, 1)
      },
    )
  }

  private readViews(volume: ModelledVolume, y: number): void {
    const view = volume.views.filter((one) => one.created && !one.deleting)[y % 3]
    if (view === undefined || volume.state !== 'live') return
    const lbas = [...view.content.keys()]
    const windowLba = volume.windows[0]!.first
    const lba = lbas.length === 0 ? windowLba : lbas[y % lbas.length]!
    this.readViewBlock(volume, view, lba)
  }

  /** A snapshot nobody was told of yet may show what is behind a gap: what it shows now it has to show from now on. */
  private readViewAnew(volume: ModelledVolume, view: ViewModel): void {
    view.content = new Map()
    for (const lba of this.lbasOf(volume)) {
      const { stream, map } = this.volumeOf(volume).targetOfBlock(lba)
      const bytes = this.world.await<Uint8Array | undefined>((done) =>
        readView({ crc32c, stream, map, viewSeq: view.seq, lba }, done),
      )
      if (bytes === undefined) volume.model.fail(`block ${lba} of snapshot ${view.id} cannot be read`)
      else view.content.set(lba, stampsOf(bytes))
    }
  }

  private readViewBlock(volume: ModelledVolume, view: ViewModel, lba: number): void {
    const object = this.volumeOf(volume)
    const { stream, map } = object.targetOfBlock(lba)
    const { world } = this
    this.underWay++
    readView({ crc32c, stream, map, viewSeq: view.seq, lba }, (bytes) => {
      if (this.world !== world) return
      this.underWay--
      if (view.deleting) return
      if (bytes === undefined) volume.model.fail(`block ${lba} of snapshot ${view.id} cannot be read`)
      this.counts.blocksCompared++
      const wanted = view.content.get(lba) ?? new Uint32Array(BLOCK_SECTORS)
      if (stampsOf(bytes).join() !== wanted.join())
        volume.model.fail(
          `block ${lba} of snapshot ${view.id} (seq ${view.seq}) is ${stampsOf(bytes).join(' ')}, it ` +
            `was ${wanted.join(' ')}`,
        )
    })
  }

  // --- the stream's door

  private watch(): void {
    for (const stream of this.world.store!.streams()) {
      const { log } = stream
      const append = log.append.bind(log)
      log.append = (one: Append) => {
        this.appended(one)
        if (this.o.faults === true && (one.record.flags & RECORD_FLAG.moved) === 0) {
          const id = uuidToHex(one.record.volumeId)
          const { done } = one
          one.done = (ok, ended) => {
            if (!ok) this.volumes.find((volume) => volume.id === id)?.model.lost(one.record.seq)
            done(ok, ended)
          }
        }
        append(one)
      }
    }
  }

  private appended({ record, payload }: Append): void {
    if ((record.flags & RECORD_FLAG.moved) !== 0) return
    const id = uuidToHex(record.volumeId)
    const volume = this.volumes.find((one) => one.id === id)
    if (volume === undefined) {
      // Epochs and pins of a volume that was deleted and is read by clones.
      if (record.kind === RECORD_KIND.control) return
      throw new ModelError(`a record of volume ${id}, which is not there`)
    }
    const { model } = volume
    if (record.kind !== RECORD_KIND.control) return model.appended(record, payload)
    const isFirst = record.seq > model.lastSeq
    model.control(record.seq)
    if (!isFirst) return
    const descriptor = this.world.store!.volumeObject(volume.name)?.descriptor
    if (descriptor === undefined) return
    if (record.operation === OPERATION.snapshot) {
      const made = descriptor.snapshots.find((one) => one.seq === record.seq)!
      volume.views.push({ id: made.id, seq: record.seq, content: model.content(), created: false, deleting: false })
    } else if (record.operation === OPERATION.rollback) {
      const [toSeq] = descriptor.rollbacks.at(-1)!
      const view = volume.views.find((one) => one.seq === toSeq)
      if (view === undefined) return model.fail(`a rollback to seq ${toSeq}, which no snapshot has`)
      model.replaced(record.seq, view.content)
    }
  }

  // --- crashes

  private open(): void {
    this.counts.opens++
    this.world.start()
    this.world.clock.runUntil(() => this.world.store !== undefined, OPEN_TURNS_MAX)
    this.counts.rebuilds += this.world.events.filter(({ message }) => message.includes('rebuilt')).length
    this.watch()
  }

  private stop(x: number): void {
    this.settle()
    this.keepStale()
    this.stopping = true
    const late = this.pickVolume(x)
    if (late !== undefined && x % 2 === 0) this.write(late, x, x)
    this.storeRequest<void>(
      (reply) => this.world.store!.stop(reply),
      () => {},
    )
    this.settle()
    this.stopping = false
    // A store that was stopped needs nothing that is not on the medium; and nothing of it is lost, written back or not.
    for (const { model } of this.volumes) model.durableSeq = model.lastSeq
    this.replaceWorld(
      () => ({ kind: 'synced' }),
      () => 'synced',
      false,
    )
    this.comeBack()
  }

  private crash(x: number, y: number, z: number, kill: boolean): void {
    const random = new Random(`crash ${x} ${y} ${z}`)
    this.keepStale()
    for (let depth = 0; ; depth++) {
      this.counts.crashes++
      this.replaceWorld(
        (disk) => (kill ? 'kill' : random.pick([...disk.crashChoices(random, 8)])),
        () => random.pick(['all', 'synced', 'subset', 'all', 'synced', 'lost', 'stale', 'damaged'] as const),
        kill,
      )
      if (depth >= 3 || !random.chance(0.35)) break
      // The next one comes while the store opens.
      this.world.start()
      for (let turns = random.int(random.pick([20, 200, 1000])); turns > 0 && this.world.store === undefined; turns--)
        this.world.clock.step()
      kill = random.chance(0.3)
    }
    this.comeBack()
  }

  private keepStale(): void {
    this.staleIndexes.push(this.world.indexes.map((index) => index.image({ kind: 'synced' })))
    if (this.staleIndexes.length > 4) this.staleIndexes.splice(this.random.int(4), 1)
  }

  private replaceWorld(
    diskChoice: (disk: SimDisk) => CrashChoice | 'kill',
    indexChoice: () => 'all' | 'synced' | 'subset' | 'lost' | 'stale' | 'damaged',
    kill: boolean,
  ): void {
    const { world, random } = this
    const disks = world.disks.map((disk) => {
      const choice = kill ? 'kill' : diskChoice(disk)
      return choice === 'kill' ? disk.kill() : disk.crash(choice)
    })
    const indexes = world.indexes.map((index, i) => {
      const choice = indexChoice()
      const fresh = (image?: IndexImage): SimIndex => {
        index.crash({ kind: 'synced' })
        return new SimIndex({
          clock: world.clock,
          random: random.fork('index'),
          ...(image === undefined ? {} : { image: image.clone() }),
        })
      }
      if (choice === 'lost' || choice === 'stale' || choice === 'damaged') this.indexGone = true
      if (choice === 'lost') return fresh()
      if (choice === 'stale')
        return fresh(this.staleIndexes.length === 0 ? undefined : random.pick(this.staleIndexes)[i])
      const next = index.crash(
        choice === 'subset' ? { kind: 'subset', seed: random.u32() } : { kind: choice === 'all' ? 'all' : 'synced' },
      )
      if (choice === 'damaged') next.damage()
      return next
    })
    world.clock.dropAll()
    this.underWay = 0
    this.world = new StoreWorld(world.options, { disks, indexes, clock: world.clock, random: world.random })
  }

  /** Open what the crash left, and compare every volume with its model. */
  private comeBack(): void {
    this.open()
    const isLoose = this.indexGone && (this.world.disks.length > 1 || this.o.faults === true)
    this.indexGone = false
    const problems = this.world.events.filter(({ level }) => level === 'error')
    if (problems.length > 0) throw new ModelError(`the store does not open whole: ${JSON.stringify(problems)}`)
    for (const volume of [...this.volumes]) {
      const status = this.world.store!.volume(volume.name)
      if (status === undefined) {
        if (volume.state === 'live') volume.model.fail('it is gone')
        this.volumes = this.volumes.filter((other) => other !== volume)
        continue
      }
      if (volume.state === 'deleting' && volume.model.durableSeq === Infinity) volume.model.fail('it came back')
      volume.state = 'live'
      if (status.spec.sizeBytes !== volume.sizeBytes && !volume.resizing.includes(status.spec.sizeBytes))
        volume.model.fail(`its size is ${status.spec.sizeBytes}, it was ${volume.sizeBytes}`)
      volume.sizeBytes = status.spec.sizeBytes
      volume.resizing = []
      const observed = this.readAll(volume)
      if (isLoose) {
        volume.model.recoveredLoosely(observed)
        this.rebaseViews(volume, [[volume.model.durableSeq, Infinity]])
        for (const view of volume.views) if (!view.created) this.readViewAnew(volume, view)
      } else this.rebaseViews(volume, volume.model.recovered(observed))
      for (const view of volume.views) view.created = true
      volume.model = new VolumeModel(volume.name, this.volumeOf(volume).commitSeq, observed)
    }
    for (const { spec } of this.world.store!.volumes())
      if (!this.volumes.some(({ name }) => name === spec.name)) throw new ModelError(`volume ${spec.name} came back`)
  }

  private shadow(x: number, y: number): void {
    const random = new Random(`shadow ${x} ${y}`)
    this.tryImage({
      random,
      disk: (disk) => random.pick([...disk.crashChoices(random, 8)]),
      index: random.pick(['lost', 'lost', 'all', 'synced']),
      check: true,
      depth: 0,
    })
  }

  /**
   * Open what a power cut would leave now, beside the run, which goes on undisturbed. With a depth, the power is cut
   * again at disk operations of that opening, and so on.
   */
  tryImage(choice: ImageChoice): void {
    const { random, depth } = choice
    const { world, volumes, random: own, staleIndexes, underWay, counts, indexGone } = this
    counts.images++
    const clock = new SimClock(random.fork('clock'))
    const disks = world.disks.map(
      (disk) =>
        new SimDisk({
          sizeBytes: disk.sizeBytes,
          clock,
          random: random.fork('disk'),
          image: disk.image(choice.disk(disk)),
        }),
    )
    const indexes = world.indexes.map(
      (index) =>
        new SimIndex({
          clock,
          random: random.fork('index'),
          ...(choice.index === 'lost'
            ? {}
            : {
                image: index.image(
                  choice.index === 'subset' ? { kind: 'subset', seed: random.u32() } : { kind: choice.index },
                ),
              }),
        }),
    )
    Object.assign(this, {
      world: new StoreWorld({ ...world.options, seed: random.u32() }, { disks, indexes, clock, random }),
      volumes: volumes.map((volume) => ({ ...volume, views: volume.views.map((view) => ({ ...view })) })),
      random,
      underWay: 0,
      indexGone: indexGone || choice.index === 'lost',
      counts: { ...counts },
    })
    try {
      if (depth > 0) {
        let operations = 0
        const stride = choice.stride ?? 1
        for (const disk of disks)
          disk.onOperation = () => {
            if (this.world.store === undefined && operations++ % stride === 0)
              this.tryImage({
                ...choice,
                depth: depth - 1,
                stride: stride * 3 + 1,
                random: random.fork('deeper'),
                check: false,
              })
          }
      }
      this.comeBack()
      for (const disk of disks) disk.onOperation = undefined
      if (choice.check) {
        this.check()
        this.compareAll()
      }
    } finally {
      counts.images = this.counts.images
      counts.rebuilds = this.counts.rebuilds
      counts.blocksCompared = this.counts.blocksCompared
      Object.assign(this, { world, volumes, underWay, random: own, staleIndexes, indexGone, counts })
    }
  }

  private rebaseViews(volume: ModelledVolume, candidates: Array<[number, number]>): void {
    const { snapshots } = this.volumeOf(volume).descriptor
    for (const view of volume.views) {
      const there = snapshots.some((one) => one.id === view.id && one.seq === view.seq)
      if (there) {
        if (!candidates.some(([, to]) => to >= view.seq))
          volume.model.fail(`snapshot ${view.id} is there, the state is older`)
        view.deleting = false
      } else if (view.created && !view.deleting) volume.model.fail(`snapshot ${view.id} is gone`)
      else view.deleting = true
    }
    volume.views = volume.views.filter(({ deleting }) => !deleting)
    for (const { id, pinnedBy } of snapshots)
      if (pinnedBy === null && !volume.views.some((view) => view.id === id))
        volume.model.fail(`snapshot ${id} came back`)
  }

  // --- checks

  /** Wait until nothing is under way. */
  settle(): void {
    this.world.clock.runUntilIdle(UNDER_WAY_MAX)
    const held = this.volumes.reduce((sum, { name }) => sum + (this.world.store!.volume(name)?.heldRequests ?? 0), 0)
    if (this.underWay > 0)
      throw new ModelError(
        `${this.underWay} requests are not answered though nothing is under way (${held} held): ${this.space()}`,
      )
  }

  private space(): string {
    return this.world
      .store!.streams()
      .map(
        (s) =>
          `free ${s.freeSegments} reserve ${s.reserveSegments} states ${s.segments.state.join('')} ` +
            `live ${s.segments.live.join(',')}`,
      )
      .join('; ')
  }

  private compareAll(): void {
    for (const volume of this.volumes) {
      if (volume.state !== 'live') continue
      const read = volume.model.beginRead()
      for (const [lba, stamps] of this.readAll(volume)) {
        const bytes = new Uint8Array(BLOCK_BYTES)
        for (let s = 0; s < BLOCK_SECTORS; s++) bytes.set(stampedBytes(stamps[s]!, 1), s * SECTOR_BYTES)
        volume.model.endRead(read, lba * BLOCK_SECTORS, bytes)
      }
      for (const view of volume.views) for (const lba of this.lbasOf(volume)) this.readViewBlock(volume, view, lba)
      this.settle()
    }
  }

  private lbasOf(volume: ModelledVolume): number[] {
    return volume.windows.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i))
  }

  private readAll(volume: ModelledVolume): Map<number, Stamps> {
    const found = new Map<number, Stamps>()
    for (const { first, count } of volume.windows) {
      const into = new Uint8Array(count * BLOCK_BYTES).fill(0xa5)
      const errno = this.world.await<number>((done) => this.device(volume).read(first * BLOCK_BYTES, into, done))
      if (errno !== 0)
        volume.model.fail(
          `blocks ${first}..${first + count - 1} cannot be read, errno ${errno}: ` +
            `${JSON.stringify(this.world.events.filter((e) => e.level === 'error').slice(-3))}`,
        )
      for (let i = 0; i < count; i++) found.set(first + i, stampsOf(into, i * BLOCK_BYTES))
      this.counts.blocksCompared += count
    }
    return found
  }

  check(): void {
    this.settle()
    this.counts.fscks++
    const problems = fsck(this.world)
    if (problems.length > 0)
      throw new ModelError(
        `fsck: ${problems.slice(0, 5).join('\n')}${problems.length > 5 ? `\n... ${problems.length} in all` : ''}`,
      )
  }

  /** L11: what a restart finds is what was in memory, with the index and without it. */
  private reopenAndCompare(): void {
    for (const index of ['synced', 'lost'] as const) {
      const before = this.world.store!.streams().map((stream) => entryKinds(mapEntries(this.world, stream)!, stream))
      this.settle()
      this.replaceWorld(
        () => 'kill',
        () => index,
        true,
      )
      this.comeBack()
      this.settle()
      this.check()
      const after = this.world.store!.streams().map((stream) => entryKinds(mapEntries(this.world, stream)!, stream))
      before.forEach((one, i) => {
        for (const entry of one)
          if (!after[i]!.has(entry)) throw new ModelError(`L11: after a restart (index ${index}) ${entry} is missing`)
        for (const entry of after[i]!)
          if (!one.has(entry)) throw new ModelError(`L11: after a restart (index ${index}) ${entry} is new`)
      })
      this.compareAll()
    }
  }

  private pickVolume(x: number): ModelledVolume | undefined {
    const live = this.volumes.filter(({ state }) => state === 'live')
    return live.length === 0 ? undefined : live[x % live.length]
  }

  private device(volume: ModelledVolume): Volume {
    return this.volumeOf(volume)
  }

  private volumeOf(volume: ModelledVolume): Volume {
    return this.world.store!.volumeObject(volume.name) ?? volume.model.fail('the store does not know it')
  }
}
