/**
 * A large cluster in one process: the control plane of every node as it is (membership, reports, the controller of the
 * one that is elected), data sides that only say what they have, and a store and a clock on paper. Reports go through
 * the codec of the wire, so their cost and their bytes are those of the real ones; connections cost nothing here.
 */
import { BeatList } from '../../cluster/membership/beat-list.ts'
import { Membership } from '../../cluster/membership/membership.ts'
import { Pulse } from '../../cluster/pulse.ts'
import { ClusterControl } from '../../cluster/reconcile/cluster-control.ts'
import { Controller } from '../../cluster/reconcile/controller.ts'
import { NodeAgent } from '../../cluster/reconcile/node-agent.ts'
import type { NodeCalls, NodeDetails, NodeReport, ReportAnswer } from '../../cluster/reconcile/node-calls.ts'
import { clusterService } from '../../cluster/reconcile/node-service.ts'
import { RecordStore } from '../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../cluster/reconcile/volume-wishes.ts'
import type { LocalNode } from '../../cluster/local-node.ts'
import { encodeNode, nodeKey } from '../../cluster/store/node-records.ts'
import { configKey, decodeConfig, encodeConfig, volumeOfKey } from '../../cluster/store/volume-configs.ts'
import { encodeName, nameKey } from '../../cluster/store/volume-names.ts'
import { encodeVolume, volumeKey } from '../../cluster/store/volume-records.ts'
import type { CopyStatus } from '../../engine/control/node-status.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { cpuMs } from './thread-time.ts'
import { settled } from './paper-clock.ts'
import type { PaperClock } from './paper-clock.ts'
import { paperConfig, paperCopy, paperDisks, paperId, paperNames, paperPlaces, paperRecord } from './paper-records.ts'
import type { PaperStore } from './paper-store.ts'

const PULSE_MS = 1000
/** Of the elected node's loop, from one pass that was asked for to the next. */
const GAP_MS = 10
/** From a change of a configuration until its copies have heard of it. */
const HINT_MS = 1


/** Where processor time went. */
export class Meter {
  ms = 0
  count = 0

  of<T>(run: () => T): T {
    const beganMs = cpuMs()
    try {
      return run()
    } finally {
      this.ms += cpuMs() - beganMs
      this.count++
    }
  }

  take(): { ms: number; count: number } {
    const { ms, count } = this
    this.ms = this.count = 0
    return { ms, count }
  }
}

export interface PaperNode {
  name: string
  copies: Map<string, CopyStatus>
  local: PaperLocal
  agent: NodeAgent
  membership: Membership
  isAlive: boolean
  isReporting: boolean
  isAsked: boolean
}

export class PaperCluster {
  readonly names: string[]
  readonly volumes: number
  readonly nodes = new Map<string, PaperNode>()
  readonly clock: PaperClock
  readonly store: PaperStore
  readonly controller: Controller
  readonly control: ClusterControl
  /** The elected node: taking in reports, and passes. */
  readonly reports = new Meter()
  readonly passes = new Meter()
  /** All others: what they say, from their copies to the bytes of it. */
  readonly agents = new Meter()
  reportBytes = 0
  #wakesAtMs = Infinity
  #endedAtMs = -Infinity
  #isOver = false

  constructor(options: { clock: PaperClock; store: PaperStore; nodes: number; volumes: number; leads: number }) {
    const { clock, store, nodes, volumes, leads } = options
    this.clock = clock
    this.store = store
    this.volumes = volumes
    this.names = paperNames(nodes)
    for (const name of this.names) this.#addNode(name)
    for (let index = 0; index < volumes; index++) this.#addVolume(index, leads)
    store.onChange = ({ key, value }) => {
      const volumeId = volumeOfKey(key)
      const config = volumeId === undefined || value === undefined ? undefined : decodeConfig(volumeId, value)
      if (config !== undefined) clock.after(HINT_MS, () => follow(this, config))
    }
    const nowMs = (): number => clock.nowMs()
    const onBug = (error: unknown): never => {
      throw error
    }
    this.controller = new Controller({
      store, beats: new BeatList(store, nowMs), isElected: () => true, nowMs, wake: () => this.#wake(), onBug,
      connect: (node) => this.#callsOf(node),
      onProblem: onBug,
    })
    const pass = this.controller['pass'].bind(this.controller)
    this.controller['pass'] = (term) => this.passes.of(() => pass(term))
    const records = new RecordStore(store)
    this.control = new ClusterControl({
      node: this.names[0]!, controller: this.controller, wishes: new VolumeWishes(records), records, clusterId: 'c',
      storeAddress: 'http://store:2379', nowMs, wallMs: () => 1.8e12 + clock.nowMs(), onBug,
    })
  }

  get elected(): string {
    return this.names[0]!
  }

  /** Everybody beats, reports, and does so every second from now on. */
  async start(): Promise<void> {
    for (const node of this.nodes.values()) void node.membership.start()
    await this.clock.runUntil(this.clock.nowMs() + 1)
    for (const node of this.nodes.values()) this.#tick(node)
    this.#turns()
  }

  stop(): void {
    this.#isOver = true
  }

  /** A node reports soon: something changed there. */
  report(node: PaperNode): void {
    if (!node.isAlive) return
    node.isAsked = true
    if (node.isReporting) return
    node.isReporting = true
    node.isAsked = false
    void node.agent.turn().then(() => {
      node.isReporting = false
      if (node.isAsked) this.clock.after(GAP_MS, () => this.report(node))
    })
  }

  /** It says and does nothing any more. */
  kill(name: string): void {
    const node = this.nodes.get(name)!
    node.isAlive = false
    void node.membership.stop()
  }

  #tick(node: PaperNode): void {
    if (this.#isOver || !node.isAlive) return
    this.report(node)
    this.clock.after(PULSE_MS, () => this.#tick(node))
  }

  #turns(): void {
    if (this.#isOver) return
    this.#wake(PULSE_MS)
  }

  /** As `WorkLoop` does it, on the clock of paper. */
  #wake(afterMs = 0): void {
    const atMs = Math.max(this.clock.nowMs() + afterMs, this.#endedAtMs + GAP_MS)
    if (this.#isOver || atMs >= this.#wakesAtMs) return
    this.#wakesAtMs = atMs
    this.clock.after(atMs - this.clock.nowMs(), () => {
      if (this.#wakesAtMs !== atMs) return
      void this.controller.turn().then(() => {
        this.#wakesAtMs = Infinity
        this.#endedAtMs = this.clock.nowMs()
        this.#wake(PULSE_MS)
      })
    })
  }

  #addVolume(index: number, leads: number): void {
    const { store } = this
    const id = paperId(index)
    const places = paperPlaces(index, this.names, leads)
    store.load(volumeKey(id), encodeVolume(paperRecord(id, index)))
    store.load(configKey(id), encodeConfig(paperConfig(id, places)))
    store.load(nameKey(`pvc-${index}`), encodeName(id))
    for (const [copy, name] of places.entries()) {
      this.nodes.get(name)!.copies.set(id, paperCopy(id, name, copy === 0 ? 'primary' : 'replica'))
    }
  }

  #addNode(name: string): void {
    const { store, clock } = this
    store.load(nodeKey(name), encodeNode({ name, nodeId: name.padEnd(32, '0'), zone: `z${Number(name.slice(1)) % 3}` }))
    const nowMs = (): number => clock.nowMs()
    const copies = new Map<string, CopyStatus>()
    const local = new PaperLocal(name, copies, () => this.report(node))
    const self = {
      peer: `10.0.0.1:7001`, api: `${name}:7000`, nodeId: name.padEnd(32, '0'), clusterId: 'c'.repeat(32),
      instance: name, version: '0.1.0', workers: 1, protocol: 5,
    }
    const beats = new BeatList(store, nowMs)
    const node: PaperNode = {
      name, copies, local, isAlive: true, isReporting: false, isAsked: false,
      agent: new NodeAgent({
        node: name, instance: name, store, local: local as unknown as LocalNode, details: () => DETAILS, nowMs,
        controller: () => ({ leader: { node: this.elected, api: 'a', instance: 'e' }, calls: this.#toElected() }),
        onChanged: () => this.report(node), onBeats: (digest) => beats.electedSaid(digest),
      }),
      membership: new Membership({
        store, name, self, pulse: new Pulse(PULSE_MS, clock as never), beats,
        onNodes: () => true, onProblem: () => undefined,
        onRival: (error) => {
          throw error
        },
      }),
    }
    this.nodes.set(name, node)
  }

  #callsOf(name: string): NodeCalls {
    return this.nodes.get(name)!.agent as unknown as NodeCalls
  }

  #toElected(): NodeCalls {
    return { report: (report: NodeReport) => this.#report(report) } as unknown as NodeCalls
  }

  async #report(report: NodeReport): Promise<ReportAnswer> {
    const rpc = clusterService()['Report']!
    const bytes = this.agents.of(() => rpc.requestSerialize(report))
    this.reportBytes += bytes.length
    return this.reports.of(() => this.controller.report(rpc.requestDeserialize(bytes) as NodeReport))
  }
}

const DETAILS: NodeDetails = {
  facts: {
    pid: 1, nodeId: 'n'.padEnd(32, '0'), clusterId: 'c'.repeat(32), version: '0.1.0', nodeVersion: 'v24', uptimeMs: 0,
    workers: 1, rssBytes: 2e8, ioFlusher: 'set', listening: [], folder: '/var/lib/holdfast',
  },
  sessions: [],
}

/** A data side that has copies without bytes, and makes empty ones. */
class PaperLocal {
  writtenBytes = 0
  readonly #name: string
  readonly #copies: Map<string, CopyStatus>
  readonly #changed: () => void

  constructor(name: string, copies: Map<string, CopyStatus>, changed: () => void) {
    this.#name = name
    this.#copies = copies
    this.#changed = changed
  }

  async status() {
    const disks = paperDisks(this.#name).map((disk) => ({ ...disk, freeBytes: disk.freeBytes - this.writtenBytes }))
    return { node: this.#name, instance: this.#name, isOpen: true, disks, copies: [...this.#copies.values()] }
  }

  async makeCopy({ id }: { id: string }): Promise<{ copyId: string }> {
    const copy: CopyStatus = { ...paperCopy(id, this.#name, 'out'), epoch: 0, isVirgin: true, usedBytes: 0 }
    this.#copies.set(id, copy)
    await settled()
    this.#changed()
    return { copyId: copy.copyId }
  }
}

/** Copies do as they are told by a configuration, one leads, the others in the set follow it; and report it. */
function follow(cluster: PaperCluster, config: VolumeConfig): void {
  const { volumeId, epoch, primary, inSync, members } = config
  for (const name of Object.keys(members)) {
    const node = cluster.nodes.get(name)!
    const copy = node.copies.get(volumeId)
    if (!node.isAlive || copy === undefined) continue
    const role = name === primary ? 'primary' : inSync.includes(name) ? 'replica' : 'out'
    node.copies.set(volumeId, { ...copy, role, epoch, isVirgin: false, hearsPrimary: role === 'replica' })
    cluster.report(node)
  }
}
