/**
 * Nodes of a cluster as the control plane sees them, in one process: the embedded store behind its API, a client of
 * it for each node, data sides without bytes, and one clock that moves by rounds. In each round every node that runs
 * beats, stands for election, reports, and lets its controller take a turn.
 */
import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import type { ActionEnd } from '../../../cluster/reconcile/action-runner.ts'
import { ClusterControl } from '../../../cluster/reconcile/cluster-control.ts'
import { ControlNode } from '../../../cluster/reconcile/control-node.ts'
import type { NodeCalls, NodeDetails } from '../../../cluster/reconcile/node-calls.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import { beatKey, encodeBeatBody } from '../../../cluster/membership/beat-body.ts'
import { BeatList } from '../../../cluster/membership/beat-list.ts'
import { Pulse } from '../../../cluster/pulse.ts'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { HeartbeatSender } from '../../../cluster/store/heartbeats.ts'
import { encodeNode, nodeKey } from '../../../cluster/store/node-records.ts'
import { configKey, decodeConfig } from '../../../cluster/store/volume-configs.ts'
import { encodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import type { Action } from '../../../engine/control/actions.ts'
import type { ControlOptions } from '../../../engine/control/control-options.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import { clock } from '../../../dataplane/clock.ts'
import { VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { MIB } from '../../../engine/units.ts'
import { storeInProcess } from '../store-in-process.ts'
import type { StoreInProcess } from '../store-in-process.ts'
import { FakeNode } from './fake-node.ts'
import type { FakeVolume } from './fake-volume.ts'

const ROUND_MS = 500
/** Far beyond what anything here needs. */
const ROUNDS_MAX = 400

const apiOf = (name: string): string => `${name}:1`

/** For one process that answers at once. */
const MAKING_MS = 500

const CONTROL: Partial<ControlOptions> = {
  quietAfterMs: 2_000, suspectAfterMs: 2_000, downAfterMs: 4_000, steadyAfterMs: 2_000, replaceAfterMs: 6_000,
  createWaitMs: 4_000, lingerMs: 4_000,
}

export interface TestNode {
  name: string
  api: string
  fake: FakeNode
  control: ControlNode
  /** Of use while it is elected. */
  volumes: ClusterControl
  beats: HeartbeatSender
  isRunning: boolean
  /** Its clock stands still since then, as in a process that does not run. */
  stalledAtMs: number | undefined
  /** A round is over when its actions are. */
  waitsForActions: boolean
  /** That its data workers speak. */
  protocol: number
}

export class ControlCluster {
  nowMs = 1_000
  /** Since 1970; each round adds to it. */
  wallMs = Date.UTC(2026, 10, 30, 14, 0, 10)
  readonly nodes = new Map<string, TestNode>()
  /** What was done, as `type node: outcome`. */
  readonly log: Array<{ by: string; action: Action; end: ActionEnd }> = []
  /** Stands between a node and the store, or between two nodes, when a test says so. */
  wrapStore: (store: ClusterStore, node: string) => ClusterStore = (store) => store
  wrapCalls: (calls: NodeCalls, from: string, to: string) => NodeCalls = (calls) => calls
  readonly store: ClusterStore
  /** What copies agree on, by id. */
  readonly volumes = new Map<string, FakeVolume>()
  private readonly t: Test
  private readonly server: StoreInProcess

  private constructor(t: Test, server: StoreInProcess) {
    this.t = t
    this.server = server
    this.store = server.client()
  }

  static async start(t: Test, names: readonly string[]): Promise<ControlCluster> {
    const cluster = new ControlCluster(t, await storeInProcess(t))
    for (const name of names) await cluster.addNode(name)
    return cluster
  }

  async addNode(name: string, zone = ''): Promise<TestNode> {
    const key = nodeKey(name)
    if ((await this.entry(key)) === undefined) {
      const value = encodeNode({ name, nodeId: `id-${name}`, zone })
      await this.store.compareAndSwap({ key, version: undefined, value })
    }
    const store = this.wrapStore(this.server.client(), name)
    const instance = randomUUID()
    const fake = new FakeNode(name, instance, this.store, this.volumes)
    const onBug = (error: unknown) => void this.t.fail(String(error instanceof Error ? error.stack : error))
    const nodeMs = () => this.nodes.get(name)?.stalledAtMs ?? this.nowMs
    const control: ControlNode = new ControlNode({
      node: name,
      instance,
      api: apiOf(name),
      store,
      pulse: new Pulse(1_000, clock),
      beats: new BeatList(store, nodeMs),
      local: fake,
      details: () => ({ ...detailsOf(name), sessions: fake.sessions }),
      connect: (_, api) => this.callsTo(name, api.slice(0, -':1'.length)),
      nowMs: nodeMs,
      control: CONTROL,
      onAction: (action, end) => this.log.push({ by: name, action, end }),
      onProblem: () => undefined,
      onBug,
    })
    this.t.teardown(() => control.controller.close())
    const beats = new HeartbeatSender(store, beatKey(name), instance)
    const protocol = VERSION_GREATEST
    const state = { isRunning: true, stalledAtMs: undefined, waitsForActions: true, protocol }
    const nowMs = () => this.nowMs
    const records = new RecordStore(store)
    const wishes = new VolumeWishes(records, MAKING_MS)
    const of = { clusterId: 'c', storeAddress: 'http://w:1' }
    const wallMs = () => this.wallMs
    const { controller } = control
    const volumes = new ClusterControl({
      node: name, controller, wishes, records, ...of, nowMs, wallMs, retryMs: ROUND_MS, onBug,
    })
    const node = { name, api: apiOf(name), fake, control, volumes, beats, ...state }
    this.nodes.set(name, node)
    return node
  }

  node(name: string): TestNode {
    return this.nodes.get(name)!
  }

  /** Its process is gone: it says and does nothing more. */
  kill(name: string): void {
    const node = this.node(name)
    node.isRunning = false
    node.fake.isAlive = false
  }

  /** Its control plane stands still, and believes what it believed, until it goes on. Its data side lives. */
  stall(name: string): TestNode {
    const node = this.node(name)
    node.isRunning = false
    node.stalledAtMs = this.nowMs
    return node
  }

  goOn(name: string): void {
    const node = this.node(name)
    node.isRunning = true
    node.stalledAtMs = undefined
  }

  /** It runs again, as a new process that finds the copies it had. */
  async restart(name: string): Promise<TestNode> {
    const { fake } = this.node(name)
    const node = await this.addNode(name)
    for (const [volumeId, copy] of fake.copies) node.fake.copies.set(volumeId, { ...copy, role: 'starting' })
    return node
  }

  isAlive = (name: string): boolean => this.nodes.get(name)?.fake.isAlive === true

  async round(): Promise<void> {
    this.nowMs += ROUND_MS
    this.wallMs += ROUND_MS
    await Promise.all([...this.nodes.values()].map((node) => this.nodeRound(node)))
  }

  private async nodeRound(node: TestNode): Promise<void> {
    const { name, api, beats, control, volumes, fake, isRunning, waitsForActions } = node
    if (fake.isAlive) await fake.turn(this.isAlive)
    if (!isRunning) return
    const { instance } = fake
    const { protocol } = node
    const body = { peer: `${name}:2`, api, nodeId: `id-${name}`, clusterId: 'c', instance, version: '0', protocol }
    await beats.beat(encodeBeatBody(body), true)
    await control.electionTurn()
    await control.agentTurn()
    await control.controller.turn()
    if (waitsForActions) await control.controller.settled()
    volumes.turn()
  }

  /** Rounds until it is so. */
  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    for (let rounds = 0; rounds < ROUNDS_MAX; rounds++) {
      if (await isSo()) return
      await this.round()
    }
    const shown = this.log.slice(-20).map(({ by, action, end }) => `${by}: ${action.type} ${end.outcome}`)
    throw new Error(`it did not come to this: ${what}; ${shown.join('; ')}`)
  }

  /** Rounds until it has an answer, or is refused. */
  async answered<T>(answer: Promise<T>): Promise<T> {
    let isOver = false
    const ended = answer.finally(() => (isOver = true))
    ended.catch(() => undefined)
    await this.until('it is answered', () => isOver)
    return ended
  }

  /** Those that believe that they are elected. */
  elected(): TestNode[] {
    return [...this.nodes.values()].filter(({ control, isRunning }) => isRunning && control.election.isElected())
  }

  async createVolume(id: string, replicas: number, more: Partial<VolumeRecord> = {}): Promise<void> {
    const record: VolumeRecord = {
      spec: {
        id, name: `v-${id.slice(0, 4)}`, sizeBytes: 64 * MIB, blockSizeBytes: 4096, replicas, durability: 'durable',
        onFull: 'hold', ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
      },
      minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'open', trash: null, ...more,
    }
    await this.put(volumeKey(id), encodeVolume(record))
  }

  async put(key: string, value: Uint8Array | undefined): Promise<void> {
    const version = (await this.entry(key))?.version
    const { outcome } = await this.store.compareAndSwap({ key, version, value })
    if (outcome !== 'won') throw new Error(`${key} was not put`)
  }

  async entry(key: string) {
    const read = await this.store.get(key)
    if (!read.ok) throw read.error
    return read.value
  }

  async config(id: string): Promise<VolumeConfig | undefined> {
    const entry = await this.entry(configKey(id))
    return entry === undefined ? undefined : decodeConfig(id, entry.value)
  }

  /** As the elected one sees it. */
  health(id: string): string | undefined {
    const term = this.elected()[0]?.control.controller.term()
    return term?.cluster.volumes.get(id)?.verdict?.health
  }

  private callsTo(from: string, to: string): NodeCalls {
    const reach = (mayStall = true): ControlNode => {
      const node = this.nodes.get(to)
      if (node?.fake.isAlive === true && (mayStall || node.stalledAtMs === undefined)) return node.control
      throw new HoldfastError('unreachable', { endpoint: apiOf(to), source: 'heartbeat', reason: 'ECONNREFUSED' })
    }
    const calls: NodeCalls = {
      // Who stands still does not answer.
      report: async (report) => reach(false).report(structuredClone(report)),
      makeCopy: async (order) => reach().makeCopy(order),
      eraseCopy: async (order) => reach().eraseCopy(order),
      handOver: async (order) => reach().handOver(order),
      change: async (order) => reach().change(order),
      hold: async (order) => reach().hold(order),
      release: async (order) => reach().release(order),
      snapshots: async (query) => reach().snapshots(query),
      awaitOffer: async (request) => reach().awaitOffer(request),
      clients: async (query) => reach().clients(query),
      scrub: async (order) => reach().scrub(order),
      hydrate: async (order) => reach().hydrate(order),
      rekey: async (order) => reach().rekey(order),
      digest: async (query) => reach().digest(query),
    }
    return this.wrapCalls(calls, from, to)
  }
}

export function detailsOf(name: string): NodeDetails {
  return {
    facts: {
      pid: 1, nodeId: `id-${name}`, clusterId: 'c', version: '0', nodeVersion: 'v24', uptimeMs: 0, workers: 1,
      rssBytes: 1, ioFlusher: 'set', listening: [], folder: '',
    },
    sessions: [],
  }
}
