/**
 * Moves pods off nodes that died (SPEC.md section 4), once elected. A turn each second looks at all nodes; whatever is
 * to be done for one of them is a job of its own, one at a time, so that a volume that cannot be fenced holds up no
 * other node. A job looks, decides (`failover-decision.ts`), does one thing and ends: the next turn begins anew.
 *
 * Invariant: before anything is done we lead, F1 does not hold in looks that are 5 s old at most, and the node is still
 * what it was; before a pod is removed all its volumes were fenced in that very job.
 */
import {
  idsOf, isStarting, lostAttachments, stepsFor, STORAGE_DOWN_MS, usersOf, verdictOf, whyStopped, withoutOurs,
} from './failover-decision.ts'
import type { NodeSeen, Step, Verdict } from './failover-decision.ts'
import { FailoverEvents } from './failover-events.ts'
import { isOurUnreachable } from './failover-facts.ts'
import type { AttachmentFacts, NodeFacts, PodFacts, Taint } from './failover-facts.ts'
import { FailoverPace } from './failover-pace.ts'
import type { FailoverPort, Read } from './failover-port.ts'
import { LostAttachments } from './lost-attachments.ts'
import { NodeSilence } from './node-silence.ts'
import type { LookTimes } from './node-silence.ts'

export const TURN_MS = 1000
/** Of a node of which nothing is left to do: a look lists its pods and all attachments. */
const REST_MS = 10_000
/** Whose volumes are fenced at the same time, of a node; the first that is ready goes. */
const PODS_AT_ONCE = 4

/** For metrics. */
export interface FailoverCounts {
  /** Why nothing is done; empty: all is looked at. */
  stopped: string
  dead: number
  deadStorage: number
  /** Pods whose volumes are not fenced yet, as their nodes' jobs saw them last. */
  waiting: number
  moved: number
}

export class Failover {
  private readonly port: FailoverPort
  private readonly isLeading: () => boolean
  private readonly events: FailoverEvents
  private readonly silence = new NodeSilence()
  private readonly pace = new FailoverPace()
  private readonly lost = new LostAttachments()
  private readonly jobs = new Map<string, Promise<void>>()
  /** Of a pod whose fences are under way, also when its job has ended. */
  private readonly fencing = new Set<string>()
  /** When the volumes of a pod were tried last, by its UID. */
  private tried = new Map<string, number>()
  private readonly waiting = new Map<string, number>()
  /** When the data process of a node was last seen to be started, or its pod to go. */
  private readonly startingAt = new Map<string, number>()
  /** Until when a node of which nothing was left to do is not looked at. */
  private readonly restsUntil = new Map<string, number>()
  private stopped: string | undefined = 'nothing was seen yet'
  private moved = 0
  /** Of a job: a bug, which the next turn throws. */
  private failure: { error: unknown } | undefined

  constructor(port: FailoverPort, isLeading: () => boolean) {
    this.port = port
    this.isLeading = isLeading
    this.events = new FailoverEvents(port)
  }

  get counts(): FailoverCounts {
    const verdicts = this.silence.all(this.port.nowMs()).map(verdictOf)
    const count = (wanted: Verdict): number => verdicts.filter((one) => one === wanted).length
    const waiting = [...this.waiting.values()].reduce((sum, one) => sum + one, 0)
    return {
      stopped: this.stopped ?? '', dead: count('dead'), deadStorage: count('dead-storage'), waiting, moved: this.moved,
    }
  }

  /** Looks, and begins what is to be done. Not twice at a time. What it throws is a bug. */
  async turn(): Promise<void> {
    if (this.failure !== undefined) throw this.failure.error
    const problems = await Promise.all([
      this.see(this.port.nodes(), (listed, times) => this.silence.looked(listed, times)),
      this.see(this.port.storage(), (states, times) => this.silence.heard(states, times)),
    ])
    const nowMs = this.port.nowMs()
    const nodes = this.silence.all(nowMs)
    const problem = problems.find((one) => one !== undefined)
    const why = problem ?? whyStopped(nodes)
    if (why !== this.stopped) this.events.stopped(why, nodes.filter(({ node }) => node.storage === 'down'))
    this.stopped = why
    if (problem !== undefined || !this.isLeading()) return
    this.pace.sees(nodes, nowMs)
    for (const seen of nodes) {
      const verdict = verdictOf(seen)
      const { name } = seen.node
      if (verdict !== 'dead' && verdict !== 'dead-storage') this.waiting.delete(name)
      if (verdict === 'well') this.startingAt.delete(name)
      else this.lost.delete(name)
      if (this.jobs.has(name)) continue
      if (verdict === 'unclear') {
        if (seen.node.storage === 'down' && seen.doesRenew) this.run(name, this.watch(name))
        continue
      }
      const isToDo = verdict === 'well' ? withoutOurs(seen.node) !== undefined
        : why === undefined && nowMs >= (this.restsUntil.get(name) ?? 0)
      if (isToDo) this.begin(name, verdict)
    }
    for (const one of [this.waiting, this.startingAt, this.restsUntil, this.lost]) {
      for (const name of one.keys()) if (this.silence.seen(name, nowMs) === undefined) one.delete(name)
    }
  }

  /** One of the two looks, which has just been asked for: each counts as of when it was answered. */
  private async see<T>(
    look: Promise<Read<T>>, whole: (value: T, times: LookTimes) => void,
  ): Promise<string | undefined> {
    const askedAtMs = this.port.nowMs()
    const read = await look
    if (read.ok) whole(read.value, { askedAtMs, nowMs: this.port.nowMs() })
    return read.ok ? undefined : read.problem
  }

  /** What is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.jobs.values())
  }

  private begin(name: string, verdict: Exclude<Verdict, 'unclear'>): void {
    this.run(name, verdict === 'well' ? this.clean(name) : this.empty(name, verdict))
  }

  private run(name: string, job: Promise<void>): void {
    const failed = (error: unknown): void => {
      this.failure ??= { error }
    }
    this.jobs.set(name, job.catch(failed).finally(() => this.jobs.delete(name)))
  }

  /** The node as it is now, unless it is another thing by now, or nothing may be done. */
  private still(name: string, verdict: Verdict): NodeSeen | undefined {
    const nowMs = this.port.nowMs()
    const seen = this.silence.seen(name, nowMs)
    const isAllowed = this.isLeading() && this.silence.isFresh(nowMs)
      && (verdict === 'well' || this.isGoingOn(nowMs))
    return isAllowed && seen !== undefined && verdictOf(seen) === verdict ? seen : undefined
  }

  /** F1, also by what one of the two looks of a turn under way has shown. */
  private isGoingOn(nowMs: number): boolean {
    return this.stopped === undefined && whyStopped(this.silence.all(nowMs)) === undefined
  }

  /** The same, when its kubelet has just been asked for. */
  private async stillToday(name: string, verdict: Verdict): Promise<NodeSeen | undefined> {
    const lease = await this.port.lease(name)
    if (!lease.ok) return undefined
    const isSame = this.silence.isUnchanged(name, lease.value, this.port.nowMs())
    // Of a dead node a new Lease is its return.
    return isSame || verdict !== 'dead' ? this.still(name, verdict) : undefined
  }

  /** F5. */
  private async clean(name: string): Promise<void> {
    const seen = this.still(name, 'well')
    const step = seen && withoutOurs(seen.node)
    if (seen === undefined || step?.do !== 'untaint') return
    const look = await this.look(name)
    const use = await this.port.use(seen.node.holdfastNode)
    if (look === undefined || !use.ok || this.still(name, 'well') === undefined) return
    const lost = lostAttachments(look.attachments, use.value)
    const isLong = this.lost.looked(name, lost, this.port.nowMs())
    for (const attachment of isLong) await this.mend(attachment, look.pods, seen.node)
    if (lost.length > 0) return
    if (use.value.stale.size > 0) return
    if ((await this.port.setTaints(seen.node, step.taints)) === undefined) this.events.cleaned(seen.node)
  }

  /** Before its storage is called dead: whether it is being started, which ends a moment before it is up. */
  private async watch(name: string): Promise<void> {
    const pods = await this.port.pods(name)
    if (pods.ok && pods.value.some(({ isStorageStarting }) => isStorageStarting)) this.starts(name)
  }

  private starts(name: string): void {
    this.startingAt.set(name, this.port.nowMs())
  }

  /** F3 and F4. */
  private async empty(name: string, verdict: 'dead' | 'dead-storage'): Promise<void> {
    if ((await this.stillToday(name, verdict)) === undefined) return
    const look = await this.look(name)
    const seen = this.still(name, verdict)
    if (look === undefined || seen === undefined) return
    if (verdict === 'dead-storage') {
      if (isStarting(seen, look.pods)) return this.starts(name)
      // What has been started has as long to be up as what went down has to come back.
      if (this.port.nowMs() - (this.startingAt.get(name) ?? -Infinity) < STORAGE_DOWN_MS) return
    }
    const steps = stepsFor(verdict, seen.node, look)
    this.waiting.set(name, 0)
    if (steps.length === 0) this.restsUntil.set(name, this.port.nowMs() + REST_MS)
    for (const step of steps) {
      // What was looked at may have taken a while.
      if ((await this.stillToday(name, verdict)) === undefined) return
      await this.carryOut(step, seen.node, verdict)
    }
  }

  private async look(name: string): Promise<{ pods: PodFacts[]; attachments: AttachmentFacts[] } | undefined> {
    const pods = await this.port.pods(name)
    const attachments = await this.port.attachments(name)
    if (pods.ok && attachments.ok) return { pods: pods.value, attachments: attachments.value }
    for (const read of [pods, attachments]) if (!read.ok) this.port.log(`node ${name}: ${read.problem}`)
    return undefined
  }

  private async carryOut(step: Step, node: NodeFacts, verdict: 'dead' | 'dead-storage'): Promise<void> {
    switch (step.do) {
      case 'taint': return this.taint(node, step, verdict)
      case 'move': return this.move(node, verdict, step)
      case 'release':
        for (const attachment of step.attachments) await this.release(attachment, node, verdict)
        return
      default:
        return
    }
  }

  private async taint(
    node: NodeFacts, { which, taints }: { which: 'unreachable' | 'out-of-service'; taints: Taint[] },
    verdict: 'dead' | 'dead-storage',
  ): Promise<void> {
    const isFirst = !node.taints.some(isOurUnreachable)
    if (isFirst && !this.pace.mayBegin(node.name, this.silence.all(0).length, this.port.nowMs())) return
    if ((await this.port.setTaints(node, taints)) === undefined) this.events.tainted(node, which, verdict)
  }

  /** The first of some whose volumes are all fenced. */
  private async move(
    { name, holdfastNode }: NodeFacts, verdict: 'dead' | 'dead-storage',
    { pods, how }: { pods: PodFacts[]; how: 'delete' | 'evict' },
  ): Promise<void> {
    this.waiting.set(name, pods.length)
    const nowMs = this.port.nowMs()
    const free = pods.filter((pod) => !idsOf(pod).some((id) => this.fencing.has(`${name} ${id}`)))
    const since = ({ uid }: PodFacts): number => this.tried.get(uid) ?? -Infinity
    const next = free.sort((a, b) => since(a) - since(b)).slice(0, PODS_AT_ONCE)
    for (const pod of next) this.triedNow(pod, nowMs)
    const generations = await this.generations(next)
    // Who comes back behind this look is given newer ones, which are not ended.
    if ((await this.stillToday(name, verdict)) === undefined) return
    const fences = next.map((one) => this.fenced(one, name, holdfastNode, generations).then((pod) => {
      // Its kubelet, which lives, ends it as soon as its volumes are fenced.
      const isLeft = pod !== undefined && !(how === 'evict' && pod.isGoing)
      return isLeft ? pod : undefined
    }))
    const pod = await firstOf(fences)
    if (pod !== undefined) await this.remove(pod, name, verdict)
  }

  /** First who uses it, whose device has failed; then it, so that nobody else is given it as it is. */
  private async mend(attachment: AttachmentFacts, pods: readonly PodFacts[], node: NodeFacts): Promise<void> {
    for (const pod of usersOf(attachment.volumeId, pods)) await this.remove(pod, node.name, 'well')
    await this.release(attachment, node, 'well')
  }

  private async release(
    attachment: AttachmentFacts, node: NodeFacts, verdict: Exclude<Verdict, 'unclear'>,
  ): Promise<void> {
    if (this.still(node.name, verdict) === undefined) return
    const problem = await this.port.release(attachment)
    if (problem === undefined) this.events.released(node, attachment)
  }

  private async remove(pod: PodFacts, name: string, verdict: Exclude<Verdict, 'unclear'>): Promise<void> {
    await this.port.pause(this.pace.leftMs(name, this.port.nowMs()))
    if ((await this.stillToday(name, verdict)) === undefined) return
    this.pace.moves(name, this.port.nowMs())
    let removed = await this.port.remove(pod, verdict === 'dead' ? 'delete' : 'evict')
    // Its volumes are fenced, so it works no more, and a budget of pods that work loses nothing.
    if (removed === 'budget') removed = await this.port.remove(pod, 'delete-gently')
    if (removed === 'budget') return
    if (removed !== 'done') return this.port.log(`pod ${pod.namespace}/${pod.name}: ${removed.problem}`)
    this.moved++
    this.tried.delete(pod.uid)
    this.events.moved(pod, name, verdict)
  }

  private async generations(pods: readonly PodFacts[]): Promise<Map<string, Read<number>>> {
    const ids = [...new Set(pods.flatMap(idsOf))]
    return new Map(await Promise.all(ids.map(async (id) => [id, await this.port.generation(id)] as const)))
  }

  /** @returns the pod, when all its volumes are */
  private async fenced(
    pod: PodFacts, node: string, holdfastNode: string, generations: ReadonlyMap<string, Read<number>>,
  ): Promise<PodFacts | undefined> {
    const problems = await Promise.all(idsOf(pod).map(async (id) => {
      const key = `${node} ${id}`
      const read = generations.get(id)!
      let problem = read.ok ? undefined : read.problem
      if (read.ok) {
        this.fencing.add(key)
        problem = await this.port.fence(id, holdfastNode, read.value).finally(() => this.fencing.delete(key))
      }
      this.events.fenced(pod, id, node, problem)
      return problem
    }))
    return problems.every((problem) => problem === undefined) ? pod : undefined
  }

  private triedNow({ uid }: PodFacts, nowMs: number): void {
    this.tried.delete(uid)
    this.tried.set(uid, nowMs)
    if (this.tried.size > TRIED_MAX) this.tried.delete(this.tried.keys().next().value!)
  }
}

/** More pods than nodes that are dead at once have. */
const TRIED_MAX = 2000

/** The first that is one; undefined: none is. */
function firstOf<T>(all: Array<Promise<T | undefined>>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    let left = all.length
    if (left === 0) resolve(undefined)
    for (const one of all) {
      one.then((value) => {
        if (value !== undefined || --left === 0) resolve(value)
      }, reject)
    }
  })
}
