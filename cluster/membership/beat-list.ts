/**
 * The heartbeats of all nodes, as this node lists them: the controller of the node that is elected every second, and
 * membership when addresses may have changed. Who asks while a list is under way, or just after one, gets that one.
 *
 * Whether they did change the elected node says, with the digest of what it has listed, in its answer to each report:
 * lists of all nodes by all nodes would cost the store the square of their number.
 */
import { createHash } from 'node:crypto'
import type { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Cursor, Entry } from '../store/cluster-store.ts'
import { decodeHeartbeat } from '../store/heartbeats.ts'
import { BEAT_PREFIX } from './beat-body.ts'

/** For who looks every second. */
const RECENT_MS = 100

export interface ListedBeats {
  /** Monotonic, when the list was asked for: it is as old as that at most. */
  askedAtMs: number
  answer: { ok: true; entries: Entry[] } | { ok: false; error: HoldfastError }
}

/** Of what nodes tell with their heartbeats: the same as long as no node came, went, or tells something else. */
export function digestOfBeats(entries: readonly Entry[]): string {
  const hash = createHash('sha256')
  for (const { key, value } of entries) {
    const heartbeat = decodeHeartbeat(value)
    if (heartbeat !== undefined) hash.update(`${key} ${heartbeat.body}\n`)
  }
  return hash.digest('base64url').slice(0, 16)
}

export class BeatList {
  readonly #store: ClusterStore
  readonly #nowMs: () => number
  #last: { askedAtMs: number; listed: Promise<ListedBeats> } | undefined
  #said = { digest: '', atMs: -Infinity }

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

  /** The elected node has listed beats of this digest; empty: it does not say. */
  electedSaid(digest: string): void {
    this.#said = { digest, atMs: this.#nowMs() }
  }

  /** The elected node said in the last `recentMs` that it lists beats of this digest. */
  isAsElectedSaid(digest: string, recentMs: number): boolean {
    const { digest: said, atMs } = this.#said
    return said !== '' && said === digest && this.#nowMs() - atMs <= recentMs
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
