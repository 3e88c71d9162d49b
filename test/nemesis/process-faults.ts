/** Faults of processes: kills, pauses, descriptors that run out, and kills at the worst moments. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import type { Random } from '../sim/random.ts'
import type { Fault } from './fault.ts'
import { give } from './orders.ts'
import type { Scene, SceneVolume } from './scene.ts'
import { orderFile } from './switched-nodes.ts'

/** A dead host stays down for so long. */
const DOWN_MS = 5000
/** Half of them are shorter than a grace. */
const PAUSE_MS = 5000
/** A copy that was let go begins to be filled. */
const FILL_MS = 20_000
const WATCH_MS = 20
const DAY_MS = 86_400_000
const BLOCKED_MS = 5000

/** kill -9 of the daemon, which its supervisor sees, or of both, which nobody sees; and back. */
export async function killAndBack(node: ClusterNodeProcess, random: Random): Promise<string> {
  if (random.chance(0.5)) {
    const back = node.ready()
    node.killDaemon()
    await back
    return `daemon of ${node.name}`
  }
  const downMs = random.int(DOWN_MS)
  await node.killNode()
  await sleep(downMs)
  await node.start()
  return `host ${node.name}, down for ${downMs} ms`
}

async function pause(node: ClusterNodeProcess, pausedMs: number): Promise<string> {
  process.kill(node.pid, 'SIGSTOP')
  await sleep(pausedMs)
  process.kill(node.pid, 'SIGCONT')
  return `${node.name} for ${pausedMs} ms`
}

const anyVolume = (scene: Scene, random: Random): SceneVolume => random.pick(scene.volumes)

/** Until a copy of a volume is a member out of the set, and its node runs. @returns whether it was seen */
async function seenFilling(scene: Scene, volume: SceneVolume, node: string): Promise<boolean> {
  for (const untilMs = performance.now() + FILL_MS; performance.now() < untilMs; await sleep(WATCH_MS)) {
    const { inSync } = await scene.config(volume)
    if (!inSync.includes(node)) return true
  }
  return false
}

/** The process lives, its other threads go on, and its kernel answers for it. */
function blockedLoop(thread: 'main' | 'worker'): Fault {
  return {
    row: 25, name: `the event loop of a ${thread === 'main' ? 'daemon' : 'data worker'} stands still`, kind: 'process',
    async run(scene, random) {
      const volume = anyVolume(scene, random)
      const leads = random.chance(0.7)
      const node = leads ? await scene.primaryOf(volume) : await scene.replicaOf(volume, random)
      const { pid } = node
      await give({ what: 'block', thread, forMs: BLOCKED_MS }, orderFile(scene.folder, node.name), pid)
      await scene.progress(20)
      if (node.pid !== pid) throw new Error(`the daemon of ${node.name} ended`)
      const now = (await scene.primaryOf(volume)).name
      return `${node.name}, ${leads ? `which led ${volume.name}; ${now} leads now` : `a replica of ${volume.name}`}`
    },
  }
}

export const PROCESS_FAULTS: readonly Fault[] = [
  {
    row: 1, name: 'kill -9 of a replica', kind: 'process',
    run: async (scene, random) => killAndBack(await scene.replicaOf(anyVolume(scene, random), random), random),
  },
  {
    row: 2, name: 'kill -9 of a primary', kind: 'process',
    run: async (scene, random) => killAndBack(await scene.primaryOf(anyVolume(scene, random)), random),
  },
  {
    row: 3, name: 'kill -9 of all nodes', kind: 'process',
    async run(scene) {
      await Promise.all(scene.nodes.map((node) => node.killNode()))
      await Promise.all(scene.nodes.map((node) => node.start()))
      return 'all hosts'
    },
  },
  {
    row: 5, name: 'kill -9 of the elected controller', kind: 'process',
    async run(scene, random) {
      const node = await scene.elected()
      return node === undefined ? undefined : killAndBack(node, random)
    },
  },
  {
    row: 6, name: 'a primary stands still', kind: 'process',
    run: async (scene, random) => pause(await scene.primaryOf(anyVolume(scene, random)), 500 + random.int(PAUSE_MS)),
  },
  {
    row: 7, name: 'a replica stands still', kind: 'process',
    run: async (scene, random) =>
      pause(await scene.replicaOf(anyVolume(scene, random), random), 100 + random.int(PAUSE_MS)),
  },
  {
    row: 20, name: 'a node starts with another boot clock', kind: 'process',
    missing: () => (spawnSync('unshare', ['--time', 'true']).status === 0 ? undefined : 'there are no time namespaces'),
    async run(scene, random) {
      const node = random.pick(scene.nodes)
      const offsetS = random.pick([86_400, 1_000_000])
      await node.killNode()
      node.under = ['unshare', '--time', '--boottime', String(offsetS), '--fork', '--kill-child']
      try {
        await node.start()
        await scene.progress(20)
        await node.killNode()
      } finally {
        node.under = []
      }
      await node.start()
      return `${node.name} by ${offsetS} s`
    },
  },
  {
    row: 20, name: 'a wall clock jumps', kind: 'process',
    async run(scene, random) {
      const volume = anyVolume(scene, random)
      const node = random.chance(0.5) ? await scene.primaryOf(volume) : random.pick(scene.nodes)
      const file = orderFile(scene.folder, node.name)
      const offsetMs = random.pick([-DAY_MS, DAY_MS])
      const forMs = random.int(PAUSE_MS)
      await give({ what: 'wall', thread: 'all', offsetMs }, file, node.pid)
      await sleep(forMs)
      await scene.progress(20)
      await give({ what: 'wall', thread: 'all', offsetMs: 0 }, file, node.pid)
      return `${node.name} by ${offsetMs / 1000} s, for ${forMs} ms`
    },
  },
  blockedLoop('worker'),
  blockedLoop('main'),
  {
    row: 25, name: 'a daemon has no descriptors left', kind: 'process',
    missing: () => (spawnSync('prlimit', ['--version']).status === 0 ? undefined : 'there is no prlimit'),
    async run(scene, random) {
      const { name, pid } = random.pick(scene.nodes)
      const [soft, hard] = limitsOf(pid)
      const used = readdirSync(`/proc/${pid}/fd`).length
      const limit = (files: string): void => void spawnSync('prlimit', ['--pid', String(pid), `--nofile=${files}`])
      limit(`${used + random.int(3)}:${hard}`)
      await sleep(500 + random.int(3000))
      limit(`${soft}:${hard}`)
      return `${name}, ${used} in use`
    },
  },
  {
    row: 30, name: 'killed while it is filled, its source after it', kind: 'process',
    async run(scene, random) {
      const volume = anyVolume(scene, random)
      const node = await scene.replicaOf(volume, random)
      await node.killNode()
      if (!(await seenFilling(scene, volume, node.name))) {
        await node.start()
        return undefined
      }
      await node.start()
      await sleep(random.int(400))
      await node.killNode()
      await node.start()
      await sleep(random.int(200))
      const source = await scene.primaryOf(volume)
      if (source === node || random.chance(0.5)) return `${node.name}, of ${volume.name}`
      await source.killNode()
      await source.start()
      return `${node.name} and ${source.name}, of ${volume.name}`
    },
  },
  {
    row: 30, name: 'killed as soon as it is promoted', kind: 'process',
    async run(scene, random) {
      const volume = anyVolume(scene, random)
      const first = await scene.primaryOf(volume)
      await first.killNode()
      const untilMs = performance.now() + FILL_MS
      let next = first
      while (next === first && performance.now() < untilMs) {
        await sleep(WATCH_MS)
        next = await scene.primaryOf(volume)
      }
      if (next !== first) {
        await sleep(random.int(50))
        await next.killNode()
      }
      await Promise.all([...new Set([first, next])].filter(({ isUp }) => !isUp).map((node) => node.start()))
      return next === first ? undefined : `${next.name} after ${first.name}, of ${volume.name}`
    },
  },
]

function limitsOf(pid: number): [soft: string, hard: string] {
  const words = ['--pid', String(pid), '--nofile', '--noheadings', '--output', 'SOFT,HARD']
  const [soft, hard] = spawnSync('prlimit', words, { encoding: 'utf8' }).stdout.trim().split(/\s+/)
  return [soft!, hard!]
}
