/**
 * A cluster in virtual time: nodes with copies of a volume, clients behind their frontends, a network, a cluster
 * store, faults and an operator, and the checkers that watch all of it. A run is a function of its seed: faults for a
 * while, then none and everything up again, then everything has to become whole, then the copies are compared.
 *
 * Several volumes of a cluster are a world each, on the same nodes: the first one has the run and the faults, every one
 * its clients, its configuration, its operator and its checkers.
 */
import type { Attach, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { CommandResult, CopyEvent, VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { CopyFacts } from '../../../engine/replication/copy-store.ts'
import { NO_FENCE } from '../../../engine/replication/session-fence.ts'
import type { Beacon } from '../../../engine/replication/leases.ts'
import type { FrontendMessage, PeerMessage } from '../../../engine/replication/messages.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { SLICE_BLOCKS } from '../../../engine/units.ts'
import { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import type { ClientOperation, Violation } from './checker/history.ts'
import { Aims, type Scene } from './aims.ts'
import { Atlas } from './atlas.ts'
import { CopyOrders } from './copy-orders.ts'
import { ClusterStore, type CasOutcome } from './cluster-store.ts'
import { beginFault, heal } from './faults.ts'
import { Judge } from './judge.ts'
import { LogDisk } from './log-disk.ts'
import { newMemoryStore } from './memory-store.ts'
import { Network } from './network.ts'
import { MemoryDisk, type NodeDisk } from './node-disk.ts'
import { NodeStore } from './node-store.ts'
import { Operator } from './operator.ts'
import type { PlannedEvent } from './plan.ts'
import { checkEnd, isQuiet } from './run-end.ts'
import { SimClient, type ClientWorld } from './sim-client.ts'
import { SimNode, type NodeWorld } from './sim-node.ts'
import { BYTES, NUMBERS, type StampCodec, type Stamps } from './stamps.ts'
import type { Swarm } from './swarm.ts'
import { briefEvent, briefFrontend, briefMessage } from './trace-text.ts'
import { Trace, VolumeTrace } from './trace.ts'
import { checkGone } from './volume-deletion.ts'
import { DAMAGING, swarmsOf, VOLUMES } from './volume-focus.ts'

export interface WorldOptions {
  keepsTrace: boolean
  disksLie: boolean
  /** `real`: that of the engine, with its log format on simulated disks. */
  store: 'real' | 'memory'
}

/** Of a phase: something feeds itself. */
const STEPS_MAX = 5_000_000

/** What says that something is stored. */
const ACKNOWLEDGING: readonly string[] = ['stored', 'promised', 'fenced', 'fill-started', 'filled', 'fill-ended']

/** What makes a primary count more of a member as stored. */
const COUNTED: readonly string[] = ['stored', 'promised', 'fill-started']

export class World implements NodeWorld, ClientWorld {
  readonly swarm: Swarm
  readonly clock: SimClock
  readonly trace: Trace
  readonly network: Network
  readonly store: ClusterStore
  readonly nodes = new Map<string, SimNode>()
  readonly clients = new Map<string, SimClient>()
  readonly judge: Judge
  readonly aims: Aims
  readonly volumeId: string
  /** Of all volumes, in the first one; in the others themselves. */
  readonly worlds: World[] = [this]
  readonly orders: CopyOrders
  isDeleted = false
  readonly counts = { answered: 0, acknowledgedWrites: 0 }
  isHealed = false
  /** No member of the set has everything any more (atlas.ts): what follows is nobody's fault. */
  isBeyond = false
  readonly codec: StampCodec
  private readonly storeKind: WorldOptions['store']
  private readonly disksRandom: Random
  private readonly reportsRandom: Random
  /** Frontends that were replaced and still run. */
  private readonly ghosts: SimClient[] = []
  private readonly plan: readonly PlannedEvent[]
  readonly operator: Operator
  readonly atlas = new Atlas((config, name) => this.hasCopy(config, name) && this.nodes.get(name)!.witness.isConsistent)
  private incarnations = 0
  private readonly first: World

  /** @param first  that of the first volume of the cluster */
  constructor(swarm: Swarm, plan: readonly PlannedEvent[], options: WorldOptions, first?: World) {
    this.swarm = swarm
    this.first = first ?? this
    const volume = first?.worlds.length ?? 0
    this.volumeId = VOLUMES[volume]!
    this.plan = plan.filter((event) => event.volume === volume)
    const random = new Random(`world ${swarm.seed}${first === undefined ? '' : this.volumeId}`)
    const clock = new SimClock(random.fork('clock'))
    this.clock = first?.clock ?? clock
    this.aims = new Aims(this.clock)
    this.storeKind = options.store
    this.codec = options.store === 'real' ? BYTES : NUMBERS
    this.disksRandom = random.fork('disks')
    this.reportsRandom = random.fork('reports')
    this.trace =
      first === undefined
        ? new Trace(() => this.clock.nowMs(), options.keepsTrace)
        : new VolumeTrace(first.trace, this.volumeId)
    const config = initialConfig(swarm, this.volumeId, volume)
    const network = new Network(this.clock, random.fork('network'), swarm.network)
    this.network = first?.network ?? network
    const renewMs = 10 * swarm.graceMs
    this.store = new ClusterStore(this.clock, random.fork('store'), swarm.store, config, renewMs, first?.store)
    this.judge = new Judge(this, config)
    this.operator = new Operator(this)
    this.orders = new CopyOrders(this, new Random(`orders ${swarm.seed} ${this.volumeId}`))
    for (let i = 0; i < swarm.copies + swarm.spares; i++) {
      const name = `n${i + 1}`
      const member = config.members[name]
      const disk = this.diskOf(name, member?.copyId ?? '')
      const lead = first?.nodes.get(name)
      const node = new SimNode(name, this, random.fork(name), swarm.clockRates[i] ?? 1, disk, lead)
      node.diskLies = options.disksLie
      this.nodes.set(name, node)
      if (member === undefined && !swarm.isErasing) node.losePower(0)
      this.store.watch(name, (value) => node.deliver({ type: 'config-hint', value }))
    }
    for (let i = 0; i < swarm.clients; i++) {
      const name = `c${i + 1}`
      const budget = Math.ceil(swarm.operations / swarm.clients)
      const client = new SimClient(name, this, random.fork(name), swarm.clockRates[8 + i] ?? 1, budget)
      this.clients.set(name, client)
      this.store.watch(name, (value) => this.clients.get(name)!.hint(value))
    }
    this.store.onWon = (value, by) => this.configured(value.config, by)
    if (first !== undefined) return
    for (const one of swarmsOf(swarm).slice(1)) this.worlds.push(new World(one, plan, options, this))
  }

  get everybody(): string[] {
    return [...this.nodes.keys(), ...this.clients.keys()]
  }

  /** Those that were replaced and still run, too. */
  get frontends(): SimClient[] {
    return [...this.clients.values(), ...this.ghosts]
  }

  position(): number {
    return this.judge.position()
  }

  get stamps(): Stamps {
    return this.judge.stamps
  }

  get violations(): Violation[] {
    return this.judge.violations
  }

  /** It, or what happens to another volume of the cluster: then the run is over. */
  get hasFailed(): boolean {
    for (const { judge, isBeyond } of this.first.worlds) if (judge.violations.length > 0 || isBeyond) return true
    return false
  }

  // ---- the run

  run(): void {
    for (const world of this.worlds) world.begin()
    this.runUntil(() => this.clock.nowMs() >= this.swarm.faultsUntilMs)
    if (!this.worlds.some(({ isBeyond }) => isBeyond)) this.finish()
  }

  /** Everybody starts, the plan is set. */
  begin(): void {
    const { swarm, clock } = this
    for (const node of this.nodes.values()) if (node.isPowered) node.start()
    const { mode, holders } = initialAttach(swarm)
    for (const client of this.clients.values()) {
      const generation = mode === 'open' ? 1 : holders[client.name]
      if (generation !== undefined) this.attach(client, generation)
    }
    for (const event of this.plan) {
      clock.after(event.atMs, () => this.beginOrWait(event))
    }
    if (this.swarm.faults.some((kind) => DAMAGING.includes(kind))) this.replaceLost()
    if (this.swarm.isErasing) this.orders.begin()
  }

  private beginOrWait(event: PlannedEvent): void {
    const { aim, isAction } = event
    const begin = (scene?: Scene) => {
      if (this.isHealed) return
      if (isAction) this.operator.act(event, scene)
      else beginFault(this, event, scene)
    }
    if (aim === undefined) return begin()
    this.aims.arm(aim.sign, 3 * this.swarm.graceMs, (scene) => {
      if (aim.afterMs === 0) begin(scene)
      else this.clock.after(aim.afterMs, () => begin(scene))
    })
  }

  /** Nothing fails any more; everything has to become whole. */
  finish(): void {
    const { clock } = this
    for (const world of this.worlds) world.heal()
    const healMs = Math.max(...this.worlds.map((world) => world.healMs))
    const untilMs = clock.nowMs() + healMs
    this.runUntil(() => clock.nowMs() >= untilMs || this.worlds.every(isQuiet))
    for (const world of this.worlds) {
      // Time passes while another one's copies are read.
      this.runUntil(() => clock.nowMs() >= untilMs || isQuiet(world))
      if (!this.hasFailed) checkEnd(world, healMs)
    }
    if (!this.hasFailed && this.worlds.some(({ isDeleted }) => isDeleted)) this.startAnew()
  }

  private heal(): void {
    heal(this)
    if (this.isDeleted) return
    for (const node of this.nodes.values())
      if (node.disk.copyId === '' && this.isMember(node)) this.operator.replace(node)
  }

  private get healMs(): number {
    const { graceMs, resendMs, evictAfterMs, retryMs, operations } = this.swarm
    return 5000 + 40 * (graceMs + resendMs + evictAfterMs + retryMs) + operations * 100
  }

  /** What was deleted does not come back with the power. */
  private startAnew(): void {
    for (const node of this.nodes.values()) node.losePower(this.position())
    for (const node of this.nodes.values()) node.start()
    const deleted = this.worlds.filter(({ isDeleted }) => isDeleted)
    const untilMs = this.clock.nowMs() + 20_000
    const isOpen = (world: World): boolean => [...world.nodes.values()].every(({ hasNoCopy }) => hasNoCopy)
    this.runUntil(() => this.clock.nowMs() >= untilMs || deleted.every(isOpen))
    for (const world of deleted) {
      if (!isOpen(world)) world.judge.report([{ checker: 'deleted-is-gone', message: 'a copy came back' }])
      world.judge.report(checkGone(world, 'after a power loss'))
    }
  }

  /** The control plane: a copy that cannot be opened is given up, and its node gets another one. */
  private replaceLost(): void {
    this.clock.after(this.swarm.graceMs, () => {
      for (const node of this.nodes.values()) {
        if (node.disk.wantsRestart) {
          node.kill()
          node.start()
        }
        if (!node.disk.isLost) continue
        this.giveUp(node)
        this.operator.replace(node)
      }
      this.replaceLost()
    })
  }

  private runUntil(condition: () => boolean): void {
    // The condition is not free.
    for (let steps = 0; !this.hasFailed; steps++) {
      if (steps % 32 === 0 && condition()) return
      try {
        if (!this.clock.step()) return
      } catch (error) {
        this.failed({ name: 'world' }, error)
      }
      if (steps > STEPS_MAX) this.judge.report([{ checker: 'progress', message: `no end after ${steps} events` }])
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

  failed(who: { name: string }, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const where = text.split('\n').slice(0, 6).join(' | ')
    this.judge.report([{ checker: 'assert', message: `${who.name}: ${where}` }])
  }

  private checkAtlas(): void {
    if (this.isDeleted || this.atlas.check(this.store.current.config)) return
    this.isBeyond = true
    this.trace.note('world', 'nobody has everything any more')
  }

  // ---- of nodes

  newDisk(node: SimNode, copyId: string): void {
    node.witness.diskTaken()
    node.disk = this.diskOf(node.name, copyId)
    this.atlas.forget(node.name)
    this.checkAtlas()
    this.judge.primaries.forget(node.name)
  }

  /** What its disk held is not to be had: it gets an empty one. */
  giveUp(node: SimNode): void {
    node.losePower(this.position())
    this.newDisk(node, '')
  }

  private diskOf(node: string, copyId: string): NodeDisk {
    const { swarm, clock } = this
    const random = this.disksRandom.fork(node)
    if (this.storeKind === 'real') {
      const shared = this.first === this ? undefined : (this.first.nodes.get(node)!.disk as LogDisk).node
      return new LogDisk(copyId, this.volumeId, shared ?? new NodeStore(clock, random, swarm), clock, swarm)
    }
    const facts: CopyFacts = {
      promise: { epoch: 0, primary: '' },
      attach: NO_FENCE,
      consistency: { state: 'consistent' },
    }
    const sizeBlocks = swarm.slices * SLICE_BLOCKS
    const autoSync = swarm.mode === 'durable'
    const state = newMemoryStore({ copyId, sizeBlocks, sliceBlocks: SLICE_BLOCKS, autoSync, facts })
    return new MemoryDisk(state, clock, random, swarm.disk)
  }

  /** I14. What was decided before its store failed is true, and may leave in the same turn. */
  deciding(from: string, { type }: PeerMessage, knowsFailure: boolean): void {
    if (knowsFailure && ACKNOWLEDGING.includes(type)) this.judge.acknowledges(from, type)
  }

  send(from: string, instance: string, to: string, message: PeerMessage): void {
    if (message.type === 'promised' || message.type === 'stored') this.judge.promiseUsed(from, message.epoch)
    if (message.type === 'fenced') this.judge.fenceUsed(from, message.fence)
    const seq =
      'seq' in message ? message.seq : 'tail' in message && typeof message.tail === 'number' ? message.tail : 0
    this.trace.note(
      from,
      message.type,
      'epoch' in message ? message.epoch : 0,
      seq,
      to,
      () => `to ${to}${briefMessage(message)}`,
    )
    this.network.send(from, to, () => this.nodes.get(to)?.deliver({ type: 'message', from, instance, message }))
    this.aims.saw(message.type, from, to)
  }

  reply(from: string, to: string, message: FrontendMessage): void {
    const epoch = 'epoch' in message ? message.epoch : 0
    this.trace.note(from, message.type, epoch, 0, to, () => `to ${to}${briefFrontend(message)}`)
    this.network.send(from, to, () => {
      this.judge.answered(message)
      this.clients.get(to)?.message(from, message)
      for (const ghost of this.ghosts) if (ghost.name === to) ghost.message(from, message)
    })
    this.aims.saw(message.type, from, to)
  }

  readConfig(user: string, ended: (value: VersionedConfig | undefined) => void): void {
    this.store.read(user, ended)
  }

  compareAndSwap(node: string, version: string, config: VolumeConfig, ended: (outcome: CasOutcome) => void): void {
    const detail = () => `${version}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.trace.note(node, 'cas', config.epoch, 0, version, detail)
    this.aims.saw('cas', node, config.primary)
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
      const report = () => other.deliverToAll({ type: 'instance-ended', node, instance })
      const isLate = this.reportsRandom.chance(this.swarm.lateReportRate)
      if (!isLate || this.reportsRandom.chance(0.5)) this.network.send(node, other.name, report)
      if (isLate) this.clock.after(this.reportsRandom.float() * 3 * this.swarm.graceMs, report)
    }
  }

  othersOf(node: string): string[] {
    return [...this.nodes.keys()].filter((other) => other !== node)
  }

  beacon(beacon: Beacon): void {
    this.network.send(beacon.from, beacon.to, () => this.nodes.get(beacon.to)?.beacon(beacon))
  }

  stepped(node: SimNode, event: CopyEvent): void {
    const copy = node.process?.copy
    this.judge.stepped(node.name, copy)
    const { openCopy } = node
    if (openCopy !== undefined && this.atlas.lostPower(node.name, !openCopy.isWhole)) this.checkAtlas()
    if (event.type === 'message' && COUNTED.includes(event.message.type)) this.judge.counted(node.name, copy)
    if (copy !== undefined && copy.role !== node.lastRole) {
      node.lastRole = copy.role
      this.aims.saw(copy.role, node.name, copy.promise.primary)
    }
    if (copy === undefined || event.type === 'tick' || event.type === 'beacon') return
    if (event.type === 'beacon-acknowledged' && event.left !== true) return
    const { role, promise, log } = copy
    const detail = () => `${role}, commit ${log.commitSeq}${briefEvent(event)}`
    this.trace.note(node.name, event.type, promise.epoch, log.tail, role, detail)
  }

  // ---- of witnesses

  replying(from: string, to: string, message: FrontendMessage): void {
    this.judge.replying(from, to, message)
  }

  applied(node: string, record: ReplicatedRecord): void {
    this.judge.applied(node, record)
  }

  promiseTold(node: string, epoch: number): void {
    this.trace.note(node, 'promise', epoch)
    this.judge.report(this.judge.primaries.promiseTold(node, epoch))
  }

  promiseKept(node: string, epoch: number): void {
    this.judge.primaries.promiseKept(node, epoch)
  }

  /** What it kept when it was open on other disks than now it may have forgotten (D7). */
  promiseFound(node: string, epoch: number, isWhole: boolean): void {
    this.judge.report(this.judge.primaries.promiseFound(node, epoch, isWhole && this.atlas.isHonest(node)))
  }

  /** What a disk lost that did not lie is found elsewhere: by the checkers. */
  cameBackShort(node: string): boolean {
    const hasLied = !this.atlas.isHonest(node)
    if (!hasLied) return false
    this.atlas.cameBackShort(node)
    this.nodes.get(node)!.witness.forgottenSeq = 0
    return true
  }

  /** What was written and not synced may be gone: in `writeback` it may have been answered. */
  lostPower(node: string): void {
    if (this.swarm.mode === 'writeback' && this.atlas.lostPower(node, true)) this.checkAtlas()
  }

  /** On the same disk: what was there is gone. */
  copyErased(name: string): void {
    this.trace.note(name, 'has no copy')
    const node = this.nodes.get(name)!
    node.witness.diskTaken()
    this.atlas.forget(name)
    this.checkAtlas()
    this.judge.primaries.forget(name)
  }

  fillStarts(_node: string): void {
    this.checkAtlas()
  }

  filled(node: string): void {
    this.atlas.broughtInLine([node])
  }

  private configured(config: VolumeConfig, by: string): void {
    const detail = () => `by ${by}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.trace.note('store', 'configuration', config.epoch, 0, config.primary, detail)
    this.judge.configured(config, by)
    const before = this.store.history.at(-2)!.config
    const joined = config.inSync.find((name) => !before.inSync.includes(name))
    const left = before.inSync.find((name) => !config.inSync.includes(name))
    if (config.primary !== before.primary) this.aims.saw('new-primary', config.primary, before.primary)
    if (joined !== undefined) this.aims.saw('set-grew', joined, config.primary)
    if (left !== undefined) this.aims.saw('set-shrank', left, config.primary)
    this.checkAtlas()
  }

  // ---- of clients

  attach({ name }: SimClient, generation: number): void {
    if (this.isDeleted) return
    this.trace.note(name, 'attach', 0, 0, generation)
    // Its frontend may have been replaced since this was asked for: a ghost is not attached anew.
    this.clients.get(name)!.attach({ generation, incarnation: ++this.incarnations })
  }

  /** A frontend is replaced by another one, and goes on; it hears nothing for so long. */
  haunt(client: SimClient, deafMs: number): void {
    const { generation } = client.session!
    const { name } = client
    const random = new Random(`ghost of ${name} ${++this.incarnations}`)
    const successor = new SimClient(name, this, random, client.time.rate, Math.ceil(client.budget / 2))
    client.budget = Math.min(client.budget, 3)
    client.deafUntilMs = this.clock.nowMs() + deafMs
    this.ghosts.push(client)
    this.clients.set(name, successor)
    this.attach(successor, generation)
  }

  record(op: ClientOperation): void {
    this.judge.invoked(op)
  }

  sendToCopy(client: string, to: string, message: FrontendMessage): void {
    this.trace.note(client, message.type, 0, 0, to, () => `to ${to}${briefFrontend(message)}`)
    this.judge.sent(message)
    this.network.send(client, to, () => {
      const node = this.nodes.get(to)
      if (node === undefined) return
      this.judge.arrived(to, message)
      node.deliver({ type: 'frontend', from: client, message })
    })
  }

  clientAnswered(client: SimClient, kind: ClientOperation['kind'], result: string): void {
    this.trace.note(client.name, 'answered', 0, 0, `${kind} ${result}`)
    this.counts.answered++
    // Of each block some member has the bytes (atlas.ts).
    if (result === 'damaged' && this.storeKind === 'real') {
      this.judge.report([{ checker: 'progress', message: `${client.name} is told that a block is damaged` }])
    }
    if (result === 'ok' && kind !== 'read' && kind !== 'flush') this.counts.acknowledgedWrites++
    if (result === 'ok' || client.session === undefined) return
    const { generation } = client.session
    if (client.ended === undefined) return
    client.detach()
    if (this.ghosts.includes(client)) return
    if (client.ended === 'stale-session') this.judge.refused(client.name, generation)
    if (client.ended === 'session-broken') this.operator.attachAnew(client, generation)
    else client.lastGeneration = 0
  }
}

/** Of a volume that several may hold, everybody does. */
function initialAttach({ attachMode: mode, clients }: Swarm): Attach {
  if (mode === 'open') return { generation: 1, mode, holders: {} }
  const count = mode === 'single' ? 1 : clients
  const holders = Object.fromEntries(Array.from({ length: count }, (_, i) => [`c${i + 1}`, i + 1]))
  return { generation: count, mode, holders }
}

/** Each volume of a cluster begins on another node. */
function initialConfig(swarm: Swarm, volumeId: string, firstNode: number): VolumeConfig {
  const nodes = swarm.copies + swarm.spares
  const inSync = Array.from({ length: swarm.copies }, (_, i) => `n${((i + firstNode) % nodes) + 1}`)
  const members: VolumeConfig['members'] = {}
  for (const name of inSync) members[name] = { copyId: `copy-${name}`, state: 'in-sync' }
  return {
    volumeId,
    epoch: 1,
    primary: inSync[0]!,
    inSync,
    members,
    minInSync: swarm.minInSync,
    attach: initialAttach(swarm),
    nonce: 'first',
  }
}
