/**
 * Answers that count for a moment, from when they were asked for: who asks the same meanwhile gets the same one, also
 * while it is under way. A failure is told to those who waited for it and not kept. Bounded: the oldest goes.
 */
const FRESH_MS = 1000
const ANSWERS_MAX = 4096

interface Entry<T> {
  askedAtMs: number
  answer: Promise<T>
}

export class FreshAnswers<T> {
  readonly #ask: (key: string) => Promise<T>
  readonly #nowMs: () => number
  readonly #entries = new Map<string, Entry<T>>()

  /** @param nowMs  monotonic */
  constructor(ask: (key: string) => Promise<T>, nowMs = () => performance.now()) {
    this.#ask = ask
    this.#nowMs = nowMs
  }

  get(key: string): Promise<T> {
    const nowMs = this.#nowMs()
    const known = this.#entries.get(key)
    if (known !== undefined && nowMs - known.askedAtMs < FRESH_MS) return known.answer
    const entry: Entry<T> = { askedAtMs: nowMs, answer: this.#ask(key) }
    // Behind all others, in the order of their age.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    for (const [old, { askedAtMs }] of this.#entries) {
      if (this.#entries.size <= ANSWERS_MAX && nowMs - askedAtMs < FRESH_MS) break
      this.#entries.delete(old)
    }
    entry.answer.catch(() => {
      if (this.#entries.get(key) === entry) this.#entries.delete(key)
    })
    return entry.answer
  }
}
