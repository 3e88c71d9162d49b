/**
 * The nodes that were removed from the cluster, as one node knows them: a watch of `removed-nodes/`.
 *
 * Invariants: before it has been read once no node is let in, since it may be one that was removed. What goes on by a
 * node's word is ended when that node is removed.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import { afterPrefix } from '../store/json-value.ts'
import { PrefixWatch } from '../store/prefix-watch.ts'
import { REMOVED_PREFIX, decodeRemoved, whyRemoved } from '../store/removed-nodes.ts'
import type { RemovedNode } from '../store/removed-nodes.ts'
import { HeldCalls } from './held-calls.ts'
import type { End } from './held-calls.ts'

export class RemovedList {
  readonly #nodes = new Map<string, RemovedNode>()
  readonly #held = new HeldCalls()
  readonly #watch: PrefixWatch
  #isListed = false

  constructor({ store, onProblem }: { store: ClusterStore; onProblem(error: HoldfastError): void }) {
    this.#watch = new PrefixWatch({
      store,
      prefix: REMOVED_PREFIX,
      onChange: (key, value) => this.#changed(key, value),
      onListed: () => (this.#isListed = true),
      onProblem,
    })
  }

  /** Of what somebody shows who says that he is that node. @returns why it is worth nothing, or nothing yet */
  judge(name: string, issuedAtMs: number): HoldfastError | undefined {
    if (!this.#isListed) {
      const reason = 'who was asked has not read in the cluster store yet which nodes were removed'
      return new HoldfastError('node-unchecked', { name, reason })
    }
    const why = whyRemoved(this.#nodes.get(name), issuedAtMs)
    return why === undefined ? undefined : new HoldfastError('node-removed', { name, reason: why })
  }

  /** Of a call that goes on. @returns to be called when it is over */
  hold(name: string, end: End): () => void {
    return this.#held.add(name, end)
  }

  close(): void {
    this.#watch.close()
  }

  #changed(key: string, value: Uint8Array | undefined): void {
    const name = afterPrefix(key, REMOVED_PREFIX)!
    const node = value === undefined ? undefined : decodeRemoved(name, value)
    if (node === undefined) return void this.#nodes.delete(name)
    const before = this.#nodes.get(name)
    this.#nodes.set(name, node)
    if (before?.removedAtMs === node.removedAtMs) return
    const reason = `node ${name} was removed from the cluster`
    this.#held.end(name, new HoldfastError('node-removed', { name, reason }))
  }
}
