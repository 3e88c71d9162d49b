/**
 * Visit every state that a machine can reach, breadth first: the first violation found is one of the shortest. A
 * machine says what follows a state; the search remembers what it saw, counts, and tells the way back.
 */
import { RowTable } from './row-table.ts'

export interface Machine {
  /** Integers of a state. */
  width: number
  initial(): Int32Array
  /** Each state that may follow; `next` is only looked at during the call. `say` is called only for a trace. */
  successors(row: Int32Array, visit: (next: Int32Array, say: () => string) => void): void
  /** What is wrong with a state; also asked of the first one. */
  violation(row: Int32Array): string | undefined
}

export interface SearchLimits {
  statesMax: number
  /** Asked now and then. */
  isOver?: () => boolean
  progress?: (found: Counts) => void
}

export interface Counts {
  states: number
  transitions: number
  /** Steps from the beginning to the deepest state seen. */
  depth: number
  /** States whose successors are not all known. */
  waiting: number
}

export interface SearchResult extends Counts {
  /** Every state within the bound was visited. */
  isComplete: boolean
  violation: { why: string; trace: string[] } | undefined
}

/** A step that must not be: what the machine throws ends the search with the way to it. */
export class StepFailed extends Error {
  readonly say: string
  constructor(why: string, say: string) {
    super(why)
    this.say = say
  }
}

const ASK_EVERY = 1024

export function search(machine: Machine, limits: SearchLimits): SearchResult {
  const table = new RowTable(machine.width)
  const row = new Int32Array(machine.width)
  const first = machine.initial()
  table.add(first, -1)
  const counts: Counts = { states: 1, transitions: 0, depth: 0, waiting: 1 }
  let at = 0
  let levelEnd = 1
  let wrong: { why: string; index: number; last?: string } | undefined
  const why = machine.violation(first)
  if (why !== undefined) wrong = { why, index: 0 }
  const visit = (next: Int32Array): void => {
    counts.transitions++
    if (wrong !== undefined || !table.add(next, at)) return
    const why = machine.violation(next)
    if (why !== undefined) wrong = { why, index: table.count - 1 }
  }
  while (at < table.count && wrong === undefined && table.count < limits.statesMax) {
    if (at === levelEnd) {
      counts.depth++
      levelEnd = table.count
    }
    table.read(at, row)
    try {
      machine.successors(row, visit)
    } catch (error) {
      if (!(error instanceof StepFailed)) throw error
      wrong ??= { why: error.message, index: at, last: error.say }
    }
    at++
    if (at % ASK_EVERY !== 0) continue
    counts.states = table.count
    counts.waiting = table.count - at
    limits.progress?.(counts)
    if (limits.isOver?.() === true) break
  }
  const states = table.count
  const waiting = states - at
  // Of the deepest level states were seen, as far as the one before was finished.
  const depth = levelEnd < states ? counts.depth + 1 : counts.depth
  const isComplete = waiting === 0 && wrong === undefined
  const violation =
    wrong === undefined
      ? undefined
      : {
          why: wrong.why,
          trace: [...wayTo(machine, table, wrong.index), ...(wrong.last === undefined ? [] : [wrong.last])],
        }
  return { ...counts, states, depth, waiting, isComplete, violation }
}

/** What was done from the beginning on. */
function wayTo(machine: Machine, table: RowTable, index: number): string[] {
  const way: number[] = []
  for (let one = index; one > 0; one = table.parentOf(one)) way.push(one)
  const trace: string[] = []
  const from = new Int32Array(machine.width)
  const to = new Int32Array(machine.width)
  for (const one of way.reverse()) {
    table.read(table.parentOf(one), from)
    table.read(one, to)
    let said: string | undefined
    const look = (next: Int32Array, say: () => string): void => {
      if (said === undefined && next.every((value, i) => value === to[i])) said = say()
    }
    try {
      machine.successors(from, look)
    } catch (error) {
      if (!(error instanceof StepFailed)) throw error
    }
    trace.push(said ?? '?')
  }
  return trace
}
