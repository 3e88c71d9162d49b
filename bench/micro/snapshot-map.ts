/**
 * The map of a snapshot, and the difference of two, of a volume of 64 GiB of which 1 % was written at random between
 * both: over a real index, by what the rest of the volume holds. Elapsed and processor time; no data is read.
 *
 *   node bench/micro/snapshot-map.ts [DIR]
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { discardIndex, openLevelIndex } from '../../dataplane/disk/level-index.ts'
import type { LevelIndex } from '../../dataplane/disk/level-index.ts'
import { ENTRY_KIND, ENTRY_WORDS, putEntry } from '../../engine/log/entry.ts'
import { ExtentMap } from '../../engine/log/extent-map.ts'
import { encodeEntryValue, encodePageValue, historyKey, pageKey } from '../../engine/log/index-keys.ts'
import { SharedSegmentGrants } from '../../engine/log/segment-grants.ts'
import { SegmentTable } from '../../engine/log/segment-table.ts'
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
const SEQS = { first: 1000, from: 2000, changed: 3000, to: 4000 }
const VOLUME = 1

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

const write = (index: LevelIndex, operations: IndexOperation[]): Promise<boolean> =>
  new Promise((resolve) => index.batch(operations, resolve))

/** @param filled  blocks of each page that were written before both snapshots */
async function build(index: LevelIndex, filled: number): Promise<void> {
  const changed = new Map<number, Set<number>>()
  for (let i = 0; i < CHANGED; i++) {
    const lba = draw(BLOCKS)
    const page = Math.floor(lba / PAGE_BLOCKS)
    const blocks = changed.get(page) ?? new Set()
    changed.set(page, blocks.add(lba % PAGE_BLOCKS))
  }
  let operations: IndexOperation[] = []
  for (let page = 0; page < BLOCKS / PAGE_BLOCKS; page++) {
    const put = (checkpoint: number, indexes: number[], seq: number, base: boolean): void => {
      const words = new Uint32Array(indexes.length * ENTRY_WORDS)
      for (let i = 0; i < indexes.length; i++) entry(words, i * ENTRY_WORDS, seq)
      const value = encodePageValue({ base, resolved: true, indexes: Uint8Array.from(indexes), words })
      operations.push({ type: 'put', key: pageKey(VOLUME, page, checkpoint), value })
    }
    const before = Array.from({ length: filled }, (_, i) => i)
    if (filled > 0) put(1, before, SEQS.first, true)
    const now = [...(changed.get(page) ?? [])].sort((a, b) => a - b)
    if (now.length > 0) put(2, now, SEQS.changed, false)
    for (const block of now) {
      if (block >= filled) continue
      const words = new Uint32Array(ENTRY_WORDS)
      entry(words, 0, SEQS.first)
      const key = historyKey(VOLUME, page * PAGE_BLOCKS + block, 1, SEQS.first)
      operations.push({ type: 'put', key, value: encodeEntryValue(words, 0) })
    }
    if (operations.length < 4096) continue
    await write(index, operations)
    operations = []
  }
  await write(index, operations)
}

async function measure(dir: string, name: string, filled: number): Promise<void> {
  const folder = path.join(dir, name)
  const opened = await openLevelIndex(folder)
  if (opened.kind !== 'open') throw new Error('the index does not open')
  const { index } = opened
  await build(index, filled)
  const grants = new SharedSegmentGrants(16)
  const segments = new SegmentTable({ count: 16, streamId: 0, grants })
  const extents = new ExtentMap({ index, segments, pagesMax: 1024 })
  const map = extents.addVolume(VOLUME, descriptor)
  const stream = { map: extents, context: { index }, failed: false } as unknown as Target['stream']
  const reading = { target: () => ({ stream, map }) } as unknown as CopyReading
  const ask = (lba: number, sinceSeq: number | undefined): Promise<Shown<SnapshotMap>> => {
    const range = { lba, blockCount: BLOCKS - lba, sinceSeq, runsMax: 16_384 }
    return new Promise((resolve) => runTask(mapSnapshot(reading, SEQS.to, range), resolve))
  }
  for (const [what, since] of [['changed', SEQS.from], ['allocated', undefined]] as const) {
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
