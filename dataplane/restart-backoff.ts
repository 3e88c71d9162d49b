/** How long to wait before a daemon that died is started again: at once the first time, then doubling, never long. */
const FIRST_MS = 50
const MOST_MS = 5_000
/** A daemon that lived this long is no longer part of a crash loop. */
export const SETTLED_MS = 60_000

export class RestartBackoff {
  #nextMs = FIRST_MS

  /** @param ranMs how long the daemon that just died had run */
  delayMs(ranMs: number): number {
    if (ranMs >= SETTLED_MS) this.#nextMs = FIRST_MS
    const delay = this.#nextMs
    this.#nextMs = Math.min(MOST_MS, this.#nextMs * 2)
    return delay
  }
}
