/**
 * A cluster in virtual time: nodes with copies of one volume, clients behind their frontends, a network, a cluster
 * store, faults and an operator, and the checkers that watch all of it. A run is a function of its seed: faults for a
 * while, then none and everything up again, then everything has to become whole, then the copies are compared.
 */
import { FORCED_EPOCH_STEP, type VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { CommandResult, CopyEvent, VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { CopyFacts } from '../../../engine/replication/copy-store.ts'
import type { Beacon } from '../../../engine/replication/leases.ts'
import type { FrontendMessage, PeerMessage } from '../../../engine/replication/messages.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { SLICE_BLOCKS } from '../../../engine/units.ts'
import { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import { checkAnswer, checkAnswered, checkFlush } from './checker/acknowledged-is-durable.ts'
import { CommittedLog, checkContent, type CopyContent } from './checker/copies-identical.ts'
import { requestKey, type ClientOperation, type LoggedRecord, type Violation } from './checker/history.ts'
import { checkCopiesAfterRemoval, checkReadsAfterRemoval } from './checker/nothing-comes-back.ts'
import { OnePrimaryPerEpoch } from './checker/one-primary-per-epoch.ts'
import { checkProgress } from './checker/progress.ts'
import { checkReadsMatchHistory } from './checker/reads-match-history.ts'
import { ClusterStore, type CasOutcome } from './cluster-store.ts'
import { beginFault, heal } from './faults.ts'
import { LogDisk } from './log-disk.ts'
import { newMemoryStore } from './memory-store.ts'
import { Network } from './network.ts'
import { MemoryDisk, type NodeDisk } from './node-disk.ts'
import { Operator } from './operator.ts'
import type { PlannedEvent } from './plan.ts'
import { SimClient, type ClientWorld } from './sim-client.ts'
import { SimNode, type NodeWorld } from './sim-node.ts'
import { BYTES, NUMBERS, Stamps, type StampCodec } from './stamps.ts'
import type { Swarm } from './swarm.ts'
import { Trace } from './trace.ts'
import { visibleAt, type VersionMap } from './version-map.ts'

export interface WorldOptions {
  keepsTrace: boolean
  disksLie: boolean
  /** `real`: that of the engine, with its log format on simulated disks. */
  store: 'real' | 'memory'
}

/** Of a phase: something feeds itself. */
const STEPS_MAX = 5_000_000

export class World implements NodeWorld, ClientWorld {
  readonly swarm: Swarm
  readonly clock: SimClock
  readonly trace: Trace
  readonly network: Network
  readonly store: ClusterStore
  readonly nodes = new Map<string, SimNode>()
  readonly clients = new Map<string, SimClient>()
  readonly stamps = new Stamps()
  readonly violations: Violation[] = []
  readonly operations: ClientOperation[] = []
  readonly committed = new CommittedLog()
  readonly counts = { answered: 0, acknowledgedWrites: 0 }
  isHealed = false
  readonly codec: StampCodec
  private readonly storeKind: WorldOptions['store']
  private readonly disksRandom: Random
  private readonly plan: readonly PlannedEvent[]
  private readonly primaries: OnePrimaryPerEpoch
  readonly operator: Operator
  private positions = 0
  private incarnations = 0
  /** When a request came to a node first. */
  private readonly arrivals = new Map<string, number>()
  /** Of flushes: the highest seq answered when they were sent. */
  private readonly flushBounds = new Map<string, number>()
  private readonly flushed = { seq: 0 }
  private answeredSeq = 0
  private afterStep: Array<() => void> = []
  private brokenGeneration = 0
  private readonly answeredRequests = new Set<string>()
  /** Of each committed record, when it was applied first. */
  private appliedAt: number[] = []

  constructor(swarm: Swarm, plan: readonly PlannedEvent[], options: WorldOptions) {
    this.swarm = swarm
    this.plan = plan
    const random = new Random(`world ${swarm.seed}`)
    this.clock = new SimClock(random.fork('clock'))
    this.storeKind = options.store
    this.codec = options.store === 'real' ? BYTES : NUMBERS
    this.disksRandom = random.fork('disks')
    this.trace = new Trace(() => this.clock.nowMs(), options.keepsTrace)
    const config = initialConfig(swarm)
    this.network = new Network(this.clock, random.fork('network'), swarm.network)
    this.store = new ClusterStore(this.clock, random.fork('store'), swarm.store, config)
    this.primaries = new OnePrimaryPerEpoch(config)
    this.operator = new Operator(this)
    for (let i = 0; i < swarm.copies + swarm.spares; i++) {
      const name = `n${i + 1}`
      const member = config.members[name]
      const disk = this.diskOf(name, member?.copyId ?? '')
      const node = new SimNode(name, this, random.fork(name), swarm.clockRates[i] ?? 1, disk)
      node.diskLies = options.disksLie
      this.nodes.set(name, node)
      if (member === undefined) node.losePower(0)
      this.store.watch(name, (value) => node.deliver({ type: 'config-hint', value }))
    }
    for (let i = 0; i < swarm.clients; i++) {
      const name = `c${i + 1}`
      const budget = Math.ceil(swarm.operations / swarm.clients)
      const client = new SimClient(name, this, random.fork(name), swarm.clockRates[8 + i] ?? 1, budget)
      this.clients.set(name, client)
      this.store.watch(name, (value) => client.hint(value))
    }
    this.store.onWon = (value, by) => this.configured(value.config, by)
  }

  get everybody(): string[] {
    return [...this.nodes.keys(), ...this.clients.keys()]
  }

  position(): number {
    return ++this.positions
  }

  // ---- the run

  run(): void {
    this.begin()
    this.runUntil(() => this.clock.nowMs() >= this.swarm.faultsUntilMs)
    this.finish()
  }

  /** Everybody starts, the plan is set. */
  begin(): void {
    const { swarm, clock } = this
    for (const node of this.nodes.values()) if (node.isPowered) node.start()
    const attached = swarm.attachMode === 'single' ? [this.clients.get('c1')!] : [...this.clients.values()]
    for (const client of attached) this.attach(client, 1)
    for (const event of this.plan) {
      clock.after(event.atMs, () => (event.isAction ? this.operator.act(event) : beginFault(this, event)))
    }
    this.renewWatches()
  }

  /** Nothing fails any more; everything has to become whole. */
  finish(): void {
    const { swarm, clock } = this
    heal(this)
    for (const node of this.nodes.values())
      if (node.disk.copyId === '' && this.isMember(node)) this.operator.replace(node)
    const healMs =
      5000 + 40 * (swarm.graceMs + swarm.resendMs + swarm.evictAfterMs + swarm.retryMs) + swarm.operations * 100
    const untilMs = clock.nowMs() + healMs
    this.runUntil(() => clock.nowMs() >= untilMs || this.isQuiet())
    if (this.violations.length === 0) this.checkEnd(healMs)
  }

  /** Shells list again now and then, since hints may be lost. */
  private renewWatches(): void {
    this.clock.after(10 * this.swarm.graceMs, () => {
      this.store.hintAll()
      this.renewWatches()
    })
  }

  private runUntil(condition: () => boolean): void {
    // The condition is not free.
    for (let steps = 0; this.violations.length === 0; steps++) {
      if (steps % 32 === 0 && condition()) return
      try {
        if (!this.clock.step()) return
      } catch (error) {
        this.failed({ name: 'world' }, error)
      }
      if (steps > STEPS_MAX) this.report([{ checker: 'progress', message: `no end after ${steps} events` }])
    }
  }

  private isMember({ name }: SimNode): boolean {
    return this.store.current.config.members[name] !== undefined
  }

  /** Whether a member has the copy that it is named with, and takes part. */
  hasCopy({ members }: VolumeConfig, name: string): boolean {
    const { disk, role } = this.nodes.get(name)!
    return disk.copyId === members[name]?.copyId && !role.includes('fenced')
  }

  private get healthy(): SimNode[] {
    const { members } = this.store.current.config
    return [...this.nodes.values()].filter(
      ({ name, disk, process }) => process !== undefined && members[name]?.copyId === disk.copyId,
    )
  }

  private isQuiet(): boolean {
    const { inSync } = this.store.current.config
    if (this.operator.isBusy) return false
    if ([...this.clients.values()].some((client) => client.session !== undefined && !client.isDone)) return false
    const tail = this.committed.log.length
    return this.healthy.every(({ name, witness, process }) => {
      return process?.copy.isRecovered && inSync.includes(name) && witness.appliedSeq === tail
    })
  }

  private checkEnd(healMs: number): void {
    const unanswered = [...this.clients.values()].flatMap((client) => client.unanswered)
    const healthy = this.healthy.map(({ name }) => name)
    const roles = new Map([...this.nodes].map(([name, { role }]) => [name, role] as const))
    const { config } = this.store.current
    // Without any copy of the set only an operator's force helps.
    const isLost = !config.inSync.some((name) => this.hasCopy(config, name))
    if (!isLost) this.report(checkProgress({ healMs, unanswered, config, healthy, roles }))
    const history = { operations: this.operations, eras: this.committed.eras, bases: this.stamps.bases }
    this.report(checkReadsAfterRemoval(history))
    this.report(checkAnswered(history))
    this.report(checkReadsMatchHistory(history))
    if (isLost) return
    if (!this.isQuiet()) {
      const behind = this.healthy.map(({ name, witness }) => `${name} ${witness.appliedSeq}`).join(', ')
      this.report([{ checker: 'progress', message: `not all applied ${this.committed.log.length}: ${behind}` }])
      return
    }
    const copies = this.healthy.flatMap((node) => this.contentOf(node) ?? [])
    this.report(checkCopiesAfterRemoval(copies, this.committed.log))
    this.report(checkContent(copies, this.committed.log))
  }

  private contentOf({ name, disk }: SimNode): CopyContent | undefined {
    let isRead = false
    let held: VersionMap | undefined
    disk.content((versions) => {
      isRead = true
      held = versions
    })
    while (!isRead && this.clock.step());
    const view = held
    if (view === undefined) {
      this.report([{ checker: 'copies-identical', message: `${name} cannot be read` }])
      return undefined
    }
    const at = (point: number) => {
      const blocks = new Map<number, number>()
      for (const lba of view.blocks.keys()) blocks.set(lba, this.codec.stampOf(visibleAt(view, lba, point)))
      return blocks
    }
    const snapshots = new Map(view.snapshots.map(({ id, seq }) => [id, at(seq)] as const))
    return { node: name, head: at(Infinity), snapshots }
  }

  report(violations: readonly Violation[]): void {
    for (const violation of violations) {
      this.violations.push(violation)
      this.trace.note('VIOLATION', violation.checker, 0, 0, violation.message)
    }
  }

  failed(who: { name: string }, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const where = text.split('\n').slice(0, 6).join(' | ')
    this.report([{ checker: 'assert', message: `${who.name}: ${where}` }])
  }

  // ---- of nodes

  newDisk(node: SimNode, copyId: string): void {
    node.disk = this.diskOf(node.name, copyId)
    this.primaries.forget(node.name)
  }

  private diskOf(node: string, copyId: string): NodeDisk {
    const { swarm, clock } = this
    const random = this.disksRandom.fork(node)
    if (this.storeKind === 'real') return new LogDisk(copyId, clock, random, swarm)
    const facts: CopyFacts = {
      promise: { epoch: 0, primary: '' },
      attach: { generation: 0, incarnation: 0 },
      consistency: { state: 'consistent' },
    }
    const sizeBlocks = swarm.slices * SLICE_BLOCKS
    const autoSync = swarm.mode === 'durable'
    const state = newMemoryStore({ copyId, sizeBlocks, sliceBlocks: SLICE_BLOCKS, autoSync, facts })
    return new MemoryDisk(state, clock, random, swarm.disk)
  }

  send(from: string, instance: string, to: string, message: PeerMessage): void {
    const node = this.nodes.get(from)!
    if (message.type === 'promised' || message.type === 'stored') {
      this.report(this.primaries.promiseUsed(from, message.epoch, node.witness.durablePromise))
    }
    const seq =
      'seq' in message ? message.seq : 'tail' in message && typeof message.tail === 'number' ? message.tail : 0
    this.trace.note(
      from,
      message.type,
      'epoch' in message ? message.epoch : 0,
      seq,
      to,
      () => `to ${to}${brief(message)}`,
    )
    this.network.send(from, to, () => this.nodes.get(to)?.deliver({ type: 'message', from, instance, message }))
  }

  replying(from: string, message: FrontendMessage): void {
    const at = this.position()
    if (message.type === 'opened') this.primaries.opened(message.session.generation, at)
    if (message.type !== 'reply' || !message.result.ok) return
    const { id, epoch } = message
    const key = requestKey(id)
    const arrivedAt = this.arrivals.get(`${from} ${key}`) ?? at
    const flushBound = this.flushBounds.get(key)
    const isRead = flushBound === undefined && !this.isChange(key)
    const isOpen = this.swarm.attachMode === 'open'
    const what = {
      kind: isRead ? ('read' as const) : ('write' as const),
      generation: id.generation,
      isOpen,
      arrivedAt,
      at,
    }
    this.report(this.primaries.served(from, epoch, what))
    if (id.generation <= this.brokenGeneration) {
      const message = `${from} answers ${key} of a session that lost answers which were not flushed`
      this.report([{ checker: 'acknowledged-is-durable', message }])
    }
    if (isRead) return
    const members = this.store.current.config.inSync.map((name) => this.nodes.get(name)!.witness)
    if (flushBound !== undefined) {
      this.report(checkFlush(key, flushBound, members))
      this.flushed.seq = Math.max(this.flushed.seq, flushBound)
      return
    }
    const isRepeated = this.answeredRequests.has(key)
    this.answeredRequests.add(key)
    if (isRepeated && this.swarm.mode === 'writeback') return
    const mustBeDurable = this.swarm.mode === 'durable' || this.fuaRequests.has(key)
    // In its step a copy may answer first and apply then.
    this.afterStep.push(() => this.report(checkAnswer(key, this.committed.idOf(key), members, mustBeDurable)))
  }

  reply(from: string, to: string, message: FrontendMessage): void {
    const epoch = 'epoch' in message ? message.epoch : 0
    this.trace.note(from, message.type, epoch, 0, to, () => `to ${to}${briefFrontend(message)}`)
    this.network.send(from, to, () => {
      if (message.type === 'reply' && message.result.ok) {
        const id = this.committed.idOf(requestKey(message.id))
        if (id !== undefined) this.answeredSeq = Math.max(this.answeredSeq, id.seq)
      }
      this.clients.get(to)?.message(from, message)
    })
  }

  readConfig(user: string, ended: (value: VersionedConfig | undefined) => void): void {
    this.store.read(user, ended)
  }

  compareAndSwap(node: string, version: string, config: VolumeConfig, ended: (outcome: CasOutcome) => void): void {
    const detail = () => `${version}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.trace.note(node, 'cas', config.epoch, 0, version, detail)
    this.store.compareAndSwap(node, version, config, (outcome) => {
      this.trace.note(node, `cas ${outcome.outcome}`, config.epoch)
      ended(outcome)
    })
  }

  commandEnded(_node: string, token: number, result: CommandResult): void {
    this.operator.ended(token, result)
  }

  processEnded(node: string, instance: string): void {
    this.trace.note(node, 'process ended', 0, 0, instance)
    if (!this.swarm.supervisorReports) return
    for (const other of this.nodes.values()) {
      if (other.name === node) continue
      this.network.send(node, other.name, () => other.deliver({ type: 'instance-ended', node, instance }))
    }
  }

  get hasFailed(): boolean {
    return this.violations.length > 0
  }

  othersOf(node: string): string[] {
    return [...this.nodes.keys()].filter((other) => other !== node)
  }

  beacon(beacon: Beacon): void {
    this.network.send(beacon.from, beacon.to, () => this.nodes.get(beacon.to)?.beacon(beacon))
  }

  stepped(node: SimNode, event: CopyEvent): void {
    if (this.afterStep.length > 0) {
      for (const check of this.afterStep) check()
      this.afterStep = []
    }
    const copy = node.process?.copy
    if (copy === undefined || event.type === 'tick' || event.type === 'beacon') return
    if (event.type === 'beacon-acknowledged' && event.left !== true) return
    const { role, promise, log } = copy
    const detail = () => `${role}, commit ${log.commitSeq}${briefEvent(event)}`
    this.trace.note(node.name, event.type, promise.epoch, log.tail, role, detail)
  }

  // ---- of witnesses

  applied(node: string, record: ReplicatedRecord): void {
    const at = this.position()
    const logged = loggedRecord(record, this.codec)
    const { log } = this.committed
    const known = log.length
    const eraCount = this.committed.eras.length
    const isOut = !this.store.current.config.inSync.includes(node)
    this.report(this.committed.applied(node, logged, at, (seq) => this.mayLose(seq, record.epoch), isOut))
    if (this.committed.eras.length > eraCount) this.eraEnded(log.slice(record.seq - 1), record.epoch)
    else if (record.seq <= known || this.committed.log.length === known) return
    this.appliedAt.length = record.seq - 1
    this.appliedAt.push(at)
    logged.stamps.forEach((stamp, i) => {
      const origin = this.stamps.origin(stamp)
      if (stamp === 0 || origin?.lba === logged.lba + i) return
      const message = `seq ${record.seq} puts ${stamp} into block ${logged.lba + i}; it was written to ${origin?.lba}`
      this.report([{ checker: 'copies-identical', message }])
    })
  }

  promiseTold(node: string, epoch: number): void {
    this.trace.note(node, 'promise', epoch)
    this.report(this.primaries.promiseKept(node, epoch))
  }

  /** A forced promotion may lose anything; the loss of power everywhere what was not flushed. */
  private mayLose(seq: number, epoch: number): boolean {
    const { history } = this.store
    const known = this.committed.log[seq - 1]!
    if (epoch - known.epoch >= FORCED_EPOCH_STEP) return true
    if (this.swarm.mode === 'durable' || seq <= this.flushed.seq) return false
    const before = history.findLast(({ config }) => config.epoch < epoch)!.config
    return before.inSync.every((name) => this.nodes.get(name)!.lastPowerLoss > this.appliedAt[seq - 1]!)
  }

  /** S6: who was answered what is gone now must be told. */
  private eraEnded(lost: readonly LoggedRecord[], epoch: number): void {
    const cutSeq = lost[0]!.seq - 1
    this.trace.note('world', 'era ended', epoch, cutSeq, lost.length)
    this.answeredSeq = Math.min(this.answeredSeq, cutSeq)
    for (const [key, seq] of this.flushBounds) this.flushBounds.set(key, Math.min(seq, cutSeq))
    if (epoch - lost[0]!.epoch >= FORCED_EPOCH_STEP) return
    for (const { request } of lost) {
      if (!this.answeredRequests.has(request)) continue
      this.brokenGeneration = Math.max(this.brokenGeneration, Number(request.split('.')[0]))
    }
  }

  private configured(config: VolumeConfig, by: string): void {
    const detail = () => `by ${by}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.trace.note('store', 'configuration', config.epoch, 0, config.primary, detail)
    const before = this.store.history.at(-2)!.config
    const joined = config.inSync.filter((name) => !before.inSync.includes(name))
    const id = this.committed.log[this.answeredSeq - 1]
    if (joined.length > 0 && id !== undefined && config.epoch - before.epoch < FORCED_EPOCH_STEP) {
      const members = joined.map((name) => this.nodes.get(name)!.witness)
      this.report(checkAnswer('that was last answered', id, members, this.swarm.mode === 'durable'))
    }
    this.report(this.primaries.configured(config, (node) => this.nodes.get(node)?.witness.isConsistent ?? false))
  }

  // ---- of clients

  attach(client: SimClient, generation: number): void {
    this.trace.note(client.name, 'attach', 0, 0, generation)
    client.attach({ generation, incarnation: ++this.incarnations })
  }

  record(op: ClientOperation): void {
    this.operations.push(op)
    if (op.request !== '' && op.kind !== 'read') this.changes.add(op.request)
  }

  sendToCopy(client: string, to: string, message: FrontendMessage): void {
    this.trace.note(client, message.type, 0, 0, to, () => `to ${to}${briefFrontend(message)}`)
    const key = message.type === 'request' ? requestKey(message.id) : ''
    if (message.type === 'request') {
      const { operation } = message
      if (operation.type === 'flush' && !this.flushBounds.has(key)) this.flushBounds.set(key, this.answeredSeq)
      if ('fua' in operation && operation.fua) this.fuaRequests.add(key)
    }
    this.network.send(client, to, () => {
      const node = this.nodes.get(to)
      if (node === undefined) return
      const arrival = `${to} ${key}`
      if (key !== '' && !this.arrivals.has(arrival)) this.arrivals.set(arrival, this.position())
      node.deliver({ type: 'frontend', from: client, message })
    })
  }

  clientAnswered(client: SimClient, kind: ClientOperation['kind'], result: string): void {
    this.trace.note(client.name, 'answered', 0, 0, `${kind} ${result}`)
    this.counts.answered++
    if (result === 'ok' && kind !== 'read' && kind !== 'flush') this.counts.acknowledgedWrites++
    if (result === 'ok' || client.session === undefined) return
    const { generation } = client.session
    if (client.ended === undefined) return
    client.detach()
    if (client.ended === 'session-broken') this.operator.attachAnew(client, generation)
    else client.lastGeneration = 0
  }

  private readonly changes = new Set<string>()
  private readonly fuaRequests = new Set<string>()

  private isChange(key: string): boolean {
    return this.changes.has(key)
  }
}

function initialConfig(swarm: Swarm): VolumeConfig {
  const inSync = Array.from({ length: swarm.copies }, (_, i) => `n${i + 1}`)
  const members: VolumeConfig['members'] = {}
  for (const name of inSync) members[name] = { copyId: `copy-${name}`, state: 'in-sync' }
  return {
    volumeId: 'v',
    epoch: 1,
    primary: 'n1',
    inSync,
    members,
    minInSync: swarm.minInSync,
    attach: { generation: 1, mode: swarm.attachMode, holders: ['c1'] },
    nonce: 'first',
  }
}

function loggedRecord(record: ReplicatedRecord, codec: StampCodec): LoggedRecord {
  const { epoch, seq, kind } = record
  const request = record.request === undefined ? '' : requestKey(record.request)
  if (kind === 'control')
    return { epoch, seq, kind, lba: 0, blockCount: 0, stamps: [], request, change: record.change }
  const { lba, blockCount } = record
  return {
    epoch,
    seq,
    kind,
    lba,
    blockCount,
    stamps: kind === 'write' ? codec.stampsOf(record.payload) : [],
    request,
    change: undefined,
  }
}

function briefEvent(event: CopyEvent): string {
  switch (event.type) {
    case 'message':
      return `; ${event.message.type} of ${event.from}`
    case 'frontend':
      return `; ${event.message.type} of ${event.from}`
    case 'config-read':
    case 'config-hint': {
      const config = event.value?.config
      if (config === undefined) return '; nothing'
      return `; epoch ${config.epoch}, primary ${config.primary}, set ${config.inSync.join('+')}`
    }
    case 'stored':
      return `; ${event.seq}, durable ${event.durableSeq}`
    case 'scanned':
      return event.ok ? `; ${event.versions.length} versions` : '; cannot be read'
    case 'read-ended':
    case 'looked-up':
      return event.ok ? '' : '; cannot be read'
    case 'instance-ended':
      return `; ${event.instance}`
    default:
      return ''
  }
}

function brief(message: PeerMessage): string {
  switch (message.type) {
    case 'append':
      return `${message.records.map(({ epoch, seq }) => ` (${epoch}, ${seq})`).join('')} after ${message.previous.seq}`
    case 'stored':
      return ` durable ${message.durableSeq}`
    case 'refused':
      return ` ${message.why}, promised ${message.promised.epoch} of ${message.promised.primary}`
    case 'promised':
    case 'hello':
    case 'join':
      return ` commit ${message.commitSeq}, epochs ${JSON.stringify(message.epochs)}, ${message.consistency.state}`
    case 'reconcile':
      return ` fork ${message.fork.seq}, ${message.records.length} records`
    case 'fill-start':
      return ` fork ${message.fork}, target ${message.target}`
    default:
      return ''
  }
}

function briefFrontend(message: FrontendMessage): string {
  switch (message.type) {
    case 'request':
      return ` ${requestKey(message.id)} ${message.operation.type}`
    case 'reply':
      return ` ${requestKey(message.id)} ${message.result.ok ? 'ok' : message.result.code}`
    case 'redirect':
      return ` primary ${message.primary ?? 'unknown'}`
    default:
      return ` ${message.session.generation}.${message.session.incarnation}`
  }
}
