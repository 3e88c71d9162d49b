/**
 * A cluster in virtual time: nodes with copies of a volume, clients behind their frontends, a network, a cluster
 * store, faults and an operator, and the checkers that watch all of it. A run is a function of its seed: faults for a
 * while, then none and everything up again, then everything has to become whole, then the copies are compared.
 *
 * Several volumes of a cluster are a world each, on the same nodes: the first one has the run and the faults, every one
 * its clients, its configuration, its operator and its checkers. Here is what they consist of; `course.ts` has the run,
 * `node-host.ts` and `client-host.ts` what nodes and frontends ask of the world.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { CopyFacts } from '../../../engine/replication/copy-store.ts'
import { NO_FENCE } from '../../../engine/replication/session-fence.ts'
import { GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import type { Violation } from './checker/history.ts'
import { Aims } from './aims.ts'
import { Atlas } from './atlas.ts'
import { CopyOrders } from './copy-orders.ts'
import { ClientHost } from './client-host.ts'
import { isHydratedAtEnd } from './clone-focus.ts'
import { noClones, type CloneMaker } from './clone-maker.ts'
import { ClusterStore } from './cluster-store.ts'
import { initialConfig } from './first-config.ts'
import type { GroupTaker } from './group-taker.ts'
import { Judge, type Born } from './judge.ts'
import { LogDisk } from './log-disk.ts'
import { newMemoryStore } from './memory-store.ts'
import { Network } from './network.ts'
import { MemoryDisk, type NodeDisk } from './node-disk.ts'
import { NodeHost } from './node-host.ts'
import { NodeStore } from './node-store.ts'
import { Operator } from './operator.ts'
import type { PlannedEvent } from './plan.ts'
import { SimClient } from './sim-client.ts'
import { SimNode } from './sim-node.ts'
import { SnapshotUsers } from './snapshot-users.ts'
import { BYTES, NUMBERS, type StampCodec, type Stamps } from './stamps.ts'
import type { Swarm } from './swarm.ts'
import { Trace, VolumeTrace } from './trace.ts'
import { swarmsOf, VOLUMES } from './volume-focus.ts'

export interface WorldOptions {
  keepsTrace: boolean
  disksLie: boolean
  /** `real`: that of the engine, with its log format on simulated disks. */
  store: 'real' | 'memory'
}

/** What a clone begins with (clone-maker.ts). */
export interface Birth {
  volumeId: string
  config: VolumeConfig
  disks: ReadonlyMap<string, LogDisk>
  born: Born
  origin: World
  sizeBytes: number
}

export class World {
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
  /** As it was made. */
  readonly sizeBytes: number
  /** Of all volumes, in the first one; in the others themselves. */
  readonly worlds: World[] = [this]
  /** Of a clone. */
  readonly origin: World | undefined
  private readonly birth: Birth | undefined
  /** Clones that are being made, and what came of the others; in the first one. */
  readonly making = new Set<CloneMaker>()
  readonly cloneCounts = noClones()
  clonesBegun = 0
  readonly orders: CopyOrders
  isDeleted = false
  isHealed = false
  /** No member of the set has everything any more (atlas.ts): what follows is nobody's fault. */
  isBeyond = false
  /** In the end none of the clones is to share anything any more. */
  get isHydrated(): boolean {
    return this.isHealed && isHydratedAtEnd(this.first.swarm)
  }

  /** Blocks that were damaged at the end, for the last scrub. */
  damagedAtEnd = 0
  /** And those that were damaged on every copy (last-loss.ts): while that is so, reads of them may fail. */
  lostAtEnd = 0
  mayLose = false
  readonly codec: StampCodec
  readonly storeKind: WorldOptions['store']
  private readonly disksRandom: Random
  readonly plan: readonly PlannedEvent[]
  /** Of all volumes. */
  readonly wholePlan: readonly PlannedEvent[]
  readonly users: ClientHost = this.newUsers()
  readonly operator: Operator
  readonly readers: SnapshotUsers
  /** In the first one, where seeds have it. */
  groups: GroupTaker | undefined
  readonly atlas = new Atlas((config, name) => this.hasCopy(config, name) && this.nodes.get(name)!.witness.isConsistent)
  readonly first: World

  /**
   * @param first  that of the first volume of the cluster
   * @param birth  of a clone, which comes while all goes on
   */
  constructor(swarm: Swarm, plan: readonly PlannedEvent[], options: WorldOptions, first?: World, birth?: Birth) {
    this.swarm = swarm
    this.birth = birth
    this.origin = birth?.origin
    this.wholePlan = plan
    this.first = first ?? this
    const volume = first?.worlds.length ?? 0
    this.volumeId = birth?.volumeId ?? VOLUMES[volume]!
    this.plan = plan.filter((event) => event.volume === volume)
    const random = new Random(`world ${swarm.seed}${first === undefined ? '' : this.volumeId}`)
    const clock = new SimClock(random.fork('clock'))
    this.clock = first?.clock ?? clock
    this.aims = new Aims(this.clock)
    this.storeKind = options.store
    this.codec = options.store === 'real' ? BYTES : NUMBERS
    this.disksRandom = random.fork('disks')
    const host = this.newNodeHost(random.fork('reports'))
    this.trace =
      first === undefined
        ? new Trace(() => this.clock.nowMs(), options.keepsTrace)
        : new VolumeTrace(first.trace, this.volumeId)
    const config = birth?.config ?? initialConfig(swarm, this.volumeId, volume)
    const network = new Network(this.clock, random.fork('network'), swarm.network)
    this.network = first?.network ?? network
    const renewMs = 10 * swarm.graceMs
    this.store = new ClusterStore(this.clock, random.fork('store'), swarm.store, config, renewMs, first?.store)
    this.judge = new Judge(this, config, first?.judge, birth?.born)
    this.sizeBytes = birth?.sizeBytes ?? swarm.slices * GIB
    this.operator = new Operator(this, this.sizeBytes)
    this.readers = new SnapshotUsers(this, first?.readers.numbers ?? { last: 0 })
    this.orders = new CopyOrders(this, new Random(`orders ${swarm.seed} ${this.volumeId}`))
    for (let i = 0; i < swarm.copies + swarm.spares; i++) {
      const name = `n${i + 1}`
      const member = config.members[name]
      const disk = this.diskOf(name, member?.copyId ?? '')
      const lead = first?.nodes.get(name)
      const node = new SimNode(name, host, random.fork(name), swarm.clockRates[i] ?? 1, disk, lead)
      node.diskLies = options.disksLie
      this.nodes.set(name, node)
      if (member === undefined && !swarm.isErasing) node.losePower(0)
      this.store.watch(name, (value) => node.deliver({ type: 'config-hint', value }))
    }
    for (let i = 0; i < swarm.clients; i++) {
      const name = `c${i + 1}`
      const budget = Math.ceil(swarm.operations / swarm.clients)
      const client = new SimClient(name, this.users, random.fork(name), swarm.clockRates[8 + i] ?? 1, budget)
      this.clients.set(name, client)
      this.store.watch(name, (value) => this.clients.get(name)!.hint(value))
    }
    this.store.onWon = (value, by) => this.configured(value.config, by)
    if (first !== undefined) return
    for (const one of swarmsOf(swarm).slice(1)) this.worlds.push(new World(one, plan, options, this))
  }

  /** What nodes ask of it, and what frontends do; scenarios have their own. */
  protected newNodeHost(random: Random): NodeHost {
    return new NodeHost(this, random)
  }

  protected newUsers(): ClientHost {
    return new ClientHost(this)
  }

  get everybody(): string[] {
    return [...this.nodes.keys(), ...this.clients.keys(), ...this.readers.names]
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

  isMember({ name }: SimNode): boolean {
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

  checkAtlas(): void {
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
    const born = this.birth?.disks.get(node)
    if (born !== undefined) return born
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

  private configured(config: VolumeConfig, by: string): void {
    const detail = () => `by ${by}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.trace.note('store', 'configuration', config.epoch, 0, config.primary, detail)
    this.judge.configured(config, by)
    this.readers.termBegins(config.epoch)
    const before = this.store.history.at(-2)!.config
    const joined = config.inSync.find((name) => !before.inSync.includes(name))
    const left = before.inSync.find((name) => !config.inSync.includes(name))
    if (config.primary !== before.primary) this.aims.saw('new-primary', config.primary, before.primary)
    if (joined !== undefined) this.aims.saw('set-grew', joined, config.primary)
    if (left !== undefined) this.aims.saw('set-shrank', left, config.primary)
    this.checkAtlas()
  }
}
