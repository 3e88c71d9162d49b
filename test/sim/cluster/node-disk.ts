/**
 * The disk of a node with one copy's store on it, as the node sees it: it outlives processes, and loses what a crash
 * may take. Here the one in memory; `log-disk.ts` has the store of the engine.
 */
import type { CopyStore, StoredCopy, StoreEvent } from '../../../engine/replication/copy-store.ts'
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'
import { MemoryStore, crashed, type MemoryStoreState } from './memory-store.ts'
import type { Mark } from './atlas.ts'
import type { Swarm } from './swarm.ts'
import type { VersionMap } from './version-map.ts'

/** A process that opens the store. */
export interface StoreUser {
  readonly isOver: boolean
  /** Run now, or when the process no longer stands still, or never when it is over. */
  gate(run: () => void): void
  opened(store: CopyStore, stored: StoredCopy): void
  heard(event: StoreEvent): void
}

export interface NodeDisk {
  readonly copyId: string
  readonly hasFailed: boolean
  open(user: StoreUser, boot: number): void
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
  /** Rot a block that the head shows; undefined: there is none that could. */
  rotBlock(random: Random, mayDamage: (lba: number, isSettled: boolean) => boolean): Mark | undefined
  /** Rot any sector of what was ever written. */
  rotAnything(random: Random): Mark | undefined
  /** The next write lands elsewhere, or nowhere. */
  misdirectNext(random: Random): Mark | undefined
  /** One of several disks is gone, with all it held; the process that runs is over. Undefined: there is only one. */
  loseDisk(random: Random): Mark | undefined
  /** A disk came back: the process has to open it. */
  readonly wantsRestart: boolean
  /** Somebody else takes what is free, or gives it back. */
  fillUp(isFull: boolean): void
  /** Like new, with what it held. */
  mend(): void
  setSpeed(factor: number): void
  /** Everything it holds, when the user is up and nothing is under way; undefined: some of it cannot be read. */
  content(done: (versions: VersionMap | undefined) => void): void
}

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

  misdirectNext(): Mark | undefined {
    return undefined
  }

  loseDisk(): Mark | undefined {
    return undefined
  }

  readonly wantsRestart = false

  fillUp(): void {}

  mend(): void {
    this.keep(this.state.durable)
  }

  setSpeed(factor: number): void {
    this.factor = factor
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
