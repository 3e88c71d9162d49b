/**
 * An extent map alone, over a simulated index, for unit tests: runs and zeroes are applied by hand, pages loaded, and
 * checkpoints written without a log.
 */
import { collectCheckpoint, type CheckpointMeta } from '../../../engine/log/checkpoint.ts'
import { ENTRY_KIND, ENTRY_WORDS, kindOf, segmentOf, seqOf } from '../../../engine/log/entry.ts'
import { ExtentMap } from '../../../engine/log/extent-map.ts'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import { SegmentTable } from '../../../engine/log/segment-table.ts'
import { readHistory } from '../../../engine/log/version-history.ts'
import type { MapPage, VolumeMap } from '../../../engine/log/volume-map.ts'
import type { IndexOperation } from '../../../engine/ports.ts'
import type { VolumeDescriptor } from '../../../engine/volume/descriptor.ts'
import { SimClock } from '../../sim/clock.ts'
import { SimIndex } from '../../sim/index.ts'
import { Random } from '../../sim/random.ts'

export class MapStage {
  readonly clock = new SimClock()
  readonly index = new SimIndex({ clock: this.clock, random: new Random(1) })
  readonly segments: SegmentTable
  readonly map: ExtentMap
  readonly volume: VolumeMap
  seq = 0
  checkpoints = 0
  private units = 64
  private revision = 1

  /** Segments 0 to 3 are in use. */
  constructor(options: { pagesMax?: number } = {}) {
    this.segments = new SegmentTable({ count: 8, streamId: 0, grants: new SharedSegmentGrants(8) })
    for (let segment = 0; segment < 4; segment++) this.segments.open(segment, segment * 100 + 1)
    this.map = new ExtentMap({ index: this.index, segments: this.segments, pagesMax: options.pagesMax ?? 8 })
    this.volume = this.map.addVolume(1, descriptor())
  }

  /** One block, alone in its record, at the next place of a segment. */
  write(lba: number, segment = 0): { seq: number; units: number } {
    const units = this.units
    this.units += 64
    const run = { lba, count: 1, epoch: 1, seq: ++this.seq, transform: 0, segment, units }
    this.map.applyRun(this.volume, { ...run, crcs: [lba], storedUnits: [64] })
    return { seq: this.seq, units }
  }

  zero(lba: number, count: number, segment = 0): number {
    const zero = { lba, count, kind: ENTRY_KIND.zero, epoch: 1, seq: ++this.seq, segment, bornBatch: 1 }
    this.map.applyZero(this.volume, zero)
    return this.seq
  }

  /** What the descriptor says from now on. */
  change(change: Partial<VolumeDescriptor>): void {
    this.volume.setDescriptor({ ...this.volume.descriptor, ...change, revision: ++this.revision })
  }

  snapshot(): number {
    const seq = ++this.seq
    const { snapshots } = this.volume.descriptor
    this.change({ snapshots: [...snapshots, { id: `s${seq}`, seq, pinnedBy: null }] })
    return seq
  }

  load(page = 0): MapPage {
    const present = this.map.page(this.volume, page)
    if (present !== undefined) return present
    let found: MapPage | undefined
    let ended = false
    this.map.load(this.volume, page, (loaded) => {
      found = loaded
      ended = true
    })
    this.clock.runUntilIdle()
    if (!ended || found === undefined) throw new Error(`page ${page} is not loaded`)
    return found
  }

  history(lba: number): number[] {
    let seqs: number[] | undefined
    readHistory(this.map, this.volume, lba, lba + 1, (found) => {
      seqs = (found?.get(lba) ?? []).map((words) => seqOf(words, 0))
    })
    this.clock.runUntilIdle()
    return seqs!
  }

  /** Take the changes out of memory; `end` makes them durable. */
  begin(): { operations: IndexOperation[]; freed: number[]; end(): void } {
    const checkpoint = ++this.checkpoints
    const meta: CheckpointMeta = {
      format: 1,
      diskUuid: '',
      streamId: 0,
      checkpoint,
      incarnation: 1,
      indexUuid: '',
      salt: '',
      nextVolume: 2,
      segment: 3,
      generation: 1,
      block: 1,
      batch: 1000,
    }
    const gone = { tombstonesGone: [], volumesGone: [], onUnresolved: () => {}, onPile: () => {} }
    const collected = collectCheckpoint(this.map, { meta, checkpoint, ...gone })
    const { freed, committed } = collected
    const operations = Array.from(collected.operations, copyOf)
    const end = (): void => {
      this.index.batch(operations, () => committed())
      this.clock.runUntilIdle()
    }
    return { operations, freed, end }
  }

  checkpoint(): IndexOperation[] {
    const { operations, end } = this.begin()
    end()
    return operations
  }
}

function copyOf(operation: IndexOperation): IndexOperation {
  const key = operation.key.slice()
  return operation.type === 'del' ? { type: 'del', key } : { type: 'put', key, value: operation.value.slice() }
}

/** What a page shows at a block: `-` for a hole. */
export function shown(page: MapPage, index: number): string {
  const at = index * ENTRY_WORDS
  const kind = kindOf(page.words, at)
  if (kind === ENTRY_KIND.none) return '-'
  return `${kind === ENTRY_KIND.data ? 'data' : 'zero'} ${seqOf(page.words, at)} in ${segmentOf(page.words, at)}`
}

function descriptor(): VolumeDescriptor {
  const id = '1'.padStart(32, '0')
  return {
    format: 1,
    revision: 1,
    spec: {
      id,
      name: 'v',
      sizeBytes: 1 << 30,
      blockSizeBytes: 4096,
      replicas: 0,
      durability: 'durable',
      onFull: 'hold',
      ioTimeoutMs: 0,
      pool: 'default',
      diskTags: [],
    },
    epoch: 1,
    epochs: [[1, 1]],
    slices: [['1'.padStart(32, '0'), 0, [[0, 1, 1]]]],
    snapshots: [],
    rollbacks: [],
    origin: null,
    deleted: false,
    seq: 0,
  }
}
