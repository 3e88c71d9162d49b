/**
 * A store over simulated disks, indexes and time, for model and crash tests: `StoreWorld.create` formats nothing but
 * gives contexts, `open` starts the engine's own code, `crash` cuts the power or the process and leaves a new world
 * behind.
 */
import { crc32c } from '@node-rs/crc32'
import type { LogPort } from '../../engine/ports.ts'
import { diskBytesFor } from '../../engine/log/geometry.ts'
import { SharedSegmentGrants } from '../../engine/log/segment-grants.ts'
import type { StreamContext } from '../../engine/log/store-stream.ts'
import { CheckedIndex } from '../../engine/log/checked-index.ts'
import { hexToUuid } from '../../engine/log/bytes.ts'
import { Store } from '../../engine/volume/store.ts'
import { LEAF_SNAPSHOTS_MAX } from '../../engine/volume/snapshot-leaves.ts'
import type { StoreDisk } from '../../engine/volume/store-disks.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { SimClock } from './clock.ts'
import { SimDisk, type CrashChoice } from './disk.ts'
import { SimIndex, type IndexCrashChoice } from './index.ts'
import { Random } from './random.ts'

export interface WorldOptions {
  seed: number
  disks?: number
  segments?: number
  segmentBytes?: number
  pagesMax?: number
  checkpointBytes?: number
  pendingMax?: number
  syncsMax?: number
  leafSnapshots?: number
}

export class StoreWorld {
  readonly options: Required<WorldOptions>
  readonly random: Random
  readonly clock: SimClock
  readonly disks: SimDisk[]
  readonly indexes: SimIndex[]
  readonly events: Array<{ level: string; message: string; fields: Record<string, string | number | boolean> }> = []
  store: Store | undefined
  private generation = 0

  constructor(
    options: WorldOptions,
    from?: { disks: SimDisk[]; indexes: SimIndex[]; clock: SimClock; random: Random },
  ) {
    this.options = {
      disks: 1,
      segments: 16,
      segmentBytes: 128 * 1024,
      pagesMax: 64,
      checkpointBytes: 256 * 1024,
      pendingMax: 200,
      syncsMax: 2,
      leafSnapshots: LEAF_SNAPSHOTS_MAX,
      ...options,
    }
    this.random = from?.random ?? new Random(options.seed)
    this.clock = from?.clock ?? new SimClock(this.random.fork('clock'))
    const sizeBytes = diskBytesFor(this.options.segments, this.options.segmentBytes)
    this.disks =
      from?.disks ??
      Array.from(
        { length: this.options.disks },
        (_, i) =>
          new SimDisk({ sizeBytes, clock: this.clock, random: this.random.fork(`disk${i}`), writeNowChance: 0.7 }),
      )
    this.indexes =
      from?.indexes ??
      Array.from(
        { length: this.options.disks },
        (_, i) => new SimIndex({ clock: this.clock, random: this.random.fork(`index${i}`) }),
      )
  }

  contexts(): StoreDisk[] {
    const { segmentBytes, segments, pagesMax, checkpointBytes, pendingMax, syncsMax, leafSnapshots } = this.options
    const log: LogPort = { event: (level, message, fields) => void this.events.push({ level, message, fields }) }
    const random = this.random.fork(`ids${this.generation++}`)
    return this.disks.map((disk, i): StoreDisk => {
      const diskUuid = (i + 1).toString(16).padStart(32, '0')
      const context: StreamContext = {
        disk,
        index: new CheckedIndex(this.indexes[i]!, crc32c, () => {}),
        crc32c,
        clock: this.clock,
        grants: new SharedSegmentGrants(segments),
        log,
        diskUuid,
        diskTag: hexToUuid(diskUuid).subarray(0, 8),
        streamId: 0,
        segmentBytes,
        segmentCount: segments,
        random: (bytes) => Uint8Array.from({ length: bytes }, () => random.int(256)),
        bootId: '0'.repeat(32),
        pagesMax,
        checkpointBytes,
        pendingMax,
        syncsMax,
        leafSnapshots,
        segmentsAhead: 2,
        holdSegments: 3,
      }
      return { context, path: `disk${i}`, pool: 'default', tags: [] }
    })
  }

  /** Start the store and run until it is open. */
  open(): Store {
    this.start()
    this.clock.runUntil(() => this.store !== undefined)
    return this.store!
  }

  /** Start the store; `store` is set when it is open. */
  start(): void {
    Store.open(
      {
        clock: this.clock,
        crc32c,
        log: { event: (level, message, fields) => void this.events.push({ level, message, fields }) },
        newVolumeStream: 0,
        recovered: (go) => go(),
      },
      this.contexts(),
      (store) => {
        this.store = store
      },
    )
  }

  /** Power cut (or process death): the world after it, with a store that is not open yet. */
  crash(disk: CrashChoice | 'kill', index: IndexCrashChoice | 'lost'): StoreWorld {
    const disks = this.disks.map((one) => (disk === 'kill' ? one.kill() : one.crash(disk)))
    const indexes = this.indexes.map((one, i) =>
      index === 'lost'
        ? new SimIndex({ clock: this.clock, random: this.random.fork(`newindex${i}`) })
        : one.crash(index),
    )
    this.clock.dropAll()
    const next = new StoreWorld(this.options, { disks, indexes, clock: this.clock, random: this.random })
    next.generation = this.generation
    return next
  }

  spec(name: string, sizeBytes: number, change: Partial<VolumeSpec> = {}): VolumeSpec {
    return {
      id: [...name]
        .map((c) => c.charCodeAt(0).toString(16).padStart(2, '0'))
        .join('')
        .padStart(32, '0')
        .slice(-32),
      name,
      sizeBytes,
      blockSizeBytes: 4096,
      replicas: 0,
      durability: 'durable',
      onFull: 'hold',
      ioTimeoutMs: 600_000,
      pool: 'default',
      diskTags: [],
      ...change,
    }
  }

  /** Wait for one answer. */
  await<T>(start: (done: (value: T) => void) => void): T {
    let answer: { value: T } | undefined
    start((value) => {
      answer = { value }
    })
    this.clock.runUntil(() => answer !== undefined)
    return answer!.value
  }
}

/** A block whose every word says which write it was; 0 = zeroes. */
export function stamped(stamp: number): Uint8Array {
  return new Uint8Array(new Uint32Array(1024).fill(stamp).buffer)
}

/** The stamp of a block, -1 when its words differ. */
export function stampOf(block: Uint8Array): number {
  const words = new Uint32Array(block.buffer, block.byteOffset, 1024)
  const stamp = words[0]!
  for (let i = 1; i < 1024; i++) if (words[i] !== stamp) return -1
  return stamp
}
