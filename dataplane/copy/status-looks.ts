/**
 * What the copies of a worker say of themselves, looked at as seldom as it can be. A node of a thousand copies is asked
 * several times while one more is made, and all but a few of them have not been stepped in between.
 *
 * Invariant: what a step decides, and whether a replica hears its primary, is told as it is now, whenever it is asked;
 * the control plane takes copies away by these. What comes without a step (bytes used, scrubs) is a second old at most.
 */
import { isSameCopy } from '../../cluster/reconcile/node-calls.ts'
import type { CopyStatus } from '../../engine/control/node-status.ts'
import { copyStatus, hearsPrimary } from './copy-report.ts'
import type { HostedCopy } from './hosted-copy.ts'
import type { ScrubReport } from './scrubber.ts'

/** All are looked at when that is so long ago: less than from one report that comes by itself to the next. */
export const LOOK_EVERY_MS = 900

export class StatusLooks {
  readonly #seen = new WeakMap<HostedCopy, { steps: number; status: CopyStatus }>()
  #lookedAtMs = -Infinity

  /** Of all of them. What did not change is the same object again. */
  look(
    copies: Iterable<HostedCopy>, scrubsOf: (copy: HostedCopy) => ScrubReport | undefined, nowMs: number,
  ): CopyStatus[] {
    const isWhole = nowMs - this.#lookedAtMs >= LOOK_EVERY_MS
    if (isWhole) this.#lookedAtMs = nowMs
    const statuses: CopyStatus[] = []
    for (const copy of copies) {
      const seen = this.#seen.get(copy)
      const { steps } = copy
      const isKnown = !isWhole && seen?.steps === steps
      if (isKnown && seen.status.hearsPrimary === hearsPrimary(copy.state, nowMs)) {
        statuses.push(seen.status)
        continue
      }
      const now = copyStatus(copy, scrubsOf(copy), nowMs)
      const status = seen !== undefined && isSameCopy(seen.status, now) ? seen.status : now
      this.#seen.set(copy, { steps, status })
      statuses.push(status)
    }
    return statuses
  }
}
