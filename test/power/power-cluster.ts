/**
 * A cluster some of whose nodes are guests that can lose their power, the others and the embedded store processes of
 * this side; volumes with a copy on every node that has a disk, and a stamped client each, which writes through a node
 * that stays up and knows what every block may hold.
 */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { configKey, decodeConfig } from '../../cluster/store/volume-configs.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { EMBEDDED, StoreProcess } from '../conformance/cluster-store/store-process.ts'
import type { Kind } from '../conformance/cluster-store/store-process.ts'
import { makeVolume } from '../cluster/volume-before-start.ts'
import type { StoppedNode } from '../cluster/volume-before-start.ts'
import type { Random } from '../sim/random.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DisksAtRest } from './disks-at-rest.ts'
import { compileForGuests, Guest } from './guest.ts'
import type { GuestOrder } from './guest-words.ts'
import { enterOwnNetwork, HUB, plugFor } from './own-network.ts'
import { PLANT } from './planted-bugs.ts'
import { compileWideRegisters } from './wide-registers.ts'

const STORE_PORT = 2379
const PEER_PORT = 7000
const API_PORT = 8000
const DISK_BYTES = 320 * MIB
const VOLUME_BYTES = 24 * MIB
/** In plain text beyond loopback, as guests are reached. */
const OPEN_STORE: Kind = {
  ...EMBEDDED,
  command: (dir, port, host = HUB) =>
    [process.execPath, path.join(import.meta.dirname, 'store-main.ts'), dir, host, String(port)],
}
/** Many times what it takes when nothing else runs. */
const WAIT_MS = 90_000
const LOOK_MS = 50
/** A wish that was not done by then is told anew. */
const AGAIN_MS = 5000
/** Few requests in flight: a guest has one processor, and a slow one. */
const LOAD = { depth: 4, requestBlocksMax: 64 }

export type Durability = 'durable' | 'writeback'

export interface PowerClusterOptions {
  guests: readonly string[]
  /** Processes of this side; the clients are at the first of them. */
  hosts: readonly string[]
  /** Hosts have no disk, so that every copy is a guest's. */
  onlyGuestsStore: boolean
  volumes: readonly Durability[]
  random: Random
  /** In the nodes of guests (planted-bugs.ts). */
  plantedBug?: string
}

export interface PowerVolume {
  name: string
  id: string
  durability: Durability
  client: StampedClient
  /** Of the attachment, when the client began. */
  generation: number
}

export class PowerCluster {
  readonly guests: Guest[]
  readonly hosts: ClusterNodeProcess[]
  readonly volumes: PowerVolume[] = []
  readonly #store: ClusterStore
  readonly #o: PowerClusterOptions
  readonly #t: Test

  private constructor(t: Test, options: PowerClusterOptions, folder: string, storeProcess: StoreProcess) {
    const { guests, hosts, onlyGuestsStore, plantedBug } = options
    this.#o = options
    this.#t = t
    this.#store = storeProcess.client({ root: '/holdfast/' })
    const { address: store } = storeProcess
    const at = (host: string, number = 0): Pick<NodeConfig, 'cluster'> => ({
      cluster: { store, listenPeer: { host, port: PEER_PORT + number }, listenApi: { host, port: API_PORT + number } },
    })
    const same = { store, diskBytes: DISK_BYTES }
    this.hosts = hosts.map((name, i) => {
      const change = { ...at(HUB, i), ...(onlyGuestsStore ? { disks: [] } : {}) }
      return new ClusterNodeProcess(name, { ...same, dir: folder, change })
    })
    const preload = compileWideRegisters(folder)
    const env = plantedBug === undefined ? {} : { NODE_OPTIONS: `--import ${PLANT}`, PLANTED_BUG: plantedBug }
    this.guests = guests.map((name, i) => {
      const plug = plugFor(i + 1)
      return new Guest({ name, folder, plug, preload, node: { ...same, change: at(plug.address), env } })
    })
    t.teardown(() => this.#close())
  }

  /** The nodes serve, the volumes are whole, the clients write. Everything ends with the test. */
  static async make(t: Test, options: PowerClusterOptions): Promise<PowerCluster> {
    const folder = temporaryFolder(t)
    enterOwnNetwork()
    compileForGuests()
    const storeProcess = new StoreProcess(t, OPEN_STORE, STORE_PORT, HUB)
    await storeProcess.start()
    const cluster = new PowerCluster(t, options, folder, storeProcess)
    await cluster.#makeVolumes(storeProcess.address)
    cluster.#tell('disks and volumes are made')
    await Promise.all([...cluster.hosts.map((node) => node.start()), cluster.boot('never')])
    await Promise.all(cluster.volumes.map(({ client }) => client.connected()))
    await cluster.whole()
    for (const volume of cluster.volumes) volume.generation = (await cluster.config(volume)).attach.generation
    for (const { client } of cluster.volumes) client.start()
    await cluster.progress(100)
    cluster.#tell('the clients write')
    return cluster
  }

  /** All that are off. @returns what became of the unsynced file of each */
  async boot(writesBack: GuestOrder['writesBack']): Promise<string[]> {
    const found = await Promise.all(this.guests.filter(({ isUp }) => !isUp).map((guest) => guest.boot(writesBack)))
    this.#tell(`with power again, pages are written back: ${writesBack}`)
    return found
  }

  /** Of all guests at once. */
  async cutPower(): Promise<void> {
    this.#tell('the power is cut')
    await Promise.all(this.guests.map((guest) => guest.cutPower()))
  }

  /** For whoever wonders where the time went. */
  #tell(what: string): void {
    this.#t.comment(`${(performance.now() / 1000).toFixed(1)} s: ${what}`)
  }

  get #replicas(): number {
    return this.guests.length + (this.#o.onlyGuestsStore ? 0 : this.hosts.length) - 1
  }

  /** With a copy on every node that has a disk; those of guests are mounted here for that. */
  async #makeVolumes(address: string): Promise<void> {
    const nodes: StoppedNode[] = this.#o.onlyGuestsStore ? [] : [...this.hosts]
    const make = async ([guest, ...others]: Guest[]): Promise<void> => {
      if (guest !== undefined) {
        return guest.opened((node) => {
          nodes.push(node)
          return make(others)
        })
      }
      for (const durability of this.#o.volumes) {
        const at = { store: this.#store, address }
        const { id } = await makeVolume(nodes, at, { name: durability, sizeBytes: VOLUME_BYTES, durability })
        this.volumes.push({ name: durability, id, durability, client: this.#client(durability), generation: 0 })
      }
    }
    await make(this.guests)
  }

  #client(durability: Durability): StampedClient {
    const own = this.#o.random.fork(`client of ${durability}`)
    return new StampedClient({
      socketPath: this.hosts[0]!.paths.nbd, exportName: durability, isCluster: true,
      writeback: durability === 'writeback', ...LOAD, random: () => own.float(),
    })
  }

  /** A refusal passes: whoever asks does it again. */
  async #ask(run: (control: ControlClient) => Promise<unknown>): Promise<void> {
    const control = connectControlApi({ socketPath: this.hosts[0]!.paths.api, source: 'of the test' })
    try {
      await run(control)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      this.#tell(`refused: ${error.message}`)
    } finally {
      control.close()
    }
  }

  async config({ id }: PowerVolume): Promise<VolumeConfig> {
    const found = await this.#store.get(configKey(id))
    if (!found.ok) throw found.error
    return decodeConfig(id, found.value!.value)!
  }

  /** The copy on a guest orders the writes of all volumes. */
  async leadBy({ name: to }: Guest): Promise<void> {
    for (const volume of this.volumes) {
      let askedMs = -Infinity
      await this.#until(`${volume.name} is not handed over to ${to}`, async () => {
        if ((await this.config(volume)).primary === to) return true
        if (performance.now() > askedMs + AGAIN_MS) {
          askedMs = performance.now()
          await this.#ask((control) => control.moveVolume({ name: volume.name, what: 'primary', to, from: '' }))
        }
        return false
      })
    }
  }

  /** A client read what it must not: nothing is waited for any more. */
  get isWrong(): boolean {
    return this.volumes.some(({ client }) => client.problems.length > 0)
  }

  /** Every copy is in its set. */
  async whole(): Promise<void> {
    for (const volume of this.volumes) {
      const copies = this.#replicas + 1
      const isWhole = async (): Promise<boolean> => (await this.config(volume)).inSync.length === copies
      await this.#until(`${volume.name} is not whole`, isWhole)
    }
    this.#tell('every copy is in its set')
  }

  /** Each client gets so many more answers to writes. */
  async progress(count: number): Promise<void> {
    const enough = this.volumes.map(({ client }) => client.counts.acknowledgedWrites + count)
    for (const [i, { client: { counts }, name }] of this.volumes.entries()) {
      await this.#until(`${name} is not served again`, () => counts.acknowledgedWrites >= enough[i]!)
    }
  }

  /** Or a client was wrong. @throws when it takes too long */
  async #until(otherwise: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
    for (const untilMs = performance.now() + WAIT_MS; !this.isWrong && !(await isSo()); await sleep(LOOK_MS)) {
      if (performance.now() < untilMs) continue
      const configs = await Promise.all(this.volumes.map((volume) => this.config(volume)))
      throw new Error(`${otherwise}: ${JSON.stringify(configs)}`)
    }
  }

  /** Every block is read, while nobody writes. */
  async verify(): Promise<void> {
    await Promise.all(this.volumes.map(({ client }) => client.pause()))
    if (!this.isWrong) await Promise.all(this.volumes.map(({ client }) => client.verify()))
  }

  /** Everything is stopped in order, and the copies are compared as they lie on the disks. @returns what is wrong */
  async end(): Promise<string[]> {
    await this.verify()
    if (!this.isWrong) await this.whole()
    const wrong = this.problems()
    if (wrong.length > 0) return wrong
    this.#tell('everything is read')
    const codes = await Promise.all([...this.hosts, ...this.guests].map(async (node) => [node.name, await node.stop()]))
    for (const [name, code] of codes) if (Number(code) !== 0) wrong.push(`${name} did not stop cleanly: ${code}`)
    this.#tell('all nodes have stopped')
    const disks = new DisksAtRest(this.volumes)
    if (!this.#o.onlyGuestsStore) this.hosts.forEach(disks.look)
    for (const guest of this.guests) await guest.opened(disks.look)
    return [...wrong, ...disks.wrong]
  }

  problems(): string[] {
    return this.volumes.flatMap(({ client }) => client.problems)
  }

  async #close(): Promise<void> {
    // Who waits for an answer waits until the node is gone.
    const closed = this.volumes.map(({ client }) => client.close())
    await Promise.all([...this.guests.map((guest) => guest.cutPower()), ...this.hosts.map((node) => node.killNode())])
    await Promise.all(closed)
  }
}
