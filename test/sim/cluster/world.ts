/**
 * A cluster in virtual time: nodes with copies of one volume, clients behind their frontends, a network, a cluster
 * store, faults and an operator, and the checkers that watch all of it. A run is a function of its seed: faults for a
 * while, then none and everything up again, then everything has to become whole, then the copies are compared.
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
import { ClusterStore, type CasOutcome } from './cluster-store.ts'
import { beginFault, heal } from './faults.ts'
import { Judge } from './judge.ts'
import { LogDisk } from './log-disk.ts'
import { newMemoryStore } from './memory-store.ts'
import { Network } from './network.ts'
import { MemoryDisk, type NodeDisk } from './node-disk.ts'
import { Operator } from './operator.ts'
import type { PlannedEvent } from './plan.ts'
import { checkEnd, isQuiet } from './run-end.ts'
import { SimClient, type ClientWorld } from './sim-client.ts'
import { SimNode, type NodeWorld } from './sim-node.ts'
import { BYTES, NUMBERS, type StampCodec, type Stamps } from './stamps.ts'
import type { Swarm } from './swarm.ts'
import { briefEvent, briefFrontend, briefMessage } from './trace-text.ts'
import { Trace } from './trace.ts'

export interface WorldOptions {
  keepsTrace: boolean
  disksLie: boolean
  /** `real`: that of the engine, with its log format on simulated disks. */
  store: 'real' | 'memory'
}

/** Of a phase: something feeds itself. */
const STEPS_MAX = 5_000_000

const DAMAGING: readonly string[] = ['block-rot', 'disk-rot', 'misdirected-write', 'disk-gone']

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
  readonly counts = { answered: 0, acknowledgedWrites: 0 }
  isHealed = false
  readonly codec: StampCodec
  private readonly storeKind: WorldOptions['store']
  private readonly disksRandom: Random
  private readonly reportsRandom: Random
  /** Frontends that were replaced and still run. */
  private readonly ghosts: SimClient[] = []
  private readonly plan: readonly PlannedEvent[]
  readonly operator: Operator
  readonly atlas = new Atlas((config, node) => this.hasCopy(config, node))
  private incarnations = 0

  constructor(swarm: Swarm, plan: readonly PlannedEvent[], options: WorldOptions) {
    this.swarm = swarm
    this.plan = plan
    const random = new Random(`world ${swarm.seed}`)
    this.clock = new SimClock(random.fork('clock'))
    this.aims = new Aims(this.clock)
    this.storeKind = options.store
    this.codec = options.store === 'real' ? BYTES : NUMBERS
    this.disksRandom = random.fork('disks')
    this.reportsRandom = random.fork('reports')
    this.trace = new Trace(() => this.clock.nowMs(), options.keepsTrace)
    const config = initialConfig(swarm)
    this.network = new Network(this.clock, random.fork('network'), swarm.network)
    this.store = new ClusterStore(this.clock, random.fork('store'), swarm.store, config)
    this.judge = new Judge(this, config)
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
      this.store.watch(name, (value) => this.clients.get(name)!.hint(value))
    }
    this.store.onWon = (value, by) => this.configured(value.config, by)
  }

  get everybody(): string[] {
    return [...this.nodes.keys(), ...this.clients.keys()]
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

  get hasFailed(): boolean {
    return this.violations.length > 0
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
    const { mode, holders } = initialAttach(swarm)
    for (const client of this.clients.values()) {
      const generation = mode === 'open' ? 1 : holders[client.name]
      if (generation !== undefined) this.attach(client, generation)
    }
    for (const event of this.plan) {
      clock.after(event.atMs, () => this.beginOrWait(event))
    }
    this.renewWatches()
    if (this.swarm.faults.some((kind) => DAMAGING.includes(kind))) this.replaceLost()
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
    const { swarm, clock } = this
    heal(this)
    for (const node of this.nodes.values())
      if (node.disk.copyId === '' && this.isMember(node)) this.operator.replace(node)
    const healMs =
      5000 + 40 * (swarm.graceMs + swarm.resendMs + swarm.evictAfterMs + swarm.retryMs) + swarm.operations * 100
    const untilMs = clock.nowMs() + healMs
    this.runUntil(() => clock.nowMs() >= untilMs || isQuiet(this))
    if (this.violations.length === 0) checkEnd(this, healMs)
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

  // ---- of nodes

  newDisk(node: SimNode, copyId: string): void {
    node.witness.diskTaken()
    node.disk = this.diskOf(node.name, copyId)
    this.atlas.forget(node.name)
    this.atlas.check(this.store.current.config)
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
    if (this.storeKind === 'real') return new LogDisk(copyId, clock, random, swarm)
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
      const report = () => other.deliver({ type: 'instance-ended', node, instance })
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

  promiseFound(node: string, epoch: number): void {
    this.judge.report(this.judge.primaries.promiseFound(node, epoch, this.atlas.isHonest(node)))
  }

  private configured(config: VolumeConfig, by: string): void {
    const detail = () => `by ${by}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.trace.note('store', 'configuration', config.epoch, 0, config.primary, detail)
    this.judge.configured(config)
    const before = this.store.history.at(-2)!.config
    const joined = config.inSync.find((name) => !before.inSync.includes(name))
    const left = before.inSync.find((name) => !config.inSync.includes(name))
    if (config.primary !== before.primary) this.aims.saw('new-primary', config.primary, before.primary)
    if (joined !== undefined) this.aims.saw('set-grew', joined, config.primary)
    if (left !== undefined) this.aims.saw('set-shrank', left, config.primary)
    this.atlas.check(config)
  }

  // ---- of clients

  attach({ name }: SimClient, generation: number): void {
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
    attach: initialAttach(swarm),
    nonce: 'first',
  }
}
