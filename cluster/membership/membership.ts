/**
 * One node among the others: it beats under its name (`beats/<name>`), and learns from the beats of all where each of
 * them is reached. Who is silent stays known: whether he is dead is judged elsewhere, and he may come back.
 *
 *   at each pulse        beat
 *   at every second one  with it, list of all beats -> addresses, told when they changed; not while the elected node
 *                        says that it lists what is known here
 *
 * The store may be away for as long as it likes: what is known stays known. Another process that beats under our name
 * is a copy of our folder: one of the two is told to end, as a rule who started first.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { Pulse } from '../pulse.ts'
import type { ClusterStore, Entry } from '../store/cluster-store.ts'
import { HeartbeatSender } from '../store/heartbeats.ts'
import { beatKey, decodeBeat, encodeBeatBody } from './beat-body.ts'
import type { BeatBody } from './beat-body.ts'
import { digestOfBeats } from './beat-list.ts'
import type { BeatList } from './beat-list.ts'

/** Addresses change when a node joins or its daemon starts again: it knows the others, and speaks to them first. */
const BEATS_PER_LIST = 2
/** What the elected node said stands for so many beats: it is asked at each of them, and may be late for one. */
const BEATS_PER_WORD = 2.5

export interface NodeAddress {
  node: string
  /** Of its daemon. */
  instance: string
  peer: string
  api: string
  /** Data workers. */
  workers: number
}

export interface MembershipOptions {
  store: ClusterStore
  name: string
  self: BeatBody
  pulse: Pulse
  beats: BeatList
  /** All other nodes of the cluster. @returns whether all were taken: else they are told again with the next list */
  onNodes(nodes: NodeAddress[]): boolean
  /** The store did not answer, or answers again (undefined); told once each. */
  onProblem(error: HoldfastError | undefined): void
  /** `node-twice`. It beats no more. */
  onRival(error: HoldfastError): void
}

export class Membership {
  readonly #o: MembershipOptions
  readonly #sender: HeartbeatSender
  #isFirst = true
  #beatsSinceList = 0
  #isOver = false
  #hasProblem = false
  #told = ''
  /** Of the beats that this was read from. */
  #digest = ''
  #cancel: () => void = () => undefined
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
    this.#cancel()
    await this.#turn
  }

  #next(): Promise<void> {
    this.#turn = this.#beat().then(() => {
      if (!this.#isOver) this.#cancel = this.#o.pulse.next(() => void this.#next())
    })
    return this.#turn
  }

  async #beat(): Promise<void> {
    const { self, name, beats, onRival } = this.#o
    const isListing = this.#isFirst || (++this.#beatsSinceList >= BEATS_PER_LIST && !this.#isCurrent())
    // Of two that come at the same time one must see the other; later both leave in one write.
    const listing = this.#isFirst || !isListing ? undefined : beats.read()
    const beat = await this.#sender.beat(encodeBeatBody(self), this.#isFirst)
    if (this.#isOver) return
    if (beat.ok) this.#isFirst = false
    else if ('rival' in beat) {
      this.#isOver = true
      return onRival(new HoldfastError('node-twice', { name, rival: beat.rival.instance }))
    } else return this.#problem(beat.error)
    if (!isListing) return
    this.#beatsSinceList = 0
    const { answer } = await (listing ?? beats.read(0))
    if (this.#isOver) return
    if (!answer.ok) return this.#problem(answer.error)
    this.#problem(undefined)
    this.#tell(answer.entries)
  }

  /** A list would show what is known. After a failure one is needed to see that the store answers again. */
  #isCurrent(): boolean {
    const { beats, pulse } = this.#o
    return !this.#hasProblem && beats.isAsElectedSaid(this.#digest, BEATS_PER_WORD * pulse.everyMs)
  }

  #tell(entries: readonly Entry[]): void {
    const { self, name, onNodes } = this.#o
    const digest = digestOfBeats(entries)
    if (digest === this.#digest) return
    this.#digest = digest
    const nodes: NodeAddress[] = []
    for (const entry of entries) {
      const { node, body } = decodeBeat(entry) ?? {}
      if (node === undefined || node === name || body?.clusterId !== self.clusterId) continue
      nodes.push({ node, instance: body.instance, peer: body.peer, api: body.api, workers: body.workers ?? 1 })
    }
    const now = JSON.stringify(nodes)
    if (now === this.#told) return
    this.#told = now
    if (onNodes(nodes)) return
    this.#told = ''
    this.#digest = ''
  }

  #problem(error: HoldfastError | undefined): void {
    const hasProblem = error !== undefined
    if (hasProblem === this.#hasProblem) return
    this.#hasProblem = hasProblem
    this.#o.onProblem(error)
  }
}
