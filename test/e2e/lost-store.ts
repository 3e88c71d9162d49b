/** Three nodes as processes whose cluster store, and every index with it, is to be lost. */
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import type { Test } from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { configKey, decodeConfig } from '../../cluster/store/volume-configs.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { EMBEDDED, startStore } from '../conformance/cluster-store/store-process.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'

export const VOLUME_BYTES = 16 * MIB
const PIECE_BYTES = MIB
const WRITE_BYTES = 64 << 10

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Ask until it is so; the file's deadline ends it else. */
export async function until<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask().catch(() => undefined)
    if (answer !== undefined && isSo(answer)) return answer
    await sleep(50)
  }
}

export class LostStore {
  readonly cluster: ClusterOfDaemons
  store: ClusterStore
  private readonly t: Pick<Test, 'teardown'>

  constructor(t: Pick<Test, 'teardown'>, cluster: ClusterOfDaemons) {
    this.t = t
    this.cluster = cluster
    this.store = cluster.store
  }

  /** @param workers  data workers of each node */
  static async make(t: Pick<Test, 'teardown'>, workers = 1): Promise<LostStore> {
    const cluster = await ClusterOfDaemons.make(t, { workers })
    await cluster.start()
    const lost = new LostStore(t, cluster)
    const api = lost.api('n1')
    await until(() => api.listNodes(), ({ nodes }) =>
      nodes.length === 3 && nodes.every(({ disks }) => disks.length === 1))
    return lost
  }

  get address(): string {
    return this.cluster.storeProcess.address
  }

  api(name: string): ControlClient {
    const client = connectControlApi({ socketPath: this.cluster.node(name).paths.api, source: 'the test' })
    this.t.teardown(() => client.close())
    return client
  }

  async create(name: string, parameters: Record<string, string>): Promise<Volume> {
    return this.api('n1').createVolume({ name, sizeBytes: VOLUME_BYTES, parameters })
  }

  /** The store and every index are gone; an empty store is in its place. */
  async lose(): Promise<void> {
    await this.cluster.storeProcess.kill()
    for (const { paths } of this.cluster.nodes) rmSync(paths.index, { recursive: true })
    this.store = (await startStore(this.t, EMBEDDED, this.cluster.storeProcess.port)).client({ root: '/holdfast/' })
  }

  /** Of the store that is there now. */
  async config(volumeId: string): Promise<VolumeConfig> {
    const found = await this.store.get(configKey(volumeId))
    if (!found.ok) throw found.error
    return decodeConfig(volumeId, found.value!.value)!
  }

  /** Started, and waiting for its cluster. `ready` resolves when it serves. */
  async waits(name: string): Promise<{ ready: Promise<unknown> }> {
    const node = this.cluster.node(name)
    const before = node.stderr.length
    node.spawn()
    const ready = node.ready()
    ready.catch(() => undefined)
    while (!/waits: .*store rebuild --from-nodes/.test(node.stderr.slice(before))) await sleep(20)
    return { ready }
  }

  rebuild(...words: string[]) {
    return holdfast(['store', 'rebuild', '--from-nodes', '--store', this.address, ...words])
  }
}

/** A node offers a volume as soon as it has heard of it. */
const open = (node: ClusterNodeProcess, name: string): Promise<RawClient> =>
  until(() => RawClient.open(node.paths.nbd, { name }), () => true)

export async function write(node: ClusterNodeProcess, name: string, values: number[]): Promise<void> {
  const client = await open(node, name)
  for (const [at, value] of values.entries()) {
    const data = new Uint8Array(WRITE_BYTES).fill(value)
    const { errno } = await client.ask({ type: NBD_CMD_WRITE, offset: (at * 3 % 16) * MIB + at * WRITE_BYTES, data })
    if (errno !== 0) throw new Error(`a write to ${name} ended with ${errno}`)
  }
  client.socket.destroy()
}

/** Of every byte of a volume, through that node. */
export async function digest(node: ClusterNodeProcess, name: string): Promise<string> {
  const client = await open(node, name)
  const hash = createHash('sha256')
  for (let offset = 0; offset < VOLUME_BYTES; offset += PIECE_BYTES) {
    const { errno, data } = await client.ask({ type: NBD_CMD_READ, offset, length: PIECE_BYTES })
    if (errno !== 0) throw new Error(`a read of ${name} ended with ${errno}`)
    hash.update(data)
  }
  client.socket.destroy()
  return hash.digest('hex')
}
