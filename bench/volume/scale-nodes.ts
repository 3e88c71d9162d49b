/**
 * Suite `scale-nodes`: what volumes that do nothing cost real processes. One node with 1 to 1,000 volumes of one copy,
 * and three nodes with as many in three copies: processor time, wake-ups, memory, a start; and how long it takes until
 * the volumes that a node led have another primary when its host dies.
 */
import { connectControlApi } from '../../cluster/api/client.ts'
import { RecordStore } from '../../cluster/reconcile/record-store.ts'
import { CONFIG_PREFIX, decodeConfig } from '../../cluster/store/volume-configs.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import type { Goal } from './goal.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { memoryOf, threadsOf } from './process-figures.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const COUNTS = [1, 10, 100, 1000]
/** What follows the last creation ends in it. */
const SETTLE_MS = 10_000
const SECONDS = 10
/** Volumes that are made at a time. */
const MAKERS = 8

interface Row {
  volumes: number
  /** Of a core. */
  percent: number
  wakeUps: number
  rssBytes: number
  startMs: number
}

export async function measureScaleNodes(context: SuiteContext): Promise<SuiteOutcome> {
  const counts = context.quick ? COUNTS.slice(0, 2) : COUNTS
  const alone = await measureAlone(context, counts)
  const { rows, storm } = await measureThree(context, counts)
  const of = (found: Row[], volumes: number): Row | undefined => found.find((row) => row.volumes === volumes)
  const goals: Goal[] = [
    idleGoal('idle with 100 volumes, the daemon', of(alone, 100)),
    idleGoal('idle with 100 volumes in three copies, the busiest of three daemons', of(rows, 100)),
  ]
  const text = [
    '**One node, one copy.** The daemon; a start is from the supervisor to the daemon that serves.', '', table(alone),
    '', '**Three nodes, three copies.** The busiest daemon, and the largest; a start is that of one that was killed.',
    '', table(rows), '',
    `The host of a node that led ${storm.led} of ${rows.at(-1)!.volumes} volumes dies: the first has another primary `
      + `after ${storm.firstMs.toFixed(0)} ms, the last after ${storm.lastMs.toFixed(0)} ms.`,
  ].join('\n')
  return { goals, text }
}

async function measureAlone({ scratch, print, quick }: SuiteContext, counts: readonly number[]): Promise<Row[]> {
  scratch.needRoom(3 * GIB)
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes: 2 * GIB })
  await node.start()
  const rows: Row[] = []
  for (let made = 0; made < counts.at(-1)!;) {
    await node.createVolume(`v${made++}`, MIB, 'durable')
    if (!counts.includes(made)) continue
    const [busiest] = await idle([node.daemonPid], quick)
    await node.stop()
    const beganMs = performance.now()
    await node.launch()
    rows.push({ volumes: made, ...busiest!, startMs: performance.now() - beganMs })
    print(`one copy: ${words(rows.at(-1)!)}`)
  }
  await node.stop()
  return rows
}

interface Storm {
  led: number
  firstMs: number
  lastMs: number
}

async function measureThree(
  { scratch, print, quick }: SuiteContext, counts: readonly number[],
): Promise<{ rows: Row[]; storm: Storm }> {
  scratch.needRoom(8 * GIB)
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const cluster = await ClusterOfDaemons.make(t, { dir: scratch.dir, diskBytes: 2 * GIB })
  try {
    await cluster.start()
    const { nodes } = cluster
    for (const { pid } of nodes) scratch.watchOver(pid)
    const rows: Row[] = []
    for (const [i, volumes] of counts.entries()) {
      await makeVolumes(cluster, counts[i - 1] ?? 0, volumes)
      const all = await idle(nodes.map(({ pid }) => pid), quick)
      const busiest = all.reduce((most, one) => (one.percent > most.percent ? one : most))
      const rssBytes = Math.max(...all.map((one) => one.rssBytes))
      const [last] = nodes.slice(-1)
      await last!.killNode()
      const beganMs = performance.now()
      await last!.start()
      scratch.watchOver(last!.pid)
      rows.push({ volumes, ...busiest, rssBytes, startMs: performance.now() - beganMs })
      print(`three copies: ${words(rows.at(-1)!)}`)
      await allHealthy(cluster, volumes)
    }
    const storm = await hostDies(cluster)
    print(`${storm.led} volumes lost their primary: ${storm.firstMs.toFixed(0)} to ${storm.lastMs.toFixed(0)} ms`)
    return { rows, storm }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

async function makeVolumes(cluster: ClusterOfDaemons, from: number, to: number): Promise<void> {
  const { nodes } = cluster
  let made = from
  await Promise.all(Array.from({ length: MAKERS }, async (_, maker) => {
    const { paths } = nodes[maker % nodes.length]!
    const api = connectControlApi({ socketPath: paths.api, source: 'the benchmark' })
    while (made < to) {
      await api.createVolume({ name: `v${made++}`, sizeBytes: MIB, parameters: {} }).catch((error: unknown) => {
        // A node that was away for long takes no copy for a while. It goes on by itself.
        if (!(error instanceof HoldfastError) || error.code !== 'volume-waits') throw error
      })
    }
    api.close()
  }))
  await allHealthy(cluster, to)
}

async function allHealthy({ nodes }: ClusterOfDaemons, volumes: number): Promise<void> {
  const api = connectControlApi({ socketPath: nodes[0]!.paths.api, source: 'the benchmark' })
  for (;;) {
    const status = await api.status().catch(() => undefined)
    if (status?.volumesHealthy === volumes) break
    await pause(200)
  }
  api.close()
}

/** The first node is not asked for anything any more. */
async function hostDies(cluster: ClusterOfDaemons): Promise<Storm> {
  const [victim] = cluster.nodes.slice(0, 1)
  const records = new RecordStore(cluster.store)
  const led = async (): Promise<number> => {
    const configs = await records.list(CONFIG_PREFIX, decodeConfig)
    return configs.filter(({ primary }) => primary === victim!.name).length
  }
  const before = await led()
  const beganMs = performance.now()
  await victim!.killNode()
  let [firstMs, left] = [0, before]
  while (left > 0) {
    left = await led()
    if (firstMs === 0 && left < before) firstMs = performance.now() - beganMs
    if (left > 0) await pause(20)
  }
  return { led: before, firstMs, lastMs: performance.now() - beganMs }
}

/** Of each process, once all is settled. */
async function idle(pids: readonly number[], quick: boolean): Promise<Array<Omit<Row, 'volumes' | 'startMs'>>> {
  const seconds = quick ? 2 : SECONDS
  await pause(quick ? 1000 : SETTLE_MS)
  const before = pids.map(sumOf)
  const beganMs = performance.now()
  await pause(seconds * 1000)
  const elapsed = (performance.now() - beganMs) / 1000
  return pids.map((pid, i) => {
    const now = sumOf(pid)
    return {
      percent: (now.cpuMs - before[i]!.cpuMs) / 10 / elapsed,
      wakeUps: (now.wakeUps - before[i]!.wakeUps) / elapsed,
      rssBytes: memoryOf(pid).rssBytes,
    }
  })
}

function sumOf(pid: number): { cpuMs: number; wakeUps: number } {
  let [cpuMs, wakeUps] = [0, 0]
  for (const used of threadsOf(pid).values()) {
    cpuMs += used.cpuMs
    wakeUps += used.wakeUps
  }
  return { cpuMs, wakeUps }
}

const words = ({ volumes, percent, wakeUps, rssBytes, startMs }: Row): string =>
  `${volumes} volumes, ${percent.toFixed(2)} % of a core, ${wakeUps.toFixed(0)} wake-ups/s, `
    + `${(rssBytes / MIB).toFixed(0)} MiB, start ${startMs.toFixed(0)} ms`

function table(rows: readonly Row[]): string {
  const cells = rows.map(({ volumes, percent, wakeUps, rssBytes, startMs }) => {
    const [least] = rows
    const more = volumes === least!.volumes ? '' : ((rssBytes - least!.rssBytes) / 1024 / (volumes - 1)).toFixed(0)
    const own = volumes === least!.volumes ? '' : ((percent - least!.percent) * 10_000 / (volumes - 1)).toFixed(1)
    const memory = `${(rssBytes / MIB).toFixed(0)} MiB`
    const start = `${startMs.toFixed(0)} ms`
    return `| ${[volumes, `${percent.toFixed(2)} %`, own, wakeUps.toFixed(0), memory, more, start].join(' | ')} |`
  })
  return [
    '| volumes | of a core | us/s each more | wake-ups/s | memory | KiB each more | start |',
    '|---|---|---|---|---|---|---|',
    ...cells,
  ].join('\n')
}

function idleGoal(name: string, row: Row | undefined): Goal {
  const wanted = '<= 1 % of a core'
  if (row === undefined) return { name, wanted, measured: undefined, met: undefined, note: 'a short run' }
  return { name, wanted, measured: `${row.percent.toFixed(2)} %`, met: row.percent <= 1 }
}
