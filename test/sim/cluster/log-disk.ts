/**
 * The disk of a node with the store of the engine on it: the same code and the same format as in production, over a
 * simulated disk and index that lose and tear what a crash may take.
 */
import { crc32c } from '@node-rs/crc32'
import { hexToUuid } from '../../../engine/log/bytes.ts'
import { CheckedIndex } from '../../../engine/log/checked-index.ts'
import { diskBytesFor } from '../../../engine/log/geometry.ts'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import type { ClockPort, DiskPort, IndexPort } from '../../../engine/ports.ts'
import type { StoreEvent } from '../../../engine/replication/copy-store.ts'
import type { VersionId } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES, GIB } from '../../../engine/units.ts'
import { openCopy } from '../../../engine/volume/copy-opening.ts'
import type { LocalCopyStore, ReplicatedDescriptor } from '../../../engine/volume/copy-store.ts'
import type { StoreDisk } from '../../../engine/volume/store-disks.ts'
import type { SimClock } from '../clock.ts'
import { SECTOR_BYTES, blocksOf } from '../disk-image.ts'
import { DAMAGES, SimDisk, type CrashChoice } from '../disk.ts'
import { SimIndex } from '../index.ts'
import type { Random } from '../random.ts'
import type { Mark } from './atlas.ts'
import { blockPlace } from './block-place.ts'
import type { NodeDisk, StoreUser } from './node-disk.ts'
import type { Swarm } from './swarm.ts'
import { emptyVersionMap, insertVersion, type VersionMap } from './version-map.ts'

const SEGMENT_BYTES = 128 * 1024
const SEGMENTS = 96
/** Of calls that the copy's machine does not make. */
const OWN_TOKENS = 2 ** 40
const OTHER_STREAM = 7
const SCRUBS_MAX = 200
const MISDIRECTED_BYTES_MAX = 5 << 20

const blocksIn = (bytes: Uint8Array): Array<Uint8Array | undefined> => {
  const blocks: Array<Uint8Array | undefined> = []
  blocksOf(bytes, blocks)
  return blocks
}

export class LogDisk implements NodeDisk {
  readonly copyId: string
  hasFailed = false
  isLost = false
  private readonly clock: SimClock
  private readonly random: Random
  private readonly swarm: Swarm
  private disk: SimDisk
  private index: SimIndex
  private user: StoreUser | undefined
  private copy: LocalCopyStore | undefined
  private asked: ((event: StoreEvent) => void) | undefined
  private factor = 1
  private readErrorChance = 0
  /** Since it was opened. */
  private readsFailed = false
  private isFull = false
  private grants = new SharedSegmentGrants(SEGMENTS)
  /** Something of it was damaged, or reads fail: it need not open. */
  private mayRefuse = false

  constructor(copyId: string, clock: SimClock, random: Random, swarm: Swarm) {
    this.copyId = copyId
    this.clock = clock
    this.random = random
    this.swarm = swarm
    const sizeBytes = diskBytesFor(SEGMENTS, SEGMENT_BYTES)
    this.disk = new SimDisk({ sizeBytes, clock, random: random.fork('disk'), latencyMs: swarm.disk.writeMs })
    this.index = new SimIndex({ clock, random: random.fork('index'), latencyMs: swarm.disk.readMs })
  }

  open(user: StoreUser, boot: number): void {
    this.user = user
    this.readsFailed = this.readErrorChance > 0
    const { slices, mode } = this.swarm
    const event = () => {}
    openCopy(
      {
        clock: gatedClock(this.clock, user),
        crc32c,
        log: { event },
        disks: [this.context(user, boot)],
        spec: {
          id: 'abcd'.padStart(32, '0'),
          name: 'v',
          sizeBytes: slices * GIB,
          blockSizeBytes: 4096,
          replicas: 2,
          durability: mode,
          onFull: 'hold',
          ioTimeoutMs: 0,
          pool: 'default',
          diskTags: [],
        },
        copyId: this.copyId,
        onEvent: (event) => {
          if ('token' in event && event.token >= OWN_TOKENS) this.asked?.(event)
          else if (!user.isOver) user.heard(event)
        },
      },
      (outcome) => {
        if (user.isOver) return
        if (!outcome.ok) {
          if (!this.hasFailed && !this.mayRefuse) throw new Error(`the copy does not open: ${outcome.reason}`)
          // What could not be read may be whole; what was read and does not fit is not.
          if (!this.hasFailed && !this.readsFailed) this.isLost = true
          return user.heard({ type: 'store-failed', reason: outcome.reason })
        }
        this.copy = outcome.copy
        if (this.isFull) this.fillUp(true)
        user.opened(outcome.copy, outcome.stored)
      },
    )
  }

  worked(): void {}

  kill(): void {
    this.end()
    this.takeOver(this.disk.kill())
    this.index = this.index.crash({ kind: 'all' })
  }

  losePower(lies: boolean): void {
    this.end()
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

  fail(): void {
    this.hasFailed = true
    this.disk.failAt('sync')
    this.disk.failAt('write')
  }

  failNext(what: 'write' | 'sync'): void {
    this.hasFailed = true
    this.disk.failAt(what)
  }

  failReads(chance: number): void {
    this.readErrorChance = this.disk.readErrorChance = chance
    if (chance > 0) this.mayRefuse = this.readsFailed = true
  }

  rotBlock(random: Random, mayDamage: (lba: number, isSettled: boolean) => boolean): Mark | undefined {
    const place = this.copy === undefined ? undefined : blockPlace(this.copy, random, mayDamage)
    if (place === undefined) return undefined
    const { lba, offsetBytes } = place
    return this.damage(lba, offsetBytes + random.int(BLOCK_BYTES / SECTOR_BYTES) * SECTOR_BYTES, random)
  }

  rotAnything(random: Random): Mark | undefined {
    const sectors = this.disk.writtenSectors()
    return sectors.length === 0 ? undefined : this.damage('disk', random.pick(sectors), random)
  }

  private damage(what: Mark['what'], sectorOffsetBytes: number, random: Random): Mark | undefined {
    const before = this.disk.sector(sectorOffsetBytes)
    if (!this.disk.damage(sectorOffsetBytes, random.pick(DAMAGES))) return undefined
    const after = this.disk.sector(sectorOffsetBytes)
    this.mayRefuse = true
    const isGone = (): boolean => Buffer.compare(this.disk.sector(sectorOffsetBytes), after) !== 0
    return {
      what,
      isGone,
      undo: () => {
        if (!isGone()) this.disk.putSector(sectorOffsetBytes, before)
      },
    }
  }

  misdirectNext(random: Random): Mark | undefined {
    const written = this.disk.writtenSectors().filter((offset) => offset % BLOCK_BYTES === 0)
    if (written.length === 0) return undefined
    let undo = (): void => {}
    this.disk.onMisdirected = (fromBytes, toBytes, blocks) => {
      this.disk.onMisdirected = undefined
      const hurt = toBytes === undefined ? undefined : this.disk.peek(toBytes, blocks.length * BLOCK_BYTES)
      undo = () => {
        this.disk.putBlocks(fromBytes, blocks)
        if (toBytes !== undefined) this.disk.putBlocks(toBytes, blocksIn(hurt!), blocks)
      }
    }
    // A write is long: it has to fit behind the place where it lands.
    const toBytes = random.pick(written)
    if (random.chance(0.3) || toBytes + MISDIRECTED_BYTES_MAX > this.disk.sizeBytes) this.disk.loseAt(1)
    else this.disk.misdirectAt(1, toBytes)
    this.mayRefuse = true
    return { what: 'disk', isGone: () => false, undo: () => undo() }
  }

  fillUp(isFull: boolean): void {
    this.isFull = isFull
    // One that is being opened gets its first segments before.
    if (this.copy === undefined) return
    if (isFull) while (this.grants.grant(OTHER_STREAM) !== undefined);
    else {
      for (let segment = 0; segment < SEGMENTS; segment++)
        if (this.grants.owner(segment) === OTHER_STREAM) this.grants.release(segment)
      for (const { stream } of this.copy.targets) {
        stream.supply.start()
        stream.onSpace()
      }
    }
  }

  mend(): void {
    if (this.user !== undefined) this.end()
    this.hasFailed = false
    this.losePower(false)
  }

  setSpeed(factor: number): void {
    this.factor = factor
    const [least, most] = this.swarm.disk.writeMs
    this.disk.latencyMs = [least * this.factor, most * this.factor]
  }

  content(done: (versions: VersionMap | undefined) => void): void {
    const copy = this.copy!
    const { snapshots, rollbacks } = copy.descriptor() as ReplicatedDescriptor
    const map = emptyVersionMap()
    map.snapshots = snapshots.map(({ id, seq }) => ({ id, seq }))
    map.rollbacks = rollbacks.map(([to, at]) => [to, at])
    map.trimsKeptAbove = -1
    let token = OWN_TOKENS
    let tries = SCRUBS_MAX
    const scan = (slice: number, cursor: number) => {
      this.asked = (event) => {
        if (event.type !== 'scanned') return done(undefined)
        if (!event.ok) {
          const damaged = event.damaged ?? []
          if (damaged.length === 0 || --tries === 0) return done(undefined)
          return this.repaired(damaged, () => scan(slice, cursor))
        }
        for (const version of event.versions) insertVersion(map, version)
        if (event.cursor !== undefined) scan(slice, event.cursor)
        else if (slice + 1 < copy.stored().sliceCount) scan(slice + 1, 0)
        else done(map)
      }
      copy.scan(token++, { slice, above: 0, upTo: copy.appliedSeq, cursor, bytesMax: 1 << 20 })
    }
    scan(0, 0)
  }

  /** What a scrub would do: tell the copy of what cannot be read, and look again when it had time to be repaired. */
  private repaired(damaged: VersionId[], again: () => void): void {
    this.user?.heard({ type: 'damaged', versions: damaged })
    this.clock.after(this.swarm.retryMs, again)
  }

  private takeOver(disk: SimDisk): void {
    this.disk = disk
    disk.readErrorChance = this.readErrorChance
  }

  private end(): void {
    this.user = undefined
    this.copy = undefined
  }

  private context(user: StoreUser, boot: number): StoreDisk {
    this.grants = new SharedSegmentGrants(SEGMENTS)
    const diskUuid = '1'.padStart(32, '0')
    return {
      path: 'disk',
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
        segmentCount: SEGMENTS,
        random: (bytes) => Uint8Array.from({ length: bytes }, () => this.random.int(256)),
        bootId: boot.toString(16).padStart(32, '0'),
        pagesMax: 64,
        checkpointBytes: 256 * 1024,
        pendingMax: 200,
        syncsMax: 2,
        segmentsAhead: 2,
        holdSegments: 3,
      },
    }
  }
}

function gatedClock(clock: SimClock, user: StoreUser): ClockPort {
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
    tryRead: (offsetBytes, into) => disk.tryRead(offsetBytes, into),
    read: (offsetBytes, into, done) => disk.read(offsetBytes, into, (ok) => user.gate(() => done(ok))),
  }
}

function gatedIndex(index: SimIndex, user: StoreUser): IndexPort {
  return {
    batch: (operations, done) => index.batch(operations, (ok) => user.gate(() => done(ok))),
    get: (key, done) => index.get(key, (ok, value) => user.gate(() => done(ok, value))),
    range: (options, done) => index.range(options, (ok, entries) => user.gate(() => done(ok, entries))),
    clear: (done) => index.clear((ok) => user.gate(() => done(ok))),
  }
}
