/**
 * How fast a deep scrub reads and verifies one copy and the structures of its segments, over a real disk and index:
 * blocks written one behind the other, then overwritten one by one in random order, a quarter as many writes as there
 * are blocks first, and then as many as there are. `node bench/micro/scrub.ts [FOLDER] [MIB] [ENTRIES]`: the folder
 * decides which disk is measured (default: the system's temporary one, and 1024 MiB), how many entries of the map are
 * put in order at a time.
 * It reads past the page cache, so the disk bounds it; what the processor takes of it stands beside, and memory, the
 * longest turn, and plain reads of the same size.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { crc32c } from '../../dataplane/checksum.ts'
import { StructureChecks } from '../../dataplane/copy/structure-checks.ts'
import { MEDIUM_READ_BYTES_MAX, MediumReader } from '../../dataplane/disk/medium-reader.ts'
import { prepareDisk } from '../../dataplane/disk-preparation.ts'
import { openStore } from '../../dataplane/store-shell.ts'
import { runTask, until } from '../../engine/task.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { payloadOf } from '../../engine/volume/copy-headers.ts'
import { CopyScrub } from '../../engine/volume/copy-scrub.ts'
import { WINDOW_LIMITS } from '../../engine/volume/deep-window.ts'
import type { OpenCopy } from '../../engine/volume/copy-store.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'

const RECORD_BLOCKS = 64
/** Of a client that overwrites: a batch has hardly more blocks. */
const DEPTH = 4
const sizeBytes = Number(process.argv[3] ?? 1024) * MIB
const blocks = sizeBytes / BLOCK_BYTES
const limits = { ...WINDOW_LIMITS, entries: Number(process.argv[4] ?? WINDOW_LIMITS.entries) }
const folder = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'holdfast-bench-'))
const spec: VolumeSpec = {
  id: 'ab'.repeat(16), name: 'bench', sizeBytes, blockSizeBytes: 4096, replicas: 0, durability: 'durable',
  onFull: 'hold', ioTimeoutMs: 0, pool: 'default', diskTags: [],
}

const identity = { nodeName: 'bench', nodeId: '1'.repeat(32), clusterId: '2'.repeat(32) }
const file = { path: path.join(folder, 'disk'), sizeBytes: 2 * sizeBytes + 256 * MIB, pool: 'default', tags: [] }
const prepared = prepareDisk(file, identity, 1)
if (!prepared.ok) throw prepared.error
const opened = await openStore({
  disks: [prepared.value],
  indexDir: path.join(folder, 'index'),
  worker: 0,
  workers: 1,
  barrier: new SharedArrayBuffer(4),
  log: { event: () => {} },
})
if (!opened.ok) throw opened.error
const shell = opened.value
const { copy } = await new Promise<OpenCopy>((resolve, reject) =>
  shell.store.createCopy(spec, 'c1', (made) => (made.ok ? resolve(made.value) : reject(made.error))),
)

let storedSeq = 0
let onStored = (): void => {}
copy.onEvent = (event) => {
  if (event.type === 'store-failed') throw new Error(event.reason)
  if (event.type === 'damaged') throw new Error('there is damage')
  if (event.type !== 'stored') return
  storedSeq = event.durableSeq
  copy.apply(storedSeq, {})
  onStored()
}

const payload = new Uint8Array(RECORD_BLOCKS * BLOCK_BYTES)
for (let i = 0; i < payload.length; i += 8) payload[i] = i
let seq = 1
copy.append({ kind: 'control', epoch: 1, seq: 1, request: undefined, change: { operation: 'epoch', epochs: [[1, 1]] } })

async function write(lba: number, blockCount: number, underWayMost = 256): Promise<void> {
  const bytes = payload.slice(0, blockCount * BLOCK_BYTES)
  copy.append({
    kind: 'write', epoch: 1, seq: ++seq, request: undefined, lba, blockCount, payload: payloadOf(crc32c, bytes),
  })
  while (seq - storedSeq > underWayMost) await new Promise<void>((resolve) => (onStored = resolve))
}

const settled = async (): Promise<void> => {
  while (storedSeq < seq) await new Promise<void>((resolve) => (onStored = resolve))
}

const memoryBytes = (): number => {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const structures = new StructureChecks({
  streams: () => shell.store.streams(),
  everyMs: 0,
  wallMs: () => Date.now(),
  empty: () => {},
  onDamage: () => {
    throw new Error('there is damage')
  },
  log: { event: () => {} },
})

async function scrub(kind: 'light' | 'deep', name: string): Promise<void> {
  let readBytes = 0
  const go = (bytes: number, resume: (goesOn: boolean) => void): void => {
    readBytes += bytes
    setImmediate(resume, true)
  }
  const one = new CopyScrub(copy, {
    wallMs: () => Date.now(),
    pace: go,
    structures,
    limits,
    onProblem: (problem) => console.log(problem),
  })
  await new Promise<void>((resolve) => runTask(one.openTask(), resolve))
  const turns = monitorEventLoopDelay({ resolution: 1 })
  let mostBytes = 0
  const beganBytes = memoryBytes()
  const looks = setInterval(() => (mostBytes = Math.max(mostBytes, memoryBytes())), 20)
  turns.enable()
  const cpu = process.cpuUsage()
  const began = performance.now()
  if (kind === 'deep') structures.ask(shell.store.streams())
  await new Promise<void>((resolve) => runTask(one.passTask(kind, () => 'anew'), () => resolve()))
  const pace = {
    wait: (bytes: number) => until<boolean>((resume) => go(bytes, resume)),
    blocksMost: () => Infinity,
  }
  if (kind === 'deep')
    for (const stream of shell.store.streams())
      await new Promise<void>((resolve) => runTask(structures.task(stream, pace), () => resolve()))
  const seconds = (performance.now() - began) / 1000
  const { user, system } = process.cpuUsage(cpu)
  turns.disable()
  clearInterval(looks)
  const { counts } = one.summary(kind)
  const liveMib = (counts.blocks * BLOCK_BYTES) / MIB
  const rate = kind === 'deep' ? `${(liveMib / seconds).toFixed(0)} MiB/s of live blocks, ` : ''
  console.log(
    `${name}: ${rate}${counts.blocks} blocks, ${(readBytes / MIB).toFixed(0)} MiB read in ${seconds.toFixed(2)} s, ` +
      `${((user + system) / 1e6).toFixed(2)} s of processor time ` +
      `(${((user + system) / counts.blocks).toFixed(2)} us a block, ` +
      `${((user + system) / 1e6 / (liveMib / 1024)).toFixed(2)} s a GiB), ` +
      `${(Math.max(0, mostBytes - beganBytes) / MIB).toFixed(0)} MiB of memory more, ` +
      `turns of ${(turns.percentile(99.9) / 1e6).toFixed(1)} ms at 99.9 %, ` +
      `${(turns.max / 1e6).toFixed(1)} ms at most, ` +
      `${counts.damaged} damaged`,
  )
}

function plainReads(): Promise<void> {
  const reader = new MediumReader(prepared.ok ? prepared.value.file : (undefined as never))
  const began = performance.now()
  return new Promise((resolve) => {
    const next = (at: number): void => {
      if (at >= sizeBytes) {
        const seconds = (performance.now() - began) / 1000
        console.log(`plain reads of 1 MiB: ${(sizeBytes / MIB / seconds).toFixed(0)} MiB/s`)
        reader.close()
        return resolve()
      }
      reader.read(at, MEDIUM_READ_BYTES_MAX, () => next(at + MEDIUM_READ_BYTES_MAX))
    }
    next(0)
  })
}

for (let lba = 0; lba < blocks; lba += RECORD_BLOCKS) await write(lba, RECORD_BLOCKS)
await settled()
await plainReads()
await scrub('deep', 'deep, in order')
await scrub('light', 'light, in order')
let state = 1
async function overwrite(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    await write(Math.floor((state / 2 ** 32) * blocks), 1, DEPTH)
  }
  await settled()
}
await overwrite(blocks / 4)
await scrub('deep', 'deep, a quarter overwritten at random, first time')
await scrub('deep', 'deep, a quarter overwritten at random')
await overwrite(blocks)
for (let round = 1; round <= 3; round++) await scrub('deep', `deep, all overwritten at random, round ${round}`)
await scrub('light', 'light, all overwritten at random')
await new Promise<void>((resolve) => shell.stop(() => resolve()))
fs.rmSync(folder, { recursive: true })
