/**
 * What a write to a volume in three copies costs: processor microseconds of each of three daemons for each write of
 * fio, user and system time of all their threads. Wall-clock figures of a busy machine are noise; these are not. A case
 * names durability, queue depth, and the KiB of a write where it is not 4: `durable/8/128`.
 *
 *   bin/node24 --dev bench/micro/replicated-cost.ts [--tree DIR]... [--rounds 5] [--seconds 3] [--case durable/32]...
 *                                                   [--tls] [--profile] [--env NAME=VALUE]... [--dir DIR]
 *
 * With several trees (worktrees of this repository, with their packages) each runs a cluster of its own and they take
 * turns, so that a change is measured beside what it changes. With `--tls` each tree runs a second one, whose nodes
 * talk over TLS. `--profile` samples the daemons and prints where the time
 * went, of the primary and of its replicas; it costs a tenth of the speed. 6 GB a tree below `--dir`.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { initAuthority, issue } from '../../cli/ca-folder.ts'
import { agreeOnClusterId } from '../../cluster/membership/cluster-id.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'
import type { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { MIB } from '../../engine/units.ts'
import { caseWords } from '../volume/cases.ts'
import type { FioCase } from '../volume/cases.ts'
import { clusterOfTree } from '../volume/cluster-of-tree.ts'
import { prefill, runFio } from '../volume/fio.ts'
import { readOnce } from '../volume/nbd-probe.ts'
import { busyMs, selfTimes } from '../volume/profile.ts'
import type { CpuProfile } from '../volume/profile.ts'
import { cpuSeconds, cpuSecondsOf } from '../volume/process-figures.ts'
import { spread } from '../volume/ratio.ts'
import { pause, Scratch } from '../volume/scratch.ts'

const SIZE_BYTES = 256 * MIB
const TOP = 45

const { values } = parseArgs({
  options: {
    tree: { type: 'string', multiple: true, default: [path.join(import.meta.dirname, '../..')] },
    case: { type: 'string', multiple: true, default: ['durable/32', 'durable/128', 'writeback/32'] },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    tls: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    env: { type: 'string', multiple: true, default: [] },
    dir: { type: 'string', default: os.tmpdir() },
  },
})
const seconds = Number(values.seconds)
const scratch = new Scratch(values.dir)

interface Subject {
  name: string
  cluster: ClusterOfDaemons
  /** Of each volume: the node that leads. */
  primaries: Record<string, string>
  profiles: string
}

let nextPort = 25_790
const ends: Array<() => unknown> = []

/** Nodes of a cluster of that id, by name: their TLS folders. */
function certificates(name: string, clusterId: string): (node: string) => string {
  const ca = scratch.path(`${name}-ca`)
  initAuthority(ca, { clusterId, days: 2 })
  return (node) => {
    const out = path.join(ca, node)
    issue(ca, { role: 'node', name: node, dns: [], ip: [], days: 1, out })
    return out
  }
}

async function start(tree: string, name: string, isTls: boolean): Promise<Subject> {
  const profiles = scratch.path(`${name}-profiles`)
  const env = Object.fromEntries(values.env.map((pair) => pair.split(/=(.*)/s) as [string, string]))
  const clusterId = randomBytes(16).toString('hex')
  const folderOf = isTls ? certificates(name, clusterId) : undefined
  const setUp = (node: string): { env: Record<string, string>; change: Partial<NodeConfig> } => ({
    change: folderOf === undefined ? {} : { tls: folderOf(node) },
    env: {
      ...env,
      ...(values.profile ? { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${path.join(profiles, node)}` } : {}),
    },
  })
  const own = { tree, name, port: nextPort++, scratch, ends }
  const cluster = await clusterOfTree({ ...own, diskBytes: 6 * SIZE_BYTES, setUp })
  if (isTls) await agreeOnClusterId(cluster.store, clusterId)
  const primaries: Record<string, string> = {}
  for (const durability of ['durable', 'writeback'] as const) {
    const spec = await cluster.makeVolume({ name: durability, durability, sizeBytes: SIZE_BYTES })
    primaries[durability] = (await cluster.config(spec.id)).primary
  }
  await cluster.start()
  for (const { pid } of cluster.nodes) scratch.watchOver(pid)
  const subject = { name, cluster, primaries, profiles }
  subjects.push(subject)
  for (const durability of Object.keys(primaries)) {
    await offered(subject, durability)
    for (let i = 0; i < (values.profile ? 1 : 3); i++) await prefill(scratch, target(subject, durability), SIZE_BYTES)
  }
  return subject
}

/** A node that has just started offers a volume when it has heard of it. */
async function offered({ cluster, primaries }: Subject, durability: string): Promise<void> {
  const { nbd } = cluster.node(primaries[durability]!).paths
  while ((await readOnce(nbd, durability, { offsetBytes: 0, lengthBytes: 4096 })) === undefined) await pause(50)
}

function target({ cluster, primaries }: Subject, durability: string): { uri: string } {
  const { nbd } = cluster.node(primaries[durability]!).paths
  return { uri: `nbd+unix:///${durability}?socket=${nbd}` }
}

interface Figures {
  /** Microseconds a write: of the primary, of each replica. */
  nodes: number[]
  /** Of all three, by name of the thread. */
  threads: Map<string, number>
  iops: number
}

/** Seconds of the live threads of processes, by name. V8's and the pool's have one name each. */
function threadSeconds(pids: readonly number[]): Map<string, number> {
  const found = new Map<string, number>()
  for (const pid of pids) {
    for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
      const stat = fs.readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8')
      const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
      found.set(name, (found.get(name) ?? 0) + cpuSecondsOf(stat))
    }
  }
  return found
}

async function measure(subject: Subject, durability: string, queueDepth: number, kib: number): Promise<Figures> {
  const leads = (name: string): boolean => name === subject.primaries[durability]
  const nodes = [...subject.cluster.nodes].sort((a, b) => Number(leads(b.name)) - Number(leads(a.name)))
  const pids = nodes.map(({ pid }) => pid)
  const used = () => ({ nodes: pids.map((pid) => cpuSeconds([pid])), threads: threadSeconds(pids) })
  const one: FioCase = { name: '', rw: 'randwrite', blockBytes: kib * 1024, queueDepth }
  await pause(300)
  const before = used()
  const { operations, iops } = await runFio(scratch, target(subject, durability), caseWords(one, SIZE_BYTES, seconds))
  await pause(50)
  const after = used()
  const threads = [...after.threads].map(([name, value]) =>
    [name, ((value - (before.threads.get(name) ?? 0)) / operations) * 1e6] as const)
  return {
    nodes: after.nodes.map((value, i) => ((value - before.nodes[i]!) / operations) * 1e6),
    threads: new Map(threads), iops,
  }
}

function printProfiles({ name, cluster, primaries, profiles }: Subject): void {
  for (const node of cluster.nodes) {
    const folder = path.join(profiles, node.name)
    const all = fs.readdirSync(folder)
      .map((file) => selfTimes(JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')) as CpuProfile))
      .sort((a, b) => busyMs(b) - busyMs(a))
    const times = (all[0] ?? []).filter((time) => time.name !== '(idle)')
    const busy = busyMs(times)
    const role = Object.values(primaries).includes(node.name) ? 'primary' : 'replica'
    console.log(`\n${name} ${node.name} (${role}): data worker busy ${(busy / 1000).toFixed(1)} s`)
    for (const time of times.slice(0, TOP)) {
      console.log(`${((time.ms / busy) * 100).toFixed(1).padStart(5)} %  ${time.name}`)
    }
  }
}

const subjects: Subject[] = []
try {
  for (const [i, tree] of values.tree.entries()) {
    const name = values.tree.length === 1 ? 't' : `t${i + 1}`
    await start(tree, name, false)
    if (values.tls) await start(tree, `${name}-tls`, true)
  }
  const found = new Map<string, Figures[]>()
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const one of values.case) {
      const [durability = '', depth = '', kib = '4'] = one.split('/')
      for (let i = 0; i < subjects.length; i++) {
        const subject = subjects[(i + round) % subjects.length]!
        const figures = await measure(subject, durability, Number(depth), Number(kib))
        const key = `${one.padEnd(14)}${subject.name.padEnd(7)}`
        found.set(key, [...(found.get(key) ?? []), figures])
      }
    }
  }
  console.log('us a write of: primary, replica, replica, all three (least to most); writes a second; by thread')
  for (const [key, rounds] of [...found].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const median = (of: (figures: Figures) => number): string => spread(rounds.map(of)).median.toFixed(1)
    const sum = spread(rounds.map(({ nodes }) => nodes.reduce((all, us) => all + us, 0)))
    const threads = [...new Set(rounds.flatMap((figures) => [...figures.threads.keys()]))]
      .map((name) => `${name} ${median((figures) => figures.threads.get(name) ?? 0)}`)
    console.log(`${key}${[0, 1, 2].map((i) => median(({ nodes }) => nodes[i]!).padStart(6)).join('')}  `
      + `${sum.median.toFixed(1).padStart(6)} (${sum.least.toFixed(1)} to ${sum.most.toFixed(1)})  `
      + `${median(({ iops }) => iops)}  ${threads.join(', ')}`)
  }
  for (const { cluster } of subjects) await Promise.all(cluster.nodes.map((node) => node.stop()))
  if (values.profile) subjects.forEach(printProfiles)
} catch (error) {
  for (const { cluster } of subjects) console.log(cluster.nodes.flatMap((node) => node.errors()).join('\n'))
  throw error
} finally {
  for (const end of ends.reverse()) await end()
  scratch.remove()
}
process.exit(0)
