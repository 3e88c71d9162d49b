/**
 * The world in which the control plane is simulated: a store, nodes, volumes that replicate as much as is needed, one
 * controller or two at once, and their actions on the way: late, lost, or on a version that is gone. A second a step.
 */
import type { Action } from '../../../engine/control/actions.ts'
import type { ControlOptions } from '../../../engine/control/control-options.ts'
import type { NodeRecord } from '../../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { NodeId } from '../../../engine/replication/configuration.ts'
import { GIB } from '../../../engine/units.ts'
import type { Random } from '../../sim/random.ts'
import { Checks } from './checks.ts'
import type { ToySwarm } from './swarm.ts'
import { ToyController } from './toy-controller.ts'
import { ToyNode } from './toy-node.ts'
import type { Said } from './toy-node.ts'
import { ToyStore } from './toy-store.ts'
import { ToyVolume } from './toy-volume.ts'

export const STEP_MS = 1000
/** An action that is older is not sent (R3). */
export const ACTION_MS = 3000

interface Order {
  atMs: number
  controller: string
  action: Action
}

export class ToyWorld {
  readonly swarm: ToySwarm
  readonly random: Random
  readonly store = new ToyStore()
  readonly nodes = new Map<NodeId, ToyNode>()
  readonly volumes = new Map<string, ToyVolume>()
  readonly controllers: ToyController[] = []
  readonly checks: Checks
  readonly control: ControlOptions
  nowMs = 0
  /** Node and controller that do not hear each other, until when. */
  readonly cuts = new Map<string, { untilMs: number; what: 'all' | 'answers' }>()
  readonly actionCounts = new Map<string, number>()
  onAction: (controller: ToyController, action: Action) => void = () => {}
  private orders: Order[] = []
  private controllerNumber = 0
  private volumeNumber = 0

  constructor(swarm: ToySwarm, random: Random) {
    this.swarm = swarm
    this.random = random
    this.control = {
      quietAfterMs: 3000,
      missedAfterMs: 2000,
      suspectAfterMs: 4000,
      downAfterMs: 7000,
      steadyAfterMs: 6000,
      freshMs: 3000,
      replaceAfterMs: 40_000,
      createWaitMs: 6000,
      lingerMs: 10_000,
      retryMs: 3000,
      rebuildsMax: swarm.rebuildsMax,
      rebuildsPerNode: swarm.rebuildsPerNode,
      hydrationsMax: 2,
      hydrateLevels: 2,
      hydrateReaders: 3,
      overCommit: 2,
      lowSpaceShare: 0.05,
      rebalanceGap: 0.2,
      rebalanceMargin: 0.05,
    }
    this.checks = new Checks(this)
    this.store.put('rebuilds', [])
    this.store.put('cluster-age', 0)
    for (let number = 1; number <= swarm.nodes; number++) this.addNode(number)
    this.startController()
    for (let number = 0; number < swarm.volumes; number++) this.createVolume()
  }

  private addNode(number: number): void {
    const { swarm, random } = this
    const name = `n${String(number).padStart(2, '0')}`
    const disks = Array.from({ length: swarm.disksPerNode }, (_, index) => ({
      uuid: `${name}.d${index}`,
      pool: 'default',
      tags: swarm.tagged && random.chance(0.6) ? ['ssd'] : [],
      capacityBytes: swarm.capacityBytes * random.pick([1, 1, 2]),
      isFailed: false,
    }))
    const zone = swarm.zones === 0 ? '' : `z${random.int(swarm.zones)}`
    this.nodes.set(name, new ToyNode(name, zone, disks))
    const record: NodeRecord = { name, zone }
    this.store.put(`nodes/${name}`, record)
    this.store.put(`node-wishes/${name}`, { isCordoned: false, isDraining: false })
  }

  startController(): void {
    const { store, control, random, nowMs } = this
    const name = `c${++this.controllerNumber}`
    const delayMs = this.swarm.delaySeconds * 1000
    this.controllers.push(new ToyController({ name, store, control, delayMs, random: random.fork(name), nowMs }))
  }

  /** Of the orders that it gave some are still on their way. */
  endController(controller: ToyController): void {
    controller.end()
    this.controllers.splice(this.controllers.indexOf(controller), 1)
  }

  createVolume(): string {
    const { swarm, random, store, nodes } = this
    const id = `v${String(++this.volumeNumber).padStart(4, '0')}`
    const isWriteback = random.chance(swarm.writebackShare)
    const replicas = random.between(0, swarm.replicasMax)
    const isTagged = swarm.tagged && random.chance(0.2)
    const record: VolumeRecord = {
      spec: {
        id,
        name: `volume-${id}`,
        sizeBytes: random.between(1, 8) * GIB,
        blockSizeBytes: 4096,
        replicas,
        durability: isWriteback ? 'writeback' : 'durable',
        onFull: 'hold',
        ioTimeoutMs: 0,
        pool: 'default',
        diskTags: isTagged ? ['ssd'] : [],
      },
      minInSync: random.chance(0.1) ? random.between(1, replicas + 1) : 0,
      allowDegraded: random.chance(swarm.allowDegradedShare),
      firstNode: random.chance(0.2) ? random.pick([...nodes.keys()]) : '',
      attachMode: 'single',
      ...(random.chance(swarm.localShare) ? { dataLocality: random.pick(['best-effort', 'strict'] as const) } : {}),
      trash: null,
    }
    const { fillSeconds } = swarm
    this.volumes.set(id, new ToyVolume({ id, seq: 0, isWriteback, store, nodes, random: random.fork(id), fillSeconds }))
    store.put(`volumes/${id}`, record)
    return id
  }

  /** Of a volume that is led. */
  createClone(originId: string, random: Random): void {
    const { store, nodes, swarm: { fillSeconds } } = this
    const source = store.get<VolumeRecord>(`volumes/${originId}`)
    const volume = this.volumes.get(originId)
    if (source === undefined || source.trash !== null || volume?.config === undefined) return
    const id = `v${String(++this.volumeNumber).padStart(4, '0')}`
    const { hydration: _, ...plain } = source
    const { seq, isWriteback, config: { epoch } } = volume
    const spec = { ...source.spec, id, name: `volume-${id}` }
    this.volumes.set(id, new ToyVolume({ id, seq, isWriteback, store, nodes, random: random.fork(id), fillSeconds }))
    store.put(`volumes/${id}`, { ...plain, spec, origin: { volumeId: originId, snapshotId: 's', seq, epoch } })
  }

  step(): void {
    this.nowMs += STEP_MS
    const { nowMs, random, swarm } = this
    for (const volume of this.volumes.values()) {
      if (!this.store.entries.has(`volumes/${volume.id}`)) this.volumes.delete(volume.id)
      else volume.step(nowMs, (nowMs / STEP_MS) % 3 === 0)
    }
    for (const node of this.nodes.values()) if (node.isUp && (nowMs / STEP_MS) % 3 === 0) node.hydrateStep()
    this.checks.observe()
    for (const controller of this.controllers) {
      for (const node of this.nodes.values()) {
        const cut = this.cuts.get(`${controller.name} ${node.name}`)
        const isCut = cut !== undefined && cut.untilMs > nowMs
        if (!node.isUp || (isCut && cut.what === 'all')) continue
        controller.beat(node.name)
        if (isCut) continue
        const status = node.status((copy) => this.volumes.get(copy.volumeId)?.roleOf(node.name, copy) ?? NO_ROLE)
        controller.hear(node.name, status, nowMs)
      }
      for (const action of controller.pass(nowMs)) {
        this.actionCounts.set(action.type, (this.actionCounts.get(action.type) ?? 0) + 1)
        this.checks.planned(controller, action)
        this.onAction(controller, action)
        const atMs = nowMs + random.float() * Math.min(ACTION_MS, swarm.delaySeconds * 1000)
        if (!random.chance(swarm.lossChance)) this.orders.push({ atMs, controller: controller.name, action })
      }
    }
    const due = this.orders.filter(({ atMs }) => atMs <= nowMs)
    this.orders = this.orders.filter(({ atMs }) => atMs > nowMs)
    for (const { action } of due) this.act(action)
  }

  private act(action: Action): void {
    const { store, checks } = this
    switch (action.type) {
      case 'create-config':
        return this.swap(`configs/${action.volumeId}`, '', action.config, () => checks.creates(action))
      case 'change-config':
        return this.swap(`configs/${action.volumeId}`, action.version, action.config, () => checks.changes(action))
      case 'delete-config':
        return this.swap(`configs/${action.volumeId}`, action.version, undefined, () => checks.forgets(action))
      case 'change-volume':
        return this.swap(`volumes/${action.volumeId}`, action.version, action.record, () => checks.wishes(action))
      case 'delete-volume':
        return this.swap(`volumes/${action.volumeId}`, action.version, undefined, () => checks.forgets(action))
      case 'delete-move':
        return this.swap(`moves/${action.volumeId}`, action.version, undefined)
      case 'change-rebuilds':
        return this.swap('rebuilds', action.version, action.rebuilds, () => checks.tabled(action))
      case 'change-age':
        return this.swap('cluster-age', action.version, action.ageMs, () => checks.ages(action))
      case 'make-copy': {
        const node = this.nodes.get(action.node)!
        const record = store.get<VolumeRecord>(`volumes/${action.volumeId}`)
        if (node.isUp && record !== undefined) node.makeCopy(record, store, this.random)
        return
      }
      case 'erase-copy': {
        const node = this.nodes.get(action.node)!
        if (!node.isUp || !node.mayErase(store, action)) return
        checks.erases(action)
        node.erase(action.volumeId)
        return
      }
      case 'hydrate-copy': {
        const node = this.nodes.get(action.node)!
        if (node.isUp) node.hydrate(action.volumeId, store)
        return
      }
      case 'hand-over':
        return this.volumes.get(action.volumeId)?.handOver(action.to)
    }
  }

  /** `check` looks at the world as it is before. */
  private swap(key: string, version: string, value: unknown, check?: () => void): void {
    if (this.store.version(key) !== version) return
    check?.()
    this.store.compareAndSwap(key, version, value)
  }
}

const NO_ROLE: Said = { role: 'out', epoch: 0, hearsPrimary: false, held: '', awaits: [] }
