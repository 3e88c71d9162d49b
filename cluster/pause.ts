/** A while in which nothing is done. It ends at once, as if it were over, when its signal is aborted, or was before. */
import { setTimeout as sleep } from 'node:timers/promises'

/** @param ms  below 0: as 0 */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(Math.max(0, ms), undefined, signal && { signal })
  } catch (error) {
    if (signal?.aborted !== true) throw error
  }
}
