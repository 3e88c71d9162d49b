/**
 * What is told of events that strangers cause, so that it is seen and cannot flood: the first of a kind at once, more
 * of it within `everyMs` are counted, and the next that is told says how many there were. Kinds are bounded as well;
 * beyond that strangers share one.
 */
const KINDS_MAX = 256
const OTHERS = '(others)'

export class ToldKinds {
  readonly #everyMs: number
  readonly #kinds = new Map<string, { lastMs: number; untold: number }>()

  constructor(everyMs: number) {
    this.#everyMs = everyMs
  }

  /**
   * @param kind what is the same about them: who it was, and what he did
   * @returns how many of it were not told since the last one; undefined: this one is not told either
   */
  tell(kind: string, nowMs: number): number | undefined {
    let name = kind
    let known = this.#kinds.get(name)
    if (known === undefined && this.#kinds.size >= KINDS_MAX) this.#forget(nowMs)
    if (known === undefined && this.#kinds.size >= KINDS_MAX) known = this.#kinds.get((name = OTHERS))
    if (known !== undefined && nowMs - known.lastMs < this.#everyMs) {
      known.untold++
      return undefined
    }
    this.#kinds.set(name, { lastMs: nowMs, untold: 0 })
    return known?.untold ?? 0
  }

  /** Those that were quiet for long. */
  #forget(nowMs: number): void {
    for (const [kind, { lastMs }] of this.#kinds) if (nowMs - lastMs >= this.#everyMs) this.#kinds.delete(kind)
  }
}
