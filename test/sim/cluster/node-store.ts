/**
 * The disks of a node with the engine's store over them, and the copies of one or several volumes on it: one log, one
 * supply of segments and one cleaner for all of them. It is opened once in the life of a process, for all its copies.
 */
import { crc32c } from '@node-rs/crc32'
import { Store } from '../../../engine/volume/store.ts'
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'
import type { StoreUser } from './node-disk.ts'
import { gatedClock, PartDisk } from './part-disk.ts'
import type { Swarm } from './swarm.ts'

export class NodeStore {
  hasFailed = false
  isFull = false
  parts: PartDisk[]
  readonly random: Random
  private readonly clock: SimClock
  /** Of the process that runs. */
  private life: { store: Store | undefined; waiting: Array<(store: Store) => void> } | undefined

  constructor(clock: SimClock, random: Random, swarm: Swarm) {
    this.clock = clock
    this.random = random
    this.parts = Array.from({ length: swarm.disks }, (_, i) => new PartDisk(i + 1, clock, random.fork('part'), swarm))
  }

  get store(): Store | undefined {
    return this.life?.store
  }

  /** The first one who asks in a life opens it; all share its gate, for they stand still and end together. */
  open(user: StoreUser, boot: number, done: (store: Store) => void): void {
    if (this.life !== undefined) {
      if (this.life.store === undefined) this.life.waiting.push(done)
      else done(this.life.store)
      return
    }
    const life: NonNullable<NodeStore['life']> = { store: undefined, waiting: [done] }
    this.life = life
    const options = {
      clock: gatedClock(this.clock, user),
      crc32c,
      log: { event: () => {} },
      newVolumeStream: 0,
      recovered: (go: () => void) => go(),
    }
    const disks = this.parts.map((part) => part.context(user, boot))
    Store.open(options, disks, (store) => {
      life.store = store
      for (const one of life.waiting.splice(0)) one(store)
    })
  }

  end(): void {
    this.life = undefined
  }

  kill(): void {
    this.end()
    for (const part of this.parts) part.kill()
  }

  losePower(lies: boolean): void {
    this.end()
    for (const part of this.parts) part.losePower(lies)
  }
}
