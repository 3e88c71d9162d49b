/**
 * Nodes with a replicating worker each, over real disk files, indexes and sockets: several in one process, or one in a
 * process of its own (`node-main.ts`).
 */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { Test } from 'tap'
import { clock } from '../../../dataplane/clock.ts'
import type { ConfigPort } from '../../../dataplane/copy/config-port.ts'
import type { HostedCopy } from '../../../dataplane/copy/hosted-copy.ts'
import type { CopyTiming } from '../../../dataplane/copy/timing.ts'
import { TurnLoop } from '../../../dataplane/copy/turn-loop.ts'
import { prepareDisk, releaseDisk } from '../../../dataplane/disk-preparation.ts'
import type { PreparedDisk } from '../../../dataplane/disk-preparation.ts'
import { FrontendDevice } from '../../../dataplane/frontend/frontend-device.ts'
import type { PeerEndpoint } from '../../../dataplane/peer/peer-socket.ts'
import { PeerListener } from '../../../dataplane/peer/listener.ts'
import { ReplicationWorker } from '../../../dataplane/replication-worker.ts'
import type { ReplicationWorkerOptions } from '../../../dataplane/replication-worker.ts'
import { openStore } from '../../../dataplane/store-shell.ts'
import type { StoreShell } from '../../../dataplane/store-shell.ts'
import type { AttachMode, VolumeConfig } from '../../../engine/replication/configuration.ts'
import { MIB } from '../../../engine/units.ts'
import type { Durability, VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

export const CLUSTER = 'c1'.repeat(16)
/** Of a session: in mode `open` nothing else tells those of two nodes apart. */
let nextIncarnation = 1
/** Of workers: no two have the same. */
let starts = 0
const DISK_BYTES = 320 * MIB

/** Short, so that a failover takes a fraction of a second; a stall of the test machine must fit into them. */
export const TEST_TIMING: CopyTiming = {
  beaconMs: 100,
  leaseMs: 600,
  graceMs: 640,
  evictAfterMs: 400,
  retryMs: 30,
  candidateStepMs: 30,
}

export const hex = (bytes = 16): string => randomBytes(bytes).toString('hex')

export function specOf(change: Partial<VolumeSpec> = {}): VolumeSpec {
  return {
    id: hex(), name: 'v', sizeBytes: 64 * MIB, blockSizeBytes: 4096, replicas: 2, durability: 'durable' as Durability,
    onFull: 'hold', ioTimeoutMs: 0, pool: 'default', diskTags: [], ...change,
  }
}

/** All in the set, none of them named more than once; the first is the primary. */
export function configOf(volumeId: string, copies: Record<string, string>, mode: AttachMode = 'open'): VolumeConfig {
  const nodes = Object.keys(copies)
  const members = nodes.map((node) => [node, { copyId: copies[node]!, state: 'in-sync' as const }])
  return {
    volumeId,
    epoch: 1,
    primary: nodes[0]!,
    inSync: nodes,
    members: Object.fromEntries(members) as VolumeConfig['members'],
    minInSync: 1,
    attach: { generation: 1, mode, holders: {} },
    nonce: hex(),
  }
}

export interface Event {
  level: string
  message: string
  fields: Record<string, string | number | boolean>
}

export interface HostOptions {
  node: string
  /** A folder of its own; what is in it is opened again. */
  dir: string
  configs: ConfigPort
  timing?: CopyTiming
  diskBytes?: number
  /** Undefined: a unix socket in its folder. */
  host?: string
  copyLimits?: ReplicationWorkerOptions['copyLimits']
}

export class Host {
  readonly node: string
  readonly events: Event[] = []
  endpoint: PeerEndpoint = { path: '' }
  /** Of this start. */
  instance = ''
  loop!: TurnLoop
  worker!: ReplicationWorker
  shell!: StoreShell
  #listener!: PeerListener
  #disk!: PreparedDisk
  isUp = false
  readonly #o: HostOptions

  constructor(options: HostOptions) {
    this.#o = options
    this.node = options.node
  }

  async start(): Promise<void> {
    const { node, dir, configs, timing = TEST_TIMING, diskBytes = DISK_BYTES, host, copyLimits } = this.#o
    const log = {
      event: (level: string, message: string, fields: Event['fields']) => this.events.push({ level, message, fields }),
    }
    const option = { path: path.join(dir, 'disk'), sizeBytes: diskBytes, pool: 'default', tags: [] }
    const prepared = prepareDisk(option, { nodeName: node, nodeId: idOf(node), clusterId: CLUSTER }, 1)
    if (!prepared.ok) throw prepared.error
    this.#disk = prepared.value
    this.instance = hex()
    this.loop = new TurnLoop(clock)
    const opened = await openStore({
      disks: [prepared.value], indexDir: path.join(dir, 'index'), worker: 0, workers: 1,
      barrier: new SharedArrayBuffer(4), log, clock: this.loop,
    })
    if (!opened.ok) throw opened.error
    this.shell = opened.value
    this.worker = new ReplicationWorker({
      self: { clusterId: CLUSTER, node, instance: this.instance, worker: 0, role: 'worker' },
      startNumber: ++starts,
      loop: this.loop,
      store: this.shell.store,
      configs,
      timing,
      log,
      evidenceDir: path.join(dir, 'evidence'),
      frontendLimits: { resendMs: timing.evictAfterMs, retryMs: 20 },
      ...(copyLimits === undefined ? {} : { copyLimits }),
    })
    this.#listener = new PeerListener({
      clock, log: this.worker.transport.refusals, onArrival: (arrival) => this.worker.transport.accept(arrival),
    })
    if (host === undefined) {
      this.endpoint = { path: path.join(dir, 'peer') }
      await this.#listener.listenUnix(this.endpoint.path)
    } else this.endpoint = { host, port: await this.#listener.listenTcp({ host, port: 0 }) }
    this.isUp = true
  }

  meet(hosts: ReadonlyArray<{ node: string; endpoint: PeerEndpoint }>): void {
    const others = hosts.filter(({ node }) => node !== this.node)
    this.worker.setPeers(others.map(({ node, endpoint }) => ({ node, worker: 0, endpoint })))
  }

  create(spec: VolumeSpec, copyId: string): Promise<HostedCopy> {
    return new Promise((resolve, reject) => {
      this.worker.copies.create(spec, copyId, undefined, (created) => {
        if (created.ok) resolve(created.value)
        else reject(created.error)
      })
    })
  }

  remove(volumeId: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.worker.copies.remove(volumeId, (removed) => {
        if (removed.ok) resolve()
        else reject(removed.error)
      })
    })
  }

  attach(spec: VolumeSpec, session = { generation: 1, incarnation: nextIncarnation++ }): Device {
    const frontend = this.worker.frontends.attach({
      volumeId: spec.id, sizeBytes: spec.sizeBytes, blockSizeBytes: 4096, description: spec.name,
      session, mode: 'write', ioTimeoutMs: 0,
    })
    return new Device(new FrontendDevice(frontend))
  }

  role(volumeId: string): string {
    return this.worker.copies.copy(volumeId)?.state.role ?? 'none'
  }

  async stop(): Promise<void> {
    if (!this.isUp) return
    this.isUp = false
    await this.worker.close(200)
    await this.#listener.close()
    await new Promise<void>((resolve) => this.shell.stop(() => resolve()))
    releaseDisk(this.#disk)
  }
}

const idOf = (node: string): string => Buffer.from(node.padEnd(16, '0')).toString('hex')

/** A `BlockDevice` with promises: each resolves with the errno. */
export class Device {
  readonly device: FrontendDevice

  constructor(device: FrontendDevice) {
    this.device = device
  }

  read(offsetBytes: number, into: Uint8Array): Promise<number> {
    return new Promise((resolve) => this.device.read(offsetBytes, into, resolve))
  }

  write(offsetBytes: number, data: Uint8Array, fua = false): Promise<number> {
    return new Promise((resolve) => this.device.write(offsetBytes, data, fua, resolve))
  }

  trim(offsetBytes: number, lengthBytes: number): Promise<number> {
    return new Promise((resolve) => this.device.trim(offsetBytes, lengthBytes, false, resolve))
  }

  zero(offsetBytes: number, lengthBytes: number): Promise<number> {
    const options = { noHole: false, fua: false }
    return new Promise((resolve) => this.device.writeZeroes(offsetBytes, lengthBytes, options, resolve))
  }

  flush(): Promise<number> {
    return new Promise((resolve) => this.device.flush(resolve))
  }
}

/** Until it is so; the test's own deadline ends what never comes. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 2))
}

/** Started nodes that know each other. */
export async function startHosts(t: Test, nodes: readonly string[], configs: ConfigPort): Promise<Host[]> {
  const hosts = nodes.map((node) => new Host({ node, dir: temporaryFolder(t), configs }))
  for (const host of hosts) t.teardown(() => host.stop())
  for (const host of hosts) await host.start()
  for (const host of hosts) host.meet(hosts)
  return hosts
}
