/**
 * The peers of one data worker: who there is, which connections stand, and where a message goes (PROTOCOL.md section
 * 6). What the core may rely on, and no more: a message given to `send` arrives once, or never; two of one lane that
 * arrive over one connection do so in order; each names the node and the instance that sent it, and nobody else can
 * have sent it; nothing arrives from an instance once a newer one of its node is here.
 *
 * Beacons and reports of ended instances take the urgent lane, a connection of their own: one connection is one queue,
 * in the kernel too, and megabytes of data in it would keep a beacon for longer than a lease lasts.
 */
import { closeFd } from '../../cluster/libc.ts'
import { answerArrival } from './arrival.ts'
import type { Arrival, ArrivedPeer } from './arrival.ts'
import { Connection } from './connection.ts'
import type { CloseReason, ConnectionOwner } from './connection.ts'
import { ConnectionSet } from './connection-set.ts'
import type { Delivery, PeerIdentity } from './delivery.ts'
import type { FrameRefusal, IncomingFrame } from './frame-intake.ts'
import { familyOf, FRAME_TYPE } from './message-codec.ts'
import type { WireMessage } from './message-codec.ts'
import { PeerLane } from './peer-lane.ts'
import { PeerSocket, endpointName } from './peer-socket.ts'
import type { PeerEndpoint } from './peer-socket.ts'
import { askingPreface } from './preface.ts'
import type { Preface } from './preface.ts'
import { LANES, WINDOW_BYTES } from './protocol.ts'
import type { Answer, Lane } from './protocol.ts'
import { RefusalLog } from './refusal-log.ts'
import { SecureArrivals } from './secure-arrivals.ts'
import { TRANSPORT_LIMITS } from './transport-options.ts'
import type { TransportOptions } from './transport-options.ts'

export interface PeerAddress {
  node: string
  worker: number
  /** Undefined: it dials. */
  endpoint?: PeerEndpoint
}

interface Peer {
  lanes: Record<Lane, PeerLane>
  isWanted: boolean
}

const keyOf = ({ node, worker }: { node: string; worker: number }): string => `${node}/${worker}`

export class PeerTransport implements ConnectionOwner {
  readonly #o: TransportOptions
  readonly #limits: typeof TRANSPORT_LIMITS
  readonly #refusals: RefusalLog
  readonly #peers = new Map<string, Peer>()
  readonly #connections: ConnectionSet
  readonly #secure: SecureArrivals | undefined
  #isStopping = false

  constructor(options: TransportOptions) {
    this.#o = options
    this.#limits = { ...TRANSPORT_LIMITS, ...options.limits }
    const { log, clock } = options
    this.#refusals = new RefusalLog({ log, clock, everyMs: this.#limits.refusalsEveryMs })
    this.#connections = new ConnectionSet(clock, this.#limits)
    const { self, tls, nonce } = options
    if (tls === undefined) return
    this.#secure = new SecureArrivals({
      self, tls, clock, refusals: this.#refusals, nonce, limits: this.#limits,
      onArrived: (arrived) => this.#arrived(arrived),
    })
  }

  get refusals(): RefusalLog {
    return this.#refusals
  }

  /** The worker is awake, and says something to its peers (`ConnectionSet.awake`). */
  awake(): void {
    this.#connections.awake()
  }

  /** Connections that have a socket, whatever their state. */
  get connections(): number {
    return this.#connections.size
  }

  /**
   * Who there is. Who was named and is not any more is not dialled, and his connections end; so do those of whoever
   * came by himself and would not be let in by the rules now.
   */
  setPeers(addresses: readonly PeerAddress[]): void {
    const wanted = new Set(addresses.map(keyOf))
    for (const [key, peer] of this.#peers) {
      if (wanted.has(key) || !peer.isWanted) continue
      for (const lane of LANES) {
        peer.lanes[lane].stop()
        peer.lanes[lane].connection?.close('stopped', 'it is no peer any more')
      }
      this.#peers.delete(key)
    }
    for (const connection of this.#connections.all()) {
      const why = this.#o.rules.mayConnect(connection.peer)
      if (why !== undefined) connection.close('stopped', why)
    }
    for (const address of addresses) {
      const peer = this.#peer(address)
      peer.isWanted = true
      for (const lane of LANES) peer.lanes[lane].reachAt(address.endpoint)
    }
  }

  /**
   * queued: taken; may be lost with the connection. full: not taken, `onDrained` will tell. down: not taken, there is
   * no connection. A message is laid at once, its payload referred to until it left: nobody may change it.
   */
  send(
    to: { node: string; worker: number },
    volumeId: string | undefined,
    message: WireMessage,
  ): 'queued' | 'full' | 'down' {
    const lane: Lane = familyOf(FRAME_TYPE[message.type]) === 'link' ? 'urgent' : 'data'
    return this.#peers.get(keyOf(to))?.lanes[lane].connection?.send(volumeId, message) ?? 'down'
  }

  /** Of the protocol, on the data lane; undefined when there is no connection. */
  versionOf(to: { node: string; worker: number }): number | undefined {
    return this.#peers.get(keyOf(to))?.lanes.data.connection?.version
  }

  /** The instance at the other end, undefined when there is none. */
  instanceOf(to: { node: string; worker: number }, lane: Lane): string | undefined {
    return this.#peers.get(keyOf(to))?.lanes[lane].connection?.peer.instance
  }

  /** A connection that asks for this worker. */
  accept(arrival: Arrival): void {
    const { preface, address, fd } = arrival
    if (this.#secure === undefined) this.#arrived({ socket: new PeerSocket({ fd }), preface, address })
    else if (this.#isStopping) closeFd(fd)
    else this.#secure.accept(arrival)
  }

  #arrived(arrived: ArrivedPeer): void {
    const { self, nonce, clock } = this.#o
    const { socket, preface, address } = arrived
    const own = answerArrival(arrived, { self, nonce: nonce(), judge: (peer) => this.#judge(preface, peer) })
    if (typeof own === 'string') {
      const { node, worker, lane } = preface
      const fields = { peer: node, worker, lane, address, reason: own }
      if (own !== '') this.#refusals.refused('peer refused', `${node} ${own}`, fields)
      return
    }
    this.#connect(socket, own, preface, address, clock.nowMs() + this.#limits.handshakeMs)
  }

  #judge(preface: Preface, peer: PeerIdentity): { answer: Answer; why: string } {
    if (this.#isStopping) return { answer: 'stopping', why: '' }
    if (this.#connections.unproven >= this.#limits.unprovenMax) return { answer: 'unknown', why: 'too many at once' }
    const why = this.#o.rules.mayConnect(peer)
    if (why !== undefined) return { answer: 'unknown', why }
    const isDuplicate = peer.role === 'worker' && this.#peer(peer).lanes[preface.lane].refuses(peer.instance)
    return { answer: isDuplicate ? 'duplicate' : 'accepted', why: '' }
  }

  #connect(socket: PeerSocket, own: Preface, peer: Preface, address: string, provenByMs: number): Connection {
    const { clock, pool } = this.#o
    const version = own.answer === 'accepted' ? own.version : peer.version
    const { queuedBytesMax } = this.#limits
    const connection = new Connection({
      socket, own, peer, address, version, owner: this, pool, clock, queuedBytesMax,
    })
    socket.reader = connection
    this.#connections.add(connection, provenByMs)
    return connection
  }

  #peer({ node, worker }: { node: string; worker: number }): Peer {
    const key = keyOf({ node, worker })
    let peer = this.#peers.get(key)
    if (peer === undefined) {
      const lanes = { urgent: this.#lane('urgent', node, worker), data: this.#lane('data', node, worker) }
      peer = { lanes, isWanted: false }
      this.#peers.set(key, peer)
    }
    return peer
  }

  #lane(lane: Lane, node: string, worker: number): PeerLane {
    const { self, clock, random, nonce } = this.#o
    return new PeerLane({
      lane,
      isLower: self.node === node ? self.worker < worker : self.node < node,
      clock,
      random,
      limits: this.#limits,
      tls: this.#o.tls,
      preface: () => askingPreface(self, { node, worker, lane, nonce: nonce(), windowBytes: WINDOW_BYTES }),
      connect: (socket, own, answer, endpoint) =>
        this.#connect(socket, own, answer, endpointName(endpoint), Infinity),
      adopted: (connection) => this.#cameUp(connection),
      failed: (why, strange, endpoint) => {
        if (!strange) return
        const fields = { peer: node, worker, lane, address: endpointName(endpoint), reason: why }
        this.#refusals.refused('peer not reached', `${node} ${why}`, fields)
      },
    })
  }

  // --- what connections tell ---------------------------------------------------------------------------------------

  proven(connection: Connection): void {
    const { peer, lane } = connection
    if (peer.role === 'supervisor') return this.#connections.closeOlder(connection)
    if (this.#peer(peer).lanes[lane].adopt(connection)) this.#cameUp(connection)
    else connection.close('replaced', 'another one stands')
  }

  #cameUp(connection: Connection): void {
    this.#connections.closeOlder(connection)
    this.#o.onUp?.(connection.peer, connection.lane)
  }

  admit({ peer }: Connection, frame: IncomingFrame): FrameRefusal | undefined {
    if (frame.family !== 'link') {
      if (peer.role === 'worker') return this.#judged(peer, frame)
      return { action: 'close', why: 'a supervisor has nothing to do with volumes' }
    }
    if (frame.type === (peer.role === 'worker' ? 'beacon' : 'ended')) return undefined
    return { action: 'close', why: 'beacons come from workers, reports from supervisors' }
  }

  #judged(peer: PeerIdentity, frame: IncomingFrame): FrameRefusal | undefined {
    const refusal = this.#o.rules.mayReceive(peer, frame)
    if (refusal?.action === 'skip' && refusal.isTold === true) {
      const { node, worker, instance, address } = peer
      const { type, volumeId, epoch } = frame
      const fields = { peer: node, worker, instance, address, type, volumeId, epoch, reason: refusal.why }
      this.#refusals.refused('a frame was read over', `${node} ${refusal.why}`, fields)
    }
    return refusal
  }

  deliver(connection: Connection, delivery: Delivery): void {
    this.#o.onMessage(delivery)
    const { message } = delivery
    if (message.type === 'ended') connection.send(undefined, { type: 'ended-heard', instance: message.instance })
  }

  drained({ peer, lane }: Connection): void {
    this.#o.onDrained?.(peer, lane)
  }

  unsayable({ peer: { node, worker } }: Connection, volumeId = '', type: WireMessage['type']): void {
    const fields = { peer: node, worker, volumeId, type, reason: 'it has fields that the peer would refuse' }
    this.#refusals.refused('a message was not sent', `${node} ${type}`, fields)
  }

  closed(connection: Connection, reason: CloseReason, why: string): void {
    const { peer, lane } = connection
    this.#connections.delete(connection)
    if (reason === 'protocol' || reason === 'refused') {
      const { node, worker, instance, address } = peer
      const fields = { peer: node, worker, instance, lane, address, reason: why }
      this.#refusals.refused('connection ended', `${node} ${address.replace(/:\d+$/, '')} ${why}`, fields)
    }
    const known = peer.role === 'worker' ? this.#peers.get(keyOf(peer)) : undefined
    if (known?.lanes[lane].lost(connection) === true) this.#o.onDown?.(peer, lane, reason)
    if (known?.isWanted === false && LANES.every((one) => known.lanes[one].connection === undefined))
      this.#peers.delete(keyOf(peer))
  }

  /** Send what is queued, say goodbye, end. What is not gone by then is cut off. Nothing is accepted or dialled. */
  async drain(deadlineMs: number): Promise<void> {
    this.#isStopping = true
    for (const { lanes } of this.#peers.values()) for (const lane of LANES) lanes[lane].stop()
    await this.#connections.drain(deadlineMs)
    this.close()
  }

  close(): void {
    this.#isStopping = true
    for (const { lanes } of this.#peers.values()) for (const lane of LANES) lanes[lane].stop()
    this.#secure?.close()
    this.#connections.close()
  }
}
