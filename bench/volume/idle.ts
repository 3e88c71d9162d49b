/**
 * Suite `idle`: the processor time of a node that holds 100 volumes and has nothing to do: alone, and as one of three
 * nodes of a cluster that hold all of them in three copies.
 */
import { connectControlApi } from '../../cluster/api/client.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import type { Goal } from './goal.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { cpuSeconds, memoryOf } from './process-figures.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const VOLUMES = 100
const LIMIT_PERCENT = 1
const LIMIT_MIB = 300
/** Over which what follows the creation (watermarks, initialised segments) ends. */
const SETTLE_SECONDS = 15
const SECONDS = 20

export async function measureIdle(context: SuiteContext): Promise<SuiteOutcome> {
  const seconds = context.quick ? 5 : SECONDS
  context.scratch.needRoom(5 * GIB)
  const goals = [await measureAlone(context, seconds), ...(await measureCluster(context, seconds))]
  const text = `Processor time over ${seconds} s, ${SETTLE_SECONDS} s after the last volume was made.`
  return { goals, text }
}

async function measureAlone({ scratch, print }: SuiteContext, seconds: number): Promise<Goal> {
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes: 2 * GIB })
  await node.start()
  for (let i = 0; i < VOLUMES; i++) await node.createVolume(`v${i}`, 64 * MIB, 'durable')
  const [percent] = await percentsOf([() => node.cpuSeconds()], seconds)
  await node.stop()
  print(`${VOLUMES} volumes: ${percent!.toFixed(2)} % of a core over ${seconds} s`)
  return cpuGoal(`idle with ${VOLUMES} volumes, supervisor and daemon`, percent!)
}

async function measureCluster({ scratch, print }: SuiteContext, seconds: number): Promise<Goal[]> {
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const cluster = await ClusterOfDaemons.make(t, { dir: scratch.dir, diskBytes: GIB })
  try {
    await cluster.start()
    const { nodes } = cluster
    for (const { pid } of nodes) scratch.watchOver(pid)
    for (let i = 0; i < VOLUMES; i++) {
      const api = connectControlApi({ socketPath: nodes[i % nodes.length]!.paths.api, source: 'the benchmark' })
      let volume = await api.createVolume({ name: `v${i}`, sizeBytes: 16 * MIB, parameters: {} })
      for (; volume.health !== 'healthy'; await pause(50)) volume = await api.getVolume({ name: volume.name })
      api.close()
    }
    const percents = await percentsOf(nodes.map(({ pid }) => () => cpuSeconds([pid])), seconds)
    const sizesMib = nodes.map(({ pid }) => memoryOf(pid).rssBytes / MIB)
    const shown = nodes.map(({ name }, i) => `${name} ${percents[i]!.toFixed(2)} %, ${sizesMib[i]!.toFixed(0)} MiB`)
    print(`${VOLUMES} volumes in three copies: ${shown.join('; ')}`)
    const mostMib = Math.max(...sizesMib)
    return [
      cpuGoal(`idle with ${VOLUMES} volumes in three copies, the busiest of three daemons`, Math.max(...percents)),
      {
        name: 'the same, resident memory of the largest daemon',
        wanted: `<= ${LIMIT_MIB} MiB`,
        measured: `${mostMib.toFixed(0)} MiB`,
        met: mostMib <= LIMIT_MIB,
      },
    ]
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

const cpuGoal = (name: string, percent: number): Goal => ({
  name,
  wanted: `<= ${LIMIT_PERCENT} % of a core`,
  measured: `${percent.toFixed(2)} %`,
  met: percent <= LIMIT_PERCENT,
})

/** Percent of a core that each used, once all is settled. */
async function percentsOf(used: ReadonlyArray<() => number>, seconds: number): Promise<number[]> {
  await pause(SETTLE_SECONDS * 1000)
  const before = used.map((one) => one())
  const beganMs = performance.now()
  await pause(seconds * 1000)
  const elapsedSeconds = (performance.now() - beganMs) / 1000
  return used.map((one, i) => ((one() - before[i]!) / elapsedSeconds) * 100)
}
