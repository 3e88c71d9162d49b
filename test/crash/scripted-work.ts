/**
 * The same small work for every fault test: volumes that are written, overwritten, trimmed and zeroed in rounds, with
 * checkpoints and a deletion between, on a store so small that its cleaner has to work; and what each block may hold
 * afterwards. Every block of every write carries its own stamp, so an older version is told from the right one.
 *
 * A request that was answered leaves one possible stamp behind, one that failed leaves the old ones and the new one.
 * Requests of one round never overlap.
 */
import { crc32c } from '@node-rs/crc32'
import { Store } from '../../engine/volume/store.ts'
import type { StoreDisk } from '../../engine/volume/store-disks.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Crc32c } from '../../engine/ports.ts'
import { SimClock } from '../sim/clock.ts'
import { SimDisk } from '../sim/disk.ts'
import type { DiskImage } from '../sim/disk-image.ts'
import { SimIndex, type IndexImage } from '../sim/index.ts'
import { Random } from '../sim/random.ts'
import { stamped, stampOf, StoreWorld, type WorldOptions } from '../sim/store-world.ts'

/** A store that needs more turns than this for one answer is taken for endless. */
const TURNS_MAX = 200_000
const MIB = 1 << 20

export interface WorkVolume {
  name: string
  sizeBytes: number
  diskTags: string[]
  /** Where it is written, in blocks. */
  windows: ReadonlyArray<readonly [first: number, count: number]>
  /** What a block may hold; absent: zeroes. */
  possible: Map<number, number[]>
  state: 'absent' | 'asked' | 'there' | 'deleting' | 'deleted'
}

export const workVolume = (
  name: string,
  sizeMib: number,
  windows: WorkVolume['windows'],
  diskTags: string[] = [],
): WorkVolume => ({ name, sizeBytes: sizeMib * MIB, windows, diskTags, possible: new Map(), state: 'absent' })

export interface StartOptions {
  crc32c?: Crc32c
  tags?: ReadonlyArray<readonly string[]>
  change?(disk: StoreDisk, i: number): StoreDisk
}

/** Open the store of a world; throws when that never ends. */
export function openStore(world: StoreWorld, options: StartOptions = {}): Store {
  const crc = options.crc32c ?? crc32c
  const disks = world.contexts().map((disk, i) => {
    const tagged = { ...disk, tags: [...(options.tags?.[i] ?? [])], context: { ...disk.context, crc32c: crc } }
    return options.change?.(tagged, i) ?? tagged
  })
  const log = {
    event: (level: string, message: string, fields: Record<string, string | number | boolean>) =>
      void world.events.push({ level, message, fields }),
  }
  Store.open(
    { clock: world.clock, crc32c: crc, log, newVolumeStream: 0, recovered: (go) => go() },
    disks,
    (store) => void (world.store = store),
  )
  world.clock.runUntil(() => world.store !== undefined, TURNS_MAX)
  return world.store!
}

/** What lies on the media when nothing runs. */
export interface Frozen {
  options: Required<WorldOptions>
  disks: DiskImage[]
  indexes: IndexImage[]
}

/** The process is dead, the page cache is not; or the power is gone too and only what was synced is left. */
export function freeze(world: StoreWorld, how: 'kill' | 'power'): Frozen {
  const disks = world.disks.map((disk) =>
    how === 'kill' ? disk.kill().image({ kind: 'all' }) : disk.image({ kind: 'synced' }),
  )
  return { options: world.options, disks, indexes: world.indexes.map((index) => index.image({ kind: 'synced' })) }
}

/** A world over copies of frozen media. */
export function thaw(
  frozen: Frozen,
  how: { seed: number; lost?: boolean; tryReadMissChance?: number },
): StoreWorld {
  const random = new Random(how.seed)
  const clock = new SimClock(random.fork('clock'))
  const disks = frozen.disks.map((image, i) => {
    const { segments, segmentBytes } = frozen.options
    return new SimDisk({
      sizeBytes: 2 * MIB + segments * segmentBytes,
      clock,
      random: random.fork(`disk${i}`),
      image: image.clone(),
      writeNowChance: 0.7,
      tryReadMissChance: how.tryReadMissChance ?? 0.3,
    })
  })
  const indexes = frozen.indexes.map((image, i) => {
    const options = { clock, random: random.fork(`index${i}`) }
    return new SimIndex(how.lost === true ? options : { ...options, image: image.clone() })
  })
  return new StoreWorld(frozen.options, { disks, indexes, clock, random })
}

export interface ReadBack {
  right: number
  eio: number
  /** Sentences; empty when the store kept its promise. */
  wrong: string[]
}

export class ScriptedWork {
  readonly volumes: WorkVolume[]
  /** Called when a change of a volume is answered; `begunAt` is what `mark` said when it was asked for. */
  onAnswer: (volume: WorkVolume, errno: number, begunAt: unknown) => void = () => {}
  mark: () => unknown = () => undefined
  private readonly random: Random
  private nextStamp = 1
  private underWay = 0

  constructor(seed: number, volumes: WorkVolume[]) {
    this.random = new Random(`work ${seed}`)
    this.volumes = volumes
  }

  /** Create the volumes, then so many rounds; the volume `doomed` is deleted half-way. */
  run(world: StoreWorld, options: { rounds: number; doomed?: string; eachRound?: (round: number) => void }): void {
    for (const volume of this.volumes) this.create(world, volume)
    for (let round = 0; round < options.rounds; round++) {
      for (const volume of this.volumes) this.round(world, volume)
      this.settle(world)
      options.eachRound?.(round)
      if (round % 8 === 7) for (const stream of world.store!.streams()) stream.makeCheckpoint(() => {})
      if (round % 5 === 4) world.clock.advance(40)
      const doomed = this.volumes.find(({ name }) => name === options.doomed)
      if (round === options.rounds >> 1 && doomed !== undefined) this.delete(world, doomed)
    }
    this.settle(world)
  }

  /** Wait until everything is answered. */
  settle(world: StoreWorld): void {
    for (let pauses = 0; ; pauses++) {
      world.clock.runUntilIdle(TURNS_MAX)
      if (this.underWay === 0) return
      if (pauses === 100) throw new Error(`${this.underWay} requests are never answered`)
      world.clock.advance(100)
    }
  }

  private create(world: StoreWorld, volume: WorkVolume): void {
    const spec = world.spec(volume.name, volume.sizeBytes, { diskTags: volume.diskTags })
    volume.state = 'asked'
    this.underWay++
    world.store!.createVolume(spec, ({ ok }) => {
      this.underWay--
      if (ok) volume.state = 'there'
    })
    this.settle(world)
  }

  private delete(world: StoreWorld, volume: WorkVolume): void {
    if (volume.state !== 'there') return
    volume.state = 'deleting'
    this.underWay++
    world.store!.deleteVolume(volume.name, ({ ok }) => {
      this.underWay--
      if (ok) volume.state = 'deleted'
    })
    this.settle(world)
  }

  private round(world: StoreWorld, volume: WorkVolume): void {
    const device = world.store!.device(volume.name)
    if (volume.state !== 'there' || device === undefined) return
    const { random } = this
    for (const [first, count] of volume.windows) {
      for (let at = first + random.int(4); at < first + count; at += 1 + random.int(12)) {
        const blocks = Math.min(random.between(1, 4), first + count - at)
        const kind = random.pick(['write', 'write', 'write', 'write', 'write', 'trim', 'zero'] as const)
        const stamps = Array.from({ length: blocks }, () => (kind === 'write' ? this.nextStamp++ : 0))
        const done = this.began(volume, at, stamps)
        const [offset, length] = [at * BLOCK_BYTES, blocks * BLOCK_BYTES]
        if (kind === 'trim') device.trim(offset, length, false, done)
        else if (kind === 'zero') device.writeZeroes(offset, length, { noHole: true, fua: false }, done)
        else device.write(offset, stampedBlocks(stamps), false, done)
        at += blocks
      }
    }
  }

  private began(volume: WorkVolume, first: number, stamps: number[]): (errno: number) => void {
    const begunAt = this.mark()
    this.underWay++
    stamps.forEach((stamp, i) => {
      volume.possible.set(first + i, [...(volume.possible.get(first + i) ?? [0]), stamp])
    })
    return (errno) => {
      this.underWay--
      if (errno === 0) stamps.forEach((stamp, i) => volume.possible.set(first + i, [stamp]))
      this.onAnswer(volume, errno, begunAt)
    }
  }

  /** Read every block of every window, all at once when that goes, else one by one. */
  readBack(world: StoreWorld, volumes: readonly WorkVolume[] = this.volumes): ReadBack {
    const back: ReadBack = { right: 0, eio: 0, wrong: [] }
    for (const volume of volumes)
      if (volume.state !== 'absent') for (const window of volume.windows) this.readWindow(world, volume, window, back)
    return back
  }

  private readWindow(
    world: StoreWorld,
    volume: WorkVolume,
    [first, count]: readonly [number, number],
    back: ReadBack,
  ): void {
    const wrong = (what: string): void => void back.wrong.push(`volume ${volume.name} ${what}`)
    const device = world.store!.device(volume.name)
    if (volume.state === 'deleted' || device === undefined) {
      if (device !== undefined) wrong('was deleted and is back')
      else if (volume.state === 'there' && !hasRefused(world)) wrong('is gone without a word')
      return
    }
    const all = new Uint8Array(count * BLOCK_BYTES).fill(0xa5)
    const read = (offset: number, into: Uint8Array): number => {
      let answer: number | undefined
      device.read(offset, into, (errno) => void (answer = errno))
      world.clock.runUntil(() => answer !== undefined, TURNS_MAX)
      return answer!
    }
    const whole = read(first * BLOCK_BYTES, all) === 0
    for (let i = 0; i < count; i++) {
      const block = all.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
      const errno = whole ? 0 : read((first + i) * BLOCK_BYTES, block)
      if (errno !== 0) {
        back.eio++
        if (errno !== 5) wrong(`block ${first + i}: errno ${errno}`)
        continue
      }
      const stamp = stampOf(block)
      const possible = volume.possible.get(first + i) ?? [0]
      if (possible.includes(stamp)) back.right++
      else wrong(`block ${first + i} reads as ${stamp}, it holds ${possible.join(' or ')}`)
    }
  }
}

/** A plain array: the `slice` of a Buffer, which simulated disks rely on, copies nothing. */
function stampedBlocks(stamps: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(stamps.length * BLOCK_BYTES)
  stamps.forEach((stamp, i) => bytes.set(stamped(stamp), i * BLOCK_BYTES))
  return bytes
}

/** Whether some disk is not served, with a reason. */
export function hasRefused(world: StoreWorld): boolean {
  return world.store!.disks().some(({ state, reason }) => state === 'failed' && reason !== '')
}
