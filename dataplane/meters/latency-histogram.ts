/**
 * Latencies of one kind, in the worker where they are observed: counts in a flat array, nothing allocated, nothing
 * looked up by name. One observation costs about 10 ns (bench/micro/meters.ts); the scrape copies it out.
 */
import { LATENCY_BOUNDS_MS } from '../../cluster/metrics/figures.ts'
import type { LatencyFigures } from '../../cluster/metrics/figures.ts'

const BOUNDS = Float64Array.from(LATENCY_BOUNDS_MS)

export class LatencyHistogram {
  readonly #counts = new Float64Array(BOUNDS.length + 1)
  #sumMs = 0

  observe(ms: number): void {
    let bucket = 0
    while (bucket < BOUNDS.length && ms > BOUNDS[bucket]!) bucket++
    this.#counts[bucket]!++
    this.#sumMs += ms
  }

  figures(): LatencyFigures {
    return { counts: [...this.#counts], sumMs: this.#sumMs }
  }
}
