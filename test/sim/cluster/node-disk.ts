/**
 * The disk of a node with one copy's store on it, as the node sees it: it outlives processes, and loses what a crash
 * may take. Here the one in memory; `log-disk.ts` has the store of the engine.
 */
import type { CopyStore, StoredCopy, StoreEvent } from '../../../engine/replication/copy-store.ts'
import type { OpenedSnapshot } from '../../../engine/replication/messages.ts'
import type { SliceDigest } from '../../../engine/volume/digest-comparison.ts'
import type { VersionId } from '../../../engine/replication/record.ts'
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'
import { MemoryStore, crashed, type MemoryStoreState } from './memory-store.ts'
import type { Damaged, Mark } from './atlas.ts'
import type { StoredVersion } from './stored-versions.ts'
import type { Swarm } from './swarm.ts'
import { visibleAt, type VersionMap } from './version-map.ts'

/** A process that opens the store. */
export interface StoreUser {
  readonly isOver: boolean
  /** Run now, or when the process no longer stands still, or never when it is over. */
  gate(run: () => void): void
  opened(store: CopyStore, stored: StoredCopy): void
  /** The store is open and has no copy of the volume, or has erased it. */
  hasNone(): void
  heard(event: StoreEvent): void
}

export interface ScrubFound {
  damaged: number
  unrepaired: number
  problems: number
}

/** A version that the medium has not any more. */
export interface Rotten extends VersionId {
  mark: Mark
}

export interface NodeDisk {
  readonly copyId: string
  readonly hasFailed: boolean
  open(user: StoreUser, boot: number): void
  /** An empty copy, where there is none; the user hears of it as of one that was opened. */
  make(copyId: string): void
  /** A snapshot that the copy has; undefined: there is none of that id, or no copy. */
  snapshot(id: string): OpenedSnapshot | undefined
  /** Of a clone's copy that shares blocks with its origin's: get blocks of its own. */
  hydrate(): void
  /** It does. */
  readonly isSharing: boolean
  /** It keeps what clones beside it show. */
  readonly isPinned: boolean
  /** Of the volume, as the store knows it. */
  readonly volumeId: string
  /** The copy goes with all it holds, from a store that stays; then the user has none. */
  erase(): void
  /** What an opening would find, when all that was written is synced; never when that fails. Nothing is unapplied. */
  settled(done: (stored: StoredCopy) => void): void
  /** What is still there of a volume whose copy was erased; undefined: nothing, or it is not known. */
  remains(): string | undefined
  /** The user has called the store. */
  worked(): void
  /** The user is over; the page cache survives. */
  kill(): void
  /** Only what was synced is certain; `lies`: not even that. */
  losePower(lies: boolean): void
  /** From now on it gives errors; the user hears of it. */
  fail(): void
  /** The store could not be opened: what it held is given up, and the copy replaced. */
  readonly isLost: boolean
  /** The next write, or the next sync, ends in an error; with it the disk has failed. */
  failNext(what: 'write' | 'sync'): void
  /** One of so many reads ends in an error; 0: none any more. */
  failReads(chance: number): void
  /** Rot a block that the head shows, in the tail of a log: the log; undefined: there is none that could. */
  rotBlock(random: Random, mayDamage: (what: Damaged, isSettled: boolean) => boolean): Mark | undefined
  /** Rot any sector of what was ever written. */
  rotAnything(random: Random): Mark | undefined
  /** Rot one of its last writes. */
  rotTail(random: Random): Mark | undefined
  /** The next write lands elsewhere, or nowhere. */
  misdirectNext(random: Random): Mark | undefined
  /** One of several disks is gone, with all it held; the process that runs is over. Undefined: there is only one. */
  loseDisk(random: Random): Mark | undefined
  /** It is opened, or was, while its reads failed: a disk that could not be read counts as gone until the next time. */
  readonly mayLackSlices: boolean
  /** The process opens all of it anew, if something may be lacking. */
  reopen(): void
  /** A disk came back: the process has to open it. */
  readonly wantsRestart: boolean
  /** Somebody else takes what is free, or gives it back. */
  fillUp(isFull: boolean): void
  /** Like new, with what it held. */
  mend(): void
  setSpeed(factor: number): void
  /** Every write lands where it should from now on, also one that was to go elsewhere. */
  landWrites(): void
  /** What some view shows of the copy and where it lies, when the user is up; undefined: that cannot be read. */
  stored(done: (versions: StoredVersion[] | undefined) => void): void
  /** Rot a sector of such a version, or all of them. Undefined: that changes nothing. */
  rotVersion(random: Random, version: StoredVersion, sectors: 'one' | 'all'): Mark | undefined
  /** Rot what the head shows of a block. Undefined: nothing is there, or it changes nothing. */
  rotHead(random: Random, lba: number, done: (rotten: Rotten | undefined) => void): void
  /**
   * A deep scrub of the copy that is open, from where the last one was left or anew, and a light one; what both found.
   * Undefined: they could not come to their end, or one is under way.
   */
  scrub(from: 'resume' | 'anew', done: (found: ScrubFound | undefined) => void): void
  /** Of each slice what the copy shows, in digests; undefined: of some it cannot say. */
  digests(done: (digests: SliceDigest[] | undefined) => void): void
  /** Everything it holds, when the user is up and nothing is under way; undefined: some of it cannot be read. */
  content(done: (versions: VersionMap | undefined) => void): void
}

/** Of marks that others bring back. */
const SCRUB_LOOK_MS = 500
const SCRUB_LOOKS = 40

export class MemoryDisk implements NodeDisk {
  private state: MemoryStoreState
  private user: StoreUser | undefined
  private store: MemoryStore | undefined
  private tasksSeen = 0
  private factor = 1
  private readonly clock: SimClock
  private readonly random: Random
  private readonly speed: Swarm['disk']

  constructor(state: MemoryStoreState, clock: SimClock, random: Random, speed: Swarm['disk']) {
    this.state = state
    this.clock = clock
    this.random = random
    this.speed = speed
  }

  get copyId(): string {
    return this.state.copyId
  }

  get hasFailed(): boolean {
    return this.state.failed
  }

  open(user: StoreUser, boot: number): void {
    if (boot !== this.state.boot) this.state = crashed(this.state, this.state.entries.length, boot)
    const store = new MemoryStore(this.state)
    this.user = user
    this.store = store
    this.tasksSeen = 0
    this.clock.after(0.5 + this.random.float() * 5, () => {
      if (user.isOver) return
      user.gate(() => {
        if (!store.state.failed) user.opened(store, store.recovered())
      })
    })
  }

  worked(): void {
    const { user, store } = this
    if (user === undefined || store === undefined) return
    for (const task of store.state.tasks) {
      if (task.id <= this.tasksSeen) continue
      this.tasksSeen = task.id
      const { writeMs, syncMs, readMs, readFailRate } = this.speed
      const [least, most] = task.type === 'write' ? writeMs : task.type === 'sync' ? syncMs : readMs
      const delayMs = (least + this.random.float() * (most - least)) * this.factor
      const isRead = task.type !== 'write' && task.type !== 'sync'
      const ok = !(isRead && this.random.chance(readFailRate))
      this.clock.after(delayMs, () => {
        if (user.isOver || store.state.failed) return
        for (const event of store.finish(task.id, ok)) user.heard(event)
        this.worked()
      })
    }
  }

  kill(): void {
    const { written } = this.state
    this.keep(written)
  }

  losePower(lies: boolean): void {
    const { durable } = this.state
    this.keep(lies ? Math.floor(durable / 2) : durable)
  }

  fail(): void {
    if (this.store === undefined || this.state.failed) return
    for (const event of this.store.fail('the disk gave an error')) this.user?.heard(event)
  }

  /** It has no bytes that could rot, and no segments. */
  readonly isLost = false

  failNext(): void {
    this.fail()
  }

  failReads(): void {}

  rotBlock(): Mark | undefined {
    return undefined
  }

  rotAnything(): Mark | undefined {
    return undefined
  }

  rotTail(): Mark | undefined {
    return undefined
  }

  misdirectNext(): Mark | undefined {
    return undefined
  }

  loseDisk(): Mark | undefined {
    return undefined
  }

  readonly wantsRestart = false
  readonly mayLackSlices = false

  /** Copies are ordered where the engine's store has them. */
  make(): void {}

  snapshot(): undefined {
    return undefined
  }

  hydrate(): void {}

  readonly isSharing = false
  readonly isPinned = false
  readonly volumeId = ''

  erase(): void {}

  settled(): void {}

  remains(): string | undefined {
    return undefined
  }

  reopen(): void {}

  fillUp(): void {}

  mend(): void {
    this.keep(this.state.durable)
  }

  setSpeed(factor: number): void {
    this.factor = factor
  }

  landWrites(): void {}

  stored(done: (versions: StoredVersion[]) => void): void {
    done([])
  }

  rotVersion(): Mark | undefined {
    return undefined
  }

  rotHead(_random: Random, lba: number, done: (rotten: Rotten | undefined) => void): void {
    const shown = visibleAt(this.state.view, lba, Infinity)
    if (shown?.kind !== 'write') return done(undefined)
    const { epoch, seq } = shown
    const isIt = (id: VersionId): boolean => id.lba === lba && id.seq === seq && id.epoch === epoch
    const others = (): VersionId[] => (this.state.damaged ?? []).filter((id) => !isIt(id))
    const undo = (): void => void (this.state.damaged = others())
    this.state.damaged = [...others(), { lba, epoch, seq }]
    const isGone = (): boolean => this.state.damaged?.some(isIt) !== true
    done({ lba, epoch, seq, mark: { what: lba, isGone, undo } })
  }

  /** Of what rots here only marks are looked for (memory-store.ts): whoever reads meets the rest. */
  scrub(_from: 'resume' | 'anew', done: (found: ScrubFound) => void): void {
    const damaged = this.store?.marks() ?? []
    let looks = 0
    const look = (): void => {
      const unrepaired = this.store?.marks().length ?? 0
      if (unrepaired === 0 || looks++ === SCRUB_LOOKS) {
        return done({ damaged: damaged.length, unrepaired, problems: 0 })
      }
      if (this.user?.isOver === false) this.user.heard({ type: 'damaged', versions: this.store!.marks() })
      this.clock.after(SCRUB_LOOK_MS, look)
    }
    look()
  }

  digests(done: (digests: SliceDigest[]) => void): void {
    done([])
  }

  content(done: (versions: VersionMap) => void): void {
    done(this.state.view)
  }

  private keep(least: number): void {
    this.user = undefined
    this.store = undefined
    const { entries, boot } = this.state
    this.state = crashed(this.state, least + this.random.int(entries.length - least + 1), boot)
  }
}
