/**
 * The status of a data worker as its main thread asks for it every second: of a hundred idle copies hardly one has
 * changed since, so an answer brings those that have, and the main thread keeps the others.
 *
 *   main thread   since: number of the answer it knows   ->   worker
 *                 <-   number, what changed since             the worker's last answer had that number
 *                 <-   number, all there is                   it had another: to somebody else, or it got lost
 *
 * The worker looks at every copy for each answer, so that what is told is as new as if all of it were.
 */
import { assert } from '../../engine/assert.ts'
import type { CopyStatus, NodeStatus } from '../../engine/control/node-status.ts'
import { isSameCopy } from '../../cluster/reconcile/node-calls.ts'

export type WorkerStatus = Pick<NodeStatus, 'disks' | 'copies'>

export interface StatusChanges extends WorkerStatus {
  /** Of this answer; above 0. */
  number: number
  /** `copies` are all that there are, not only those that are new or changed. */
  isWhole: boolean
  /** Volumes of which there is no copy any more; empty when `isWhole`. */
  gone: string[]
}

/** Of the worker. */
export class StatusTeller {
  #number = 0
  /** By volume, as the last answer left it. */
  #told = new Map<string, CopyStatus>()

  /** @param since  number of the answer that the other side knows; 0: none */
  tell(since: number, { disks, copies }: WorkerStatus): StatusChanges {
    const isWhole = since === 0 || since !== this.#number
    if (isWhole) this.#told.clear()
    const changed: CopyStatus[] = []
    for (const copy of copies) {
      const before = this.#told.get(copy.volumeId)
      if (before !== undefined && isSameCopy(before, copy)) continue
      this.#told.set(copy.volumeId, copy)
      changed.push(copy)
    }
    return { number: ++this.#number, isWhole, disks, copies: changed, gone: this.#forget(copies) }
  }

  #forget(copies: readonly CopyStatus[]): string[] {
    if (this.#told.size === copies.length) return []
    const there = new Set(copies.map(({ volumeId }) => volumeId))
    const gone = [...this.#told.keys()].filter((volumeId) => !there.has(volumeId))
    for (const volumeId of gone) this.#told.delete(volumeId)
    return gone
  }
}

/** Of the main thread, one a worker. What did not change is the same object in each answer. */
export class KnownStatus {
  readonly #copies = new Map<string, CopyStatus>()
  /** Of the last answer that was taken, for the next question; 0: none was. */
  since = 0

  /** @returns all there is */
  take({ number, isWhole, disks, copies, gone }: StatusChanges): WorkerStatus {
    // Questions and answers keep their order, and who was told something since is told all.
    assert(isWhole || number === this.since + 1, 'changes are told to who knows what they change')
    this.since = number
    if (isWhole) this.#copies.clear()
    for (const volumeId of gone) this.#copies.delete(volumeId)
    for (const copy of copies) this.#copies.set(copy.volumeId, copy)
    return { disks, copies: [...this.#copies.values()] }
  }
}
