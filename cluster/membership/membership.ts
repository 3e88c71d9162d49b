/**
 * One node among the others: it beats under its name (`beats/<name>`), and learns from the beats of all where each of
 * them is reached. Who is silent stays known: whether he is dead is judged elsewhere, and he may come back.
 *
 *   every `beatMs`    beat -> list of all beats -> addresses, told when they changed
 *
 * The store may be away for as long as it likes: what is known stays known. Another process that beats under our name
 * is a copy of our folder: one of the two is told to end, as a rule who started first.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Cursor, Entry } from '../store/cluster-store.ts'
import { decodeHeartbeat, HeartbeatSender } from '../store/heartbeats.ts'
import { afterPrefix } from '../store/json-value.ts'
import { BEAT_PREFIX, beatKey, decodeBeatBody, encodeBeatBody } from './beat-body.ts'
import type { BeatBody } from './beat-body.ts'

export interface NodeAddress {
  node: string
  /** Of its daemon. */
  instance: string
  peer: string
  api: string
}

export interface MembershipOptions {
  store: ClusterStore
  name: string
  self: BeatBody
  beatMs: number
  /** All other nodes of the cluster. */
  onNodes(nodes: NodeAddress[]): void
  /** The store did not answer, or answers again (undefined); told once each. */
  onProblem(error: HoldfastError | undefined): void
  /** `node-twice`. It beats no more. */
  onRival(error: HoldfastError): void
}

export class Membership {
  readonly #o: MembershipOptions
  readonly #sender: HeartbeatSender
  #isFirst = true
  #isOver = false
  #hasProblem = false
  #told = ''
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> = Promise.resolve()

  constructor(options: MembershipOptions) {
    this.#o = options
    const { store, name, self } = options
    this.#sender = new HeartbeatSender(store, beatKey(name), self.instance)
  }

  /** Resolves after the first turn, whatever came of it. */
  start(): Promise<void> {
    return this.#next()
  }

  /** Its heart stops; the others notice that by its silence. */
  async stop(): Promise<void> {
    this.#isOver = true
    clearTimeout(this.#timer)
    await this.#turn
  }

  #next(): Promise<void> {
    this.#turn = this.#beat().then(() => {
      if (!this.#isOver) this.#timer = setTimeout(() => void this.#next(), this.#o.beatMs)
    })
    return this.#turn
  }

  async #beat(): Promise<void> {
    const { self, name, onRival } = this.#o
    const beat = await this.#sender.beat(encodeBeatBody(self), this.#isFirst)
    if (this.#isOver) return
    if (beat.ok) this.#isFirst = false
    else if ('rival' in beat) {
      this.#isOver = true
      return onRival(new HoldfastError('node-twice', { name, rival: beat.rival.instance }))
    } else return this.#problem(beat.error)
    const entries = await this.#list()
    if (this.#isOver) return
    if (entries instanceof HoldfastError) return this.#problem(entries)
    this.#problem(undefined)
    this.#tell(entries)
  }

  async #list(): Promise<Entry[] | HoldfastError> {
    const entries: Entry[] = []
    let after: Cursor | undefined
    do {
      const page = await this.#o.store.list({ prefix: BEAT_PREFIX, after })
      if (!page.ok) return page.error
      entries.push(...page.value.entries)
      after = page.value.next
    } while (after !== undefined)
    return entries
  }

  #tell(entries: readonly Entry[]): void {
    const { self, name, onNodes } = this.#o
    const nodes: NodeAddress[] = []
    for (const { key, value } of entries) {
      const node = afterPrefix(key, BEAT_PREFIX)
      const heartbeat = decodeHeartbeat(value)
      const body = heartbeat === undefined ? undefined : decodeBeatBody(heartbeat.body)
      if (node === undefined || node === name || body?.clusterId !== self.clusterId) continue
      nodes.push({ node, instance: body.instance, peer: body.peer, api: body.api })
    }
    const now = JSON.stringify(nodes)
    if (now === this.#told) return
    this.#told = now
    onNodes(nodes)
  }

  #problem(error: HoldfastError | undefined): void {
    const hasProblem = error !== undefined
    if (hasProblem === this.#hasProblem) return
    this.#hasProblem = hasProblem
    this.#o.onProblem(error)
  }
}
