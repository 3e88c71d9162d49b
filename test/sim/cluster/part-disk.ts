/**
 * One disk of a node under the engine's store: the simulated medium, its index, and what may be done to both. It
 * outlives the processes that open it.
 */
import { crc32c } from '@node-rs/crc32'
import { hexToUuid } from '../../../engine/log/bytes.ts'
import { CheckedIndex } from '../../../engine/log/checked-index.ts'
import { diskBytesFor } from '../../../engine/log/geometry.ts'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import type { ClockPort, DiskPort, IndexPort } from '../../../engine/ports.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { StoreDisk } from '../../../engine/volume/store-disks.ts'
import type { SimClock } from '../clock.ts'
import { blocksOf, SECTOR_BYTES } from '../disk-image.ts'
import { DAMAGES, SimDisk, type CrashChoice } from '../disk.ts'
import { SimIndex } from '../index.ts'
import type { Random } from '../random.ts'
import type { Mark } from './atlas.ts'
import type { StoreUser } from './node-disk.ts'
import type { Swarm } from './swarm.ts'

const SEGMENT_BYTES = 128 * 1024
const OTHER_STREAM = 7
const MISDIRECTED_BYTES_MAX = 5 << 20

const blocksIn = (bytes: Uint8Array): Array<Uint8Array | undefined> => {
  const blocks: Array<Uint8Array | undefined> = []
  blocksOf(bytes, blocks)
  return blocks
}

export class PartDisk {
  readonly uuid: string
  disk: SimDisk
  private readonly clock: SimClock
  private readonly random: Random
  private index: SimIndex
  private readonly segmentCount: number
  private grants: SharedSegmentGrants
  private readErrorChance = 0
  /** Failures of it that a process of the present boot met. */
  private failures = 0
  /** What sectors that were damaged read as since. */
  private readonly rotten = new Map<number, Uint8Array>()

  constructor(number: number, clock: SimClock, random: Random, swarm: Swarm) {
    this.uuid = String(number).padStart(32, '0')
    this.clock = clock
    this.random = random
    this.segmentCount = swarm.segments
    this.grants = new SharedSegmentGrants(swarm.segments)
    const sizeBytes = diskBytesFor(swarm.segments, SEGMENT_BYTES)
    this.disk = new SimDisk({ sizeBytes, clock, random: random.fork('disk'), latencyMs: swarm.disk.writeMs })
    this.index = new SimIndex({ clock, random: random.fork('index'), latencyMs: swarm.disk.readMs })
  }

  kill(): void {
    if (this.disk.hasFailed) this.failures++
    this.takeOver(this.disk.kill())
    this.index = this.index.crash({ kind: 'all' })
  }

  losePower(lies: boolean): void {
    this.failures = 0
    const seed = this.random.u32()
    const choices: CrashChoice[] = [
      { kind: 'all' },
      { kind: 'synced' },
      { kind: 'subset', seed },
      { kind: 'shredded', unitBytes: 512, seed },
      { kind: 'shredded', unitBytes: 4096, seed },
    ]
    this.takeOver(this.disk.crash(lies ? { kind: 'synced' } : this.random.pick(choices)))
    this.index = this.index.crash({ kind: 'subset', seed })
  }

  failReads(chance: number): void {
    this.readErrorChance = this.disk.readErrorChance = chance
  }

  private takeOver(disk: SimDisk): void {
    this.disk = disk
    disk.readErrorChance = this.readErrorChance
  }

  /** Rot one sector. Undefined: that changes nothing, or it is rotten already. */
  damage(what: Mark['what'], sectorOffsetBytes: number, random: Random): Mark | undefined {
    const before = this.disk.sector(sectorOffsetBytes)
    // Undone it would be as rotten as before, and nobody would know.
    const isRotten = Buffer.compare(before, this.rotten.get(sectorOffsetBytes) ?? Buffer.alloc(0)) === 0
    if (isRotten) return undefined
    if (!this.disk.damage(sectorOffsetBytes, random.pick(DAMAGES))) return undefined
    const after = this.disk.sector(sectorOffsetBytes)
    this.rotten.set(sectorOffsetBytes, after)
    const isGone = (): boolean => Buffer.compare(this.disk.sector(sectorOffsetBytes), after) !== 0
    return {
      what,
      lies: what === 'disk',
      isGone,
      undo: () => {
        if (!isGone()) this.disk.putSector(sectorOffsetBytes, before)
      },
    }
  }

  /** Rot a sector of one of the last writes, more often the first one: there is the header of a batch. */
  rotTail(random: Random): Mark | undefined {
    const { lastWrites } = this.disk
    if (lastWrites.length === 0) return undefined
    const { offsetBytes, lengthBytes } = random.pick(lastWrites)
    const sector = random.chance(0.7) ? 0 : random.int(lengthBytes / SECTOR_BYTES)
    return this.damage('disk', offsetBytes + sector * SECTOR_BYTES, random)
  }

  /** The next write lands elsewhere, or nowhere. */
  misdirectNext(random: Random): Mark | undefined {
    const written = this.disk.writtenSectors().filter((offset) => offset % BLOCK_BYTES === 0)
    if (written.length === 0) return undefined
    let isKnown = false
    let undo = (): void => this.disk.misdirectNothing()
    this.disk.onMisdirected = (write) => {
      this.disk.onMisdirected = undefined
      const { offsetBytes, landsAtBytes: toBytes, lengthBytes, blocks } = write
      const before = blocksIn(this.disk.peek(offsetBytes, lengthBytes))
      const hurt = toBytes === undefined ? undefined : blocksIn(this.disk.peek(toBytes, lengthBytes))
      undo = () => {
        // It may be under way yet, or not synced.
        write.landsAtBytes = offsetBytes
        // What it hurt first: the one place may overlap the other.
        if (toBytes !== undefined) this.disk.putBlocks(toBytes, hurt!, blocks)
        if (!isKnown) this.disk.putBlocks(offsetBytes, blocks, before)
      }
    }
    // A write is long: it has to fit behind the place where it lands.
    const toBytes = random.pick(written)
    if (random.chance(0.3) || toBytes + MISDIRECTED_BYTES_MAX > this.disk.sizeBytes) this.disk.loseAt(1)
    else this.disk.misdirectAt(1, toBytes)
    return { what: 'disk', lies: true, isGone: () => false, isKnown: () => (isKnown = true), undo: () => undo() }
  }

  /** Somebody else takes what is free. */
  fillUp(): void {
    while (this.grants.grant(OTHER_STREAM) !== undefined);
  }

  giveBack(): void {
    for (let segment = 0; segment < this.segmentCount; segment++)
      if (this.grants.owner(segment) === OTHER_STREAM) this.grants.release(segment)
  }

  /** For a process that opens it. */
  context(user: StoreUser, boot: number): StoreDisk {
    this.grants = new SharedSegmentGrants(this.segmentCount)
    const { uuid: diskUuid } = this
    return {
      path: `disk ${this.uuid}`,
      pool: 'default',
      tags: [],
      context: {
        disk: gatedDisk(this.disk, user),
        index: new CheckedIndex(gatedIndex(this.index, user), crc32c, () => {}),
        crc32c,
        clock: gatedClock(this.clock, user),
        grants: this.grants,
        log: { event: () => {} },
        diskUuid,
        diskTag: hexToUuid(diskUuid).subarray(0, 8),
        streamId: 0,
        segmentBytes: SEGMENT_BYTES,
        segmentCount: this.segmentCount,
        random: (bytes) => Uint8Array.from({ length: bytes }, () => this.random.int(256)),
        // A disk that failed may lack what was written to it in this boot.
        bootId: `${this.failures.toString(16).padStart(8, '0')}${boot.toString(16).padStart(24, '0')}`,
        pagesMax: 64,
        checkpointBytes: 256 * 1024,
        pendingMax: 200,
        syncsMax: 2,
        segmentsAhead: 2,
        // So that a change of a list makes several.
        leafSnapshots: 2,
        holdSegments: 3,
      },
    }
  }
}

export function gatedClock(clock: SimClock, user: StoreUser): ClockPort {
  return {
    nowMs: () => clock.nowMs(),
    after: (delayMs, run) => clock.after(delayMs, () => user.gate(run)),
    defer: (run) => clock.defer(() => user.gate(run)),
  }
}

function gatedDisk(disk: SimDisk, user: StoreUser): DiskPort {
  return {
    sizeBytes: disk.sizeBytes,
    write: (offsetBytes, buffers, done) => disk.write(offsetBytes, buffers, (ok) => user.gate(() => done(ok))),
    sync: (done) => disk.sync((ok) => user.gate(() => done(ok))),
    dropCache: (done) => disk.dropCache((ok) => user.gate(() => done(ok))),
    tryRead: (offsetBytes, into) => disk.tryRead(offsetBytes, into),
    read: (offsetBytes, into, done) => disk.read(offsetBytes, into, (ok) => user.gate(() => done(ok))),
    readMedium: (offsetBytes, lengthBytes, done) =>
      disk.readMedium(offsetBytes, lengthBytes, (bytes) => user.gate(() => done(bytes))),
  }
}

function gatedIndex(index: SimIndex, user: StoreUser): IndexPort {
  return {
    batch: (operations, done) => index.batch(operations, (ok) => user.gate(() => done(ok))),
    getMany: (keys, done) => index.getMany(keys, (ok, values) => user.gate(() => done(ok, values))),
    range: (options, done) => index.range(options, (ok, entries) => user.gate(() => done(ok, entries))),
    clear: (done) => index.clear((ok) => user.gate(() => done(ok))),
  }
}
