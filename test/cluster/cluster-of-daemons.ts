/**
 * A few nodes as real processes, the embedded cluster store as another one, and volumes whose copies were made before
 * the nodes are started: what a control plane would have done.
 */
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { CONTROLLER_KEY } from '../../cluster/reconcile/election.ts'
import { decodeHeartbeat } from '../../cluster/store/heartbeats.ts'
import { configKey, decodeConfig } from '../../cluster/store/volume-configs.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { MIB } from '../../engine/units.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { EMBEDDED, startStore } from '../conformance/cluster-store/store-process.ts'
import type { StoreUnderTest } from '../conformance/cluster-store/store-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { ClusterNodeProcess } from './cluster-node-process.ts'
import type { ClusterNodeOptions } from './cluster-node-process.ts'
import { makeVolume } from './volume-before-start.ts'

const DISK_BYTES = 512 * MIB

export interface ClusterOptions {
  names?: readonly string[]
  dir?: string
  diskBytes?: number
  /** Data workers of each node. */
  workers?: number
  /** What is special about a node. */
  setUp?: (name: string, store: string) => Pick<ClusterNodeOptions, 'change' | 'env'>
  /** One that runs already. */
  storeProcess?: StoreUnderTest
}

export class ClusterOfDaemons {
  readonly storeProcess: StoreUnderTest
  readonly store: ClusterStore
  readonly dir: string
  readonly nodes: ClusterNodeProcess[]
  private readonly t: Pick<Test, 'teardown'>

  private constructor(
    t: Pick<Test, 'teardown'>, storeProcess: StoreUnderTest, options: Required<Omit<ClusterOptions, 'storeProcess'>>,
  ) {
    this.t = t
    const { names, dir, diskBytes, workers, setUp } = options
    this.storeProcess = storeProcess
    this.store = storeProcess.client({ root: '/holdfast/' })
    this.dir = dir
    const { nodeAddress: store } = storeProcess
    const node = { dir, diskBytes, store }
    this.nodes = names.map((name) => {
      const special = setUp(name, store)
      return new ClusterNodeProcess(name, { ...node, ...special, change: { workers, ...special.change } })
    })
  }

  /** The store runs, the nodes do not yet. Everything ends with the test. */
  static async make(t: Pick<Test, 'teardown'>, options: ClusterOptions = {}): Promise<ClusterOfDaemons> {
    const {
      names = ['n1', 'n2', 'n3'], dir = temporaryFolder(t), diskBytes = DISK_BYTES, workers = 1,
      setUp = () => ({}), storeProcess = await startStore(t, EMBEDDED),
    } = options
    const cluster = new ClusterOfDaemons(t, storeProcess, { names, dir, diskBytes, workers, setUp })
    t.teardown(() => Promise.all(cluster.nodes.map((node) => node.killNode())))
    return cluster
  }

  node(name: string): ClusterNodeProcess {
    return this.nodes.find((node) => node.name === name)!
  }

  /** A connection of its own to the control API of a node; it ends with the test. */
  api(name: string): ControlClient {
    const client = connectControlApi({ socketPath: this.node(name).paths.api, source: 'the test' })
    this.t.teardown(() => client.close())
    return client
  }

  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start()))
  }

  /** A volume with a copy on every node, the first one the primary. No node runs. */
  async makeVolume(change: Partial<VolumeSpec>): Promise<VolumeSpec> {
    const { store, storeProcess: { nodeAddress: address } } = this
    return makeVolume(this.nodes, { store, address }, change)
  }

  async config(volumeId: string): Promise<VolumeConfig> {
    const found = await this.store.get(configKey(volumeId))
    if (!found.ok) throw found.error
    return decodeConfig(volumeId, found.value!.value)!
  }

  /** The node that decides for the cluster. */
  async elected(): Promise<string> {
    const found = await this.store.get(CONTROLLER_KEY)
    if (!found.ok) throw found.error
    return (JSON.parse(decodeHeartbeat(found.value!.value)!.body) as { node: string }).node
  }

  /** Until every copy is in the set again. */
  async whole(volumeId: string): Promise<VolumeConfig> {
    for (;;) {
      const config = await this.config(volumeId)
      if (config.inSync.length === this.nodes.length) return config
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

export const randomNumber = (): number => randomBytes(4).readUInt32LE() / 2 ** 32
