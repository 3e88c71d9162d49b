/**
 * The disks of a node with the store of the engine on it: the same code and the same format as in production, over a
 * simulated disk and index that lose and tear what a crash may take.
 */
import { crc32c } from '@node-rs/crc32'
import type { StoreEvent } from '../../../engine/replication/copy-store.ts'
import type { VersionId } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES, GIB } from '../../../engine/units.ts'
import { openCopy } from '../../../engine/volume/copy-opening.ts'
import type { LocalCopyStore, ReplicatedDescriptor } from '../../../engine/volume/copy-store.ts'
import type { SimClock } from '../clock.ts'
import { SECTOR_BYTES } from '../disk-image.ts'
import type { Random } from '../random.ts'
import type { Mark } from './atlas.ts'
import { blockPlace } from './block-place.ts'
import type { NodeDisk, StoreUser } from './node-disk.ts'
import { gatedClock, PartDisk } from './part-disk.ts'
import type { Swarm } from './swarm.ts'
import { emptyVersionMap, insertVersion, type VersionMap } from './version-map.ts'

/** Of calls that the copy's machine does not make. */
const OWN_TOKENS = 2 ** 40
const SCRUBS_MAX = 200

export class LogDisk implements NodeDisk {
  readonly copyId: string
  hasFailed = false
  isLost = false
  wantsRestart = false
  private wasOpened = false
  private readonly clock: SimClock
  private readonly random: Random
  private readonly swarm: Swarm
  private parts: PartDisk[]
  private user: StoreUser | undefined
  private copy: LocalCopyStore | undefined
  private asked: ((event: StoreEvent) => void) | undefined
  private factor = 1
  private readErrorChance = 0
  /** Since it was opened. */
  private readsFailed = false
  private isFull = false
  /** Something of it was damaged, or reads fail: it need not open. */
  private mayRefuse = false

  constructor(copyId: string, clock: SimClock, random: Random, swarm: Swarm) {
    this.copyId = copyId
    this.clock = clock
    this.random = random
    this.swarm = swarm
    this.parts = Array.from({ length: swarm.disks }, (_, i) => new PartDisk(i + 1, clock, random.fork('part'), swarm))
  }

  open(user: StoreUser, boot: number): void {
    this.user = user
    this.wantsRestart = false
    this.readsFailed = this.readErrorChance > 0
    const { slices, mode } = this.swarm
    const event = () => {}
    openCopy(
      {
        clock: gatedClock(this.clock, user),
        crc32c,
        log: { event },
        disks: this.parts.map((part) => part.context(user, boot)),
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
        // Once it was there it is not made again: another one would have forgotten what it promised.
        copyId: this.wasOpened ? undefined : this.copyId,
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
        this.wasOpened = true
        if (this.isFull) this.fillUp(true)
        user.opened(outcome.copy, outcome.stored)
      },
    )
  }

  worked(): void {}

  kill(): void {
    this.end()
    for (const part of this.parts) part.kill()
  }

  losePower(lies: boolean): void {
    this.end()
    for (const part of this.parts) part.losePower(lies)
  }

  fail(): void {
    this.hasFailed = true
    const { disk } = this.random.pick(this.parts)
    disk.failAt('sync')
    disk.failAt('write')
  }

  failNext(what: 'write' | 'sync'): void {
    this.hasFailed = true
    this.random.pick(this.parts).disk.failAt(what)
  }

  failReads(chance: number): void {
    this.readErrorChance = chance
    for (const part of this.parts) part.failReads(chance)
    if (chance > 0) this.mayRefuse = this.readsFailed = true
  }

  rotBlock(random: Random, mayDamage: (lba: number, isSettled: boolean) => boolean): Mark | undefined {
    const place = this.copy === undefined ? undefined : blockPlace(this.copy, random, mayDamage)
    if (place === undefined) return undefined
    const { lba, diskUuid, offsetBytes } = place
    const part = this.parts.find(({ uuid }) => uuid === diskUuid)!
    return this.damaged(part.damage(lba, offsetBytes + random.int(BLOCK_BYTES / SECTOR_BYTES) * SECTOR_BYTES, random))
  }

  rotAnything(random: Random): Mark | undefined {
    const part = random.pick(this.parts)
    const sectors = part.disk.writtenSectors()
    return sectors.length === 0 ? undefined : this.damaged(part.damage('disk', random.pick(sectors), random))
  }

  misdirectNext(random: Random): Mark | undefined {
    return this.damaged(random.pick(this.parts).misdirectNext(random))
  }

  private damaged(mark: Mark | undefined): Mark | undefined {
    if (mark !== undefined) this.mayRefuse = true
    return mark
  }

  loseDisk(random: Random): Mark | undefined {
    // One that holds some of the copy, and not all.
    const of = (this.copy?.targets ?? []).map(({ stream }) => stream.context.diskUuid)
    if (of.length < 2) return undefined
    const gone = random.pick(this.parts.filter(({ uuid }) => of.includes(uuid)))
    this.parts = this.parts.filter((part) => part !== gone)
    gone.losePower(false)
    return {
      what: 'disk',
      // Filled again from the others: then it is missed no more.
      isGone: () => this.copy !== undefined && this.copy.isWhole,
      undo: () => {
        if (this.copy?.isWhole === true) return
        this.parts = [...this.parts, gone]
        this.wantsRestart = true
      },
    }
  }

  fillUp(isFull: boolean): void {
    this.isFull = isFull
    // One that is being opened gets its first segments before.
    if (this.copy === undefined) return
    if (isFull) for (const part of this.parts) part.fillUp()
    else {
      for (const part of this.parts) part.giveBack()
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
    for (const { disk } of this.parts) disk.latencyMs = [least * this.factor, most * this.factor]
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

  private end(): void {
    this.user = undefined
    this.copy = undefined
  }
}
