/**
 * Latency of one durable 4 KiB write at a time, beside fio alone with an fdatasync behind every write (psync) on an
 * initialised file, and beside qemu-nbd: of a node by itself, or with `--copies 3` of three nodes of one cluster.
 *
 *   bin/node24 --dev bench/micro/write-latency.ts [--tree DIR]... [--copies 1|3] [--rounds 7] [--seconds 2]
 *                                                 [--mode durable|writeback] [--dir DIR]
 *
 * With several trees (worktrees of this repository, with their packages) they take turns within a round, so that a
 * change is measured beside what it changes. Printed are medians over the rounds; ratios are of one round. 1 GB a tree
 * and copy below `--dir`.
 */
import path from 'node:path'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { MIB } from '../../engine/units.ts'
import type { Durability } from '../../engine/volume/volume-spec.ts'
import { caseWords } from '../volume/cases.ts'
import { clusterOfTree } from '../volume/cluster-of-tree.ts'
import type { Servers } from '../volume/peers.ts'
import { startPeers } from '../volume/peers.ts'
import { prefill, runFio } from '../volume/fio.ts'
import type { FioTarget } from '../volume/fio.ts'
import type { FioReport } from '../volume/fio-report.ts'
import { readOnce } from '../volume/nbd-probe.ts'
import { cpuSeconds } from '../volume/process-figures.ts'
import { ratios, spread } from '../volume/ratio.ts'
import { pause, Scratch } from '../volume/scratch.ts'

const SIZE_BYTES = 128 * MIB
const DISK_BYTES = 512 * MIB

const { values } = parseArgs({
  options: {
    tree: { type: 'string', multiple: true, default: [path.join(import.meta.dirname, '../..')] },
    copies: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    mode: { type: 'string', default: 'durable' },
    dir: { type: 'string', default: os.tmpdir() },
  },
})
const durability = values.mode as Durability
const scratch = new Scratch(values.dir)
const ends: Array<() => unknown> = []
let nextPort = 25_890

interface Subject {
  name: string
  target: FioTarget
  pids: number[]
}

async function alone(tree: string, name: string): Promise<Subject> {
  const made = (await import(path.resolve(tree, 'bench/volume/holdfast-node.ts'))) as
    typeof import('../volume/holdfast-node.ts')
  const node = new made.HoldfastNode({ scratch, name, diskBytes: DISK_BYTES })
  await node.start()
  await node.createVolume('v', SIZE_BYTES, durability)
  ends.push(() => node.stop())
  return { name, target: { uri: node.uri('v') }, pids: [node.daemonPid] }
}

async function replicated(tree: string, name: string): Promise<Subject> {
  const cluster = await clusterOfTree({ tree, name, port: nextPort++, scratch, ends, diskBytes: DISK_BYTES })
  const spec = await cluster.makeVolume({ name: 'v', durability, sizeBytes: SIZE_BYTES })
  const { primary } = await cluster.config(spec.id)
  await cluster.start()
  for (const { pid } of cluster.nodes) scratch.watchOver(pid)
  const { nbd } = cluster.node(primary).paths
  while ((await readOnce(nbd, 'v', { offsetBytes: 0, lengthBytes: 4096 })) === undefined) await pause(50)
  return { name, target: { uri: `nbd+unix:///v?socket=${nbd}` }, pids: cluster.nodes.map(({ pid }) => pid) }
}

const words = (seconds: number): string[] =>
  caseWords({ name: '', rw: 'randwrite', blockBytes: 4096, queueDepth: 1 }, SIZE_BYTES, seconds)

/** Every segment was used once, and the code is compiled. */
async function warm({ target }: Subject): Promise<void> {
  for (let i = 0; i < DISK_BYTES / SIZE_BYTES; i++) await prefill(scratch, target, SIZE_BYTES)
  await runFio(scratch, target, words(2))
}

const subjects: Subject[] = [{ name: 'psync', target: { file: scratch.path('psync'), sync: 'each' }, pids: [] }]
try {
  for (const [i, tree] of values.tree.entries())
    subjects.push(await (values.copies === '1' ? alone : replicated)(tree, `t${i + 1}`))
  for (const subject of subjects) await warm(subject)
  const peers: Servers = { servers: [], absent: [] }
  const peer = durability === 'durable' ? 'qemu-wt' : 'qemu-wb'
  await startPeers(scratch, [{ name: peer, sizes: [SIZE_BYTES], takes: () => true }], peers)
  for (const { name, targets } of peers.servers) subjects.push({ name, target: targets[0]!, pids: [] })
  const found = subjects.map((): Array<FioReport & { cpuUs: number }> => [])
  for (let round = 0; round < Number(values.rounds); round++) {
    for (let i = 0; i < subjects.length; i++) {
      const at = (i + round) % subjects.length
      const before = cpuSeconds(subjects[at]!.pids)
      const report = await runFio(scratch, subjects[at]!.target, words(Number(values.seconds)))
      const cpuUs = ((cpuSeconds(subjects[at]!.pids) - before) / report.operations) * 1e6
      found[at]!.push({ ...report, cpuUs })
    }
  }
  const median = (at: number, of: (report: FioReport & { cpuUs: number }) => number): string =>
    spread(found[at]!.map(of)).median.toFixed(0)
  console.log(`${values.copies} copies, ${durability}; ratios of latency to psync, to the first tree (least to most)`)
  subjects.forEach(({ name }, at) => {
    const ratio = (to: number, of: (report: FioReport) => number): string => {
      const { median, least, most } = spread(ratios(found[at]!.map(of), found[to]!.map(of)))
      return `${median.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`
    }
    const figures = [
      `mean ${median(at, (r) => r.latencyMeanUs)} us`, `p50 ${median(at, (r) => r.p50Us)}`,
      `p99 ${median(at, (r) => r.p99Us)}`, `cpu ${median(at, (r) => r.cpuUs)} us`,
      `mean:psync ${ratio(0, (r) => r.latencyMeanUs)}`, `p50:psync ${ratio(0, (r) => r.p50Us)}`,
      `mean:t1 ${ratio(Math.min(1, subjects.length - 1), (r) => r.latencyMeanUs)}`,
      `p50:t1 ${ratio(Math.min(1, subjects.length - 1), (r) => r.p50Us)}`,
    ]
    console.log(`${name.padEnd(7)}${figures.join('  ')}`)
  })
} finally {
  for (const end of ends.reverse()) await end()
  scratch.remove()
}
process.exit(0)
