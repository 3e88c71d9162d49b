/**
 * What is told of nodes that may leave, as Events (SPEC.md U5, D3): of an upgrade on the DaemonSet, of a drain that
 * waits on its node and on the budget that refuses it. Each when it changes, and what waits for somebody again each
 * 2 minutes.
 */
import type { EventTarget, ToldEvent } from '../event-recorder.ts'
import { guardName } from './guard-objects.ts'
import { REGISTER_ANNOTATION } from './leave-objects.ts'
import type { LeavePlan } from './leave-step.ts'
import { nodeNameOf } from '../node-name.ts'
import { hindranceWords } from './replacement.ts'
import type { ReplacementReport } from './replacement.ts'

const AGAIN_MS = 120_000

export interface LeaveEventsOptions {
  namespace: string
  daemonSet: EventTarget
  tell(event: ToldEvent): void
}

export class LeaveEvents {
  readonly #options: LeaveEventsOptions
  /** When each was told last, by what it says. */
  #told = new Map<string, number>()

  constructor(options: LeaveEventsOptions) {
    this.#options = options
  }

  /** @param nowMs  monotonic */
  tell(plan: LeavePlan, nowMs: number): void {
    const events = this.#eventsOf(plan)
    const told = new Map<string, number>()
    for (const event of events) {
      const key = JSON.stringify([event.about.kind, event.about.name, event.reason, event.note])
      const atMs = this.#told.get(key)
      const isDue = atMs === undefined || (event.type === 'Warning' && nowMs - atMs >= AGAIN_MS)
      if (isDue) this.#options.tell(event)
      told.set(key, isDue ? nowMs : atMs)
    }
    this.#told = told
  }

  #eventsOf({ replacement, waiting }: LeavePlan): ToldEvent[] {
    const { daemonSet: about, namespace } = this.#options
    const events: ToldEvent[] = []
    if (replacement === undefined) {
      const note = `annotation ${REGISTER_ANNOTATION} cannot be read, so no pod is replaced, no drain let through: ` +
        `kubectl annotate daemonset ${about.name} -n ${namespace} ${REGISTER_ANNOTATION}-`
      return [{ about, type: 'Warning', reason: 'RegisterUnreadable', note }]
    }
    const told = replacementEvent(replacement)
    if (told !== undefined) events.push({ about, ...told })
    for (const { node, hindrance } of waiting) {
      const isMending = hindrance.last.length === 0 && hindrance.awaited.length === 0
      const next = isMending ? 'it goes on when they are there again'
        : `holdfast node drain ${nodeNameOf(node)} moves its copies to other nodes; ` +
          `kubectl annotate node ${node} holdfast.io/drain-guard=released lets it go as it is, with what is there only`
      const note = `its drain waits: ${hindranceWords(node, hindrance)}; ${next}`
      const type = isMending ? 'Normal' as const : 'Warning' as const
      const budget = { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', namespace, name: guardName(node) }
      for (const target of [{ apiVersion: 'v1', kind: 'Node', name: node }, budget]) {
        events.push({ about: target, type, reason: 'DrainWaits', note })
      }
    }
    return events
  }
}

function replacementEvent({ state, node, why, former, pods }: ReplacementReport): Omit<ToldEvent, 'about'> | undefined {
  const left = `${former} of ${pods} pods are of a former template`
  const note = `${node === '' || why.startsWith(node) ? '' : `${node}: `}${why}; ${left}`
  if (state === 'stopped') return { type: 'Warning', reason: 'ReplacementStopped', note }
  if (state === 'replacing') return { type: 'Normal', reason: 'ReplacingNode', note }
  if (state === 'done' || former === 0) return undefined
  return { type: 'Normal', reason: state === 'paused' ? 'ReplacementPaused' : 'ReplacementWaits', note }
}
