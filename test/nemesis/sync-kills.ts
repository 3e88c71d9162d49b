/**
 * Kills at the worst moments of what is stored (row 30): a daemon dies as one of its threads asks for a sync, of a disk
 * that is made, of what it recovers or is filled with, or of a checkpoint. strace sends the signal as the call begins.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { processGone } from '../dataplane/node-process.ts'
import type { Random } from '../sim/random.ts'
import type { Fault } from './fault.ts'
import type { Scene } from './scene.ts'
import { straceMissing } from './system-call-faults.ts'

const SYNCS = 'fdatasync,fsync'
const KILLED = /killed by SIGKILL/
/** A start, with its recovery and what it is filled with. */
const START_MS = 20_000
/** A copy that is away is let go. */
const LET_GO_MS = 10_000
const LOOK_MS = 20
const LOAD_MS = 3000
const ATTACHED = /attached/

/** Each thread has its own count. */
const killAt = (nth: number): string[] => ['-e', `trace=${SYNCS}`, '-e', `inject=${SYNCS}:signal=KILL:when=${nth}`]
const textOf = (file: string): string => (existsSync(file) ? readFileSync(file, 'utf8') : '')
const syncsIn = (text: string): number => text.match(/ f(data)?sync\(/g)?.length ?? 0

/** A node that is down starts, dies at a sync, and starts again. @returns how many there were, undefined if it lived */
async function diesStarting(scene: Scene, node: ClusterNodeProcess, nth: number): Promise<number | undefined> {
  const seen = path.join(scene.folder, `${node.name}.syncs`)
  // The supervisor stays our child, and what it starts is traced as well.
  node.under = ['strace', '-D', '-f', '-o', seen, ...killAt(nth)]
  try {
    node.spawn()
    const untilMs = performance.now() + START_MS
    while (!KILLED.test(textOf(seen)) && performance.now() < untilMs) await sleep(LOOK_MS)
    const pid = Number(textOf(node.paths.pid))
    await node.killNode()
    // Its supervisor may have started another one by now, which dies with it.
    if (pid > 0) await processGone(pid)
  } finally {
    node.under = []
  }
  await node.start()
  const text = textOf(seen)
  rmSync(seen, { force: true })
  return KILLED.test(text) ? syncsIn(text) : undefined
}

async function letGo(scene: Scene, volume: Scene['volumes'][number], node: string): Promise<void> {
  for (const untilMs = performance.now() + LET_GO_MS; performance.now() < untilMs; await sleep(LOOK_MS)) {
    if (!(await scene.config(volume)).inSync.includes(node)) return
  }
}

/** Files of its indexes that are open: they are synced at checkpoints. */
function indexFiles({ pid, paths }: ClusterNodeProcess): string[] {
  const files: string[] = []
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const file = readlinkSync(`/proc/${pid}/fd/${fd}`)
      if (file.startsWith(paths.index)) files.push(file)
    } catch {
      // Closed meanwhile.
    }
  }
  return files
}

async function diesAtCheckpoint(scene: Scene, node: ClusterNodeProcess, random: Random): Promise<string | undefined> {
  const seen = path.join(scene.folder, `${node.name}.syncs`)
  const only = indexFiles(node).flatMap((file) => ['-P', file])
  const words = ['-f', '-o', seen, ...only, ...killAt(1), '-p', String(node.pid)]
  const strace = spawn('strace', words, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(strace, 'close')
  await new Promise<void>((resolve) => {
    void ended.then(() => resolve())
    strace.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (ATTACHED.test(text)) resolve()
    })
  })
  // One may come under load; a clean stop makes one.
  await Promise.race([sleep(random.int(LOAD_MS)), ended])
  const how = strace.exitCode === null && strace.signalCode === null ? 'as it stopped' : 'under load'
  await node.stop()
  strace.kill('SIGINT')
  await ended
  await node.start()
  const text = textOf(seen)
  rmSync(seen, { force: true })
  return KILLED.test(text) ? `${node.name}, ${how}` : undefined
}

export const SYNC_KILLS: readonly Fault[] = [
  {
    row: 30, name: 'killed at a sync of its start or its filling', kind: 'process', missing: straceMissing,
    async run(scene, random) {
      const volume = random.pick(scene.volumes)
      const node = await scene.replicaOf(volume, random)
      await node.killNode()
      const isLetGo = random.chance(0.7)
      if (isLetGo) await letGo(scene, volume, node.name)
      const syncs = await diesStarting(scene, node, 1 + random.int(6))
      return syncs === undefined ? undefined : `${node.name} at sync ${syncs}${isLetGo ? ', let go before' : ''}`
    },
  },
  {
    row: 30, name: 'killed at a sync while its disk is made', kind: 'media', missing: straceMissing,
    async run(scene, random) {
      const node = scene.mediaNode
      await node.killNode()
      rmSync(node.config.disks[0]!.path)
      // One that it had is not made anew.
      rmSync(node.paths.seenDisks)
      rmSync(node.paths.index, { recursive: true })
      const syncs = await diesStarting(scene, node, 1 + random.int(3))
      return syncs === undefined ? undefined : `${node.name} at sync ${syncs}`
    },
  },
  {
    row: 30, name: 'killed at a sync of its checkpoint', kind: 'process', missing: straceMissing,
    run: (scene, random) => diesAtCheckpoint(scene, random.pick(scene.nodes), random),
  },
]
