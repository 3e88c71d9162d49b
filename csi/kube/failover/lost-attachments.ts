/**
 * F5: how long attachments of a node that lives were seen to be lost, at each look since. A node says which sessions it
 * has a second or two late, so of a volume that was just published there anew the one of before shows for a moment,
 * and a pod that works would be ended for it. Invariant: what is told was lost at every look for 5 s.
 */
import type { AttachmentFacts } from './failover-facts.ts'

const LOST_MS = 5000

export class LostAttachments {
  /** Node -> attachment by its UID -> when it was first seen. */
  private readonly since = new Map<string, ReadonlyMap<string, number>>()

  /** @param lost  all that are now  @returns those that have been for long enough */
  looked(node: string, lost: readonly AttachmentFacts[], nowMs: number): AttachmentFacts[] {
    const before = this.since.get(node)
    const since = new Map(lost.map(({ uid }) => [uid, before?.get(uid) ?? nowMs]))
    this.since.set(node, since)
    return lost.filter(({ uid }) => nowMs - since.get(uid)! >= LOST_MS)
  }

  keys = (): Iterable<string> => this.since.keys()

  /** It is not looked at: what comes next is the first look. */
  delete = (node: string): boolean => this.since.delete(node)
}
