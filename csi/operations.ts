/**
 * One operation at a time for each volume, snapshot or name (SPEC.md section 3). A second one is not queued: it is
 * ABORTED, and its caller comes again. A key is taken in the turn in which it is found free, and is free again only
 * when the step that took it has ended, whether or not its caller still waits.
 */
import { aborted } from './refusal.ts'

interface UnderWay {
  what: string
  /** How many share it; 0: one has it alone. */
  sharers: number
}

export class Operations {
  /** By key. */
  private readonly underWay = new Map<string, UnderWay>()

  /**
   * @param keys  all of them, or none
   * @param shared  besides; others may share these meanwhile, and nobody has one alone
   * @throws CsiRefusal ABORTED
   */
  async run<T>(
    keys: readonly string[], what: string, step: () => Promise<T>, shared: ReadonlySet<string> = new Set(),
  ): Promise<T> {
    for (const key of keys) this.checkFree(key, what, false)
    for (const key of shared) this.checkFree(key, what, true)
    for (const key of keys) this.underWay.set(key, { what, sharers: 0 })
    for (const key of shared) this.underWay.set(key, { what, sharers: (this.underWay.get(key)?.sharers ?? 0) + 1 })
    try {
      return await step()
    } finally {
      for (const key of keys) this.underWay.delete(key)
      for (const key of shared) this.leave(key)
    }
  }

  private checkFree(key: string, what: string, isShared: boolean): void {
    const other = this.underWay.get(key)
    if (other === undefined || (isShared && other.sharers > 0)) return
    throw aborted(`${other.what} of ${key} is under way; ${what} waits for its end: try again`)
  }

  private leave(key: string): void {
    const { what, sharers } = this.underWay.get(key)!
    if (sharers === 1) this.underWay.delete(key)
    else this.underWay.set(key, { what, sharers: sharers - 1 })
  }
}
