/**
 * Cost of the calls a disk and an index are made of, in microseconds. `node bench/micro/disk.ts [FOLDER]`: the folder
 * decides which disk is measured (default: the system's temporary one). Only ratios within one run mean anything.
 * About 2 s, 300 MB.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { createDiskFile } from '../../dataplane/disk/disk-file.ts'
import { FileDisk } from '../../dataplane/disk/file-disk.ts'
import { openLevelIndex, type LevelIndex } from '../../dataplane/disk/level-index.ts'
import { bootTimeMs, pwritev } from '../../dataplane/libc.ts'
import { MIB } from '../../engine/units.ts'

const SIZE_BYTES = 256 * MIB
const folder = fs.mkdtempSync(path.join(process.argv[2] ?? os.tmpdir(), 'holdfast-bench-'))
const file = createDiskFile(path.join(folder, 'disk'), SIZE_BYTES)
if (!file.ok) throw file.error
const fd = file.value.fd
const opened = FileDisk.open(file.value)
if (!opened.ok) throw opened.error
const disk = opened.value

const slab = new Uint8Array(MIB).fill(7)
const block = slab.subarray(0, 4096)
let nextBytes = 0
/** Offsets one behind the other, as a log's are. */
function offset(lengthBytes: number): number {
  if (nextBytes + lengthBytes > SIZE_BYTES) nextBytes = 0
  nextBytes += lengthBytes
  return nextBytes - lengthBytes
}

function report(name: string, samples: number[], per = 1): void {
  samples.sort((a, b) => a - b)
  const at = (part: number) => (samples[Math.floor(samples.length * part)]! / per).toFixed(2).padStart(10)
  console.log(`${name.padEnd(58)}${at(0.5)}${at(0.99)}`)
}

function inline(name: string, run: () => void, rounds = 200, perRound = 200): void {
  const samples: number[] = []
  for (let i = 0; i < rounds; i++) {
    const start = performance.now()
    for (let j = 0; j < perRound; j++) run()
    samples.push((performance.now() - start) * 1000)
  }
  report(name, samples, perRound)
}

/** `width` chains of calls, each starting its next one when the former has ended, for `count` calls in all. */
async function chained(name: string, width: number, count: number, run: (done: () => void) => void): Promise<void> {
  const samples: number[] = []
  const began = performance.now()
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let i = 0; i < count / width; i++) {
        const start = performance.now()
        await new Promise<void>(run)
        samples.push((performance.now() - start) * 1000)
      }
    }),
  )
  const perSecond = Math.round((samples.length / (performance.now() - began)) * 1000)
  report(`${name}, ${width} at a time: ${perSecond}/s`, samples)
}

console.log(`${os.cpus().length} cores, ${os.release()}, ${folder}\n${''.padEnd(58)}    median       p99`)

for (let at = 0; at < SIZE_BYTES; at += MIB) pwritev(fd, at, [slab], 0, 0)
fs.fsyncSync(fd)

inline('CLOCK_BOOTTIME', bootTimeMs, 200, 2000)
inline('tryRead 4 KiB', () => disk.tryRead(offset(4096), block))
inline('fs.readSync 4 KiB', () => fs.readSync(fd, block, 0, 4096, offset(4096)))
for (const count of [1, 2, 10, 40]) {
  const buffers = Array.from({ length: count }, (_, i) => slab.subarray(i * 4096, (i + 1) * 4096))
  inline(`pwritev of ${count} blocks`, () => pwritev(fd, offset(count * 4096), buffers, 0, 0), 50, 20)
  inline(`fs.writevSync of ${count} blocks`, () => fs.writevSync(fd, buffers, offset(count * 4096)), 50, 20)
  fs.fsyncSync(fd)
}

const write = () => {
  pwritev(fd, offset(4096), [block], 0, 0)
}
await chained('write 4 KiB, fdatasync on this thread', 1, 1000, (done) => {
  write()
  fs.fdatasyncSync(fd)
  setImmediate(done)
})
const bells = new Int32Array(new SharedArrayBuffer(8))
const helper = new Worker(
  `const { bells, fd } = require('node:worker_threads').workerData
   for (let served = 0; ; ) {
     Atomics.wait(bells, 0, served)
     served++
     require('node:fs').fdatasyncSync(fd)
     Atomics.store(bells, 1, served)
     Atomics.notify(bells, 1)
   }`,
  { eval: true, workerData: { bells, fd } },
)
await new Promise((resolve) => helper.once('online', resolve))
await chained('write 4 KiB, fdatasync in a worker (Atomics.waitAsync)', 1, 1000, (done) => {
  write()
  const served = Atomics.load(bells, 1)
  Atomics.add(bells, 0, 1)
  Atomics.notify(bells, 0)
  const answer = Atomics.waitAsync(bells, 1, served)
  if (answer.async) void answer.value.then(() => done())
  else done()
})
await helper.terminate()
for (const width of [1, 2, 4]) {
  await chained('write 4 KiB, FileDisk.sync', width, 1200, (done) => {
    disk.write(offset(4096), [block], () => {})
    disk.sync(() => done())
  })
}

const key = (n: number) => Uint8Array.of(1, n >> 16, n >> 8, n)
const index = await openLevelIndex(path.join(folder, 'index'))
if (index.kind === 'open') await measureIndex(index.index)

async function measureIndex(level: LevelIndex): Promise<void> {
  const page = new Uint8Array(6144)
  for (let n = 0; n < 8000; n += 500) {
    const operations = Array.from({ length: 500 }, (_, i) => ({ type: 'put' as const, key: key(n + i), value: page }))
    await new Promise((resolve) => level.batch(operations, resolve))
  }
  let n = 0
  const get = (done: () => void) => level.getMany([key((n = (n + 4099) % 8000))], () => done())
  await chained('index get of 6 KiB', 1, 4000, get)
  await chained('index get of 6 KiB', 32, 16_000, get)
  for (const count of [1, 100, 10_000]) {
    const operations = Array.from({ length: count }, (_, i) => ({
      type: 'put' as const,
      key: key(0x20000 + i),
      value: page.subarray(0, 24),
    }))
    await chained(`index batch of ${count} puts`, 1, 20, (done) => level.batch(operations, () => done()))
  }
  await level.close()
}

await new Promise<void>((resolve) => disk.close(resolve))
fs.closeSync(fd)
fs.rmSync(folder, { recursive: true })
