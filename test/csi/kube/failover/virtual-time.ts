/** Time for simulations of what awaits: it stands still while anything is to be done, and goes to the next sleeper. */
export class VirtualTime {
  nowMs = 0
  readonly #sleepers: Array<{ atMs: number; wake: () => void }> = []

  sleep(ms: number): Promise<void> {
    return new Promise((wake) => this.#sleepers.push({ atMs: this.nowMs + ms, wake }))
  }

  /** Wakes one after the other, up to that time. @param each  when all that the last one led to has been done */
  async run(untilMs: number, each: () => void = () => undefined): Promise<void> {
    for (let next = this.#due(untilMs); next !== undefined; next = this.#due(untilMs)) {
      this.nowMs = next.atMs
      next.wake()
      await new Promise((resolve) => setImmediate(resolve))
      each()
    }
    this.nowMs = untilMs
  }

  /** The first of those who wake by then; it sleeps no more. */
  #due(untilMs: number): { atMs: number; wake: () => void } | undefined {
    let first = 0
    for (let i = 1; i < this.#sleepers.length; i++) {
      if (this.#sleepers[i]!.atMs < this.#sleepers[first]!.atMs) first = i
    }
    const next = this.#sleepers[first]
    if (next === undefined || next.atMs > untilMs) return undefined
    this.#sleepers.splice(first, 1)
    return next
  }
}
