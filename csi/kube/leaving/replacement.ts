/**
 * Which pod of the DaemonSet is to be replaced now, or why none (SPEC.md U1 to U6). Chosen of a look; that it is
 * written down first, and what else may be away then, is the step's (leave-step.ts).
 */
import type { LeaveLook, NodePod } from './leave-look.ts'
import type { LeaveEntry } from './leave-register.ts'
import { hindranceOf, isSettled, pausedBy } from './leave-rules.ts'
import type { Hindrance } from './leave-rules.ts'
import { holdfastNode, isUnderWay, letGoBy } from './leave-sight.ts'
import type { Sight } from './leave-sight.ts'
import { nodeNameOf } from '../node-name.ts'

/** U5. */
export const BACK_MS = 10 * 60_000
/** Of names in a sentence. */
const NAMED_MAX = 3

export interface ReplacementReport {
  /** waits: for what `why` says, and it goes on by itself; stopped: it does not. */
  state: 'done' | 'paused' | 'waits' | 'replacing' | 'stopped'
  /** That is replaced, or is next; empty: none. */
  node: string
  why: string
  /** Pods of a former template, of how many. */
  former: number
  pods: number
}

export interface Replacement {
  /** Undefined: none now. */
  pod: NodePod | undefined
  report: ReplacementReport
}

export function replacementOf(
  sight: Sight, left: Readonly<Record<string, LeaveEntry>>, away: ReadonlySet<string>,
): Replacement {
  const { look } = sight
  const { set } = look
  const pods = look.pods.filter(({ isEnding }) => !isEnding)
  const formers = set.hash === '' ? [] : pods.filter(({ hash }) => hash !== set.hash)
  const told = (state: ReplacementReport['state'], node: string, why: string): Replacement =>
    ({ pod: undefined, report: { state, node, why, former: formers.length, pods: pods.length } })
  const [node, entry] = Object.entries(left).find(([, { pod }]) => pod !== undefined) ?? []
  if (node !== undefined && isUnderWay(look, entry!.pod!)) {
    const broken = set.isPaused ? undefined : formers.find((pod) => pod.node === node && isBroken(look, pod))
    const under = underWay(look, node)
    return { ...told(under.state, node, under.why), pod: broken }
  }
  if (set.isPaused) return told('paused', '', 'it is paused by annotation holdfast.io/replacement')
  if (set.hash === '') return told('waits', '', 'the DaemonSet is being looked at by its controller')
  if (formers.length === 0) return told('done', '', '')
  if (look.cluster === undefined) return told('waits', '', 'the control API does not answer')
  const broken = formers.filter((pod) => isBroken(look, pod)).sort(byName)[0]
  if (broken !== undefined && (node === undefined || node === broken.node)) {
    return { ...told('replacing', broken.node, 'it does not run'), pod: broken }
  }
  const unwell = whyNotWell(look, pods)
  if (unwell !== undefined) return told('waits', '', unwell)
  let first: { pod: NodePod; why: string } | undefined
  // One that was chosen already is the only one.
  for (const pod of node === undefined ? inOrder(look, formers) : formers.filter((one) => one.node === node)) {
    const why = whyNotNow(sight, pod, away)
    if (why === undefined) return { ...told('replacing', pod.node, pauseWords(look, pod)), pod }
    first ??= { pod, why }
  }
  return first === undefined ? told('waits', '', 'its template was changed') : told('waits', first.pod.node, first.why)
}

const byName = (a: NodePod, b: NodePod): number => (a.node < b.node ? -1 : 1)

/** U3: neither its kubelet nor the cluster has anything of it. */
function isBroken(look: LeaveLook, { node, isReady }: NodePod): boolean {
  return !isReady && look.cluster !== undefined && (holdfastNode(look, node)?.state ?? 'down') === 'down'
}

function underWay({ awayMs }: LeaveLook, node: string): { state: 'replacing' | 'stopped'; why: string } {
  if (awayMs < BACK_MS) return { state: 'replacing', why: 'it is starting' }
  const minutes = Math.floor(awayMs / 60_000)
  return {
    state: 'stopped',
    why: `${node} is not back after ${minutes} min, and no other node is touched: kubectl describe its pod says why; ` +
      'helm rollback brings the former version back, on that node by itself',
  }
}

/** U2. */
function whyNotWell(look: LeaveLook, pods: readonly NodePod[]): string | undefined {
  const { nodes, volumes } = look.cluster!
  const waiting = pods.filter(({ isReady }) => !isReady).map(({ node }) => node)
  if (waiting.length > 0) return `the pod of ${named(waiting)} is not ready`
  if (pods.length < look.pods.length) return 'a pod is ending'
  if (pods.length < look.set.wantedPods) return `${look.set.wantedPods - pods.length} pod(s) are missing`
  const down = nodes.filter(({ state }) => state === 'down').map(({ name }) => name)
  if (down.length > 0) return `node ${named(down)} is down: bring it back, or remove it (holdfast node rm)`
  const unknown = pods.filter(({ node }) => holdfastNode(look, node) === undefined).map(({ node }) => node)
  if (unknown.length > 0) return `${named(unknown)} is no node of the cluster yet`
  const unreachable = [...look.kubeNodes].filter(([, one]) => one.isUnreachable).map(([name]) => name)
  if (unreachable.length > 0) return `pods are being moved off ${named(unreachable)}`
  const draining = nodes.filter(({ name, state }) =>
    state === 'draining' && volumes.some(({ copies }) => copies.some((copy) => copy.node === name)))
  if (draining.length > 0) return `node ${named(draining.map(({ name }) => name))} is being drained`
  const unsettled = volumes.filter((volume) => !isSettled(volume)).map(({ name }) => name)
  return unsettled.length === 0 ? undefined : `not all copies of ${named(unsettled)} are in sync`
}

/** U2: not elected, leads few, by name. The elected one is touched when it is the last. */
function inOrder(look: LeaveLook, formers: readonly NodePod[]): NodePod[] {
  const { nodes, volumes } = look.cluster!
  const leads = new Map<string, number>()
  for (const { copies } of volumes) {
    for (const { node, isPrimary } of copies) if (isPrimary) leads.set(node, (leads.get(node) ?? 0) + 1)
  }
  const elected = new Set(nodes.filter(({ isElected }) => isElected).map(({ name }) => name))
  const count = ({ node }: NodePod): number => leads.get(nodeNameOf(node)) ?? 0
  const others = formers.filter(({ node }) => !elected.has(nodeNameOf(node)))
  return (others.length > 0 ? others : [...formers]).sort((a, b) => count(a) - count(b) || byName(a, b))
}

/** U2 and U4. */
function whyNotNow(sight: Sight, { node }: NodePod, away: ReadonlySet<string>): string | undefined {
  const { look } = sight
  const image = look.guards.get(node)?.image
  if (image === 'waits') return `the image of the new version is not on ${node} yet`
  if (image === 'absent') return `the guard of ${node} has no pod of the new version yet`
  const { nodes, volumes } = look.cluster!
  const letGo = letGoBy(sight, [...away].filter((one) => one !== node))
  const question = { volumes, letGo, isReturning: true, isAlone: nodes.length === 1 }
  const hindrance = hindranceOf(nodeNameOf(node), question)
  return hindrance === undefined ? undefined : hindranceWords(node, hindrance)
}

/** A sentence. */
export function hindranceWords(node: string, { last, below, awaited }: Hindrance): string {
  const reasons: string[] = []
  if (last.length > 0) reasons.push(`${node} has the last complete copy of ${named(last)}`)
  if (below.length > 0) reasons.push(`without ${node} fewer copies than required are left of ${named(below)}`)
  if (awaited.length > 0) reasons.push(`${named(awaited)} may be away at any moment, and is not counted`)
  return reasons.join('; ')
}

function pauseWords(look: LeaveLook, { node }: NodePod): string {
  const paused = pausedBy(nodeNameOf(node), look.cluster!.volumes)
  return paused.length === 0 ? 'it is replaced' : `it is replaced; I/O of ${named(paused)} waits until it is back`
}

function named(names: readonly string[]): string {
  const rest = names.length - NAMED_MAX
  return `${[...names].sort().slice(0, NAMED_MAX).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}
