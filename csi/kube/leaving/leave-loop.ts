/**
 * While this process leads (a Lease), nodes are replaced and drains let through, one look after the other (SPEC.md
 * section 7). The loop has no rules: it reads, asks the step, does what it says while the look is young, and tells.
 *
 *   look -> guards that are lacking -> step -> its actions in order, up to one that fails -> told
 *   something was done: looked again at once; else after a pause, longer where looks take long
 */
import { uidOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { EventTarget, ToldEvent } from '../event-recorder.ts'
import { guardCalls } from './guard-upkeep.ts'
import type { LeaveCalls, LeaveReading } from './leave-calls.ts'
import { DAEMON_SET } from './leave-calls.ts'
import { LeaveEvents } from './leave-events.ts'
import { leaveStep } from './leave-step.ts'
import type { LeavePlan } from './leave-step.ts'

/** Of what the control API said, after which nothing is begun of it. */
export const LOOK_AGE_MS = 5000
const PAUSE_MS = 3000
/** Of the time of a look. */
const PAUSE_SHARE = 5
const AGAIN_MS = 200

export interface LeaveLoopOptions {
  calls: LeaveCalls
  namespace: string
  /** Pods are replaced; else the annotation that pauses it counts as set. */
  isReplacing: boolean
  isGuarding: boolean
  tell(event: ToldEvent): void
  log(line: string): void
  /** For metrics. */
  onPlan?(plan: LeavePlan): void
  /** Monotonic. */
  nowMs?(): number
  pause(ms: number, signal: AbortSignal): Promise<void>
}

export class LeaveLoop {
  readonly #options: LeaveLoopOptions
  #events: LeaveEvents | undefined
  /** When the control API answered last, and since when the same node is away. */
  #heardAtMs: number
  #away = { key: '', sinceMs: 0 }
  #problem = ''
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
      await this.#options.pause(isAgain ? AGAIN_MS : Math.max(PAUSE_MS, tookMs * PAUSE_SHARE), signal)
    }
  }

  /** @returns whether something was done, so that it is looked again at once */
  async turn(isLeading: () => boolean): Promise<boolean> {
    const { calls, onPlan, isReplacing, isGuarding, log } = this.#options
    const reading = await calls.read()
    if (typeof reading === 'string') return this.#fail(`nodes that may leave cannot be looked at: ${reading}`)
    const look = this.#timed(reading)
    const paused = look.set.isPaused || !isReplacing
    const guards = isGuarding ? look.guards : new Map()
    const plan = leaveStep({ ...look, guards, set: { ...look.set, isPaused: paused } })
    const mayAct = (): boolean => isLeading() && this.#nowMs() - reading.askedAtMs <= LOOK_AGE_MS
    let isDone = false
    for (const call of guardCalls({ ...this.#upkeep(reading), look, isWanted: isGuarding })) {
      if (!mayAct()) break
      const problem = await calls.put(call)
      if (problem !== undefined) return this.#fail(problem)
      isDone = true
    }
    for (const action of plan.actions) {
      if (!mayAct()) break
      const problem = await calls.perform(action)
      if (problem !== undefined) return this.#fail(problem)
      if (action.type === 'delete-pod') log(`pod ${action.pod} of ${action.node} is deleted, to be replaced`)
      isDone = true
    }
    if (isLeading()) this.#tell(plan, reading)
    onPlan?.(plan)
    this.#problem = ''
    return isDone
  }

  #timed({ look, clusterProblem, askedAtMs }: LeaveReading): LeaveReading['look'] {
    if (clusterProblem === '') this.#heardAtMs = askedAtMs
    const entries = Object.entries(look.set.register?.nodes ?? {})
    const away = entries.find(([, { pod }]) => pod !== undefined)
    const key = away === undefined ? '' : `${away[0]} ${away[1].pod!.uid}`
    if (key !== this.#away.key) this.#away = { key, sinceMs: askedAtMs }
    return { ...look, silentMs: askedAtMs - this.#heardAtMs, awayMs: askedAtMs - this.#away.sinceMs }
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

  #fail(problem: string): false {
    if (problem !== this.#problem) this.#options.log(problem)
    this.#problem = problem
    return false
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? performance.now()
  }
}
