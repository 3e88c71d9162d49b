/** How often copies of a node are scrubbed, and how fast, unless it is told (`--scrub-light`, `-deep`, `-rate`). */
import { MIB } from '../../engine/units.ts'

export interface ScrubOptions {
  /** From one to the next; 0: only when they are asked for. */
  lightEveryMs: number
  deepEveryMs: number
  /** While there is something else to do. */
  busyBytesPerSecond: number
}

const DAY_MS = 24 * 3_600_000

export const SCRUB_DEFAULTS: ScrubOptions = {
  lightEveryMs: DAY_MS,
  deepEveryMs: 7 * DAY_MS,
  busyBytesPerSecond: 32 * MIB,
}
