/**
 * The register of nodes that may leave (SPEC.md section 7): one value on the DaemonSet, changed by compare-and-swap. A
 * node stands in it before anything is done that may take it away, and until that cannot happen any more.
 *
 *   {"turn": 7, "nodes": {"worker-1": {"guard": {"state": "open", "mark": 0}},
 *                         "worker-2": {"pod": {"state": "kept", "mark": 7, "uid": "...", "instance": "..."}}}}
 *
 * `mark` is the turn in which leave was taken back: what closes the budget, or touches the pod, carries it (Q2).
 */
import { isRecord } from '../../../engine/value-shape.ts'

export interface GuardLeave {
  state: 'open' | 'closing'
  /** 0: it was not taken back. */
  mark: number
}

export interface PodLeave {
  state: 'going' | 'kept'
  mark: number
  /** Of the pod that is deleted. */
  uid: string
  /** Of the daemon that ran before; empty: none was known. */
  instance: string
}

export interface LeaveEntry {
  guard?: GuardLeave
  pod?: PodLeave
}

export interface LeaveRegister {
  /** How often it was changed. */
  turn: number
  /** By the name of the node in Kubernetes; none is empty. */
  nodes: Readonly<Record<string, LeaveEntry>>
}

export const EMPTY_REGISTER: LeaveRegister = { turn: 0, nodes: {} }

/** As it stands in the annotation. */
export const registerText = (register: LeaveRegister): string => JSON.stringify(register)

/** Undefined: it is none. @param text  missing: nobody has leave */
export function registerOf(text: string | undefined): LeaveRegister | undefined {
  if (text === undefined) return EMPTY_REGISTER
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isRecord(value) || !isCount(value.turn) || !isRecord(value.nodes)) return undefined
  const nodes: Record<string, LeaveEntry> = {}
  for (const [name, entry] of Object.entries(value.nodes)) {
    const found = entryOf(entry)
    if (found === undefined) return undefined
    nodes[name] = found
  }
  return { turn: value.turn, nodes }
}

function entryOf(value: unknown): LeaveEntry | undefined {
  if (!isRecord(value)) return undefined
  const { guard, pod } = value
  const entry: LeaveEntry = {}
  if (guard !== undefined) {
    if (!isRecord(guard) || !isCount(guard.mark)) return undefined
    const { state, mark } = guard
    if (state !== 'open' && state !== 'closing') return undefined
    entry.guard = { state, mark }
  }
  if (pod !== undefined) {
    if (!isRecord(pod) || !isCount(pod.mark) || typeof pod.uid !== 'string') return undefined
    const { state, mark, uid, instance } = pod
    if ((state !== 'going' && state !== 'kept') || typeof instance !== 'string') return undefined
    entry.pod = { state, mark, uid, instance }
  }
  return guard === undefined && pod === undefined ? undefined : entry
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
