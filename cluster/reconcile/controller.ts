/**
 * The elected node's side of the control plane (engine/control/SPEC.md section 2): knows the records by watching them,
 * the nodes by their reports and heartbeats, plans, and has the plan carried out. All it knows ends with its term; the
 * next controller begins by looking.
 *
 *   turn:  elected?  no -> the term ends      yes -> heartbeats -> planPass -> each action, unless it waited too long
 *   woken: a record changed, a node said something new, an action ended  -> turn
 */
import { randomBytes, randomUUID } from 'node:crypto'
import type { Action } from '../../engine/control/actions.ts'
import { heard, newCluster, setNodeStatus } from '../../engine/control/cluster.ts'
import type { Cluster } from '../../engine/control/cluster.ts'
import type { ControlOptions } from '../../engine/control/control-options.ts'
import { newPlanner, notGivenOut, planPass } from '../../engine/control/plan.ts'
import type { Planner } from '../../engine/control/plan.ts'
import type { HoldfastError } from '../../engine/errors.ts'
import { BEAT_PREFIX, decodeBeat } from '../membership/beat-body.ts'
import type { BeatBody } from '../membership/beat-body.ts'
import { digestOfBeats } from '../membership/beat-list.ts'
import type { BeatList } from '../membership/beat-list.ts'
import { AGE_KEY } from '../store/cluster-age.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import { HeartbeatObserver } from '../store/heartbeats.ts'
import { REBUILDS_KEY } from '../store/rebuild-records.ts'
import { configKey } from '../store/volume-configs.ts'
import { moveKey } from '../store/volume-moves.ts'
import { volumeKey } from '../store/volume-records.ts'
import { ActionRunner } from './action-runner.ts'
import type { ActionEnd, ReachedNode } from './action-runner.ts'
import { ClusterCache } from './cluster-cache.ts'
import type { NodeCalls, NodeReport, ReportAnswer } from './node-calls.ts'
import { figuresShare } from './report-changes.ts'
import { StatusIntake } from './status-intake.ts'

/** Heartbeats are looked at in every turn that comes by itself, and not in all that somebody asks for. */
const LOOK_EVERY_MS = 900

export interface ControllerOptions {
  store: ClusterStore
  beats: BeatList
  control?: Partial<ControlOptions>
  isElected(): boolean
  nowMs(): number
  /** Calls of another node by the address of its heartbeat, or of our own. */
  connect(node: string, api: string): NodeCalls
  /** There is something to do: a turn should come soon. */
  wake(): void
  onAction?(action: Action, end: ActionEnd): void
  onProblem(error: HoldfastError): void
  /** Something that cannot be: a bug of ours. */
  onBug(error: unknown): void
}

/** What is known from an election to its end. */
export interface Term {
  cluster: Cluster
  planner: Planner
  cache: ClusterCache
  intake: StatusIntake
  runner: ActionRunner
  observer: HeartbeatObserver
  /** What each node tells with its heartbeat. */
  beats: Map<string, BeatBody>
  /** Of all that they tell, as it was listed last; empty: not now. */
  beatsDigest: string
  lookedAtMs: number
  /** Somebody who is not among them reported. */
  missesBeats: boolean
  /** Why the store did not say at the last look who beats; undefined: it did. */
  storeProblem: HoldfastError | undefined
  /** Passes that were done. */
  passes: number
}

export class Controller {
  private readonly options: ControllerOptions
  private current: Term | undefined
  private readonly running = new Set<Promise<void>>()
  private waiting: Array<() => void> = []

  constructor(options: ControllerOptions) {
    this.options = options
  }

  /** Undefined while this node is not elected, or does not know all records yet. */
  term(): Term | undefined {
    const { current } = this
    return current !== undefined && this.options.isElected() && current.cache.isComplete ? current : undefined
  }

  /** Not twice at a time. */
  async turn(): Promise<void> {
    if (!this.options.isElected()) return this.endTerm()
    this.current ??= this.beginTerm()
    const { current } = this
    await this.lookAtBeats(current)
    const term = this.term()
    if (term === undefined || term !== current) return
    this.pass(term)
  }

  /** What a node says of itself. A node that is not elected takes nothing. */
  report(report: NodeReport): ReportAnswer {
    const { current, options } = this
    if (current === undefined || !options.isElected()) return { isTaken: false, ticket: '', beats: '', figures: 0 }
    const { answer, taken } = current.intake.take(report, options.nowMs())
    // Orders go where its heartbeat says.
    if (!current.beats.has(report.status.node)) {
      current.missesBeats = true
      options.wake()
    }
    if (taken !== undefined) {
      setNodeStatus(current.cluster, taken.status, taken.atMs)
      if (current.cluster.changed.size > 0) options.wake()
    }
    return { ...answer, beats: current.beatsDigest, figures: figuresShare(current.beats.size) }
  }

  /** No more actions; what was sent is waited for. */
  async close(): Promise<void> {
    this.endTerm()
    await this.settled()
  }

  /** A pass was done, or the term has ended. */
  passed(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /** All actions that were begun have ended. */
  async settled(): Promise<void> {
    while (this.running.size > 0) await Promise.all(this.running)
  }

  /** Undefined: it does not beat, or has not reported. */
  reach(term: Term, node: string): ReachedNode | undefined {
    const beat = term.beats.get(node)
    const addressee = term.intake.addressee(node)
    if (beat === undefined || addressee === undefined) return undefined
    return { calls: this.options.connect(node, beat.api), addressee }
  }

  private beginTerm(): Term {
    const { store, control, nowMs, wake, onProblem } = this.options
    const cluster = newCluster(nowMs(), control)
    const beats = new Map<string, BeatBody>()
    const runner: ActionRunner = new ActionRunner({
      store,
      nowMs,
      restMs: cluster.options.retryMs,
      reach: (node) => this.reach(term, node),
    })
    const onChange = (key: string) => {
      runner.seen(key)
      wake()
    }
    const term: Term = {
      cluster,
      planner: newPlanner(cluster),
      cache: new ClusterCache({ store, cluster, nowMs, onChange, onProblem }),
      intake: new StatusIntake(() => randomBytes(9).toString('base64url')),
      runner,
      observer: new HeartbeatObserver(cluster.options.suspectAfterMs),
      beats,
      beatsDigest: '',
      lookedAtMs: -Infinity,
      missesBeats: true,
      storeProblem: undefined,
      passes: 0,
    }
    return term
  }

  private endTerm(): void {
    this.current?.cache.close()
    this.current = undefined
    this.tellWaiting()
  }

  private tellWaiting(): void {
    for (const tell of this.waiting.splice(0)) tell()
  }

  private async lookAtBeats(term: Term): Promise<void> {
    const { beats, nowMs, onProblem } = this.options
    const { missesBeats } = term
    const lookedAtMs = nowMs()
    if (!missesBeats && lookedAtMs - term.lookedAtMs < LOOK_EVERY_MS) return
    term.lookedAtMs = lookedAtMs
    term.missesBeats = false
    const { askedAtMs, answer } = await (missesBeats ? beats.read(0) : beats.read())
    term.beatsDigest = answer.ok ? digestOfBeats(answer.entries) : ''
    if (!answer.ok) {
      term.storeProblem = answer.error
      return onProblem(answer.error)
    }
    const { entries } = answer
    term.storeProblem = undefined
    term.observer.look(entries, askedAtMs)
    term.beats.clear()
    for (const entry of entries) {
      const beat = decodeBeat(entry)
      if (beat !== undefined) term.beats.set(beat.node, beat.body)
    }
    for (const [key, silentMs] of term.observer.silence()) {
      if (silentMs === 0) heard(term.cluster, key.slice(BEAT_PREFIX.length), askedAtMs)
    }
  }

  private pass(term: Term): void {
    term.passes++
    for (const action of planPass(term.planner, this.options.nowMs(), randomUUID())) {
      if (keysBehind(action).some((key) => term.cache.unreadable.has(key))) continue
      const run = this.run(term, action).catch((error: unknown) => this.options.onBug(error))
      const ended: Promise<void> = run.then(() => void this.running.delete(ended))
      this.running.add(ended)
    }
    this.tellWaiting()
  }

  private async run(term: Term, action: Action): Promise<void> {
    const end = await term.runner.run(action)
    this.options.onAction?.(action, end)
    if (end.outcome === 'not-sent') notGivenOut(term.cluster, action)
    else this.options.wake()
  }
}

/** Where a value that is not understood stands in the way of an action. */
function keysBehind(action: Action): string[] {
  if (action.type === 'change-age') return [AGE_KEY]
  if (action.type === 'change-rebuilds') return [REBUILDS_KEY]
  const { volumeId } = action
  return [volumeKey(volumeId), configKey(volumeId), moveKey(volumeId)]
}
