/**
 * The heartbeats of all nodes, as this node lists them: membership does every other second, and the controller of
 * the node that is elected every second. Who asks while a list is under way, or just after one, gets that one.
 */
import type { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Cursor, Entry } from '../store/cluster-store.ts'
import { BEAT_PREFIX } from './beat-body.ts'

/** For who looks every second. */
const RECENT_MS = 100

export interface ListedBeats {
  /** Monotonic, when the list was asked for: it is as old as that at most. */
  askedAtMs: number
  answer: { ok: true; entries: Entry[] } | { ok: false; error: HoldfastError }
}

export class BeatList {
  readonly #store: ClusterStore
  readonly #nowMs: () => number
  #last: { askedAtMs: number; listed: Promise<ListedBeats> } | undefined

  constructor(store: ClusterStore, nowMs: () => number) {
    this.#store = store
    this.#nowMs = nowMs
  }

  /** @param recentMs  how long ago it may have been asked for; 0: what was there a moment ago must be in it */
  read(recentMs = RECENT_MS): Promise<ListedBeats> {
    const askedAtMs = this.#nowMs()
    if (this.#last !== undefined && askedAtMs - this.#last.askedAtMs < recentMs) return this.#last.listed
    const listed = this.#list().then((answer) => ({ askedAtMs, answer }))
    this.#last = { askedAtMs, listed }
    return listed
  }

  async #list(): Promise<ListedBeats['answer']> {
    const entries: Entry[] = []
    let after: Cursor | undefined
    do {
      const page = await this.#store.list({ prefix: BEAT_PREFIX, after })
      if (!page.ok) return page
      entries.push(...page.value.entries)
      after = page.value.next
    } while (after !== undefined)
    return { ok: true, entries }
  }
}
