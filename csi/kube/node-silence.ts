/**
 * For how long a kubelet was silent and a data process down, by our own monotonic clock (SPEC.md section 4, Silence).
 *
 * Invariants: only time in which we could see counts: after a gap everything begins anew. A Lease renews only when it
 * was seen to change by this process.
 */
import type { NodeFacts } from './failover-facts.ts'
import type { NodeSeen } from './failover-decision.ts'

/** Longer without a look, kubelets may have been as blind as we were. */
export const BLIND_MS = 5_000

interface Seen {
  node: NodeFacts
  leaseSinceMs: number
  hasChanged: boolean
  storageSinceMs: number
}

export class NodeSilence {
  private nodes = new Map<string, Seen>()
  private lookedAtMs = -Infinity

  /** All nodes, of a look that was whole. @param askedAtMs  when it was begun */
  looked(nodes: readonly NodeFacts[], askedAtMs: number, nowMs: number): void {
    const wasBlind = askedAtMs - this.lookedAtMs > BLIND_MS || nowMs - askedAtMs > BLIND_MS
    this.lookedAtMs = nowMs
    const former = this.nodes
    this.nodes = new Map()
    for (const node of nodes) {
      const before = former.get(node.name)
      const isSame = before !== undefined && before.node.uid === node.uid
      const known: Seen = isSame && !wasBlind ? { ...before, node }
        : { node, leaseSinceMs: nowMs, hasChanged: false, storageSinceMs: nowMs }
      // A list that lags behind a read shows what was there before.
      if (isSame && isNewer(node.lease, before.node.lease)) renewed(known, nowMs)
      else if (isSame) known.node = { ...node, lease: before.node.lease }
      if (isSame && before.node.storage !== node.storage) known.storageSinceMs = nowMs
      this.nodes.set(node.name, known)
    }
  }

  /** Its Lease was read itself. @returns whether it is still the one that was looked at */
  isUnchanged(name: string, lease: string, nowMs: number): boolean {
    const known = this.nodes.get(name)
    if (known === undefined || !isNewer(lease, known.node.lease)) return known !== undefined
    known.node = { ...known.node, lease }
    renewed(known, nowMs)
    return false
  }

  /** Whether what is known is of just now. */
  isFresh(nowMs: number): boolean {
    return nowMs - this.lookedAtMs <= BLIND_MS
  }

  seen(name: string, nowMs: number): NodeSeen | undefined {
    const known = this.nodes.get(name)
    return known === undefined ? undefined : seenOf(known, nowMs)
  }

  all(nowMs: number): NodeSeen[] {
    return [...this.nodes.values()].map((known) => seenOf(known, nowMs))
  }
}

/** Of two resourceVersions, which grow; one that is gone is no renewal. */
const isNewer = (version: string, than: string): boolean =>
  version !== '' && (version.length === than.length ? version > than : version.length > than.length)

function renewed(known: Seen, nowMs: number): void {
  known.leaseSinceMs = nowMs
  known.hasChanged = true
}

const seenOf = ({ node, leaseSinceMs, hasChanged, storageSinceMs }: Seen, nowMs: number): NodeSeen => ({
  node, silentMs: nowMs - leaseSinceMs, doesRenew: hasChanged, storageForMs: nowMs - storageSinceMs,
})
