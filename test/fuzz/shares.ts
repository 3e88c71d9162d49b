/**
 * Who runs next, and how much. Each target has the same number of executions, up to a million; what is asked for
 * beyond that goes by time: to the one that had least of the processor, so slow ones have fewer, and none has more than
 * a tenth (or its double share, of few). A target that failed has no more.
 */
import { assert } from '../../engine/assert.ts'

export const EVERYBODYS_MAX = 1_000_000
const TENTH = 0.1
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
    const left = this.#executions - [...this.#had.keys()].reduce((sum, name) => sum + this.#counted(name), 0)
    if (left <= 0) return undefined
    const names = [...this.#had.keys()].filter((name) => !this.#out.has(name))
    const behind = names.filter((name) => this.#counted(name) < this.#everybodys)
    const name = behind.length > 0
      ? this.#least(behind, (one) => this.#counted(one))
      : this.#least(names.filter((one) => this.#counted(one) < this.#most), (one) => this.#expectedMs(one))
    if (name === undefined) return undefined
    const most = (behind.length > 0 ? this.#everybodys : this.#most) - this.#counted(name)
    const { executions, cpuMs } = this.#had.get(name)!
    const fast = executions === 0
      ? UNKNOWN_EXECUTIONS
      : Math.max(LEAST_EXECUTIONS, Math.ceil(executions / Math.max(cpuMs, 1) * this.#sliceCpuMs))
    const turn = { name, executions: Math.min(left, most, fast) }
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
