/**
 * Four nodes as processes with their supervisors, the embedded cluster store, the switchboard between all of them, and
 * volumes with a stamped client each, two of them encrypted, through nodes of their own. What faults ask about the
 * cluster is asked of the cluster store, and what they wish, of the control API of any node.
 */
import { randomBytes } from 'node:crypto'
import { cpSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { CONTROLLER_KEY } from '../../cluster/reconcile/election.ts'
import { decodeHeartbeat } from '../../cluster/store/heartbeats.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import type { ClusterOptions } from '../cluster/cluster-of-daemons.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { EMBEDDED, StoreProcess } from '../conformance/cluster-store/store-process.ts'
import type { Random } from '../sim/random.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { exchangeDisk } from './empty-disk.ts'
import { KeptSnapshots } from './kept-snapshots.ts'
import { SmallFileSystem } from './small-file-system.ts'
import { SwitchedNodes } from './switched-nodes.ts'
import { Switchboard } from './switchboard.ts'

export const NAMES = ['n1', 'n2', 'n3', 'n4'] as const
/** Everything is back in its place after a fault. */
const WHOLE_MS = 90_000
const ASK_MS = 20_000
const START_MS = 60_000
const LOOK_MS = 50
const MOVE_AGAIN_MS = 2000
const LOOKS = MOVE_AGAIN_MS / LOOK_MS
/** Volumes with a copy on the node whose disk suffers. */
const COPIES_THERE_LEAST = 2
const PLANT = path.join(import.meta.dirname, '../sim/mutants.ts')
/** What a node's folder lies on, where file systems can be mounted: a few of LevelDB's files and the logs. */
const NODE_FOLDER_BYTES = 96 * MIB
const STORE_FOLDER_BYTES = 32 * MIB

/** Of those that are encrypted a third is enough: disks have to hold clones of them too. */
const ENCRYPTED_PART = 3

const VOLUMES = [
  { name: 'alpha', replicas: 2, durability: 'durable', at: 'n4', cipher: undefined },
  { name: 'beta', replicas: 1, durability: 'durable', at: 'n2', cipher: undefined },
  { name: 'gamma', replicas: 2, durability: 'writeback', at: 'n1', cipher: undefined },
  { name: 'delta', replicas: 2, durability: 'durable', at: 'n3', cipher: 'aes-256-xts' },
  { name: 'epsilon', replicas: 1, durability: 'writeback', at: 'n4', cipher: 'aes-256-gcm' },
] as const

/** Few requests in flight wait for syncs and not for processors. */
const LIGHT = { depth: 4, requestBlocksMax: 64 }
/** Many small ones, so that what a write costs is a processor's time; and large ones in one volume. */
const SMALL = { depth: 32, requestBlocksMax: 8 }
const HEAVY = { alpha: SMALL, beta: LIGHT, gamma: SMALL, delta: LIGHT, epsilon: LIGHT }

const isNoSocket = (file: string): boolean => !lstatSync(file).isSocket()

export interface SceneOptions {
  random: Random
  /** Planted in every process of the nodes (test/sim/mutants.ts). */
  plantedBug?: string | undefined
  diskBytes?: number
  volumeBytes?: number
  load?: 'light' | 'heavy'
  /** Data workers of each node. */
  workers?: number
}

export interface SceneVolume {
  name: string
  id: string
  durability: 'durable' | 'writeback'
  copies: number
  client: StampedClient
  at: string
  /** Of the attachment, when the clients began. */
  generation: number
}

export class Scene {
  readonly cluster: ClusterOfDaemons
  readonly switchboard: Switchboard
  readonly folder: string
  /** Whose disk and folder faults are done to. */
  readonly mediaNode: ClusterNodeProcess
  readonly volumes: SceneVolume[] = []
  readonly snapshots = new KeptSnapshots(this)
  /** Where a full file system can be had: the folder of the media node, the one of the store. */
  readonly small: { node: SmallFileSystem | undefined; store: SmallFileSystem | undefined }
  readonly #undo: Array<() => unknown>
  #kept: string | undefined

  private constructor(parts: Pick<Scene, 'cluster' | 'switchboard' | 'folder' | 'mediaNode' | 'small'>, undo: []) {
    this.cluster = parts.cluster
    this.switchboard = parts.switchboard
    this.folder = parts.folder
    this.mediaNode = parts.mediaNode
    this.small = parts.small
    this.#undo = undo
  }

  /** The nodes serve, the volumes are whole, the clients wait. `close` in any case. */
  static async make(options: SceneOptions): Promise<Scene> {
    const { random, plantedBug, diskBytes = 384 * MIB, workers = 1 } = options
    const undo: Array<() => unknown> = []
    const teardown = (run: () => unknown): unknown => undo.push(run)
    const folder = mkdtempSync(path.join(os.tmpdir(), 'hfn-'))
    teardown(() => rmSync(folder, { recursive: true, force: true }))
    const switchboard = new Switchboard()
    teardown(() => switchboard.close())
    const planted = plantedBug === undefined ? {} : { imports: [PLANT], env: { PLANTED_BUG: plantedBug } }
    const nodes = new SwitchedNodes({ switchboard, names: NAMES, folder, ...planted })
    const storeProcess = new StoreProcess({ teardown } as never, EMBEDDED)
    const storeFiles = SmallFileSystem.mount(path.join(folder, 'store.img'), storeProcess.dir, STORE_FOLDER_BYTES)
    await storeProcess.start()
    const t = { teardown } as never
    const clusterKey = path.join(folder, 'cluster.key')
    writeFileSync(clusterKey, randomBytes(32).toString('hex'))
    const setUp: ClusterOptions['setUp'] = (name, store) => {
      const { change, env } = nodes.setUp(name, store)
      return { change: { ...change, clusterKey }, env }
    }
    const cluster = await ClusterOfDaemons.make(t, { names: NAMES, diskBytes, workers, setUp, storeProcess })
    const mediaNode = random.pick(cluster.nodes)
    const nodeFiles =
      SmallFileSystem.mount(path.join(folder, 'node.img'), mediaNode.paths.folder, NODE_FOLDER_BYTES)
    const small = { node: nodeFiles, store: storeFiles }
    const scene = new Scene({ cluster, switchboard, folder, mediaNode, small }, undo as [])
    try {
      await nodes.listen(storeProcess.address)
      await within(START_MS, cluster.start(), 'the nodes do not get ready')
      await within(START_MS, scene.#makeVolumes(options), 'the volumes do not get ready')
    } catch (error) {
      await scene.close()
      throw error
    }
    return scene
  }

  async #makeVolumes({ random, volumeBytes = 24 * MIB, load = 'light' }: SceneOptions): Promise<void> {
    const clock = { now: 0 }
    for (const { name, replicas, durability, at, cipher } of VOLUMES) {
      const sizeBytes = cipher === undefined ? volumeBytes : volumeBytes / ENCRYPTED_PART
      const encryption = cipher === undefined ? {} : { encryption: 'true', cipher }
      const parameters = { replicas: String(replicas), durability, ...encryption }
      const { id } = await this.ask((control) => control.createVolume({ name, sizeBytes, parameters }))
      // Numbers of its own: how fast it is must not change which faults are chosen.
      const own = random.fork(`client of ${name}`)
      const client = new StampedClient({
        socketPath: this.cluster.node(at).paths.nbd, exportName: name, isCluster: true,
        writeback: durability === 'writeback',
        ...(load === 'heavy' ? HEAVY[name] : LIGHT),
        random: () => own.float(),
        clock,
      })
      this.volumes.push({ name, id, durability, copies: replicas + 1, client, at, generation: 0 })
      await client.connected()
    }
    await this.whole()
    for (const volume of this.volumes) volume.generation = (await this.config(volume)).attach.generation
  }

  /**
   * The node that suffers has something to lose: a disk that is out of use is replaced by an empty one, as an operator
   * would, and copies of two volumes at least are there and in their sets.
   * @returns words about what had to be done, empty when nothing had
   */
  async refillMediaNode(): Promise<string> {
    const { mediaNode } = this
    const { name } = mediaNode
    const done: string[] = []
    if (!(await this.#isDiskOnline(name))) {
      await mediaNode.killNode()
      exchangeDisk(mediaNode)
      await mediaNode.start()
      done.push(`its disk is replaced`)
    }
    for (const volume of this.volumes) {
      await this.whole()
      const members = await Promise.all(this.volumes.map(async (one) => (await this.config(one)).members))
      if (members.filter((one) => one[name] !== undefined).length >= COPIES_THERE_LEAST) break
      if ((await this.config(volume)).members[name] !== undefined) continue
      await this.moveHere(volume, name)
      done.push(`${volume.name} is moved there`)
    }
    await this.whole()
    return done.join(', ')
  }

  async #isDiskOnline(name: string): Promise<boolean> {
    // Behind a fault of the store nobody may be elected yet.
    for (const untilMs = performance.now() + WHOLE_MS; ; await sleep(LOOK_MS)) {
      try {
        const { disks } = await this.ask((control) => control.getNode({ name }))
        return disks.length > 0 && disks.every(({ state }) => state === 'online')
      } catch (error) {
        if (!(error instanceof HoldfastError) || performance.now() > untilMs) throw error
      }
    }
  }

  /** A node that just came back takes nothing new for a while: asked again until it does. */
  async moveHere(volume: Pick<SceneVolume, 'name' | 'id'>, to: string): Promise<void> {
    for (const untilMs = performance.now() + WHOLE_MS; ; await sleep(LOOK_MS)) {
      const { members, inSync } = await this.config(volume)
      if (inSync.includes(to)) return
      if (performance.now() > untilMs) throw new Error(`no copy of ${volume.name} comes to ${to}`)
      if (members[to] !== undefined) continue
      const wish = { name: volume.name, what: 'copy' as const, to, from: '' }
      await this.ask((control) => control.moveVolume(wish)).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error
      })
      await sleep(MOVE_AGAIN_MS)
    }
  }

  /** The copy on a node leads, if there is one. */
  async leadBy(volume: SceneVolume, { name }: ClusterNodeProcess): Promise<boolean> {
    const { members } = await this.config(volume)
    if (members[name] === undefined) return false
    const wish = { name: volume.name, what: 'primary' as const, to: name, from: '' }
    // Refused while a copy is away, and nobody answers while nodes are: asked again until it is so.
    for (const untilMs = performance.now() + WHOLE_MS; (await this.config(volume)).primary !== name;) {
      if (performance.now() > untilMs) throw new Error(`${volume.name} is not handed over to ${name}`)
      await this.ask((control) => control.moveVolume(wish)).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error
      })
      for (let looks = 0; looks < LOOKS && (await this.config(volume)).primary !== name; looks++) await sleep(LOOK_MS)
    }
    return true
  }

  /** Logs and disks outlive this scene. @returns where they are, when it was closed */
  keep(): string {
    this.#kept = `${this.folder}-kept`
    return this.#kept
  }

  async close(): Promise<void> {
    const closed = Promise.all(this.volumes.map(({ client }) => client.close()))
    this.switchboard.heal()
    // Those that wait for a server wait no more when they are closed; the others, until their node is gone.
    await Promise.all(this.cluster.nodes.map((node) => node.killNode()))
    await closed
    if (this.#kept !== undefined) cpSync(this.cluster.dir, this.#kept, { recursive: true, filter: isNoSocket })
    this.small.node?.unmount()
    await this.cluster.storeProcess.kill()
    this.small.store?.unmount()
    for (const run of this.#undo.splice(0).reverse()) await run()
  }

  // --- what is there -----------------------------------------------------------------------------------------------

  get nodes(): readonly ClusterNodeProcess[] {
    return this.cluster.nodes
  }

  /** The store may be away for the other fault: it is asked until it answers. */
  async config(volume: Pick<SceneVolume, 'id'>): Promise<VolumeConfig> {
    for (const untilMs = performance.now() + WHOLE_MS; ; await sleep(LOOK_MS)) {
      try {
        return await this.cluster.config(volume.id)
      } catch (error) {
        if (!(error instanceof HoldfastError) || performance.now() > untilMs) throw error
      }
    }
  }

  async primaryOf(volume: SceneVolume): Promise<ClusterNodeProcess> {
    return this.cluster.node((await this.config(volume)).primary)
  }

  /** A node with a copy that does not lead. */
  async replicaOf(volume: SceneVolume, random: Random): Promise<ClusterNodeProcess> {
    const { primary, members } = await this.config(volume)
    return this.cluster.node(random.pick(Object.keys(members).filter((node) => node !== primary)))
  }

  /** The node of the elected controller. */
  async elected(): Promise<ClusterNodeProcess | undefined> {
    const found = await this.cluster.store.get(CONTROLLER_KEY)
    const beat = found.ok && found.value !== undefined ? decodeHeartbeat(found.value.value) : undefined
    if (beat === undefined) return undefined
    const { node } = JSON.parse(beat.body) as { node: string }
    return this.nodes.find(({ name }) => name === node)
  }

  /** Every copy that is wished is in its set, and no other is there. @throws what is not, after a minute and a half */
  async whole(): Promise<void> {
    const untilMs = performance.now() + WHOLE_MS
    for (;;) {
      const lacking: string[] = []
      for (const volume of this.volumes) {
        const config = await this.config(volume)
        const members = Object.keys(config.members).length
        if (config.inSync.length === volume.copies && members === volume.copies) continue
        lacking.push(`${volume.name} ${JSON.stringify(config)}`)
      }
      if (lacking.length === 0 || this.isWrong) return
      if (performance.now() > untilMs) throw new Error(`not whole after ${WHOLE_MS / 1000} s: ${lacking.join('; ')}`)
      await sleep(LOOK_MS)
    }
  }

  /** A client read what it must not: nothing is waited for any more. */
  get isWrong(): boolean {
    return this.volumes.some(({ client }) => client.problems.length > 0)
  }

  /** Each client gets so many more answers. */
  async progress(count: number): Promise<void> {
    const untilMs = performance.now() + WHOLE_MS
    const enough = this.volumes.map(({ client }) => client.counts.writes + count)
    for (const [i, { client, name }] of this.volumes.entries()) {
      while (client.counts.writes < enough[i]! && !this.isWrong) {
        if (performance.now() > untilMs) throw new Error(`${name} is not served again after ${WHOLE_MS / 1000} s`)
        await sleep(LOOK_MS)
      }
    }
  }

  /** Of any of these nodes that answers. Refusals of the cluster are thrown, after all of them were asked. */
  async ask<T>(run: (control: ControlClient) => Promise<T>, nodes = this.nodes): Promise<T> {
    let failure: unknown
    for (const { paths } of nodes) {
      const control = connectControlApi({ socketPath: paths.api, source: 'of the nemesis' }, ASK_MS)
      try {
        return await run(control)
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        failure = error
      } finally {
        control.close()
      }
    }
    throw failure
  }
}

async function within<T>(timeMs: number, work: Promise<T>, otherwise: string): Promise<T> {
  const late = sleep(timeMs, undefined, { ref: false }).then(() => {
    throw new Error(`${otherwise} within ${timeMs / 1000} s`)
  })
  return Promise.race([work, late])
}
