/**
 * While this process leads (a Lease), nodes are replaced and drains let through, one look after the other (SPEC.md
 * section 7). The loop has no rules: it reads, asks the step, does what it says while the look is young, and tells.
 *
 *   look -> step -> its actions in order; behind one that fails only those that take leave back
 *        -> guards that are lacking or too many, each by itself -> told
 *   something was done: looked again at once; else after a pause, longer where looks take long
 */
import type { ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { uidOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { EventTarget, ToldEvent } from '../event-recorder.ts'
import { guardCalls, UpkeepOrder } from './guard-upkeep.ts'
import type { LeaveCalls, LeaveReading } from './leave-calls.ts'
import { DAEMON_SET } from './leave-calls.ts'
import { LeaveEvents } from './leave-events.ts'
import type { GuardView } from './leave-look.ts'
import { isTakingBack, leaveStep } from './leave-step.ts'
import type { LeaveAction, LeavePlan } from './leave-step.ts'

/** Of what the control API said, after which nothing is begun of it. */
export const LOOK_AGE_MS = 5000
const PAUSE_MS = 3000
/** Of the time of a look. */
const PAUSE_SHARE = 5
const AGAIN_MS = 200
/** A guard whose pod is not made for so long is refused somewhere, and no image is waited for (SPEC.md U4). */
const ABSENT_MS = 5 * 60_000
/** Where nothing is decided: a guard could only be one that somebody was about to make when it was turned off. */
const IDLE_MS = 60_000
const SAID_MAX = 1000

export interface LeaveLoopOptions {
  calls: Pick<LeaveCalls, 'read' | 'perform' | 'put' | 'budgetPath' | 'deploymentPath'>
  namespace: string
  /** Pods are replaced; else the annotation that pauses it counts as set. */
  isReplacing: boolean
  /** Else guards that are there are removed; without replacement either that is all that is done. */
  isGuarding: boolean
  tell(event: ToldEvent): void
  log(line: string): void
  /** For metrics. */
  onPlan?(plan: LeavePlan): void
  /** Monotonic. */
  nowMs?(): number
  pause(ms: number, signal: AbortSignal): Promise<void>
}

interface Outcome {
  /** Something was. */
  isDone: boolean
  problems: string[]
}

export class LeaveLoop {
  readonly #options: LeaveLoopOptions
  #events: LeaveEvents | undefined
  /** When the control API answered last, and since when the same node is away. */
  #heardAtMs: number
  #away = { key: '', sinceMs: 0 }
  /** Since when a node's guard has no pod of the newest image. */
  #absentSinceMs = new Map<string, number>()
  readonly #order = new UpkeepOrder()
  readonly #said = new Set<string>()
  #told = ''

  constructor(options: LeaveLoopOptions) {
    this.#options = options
    this.#heardAtMs = this.#nowMs()
  }

  /** @param isLeading  asked before whatever is done */
  async run(signal: AbortSignal, isLeading: () => boolean): Promise<void> {
    while (!signal.aborted) {
      const begunAtMs = this.#nowMs()
      const isAgain = await this.turn(isLeading)
      const tookMs = this.#nowMs() - begunAtMs
      const restMs = this.#isDeciding ? PAUSE_MS : IDLE_MS
      await this.#options.pause(isAgain ? AGAIN_MS : Math.max(restMs, tookMs * PAUSE_SHARE), signal)
    }
  }

  get #isDeciding(): boolean {
    return this.#options.isReplacing || this.#options.isGuarding
  }

  /** @returns whether something was done, so that it is looked again at once */
  async turn(isLeading: () => boolean): Promise<boolean> {
    const { calls, onPlan, isReplacing, isGuarding } = this.#options
    const reading = await calls.read()
    if (typeof reading === 'string') {
      this.#say([`nodes that may leave cannot be looked at: ${reading}`])
      return false
    }
    const look = this.#timed(reading)
    const paused = look.set.isPaused || !isReplacing
    const guards = isGuarding ? look.guards : new Map()
    const isDeciding = this.#isDeciding
    const plan = isDeciding ? leaveStep({ ...look, guards, set: { ...look.set, isPaused: paused } }) : undefined
    const isYoung = (): boolean => !isDeciding || this.#nowMs() - reading.askedAtMs <= LOOK_AGE_MS
    const mayAct = (): boolean => isLeading() && isYoung()
    const acted = await this.#act(plan?.actions ?? [], mayAct)
    const kept = await this.#keep(guardCalls({ ...this.#upkeep(reading), look, isWanted: isGuarding }), mayAct)
    const problems = [...acted.problems, ...kept.problems]
    this.#say(problems)
    if (acted.problems.length > 0) return false
    if (plan !== undefined && isLeading()) this.#tell(plan, reading)
    if (plan !== undefined) onPlan?.(plan)
    return acted.isDone || kept.isDone
  }

  async #act(actions: readonly LeaveAction[], mayAct: () => boolean): Promise<Outcome> {
    const outcome: Outcome = { isDone: false, problems: [] }
    for (const action of actions) {
      if (outcome.problems.length > 0 && !isTakingBack(action)) continue
      if (!mayAct()) break
      const problem = await this.#options.calls.perform(action)
      if (problem !== undefined) outcome.problems.push(problem)
      else outcome.isDone = true
      const isDeleted = action.type === 'delete-pod' && problem === undefined
      if (isDeleted) this.#options.log(`pod ${action.pod} of ${action.node} is deleted, to be replaced`)
    }
    return outcome
  }

  /** One that is refused (a quota, a policy) keeps no other back. */
  async #keep(calls: readonly ApiCall[], mayAct: () => boolean): Promise<Outcome> {
    const outcome: Outcome = { isDone: false, problems: [] }
    for (const call of this.#order.next(calls)) {
      if (!mayAct()) break
      const problem = await this.#options.calls.put(call)
      this.#order.tried(call, problem === undefined)
      if (problem !== undefined) outcome.problems.push(problem)
      else outcome.isDone = true
    }
    return outcome
  }

  #timed({ look, clusterProblem, askedAtMs }: LeaveReading): LeaveReading['look'] {
    if (clusterProblem === '') this.#heardAtMs = askedAtMs
    const entries = Object.entries(look.set.register?.nodes ?? {})
    const away = entries.find(([, { pod }]) => pod !== undefined)
    const key = away === undefined ? '' : `${away[0]} ${away[1].pod!.uid}`
    if (key !== this.#away.key) this.#away = { key, sinceMs: askedAtMs }
    const guards = this.#withoutAbsent(look.guards, askedAtMs)
    return { ...look, guards, silentMs: askedAtMs - this.#heardAtMs, awayMs: askedAtMs - this.#away.sinceMs }
  }

  #withoutAbsent(guards: ReadonlyMap<string, GuardView>, nowMs: number): Map<string, GuardView> {
    const absent = [...guards].filter(([, { image }]) => image === 'absent').map(([node]) => node)
    this.#absentSinceMs = new Map(absent.map((node) => [node, this.#absentSinceMs.get(node) ?? nowMs]))
    const isOver = (node: string): boolean => nowMs - (this.#absentSinceMs.get(node) ?? nowMs) >= ABSENT_MS
    return new Map([...guards].map(([node, guard]) => [node, isOver(node) ? { ...guard, image: 'unknown' } : guard]))
  }

  #upkeep({ daemonSet, budgets, deployments, nodes }: LeaveReading) {
    const { calls, namespace } = this.#options
    return {
      namespace, daemonSet, budgets, deployments, nodes,
      budgetsPath: calls.budgetPath(), deploymentsPath: calls.deploymentPath(),
    }
  }

  #tell(plan: LeavePlan, { daemonSet }: LeaveReading): void {
    const { namespace, tell, log } = this.#options
    const about: EventTarget = {
      apiVersion: 'apps/v1', kind: 'DaemonSet', namespace, name: DAEMON_SET, uid: uidOf(daemonSet),
    }
    this.#events ??= new LeaveEvents({ namespace, daemonSet: about, tell })
    this.#events.tell(plan, this.#nowMs())
    const { state = 'unreadable', node = '', why = '' } = plan.replacement ?? {}
    const line = `replacement: ${[state, node, why].filter((one) => one !== '').join(', ')}`
    if (line !== this.#told) log(line)
    this.#told = line
  }

  /** Each once, for as long as there are any. */
  #say(problems: readonly string[]): void {
    if (problems.length === 0 || this.#said.size > SAID_MAX) this.#said.clear()
    for (const problem of problems) if (!this.#said.has(problem)) this.#options.log(problem)
    for (const problem of problems) this.#said.add(problem)
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? performance.now()
  }
}
