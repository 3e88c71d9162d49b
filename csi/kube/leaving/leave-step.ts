/**
 * What is to be done now about nodes that may leave (SPEC.md section 7): a pure function of one look. It remembers
 * nothing, so whoever leads goes on where another one was killed.
 *
 *   look -> what is over goes from the register -> who should have leave (Q4) -> the register changed, if it differs
 *        -> else what it allows: budgets opened, one pod deleted; in any case what takes leave back
 *
 * Invariant: a budget is opened, or a pod deleted, only for an entry that was read, not for one that is wished (Q2).
 */
import type { LeaveLook, NodePod } from './leave-look.ts'
import type { LeaveEntry, LeaveRegister, PodLeave } from './leave-register.ts'
import { hindranceOf } from './leave-rules.ts'
import type { Hindrance } from './leave-rules.ts'
import {
  holdfastNode, isBack, isDeleted, isGone, isGuarded, isKept, isKnownDown, isLeaving, isUnderWay, letGoBy,
  straysOf,
} from './leave-sight.ts'
import type { Sight } from './leave-sight.ts'
import { nodeNameOf } from '../node-name.ts'
import { replacementOf } from './replacement.ts'
import type { ReplacementReport } from './replacement.ts'

/** D2: after so long without the control API budgets are closed. */
export const SILENT_MS = 30_000

export type LeaveAction =
  /** By compare-and-swap on the version of the DaemonSet. */
  | { type: 'register'; register: LeaveRegister; version: string }
  | { type: 'budget'; node: string; version: string; isOpen: boolean; mark: number }
  | { type: 'touch-pod'; node: string; pod: string; uid: string; version: string; mark: number }
  | { type: 'delete-pod'; node: string; pod: string; uid: string; version: string }

/** A drain that waits. */
export interface WaitingDrain {
  node: string
  hindrance: Hindrance
}

export interface LeavePlan {
  actions: LeaveAction[]
  /** Undefined: the register cannot be read. */
  replacement: ReplacementReport | undefined
  waiting: WaitingDrain[]
  /** Nodes whose guard has no leave. */
  closed: string[]
}

/** Who should have leave, and for what. */
interface Wish {
  guards: Set<string>
  pod: NodePod | undefined
}

export function leaveStep(look: LeaveLook): LeavePlan {
  const { register } = look.set
  if (register === undefined) return { actions: [], replacement: undefined, waiting: [], closed: [] }
  const sight = { look, register, strays: straysOf(look, register) }
  const turn = register.turn + 1
  const left = withoutOver(sight)
  const { wish, replacement, waiting } = wishOf(sight, left)
  const next = { ...left }
  for (const node of Object.keys(next)) next[node] = takenBack(sight, node, next[node]!, wish, turn)
  give(sight, next, wish)
  const isChanged = JSON.stringify(next) !== JSON.stringify(register.nodes)
  const actions: LeaveAction[] = [...closings(sight)]
  if (isChanged) actions.push({ type: 'register', register: { turn, nodes: next }, version: look.set.version })
  else actions.push(...leaves(sight, wish))
  const closed = [...look.guards.keys()].filter((node) => register.nodes[node]?.guard?.state !== 'open').sort()
  return { actions, replacement, waiting, closed }
}

/** The entries that are not over. */
function withoutOver({ look, register }: Sight): Record<string, LeaveEntry> {
  const left: Record<string, LeaveEntry> = {}
  for (const [node, { guard, pod }] of Object.entries(register.nodes)) {
    const entry: LeaveEntry = {}
    if (isGone(look, node) && isKnownDown(look, node)) continue
    if (guard !== undefined && !isGuardOver(look, node, guard)) entry.guard = guard
    if (pod !== undefined && !isPodOver(look, node, pod)) {
      // It was deleted before leave was taken back.
      entry.pod = pod.state === 'kept' && isDeleted(look, pod) ? { ...pod, state: 'going', mark: 0 } : pod
    }
    if (entry.guard !== undefined || entry.pod !== undefined) left[node] = entry
  }
  return left
}

function isGuardOver(look: LeaveLook, node: string, { state, mark }: NonNullable<LeaveEntry['guard']>): boolean {
  const budget = look.guards.get(node)?.budget
  const isClosed = budget === undefined || (!budget.isOpen && budget.mark === mark)
  return state === 'closing' && isClosed && isGuarded(look, node) && !isGone(look, node)
}

function isPodOver(look: LeaveLook, node: string, pod: PodLeave): boolean {
  if (isDeleted(look, pod)) return isBack(look, node, pod)
  // One that does not run may be the successor of one that we deleted: then its node is away by us.
  return isKept(look, pod) && look.pods.some(({ uid, isReady }) => uid === pod.uid && isReady)
}

/** Q4: in order, each as far as those before it allow. */
function wishOf(sight: Sight, left: Readonly<Record<string, LeaveEntry>>) {
  const { look } = sight
  const wish: Wish = { guards: new Set(), pod: undefined }
  const waiting: WaitingDrain[] = []
  const away = new Set<string>()
  for (const [node, { guard, pod }] of Object.entries(left)) {
    // Its budget is closed all the same, unless it may leave: for when its guard is back.
    const isLacking = guard !== undefined && (!isGuarded(look, node) || isGone(look, node))
    if (isLacking || (pod !== undefined && isUnderWay(look, pod))) away.add(node)
  }
  const guarded = [...look.guards].filter(([, { budget }]) => budget !== undefined).map(([node]) => node)
  const isOpen = (node: string): boolean => left[node]?.guard?.state === 'open'
  const inOrder = guarded.sort((a, b) => Number(isOpen(b)) - Number(isOpen(a)) || (a < b ? -1 : 1))
  const add = (node: string): void => void (wish.guards.add(node), away.add(node))
  for (const node of inOrder) if (look.kubeNodes.get(node)?.isReleased === true) add(node)
  if (look.cluster === undefined) {
    // What has leave keeps it for a while.
    if (look.silentMs < SILENT_MS) for (const node of inOrder) if (isOpen(node)) add(node)
    return { wish, replacement: replacementOf(sight, left, away).report, waiting }
  }
  const { volumes } = look.cluster
  const ask = (node: string) => hindranceOf(nodeNameOf(node), { volumes, letGo: letGoBy(sight, away) })
  for (const node of inOrder) {
    if (!isLeaving(look, node) || wish.guards.has(node)) continue
    const hindrance = ask(node)
    if (hindrance === undefined) add(node)
    else if (isGuarded(look, node)) waiting.push({ node, hindrance })
  }
  const { pod, report: replacement } = replacementOf(sight, left, away)
  wish.pod = pod
  if (pod !== undefined) away.add(pod.node)
  for (const node of inOrder) {
    if (!wish.guards.has(node) && !isLeaving(look, node) && ask(node) === undefined) add(node)
  }
  return { wish, replacement, waiting }
}

/** An entry, marked where its leave is not wished any more. */
function takenBack({ look }: Sight, node: string, { guard, pod }: LeaveEntry, wish: Wish, turn: number): LeaveEntry {
  const entry: LeaveEntry = {}
  if (guard !== undefined) {
    const isKept = guard.state === 'closing' || wish.guards.has(node)
    entry.guard = isKept ? guard : { state: 'closing', mark: turn }
  }
  if (pod !== undefined) {
    if (pod.state === 'kept' || isDeleted(look, pod) || isUncertain(look)) entry.pod = pod
    else if (wish.pod?.uid !== pod.uid) entry.pod = { ...pod, state: 'kept', mark: turn }
    // It started again since: the one that comes back has to be another one than that, too.
    else entry.pod = { ...pod, instance: holdfastNode(look, node)?.instance ?? pod.instance }
  }
  return entry
}

/** For a moment nothing is known. */
const isUncertain = ({ cluster, silentMs }: LeaveLook): boolean => cluster === undefined && silentMs < SILENT_MS

/** Adds what is wished, as far as what the register has in truth allows it. */
function give(sight: Sight, next: Record<string, LeaveEntry>, wish: Wish): void {
  const { look } = sight
  const volumes = look.cluster?.volumes
  const others = (node: string) => letGoBy(sight, Object.keys(next).filter((one) => one !== node))
  const { pod } = wish
  if (pod !== undefined && mayGoNow(sight, next, pod, others(pod.node))) {
    const instance = holdfastNode(look, pod.node)?.instance ?? ''
    next[pod.node] = { ...next[pod.node], pod: { state: 'going', mark: 0, uid: pod.uid, instance } }
  }
  for (const node of wish.guards) {
    if (next[node]?.guard !== undefined) continue
    const isReleased = look.kubeNodes.get(node)?.isReleased === true
    if (volumes === undefined && !isReleased) continue
    const hindrance = hindranceOf(nodeNameOf(node), { volumes: volumes ?? [], letGo: others(node) })
    // Whatever it costs, but for what others can still give back.
    const isAwaited = hindrance?.awaited.some((name) => givesBack(look, next, name)) === true
    if (hindrance !== undefined && (!isReleased || isAwaited)) continue
    next[node] = { ...next[node], guard: { state: 'open', mark: 0 } }
  }
}

/** @param name  in Holdfast */
function givesBack(look: LeaveLook, next: Readonly<Record<string, LeaveEntry>>, name: string): boolean {
  const [node, entry] = Object.entries(next).find(([one]) => nodeNameOf(one) === name) ?? []
  return node !== undefined && entry?.guard?.state === 'closing' && isGuarded(look, node) && !isGone(look, node)
}

/** U1, and Q1 of what has leave in truth. */
function mayGoNow(
  { look }: Sight, next: Readonly<Record<string, LeaveEntry>>, pod: NodePod, letGo: ReadonlySet<string>,
): boolean {
  const holder = Object.keys(next).find((node) => next[node]!.pod !== undefined)
  if (holder !== undefined && holder !== pod.node) return false
  const known = next[pod.node]?.pod
  // One that does not run, of a node that is away by us already.
  if (known !== undefined) return isUnderWay(look, known) && (known.uid !== pod.uid || known.state === 'kept')
  if (!pod.isReady) return true
  const { nodes, volumes } = look.cluster!
  const question = { volumes, letGo, isReturning: true, isAlone: nodes.length === 1 }
  return hindranceOf(nodeNameOf(pod.node), question) === undefined
}

/** Done whatever else is, and whatever else failed: it is never wrong. */
export const isTakingBack = (action: LeaveAction): boolean =>
  action.type === 'touch-pod' || (action.type === 'budget' && !action.isOpen)

/** What takes leave back. */
function closings({ look, register }: Sight): LeaveAction[] {
  const actions: LeaveAction[] = []
  for (const [node, { budget }] of look.guards) {
    const guard = register.nodes[node]?.guard
    if (budget === undefined || guard?.state === 'open') continue
    const mark = guard?.mark ?? budget.mark
    if (budget.isOpen || budget.mark !== mark) {
      actions.push({ type: 'budget', node, version: budget.version, isOpen: false, mark })
    }
  }
  for (const [node, { pod }] of Object.entries(register.nodes)) {
    const own = look.pods.find(({ uid }) => uid === pod?.uid)
    if (pod?.state !== 'kept' || own === undefined || own.isEnding || own.mark === pod.mark) continue
    const { name, uid, version } = own
    actions.push({ type: 'touch-pod', node, pod: name, uid, version, mark: pod.mark })
  }
  return actions
}

/** What the register, as it was read, allows. */
function leaves({ look, register }: Sight, wish: Wish): LeaveAction[] {
  const actions: LeaveAction[] = []
  for (const [node, { guard, pod }] of Object.entries(register.nodes)) {
    const budget = look.guards.get(node)?.budget
    if (guard?.state === 'open' && budget?.isOpen === false && wish.guards.has(node)) {
      actions.push({ type: 'budget', node, version: budget.version, isOpen: true, mark: budget.mark })
    }
    if (pod?.state !== 'going' || wish.pod?.uid !== pod.uid || isDeleted(look, pod)) continue
    const { name, uid, version } = wish.pod
    actions.push({ type: 'delete-pod', node, pod: name, uid, version })
  }
  return actions
}

