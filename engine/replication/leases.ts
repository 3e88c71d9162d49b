/**
 * The links of a data worker (SPEC section 8, L1): one beacon for each pair of workers that share volumes, whatever the
 * number of volumes, every `beaconMs`. It never queues behind data. What is called a node here is one end of a link: a
 * worker of a node, which the shell names `node/worker`.
 *
 *   beacon n ->           the other side owes its grace, from when it arrives (L2)
 *   <- beacon m, got n    we hold its leases, from when beacon n was sent (L3)
 *
 * Who hears a beacon shortly before its own are due sends them then: ends of links beat together, and an idle worker
 * wakes once for all of them, not once for each.
 *
 * I8: a copy that is bound to another end no more says so here (`left`); every beacon to there names it until one came
 *     back that had got such a one. What is acknowledged and left extends no lease. Beacons of an instance that ended
 *     are still beacons: the copies decide what an instance is good for.
 * L6: leases are dropped when this machine's clocks moved apart, or the worker's loop stood still.
 *
 * Pure, like the copies: `stepLinks(state, event, nowMs, port)`. Times are milliseconds of CLOCK_BOOTTIME.
 */
import { assert } from '../assert.ts'
import type { NodeId } from './configuration.ts'

export interface Beacon {
  from: NodeId
  /** Of the sender's process. */
  instance: string
  to: NodeId
  number: number
  /** The last beacon that came from there, and of which instance. */
  got: { instance: string; number: number } | undefined
  /** Volumes whose copy here is not bound by beacons of the receiver any more. */
  left: string[]
  /** Commit points of volumes that were idle since they were last told: volume -> epoch, seq. */
  commits: Array<[volumeId: string, epoch: number, commitSeq: number]>
}

interface Peer {
  number: number
  /** When beacons were sent that are not acknowledged yet: number -> time. */
  sent: Map<number, number>
  got: { instance: string; number: number } | undefined
  /** Volume -> the first beacon that named it. */
  left: Map<string, number | undefined>
  commits: Map<string, [epoch: number, commitSeq: number]>
}

export interface LinksState {
  node: NodeId
  instance: string
  beaconMs: number
  leaseMs: number
  /** A beacon that comes so soon before ours is due has ours leave with it (L1); 0: none does. */
  joinMs: number
  peers: Map<NodeId, Peer>
  nextBeaconMs: number
  /** Last sample of both clocks. */
  clocks: { bootMs: number; wallMs: number } | undefined
}

export type LinksEvent =
  /** Who has copies of volumes which have a copy here. */
  | { type: 'peers'; nodes: NodeId[] }
  | { type: 'beacon'; beacon: Beacon }
  | { type: 'left'; volumeId: string; node: NodeId }
  | { type: 'committed'; volumeId: string; node: NodeId; epoch: number; commitSeq: number }
  /** At each turn of the loop, or on `wakeAt`. The boot clock is `nowMs`. */
  | { type: 'tick'; wallMs: number }

export interface LinksPort {
  send(beacon: Beacon): void
  wakeAt(atMs: number): void
  /** To every copy here that has to do with that end. */
  beacon(event: { from: NodeId; instance: string; atMs: number; commits: Beacon['commits'] }): void
  /** To the same, but with `left` to the volumes named. */
  acknowledged(event: { from: NodeId; instance: string; sentAtMs: number; left: readonly string[] }): void
  /** To every copy. */
  clockDoubt(): void
}

/** More than these have no use: a lease is shorter. */
const SENT_MAX = 64

export function createLinks(
  options: Pick<LinksState, 'node' | 'instance' | 'beaconMs' | 'leaseMs' | 'joinMs'>,
): LinksState {
  // Else two ends would answer each other for ever.
  assert(options.joinMs <= options.beaconMs / 2, 'beacons leave at most twice as often for those that come')
  return { ...options, peers: new Map(), nextBeaconMs: -Infinity, clocks: undefined }
}

export function stepLinks(state: LinksState, event: LinksEvent, nowMs: number, port: LinksPort): void {
  switch (event.type) {
    case 'peers':
      return setPeers(state, event.nodes, nowMs, port)
    case 'beacon':
      return receive(state, event.beacon, nowMs, port)
    case 'left':
      // Named anew even if it was before: it may have come back in between.
      state.peers.get(event.node)?.left.set(event.volumeId, undefined)
      return
    case 'committed':
      state.peers.get(event.node)?.commits.set(event.volumeId, [event.epoch, event.commitSeq])
      return
    case 'tick':
      judgeClocks(state, nowMs, event.wallMs, port)
      return beaconIfDue(state, nowMs, port)
  }
}

function setPeers(state: LinksState, nodes: readonly NodeId[], nowMs: number, port: LinksPort): void {
  for (const node of state.peers.keys()) if (!nodes.includes(node)) state.peers.delete(node)
  for (const node of nodes) {
    if (node === state.node || state.peers.has(node)) continue
    state.peers.set(node, { number: 0, sent: new Map(), got: undefined, left: new Map(), commits: new Map() })
  }
  state.nextBeaconMs = -Infinity
  port.wakeAt(nowMs)
}

/** L6. A loop that stood still looks like a clock that jumped, and is as bad. */
function judgeClocks(state: LinksState, bootMs: number, wallMs: number, port: LinksPort): void {
  const former = state.clocks
  state.clocks = { bootMs, wallMs }
  if (former === undefined) return
  const allowedMs = state.leaseMs / 4
  const apartMs = Math.abs(wallMs - former.wallMs - (bootMs - former.bootMs))
  // A tick was due at the next beacon; what came later than allowed is a gap.
  const gapMs = bootMs - Math.max(former.bootMs, Math.min(state.nextBeaconMs, bootMs))
  if (apartMs > allowedMs || gapMs > allowedMs) port.clockDoubt()
}

function beaconIfDue(state: LinksState, nowMs: number, port: LinksPort): void {
  if (nowMs >= state.nextBeaconMs) {
    for (const [node, peer] of state.peers) send(state, node, peer, nowMs, port)
    state.nextBeaconMs = nowMs + state.beaconMs
  }
  port.wakeAt(state.nextBeaconMs)
}

function send({ node: from, instance }: LinksState, to: NodeId, peer: Peer, nowMs: number, port: LinksPort): void {
  const number = ++peer.number
  peer.sent.set(number, nowMs)
  if (peer.sent.size > SENT_MAX) peer.sent.delete(number - SENT_MAX)
  for (const [volumeId, named] of peer.left) if (named === undefined) peer.left.set(volumeId, number)
  const commits: Beacon['commits'] = []
  for (const [volumeId, [epoch, seq]] of peer.commits) commits.push([volumeId, epoch, seq])
  peer.commits.clear()
  port.send({ from, instance, to, number, got: peer.got, left: [...peer.left.keys()], commits })
}

function receive(state: LinksState, beacon: Beacon, nowMs: number, port: LinksPort): void {
  const { from, instance, number, got, left, commits } = beacon
  const peer = state.peers.get(from)
  if (peer === undefined || beacon.to !== state.node) return
  // One that comes late says nothing that a later one did not say.
  if (peer.got?.instance === instance && number <= peer.got.number) return
  peer.got = { instance, number }
  port.beacon({ from, instance, atMs: nowMs, commits })
  const isOurs = got !== undefined && got.instance === state.instance
  const sentAtMs = isOurs ? peer.sent.get(got.number) : undefined
  if (isOurs) {
    // In the order of sending.
    for (const at of peer.sent.keys()) {
      if (at > got.number) break
      peer.sent.delete(at)
    }
    for (const [volumeId, named] of peer.left) {
      if (named !== undefined && named <= got.number) peer.left.delete(volumeId)
    }
  }
  // What left is told even if nothing of ours was got.
  if (sentAtMs !== undefined || left.length > 0) {
    port.acknowledged({ from, instance, sentAtMs: sentAtMs ?? -Infinity, left })
  }
  joinIn(state, nowMs, port)
}

/** Not within this step: who leaves because of what came has to be named (`left`). */
function joinIn(state: LinksState, nowMs: number, port: LinksPort): void {
  const earlyMs = state.nextBeaconMs - nowMs
  if (earlyMs <= 0 || earlyMs > state.joinMs) return
  state.nextBeaconMs = nowMs
  port.wakeAt(nowMs)
}
