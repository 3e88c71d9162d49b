/**
 * The replicated half of a data worker: its turns, its peers, its copies and its frontends, over a store that is open
 * (ARCHITECTURE.md, "What a turn does"). Everything here runs in one thread; the cluster store is asked through
 * `ConfigPort`, which may lead to another one.
 */
import { randomBytes } from 'node:crypto'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import type { LogPort } from '../engine/ports.ts'
import type { NodeId } from '../engine/replication/configuration.ts'
import type { Store } from '../engine/volume/store.ts'
import type { FrontendMessage } from '../engine/replication/messages.ts'
import type { ConfigPort } from './copy/config-port.ts'
import { CopyHost } from './copy/copy-host.ts'
import type { CopyHostOptions } from './copy/copy-host.ts'
import { CopyPlaces } from './copy/copy-places.ts'
import { SCRUB_DEFAULTS } from './copy/scrub-options.ts'
import type { ScrubOptions } from './copy/scrub-options.ts'
import { Scrubber } from './copy/scrubber.ts'
import { StructureChecks } from './copy/structure-checks.ts'
import { assertTiming } from './copy/timing.ts'
import type { CopyTiming } from './copy/timing.ts'
import type { TurnLoop } from './copy/turn-loop.ts'
import { WakeTimer } from './copy/wake-timer.ts'
import { FrontendHost } from './frontend/frontend-host.ts'
import type { FrontendLimits } from './frontend/frontend-host.ts'
import { SnapshotReaders } from './frontend/snapshot-readers.ts'
import type { Delivery, PeerIdentity } from './peer/delivery.ts'
import type { FrameRefusal, IncomingFrame } from './peer/frame-intake.ts'
import type { PeerSelf } from './peer/preface.ts'
import { PeerTransport } from './peer/transport.ts'
import type { PeerAddress } from './peer/transport.ts'
import { SlabPool } from './slab-pool.ts'

export interface ReplicationWorkerOptions {
  self: PeerSelf
  /** Unset: peers talk in plain text. */
  tls?: TlsFolder | undefined
  /** The one that the store has for its clock. */
  loop: TurnLoop
  store: Store
  configs: ConfigPort
  timing: CopyTiming
  log: LogPort
  evidenceDir: string
  isElsewhere?: CopyHostOptions['isElsewhere']
  leadChanged?: CopyHostOptions['leadChanged']
  /** Unset: as usual. */
  scrub?: ScrubOptions
  copyLimits?: CopyHostOptions['limits']
  frontendLimits?: Partial<FrontendLimits>
  /** Of this start of the daemon, as no other in the cluster has; below 2^24. */
  startNumber: number
}

const hex = (): string => randomBytes(16).toString('hex')

export class ReplicationWorker {
  readonly transport: PeerTransport
  readonly copies: CopyHost
  readonly frontends: FrontendHost
  readonly readers: SnapshotReaders
  readonly scrubber: Scrubber
  readonly structures: StructureChecks
  readonly #o: ReplicationWorkerOptions
  readonly #timer: WakeTimer
  readonly #places = new CopyPlaces()
  /** Of the other nodes of the cluster: the numbers of the workers that each has told of. */
  #peers: ReadonlyMap<NodeId, ReadonlySet<number>> = new Map()

  constructor(options: ReplicationWorkerOptions) {
    this.#o = options
    const { self, loop, store, configs, timing, log, evidenceDir, isElsewhere, leadChanged } = options
    assertTiming(timing)
    const timer = new WakeTimer(loop)
    this.#timer = timer
    const pool = new SlabPool()
    const places = this.#places
    this.transport = new PeerTransport({
      self,
      tls: options.tls,
      clock: loop,
      log,
      pool,
      rules: {
        mayConnect: (peer) => this.#mayConnect(peer),
        mayReceive: (peer, frame) => this.#mayReceive(peer, frame),
      },
      random: Math.random,
      nonce: hex,
      onMessage: (delivery) => this.#deliver(delivery),
      onUp: ({ node, instance }) => places.connected(node, instance),
    })
    const send: CopyHostOptions['send'] = (to, volumeId, message) => void this.transport.send(to, volumeId, message)
    this.copies = new CopyHost({
      self, loop, timer, store, pool, configs, timing, log, evidenceDir, places, send,
      versionOf: (to) => this.transport.versionOf(to),
      beaconsSent: () => this.transport.awake(),
      tellFrontend: (volumeId, from, message) => this.#tell(volumeId, from, message),
      nonce: hex,
      ...(isElsewhere === undefined ? {} : { isElsewhere }),
      ...(leadChanged === undefined ? {} : { leadChanged }),
      ...(options.copyLimits === undefined ? {} : { limits: options.copyLimits }),
    })
    this.frontends = new FrontendHost({
      self, loop, timer, configs, pool,
      askHere: (volumeId, message) => this.copies.ask(volumeId, message),
      askPeer: (node, volumeId, message) => {
        for (const worker of places.workersOf(node, volumeId)) send({ node, worker }, volumeId, message)
      },
      ...(options.frontendLimits === undefined ? {} : { limits: options.frontendLimits }),
    })
    this.readers = new SnapshotReaders(this.frontends, options.startNumber)
    this.copies.recover()
    const scrub = options.scrub ?? SCRUB_DEFAULTS
    this.structures = new StructureChecks({
      streams: () => store.streams(),
      everyMs: scrub.deepEveryMs,
      wallMs: () => Date.now(),
      empty: (stream, segment) => store.emptySegment(stream, segment),
      onDamage: (diskUuid, damage) => this.copies.structureDamaged(diskUuid, damage),
      log,
    })
    this.scrubber = new Scrubber({
      ...scrub,
      structures: this.structures,
      clock: loop,
      wallMs: () => Date.now(),
      copies: () => [
        ...this.copies.copies(),
        ...store.remains().map((remains) => ({ volumeId: remains.copy.volumeId, store: remains.copy, remains })),
      ],
      foreground: store.foreground,
      log,
    })
  }

  /** All workers of the other nodes of the cluster, where each node listens. Nobody else is let in, or stays. */
  setPeers(addresses: readonly PeerAddress[]): void {
    const peers = new Map<NodeId, Set<number>>()
    for (const { node, worker } of addresses) peers.set(node, (peers.get(node) ?? new Set()).add(worker))
    this.#peers = peers
    this.#places.setPeers(addresses)
    this.transport.setPeers(addresses)
  }

  /**
   * A worker may dial before this node has read how many its node has now: it is refused, and dials again. Any other
   * number is nobody's: connections under it would be as many as numbers, and known to no list of who there is.
   */
  #mayConnect({ node, worker, role }: PeerIdentity): string | undefined {
    const workers = this.#peers.get(node)
    if (workers === undefined) return 'is no node of this cluster'
    return role === 'supervisor' || workers.has(worker) ? undefined : 'has not told of a worker of that number'
  }

  #mayReceive(peer: PeerIdentity, frame: IncomingFrame): FrameRefusal | undefined {
    if (!isAnswer(frame.type)) return this.copies.mayReceive(peer, frame)
    const isHere = this.frontends.frontend(frame.volumeId) !== undefined || this.readers.has(frame.volumeId)
    return isHere ? undefined : { action: 'skip', why: 'no frontend or reader of that volume is here' }
  }

  #deliver(delivery: Delivery): void {
    const { family, message, from, volumeId } = delivery
    if (family === 'frontend' && isAnswer(message.type)) {
      this.#places.heard(volumeId, from)
      this.#tell(volumeId, from.node, message as FrontendMessage)
      this.copies.hold(delivery)
    } else this.copies.deliver(delivery)
  }

  #tell(volumeId: string, from: NodeId, message: FrontendMessage): void {
    this.frontends.tell(volumeId, from, message)
    this.readers.tell(volumeId, from, message)
  }

  /** Nothing is stepped or said any more; peers see their connections end. The store is the caller's to stop. */
  async close(drainMs: number): Promise<void> {
    this.readers.shutDown()
    const scrubsEnded = new Promise<void>((resolve) => this.scrubber.stop(resolve))
    this.frontends.close()
    this.copies.close()
    this.#timer.stop()
    this.#o.loop.stop()
    await this.transport.drain(drainMs)
    // The store is closed next, and a read under way may not find it so.
    await scrubsEnded
  }
}

/** What a copy says to a frontend; the rest of that family goes the other way. */
const isAnswer = (type: string): boolean => ANSWERS.has(type)

const ANSWERS: ReadonlySet<string> = new Set<FrontendMessage['type']>([
  'opened', 'reply', 'redirect', 'held', 'snapshot-opened', 'snapshot-blocks', 'snapshot-map', 'snapshot-refused',
])

