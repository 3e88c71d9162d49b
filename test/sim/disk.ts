/**
 * A simulated disk behind `DiskPort`, a function of its seed. It keeps apart what a real one keeps apart:
 *
 *   visible    what a read sees (page cache): every completed write
 *   durable    what is on the medium for certain: writes that had completed when a sync started which has ended
 *   unsynced   writes between the two, and those under way: at a power cut ANY of them may be there, whole or torn
 *   lost       blocks that a failed sync did not write and calls clean: visible, also to the next process, whose syncs
 *              succeed without them; on no medium, and gone with the cache (`dropCache`, or the power)
 *
 * - Completions come in an order drawn from the seed; a write may complete at once or later, `tryRead` may miss.
 * - Power cut: `image(choice)` is the medium as one choice of unsynced writes leaves it, without disturbing this disk,
 *   so a test can take many images at one moment (`crashChoices`) and at every moment (`onOperation`) and open a store
 *   on each. `crash(choice)` is the same, and the old disk is dead. `kill()` is the death of the process only: the
 *   page cache survives, still not durable.
 * - Faults: `failAt` (an error at the n-th operation), `damage` (rot), `misdirectAt`, `loseAt` (a write that goes
 *   elsewhere or nowhere, acknowledged), `stall`/`resume` (short outage), `latencyMs` (slow).
 *
 * Contract checks on the caller: bounds and alignment, no two overlapping writes under way, a buffer does not change
 * before its `done`. Keeps of the contract: a failed write or sync fails the disk for good.
 */
import { assert } from '../../engine/assert.ts'
import type { DiskPort, Outcome } from '../../engine/ports.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../../engine/units.ts'
import type { SimClock } from './clock.ts'
import { DiskImage, SECTOR_BYTES, blocksOf, holdsBlock } from './disk-image.ts'
import { Random } from './random.ts'

export interface SimDiskOptions {
  sizeBytes: number
  clock: SimClock
  random: Random
  /** What the medium holds at first; nothing (zeroes) when absent. Taken over, not copied. */
  image?: DiskImage
  /** Virtual milliseconds an operation takes, [least, most]. */
  latencyMs?: [number, number]
  /** How often a write completes before it returns. */
  writeNowChance?: number
  tryReadMissChance?: number
}

export type DiskOperation = 'read' | 'write' | 'sync'

/** Which unsynced writes a power cut leaves; `index` counts `unsynced` in the order they were issued. */
export type CrashChoice =
  | { kind: 'all' }
  | { kind: 'synced' }
  | { kind: 'drop'; index: number }
  | { kind: 'only'; index: number }
  | { kind: 'subset'; seed: number }
  /** Of write `index` only the first `units` of `unitBytes`, of the others all. */
  | { kind: 'torn'; index: number; unitBytes: 512 | 4096; units: number }
  /** Of every write any sectors of `unitBytes`. */
  | { kind: 'shredded'; unitBytes: 512 | 4096; seed: number }

/** How a sector rots: bits flipped, zeroes, ones, what it held before, what its neighbour holds. */
export type Damage = 'flip' | 'zero' | 'ones' | 'stale' | 'neighbour'
export const DAMAGES: readonly Damage[] = ['flip', 'zero', 'ones', 'stale', 'neighbour']

export interface SimWrite {
  offsetBytes: number
  lengthBytes: number
  /** One per 4096 B; undefined = zeroes. Where it really goes may differ (`landsAtBytes`). */
  blocks: Array<Uint8Array | undefined>
  landsAtBytes: number | undefined
  completed: boolean
}

const LAST_WRITES = 12

export class SimDisk implements DiskPort {
  readonly sizeBytes: number
  readonly counts = { read: 0, write: 0, sync: 0, readBytes: 0, writtenBytes: 0 }
  latencyMs: [number, number]
  /** How often a read ends in an error that is none the next time. */
  readErrorChance = 0
  /** Called after each write or sync was started or has ended (also after its `done`). */
  onOperation: ((what: 'write-start' | 'write-end' | 'sync-start' | 'sync-end') => void) | undefined
  /** A write is about to land elsewhere, or nowhere. */
  onMisdirected: ((write: SimWrite) => void) | undefined
  private readonly options: SimDiskOptions
  private readonly clock: SimClock
  private readonly random: Random
  /** Completed, of this process and of the last. */
  readonly lastWrites: SimWrite[] = []
  private visible: DiskImage
  private durable: DiskImage
  /** In the order issued. */
  private unsynced: SimWrite[] = []
  private readonly underWay = new Set<SimWrite>()
  /** Their content by offset. */
  private lost = new Map<number, Uint8Array | undefined>()
  private failed = false
  private dead = false
  private stalled: Array<() => void> | undefined
  private readonly faults = new Map<string, number | undefined>()

  constructor(options: SimDiskOptions) {
    assert(options.sizeBytes % BLOCK_BYTES === 0, 'the size is a whole number of blocks')
    this.options = options
    this.sizeBytes = options.sizeBytes
    this.clock = options.clock
    this.random = options.random
    this.latencyMs = options.latencyMs ?? [0, 2]
    this.durable = options.image ?? new DiskImage()
    this.visible = this.durable.clone()
  }

  // ---- DiskPort

  write(offsetBytes: number, buffers: readonly Uint8Array[], done: Outcome): boolean {
    let lengthBytes = 0
    for (const buffer of buffers) {
      assert(buffer.byteLength % UNIT_BYTES === 0, 'a buffer is a whole number of units')
      lengthBytes += buffer.byteLength
    }
    this.checkRange(offsetBytes, lengthBytes)
    const blocks: Array<Uint8Array | undefined> = []
    for (const part of inBlocks(buffers)) blocksOf(part, blocks)
    if (this.dead) return false
    if (this.refuses('write')) {
      this.later(() => done(false))
      return false
    }
    for (const other of this.underWay) {
      const apart =
        other.offsetBytes >= offsetBytes + lengthBytes || offsetBytes >= other.offsetBytes + other.lengthBytes
      assert(apart, 'two writes of one place under way')
    }
    this.counts.writtenBytes += lengthBytes
    const write: SimWrite = {
      offsetBytes,
      lengthBytes,
      blocks,
      landsAtBytes: offsetBytes,
      completed: false,
    }
    const fault = `misdirect ${this.counts.write}`
    if (this.faults.has(fault)) {
      write.landsAtBytes = this.faults.get(fault)
      this.faults.delete(fault)
      this.onMisdirected?.(write)
    }
    this.unsynced.push(write)
    this.onOperation?.('write-start')
    if (this.stalled === undefined && this.random.chance(this.options.writeNowChance ?? 0.5)) {
      this.land(write)
      this.onOperation?.('write-end')
      return true
    }
    this.underWay.add(write)
    this.later(() => {
      this.underWay.delete(write)
      checkUnchanged(buffers, blocks)
      if (this.failed) return done(false)
      this.land(write)
      done(true)
      this.onOperation?.('write-end')
    })
    return false
  }

  sync(done: Outcome): void {
    if (this.dead) return
    const { failed } = this
    if (this.refuses('sync')) {
      if (!failed) this.loseCompleted()
      this.later(() => done(false))
      return
    }
    const covered = new Set(this.unsynced.filter((write) => write.completed))
    this.onOperation?.('sync-start')
    this.later(() => {
      if (this.failed) return done(false)
      const left: SimWrite[] = []
      for (const write of this.unsynced) {
        if (covered.has(write)) this.durable.apply(write.landsAtBytes, write.blocks)
        else left.push(write)
      }
      this.unsynced = left
      done(true)
      this.onOperation?.('sync-end')
    })
  }

  dropCache(done: Outcome): void {
    if (this.dead) return
    this.later(() => {
      if (this.failed) return done(false)
      this.visible.putBack(this.lost.keys(), this.durable)
      this.lost.clear()
      done(true)
    })
  }

  tryRead(offsetBytes: number, into: Uint8Array): boolean {
    this.checkRange(offsetBytes, into.byteLength, UNIT_BYTES)
    if (this.dead || this.failed || this.stalled !== undefined || this.readErrorChance > 0) return false
    if (this.random.chance(this.options.tryReadMissChance ?? 0.3)) return false
    this.visible.read(offsetBytes, into)
    return true
  }

  read(offsetBytes: number, into: Uint8Array, done: Outcome): void {
    this.checkRange(offsetBytes, into.byteLength, UNIT_BYTES)
    if (this.dead) return
    const refused = this.refuses('read') || (this.readErrorChance > 0 && this.random.chance(this.readErrorChance))
    this.counts.readBytes += into.byteLength
    this.later(() => {
      if (refused || this.failed) return done(false)
      this.visible.read(offsetBytes, into)
      done(true)
    })
  }

  readMedium(offsetBytes: number, lengthBytes: number, done: (bytes: Uint8Array | undefined) => void): void {
    this.checkRange(offsetBytes, lengthBytes)
    const bytes = new Uint8Array(lengthBytes)
    this.read(offsetBytes, bytes, (ok) => {
      for (let at = 0; at < lengthBytes; at += BLOCK_BYTES)
        if (this.lost.has(offsetBytes + at)) this.durable.read(offsetBytes + at, bytes.subarray(at, at + BLOCK_BYTES))
      done(ok ? bytes : undefined)
    })
  }

  // ---- crashes

  /** Number of writes that are issued and not covered by an ended sync. */
  get unsyncedCount(): number {
    return this.unsynced.length
  }

  /** What the medium holds after a power cut now. This disk goes on undisturbed. */
  image(choice: CrashChoice): DiskImage {
    const image = this.durable.clone()
    const random = 'seed' in choice ? new Random(choice.seed) : undefined
    this.unsynced.forEach((write, index) => {
      let keep: ((sector: number) => boolean) | undefined
      switch (choice.kind) {
        case 'all':
          break
        case 'synced':
          return
        case 'drop':
          if (index === choice.index) return
          break
        case 'only':
          if (index !== choice.index) return
          break
        case 'subset':
          if (random!.chance(0.5)) return
          break
        case 'torn':
          if (index === choice.index) {
            const sectors = (choice.units * choice.unitBytes) / SECTOR_BYTES
            keep = (sector) => sector < sectors
          }
          break
        case 'shredded': {
          const perUnit = choice.unitBytes / SECTOR_BYTES
          const odds = random!.pick([0.1, 0.5, 0.9])
          let kept = false
          keep = (sector) => {
            if (sector % perUnit === 0) kept = random!.chance(odds)
            return kept
          }
        }
      }
      image.apply(write.landsAtBytes, write.blocks, keep)
    })
    return image
  }

  /**
   * Choices worth trying now, the telling ones first, at most `most`: all, synced, every single write dropped, every
   * single one alone, torn at 512 B and 4 KiB, random subsets, random sectors. Only the first two when all is synced.
   */
  *crashChoices(random: Random, most: number): Generator<CrashChoice> {
    const choices: CrashChoice[] = [{ kind: 'all' }, { kind: 'synced' }]
    const count = this.unsynced.length
    if (count > 0) {
      const more: CrashChoice[] = []
      for (let index = 0; index < count; index++) {
        more.push({ kind: 'drop', index })
        if (count > 1) more.push({ kind: 'only', index })
        const { lengthBytes } = this.unsynced[index]!
        more.push({ kind: 'torn', index, unitBytes: 512, units: random.between(1, lengthBytes / 512 - 1) })
        if (lengthBytes > 4096) {
          more.push({ kind: 'torn', index, unitBytes: 4096, units: random.between(1, lengthBytes / 4096 - 1) })
        }
      }
      for (let i = 0; i < 2; i++) {
        more.push({ kind: 'shredded', unitBytes: i === 0 ? 512 : 4096, seed: random.u32() })
        if (count > 1) more.push({ kind: 'subset', seed: random.u32() })
      }
      choices.push(...random.shuffle(more))
      while (choices.length < most && count > 2) choices.push({ kind: 'subset', seed: random.u32() })
    }
    yield* choices.slice(0, most)
  }

  /** Power cut: this disk is dead (no `done` is ever called again); the answer is the disk after the restart. */
  crash(choice: CrashChoice): SimDisk {
    const image = this.image(choice)
    this.dead = true
    return this.reopened(image)
  }

  /**
   * The process died, the machine did not: completed writes are visible and still not durable; one under way has
   * happened or not. The page cache stays shared with nothing: this disk is dead.
   */
  kill(): SimDisk {
    this.dead = true
    const next = this.reopened(this.durable)
    for (const [offsetBytes, block] of this.lost) next.visible.apply(offsetBytes, [block])
    next.lost = new Map(this.lost)
    for (const write of this.unsynced) {
      if (!write.completed && this.random.chance(0.5)) continue
      next.unsynced.push({ ...write, completed: false })
      next.land(next.unsynced.at(-1)!)
    }
    return next
  }

  // ---- faults

  /** The n-th `operation` from now (1 = the next) ends in an error. A write or sync error fails the disk for good. */
  failAt(operation: DiskOperation, n = 1): void {
    this.faults.set(`${operation} ${this.counts[operation] + n}`, undefined)
  }

  /** The n-th write from now lands at another place, and is acknowledged. */
  misdirectAt(n: number, toOffsetBytes: number): void {
    this.faults.set(`misdirect ${this.counts.write + n}`, toOffsetBytes)
  }

  /** The n-th write from now reaches nothing, and is acknowledged. */
  loseAt(n: number): void {
    this.faults.set(`misdirect ${this.counts.write + n}`, undefined)
  }

  /** What was to go elsewhere or nowhere, and is not written yet, goes where it should. */
  misdirectNothing(): void {
    for (const fault of this.faults.keys()) if (fault.startsWith('misdirect')) this.faults.delete(fault)
    this.onMisdirected = undefined
  }

  /** From now on nothing ends, until `resume`. */
  stall(): void {
    this.stalled ??= []
  }

  resume(): void {
    const held = this.stalled ?? []
    this.stalled = undefined
    for (const run of held) this.later(run)
  }

  get hasFailed(): boolean {
    return this.failed
  }

  /** Rot one 512 B sector, in the page cache and on the medium. False when that changes nothing. */
  damage(sectorOffsetBytes: number, how: Damage): boolean {
    assert(sectorOffsetBytes % SECTOR_BYTES === 0, 'rot comes by sectors')
    this.checkRange(sectorOffsetBytes - (sectorOffsetBytes % BLOCK_BYTES), BLOCK_BYTES)
    const changed = this.visible.damage(sectorOffsetBytes, how, this.random, this.sizeBytes)
    if (changed) this.durable.copySector(sectorOffsetBytes, this.visible)
    return changed
  }

  /** What one sector reads as now. */
  sector(sectorOffsetBytes: number): Uint8Array {
    return this.visible.sector(sectorOffsetBytes).slice()
  }

  /** Have a sector hold these bytes, in the page cache and on the medium. */
  putSector(sectorOffsetBytes: number, bytes: Uint8Array): void {
    this.visible.setSector(sectorOffsetBytes, bytes)
    this.durable.setSector(sectorOffsetBytes, bytes)
  }

  /** The same with blocks, those only that hold `where` now. */
  putBlocks(
    offsetBytes: number,
    blocks: ReadonlyArray<Uint8Array | undefined>,
    where?: ReadonlyArray<Uint8Array | undefined>,
  ): void {
    blocks.forEach((block, i) => {
      const at = offsetBytes + i * BLOCK_BYTES
      const isThere = where === undefined || same(where[i], this.peek(at, BLOCK_BYTES))
      if (!isThere) return
      this.visible.apply(at, [block])
      this.durable.apply(at, [block])
      this.lost.delete(at)
    })
  }

  /** Offsets of the 512 B sectors in the range that were ever written (others are zeroes). */
  writtenSectors(fromBytes = 0, belowBytes = this.sizeBytes): number[] {
    return this.visible.sectors().filter((offset) => offset >= fromBytes && offset < belowBytes)
  }

  /** What a read sees now, without the port (for checks). */
  peek(offsetBytes: number, lengthBytes: number): Uint8Array {
    const into = new Uint8Array(lengthBytes)
    this.visible.read(offsetBytes, into)
    return into
  }

  // ---- inside

  private checkRange(offsetBytes: number, lengthBytes: number, wholeBytes = BLOCK_BYTES): void {
    assert(Number.isSafeInteger(offsetBytes / wholeBytes), 'an offset is a whole number of blocks, or units')
    assert(lengthBytes > 0 && lengthBytes % wholeBytes === 0, 'a length is a whole number of blocks, or units')
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'the range lies on the disk')
  }

  private refuses(operation: DiskOperation): boolean {
    this.counts[operation]++
    const hit = this.faults.delete(`${operation} ${this.counts[operation]}`)
    if (hit && operation !== 'read') this.failed = true
    return hit || this.failed
  }

  private later(run: () => void): void {
    if (this.stalled !== undefined) {
      this.stalled.push(run)
      return
    }
    const [least, most] = this.latencyMs
    this.clock.complete(least + this.random.float() * (most - least), () => {
      if (this.dead) return
      if (this.stalled !== undefined) this.stalled.push(run)
      else run()
    })
  }

  private land(write: SimWrite): void {
    write.completed = true
    this.lastWrites.push(write)
    if (this.lastWrites.length > LAST_WRITES) this.lastWrites.shift()
    this.visible.apply(write.landsAtBytes, write.blocks)
    const { landsAtBytes } = write
    if (landsAtBytes !== undefined) write.blocks.forEach((_, i) => this.lost.delete(landsAtBytes + i * BLOCK_BYTES))
  }

  /** A sync fails: some of what it was to write is on the medium, and all of it counts as clean. */
  private loseCompleted(): void {
    const random = this.random.fork('lost')
    const left: SimWrite[] = []
    for (const write of this.unsynced) {
      const { landsAtBytes, blocks, completed } = write
      if (!completed) left.push(write)
      if (!completed || landsAtBytes === undefined) continue
      const isWritten = random.chance(0.3)
      if (isWritten) this.durable.apply(landsAtBytes, blocks)
      blocks.forEach((block, i) => {
        const offsetBytes = landsAtBytes + i * BLOCK_BYTES
        if (isWritten) this.lost.delete(offsetBytes)
        else this.lost.set(offsetBytes, block)
      })
    }
    this.unsynced = left
  }

  private reopened(image: DiskImage): SimDisk {
    return new SimDisk({ ...this.options, latencyMs: this.latencyMs, image, random: this.random.fork('reopened') })
  }
}

const same = (block: Uint8Array | undefined, bytes: Uint8Array): boolean =>
  block === undefined ? bytes.every((byte) => byte === 0) : Buffer.compare(block, bytes) === 0

/** The same bytes in pieces of whole blocks: where buffers are shorter, in one. */
function inBlocks(buffers: readonly Uint8Array[]): readonly Uint8Array[] {
  return buffers.every((buffer) => buffer.byteLength % BLOCK_BYTES === 0) ? buffers : [Buffer.concat(buffers)]
}

function checkUnchanged(buffers: readonly Uint8Array[], blocks: ReadonlyArray<Uint8Array | undefined>): void {
  let i = 0
  for (const buffer of inBlocks(buffers)) {
    for (let at = 0; at < buffer.byteLength; at += BLOCK_BYTES) {
      assert(holdsBlock(buffer, at, blocks[i++]), 'a buffer under way was changed by its owner')
    }
  }
}
