/**
 * Heartbeats through the cluster store (S6): a sender replaces its key again and again, an observer counts on its own
 * monotonic clock for how long a key has not changed. For display and placement only; safety never asks them.
 *
 * Silence counts only while the observer itself could read: what it did not look at for `blindAfterMs` starts anew. So
 * an outage of the store, or a stall of the observer, makes nobody silent.
 */
import type { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Entry, Version } from './cluster-store.ts'

export interface Heartbeat {
  /** Of the sender's process; another one under the same key is a rival, or the sender's next life. */
  instance: string
  /** Grows by one a beat, so that each value differs from the one before. */
  beat: number
  /** Whatever the sender tells of itself. */
  body: string
}

export type BeatOutcome =
  | { ok: true }
  /** Not stored, or perhaps; the next beat looks. */
  | { ok: false; error: HoldfastError }
  /** Somebody else beats under this key, and did so last. */
  | { ok: false; rival: Heartbeat }

export const encodeHeartbeat = (heartbeat: Heartbeat): Uint8Array => Buffer.from(JSON.stringify(heartbeat))

/** Undefined when the value is not a heartbeat. */
export function decodeHeartbeat(value: Uint8Array): Heartbeat | undefined {
  try {
    const { instance, beat, body } = JSON.parse(Buffer.from(value).toString()) as Partial<Heartbeat>
    const isOne = typeof instance === 'string' && typeof beat === 'number' && typeof body === 'string'
    return isOne ? { instance, beat, body } : undefined
  } catch {
    return undefined
  }
}

/** Beats when it is told to; the caller has the timer. One beat at a time. */
export class HeartbeatSender {
  private readonly store: ClusterStore
  private readonly key: string
  private readonly instance: string
  private beats = 0
  /** Of our last beat; undefined with `isSure` unset: it has to be read. */
  private version: Version | undefined
  private isSure = false

  constructor(store: ClusterStore, key: string, instance: string) {
    this.store = store
    this.key = key
    this.instance = instance
  }

  /**
   * @param takeOver  also when the last beat was another instance's: at the start, when the key is that of a former
   *                  life of this node
   */
  async beat(body: string, takeOver: boolean): Promise<BeatOutcome> {
    if (!this.isSure) {
      const read = await this.store.get(this.key)
      if (!read.ok) return read
      const rival = read.value === undefined ? undefined : this.rivalIn(read.value)
      if (rival !== undefined && !takeOver) return { ok: false, rival }
      this.version = read.value?.version
    }
    const value = encodeHeartbeat({ instance: this.instance, beat: ++this.beats, body })
    const cas = await this.store.compareAndSwap({ key: this.key, version: this.version, value })
    this.isSure = cas.outcome === 'won'
    if (cas.outcome === 'won') {
      this.version = cas.version
      return { ok: true }
    }
    if (cas.outcome !== 'lost') return { ok: false, error: cas.error }
    const rival = cas.current === undefined ? undefined : this.rivalIn(cas.current)
    // Ours, of which we did not know that it was stored, or removed by an operator: again.
    return rival === undefined ? this.beat(body, takeOver) : { ok: false, rival }
  }

  private rivalIn({ value }: Entry): Heartbeat | undefined {
    const heartbeat = decodeHeartbeat(value)
    return heartbeat === undefined || heartbeat.instance === this.instance ? undefined : heartbeat
  }
}

interface Observed {
  version: Version
  changedAtMs: number
}

export class HeartbeatObserver {
  private readonly blindAfterMs: number
  private readonly senders = new Map<string, Observed>()
  private lookedAtMs = -Infinity

  /** @param blindAfterMs  the observer looks more often than this, or what it saw before does not count */
  constructor(blindAfterMs: number) {
    this.blindAfterMs = blindAfterMs
  }

  /**
   * All heartbeats as they were just listed.
   * @param askedAtMs  monotonic, when the list was asked for: what changed later is seen next time
   */
  look(entries: readonly Entry[], askedAtMs: number): void {
    const wasBlind = askedAtMs - this.lookedAtMs > this.blindAfterMs
    this.lookedAtMs = askedAtMs
    const there = new Set(entries.map(({ key }) => key))
    for (const key of this.senders.keys()) if (!there.has(key)) this.senders.delete(key)
    for (const { key, version } of entries) {
      const known = this.senders.get(key)
      const changed = known === undefined || known.version !== version || wasBlind
      this.senders.set(key, { version, changedAtMs: changed ? askedAtMs : known.changedAtMs })
    }
  }

  /** For how long each sender was seen to be silent, up to the last look. */
  silence(): Map<string, number> {
    return new Map([...this.senders].map(([key, { changedAtMs }]) => [key, this.lookedAtMs - changedAtMs]))
  }
}
