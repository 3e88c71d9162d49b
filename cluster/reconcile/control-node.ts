/**
 * The control plane of one node: it stands for election, reports what it has to whoever is elected, carries out orders,
 * and decides for the cluster while it is elected itself.
 *
 *   election    every second or two     beat, or look unless the elected one answers; take over
 *   agent       every second, or asked  status of this node -> controller
 *   controller  every second, or asked  pass -> compare-and-swaps, orders
 *
 * The three do not wait for each other: a data worker or a store that is slow stops its own part only. What they do
 * by the second begins in the same tick (`pulse.ts`).
 */
import { CONTROL_DEFAULTS } from '../../engine/control/control-options.ts'
import type { ControlOptions } from '../../engine/control/control-options.ts'
import type { Action } from '../../engine/control/actions.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../../engine/control/volume-snapshots.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { LocalNode } from '../local-node.ts'
import type { BeatList } from '../membership/beat-list.ts'
import type { Pulse } from '../pulse.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import type { ActionEnd } from './action-runner.ts'
import { Controller } from './controller.ts'
import { Election } from './election.ts'
import type { Leader } from './election.ts'
import { NodeAgent } from './node-agent.ts'
import type {
  AwaitOfferRequest, ChangeAnswer, ChangeOrder, ClientsAnswer, ClientsQuery, DigestAnswer, DigestQuery, EraseCopyOrder,
  HandOverOrder, HoldOrder, MakeCopyOrder, NodeCalls, NodeDetails, NodeReport, RekeyOrder, RekeyReport, ReleaseOrder,
  ReportAnswer, ScrubOrder,
} from './node-calls.ts'
import { WorkLoop } from './work-loop.ts'

/** Five looks before anybody is silent, but not more often than the others work. */
const electionEveryMs = (silentAfterMs: number, everyMs: number): number =>
  Math.max(everyMs, Math.min(2 * everyMs, silentAfterMs / 5))
/** Within the deadline of a call. */
const OFFER_WAIT_MS = 2_000
/** What a client had asked when it left takes no longer, or counts as one that is there. */
const LEAVING_MS = 1_000

export interface ControlNodeOptions {
  node: string
  /** Of this daemon. */
  instance: string
  /** `HOST:PORT` at which other nodes reach it. */
  api: string
  store: ClusterStore
  pulse: Pulse
  beats: BeatList
  local: LocalNode
  /** As the last status brought them. */
  details(): NodeDetails
  /** Calls of another node. */
  connect(node: string, api: string): NodeCalls
  /** Monotonic. */
  nowMs(): number
  control?: Partial<ControlOptions>
  onAction?(action: Action, end: ActionEnd): void
  /** It goes on by itself. */
  onProblem(error: HoldfastError): void
  onBug(error: unknown): void
}

export class ControlNode implements NodeCalls {
  readonly election: Election
  readonly controller: Controller
  readonly agent: NodeAgent
  private readonly options: ControlNodeOptions
  private loops: { election: WorkLoop; agent: WorkLoop; controller: WorkLoop } | undefined

  constructor(options: ControlNodeOptions) {
    this.options = options
    const { node, instance, api, store, beats, local, details, nowMs, control, onAction, onProblem, onBug } = options
    const silentAfterMs = control?.downAfterMs ?? CONTROL_DEFAULTS.downAfterMs
    this.election = new Election({ store, self: { node, instance, api }, silentAfterMs, nowMs })
    this.controller = new Controller({
      store,
      beats,
      ...(control === undefined ? {} : { control }),
      ...(onAction === undefined ? {} : { onAction }),
      isElected: () => this.election.isElected(),
      nowMs,
      connect: (name, address) => this.callsOf(name, address),
      wake: () => this.loops?.controller.wake(),
      onProblem,
      onBug,
    })
    this.agent = new NodeAgent({
      node,
      instance,
      store,
      local,
      details,
      controller: () => this.elected(),
      nowMs,
      onChanged: () => this.changed(),
      onBeats: (digest) => beats.electedSaid(digest),
    })
  }

  start(): void {
    const { pulse, onBug } = this.options
    const everyMs = electionEveryMs(this.election.silentAfterMs, pulse.everyMs)
    this.loops = {
      election: new WorkLoop({ work: () => this.electionTurn(), pulse, everyMs, onBug }),
      agent: new WorkLoop({ work: () => this.agentTurn(), pulse, onBug }),
      controller: new WorkLoop({ work: () => this.controller.turn(), pulse, onBug }),
    }
  }

  /** Another one is elected at once. */
  async stop(): Promise<void> {
    const { loops } = this
    this.loops = undefined
    if (loops !== undefined) await Promise.all(Object.values(loops).map((loop) => loop.stop()))
    await this.controller.close()
    await this.election.resign()
  }

  /** Something changed on this node: the controller should hear it soon. */
  changed(): void {
    this.loops?.agent.wake()
  }

  async report(report: NodeReport): Promise<ReportAnswer> {
    return this.controller.report(report)
  }

  makeCopy(order: MakeCopyOrder): Promise<{ copyId: string }> {
    return this.agent.makeCopy(order)
  }

  eraseCopy(order: EraseCopyOrder): Promise<object> {
    return this.agent.eraseCopy(order)
  }

  handOver(order: HandOverOrder): Promise<object> {
    return this.agent.handOver(order)
  }

  change(order: ChangeOrder): Promise<ChangeAnswer> {
    return this.agent.change(order)
  }

  hold(order: HoldOrder): Promise<{ seq: number }> {
    return this.agent.hold(order)
  }

  release(order: ReleaseOrder): Promise<object> {
    return this.agent.release(order)
  }

  snapshots(query: SnapshotQuery): Promise<SnapshotAnswer> {
    return this.agent.snapshots(query)
  }

  async awaitOffer({ volumeId, generation }: AwaitOfferRequest): Promise<{ isOffered: boolean }> {
    return { isOffered: await this.options.local.offered(volumeId, generation, OFFER_WAIT_MS) }
  }

  async clients({ volumeId }: ClientsQuery): Promise<ClientsAnswer> {
    return { generations: await this.options.local.clients(volumeId, LEAVING_MS) }
  }

  async scrub({ volumeId, isDeep }: ScrubOrder): Promise<object> {
    await this.options.local.scrub(volumeId, isDeep)
    return {}
  }

  hydrate(order: MakeCopyOrder): Promise<{ sharedSlices: number }> {
    return this.agent.hydrate(order)
  }

  rekey(order: RekeyOrder): Promise<RekeyReport> {
    return this.agent.rekey(order)
  }

  digest(query: DigestQuery): Promise<DigestAnswer> {
    return this.options.local.digest(query)
  }

  /** Who is elected, as far as this node knows, and how it is reached. */
  elected(): { leader: Leader; calls: NodeCalls } | undefined {
    const leader = this.election.leader()
    return leader === undefined ? undefined : { leader, calls: this.callsOf(leader.node, leader.api) }
  }

  async electionTurn(): Promise<void> {
    const was = this.election.leader()?.instance
    const error = await this.election.turn()
    if (error !== undefined) this.options.onProblem(error)
    if (this.election.leader()?.instance === was) return
    this.loops?.controller.wake()
    this.changed()
  }

  async agentTurn(): Promise<void> {
    const { election, options } = this
    const leader = election.leader()
    const atMs = options.nowMs()
    const isTaken = await this.agent.turn().catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) throw error
      options.onProblem(error)
      return false
    })
    if (leader === undefined) return
    if (isTaken) election.hears(leader.instance, atMs)
    else if (!election.hearsNobody()) this.loops?.election.wake()
  }

  private callsOf(node: string, api: string): NodeCalls {
    return node === this.options.node ? this : this.options.connect(node, api)
  }
}
