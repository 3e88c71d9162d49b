/**
 * All copies of a data worker: found on its disks when it starts, or made when the control plane says so; each a
 * `HostedCopy`, with the links of the worker between them and the peers.
 *
 *   transport -> deliver -> inbox of the copy or of the links  | a turn |  -> transport, store, cluster store
 *
 * A message that came is given back to the transport when its turn has ended: by then the store has taken what it
 * brought. Which worker of another node has the copy of a volume is learned (`copy-places.ts`).
 */
import type { HoldfastError } from '../../engine/errors.ts'
import type { StructureDamage } from '../../engine/log/structure-check.ts'
import type { LogPort } from '../../engine/ports.ts'
import { hasMember } from '../../engine/replication/configuration.ts'
import type { NodeId } from '../../engine/replication/configuration.ts'
import type { CopyEvent, CopyOptions } from '../../engine/replication/copy-port.ts'
import type { VersionId } from '../../engine/replication/record.ts'
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import type { CloneSource } from '../../engine/volume/copy-sharing.ts'
import { isDescriptorOf } from '../../engine/volume/descriptor-shape.ts'
import type { OpenCopy } from '../../engine/volume/copy-store.ts'
import type { VolumeDescriptor } from '../../engine/volume/descriptor.ts'
import type { Reply } from '../../engine/volume/store-api.ts'
import type { Store } from '../../engine/volume/store.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import type { Delivery, PeerIdentity } from '../peer/delivery.ts'
import type { FrameRefusal, IncomingFrame } from '../peer/frame-intake.ts'
import type { LinkMessage, WireMessage } from '../peer/message-codec.ts'
import { MARKS_SINCE } from '../peer/protocol.ts'
import type { ConfigPort } from './config-port.ts'
import type { SlabPool } from '../slab-pool.ts'
import type { CopyPlaces } from './copy-places.ts'
import { saveEvidence } from './evidence.ts'
import { DiskErrors } from './disk-errors.ts'
import { HostedCopy } from './hosted-copy.ts'
import type { CopyOwner } from './hosted-copy.ts'
import type { CopyTiming } from './timing.ts'
import type { TurnLoop } from './turn-loop.ts'
import type { WakeTimer } from './wake-timer.ts'
import { linkName, WorkerLinks } from './worker-links.ts'
import type { LinksOwner, WorkerAddress } from './worker-links.ts'

/** Of one copy; what it holds in memory of what others have not stored yet. */
export interface CopyLimits {
  windowBytesMax: number
  windowRecordsMax: number
  fillBytesMax: number
  marksMost: number
}

export const COPY_LIMITS: CopyLimits = {
  windowBytesMax: 32 << 20,
  windowRecordsMax: 8192,
  fillBytesMax: 1 << 20,
  marksMost: 64,
}

/** What a copy was made as. */
type CopyKind = Pick<OpenCopy['copy'], 'durability' | 'readCheck'>
/** It is fenced, and shows nothing. */
const UNREADABLE: CopyKind = { durability: 'durable', readCheck: 'lease' }

export interface CopyHostOptions {
  self: WorkerAddress & { instance: string }
  loop: TurnLoop
  timer: WakeTimer
  store: Store
  /** Memory for what is read to fill other copies. */
  pool: SlabPool
  configs: ConfigPort
  timing: CopyTiming
  limits?: Partial<CopyLimits>
  log: LogPort
  /** Folder for the state of copies that met a bug of ours. */
  evidenceDir: string
  places: CopyPlaces
  /** Whether another worker of this node has the copy of a volume: what is found here is a former one. */
  isElsewhere?(volumeId: string): boolean
  send(to: WorkerAddress, volumeId: string | undefined, message: WireMessage): void
  /** Of the protocol spoken with a worker; undefined: there is no connection now. Unset: all speak ours. */
  versionOf?(to: WorkerAddress): number | undefined
  /** A copy leads since this turn, or does so no more: who waits for that may ask. */
  leadChanged?(): void
  /** Beacons leave in this turn. */
  beaconsSent(): void
  /** A frontend of this worker. */
  tellFrontend(volumeId: string, from: NodeId, message: FrontendMessage): void
  nonce(): string
}

/** Types that bring data or a place in the log: only who is a member has any to bring. */
const BRINGS: ReadonlySet<string> = new Set([
  'append', 'reconcile', 'log', 'fill-start', 'fill', 'fill-end', 'versions',
])
/** What is answered with blocks, by id and without a session: only members have copies to mend with them. */
const READS = 'fetch-versions'
const TOLD_MAX = 1000
/** Less than an order of the control plane waits for its answer; a commit is heard of with the next beacon. */
const APPLIED_WAIT_MS = 2_000
const APPLIED_LOOK_MS = 20

export class CopyHost implements CopyOwner, LinksOwner {
  readonly loop: TurnLoop
  readonly timer: WakeTimer
  readonly configs: ConfigPort
  readonly pool: SlabPool
  readonly #o: CopyHostOptions
  readonly #limits: CopyLimits
  readonly #copies = new Map<string, HostedCopy>()
  readonly #links: WorkerLinks
  /** Copies that have something to say at the end of this turn. */
  #speaking: HostedCopy[] = []
  readonly #keeping = new Set<HostedCopy>()
  #delivered: Delivery[] = []
  #arePeersKnown = true
  /** By volume: for which configuration its copy began anew last, or is about to. */
  readonly #reopenedFor = new Map<string, string>()
  /** By volume, peer and what was refused: told once. */
  readonly #told = new Set<string>()
  readonly #unwatch: () => void
  #isClosed = false
  readonly #diskErrors: DiskErrors

  constructor(options: CopyHostOptions) {
    this.#o = options
    this.#diskErrors = new DiskErrors((diskUuid, reason) => options.store.suspectDisk(diskUuid, reason))
    const { loop, timer, configs, self, timing } = options
    this.loop = loop
    this.timer = timer
    this.configs = configs
    this.pool = options.pool
    this.#limits = { ...COPY_LIMITS, ...options.limits }
    this.#links = new WorkerLinks(self, timing, this)
    loop.afterEach(this.#flush)
    options.places.onChanged = () => {
      this.#arePeersKnown = false
      loop.askForTurn()
    }
    this.#unwatch = configs.watch((value) => {
      const copy = this.#copies.get(value.config.volumeId)
      if (copy === undefined) return
      copy.hintedConfig = value.config
      copy.inbox.put({ type: 'config-hint', value })
    })
  }

  /** Every copy that the disks have. One that cannot be read is there too, and fenced. */
  recover(): void {
    const { store, isElsewhere = () => false } = this.#o
    for (const [volumeId, open] of store.copies())
      if (!isElsewhere(volumeId)) this.#host(volumeId, open.copy, open)
    for (const { volumesById } of store.streams())
      for (const [volumeId, { copy, descriptor }] of volumesById)
        if (copy !== undefined && !this.#copies.has(volumeId) && !isRemoved(descriptor) && !isElsewhere(volumeId))
          this.#host(volumeId, UNREADABLE, { reason: 'what the copy accepted cannot be read' })
    this.#updatePeers()
  }

  /**
   * A copy of a volume, or the one that is there. Durable when it is answered.
   * @param source  what it begins with, of a copy here; undefined: it is empty
   */
  create(spec: VolumeSpec, copyId: string, source: CloneSource | undefined, reply: Reply<HostedCopy>): void {
    const known = this.#copies.get(spec.id)
    if (known !== undefined) return reply({ ok: true, value: known })
    const { store } = this.#o
    const made: Reply<OpenCopy> = (created) => {
      if (!created.ok) return reply(created as { ok: false; error: HoldfastError })
      const copy = this.#copies.get(spec.id) ?? this.#host(spec.id, created.value.copy, created.value)
      reply({ ok: true, value: copy })
    }
    if (source === undefined) return store.createCopy(spec, copyId, made)
    this.#whenApplied(source, this.loop.nowMs() + APPLIED_WAIT_MS, () => store.cloneCopy(spec, copyId, source, made))
  }

  /**
   * The clone of a volume as it is is asked for as soon as its snapshot is ordered, which a copy that does not lead has
   * stored by then, and applies when it hears that it is committed. Who is refused meanwhile asks again seconds later.
   */
  #whenApplied(source: CloneSource, untilMs: number, then: () => void): void {
    const origin = this.#copies.get(source.volumeId)?.store
    const isOnItsWay = origin !== undefined && origin.appliedSeq < source.seq && source.seq <= origin.tail
    if (!isOnItsWay || this.#isClosed || this.loop.nowMs() >= untilMs) return then()
    this.loop.after(APPLIED_LOOK_MS, () => this.#whenApplied(source, untilMs, then))
  }

  /** Take a copy away with all it holds. It says nothing more from now on; durable when it is answered. */
  remove(volumeId: string, reply: Reply<void>): void {
    this.#copies.get(volumeId)?.close()
    this.#copies.delete(volumeId)
    this.#reopenedFor.delete(volumeId)
    this.#o.places.forget(volumeId)
    this.#arePeersKnown = false
    this.loop.askForTurn()
    this.#o.store.removeCopy(volumeId, reply)
  }

  /**
   * A copy that was fenced, because it was no member, begins anew over its open store as it does after a start: with a
   * full grace, knowing what is durable.
   * @param reply  whether it did; not when its store failed or it is not fenced
   */
  reopen(volumeId: string, reply: (isOpen: boolean) => void): void {
    const copy = this.#copies.get(volumeId)
    const store = copy?.store
    if (copy === undefined || store === undefined || copy.state.role !== 'fenced') return reply(false)
    store.drained(() =>
      store.bodies.syncAll((ok) => {
        const stored = ok && this.#copies.get(volumeId) === copy ? copy.stored() : undefined
        if (stored === undefined) return reply(false)
        copy.close()
        this.#host(volumeId, store, { copy: store, stored }).hintedConfig = copy.hintedConfig
        reply(true)
      }),
    )
  }

  copy(volumeId: string): HostedCopy | undefined {
    return this.#copies.get(volumeId)
  }

  copies(): IterableIterator<HostedCopy> {
    return this.#copies.values()
  }

  #host(volumeId: string, kind: CopyKind, open: ConstructorParameters<typeof HostedCopy>[3]): HostedCopy {
    const { self, timing } = this.#o
    const { durability, readCheck } = kind
    const { node, worker, instance } = self
    const { leaseMs, graceMs, evictAfterMs, retryMs, candidateStepMs } = timing
    const options: CopyOptions = {
      node, instance, volumeId, readCheck, leaseMs, graceMs, evictAfterMs, retryMs, candidateStepMs, ...this.#limits,
      mode: durability,
    }
    const copy = new HostedCopy(options, worker, this, open)
    this.#copies.set(volumeId, copy)
    this.#o.places.forget(volumeId)
    return copy
  }

  // --- what comes --------------------------------------------------------------------------------------------------

  /** Of the transport: whether a frame of a volume is taken. */
  mayReceive({ node }: PeerIdentity, { family, type, volumeId, epoch }: IncomingFrame): FrameRefusal | undefined {
    const copy = this.#copies.get(volumeId)
    if (copy === undefined) return { action: 'skip', why: 'no copy of that volume is here' }
    if (family !== 'copy' || (type !== READS && !BRINGS.has(type))) return undefined
    const config = copy.state.config?.config
    if (config === undefined || hasMember(config, node)) return undefined
    // What we know may be older than what the sender knows; it asks again when we know that too.
    const isStranger = type === READS || epoch <= config.epoch
    return isStranger ? { action: 'skip', why: 'the sender has no copy of that volume', isTold: true } : undefined
  }

  /** Give a message back to the transport when this turn, or the next one, has ended. */
  hold(delivery: Delivery): void {
    this.#delivered.push(delivery)
    this.loop.askForTurn()
  }

  /** A message for a copy, or between workers. */
  deliver(delivery: Delivery): void {
    this.hold(delivery)
    if (delivery.family !== 'link') this.#o.store.foreground.asked()
    const { from, message, volumeId, family } = delivery
    const { node, instance, worker } = from
    if (message.type === 'beacon') this.#links.received({ node, worker }, instance, message)
    else if (message.type === 'ended') this.#toAll({ type: 'instance-ended', node, instance: message.instance })
    else if (family === 'frontend') this.#copies.get(volumeId)?.request(node, worker, message as FrontendMessage)
    else if (family === 'copy') {
      const copy = this.#copies.get(volumeId)
      this.#o.places.heard(volumeId, from)
      if (message.type === 'fill-start' && !isDescriptorOf(volumeId, message.descriptor))
        return this.#refuseFilling(volumeId, node)
      if (message.type === 'fill') copy?.arrived(message.versions, delivery)
      copy?.received(node, instance, message as PeerMessage)
    }
  }

  /** It goes on asking to be filled, and nothing of that filling is taken. */
  #refuseFilling(volumeId: string, peer: NodeId): void {
    const what = 'a filling was refused: what it says of the volume is no descriptor'
    if (this.#isNews(`${volumeId} ${peer}`)) this.#o.log.event('warn', what, { volumeId, peer })
  }

  #isNews(key: string): boolean {
    if (this.#told.has(key) || this.#told.size >= TOLD_MAX) return false
    this.#told.add(key)
    return true
  }

  /** A frontend of this worker asks a copy of this worker. */
  ask(volumeId: string, message: FrontendMessage): void {
    this.#o.store.foreground.asked()
    const { node, worker } = this.#o.self
    this.#copies.get(volumeId)?.request(node, worker, message)
  }

  #toAll(event: CopyEvent): void {
    for (const copy of this.#copies.values()) copy.inbox.put(event)
  }

  // --- of a copy ---------------------------------------------------------------------------------------------------

  sendToCopy(to: NodeId, volumeId: string, message: PeerMessage): void {
    for (const worker of this.#o.places.workersOf(to, volumeId)) this.#o.send({ node: to, worker }, volumeId, message)
  }

  /** A node that is not connected now is sent nothing. */
  takesMarks(to: NodeId, volumeId: string): boolean {
    const { places, versionOf } = this.#o
    const isOfNow = (worker: number): boolean => (versionOf?.({ node: to, worker }) ?? MARKS_SINCE) >= MARKS_SINCE
    return places.workersOf(to, volumeId).every(isOfNow)
  }

  sendToFrontend(to: WorkerAddress, volumeId: string, message: FrontendMessage): void {
    this.#o.send(to, volumeId, message)
  }

  tellFrontend(volumeId: string, message: FrontendMessage): void {
    this.#o.tellFrontend(volumeId, this.#o.self.node, message)
  }

  speaks(copy: HostedCopy): void {
    this.#speaking.push(copy)
  }

  keepsPayload(copy: HostedCopy): void {
    this.#keeping.add(copy)
  }

  /** Whichever worker of that node has its copy: to say it to one that has not costs nothing, not to say it would. */
  left({ volumeId }: HostedCopy, node: NodeId): void {
    if (!this.#arePeersKnown) this.#updatePeers()
    for (const worker of this.#o.places.everyWorkerOf(node, volumeId)) this.#links.left(volumeId, { node, worker })
  }

  nonce(): string {
    return this.#o.nonce()
  }

  configChanged(): void {
    this.#arePeersKnown = false
  }

  leadChanged(): void {
    this.#o.leadChanged?.()
  }

  /**
   * It may be a member again. Each beacon that it gets asks anew; once for each configuration, since the hint may be
   * older than what fenced it: then it reads so again, and the next hint tells.
   */
  wasLetGo({ volumeId, state, store, hintedConfig }: HostedCopy): void {
    if (store?.failedReason !== '') return
    if (hintedConfig?.members[this.#o.self.node]?.copyId !== state.copyId) return
    const { nonce } = hintedConfig
    if (this.#reopenedFor.get(volumeId) === nonce) return
    this.#reopenedFor.set(volumeId, nonce)
    this.reopen(volumeId, (isOpen) => {
      if (!isOpen && this.#reopenedFor.get(volumeId) === nonce) this.#reopenedFor.delete(volumeId)
    })
  }

  damaged(diskUuid: string, volumeId: string, id: VersionId): void {
    this.#diskErrors.damaged(diskUuid, volumeId, id)
  }

  /** What describes a segment of a disk is not what was written. */
  structureDamaged(diskUuid: string, { segment, block }: StructureDamage): void {
    this.#diskErrors.structureDamaged(diskUuid, segment, block)
  }

  disbelieved({ volumeId }: HostedCopy, peer: NodeId, why: string): void {
    const what = 'what a peer says of its log cannot be, and was refused'
    if (this.#isNews(`${volumeId} ${peer} ${why}`)) this.#o.log.event('warn', what, { volumeId, peer, why })
  }

  broken({ volumeId, state }: HostedCopy, error: unknown, event: CopyEvent): void {
    const { log, evidenceDir } = this.#o
    const evidence = saveEvidence(evidenceDir, { volumeId, error, event, state, nowMs: this.loop.nowMs() })
    const problem = error instanceof Error ? error.message : String(error)
    log.event('error', 'a copy met a bug of ours and is fenced', { volumeId, problem, evidence })
  }

  // --- of the links ------------------------------------------------------------------------------------------------

  sendToWorker(to: WorkerAddress, message: LinkMessage): void {
    this.#o.send(to, undefined, message)
  }

  beaconsSent(): void {
    this.#o.beaconsSent()
  }

  /**
   * Every copy is bound unless it knows that another worker has the copy there: the link acknowledges for all of them,
   * which counts for copies of the beacon's own worker, and that one may go on while another stands still.
   */
  beacon({ node, worker }: WorkerAddress, { instance, atMs, commits }: Parameters<LinksOwner['beacon']>[1]): void {
    const { places } = this.#o
    const from = { node, worker, instance }
    const event = { type: 'beacon' as const, from: node, instance, atMs, commitSeq: undefined }
    const told = commits.length === 0 ? undefined
      : new Map(commits.map(([volumeId, ...commit]) => [volumeId, commit] as const))
    for (const copy of this.#copies.values()) {
      const commit = told?.get(copy.volumeId)
      const whole = commit === undefined ? event : { ...event, epoch: commit[0], commitSeq: commit[1] }
      const how = copy.heeds(whole)
      if (how !== 'not' && !places.isElsewhere(copy.volumeId, from)) copy.heard(whole, how)
    }
  }

  /** What a worker acknowledges binds the copies it has itself, and no others of its node. */
  acknowledged({ node, worker }: WorkerAddress, acknowledged: Parameters<LinksOwner['acknowledged']>[1]): void {
    const { instance, sentAtMs, left } = acknowledged
    const event = { type: 'beacon-acknowledged' as const, from: node, instance, sentAtMs, left: false }
    for (const copy of this.#copies.values()) {
      const whole = left.includes(copy.volumeId) ? { ...event, left: true } : event
      const how = copy.heeds(whole)
      if (how !== 'not' && this.#o.places.isAt(copy.volumeId, { node, worker })) copy.heard(whole, how)
    }
  }

  clockDoubt(): void {
    this.#o.log.event('warn', 'the clock jumped, or the worker stood still: leases are taken anew', {})
    for (const copy of this.#copies.values()) copy.doubtClock()
  }

  /** Of volumes that wrote nothing since, nobody else tells the replicas. */
  tellCommits(): void {
    for (const copy of this.#copies.values()) {
      const { state, toldCommitSeq } = copy
      if (!copy.isPrimary || state.log.commitSeq === toldCommitSeq) continue
      copy.toldCommitSeq = state.log.commitSeq
      for (const address of this.#othersOf(copy)) {
        this.#links.committed(copy.volumeId, address, state.promise.epoch, state.log.commitSeq)
      }
    }
  }

  /** Where the other copies of its volume are, or may be. */
  #othersOf({ volumeId, state }: HostedCopy): WorkerAddress[] {
    const { self, places } = this.#o
    const others = Object.keys(state.config?.config.members ?? {}).filter((node) => node !== self.node)
    return others.flatMap((node) => places.workersOf(node, volumeId).map((worker) => ({ node, worker })))
  }

  #updatePeers(): void {
    this.#arePeersKnown = true
    const peers = new Map<string, WorkerAddress>()
    for (const copy of this.#copies.values())
      for (const address of this.#othersOf(copy)) peers.set(linkName(address), address)
    this.#links.setPeers([...peers.values()])
  }

  // --- the end of a turn -------------------------------------------------------------------------------------------

  readonly #flush = (): void => {
    const speaking = this.#speaking
    this.#speaking = []
    for (const copy of speaking) copy.flush()
    if (this.#keeping.size > 0) {
      for (const copy of this.#keeping) copy.letPayloadGo()
      this.#keeping.clear()
    }
    if (!this.#arePeersKnown) this.#updatePeers()
    if (this.#delivered.length === 0) return
    const delivered = this.#delivered
    this.#delivered = []
    for (const delivery of delivered) {
      if (this.#isTaken(delivery)) delivery.release()
      else delivery.done()
    }
  }

  /** Whether nobody needs the memory of a message now but those who count for themselves (`payload-uses.ts`). */
  #isTaken({ message, volumeId }: Delivery): boolean {
    if (message.type === 'append') return true
    return message.type === 'request' && this.#copies.get(volumeId)?.keepsNoRequest !== false
  }

  /** No copy is stepped any more. The store is the owner's to stop. */
  close(): void {
    this.#isClosed = true
    this.#unwatch()
    for (const copy of this.#copies.values()) copy.close()
  }
}

const isRemoved = ({ copy }: VolumeDescriptor): boolean => copy?.isRemoved === true
