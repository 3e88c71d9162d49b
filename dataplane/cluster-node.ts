/**
 * A node among others, on the main thread of its daemon: what the data worker needs of the cluster (configurations,
 * addresses of peers, their connections), what the control plane may ask of this node (`LocalNode`), and the volumes
 * that are offered here.
 *
 *   worker  --config asks-->  this  --> cluster store             beats of all nodes --> peers --> workers, supervisor
 *   peer    --connection-->   this  --descriptor--> worker        volumes, configurations --> offers --> worker
 *
 * What is asked of a volume goes to the worker that has it (`copy-homes.ts`), what is told of nodes to all of them.
 */
import { randomBytes } from 'node:crypto'
import type { NodeKeys } from '../cluster/keys/node-keys.ts'
import type { LocalNode, OfferedVolume } from '../cluster/local-node.ts'
import { BeatList } from '../cluster/membership/beat-list.ts'
import { Membership } from '../cluster/membership/membership.ts'
import type { NodeAddress } from '../cluster/membership/membership.ts'
import { Pulse } from '../cluster/pulse.ts'
import { CopyComparison } from '../cluster/reconcile/copy-comparison.ts'
import type { DigestCalls } from '../cluster/reconcile/copy-comparison.ts'
import type { ChangeAnswer, DigestAnswer, DigestQuery, RekeyReport } from '../cluster/reconcile/node-calls.ts'
import { NodeConnections } from '../cluster/reconcile/node-service.ts'
import { hostAndPort } from '../cluster/tls/loopback.ts'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import type { CopyStatus, NodeStatus } from '../engine/control/node-status.ts'
import type { VolumeRecord } from '../engine/control/volume-record.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../engine/control/volume-snapshots.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'
import type { NodeId, VolumeConfig } from '../engine/replication/configuration.ts'
import type { ChangeCommand, HoldCommand } from '../engine/replication/copy-port.ts'
import type { CloneSource } from '../engine/volume/copy-sharing.ts'
import type { VolumeSpec } from '../engine/volume/volume-spec.ts'
import { clock } from './clock.ts'
import type { JoinedCluster } from './cluster-join.ts'
import { answerConfigs } from './copy/config-messages.ts'
import type { ConfigAsk } from './copy/config-messages.ts'
import { KnownStatus } from './copy/status-changes.ts'
import { StoreConfigs } from './copy/store-configs.ts'
import { homeOf } from './copy-homes.ts'
import type { CopyHomes } from './copy-homes.ts'
import type { AttachmentSockets } from './attachment-sockets.ts'
import type { VolumeExports } from './export-directory.ts'
import { joinDisks } from './joined-disks.ts'
import { KeptFiles } from './kept-files.ts'
import { keepStoreMemory, MetNodes } from './known-store.ts'
import type { NodePaths } from './node-folder.ts'
import { PeerListener } from './peer/listener.ts'
import { RefusalLog } from './peer/refusal-log.ts'
import type { PeerAddress } from './peer/transport.ts'
import { VERSION_GREATEST } from './peer/protocol.ts'
import type { SuspectDisks } from './suspect-disks.ts'
import { VolumeNotes } from './volume-notes.ts'
import type { Seen } from './volume-notes.ts'
import { VolumeOffers } from './volume-offers.ts'
import { SnapshotExports } from './snapshot-exports.ts'
import type { OpenReader, ReplicationCalls, SessionReport, SnapshotWish } from './worker-messages.ts'
import type { WorkerThread } from './worker-thread.ts'

const PULSE_MS = 1000
const REFUSALS_EVERY_MS = 10_000
const KNOWN_STORE_EVERY_MS = 60_000
const NOTHING_TOLD: DigestAnswer = {
  isTold: false, appliedSeq: 0, endSeq: 0, views: 0, pages: [], versions: [], isShared: false, slicesShown: 0,
}

export interface ClusterNodeOptions {
  node: NodeId
  joined: JoinedCluster
  /** Unset: plain text. */
  tls: TlsFolder | undefined
  /** Of this daemon: 32 hex digits. */
  instance: string
  version: string
  paths: NodePaths
  /** Data workers; the `onConfigAsk` of each is ours. */
  workers: number
  worker(number: number): WorkerThread
  /** Of the copies that were here when it started. */
  homes: CopyHomes
  exports: VolumeExports
  attachments: Pick<AttachmentSockets, 'offer' | 'withdraw'>
  suspects: SuspectDisks
  keys: NodeKeys
  log: LogPort
  /** The peers changed: for the supervisor, which tells them when this daemon ended. */
  onPeers(peers: PeerAddress[]): void
  /** The same node runs elsewhere. */
  onRival(error: HoldfastError): void
  /** It answers again, or does not. */
  onStore?(isReachable: boolean): void
  onBug(error: unknown): void
}

export class ClusterNode implements LocalNode {
  readonly #o: ClusterNodeOptions
  readonly #storeConfigs: StoreConfigs
  /** By worker. */
  readonly #configs: Array<ReturnType<typeof answerConfigs>>
  readonly #listener: PeerListener
  #membership: Membership | undefined
  #offers: VolumeOffers | undefined
  #notes: VolumeNotes | undefined
  #keeping: NodeJS.Timeout | undefined
  readonly #files: KeptFiles
  readonly #status: KnownStatus[]
  /** To nodes with copies that are compared with ours. */
  readonly #connections: NodeConnections
  readonly #comparison: CopyComparison
  readonly #withComparison = new WeakMap<CopyStatus, CopyStatus>()
  /** By worker. */
  readonly #sessions: SessionReport[][] = []
  readonly pulse = new Pulse(PULSE_MS, clock)
  readonly beats: BeatList
  /** As the last beat found. */
  isStoreReachable = true
  /** Other nodes, as the control plane reaches them. */
  nodes: readonly NodeAddress[] = []

  constructor(options: ClusterNodeOptions) {
    this.#o = options
    const { joined, log, worker, workers } = options
    this.#files = new KeptFiles(log)
    this.#connections = new NodeConnections(options.tls)
    this.#comparison = new CopyComparison({
      node: options.node, store: joined.store, log, callsOf: (node) => this.#digestsOf(node),
    })
    this.beats = new BeatList(joined.store, () => clock.nowMs())
    this.#storeConfigs = new StoreConfigs({ store: joined.store, log })
    this.#configs = Array.from({ length: workers }, (_, number) =>
      answerConfigs(this.#storeConfigs, (answer) => worker(number).config(answer)))
    this.#status = this.#configs.map(() => new KnownStatus())
    options.exports.whyLocked = (spec) => options.keys.whyLocked(spec)
    options.exports.snapshots = new SnapshotExports({
      volume: (nameOrId) => this.#offers?.volume(nameOrId),
      homeOf: (volumeId) => this.#home(volumeId),
      open: (wish, waitMs) => this.openSnapshot(wish, waitMs),
      close: (volumeId, reader) => void this.closeSnapshot(volumeId, reader).catch(options.onBug),
      onBug: options.onBug,
    })
    this.#listener = new PeerListener({
      clock,
      log: new RefusalLog({ log, clock, everyMs: REFUSALS_EVERY_MS }),
      onArrival: (arrival) => {
        const { toWorker } = arrival.preface
        // One that asks for a worker that is not there is told so by any.
        worker(toWorker < workers ? toWorker : 0).arrival(arrival)
      },
    })
  }

  /** Of a worker, from its first moment on. */
  take(worker: number, ask: ConfigAsk): void {
    this.#configs[worker]!.take(ask)
  }

  /**
   * The workers have opened their stores: meet the others, and offer what there is.
   * @param api  where ours is reached
   */
  async start(api: string): Promise<void> {
    const { node, joined, instance, version, workers, log, onRival, onBug, paths } = this.#o
    const { store, clusterId, nodeId, config } = joined
    const { host } = config.listenPeer
    const peer = hostAndPort(host, await this.#listener.listenTcp(config.listenPeer))
    const met = new MetNodes(paths.met)
    this.#membership = new Membership({
      store,
      name: node,
      self: {
        peer, api, nodeId, clusterId, instance, version, protocol: VERSION_GREATEST,
        ...(workers === 1 ? {} : { workers }),
      },
      pulse: this.pulse,
      beats: this.beats,
      onNodes: (nodes) => this.#meet(nodes, met),
      onProblem: (error) => {
        this.isStoreReachable = error === undefined
        this.#o.onStore?.(this.isStoreReachable)
        if (error === undefined) log.event('info', 'the cluster store answers again', {})
        else log.event('warn', 'the cluster store does not answer; volumes go on', { reason: error.message })
      },
      onRival,
    })
    await this.#membership.start()
    this.#notes = new VolumeNotes({ node, onBug, note: (...what) => this.#note(...what) })
    const onSeen = this.#notes.seen.bind(this.#notes)
    const onGone = (volumeId: string): void => this.#o.keys.forget(volumeId)
    const configs = this.#storeConfigs
    this.#offers = new VolumeOffers({ node, store, configs, local: this, log, onSeen, onGone, onBug })
    this.#keeping = setInterval(() => this.#keepStoreMemory(), KNOWN_STORE_EVERY_MS)
  }

  /** Nobody new is let in and nothing new is offered. The workers go on, and the store still answers them. */
  async withdrawAll(): Promise<void> {
    this.#comparison.close()
    this.#connections.close()
    this.#offers?.close()
    this.#notes?.close()
    // A beat that is under way ends with the store's client: a store that does not answer keeps nobody from stopping.
    void this.#membership?.stop()
    await this.#listener.close()
  }

  /** The workers have stopped. */
  close(): void {
    clearInterval(this.#keeping)
    for (const configs of this.#configs) configs.end()
    this.#keepStoreMemory()
    this.#o.joined.store.close()
  }

  #keepStoreMemory(): void {
    const { joined, paths: { knownStore } } = this.#o
    this.#files.tried(knownStore, () => keepStoreMemory(knownStore, joined.store, joined))
  }

  /** @returns whether all of them are spoken to: a new one only when it is kept that we met it */
  #meet(all: NodeAddress[], met: MetNodes): boolean {
    const isKept = this.#files.tried(this.#o.paths.met, () => met.keep(all.map(({ node }) => node)))
    const nodes = isKept ? all : all.filter(({ node }) => met.has(node))
    if (!isKept && JSON.stringify(nodes) === JSON.stringify(this.nodes)) return false
    this.nodes = nodes
    const peers = nodes.flatMap(({ node, peer, workers }) =>
      Array.from({ length: workers }, (_, worker) => ({ node, worker, endpoint: endpointOf(peer) })))
    const others = nodes.map(({ node, peer }) => `${node} ${peer}`).join()
    this.#o.log.event('info', 'nodes of the cluster', { others })
    for (const worker of this.#workers()) worker.peers(peers)
    this.#o.onPeers(peers)
    return isKept
  }

  #workers(): WorkerThread[] {
    return Array.from({ length: this.#o.workers }, (_, number) => this.#o.worker(number))
  }

  #home(volumeId: string): number {
    return homeOf(volumeId, this.#o.homes, this.#o.workers)
  }

  #workerOf(volumeId: string): WorkerThread {
    return this.#o.worker(this.#home(volumeId))
  }

  async #note(volumeId: string, copyId: string, noted: Seen): Promise<void> {
    await this.#workerOf(volumeId).replicationCall<'note'>({ kind: 'note', volumeId, copyId, noted })
  }

  // --- snapshots that are read here ---------------------------------------------------------------------------------

  /** By name, else by id, as far as it is known here. */
  volume(nameOrId: string): VolumeRecord | undefined {
    return this.#offers?.volume(nameOrId)
  }

  openSnapshot(wish: SnapshotWish, waitMs: number): Promise<OpenReader | null> {
    return this.#workerOf(wish.spec.id).replicationCall<'open-snapshot'>({ kind: 'open-snapshot', wish, waitMs })
  }

  mapSnapshot(volumeId: string, range: ReplicationCalls['map-snapshot']['request']) {
    return this.#workerOf(volumeId).replicationCall<'map-snapshot'>({ kind: 'map-snapshot', ...range })
  }

  async closeSnapshot(volumeId: string, reader: number): Promise<void> {
    await this.#workerOf(volumeId).replicationCall<'close-snapshot'>({ kind: 'close-snapshot', reader })
  }

  // --- LocalNode ---------------------------------------------------------------------------------------------------

  async status(): Promise<NodeStatus> {
    const { node, instance } = this.#o
    const told = await Promise.all(this.#workers().map(async (worker, number) => {
      const known = this.#status[number]!
      const changes = await worker.replicationCall<'status'>({ kind: 'status', since: known.since })
      this.#sessions[number] = changes.sessions
      return known.take(changes)
    }))
    const disks = joinDisks(told.flatMap(({ disks }) => disks))
    this.#o.suspects.seen(disks)
    const copies = told.flatMap((one) => one.copies).map((copy) => this.#compared(copy))
    return { node, instance, isOpen: true, disks, copies }
  }

  /** With what its comparison with others found; the same object as long as neither changed. */
  #compared(copy: CopyStatus): CopyStatus {
    if (copy.role !== 'primary') return copy
    this.#comparison.scrubbed(copy.volumeId, copy.scrubbedAtMs)
    const { atMs: comparedAtMs, differences } = this.#comparison.of(copy.volumeId)
    if (comparedAtMs === 0) return copy
    const known = this.#withComparison.get(copy)
    if (known?.comparedAtMs === comparedAtMs) return known
    const compared = { ...copy, comparedAtMs, differences }
    this.#withComparison.set(copy, compared)
    return compared
  }

  /** Versions in which the copies of a volume differ, by the last comparison that was made here. */
  differencesOf(volumeId: string): number {
    return this.#comparison.of(volumeId).differences
  }

  #digestsOf(node: NodeId): DigestCalls | undefined {
    const api = this.nodes.find((one) => one.node === node)?.api
    const calls = node === this.#o.node ? this : api === undefined ? undefined : this.#connections.to(node, api)
    if (calls === undefined) return undefined
    return {
      digest: async (volumeId, slice) => {
        const answer = await calls.digest({ volumeId, slice, page: -1 })
        return answer.isTold ? answer : undefined
      },
      shown: async (volumeId, slice, page) => {
        const answer = await calls.digest({ volumeId, slice, page })
        return answer.isTold ? answer.versions : undefined
      },
    }
  }

  /** Of its clients, as the last status told. */
  sessions(): SessionReport[] {
    return this.#sessions.flat()
  }

  async makeCopy(spec: VolumeSpec, source: CloneSource | undefined): Promise<{ copyId: string }> {
    const copyId = randomBytes(16).toString('hex')
    const worker = this.#workerOf(spec.id)
    // Ids of clones begin as those of their origins do; a copy that was found elsewhere when the daemon started stays.
    if (source !== undefined && this.#workerOf(source.volumeId) !== worker) {
      const reason = 'the copy of its origin is at another data worker of this node'
      throw new HoldfastError('clone-source', { volume: spec.name, copy: copyId, reason })
    }
    await worker.replicationCall<'make-copy'>({ kind: 'make-copy', spec, copyId, source })
    return { copyId }
  }

  async eraseCopy(volumeId: string, copyId: string): Promise<void> {
    await this.#workerOf(volumeId).replicationCall<'erase-copy'>({ kind: 'erase-copy', volumeId, copyId })
  }

  async handOver(volumeId: string, to: NodeId): Promise<void> {
    await this.#workerOf(volumeId).replicationCall<'hand-over'>({ kind: 'hand-over', volumeId, to })
  }

  async change(volumeId: string, command: Omit<ChangeCommand, 'type'>): Promise<ChangeAnswer> {
    return this.#workerOf(volumeId).replicationCall<'change'>({ kind: 'change', volumeId, ...command })
  }

  async hold(volumeId: string, command: Omit<HoldCommand, 'type'>): Promise<{ seq: number }> {
    return this.#workerOf(volumeId).replicationCall<'hold'>({ kind: 'hold', volumeId, ...command })
  }

  async release(volumeId: string, hold: string): Promise<void> {
    await this.#workerOf(volumeId).replicationCall<'release'>({ kind: 'release', volumeId, hold })
  }

  async snapshots(query: SnapshotQuery): Promise<SnapshotAnswer> {
    return this.#workerOf(query.volumeId).replicationCall<'snapshots'>({ kind: 'snapshots', query })
  }

  async offer({ spec, ioTimeoutMs, qos, mode, generation }: OfferedVolume): Promise<void> {
    await this.#workerOf(spec.id).replicationCall<'offer'>({ kind: 'offer', spec, ioTimeoutMs, qos })
    const { exports, attachments } = this.#o
    const found = { readOnly: mode === 'read-only', generation }
    // Whoever waits for this offer finds the socket of the attachment.
    if (mode === 'open') attachments.withdraw(spec.id)
    else await attachments.offer(spec.id, generation)
    exports.offer({ spec }, this.#home(spec.id), found)
  }

  clients(volumeId: string, mostMs: number): Promise<number[]> {
    return this.#workerOf(volumeId).replicationCall<'clients'>({ kind: 'clients', volumeId, mostMs })
  }

  hydrate(volumeId: string): Promise<number> {
    return this.#workerOf(volumeId).replicationCall<'hydrate'>({ kind: 'hydrate', volumeId })
  }

  async rekey(seen: { record: VolumeRecord; config: VolumeConfig }, isPass: boolean): Promise<RekeyReport> {
    const { record: { spec }, config } = seen
    const member = config.members[this.#o.node]
    if (member !== undefined) await this.#note(spec.id, member.copyId, seen)
    return this.#workerOf(spec.id).replicationCall<'rekey'>({ kind: 'rekey', spec, isPass })
  }

  async scrub(volumeId: string, isDeep: boolean): Promise<void> {
    await this.#workerOf(volumeId).replicationCall<'scrub'>({ kind: 'scrub', volumeId, isDeep })
  }

  async digest({ volumeId, slice, page }: DigestQuery): Promise<DigestAnswer> {
    const worker = this.#workerOf(volumeId)
    if (page >= 0) {
      const shown = await worker.replicationCall<'shown'>({ kind: 'shown', volumeId, slice, page })
      return { ...NOTHING_TOLD, isTold: shown !== null, versions: shown ?? [] }
    }
    const digest = await worker.replicationCall<'digest'>({ kind: 'digest', volumeId, slice })
    return { ...NOTHING_TOLD, isTold: digest !== null, ...digest }
  }

  offered(volumeId: string, generation: number, mostMs: number): Promise<boolean> {
    return this.#o.exports.whenOffered(volumeId, mostMs, generation)
  }

  /** Its key stays: this node is one that may use it, and nobody is there to unlock it when its turn comes again. */
  async hide(volumeId: string): Promise<void> {
    this.#o.attachments.withdraw(volumeId)
    this.#o.exports.withdrawVolume(volumeId)
  }

  async withdraw(volumeId: string): Promise<void> {
    this.#o.attachments.withdraw(volumeId)
    this.#o.exports.withdrawVolume(volumeId)
    await this.#workerOf(volumeId).replicationCall<'withdraw'>({ kind: 'withdraw', volumeId })
  }
}

/** `HOST:PORT`, as a node tells it with its beats. */
function endpointOf(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) }
}
