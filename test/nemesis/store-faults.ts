/**
 * Faults of the cluster store (row 22): it dies, stands still, is slow, full, an old backup of itself, or has forgotten
 * what a node missed.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdConnection } from '../../cli/load/nbd-connection.ts'
import { beatKey } from '../../cluster/membership/beat-body.ts'
import { decodeHeartbeat } from '../../cluster/store/heartbeats.ts'
import { MIB } from '../../engine/units.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { RawEtcd, bytes } from '../conformance/cluster-store/raw-etcd.ts'
import type { Fault } from './fault.ts'
import { allowed } from './plan-faults.ts'
import { NAMES } from './scene.ts'
import type { Scene } from './scene.ts'
import { MOUNT_MISSING } from './small-file-system.ts'
import { STORE } from './switched-nodes.ts'
import { inject, straceMissing } from './system-call-faults.ts'

const AWAY_MS = 6000
const SLOW_MS = 5000
const SERVED_MS = 60_000
const LOOK_MS = 50

/** What lies in a folder, without the folder: it may be a mount point. */
function replaceContent(from: string, to: string): void {
  for (const name of readdirSync(to)) rmSync(path.join(to, name), { recursive: true })
  cpSync(from, to, { recursive: true })
}

/** How often each node's process has beaten, as the store has it. */
async function beats({ cluster, nodes }: Scene): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (const { name } of nodes) {
    const entry = await cluster.store.get(beatKey(name))
    const beat = entry.ok && entry.value !== undefined ? decodeHeartbeat(entry.value.value) : undefined
    if (beat !== undefined) found.set(name, beat.beat)
  }
  return found
}

/** Each beats again only when it was answered. */
async function beatenTwice(scene: Scene, before: ReadonlyMap<string, number>): Promise<void> {
  for (const untilMs = performance.now() + SERVED_MS; performance.now() < untilMs; await sleep(LOOK_MS)) {
    const now = await beats(scene)
    if (scene.nodes.every(({ name }) => (now.get(name) ?? 0) >= (before.get(name) ?? 0) + 2)) return
  }
  throw new Error(`not every node is heard through the store after ${SERVED_MS / 1000} s`)
}

interface Headed {
  header: { revision: string }
}

/** All history. @returns up to where */
async function compact(address: string): Promise<string> {
  const ends: Array<() => unknown> = []
  try {
    const raw = new RawEtcd({ teardown: (end: () => unknown) => ends.push(end) } as never, address)
    const { header: { revision } } = (await raw.call('KV', 'Range', { key: bytes('/') })) as Headed
    const said = (await raw.call('KV', 'Compact', { revision, physical: true })) as { code?: number }
    if (said.code !== undefined) throw new Error(`not compacted: ${JSON.stringify(said)}`)
    return revision
  } finally {
    for (const end of ends) end()
  }
}

/** Its clients can use a volume that it was told of late. */
async function served({ name, paths }: ClusterNodeProcess, volume: string): Promise<void> {
  for (const untilMs = performance.now() + SERVED_MS; performance.now() < untilMs; await sleep(LOOK_MS)) {
    const connection = await NbdConnection.open(paths.nbd, volume, true)
    await connection?.disconnect()
    if (connection !== undefined) return
  }
  throw new Error(`${name} does not know ${volume} after ${SERVED_MS / 1000} s`)
}

export const STORE_FAULTS: readonly Fault[] = [
  {
    row: 22, name: 'the store is killed', kind: 'path',
    async run({ cluster: { storeProcess } }, random) {
      const forMs = random.int(AWAY_MS)
      await storeProcess.kill()
      await sleep(forMs)
      await storeProcess.start()
      return `for ${forMs} ms`
    },
  },
  {
    row: 22, name: 'the store stands still', kind: 'path',
    async run({ cluster: { storeProcess } }, random) {
      const forMs = random.int(AWAY_MS)
      storeProcess.signal('SIGSTOP')
      await sleep(forMs)
      storeProcess.signal('SIGCONT')
      return `for ${forMs} ms`
    },
  },
  {
    row: 22, name: 'the disk of the store is slow', kind: 'path', missing: straceMissing,
    async run({ cluster: { storeProcess: { pid } }, folder }, random) {
      const delayMs = 50 + random.int(1000)
      const what = `delay_enter=${delayMs * 1000}`
      const count = await inject({ pid, calls: 'fdatasync,fsync', what, forMs: SLOW_MS, folder })
      return count === 0 ? undefined : `${count} syncs, ${delayMs} ms each`
    },
  },
  {
    row: 22, name: 'what a node missed is compacted away', kind: 'path',
    async run(scene, random) {
      const { switchboard, cluster: { storeProcess } } = scene
      const name = random.pick(NAMES)
      const ways = [[name, STORE], [STORE, name]] as const
      for (const [from, to] of ways) switchboard.set(from, to, { cut: true })
      // What was on its way does not come late: it asks again, from where it was.
      switchboard.reset(name, STORE)
      const others = scene.nodes.filter((node) => node.name !== name)
      const volume = `missed-${random.u32().toString(16)}`
      const request = { name: volume, sizeBytes: MIB, parameters: { replicas: '0' } }
      const made = allowed(scene.ask((control) => control.createVolume(request), others))
      await Promise.race([made, sleep(random.int(AWAY_MS))])
      const revision = await compact(storeProcess.address)
      for (const [from, to] of ways) switchboard.set(from, to, { cut: false })
      if ((await made) === undefined) return `up to ${revision}, and nothing was made`
      await served(scene.cluster.node(name), volume)
      await allowed(scene.ask((control) => control.deleteVolume({ name: volume, force: true, purge: true })))
      return `up to ${revision}, ${name} serves what was made meanwhile`
    },
  },
  {
    row: 13, name: 'the disk of the store is full', kind: 'media',
    missing: ({ small }) => (small.store === undefined ? MOUNT_MISSING : undefined),
    async run({ cluster: { storeProcess }, small }, random) {
      const forMs = 1000 + random.int(AWAY_MS)
      small.store!.fill()
      // It beats every second; what it cannot store ends it, with a sentence.
      const hasEnded = await Promise.race([storeProcess.ended().then(() => true), sleep(forMs, false)])
      small.store!.free()
      await storeProcess.kill()
      await storeProcess.start()
      return hasEnded ? 'it ended' : `for ${forMs} ms`
    },
  },
  {
    row: 22, name: 'an old backup takes the place of the store', kind: 'media',
    async run(scene) {
      const { storeProcess } = scene.cluster
      const [old, now] = [`${scene.folder}/store.old`, `${scene.folder}/store.now`]
      const before = await beats(scene)
      await storeProcess.kill()
      cpSync(storeProcess.dir, old, { recursive: true })
      await storeProcess.start()
      await scene.progress(20)
      // A node that knows nothing newer than the backup would believe it, and what it writes there is gone with it.
      await beatenTwice(scene, before)
      await storeProcess.kill()
      cpSync(storeProcess.dir, now, { recursive: true })
      replaceContent(old, storeProcess.dir)
      await storeProcess.start()
      // Nobody believes it, and nobody needs one.
      await scene.progress(50)
      await storeProcess.kill()
      replaceContent(now, storeProcess.dir)
      await storeProcess.start()
      for (const dir of [old, now]) rmSync(dir, { recursive: true })
      return 'and goes again'
    },
  },
]
