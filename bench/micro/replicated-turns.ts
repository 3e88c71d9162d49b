/**
 * Three copies of a volume in one process and one thread: what a 4 KiB write costs all three of them together, without
 * NBD, in processor time, collections of garbage and bytes allocated. Code is warm after a second, also where other
 * programs take most of the machine, and only this one process is counted.
 *
 *   bin/node24 --dev bench/micro/replicated-turns.ts [durable|writeback] [--depth 32] [--writes 30000] [--rounds 3]
 *                                                    [--allocations all|old] [--dir DIR]
 *
 * `--allocations` samples where memory is taken: all of it, or what outlives two collections of the young generation
 * and is only freed by a full one. For the flags of a daemon: `node_modules/node/bin/node FLAGS FILE`. 2 GB below DIR.
 */
import fs from 'node:fs'
import { Session } from 'node:inspector/promises'
import type { HeapProfiler } from 'node:inspector/promises'
import os from 'node:os'
import path from 'node:path'
import { PerformanceObserver } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { DEFAULT_TIMING } from '../../dataplane/copy/timing.ts'
import { SlabPool } from '../../dataplane/slab-pool.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import type { Durability } from '../../engine/volume/volume-spec.ts'
import { configOf, hex, Host, specOf, until } from '../../test/dataplane/copy/hosts.ts'
import { MemoryConfigs } from '../../test/dataplane/copy/memory-configs.ts'

const SIZE_BYTES = 64 * MIB
const DISK_BYTES = 640 * MIB
/** A client's requests lie so far from each other in memory: header and payload. */
const STRIDE_BYTES = 28 + BLOCK_BYTES
const SITES = 40
const SAMPLE_BYTES = 4096
/** As `detail.kind` of an entry has it. */
const COLLECTION = { young: 1, full: 4 }

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    depth: { type: 'string', default: '32' },
    writes: { type: 'string', default: '30000' },
    rounds: { type: 'string', default: '3' },
    allocations: { type: 'string' },
    dir: { type: 'string', default: os.tmpdir() },
  },
})
const durability = (positionals[0] ?? 'writeback') as Durability
const depth = Number(values.depth)
const writes = Number(values.writes)

const folder = fs.mkdtempSync(path.join(values.dir, 'hf-turns-'))
const configs = new MemoryConfigs()
const names = ['n1', 'n2', 'n3']
const hosts = names.map((node) => {
  const dir = path.join(folder, node)
  fs.mkdirSync(dir)
  return new Host({ node, dir, configs, diskBytes: DISK_BYTES, timing: DEFAULT_TIMING })
})
for (const host of hosts) await host.start()
for (const host of hosts) host.meet(hosts)
const spec = specOf({ sizeBytes: SIZE_BYTES, durability })
const ids = names.map(() => hex())
configs.put(configOf(spec.id, Object.fromEntries(names.map((name, i) => [name, ids[i]!]))))
await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
await until(() => hosts[0]!.role(spec.id) === 'primary')
const { device } = hosts[0]!.attach(spec)

const pool = new SlabPool()
let slab = pool.acquire(1)
let at = 0

/** As a connection does: requests lie one behind the other in a slab, which counts each until it is answered. */
function writeOne(ended: () => void): void {
  if (at + STRIDE_BYTES > slab.bytes.length) {
    pool.release(slab)
    slab = pool.acquire(1)
    at = 0
  }
  const own = slab
  own.users++
  const data = own.bytes.subarray(at + STRIDE_BYTES - BLOCK_BYTES, at + STRIDE_BYTES)
  at += STRIDE_BYTES
  const lba = Math.floor(Math.random() * (SIZE_BYTES / BLOCK_BYTES))
  device.write(lba * BLOCK_BYTES, data, false, (errno) => {
    if (errno !== 0) throw new Error(`a write failed, errno ${errno}`)
    pool.release(own)
    ended()
  })
}

function run(): Promise<void> {
  return new Promise((resolve) => {
    let begun = 0
    let left = writes
    const begin = (): void => {
      if (begun++ < writes) writeOne(ended)
    }
    const ended = (): void => {
      if (--left === 0) resolve()
      else setImmediate(begin)
    }
    for (let i = 0; i < depth; i++) begin()
  })
}

const collections = { young: 0, full: 0 }
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { kind } = (entry as unknown as { detail: { kind: number } }).detail
    if (kind === COLLECTION.young) collections.young++
    else if (kind === COLLECTION.full) collections.full++
  }
}).observe({ entryTypes: ['gc'] })

async function printAllocations(which: string): Promise<void> {
  const session = new Session()
  session.connect()
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: SAMPLE_BYTES,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: which === 'all',
  } as HeapProfiler.StartSamplingParameterType)
  await run()
  const { profile } = await session.post('HeapProfiler.stopSampling')
  session.disconnect()
  const bytes = new Map<string, number>()
  let total = 0
  const add = ({ callFrame, selfSize, children }: HeapProfiler.SamplingHeapProfileNode): void => {
    const file = callFrame.url.replace(/^.*\/(?=(?:engine|dataplane|node_modules|test|bench)\/)/, '')
    const site = `${callFrame.functionName} ${file}:${callFrame.lineNumber + 1}`
    bytes.set(site, (bytes.get(site) ?? 0) + selfSize)
    total += selfSize
    children.forEach(add)
  }
  add(profile.head)
  console.log(`${(total / writes).toFixed(0)} bytes a write, ${which}`)
  for (const [site, sum] of [...bytes].sort(([, a], [, b]) => b - a).slice(0, SITES)) {
    console.log(`${(sum / writes).toFixed(0).padStart(8)}  ${site}`)
  }
}

await run()
if (values.allocations !== undefined) await printAllocations(values.allocations)
for (let round = 0; round < Number(values.rounds); round++) {
  collections.young = collections.full = 0
  const before = process.cpuUsage()
  await run()
  const { user, system } = process.cpuUsage(before)
  await new Promise(setImmediate)
  const us = (of: number): string => (of / writes).toFixed(1)
  console.log(`${durability} at depth ${depth}: ${us(user + system)} us a write (${us(system)} in the kernel), `
    + `collections young ${collections.young}, full ${collections.full}`)
}
for (const host of hosts) await host.stop()
fs.rmSync(folder, { recursive: true, force: true })
process.exit(0)
