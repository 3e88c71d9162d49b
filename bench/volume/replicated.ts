/**
 * Suite `replicated`: volumes in three copies, on three nodes as processes with the embedded cluster store, beside
 * qemu-nbd with one copy. All of it, fio included, shares one machine: each write of ours costs three appends, three
 * syncs and two trips over loopback TCP, so on few cores it is processor time that is measured.
 *
 *   durable3     answered when it is on stable storage three times         (peer: qemu-wt, one sync each)
 *   writeback3   answered when it is appended three times                  (peer: qemu-wb, the page cache)
 *   remote3      `durable3` through a node that does not lead: one trip more
 */
import { connectControlApi } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import type { Durability } from '../../engine/volume/volume-spec.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { compareServers, judge, samplesTable } from './comparison.ts'
import type { RatioGoal } from './comparison.ts'
import { CASES, prefill } from './fio.ts'
import { startPeers } from './peers.ts'
import type { Servers } from './peers.ts'
import { cpuSeconds } from './process-figures.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const SIZE_BYTES = 256 * 2 ** 20
/** Each node has a copy of both volumes. */
const DISK_BYTES = 5 * SIZE_BYTES

const GOALS: readonly RatioGoal[] = [
  {
    name: '3 copies durable 4k randwrite QD32 : qemu-nbd writethrough, one copy',
    one: '4k randwrite QD32', metric: 'iops', ours: 'durable3', theirs: 'qemu-wt', compare: 'least', limit: 3,
  },
  {
    name: '3 copies durable 4k randwrite QD128 : qemu-nbd writethrough, one copy',
    one: '4k randwrite QD128', metric: 'iops', ours: 'durable3', theirs: 'qemu-wt', compare: 'least', limit: 5,
  },
  {
    name: '3 copies writeback 4k randwrite QD32 : qemu-nbd writeback, one copy',
    one: '4k randwrite QD32', metric: 'iops', ours: 'writeback3', theirs: 'qemu-wb', compare: 'least', limit: 0.8,
  },
]

export async function measureReplicated(context: SuiteContext): Promise<SuiteOutcome> {
  const { scratch, print, rounds, seconds } = context
  scratch.needRoom(3 * DISK_BYTES + 2 * SIZE_BYTES)
  const ends: Array<() => unknown> = []
  const cluster = await ClusterOfDaemons.make(
    { teardown: (end: () => unknown) => void ends.push(end) }, { dir: scratch.dir, diskBytes: DISK_BYTES },
  )
  try {
    await cluster.start()
    for (const { pid } of cluster.nodes) scratch.watchOver(pid)
    print(`filling volumes and files of ${SIZE_BYTES / 2 ** 20} MiB`)
    const found: Servers = { servers: [], absent: [] }
    for (const durability of ['durable', 'writeback'] as const) await addVolume(context, cluster, durability, found)
    await startPeers(scratch, SIZE_BYTES, ['qemu-wt', 'qemu-wb'], found)
    for (const reason of found.absent) print(`left out: ${reason}`)
    const samples = await compareServers(context, found.servers, CASES, SIZE_BYTES)
    const goals = GOALS.map((goal) => judge(goal, samples, found.absent))
    const notes = [
      `${rounds} rounds of ${seconds} s each, volumes and files of 256 MiB, fio and all nodes on the same machine.`,
      'Processor time is that of all three daemons.',
      ...found.absent.map((reason) => `Left out: ${reason}.`),
    ]
    const table = samplesTable(samples, ['durable3', 'writeback3', 'remote3'], ['qemu-wt', 'qemu-wb'])
    return { goals, text: [notes.join(' '), '', table].join('\n') }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

async function addVolume(
  { scratch }: SuiteContext, cluster: ClusterOfDaemons, durability: Durability, { servers }: Servers,
): Promise<void> {
  const [first, ...others] = cluster.nodes
  const api = connectControlApi({ socketPath: first!.paths.api, source: 'the benchmark' })
  const isWhole = ({ health, copies }: Volume) => health === 'healthy' && copies.length === 3
  let volume = await api.createVolume({ name: durability, sizeBytes: SIZE_BYTES, parameters: { durability } })
  for (; !isWhole(volume); await pause(100)) volume = await api.getVolume({ name: durability })
  api.close()
  const primary = volume.copies.find(({ role }) => role === 'primary')!.node
  const uri = (node: string) => `nbd+unix:///${durability}?socket=${cluster.node(node).paths.nbd}`
  const used = () => cpuSeconds(cluster.nodes.map(({ pid }) => pid))
  // Every segment of the log is used once, as the others' files are filled.
  for (let i = 0; i < 2; i++) await prefill(scratch, { uri: uri(primary) }, SIZE_BYTES)
  servers.push({ name: `${durability}3`, target: { uri: uri(primary) }, cpuSeconds: used, takes: () => true })
  if (durability !== 'durable') return
  const remote = [first!, ...others].find(({ name }) => name !== primary)!.name
  servers.push({ name: 'remote3', target: { uri: uri(remote) }, cpuSeconds: used, takes: () => true })
}
