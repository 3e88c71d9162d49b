/**
 * The control plane inside the daemon of a node of a cluster: its server for other nodes, the three loops of
 * `ControlNode`, that of scheduled snapshots, and the control API that users of this node ask.
 *
 *   other nodes --TCP--> reports, orders, control API of the elected one
 *   users --TCP, TLS--> control API, passed on to whoever is elected, as their certificates or tokens allow
 *   users --unix socket--> control API, passed on to whoever is elected
 */
import { connectControlNode } from '../cluster/api/client.ts'
import type { ControlApi } from '../cluster/api/definition.ts'
import type { AddDiskRequest, Disk } from '../cluster/api/node-messages.ts'
import type { AuditTrail } from '../cluster/api/audit-trail.ts'
import { serveGrpc } from '../cluster/api/grpc-server.ts'
import type { ApiServer } from '../cluster/api/grpc-server.ts'
import { controlServices } from '../cluster/api/server.ts'
import { RemovedList } from '../cluster/api/removed-list.ts'
import { TokenBook } from '../cluster/api/token-book.ts'
import type { UserKey } from '../cluster/keys/user-key.ts'
import type { LocalNode } from '../cluster/local-node.ts'
import type { BeatList } from '../cluster/membership/beat-list.ts'
import type { Pulse } from '../cluster/pulse.ts'
import { ClusterControl } from '../cluster/reconcile/cluster-control.ts'
import { ControlNode } from '../cluster/reconcile/control-node.ts'
import { ForwardingControl } from '../cluster/reconcile/forwarding-control.ts'
import type { NodeCalls, NodeDetails } from '../cluster/reconcile/node-calls.ts'
import { NODE_CALLS, NodeConnections, nodeService } from '../cluster/reconcile/node-service.ts'
import { RecordStore } from '../cluster/reconcile/record-store.ts'
import { WorkLoop } from '../cluster/reconcile/work-loop.ts'
import { VolumeWishes } from '../cluster/reconcile/volume-wishes.ts'
import type { ActionEnd } from '../cluster/reconcile/action-runner.ts'
import type { DiffSnapshots } from '../cluster/api/snapshot-diff.ts'
import { snapshotReadService } from '../cluster/api/snapshot-diff.ts'
import type { ClusterStore } from '../cluster/store/cluster-store.ts'
import { hostAndPort } from '../cluster/tls/loopback.ts'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import type { Action } from '../engine/control/actions.ts'
import type { GroupRecord } from '../engine/control/snapshot-group.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'
import { clock } from './clock.ts'
import { RefusalLog } from './peer/refusal-log.ts'

/** The same problem is told again after so long. */
const PROBLEM_EVERY_MS = 60_000
const REFUSALS_EVERY_MS = 10_000
/** After the controller says that a volume is served, it is soon offered here. */
const OFFERED_WAIT_MS = 10_000

export interface ControlPlaneOptions {
  node: string
  instance: string
  clusterId: string
  store: ClusterStore
  storeAddress: string
  clusterKey: UserKey | undefined
  pulse: Pulse
  beats: BeatList
  local: LocalNode
  listen: { host: string; port: number }
  /** Unset: in plain text, on loopback. */
  tls: TlsFolder | undefined
  /** Of what is read through this node. */
  diff: DiffSnapshots
  details(): NodeDetails
  addDisk(request: AddDiskRequest): Promise<Disk>
  nbdOf(volume: string): string[]
  whenOffered(volumeId: string, mostMs: number): Promise<boolean>
  /** As its beats found. */
  isStoreReachable(): boolean
  audit: AuditTrail
  log: LogPort
  onBug(error: unknown): void
}

export class ControlPlane {
  /** Where other nodes reach it, as `HOST:PORT`. */
  readonly api: string
  /** For users of this node. */
  readonly control: ControlApi
  readonly #node: ControlNode
  readonly #server: ApiServer
  readonly #connections: NodeConnections
  readonly #forwarding: ForwardingControl
  readonly #startTurns: () => WorkLoop
  readonly #tokens: TokenBook
  readonly removed: RemovedList
  #turns: WorkLoop | undefined

  private constructor(parts: {
    api: string
    node: ControlNode
    server: ApiServer
    connections: NodeConnections
    forwarding: ForwardingControl
    startTurns: () => WorkLoop
    tokens: TokenBook
    removed: RemovedList
  }) {
    this.api = parts.api
    this.control = parts.forwarding
    this.#forwarding = parts.forwarding
    this.#node = parts.node
    this.#server = parts.server
    this.#connections = parts.connections
    this.#startTurns = parts.startTurns
    this.#tokens = parts.tokens
    this.removed = parts.removed
  }

  /** Listens for other nodes; stands for nothing before `start`. @throws HoldfastError `listen` */
  static async listen(options: ControlPlaneOptions): Promise<ControlPlane> {
    const { node: name, instance, clusterId, store, local, listen, details, log, onBug, nbdOf, whenOffered } = options
    const { addDisk, storeAddress, pulse, beats, tls, diff, clusterKey, isStoreReachable, audit } = options
    const connections = new NodeConnections(tls)
    const problems = new ProblemLog(log)
    let node: ControlNode | undefined
    let control: ClusterControl | undefined
    const calls: Record<string, unknown> = {}
    for (const call of NODE_CALLS) calls[call] = (request: never) => node![call](request)
    let forwarding: ForwardingControl | undefined
    const [forNodes, forUsers] = [lateControl(() => control!), lateControl(() => forwarding!)]
    const services = [
      nodeService(calls as unknown as NodeCalls, tls === undefined),
      // What a node passes on goes no further: its daemon never asks for that.
      ...controlServices(({ role, isPassedOn }) => (role === 'node' && isPassedOn !== true ? forNodes : forUsers)),
      snapshotReadService(diff),
    ]
    const refusals = new RefusalLog({ log, clock, everyMs: REFUSALS_EVERY_MS })
    const onRefused = (address: string, reason: string): void =>
      refusals.refused('control connection refused', `${address.replace(/:\d+$/, '')} ${reason}`, { address, reason })
    const onProblem = (error: HoldfastError): void => problems.note(error)
    const tokens = new TokenBook({ store, clusterId, isStoreReachable, onProblem })
    const removed = new RemovedList({ store, onProblem })
    const at = { ...listen, tls: tls && { folder: tls, onRefused, tokens, removed } }
    const server = await serveGrpc(at, services, onBug, audit)
    const api = hostAndPort(listen.host, server.port)
    node = new ControlNode({
      node: name,
      instance,
      api,
      store,
      pulse,
      beats,
      local,
      details,
      connect: (other, address) => connections.to(other, address),
      nowMs: () => clock.nowMs(),
      onAction: (action, end) => logAction(log, action, end),
      onProblem: (error) => problems.note(error),
      onBug,
    })
    const { controller, election } = node
    const records = new RecordStore(store)
    const wishes = new VolumeWishes(records)
    control = new ClusterControl({
      node: name, controller, wishes, records, clusterId, storeAddress, clusterKey, onBug, nowMs: () => clock.nowMs(),
      wallMs: () => Date.now(), onGroup: (group, heldMs) => logGroup(log, group, heldMs),
    })
    const passing = forwarding = new ForwardingControl({
      node: name,
      local: control,
      leader: () => election.leader(),
      storeProblem: () => election.problem,
      connect: (other, address) => connectControlNode(other, address, tls),
      addDisk,
      nbdOf,
      whenOffered: (volumeId) => whenOffered(volumeId, OFFERED_WAIT_MS),
    })
    const elected = control
    const startTurns = () => new WorkLoop({ work: async () => elected.turn(), pulse, onBug })
    return new ControlPlane({ api, node, server, connections, forwarding: passing, startTurns, tokens, removed })
  }

  start(): void {
    this.#node.start()
    this.#turns = this.#startTurns()
  }

  /** Something changed on this node that others wait for: whoever is elected hears it at once. */
  changed(): void {
    this.#node.changed()
  }

  /** Another node is elected at once, if this one was, and the store answers within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    await this.#turns?.stop()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, graceMs)))
    await Promise.race([this.#node.stop(), late])
    clearTimeout(timer)
    await this.#server.close(graceMs)
    this.#tokens.close()
    this.removed.close()
    this.#forwarding.close()
    this.#connections.close()
  }
}

/** The control API of an object that is there before the first request is. */
function lateControl(control: () => ControlApi): ControlApi {
  const handler = { get: (_: object, method: keyof ControlApi) => (request: never) => control()[method](request) }
  return new Proxy({}, handler) as ControlApi
}

function logAction(log: LogPort, action: Action, end: ActionEnd): void {
  if (end.outcome === 'not-sent') return
  const { type, why } = action
  const volume = 'volumeId' in action ? action.volumeId : ''
  const target = 'node' in action ? action.node : ''
  const reason = 'error' in end ? end.error.message : ''
  log.event('info', 'the control plane acts', { action: type, volume, target, why, outcome: end.outcome, reason })
}

function logGroup(log: LogPort, { name, members }: GroupRecord, heldMs: number): void {
  log.event('info', 'a group snapshot is taken', { group: name, volumes: members.length, heldMs: Math.ceil(heldMs) })
}

class ProblemLog {
  readonly #log: LogPort
  readonly #toldAtMs = new Map<string, number>()

  constructor(log: LogPort) {
    this.#log = log
  }

  note(error: HoldfastError): void {
    const nowMs = clock.nowMs()
    if (nowMs - (this.#toldAtMs.get(error.code) ?? -Infinity) < PROBLEM_EVERY_MS) return
    this.#toldAtMs.set(error.code, nowMs)
    this.#log.event('warn', 'the control plane goes on trying', { code: error.code, reason: error.message })
  }
}
