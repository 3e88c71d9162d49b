/**
 * The map of a snapshot, and the difference of two, of a volume of 64 GiB of which 1 % was written at random between
 * both: over a real index, by what the rest of the volume holds. Elapsed and processor time; no data is read.
 *
 *   changed     from the log of changes, which the checkpoints between both wrote
 *   by the map  the same without a log of changes, as with an index of before
 *   allocated   what the later snapshot holds
 *
 *   node bench/micro/snapshot-map.ts [DIR]
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { discardIndex, openLevelIndex } from '../../dataplane/disk/level-index.ts'
import type { LevelIndex } from '../../dataplane/disk/level-index.ts'
import { collectCheckpoint } from '../../engine/log/checkpoint.ts'
import { ENTRY_KIND, ENTRY_WORDS, putEntry } from '../../engine/log/entry.ts'
import { ExtentMap } from '../../engine/log/extent-map.ts'
import { encodePageValue, pageKey } from '../../engine/log/index-keys.ts'
import { SharedSegmentGrants } from '../../engine/log/segment-grants.ts'
import { SegmentTable } from '../../engine/log/segment-table.ts'
import type { VolumeMap } from '../../engine/log/volume-map.ts'
import type { IndexOperation } from '../../engine/ports.ts'
import { runTask } from '../../engine/task.ts'
import { GIB, PAGE_BLOCKS } from '../../engine/units.ts'
import type { Target } from '../../engine/volume/block-reader.ts'
import type { CopyReading } from '../../engine/volume/copy-reader.ts'
import type { VolumeDescriptor } from '../../engine/volume/descriptor.ts'
import { mapSnapshot } from '../../engine/volume/snapshot-map.ts'
import type { SnapshotMap } from '../../engine/volume/snapshot-map.ts'
import type { Shown } from '../../engine/volume/snapshot-blocks.ts'

const BLOCKS = (64 * GIB) / 4096
const CHANGED = BLOCKS / 100
const SEQS = { first: 1000, from: 2000, changed: 3000, to: 1_000_000 }
/** As many wait for a page at most before a checkpoint takes them. */
const CHECKPOINT_WRITES = 16_384
const VOLUME = 1
const CHANGE_PREFIX = 0x64

const descriptor: VolumeDescriptor = {
  format: 1, revision: 1, epoch: 1, epochs: [[1, 1]], slices: [], rollbacks: [], origin: null, deleted: false, seq: 1,
  spec: {
    id: '0'.repeat(32), name: 'v', sizeBytes: 64 * GIB, blockSizeBytes: 4096, replicas: 0, durability: 'durable',
    onFull: 'hold', ioTimeoutMs: 0, pool: 'default', diskTags: [],
  },
  snapshots: [{ id: 'a', seq: SEQS.from, pinnedBy: null }, { id: 'b', seq: SEQS.to, pinnedBy: null }],
}

let state = 0x9e3779b9
/** xorshift32. */
function draw(below: number): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % below
}

function entry(words: Uint32Array, at: number, seq: number): void {
  const fields = { segment: 7, units: 64, epoch: 1, seq, crc: 1, storedUnits: 64, kind: ENTRY_KIND.data }
  putEntry(words, at, { ...fields, transform: 0 })
}

const write = (index: LevelIndex, operations: Iterable<IndexOperation>): Promise<boolean> =>
  new Promise((resolve) => index.batch(operations, resolve))

/** Of each page the first `filled` blocks, which were written before both snapshots. */
async function fill(index: LevelIndex, filled: number): Promise<void> {
  let operations: IndexOperation[] = []
  const indexes = Uint8Array.from({ length: filled }, (_, i) => i)
  const words = new Uint32Array(filled * ENTRY_WORDS)
  for (let i = 0; i < filled; i++) entry(words, i * ENTRY_WORDS, SEQS.first)
  for (let page = 0; page < BLOCKS / PAGE_BLOCKS && filled > 0; page++) {
    const value = encodePageValue({ base: true, resolved: true, indexes, words })
    operations.push({ type: 'put', key: pageKey(VOLUME, page, 1), value })
    if (operations.length < 4096) continue
    await write(index, operations)
    operations = []
  }
  await write(index, operations)
}

/** Write at random, with checkpoints. @returns bytes that these wrote, all and of the log of changes */
async function change(index: LevelIndex, extents: ExtentMap, map: VolumeMap): Promise<[all: number, changes: number]> {
  let [all, changes, checkpoint] = [0, 0, 1]
  const crcs = Uint32Array.of(1)
  const storedUnits = Uint8Array.of(64)
  for (let i = 0; i < CHANGED;) {
    for (let k = 0; k < CHECKPOINT_WRITES && i < CHANGED; k++, i++) {
      const run = { lba: draw(BLOCKS), count: 1, epoch: 1, seq: SEQS.changed + i, transform: 0, segment: 7, units: 64 }
      extents.applyRun(map, { ...run, crcs, storedUnits })
    }
    const { operations, committed } = collectCheckpoint(extents, {
      meta: undefined, checkpoint: ++checkpoint, onUnresolved() {}, onPile() {}, tombstonesGone: [], volumesGone: [],
    })
    const counted = function* (): Generator<IndexOperation> {
      for (const operation of operations) {
        const bytes = operation.key.length + (operation.type === 'put' ? operation.value.length : 0)
        all += bytes
        if (operation.key[0] === CHANGE_PREFIX) changes += bytes
        yield operation
      }
    }
    await write(index, counted())
    committed()
  }
  return [all, changes]
}

async function measure(dir: string, name: string, filled: number): Promise<void> {
  const folder = path.join(dir, name)
  const opened = await openLevelIndex(folder)
  if (opened.kind !== 'open') throw new Error('the index does not open')
  const { index } = opened
  await fill(index, filled)
  const grants = new SharedSegmentGrants(16)
  grants.claim(7, 0)
  const segments = new SegmentTable({ count: 16, streamId: 0, grants })
  const extents = new ExtentMap({ index, segments, pagesMax: 1024 })
  const map = extents.addVolume(VOLUME, descriptor)
  const [all, changes] = await change(index, extents, map)
  const share = ((changes / all) * 100).toFixed(1)
  console.log(`${name}: checkpoints wrote ${all} bytes, ${share} % of them the log of changes`)
  const stream = { map: extents, context: { index }, failed: false } as unknown as Target['stream']
  const reading = { target: () => ({ stream, map }) } as unknown as CopyReading
  const ask = (lba: number, sinceSeq: number | undefined): Promise<Shown<SnapshotMap>> => {
    const range = { lba, blockCount: BLOCKS - lba, sinceSeq, runsMax: 16_384 }
    return new Promise((resolve) => runTask(mapSnapshot(reading, SEQS.to, range), resolve))
  }
  const asked = [['changed', SEQS.from, 0], ['by the map', SEQS.from, Infinity], ['allocated', undefined, 0]] as const
  for (const [what, since, changesFrom] of asked) {
    map.changesFrom = changesFrom
    const [startedMs, cpu] = [performance.now(), process.cpuUsage()]
    let blocks = 0
    let answers = 0
    for (let lba = 0; lba < BLOCKS; answers++) {
      const found = await ask(lba, since)
      if (found === undefined || found === 'gone') throw new Error('no map')
      for (let i = 1; i < found.runs.length; i += 3) blocks += found.runs[i]!
      lba = found.endLba
    }
    const { user, system } = process.cpuUsage(cpu)
    const [ms, cpuMs] = [performance.now() - startedMs, (user + system) / 1000].map((time) => time.toFixed(0))
    console.log(`${name}: ${what}: ${blocks} blocks in ${answers} answers, ${ms} ms, ${cpuMs} ms processor time`)
  }
  await index.close()
  await discardIndex(folder)
}

const dir = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'snapshot-map-'))
await measure(dir, 'nothing else', 0)
await measure(dir, 'an eighth of it', PAGE_BLOCKS / 8)
await measure(dir, 'full', PAGE_BLOCKS)
fs.rmSync(dir, { recursive: true, force: true })
