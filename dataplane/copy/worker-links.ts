/**
 * The links of a data worker (`engine/replication/leases.ts`, SPEC L1): one beacon for each pair of workers that share
 * volumes, on the urgent lane. A link is named `node/worker`; the copies know nodes only.
 *
 * Each turn begins here: a loop that stood still, or a clock that moved, is told to every copy before anything else is
 * stepped. What the links say of a node (its beacon, its acknowledgement) is stepped at once too, in the order in which
 * it came: a grace begins when the beacon is here.
 *
 * A turn may bring beacons shortly before ours are due: then ours leave at its end, when every copy has taken what came
 * (SPEC L1). Whoever of this worker wants to be woken before the next beacons is woken in the turn of these: a copy
 * that waits for the end of a lease or a grace, which beacons move, so that it wakes nobody for nothing.
 *
 * A link that is made anew goes on counting its beacons: the other end may have had it all the time, and takes none
 * whose number it had before.
 */
import type { NodeId } from '../../engine/replication/configuration.ts'
import { createLinks, stepLinks } from '../../engine/replication/leases.ts'
import type { Beacon, LinksEvent, LinksPort, LinksState } from '../../engine/replication/leases.ts'
import type { LinkMessage } from '../peer/message-codec.ts'
import type { CopyTiming } from './timing.ts'
import type { TurnLoop } from './turn-loop.ts'
import { Inbox } from './turn-loop.ts'
import { NOWHERE } from './wake-timer.ts'
import type { Sleeper, WakeTimer } from './wake-timer.ts'

export interface WorkerAddress {
  node: NodeId
  worker: number
}

/** Of the interval: beacons that come so soon before ours have ours leave too. */
const JOIN_SHARE = 1 / 2
/** Of the interval: how late the next beacons may be. */
const LATE_SHARE = 1 / 4

export const linkName = ({ node, worker }: WorkerAddress): string => `${node}/${worker}`

export function addressOf(link: string): WorkerAddress {
  const slash = link.lastIndexOf('/')
  return { node: link.slice(0, slash), worker: Number(link.slice(slash + 1)) }
}

export interface LinksOwner {
  readonly loop: TurnLoop
  readonly timer: WakeTimer
  sendToWorker(to: WorkerAddress, message: LinkMessage): void
  /** To every copy that has to do with that worker. */
  beacon(from: WorkerAddress, event: Parameters<LinksPort['beacon']>[0]): void
  acknowledged(from: WorkerAddress, event: Parameters<LinksPort['acknowledged']>[0]): void
  clockDoubt(): void
  /** One to each worker. */
  beaconsSent(): void
  /** Commit points that beacons are to tell, just before one leaves. */
  tellCommits(): void
}

export type BeaconMessage = Extract<LinkMessage, { type: 'beacon' }>

export class WorkerLinks implements Sleeper {
  readonly #owner: LinksOwner
  readonly #state: LinksState
  readonly #inbox: Inbox<{ from: WorkerAddress; instance: string; message: BeaconMessage }>
  readonly #port: LinksPort
  place = NOWHERE
  /** Of each link that there ever was: the number of its last beacon, and the one before its first. */
  readonly #counted = new Map<string, { last: number; before: number }>()
  /** To the beacons behind the next ones. */
  readonly #aheadMs: number

  constructor(self: WorkerAddress & { instance: string }, timing: CopyTiming, owner: LinksOwner) {
    const { beaconMs, leaseMs } = timing
    this.#owner = owner
    const joinMs = beaconMs * JOIN_SHARE
    this.#aheadMs = beaconMs * (1 + LATE_SHARE)
    this.#state = createLinks({ node: linkName(self), instance: self.instance, beaconMs, leaseMs, joinMs })
    const took = (): void => {
      if (this.#isDue) this.#wakeOthers()
    }
    this.#inbox = new Inbox(owner.loop, ({ from, instance, message }) => {
      const { number, left, commits } = message
      const [link, to] = [linkName(from), this.#state.node]
      const got = this.#ofThisLink(link, message.got)
      this.#step({ type: 'beacon', beacon: { from: link, instance, to, number, got, left, commits } })
    }, took)
    this.#port = {
      send: (beacon) => this.#send(beacon),
      wakeAt: (atMs) => owner.timer.moveTo(this, atMs),
      beacon: (event) => owner.beacon(addressOf(event.from), event),
      acknowledged: (event) => owner.acknowledged(addressOf(event.from), event),
      clockDoubt: () => owner.clockDoubt(),
    }
    owner.timer.add(this)
    owner.loop.beforeEach(() => {
      if (this.#isDue) this.#wakeOthers()
      this.#tick()
    })
    owner.loop.afterEach(() => {
      if (this.#isDue) this.#tick()
    })
  }

  /** Workers that have copies of volumes which have a copy here. */
  setPeers(peers: readonly WorkerAddress[]): void {
    const nodes = peers.map(linkName)
    const { peers: known } = this.#state
    if (nodes.length === known.size && nodes.every((node) => known.has(node))) return
    for (const node of nodes) {
      const counted = this.#counted.get(node)
      if (counted !== undefined && !known.has(node)) counted.before = counted.last
    }
    this.#step({ type: 'peers', nodes })
  }

  #ofThisLink(link: string, got: Beacon['got']): Beacon['got'] {
    const before = this.#counted.get(link)?.before ?? 0
    if (got === undefined || got.instance !== this.#state.instance || before === 0) return got
    return got.number > before ? { instance: got.instance, number: got.number - before } : undefined
  }

  received(from: WorkerAddress, instance: string, message: BeaconMessage): void {
    this.#inbox.put({ from, instance, message })
  }

  /** The copy of that volume here is bound by beacons of that worker no more. */
  left(volumeId: string, worker: WorkerAddress): void {
    this.#step({ type: 'left', volumeId, node: linkName(worker) })
  }

  committed(volumeId: string, worker: WorkerAddress, epoch: number, commitSeq: number): void {
    this.#step({ type: 'committed', volumeId, node: linkName(worker), epoch, commitSeq })
  }

  wake(): void {
    this.#owner.loop.askForTurn()
  }

  get #isDue(): boolean {
    return this.#owner.loop.nowMs() >= this.#state.nextBeaconMs
  }

  /** Before the tick, which says when we are woken next. */
  #wakeOthers(): void {
    this.#owner.timer.wakeEarly(this.#owner.loop.nowMs() + this.#aheadMs)
  }

  #tick(): void {
    const isDue = this.#isDue
    if (isDue) this.#owner.tellCommits()
    this.#step({ type: 'tick', wallMs: Date.now() })
    if (isDue) this.#owner.beaconsSent()
  }

  #step(event: LinksEvent): void {
    stepLinks(this.#state, event, this.#owner.loop.nowMs(), this.#port)
  }

  #send({ to, number, got, left, commits }: Beacon): void {
    let counted = this.#counted.get(to)
    if (counted === undefined) this.#counted.set(to, (counted = { last: 0, before: 0 }))
    counted.last = counted.before + number
    this.#owner.sendToWorker(addressOf(to), { type: 'beacon', number: counted.last, got, left, commits })
  }
}
