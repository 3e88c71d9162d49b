/**
 * For how long a kubelet was silent and a data process down, by our own monotonic clock (SPEC.md section 4, Silence).
 *
 * Invariants: only time in which we could see counts. After a gap of the Kubernetes API everything begins anew, after
 * one of the control API what a data process is. A Lease renews only when it was seen to change by this process.
 */
import type { ListedNode, NodeFacts, StorageStates } from './failover-facts.ts'
import type { NodeSeen } from './failover-decision.ts'

/** Longer without a look, kubelets may have been as blind as we were. */
export const BLIND_MS = 5_000

interface Seen {
  node: NodeFacts
  leaseSinceMs: number
  hasChanged: boolean
  storageSinceMs: number
}

/** When a look was begun, and when its answer came. */
export interface LookTimes {
  askedAtMs: number
  nowMs: number
}

export class NodeSilence {
  private nodes = new Map<string, Seen>()
  private states: StorageStates = new Map()
  private readonly kubernetes = new Sight()
  private readonly control = new Sight()

  /** All nodes, of a look at Kubernetes that was whole. */
  looked(nodes: readonly ListedNode[], times: LookTimes): void {
    const wasBlind = this.kubernetes.looked(times)
    const { nowMs } = times
    const former = this.nodes
    this.nodes = new Map()
    for (const listed of nodes) {
      const node = { ...listed, storage: this.storageOf(listed) }
      const before = former.get(node.name)
      const isSame = before !== undefined && before.node.uid === node.uid
      // Nobody saw either whether a data process was being started.
      const known: Seen = isSame && !wasBlind ? { ...before, node }
        : { node, leaseSinceMs: nowMs, hasChanged: false, storageSinceMs: nowMs }
      // A list that lags behind a read shows what was there before.
      if (isSame && isNewer(node.lease, before.node.lease)) renewed(known, nowMs)
      else if (isSame) known.node = { ...node, lease: before.node.lease }
      if (isSame && before.node.storage !== node.storage) known.storageSinceMs = nowMs
      this.nodes.set(node.name, known)
    }
  }

  /** What Holdfast says of all its nodes, of a look at the control API that was whole. */
  heard(states: StorageStates, times: LookTimes): void {
    const wasBlind = this.control.looked(times)
    this.states = states
    for (const known of this.nodes.values()) {
      const storage = this.storageOf(known.node)
      if (wasBlind || storage !== known.node.storage) known.storageSinceMs = times.nowMs
      known.node = { ...known.node, storage }
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

  /** Whether what is known, of either API, is of just now. */
  isFresh(nowMs: number): boolean {
    return this.kubernetes.isFresh(nowMs) && this.control.isFresh(nowMs)
  }

  seen(name: string, nowMs: number): NodeSeen | undefined {
    const known = this.nodes.get(name)
    return known === undefined ? undefined : seenOf(known, nowMs)
  }

  all(nowMs: number): NodeSeen[] {
    return [...this.nodes.values()].map((known) => seenOf(known, nowMs))
  }

  private storageOf({ holdfastNode }: ListedNode): NodeFacts['storage'] {
    return this.states.get(holdfastNode) ?? 'unknown'
  }
}

/** When one of the APIs was seen last. */
class Sight {
  private lookedAtMs = -Infinity

  /** @returns whether it could not be seen for too long before that */
  looked({ askedAtMs, nowMs }: LookTimes): boolean {
    const wasBlind = askedAtMs - this.lookedAtMs > BLIND_MS || nowMs - askedAtMs > BLIND_MS
    this.lookedAtMs = nowMs
    return wasBlind
  }

  isFresh(nowMs: number): boolean {
    return nowMs - this.lookedAtMs <= BLIND_MS
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
