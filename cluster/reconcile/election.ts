/**
 * Who is the controller (engine/control/SPEC.md R2): a heartbeat under one key. Who replaced it last may act, until it
 * could not for `silentAfterMs` or sees another one there. The others look, each on its own monotonic clock, and one
 * takes over when the value did not change for as long.
 *
 *   heard: it took a report of ours just now, as the one that is elected  ->  it is not looked for
 *   absent, or unchanged for silentAfterMs as seen here  ->  CAS on the version that was seen  ->  elected
 *   elected: CAS on our last version every turn          lost: another one is elected          resign: CAS to absent
 *
 * Two may believe that they are elected at the same time, so nothing depends on it but who tries.
 */
import type { HoldfastError } from '../../engine/errors.ts'
import { isText } from '../../engine/value-shape.ts'
import { isNodeName } from '../api/names.ts'
import type { ClusterStore, Entry, Version } from '../store/cluster-store.ts'
import { decodeHeartbeat, encodeHeartbeat } from '../store/heartbeats.ts'
import type { Heartbeat } from '../store/heartbeats.ts'
import { encodeJson, parseRecord } from '../store/json-value.ts'
import { isAddress } from '../tls/loopback.ts'

export const CONTROLLER_KEY = 'controller'

/** Where the elected one is reached. */
export interface Candidate {
  node: string
  /** `HOST:PORT` of its control API for other nodes. */
  api: string
}

export interface Leader extends Candidate {
  instance: string
}

/** Reports go once a second. */
const HEARD_MS = 1500

interface Seen {
  version: Version | undefined
  leader: Leader | undefined
  /** When it was first seen, as it was asked for. */
  sinceMs: number
}

export class Election {
  private readonly store: ClusterStore
  private readonly self: Leader
  readonly silentAfterMs: number
  private readonly nowMs: () => number
  private seen: Seen | undefined
  private lookedAtMs = -Infinity
  /** Who took a report of ours last, and when that was sent. */
  private heard: { instance: string; atMs: number } | undefined
  /** When our last beat that was stored was sent; -Infinity: we are not elected. */
  private beatAtMs = -Infinity
  private beats = 0
  /** Why the store could not be asked the last time; undefined: it answered. */
  problem: HoldfastError | undefined

  constructor(options: { store: ClusterStore; self: Leader; silentAfterMs: number; nowMs: () => number }) {
    this.store = options.store
    this.self = options.self
    this.silentAfterMs = options.silentAfterMs
    this.nowMs = options.nowMs
  }

  isElected(): boolean {
    return this.nowMs() - this.beatAtMs < this.silentAfterMs
  }

  /** Who was seen there last; undefined: nobody, or what is there is no heartbeat. */
  leader(): Leader | undefined {
    return this.seen?.leader
  }

  /**
   * Beat, or look and perhaps take over. To be called well more often than every `silentAfterMs`, not twice at a time.
   * @returns why the store could not be asked
   */
  async turn(): Promise<HoldfastError | undefined> {
    // It was elected when it answered, and nobody takes its place before it knows that it is not.
    if (!this.isElected() && this.hearsLeader()) return undefined
    this.problem = await this.beatOrLook()
    return this.problem
  }

  /** The leader took, as the one that is elected, what was sent to it then. */
  hears(instance: string, atMs: number): void {
    if (instance !== this.self.instance) this.heard = { instance, atMs }
  }

  /** The leader did not take what was sent to it. @returns whether it had to be looked for before, too */
  hearsNobody(): boolean {
    const wasHeard = this.hearsLeader()
    this.heard = undefined
    return !wasHeard
  }

  private hearsLeader(): boolean {
    const { heard, seen } = this
    return heard !== undefined && heard.instance === seen?.leader?.instance && this.nowMs() - heard.atMs < HEARD_MS
  }

  private async beatOrLook(): Promise<HoldfastError | undefined> {
    if (this.isElected()) return this.beat(this.seen!.version)
    this.beatAtMs = -Infinity
    const askedAtMs = this.nowMs()
    const read = await this.store.get(CONTROLLER_KEY)
    if (!read.ok) return read.error
    this.look(read.value, askedAtMs)
    const { version, leader, sinceMs } = this.seen!
    // Ours, or that of a former process of this node, which is gone: its folder is locked by us.
    const isOurs = leader?.node === this.self.node
    if (version !== undefined && !isOurs && askedAtMs - sinceMs < this.silentAfterMs) return undefined
    return this.beat(version)
  }

  /** So that nobody has to wait. */
  async resign(): Promise<void> {
    if (!this.isElected()) return
    this.beatAtMs = -Infinity
    await this.store.compareAndSwap({ key: CONTROLLER_KEY, version: this.seen!.version, value: undefined })
  }

  private async beat(version: Version | undefined): Promise<HoldfastError | undefined> {
    const sentAtMs = this.nowMs()
    const { instance, node, api } = this.self
    const body = Buffer.from(encodeJson({ node, api })).toString()
    const value = encodeHeartbeat({ instance, beat: ++this.beats, body })
    const cas = await this.store.compareAndSwap({ key: CONTROLLER_KEY, version, value })
    switch (cas.outcome) {
      case 'won':
        this.beatAtMs = sentAtMs
        this.seen = { version: cas.version, leader: this.self, sinceMs: sentAtMs }
        return undefined
      case 'lost':
        this.look(cas.current, sentAtMs)
        // A beat of ours that was stored although we were not told: the next turn goes on from it.
        if (this.seen!.leader?.instance !== instance) this.beatAtMs = -Infinity
        return undefined
      default:
        // We go on for as long as the last one counts; what is there is seen when a beat is lost.
        return cas.error
    }
  }

  /** What was not looked at for too long counts from now: nobody is silent in an outage of the store. */
  private look(entry: Entry | undefined, askedAtMs: number): void {
    const wasBlind = askedAtMs - this.lookedAtMs > this.silentAfterMs / 2
    this.lookedAtMs = askedAtMs
    if (this.seen !== undefined && this.seen.version === entry?.version && !wasBlind) return
    const heartbeat = entry === undefined ? undefined : decodeHeartbeat(entry.value)
    this.seen = { version: entry?.version, leader: leaderOf(heartbeat), sinceMs: askedAtMs }
  }
}

function leaderOf(heartbeat: Heartbeat | undefined): Leader | undefined {
  if (heartbeat === undefined) return undefined
  const body = parseRecord(Buffer.from(heartbeat.body))
  if (body === undefined || !isText(body.node) || !isText(body.api)) return undefined
  // Nobody is asked there, and it is taken over from like one that is silent.
  if (!isNodeName(body.node) || !isAddress(body.api)) return undefined
  return { instance: heartbeat.instance, node: body.node, api: body.api }
}
