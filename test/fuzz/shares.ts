/**
 * Who runs next, and how much: the one that had least of the processor. Each target is owed the same number of
 * executions, up to a million, but no more than twice the time of the average; what is asked for beyond that goes by
 * time, so slow ones have fewer, and none has more than a tenth (or its double share, of few). So where a campaign ends
 * early, slow ones are owed the rest. A target that failed has no more.
 */
import { assert } from '../../engine/assert.ts'

export const EVERYBODYS_MAX = 1_000_000
const TENTH = 0.1
/** Of the average time, from which on nothing is owed. */
const TIMES_AVERAGE = 2
/** What is ordered of a target that nobody knows the speed of. */
const UNKNOWN_EXECUTIONS = 20_000
const LEAST_EXECUTIONS = 100

export interface Share {
  executions: number
  cpuMs: number
}

export interface Turn {
  name: string
  executions: number
}

export class Shares {
  readonly #had: ReadonlyMap<string, Share>
  readonly #executions: number
  readonly #everybodys: number
  readonly #most: number
  readonly #sliceCpuMs: number
  readonly #out = new Set<string>()
  /** Ordered, and not done. */
  readonly #ordered = new Map<string, number>()

  /** @param had  by target, what it had so far; the caller keeps it up to date */
  constructor(had: ReadonlyMap<string, Share>, options: { executions: number; sliceCpuMs: number }) {
    this.#had = had
    this.#executions = options.executions
    this.#sliceCpuMs = options.sliceCpuMs
    this.#everybodys = Math.min(Math.ceil(options.executions / had.size), EVERYBODYS_MAX)
    this.#most = Math.ceil(options.executions * Math.max(TENTH, 2 / had.size))
  }

  /** Undefined: nothing is left that is not ordered. Pair with `done`. */
  next(): Turn | undefined {
    const names = [...this.#had.keys()].filter((name) => !this.#out.has(name))
    const left = this.#executions - [...this.#had.keys()].reduce((sum, name) => sum + this.#counted(name), 0)
    const averageMs = [...this.#had.keys()].reduce((sum, name) => sum + this.#expectedMs(name), 0) / this.#had.size
    const isFed = (name: string): boolean => this.#expectedMs(name) > TIMES_AVERAGE * averageMs
    const owed = (name: string): number => (isFed(name) ? 0 : Math.max(0, this.#everybodys - this.#counted(name)))
    const free = left - names.reduce((sum, name) => sum + owed(name), 0)
    const room = (name: string): number =>
      Math.min(left, owed(name) > 0 ? owed(name) : Math.min(free, this.#most - this.#counted(name)))
    const name = this.#least(names.filter((one) => room(one) > 0), (one) => this.#expectedMs(one))
    if (name === undefined) return undefined
    const { executions, cpuMs } = this.#had.get(name)!
    const fast = executions === 0
      ? UNKNOWN_EXECUTIONS
      : Math.max(LEAST_EXECUTIONS, Math.ceil(executions / Math.max(cpuMs, 1) * this.#sliceCpuMs))
    const turn = { name, executions: Math.min(room(name), fast) }
    this.#ordered.set(name, (this.#ordered.get(name) ?? 0) + turn.executions)
    return turn
  }

  /** Whatever came of it. */
  done({ name, executions }: Turn): void {
    const ordered = this.#ordered.get(name) ?? 0
    assert(ordered >= executions, 'what is done was ordered')
    this.#ordered.set(name, ordered - executions)
  }

  leaveOut(name: string): void {
    this.#out.add(name)
  }

  #counted(name: string): number {
    return this.#had.get(name)!.executions + (this.#ordered.get(name) ?? 0)
  }

  #expectedMs(name: string): number {
    const { executions, cpuMs } = this.#had.get(name)!
    return cpuMs + (this.#ordered.get(name) ?? 0) * (executions === 0 ? 1 : cpuMs / executions)
  }

  #least(names: readonly string[], of: (name: string) => number): string | undefined {
    let least: string | undefined
    for (const name of names) if (least === undefined || of(name) < of(least)) least = name
    return least
  }
}
