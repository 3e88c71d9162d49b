/**
 * One operation at a time for each volume, snapshot or name (SPEC.md section 3). A second one is not queued: it is
 * ABORTED, and its caller comes again. A key is taken in the turn in which it is found free, and is free again only
 * when the step that took it has ended, whether or not its caller still waits.
 */
import { aborted } from './refusal.ts'

export class Operations {
  /** Key -> which operation has it. */
  private readonly underWay = new Map<string, string>()

  /**
   * @param keys  all of them, or none
   * @throws CsiRefusal ABORTED
   */
  async run<T>(keys: readonly string[], what: string, step: () => Promise<T>): Promise<T> {
    for (const key of keys) {
      const other = this.underWay.get(key)
      if (other !== undefined) throw aborted(`${other} of ${key} is under way; ${what} waits for its end: try again`)
    }
    for (const key of keys) this.underWay.set(key, what)
    try {
      return await step()
    } finally {
      for (const key of keys) this.underWay.delete(key)
    }
  }
}
