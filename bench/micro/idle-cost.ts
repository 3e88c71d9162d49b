/**
 * What 100 idle volumes in three copies cost each of three daemons, thread by thread: percent of a core and wake-ups a
 * second. Of a busy machine only ratios count: with several trees (worktrees of this repository, with their packages)
 * each runs a cluster of its own, and all of them are measured at the same time.
 *
 *   bin/node24 --dev bench/micro/idle-cost.ts [--tree DIR]... [--volumes 100] [--seconds 60] [--rounds 3] [--dir DIR]
 *                                             [--env NAME=VALUE]...
 */
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { connectControlApi } from '../../cluster/api/client.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { GIB, MIB } from '../../engine/units.ts'
import type { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { clusterOfTree } from '../volume/cluster-of-tree.ts'
import { threadsOf } from '../volume/process-figures.ts'
import type { Used } from '../volume/process-figures.ts'
import { pause, Scratch } from '../volume/scratch.ts'

/** What follows the creation (watermarks, initialised segments) ends in it. */
const SETTLE_MS = 15_000
/** Volumes that are made at a time. */
const MAKERS = 3

const { values } = parseArgs({
  options: {
    tree: { type: 'string', multiple: true, default: [path.join(import.meta.dirname, '../..')] },
    volumes: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '60' },
    rounds: { type: 'string', default: '3' },
    env: { type: 'string', multiple: true, default: [] },
    dir: { type: 'string', default: os.tmpdir() },
  },
})
const seconds = Number(values.seconds)
const scratch = new Scratch(values.dir)
const ends: Array<() => unknown> = []
let nextPort = 25_990

async function start(tree: string, name: string): Promise<ClusterOfDaemons> {
  const env = Object.fromEntries(values.env.map((pair) => pair.split(/=(.*)/s) as [string, string]))
  const own = { tree, name, port: nextPort++, scratch, ends }
  const cluster = await clusterOfTree({ ...own, diskBytes: GIB, setUp: () => ({ env }) })
  await cluster.start()
  const { nodes } = cluster
  for (const { pid } of nodes) scratch.watchOver(pid)
  const apis = nodes.map(({ paths }) => connectControlApi({ socketPath: paths.api, source: 'the benchmark' }))
  let made = 0
  const make = async (): Promise<void> => {
    while (made < Number(values.volumes)) {
      const api = apis[made % apis.length]!
      const name = `v${made++}`
      await api.createVolume({ name, sizeBytes: 16 * MIB, parameters: {} }).catch((error: unknown) => {
        // It goes on by itself.
        if (!(error instanceof HoldfastError) || error.code !== 'volume-waits') throw error
      })
      const health = async (): Promise<string | undefined> =>
        (await api.getVolume({ name }).catch(() => undefined))?.health
      while ((await health()) !== 'healthy') await pause(300)
    }
  }
  await Promise.all(Array.from({ length: MAKERS }, make))
  for (const api of apis) api.close()
  return cluster
}

function difference(before: ReadonlyMap<string, Used>, after: ReadonlyMap<string, Used>): Map<string, Used> {
  return new Map([...after].map(([name, { cpuMs, wakeUps }]) => {
    const { cpuMs: cpuBefore, wakeUps: wakeUpsBefore } = before.get(name) ?? { cpuMs: 0, wakeUps: 0 }
    return [name, { cpuMs: cpuMs - cpuBefore, wakeUps: wakeUps - wakeUpsBefore }]
  }))
}

function shown(used: ReadonlyMap<string, Used>, elapsedSeconds: number): string {
  const percent = (ms: number): string => (ms / 10 / elapsedSeconds).toFixed(3)
  const all = [...used.values()].reduce((sum, { cpuMs }) => sum + cpuMs, 0)
  const threads = [...used].sort(([, a], [, b]) => b.cpuMs - a.cpuMs).slice(0, 4)
    .map(([name, { cpuMs, wakeUps }]) => `${name} ${percent(cpuMs)} (${(wakeUps / elapsedSeconds).toFixed(1)}/s)`)
  return `${percent(all)} %: ${threads.join(', ')}`
}

try {
  const clusters: ClusterOfDaemons[] = []
  // At the same time, so that what V8 has compiled of one is as old as of the other.
  clusters.push(...(await Promise.all(values.tree.map((tree, i) => start(tree, `t${i + 1}`)))))
  console.log('all volumes are made')
  await pause(SETTLE_MS)
  const subjects = clusters.flatMap(({ nodes }, i) => nodes.map((node) => ({ tree: `t${i + 1}`, node, pid: node.pid })))
  console.log(`daemons: ${subjects.map(({ tree, node, pid }) => `${tree} ${node.name} ${pid}`).join(', ')}`)
  for (let round = 0; round < Number(values.rounds); round++) {
    const elected = await Promise.all(clusters.map((cluster) => cluster.elected().catch(() => '')))
    const beganMs = performance.now()
    const before = subjects.map(({ pid }) => threadsOf(pid))
    await pause(seconds * 1000)
    const used = subjects.map(({ pid }, i) => difference(before[i]!, threadsOf(pid)))
    const elapsedSeconds = (performance.now() - beganMs) / 1000
    for (const [i, { tree, node }] of subjects.entries()) {
      const role = elected.some((name, j) => tree === `t${j + 1}` && name === node.name) ? 'elected' : ''
      console.log(`${tree} ${node.name} ${role.padEnd(8)}${shown(used[i]!, elapsedSeconds)}`)
    }
  }
} catch (error) {
  console.log(error)
  process.exitCode = 1
} finally {
  for (const end of ends.reverse()) await end()
  scratch.remove()
}
process.exit()
