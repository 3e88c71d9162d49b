/**
 * What the cluster store says of a volume, noted by its copy here (ENCRYPTION.md section 6, step 2). A note shows
 * before it is durable, and who asks for it again may rely on the answer: so what shows is taken for noted only once
 * that was confirmed. What a copy had when it was opened is on its disks; where they disagreed, on one at first.
 *
 * Invariant: `true` is said of no note, and of none that takes its place, before it is durable on every disk.
 */
import type { VolumeRecord } from '../engine/control/volume-record.ts'

export interface NotedStore {
  readonly noted: unknown
  /** All disks of the copy have said the same since it was opened: what it showed then is on each of them. */
  readonly isAgreed: boolean
  note(noted: unknown, ended: (ok: boolean) => void): void
}

export class CopyNotes {
  /** What a copy shows, and nobody confirmed. */
  readonly #unconfirmed = new WeakMap<NotedStore, unknown>()

  /**
   * @param ended  when that, or what knows more keys, is durable; or never will be
   * @returns whether something is written
   */
  note(store: NotedStore, asked: unknown, ended: (ok: boolean) => void): boolean {
    const { noted: former } = store
    // What knows fewer keys is older: who wrote under the last one relies on it.
    const isKnown = keyCountOf(asked) < keyCountOf(former) || JSON.stringify(former) === JSON.stringify(asked)
    if (isKnown && store.isAgreed && !this.#unconfirmed.has(store)) {
      ended(true)
      return false
    }
    const noted = isKnown ? former : asked
    this.#unconfirmed.set(store, noted)
    store.note(noted, (ok) => {
      if (ok && this.#unconfirmed.get(store) === noted) this.#unconfirmed.delete(store)
      ended(ok)
    })
    return true
  }
}

/** Of a note: how many keys of its volume it knows. */
function keyCountOf(noted: unknown): number {
  const { record } = (noted ?? {}) as { record?: VolumeRecord }
  return record?.spec.encryption?.keys.length ?? 0
}
