/** How fast failover goes (SPEC.md F6): pods of a node one after the other, and few nodes at once. */
import type { NodeSeen } from './failover-decision.ts'
import { isOurUnreachable } from './failover-facts.ts'

export const MOVE_EVERY_MS = 1000
export const BEGUN_FOR_MS = 60_000

export class FailoverPace {
  /** When a node was begun, or was first seen to be. */
  private begun = new Map<string, number>()
  private readonly moved = new Map<string, number>()

  /** All nodes. */
  sees(nodes: readonly NodeSeen[], nowMs: number): void {
    const begun = new Map<string, number>()
    for (const { node } of nodes) {
      const known = this.begun.get(node.name)
      const isTainted = node.taints.some(isOurUnreachable)
      // One that is not tainted by now was begun without an answer, or is clean again; it counts for its minute.
      const isRecent = known !== undefined && nowMs - known < BEGUN_FOR_MS
      if (isTainted || isRecent) begun.set(node.name, known ?? nowMs)
    }
    this.begun = begun
    for (const [name, atMs] of this.moved) if (nowMs - atMs >= MOVE_EVERY_MS) this.moved.delete(name)
  }

  /** One, and a tenth of all, in a minute. Counts it when it may. */
  mayBegin(name: string, nodes: number, nowMs: number): boolean {
    const known = this.begun.get(name)
    const recent = [...this.begun].filter(([one, atMs]) => one !== name && nowMs - atMs < BEGUN_FOR_MS).length
    const isCounted = known !== undefined && nowMs - known < BEGUN_FOR_MS
    if (!isCounted && recent >= 1 + Math.floor(nodes / 10)) return false
    this.begun.set(name, nowMs)
    return true
  }

  /** Until the next pod of that node may be removed. */
  leftMs(name: string, nowMs: number): number {
    return Math.max(0, (this.moved.get(name) ?? -Infinity) + MOVE_EVERY_MS - nowMs)
  }

  moves(name: string, nowMs: number): void {
    this.moved.set(name, nowMs)
  }
}
