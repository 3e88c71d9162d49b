/**
 * What the extent map costs per block: a write whose page is in memory, one whose page is not (a pending entry), a page
 * loaded, and a checkpoint's collection. The index is a plain map in memory, so that `level` is no part of it.
 * Run alone, on an otherwise idle machine: `node bench/micro/extent-map.ts`.
 */
import { crc32c } from '../../dataplane/checksum.ts'
import { collectCheckpoint } from '../../engine/log/checkpoint.ts'
import { ExtentMap } from '../../engine/log/extent-map.ts'
import { SharedSegmentGrants } from '../../engine/log/segment-grants.ts'
import { SEGMENT_STATE, SegmentTable } from '../../engine/log/segment-table.ts'
import type { VolumeMap } from '../../engine/log/volume-map.ts'
import type { IndexOperation, IndexPort } from '../../engine/ports.ts'
import { PAGE_BLOCKS, UNITS_PER_BLOCK } from '../../engine/units.ts'
import type { VolumeDescriptor } from '../../engine/volume/descriptor.ts'

const PAGES = 4096
const BLOCKS = PAGES * PAGE_BLOCKS
const SEGMENTS = 1024
const ROUNDS = 5

/** Keys in order, answered in the same turn: enough for a map that only asks for whole pages. */
class MemoryIndex implements IndexPort {
  readonly pages = new Map<string, Array<[Uint8Array, Uint8Array]>>()

  apply(operations: Iterable<IndexOperation>): void {
    for (const operation of operations) {
      if (operation.key[0] !== 0x70) continue
      const page = pageOf(operation.key)
      const others = (this.pages.get(page) ?? []).filter(([key]) => Buffer.compare(key, operation.key) !== 0)
      if (operation.type === 'put') others.push([operation.key, operation.value])
      this.pages.set(page, others)
    }
  }

  range({ from }: { from: Uint8Array }, done: Parameters<IndexPort['range']>[1]): void {
    done(true, this.pages.get(pageOf(from)) ?? [])
  }

  batch(): void {
    throw new Error('the benchmark applies batches itself')
  }

  getMany(keys: readonly Uint8Array[], done: Parameters<IndexPort['getMany']>[1]): void {
    done(true, keys.map(() => undefined))
  }

  clear(done: (ok: boolean) => void): void {
    done(true)
  }
}

/** Kind, volume and page of a key; the checkpoint behind them is left off. */
const pageOf = (key: Uint8Array): string => Buffer.from(key.subarray(0, 9)).toString('latin1')

const descriptor: VolumeDescriptor = {
  format: 1, revision: 0, epoch: 1, epochs: [[1, 1]], slices: [], snapshots: [], rollbacks: [], origin: null,
  deleted: false, seq: 0,
  spec: {
    id: '00'.repeat(16), name: 'bench', sizeBytes: BLOCKS * 4096, blockSizeBytes: 4096, replicas: 0,
    durability: 'durable', onFull: 'hold', ioTimeoutMs: 0, pool: 'default', diskTags: [],
  },
}

function emptyMap(pagesMax: number): { map: ExtentMap; volume: VolumeMap; index: MemoryIndex } {
  const grants = new SharedSegmentGrants(SEGMENTS)
  const segments = new SegmentTable({ count: SEGMENTS, streamId: 0, grants })
  for (let segment = 0; segment < SEGMENTS; segment++)
    segments.adopt(segment, {
      state: SEGMENT_STATE.sealed, generation: 1, firstBatch: 1, lastBatch: 1, live: 0, oldestBorn: 1,
    })
  const index = new MemoryIndex()
  const map = new ExtentMap({ index, segments, pagesMax })
  return { map, volume: map.addVolume(1, descriptor), index }
}

let seq = 0
let place = 0
const crcs = [crc32c(new Uint8Array(4096))]
const storedUnits = [UNITS_PER_BLOCK]

function write(map: ExtentMap, volume: VolumeMap, lba: number): void {
  place = (place + 1) % (SEGMENTS * 8000)
  const segment = Math.floor(place / 8000)
  const units = (place - segment * 8000 + 1) * UNITS_PER_BLOCK
  map.applyRun(volume, { lba, count: 1, epoch: 1, seq: ++seq, transform: 0, segment, units, crcs, storedUnits })
}

/** A fixed walk over all blocks without a pattern the processor could learn. */
let state = 1
function randomLba(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state % BLOCKS
}

function report(name: string, runs: Array<{ us: number; count: number }>): void {
  const each = runs.map(({ us, count }) => us / count).sort((a, b) => a - b)
  console.log(`${name.padEnd(52)} ${each[each.length >> 1]!.toFixed(3)} us (best ${each[0]!.toFixed(3)})`)
}

function timed(count: number, run: () => void): { us: number; count: number } {
  const start = process.hrtime.bigint()
  run()
  return { us: Number(process.hrtime.bigint() - start) / 1000, count }
}

function checkpoint(map: ExtentMap, number: number): { operations: IndexOperation[]; entries: number } {
  const collected = collectCheckpoint(map, {
    meta: undefined, checkpoint: number, onUnresolved() {}, onPile() {}, tombstonesGone: [], volumesGone: [],
  })
  const operations = [...collected.operations]
  collected.committed()
  return { operations, entries: collected.entries }
}

const cached = emptyMap(PAGES)
report(
  'load of an empty page',
  [timed(PAGES, () => {
    for (let page = 0; page < PAGES; page++) cached.map.load(cached.volume, page, () => {})
  })],
)
for (let lba = 0; lba < BLOCKS; lba++) write(cached.map, cached.volume, lba)
cached.index.apply(checkpoint(cached.map, 1).operations)

const writes: Array<{ us: number; count: number }> = []
const collections: Array<{ us: number; count: number }> = []
for (let round = 0; round < ROUNDS; round++) {
  writes.push(timed(100_000, () => {
    for (let i = 0; i < 100_000; i++) write(cached.map, cached.volume, randomLba())
  }))
  let entries = 0
  let operations: IndexOperation[] = []
  const { us } = timed(1, () => ({ entries, operations } = checkpoint(cached.map, round + 2)))
  collections.push({ us, count: entries })
  cached.index.apply(operations)
}
report('write of a block, page in memory, scattered', writes)
report('checkpoint, for each changed entry of such pages', collections)

const cold = emptyMap(256)
const pending: Array<{ us: number; count: number }> = []
const pendingCollections: Array<{ us: number; count: number }> = []
for (let round = 0; round < ROUNDS; round++) {
  pending.push(timed(32_768, () => {
    for (let i = 0; i < 32_768; i++) write(cold.map, cold.volume, randomLba())
  }))
  let entries = 0
  let operations: IndexOperation[] = []
  const { us } = timed(1, () => ({ entries, operations } = checkpoint(cold.map, round + 1)))
  pendingCollections.push({ us, count: entries })
  cold.index.apply(operations)
}
report('write of a block, page not in memory, scattered', pending)
report('checkpoint, for each pending entry', pendingCollections)

report(
  'load of a page with a few unresolved deltas',
  [timed(PAGES, () => {
    for (let page = 0; page < PAGES; page++) cold.map.load(cold.volume, page, () => {})
  })],
)

const full = emptyMap(256)
full.index.pages.clear()
for (const [page, entries] of cached.index.pages) full.index.pages.set(page, entries)
report(
  'load of a full page: base and deltas',
  [timed(PAGES, () => {
    for (let page = 0; page < PAGES; page++) full.map.load(full.volume, page, () => {})
  })],
)
