/**
 * A volume's life in a few words, to hold the plan of a rebuild against: one configuration in a store, logs on nodes,
 * records that are acknowledged when every member of the set has them, and evidence that may lag on every disk. The
 * set changes before what is acknowledged depends on it (replication C1, C3 to C5, C9); its traces may be lost with the
 * power.
 */
import type { NodeDescription } from '../../../engine/control/node-description.ts'
import type { MemberState, NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { Random } from '../../sim/random.ts'
import { configOf, copyOn, nodeOf } from './described.ts'

type Log = Array<{ epoch: number; value: number }>

interface Place {
  log: Log
  promise: { epoch: number; primary: NodeId }
  noted: VolumeConfig | undefined
  met: Set<NodeId>
  isErased: boolean
}

const NODES = ['n1', 'n2', 'n3', 'n4']

export class RebuildHistory {
  readonly acknowledged = new Set<number>()
  /** Somebody was made to lead who may lack something: what was acknowledged before counts no more. */
  forced = 0
  private readonly random: Random
  private readonly places = new Map<NodeId, Place>()
  private config: VolumeConfig
  /** The primary has its log in line with the set's, and serves. */
  private serves = true
  private values = 0

  constructor(random: Random) {
    this.random = random
    const nodes = NODES.slice(0, random.between(1, 3))
    this.config = configOf('v', 1, nodes, { minInSync: random.between(1, nodes.length) })
    for (const node of nodes) {
      const met = new Set(nodes.filter((one) => one !== node))
      this.places.set(node, { log: [], promise: { epoch: 0, primary: '' }, noted: this.config, met, isErased: false })
    }
    this.settle()
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) this.step()
  }

  /** What the disks of these nodes say. */
  describe(nodes: readonly NodeId[]): NodeDescription[] {
    return nodes.filter((node) => this.places.has(node)).map((node) => {
      const { log, promise, noted, met, isErased } = this.places.get(node)!
      const at = [log.at(-1)?.epoch ?? 0, log.length] as const
      return nodeOf(node, [copyOn(node, 'v', at, { promise, config: noted, isErased })], { met: [...met] })
    })
  }

  valuesOn(node: NodeId): Set<number> {
    return new Set(this.places.get(node)!.log.map(({ value }) => value))
  }

  get nodes(): NodeId[] {
    return [...this.places.keys()]
  }

  private get leader(): Place {
    return this.places.get(this.config.primary)!
  }

  private step(): void {
    const { random, config } = this
    const { inSync, primary, minInSync, members } = config
    const others = inSync.filter((node) => node !== primary)
    const outside = Object.keys(members).filter((node) => !inSync.includes(node))
    switch (random.int(10)) {
      case 0: case 1: case 2: return this.write()
      case 3: return this.settle()
      case 4:
        if (this.serves && others.length > 0 && inSync.length > minInSync) this.evict(random.pick(others))
        return
      case 5:
        if (others.length > 0) this.promote(random.pick(others))
        return
      case 6:
        if (this.serves && outside.length > 0) this.join(random.pick(outside))
        return
      case 7: return this.add()
      case 8:
        if (this.serves && outside.length > 0 && this.isSettled()) this.remove(random.pick(outside))
        return
      default: {
        const place = this.places.get(random.pick(NODES))
        if (place !== undefined && !place.isErased) place.noted = this.config
        if (outside.length > 0 && random.chance(0.1)) this.force(random.pick(outside))
      }
    }
  }

  private write(): void {
    if (!this.serves) return
    const { random, config, leader } = this
    const value = ++this.values
    leader.log.push({ epoch: leader.log.at(-1)!.epoch, value })
    for (const node of config.inSync) if (random.chance(0.7)) this.send(node)
    this.acknowledge()
  }

  /** In order, whatever is missing; only to who promised this primary. */
  private send(node: NodeId): void {
    const { log, promise } = this.places.get(node)!
    const { leader } = this
    if (promise.primary !== this.config.primary) return
    for (let at = log.length; at < leader.log.length; at++) {
      const record = leader.log[at]!
      if (promise.epoch < record.epoch) promise.epoch = record.epoch
      log.push(record)
    }
  }

  private acknowledge(): void {
    const logs = this.config.inSync.map((node) => this.places.get(node)!.log)
    const { log } = this.leader
    for (let at = 0; at < log.length; at++) {
      if (logs.every((one) => one[at]?.value === log[at]!.value)) this.acknowledged.add(log[at]!.value)
    }
  }

  /** What is in flight is acknowledged by the smaller set before its epoch is on any disk. */
  private evict(node: NodeId): void {
    const inSync = this.config.inSync.filter((one) => one !== node)
    this.change({ inSync, members: this.stateOf([node], 'catching-up') })
    this.acknowledge()
  }

  private promote(node: NodeId): void {
    const { inSync, primary, minInSync } = this.config
    const left = inSync.filter((one) => one !== primary)
    const drops = left.length >= minInSync
    const members = drops ? this.stateOf([primary], 'catching-up') : this.config.members
    this.change({ primary: node, inSync: drops ? left : inSync, members })
    this.serves = false
  }

  /** Promises and epoch record of the present epoch, everywhere in the set; a new primary reconciles. */
  private settle(): void {
    const { config, leader, random } = this
    const { epoch, primary, inSync } = config
    const places = inSync.map((node) => this.places.get(node)!)
    // The power may go in between.
    const last = random.chance(0.3) ? random.int(places.length + 1) : places.length
    const sorted = [leader, ...places.filter((place) => place !== leader)]
    for (const place of sorted.slice(0, this.serves ? last : places.length)) place.promise = { epoch, primary }
    if (!this.serves) {
      const longest = places.reduce((a, b) => (isBehind(a.log, b.log) ? b : a))
      leader.log = [...longest.log]
    }
    const isPromised = leader.promise.epoch === epoch
    if (isPromised && leader.log.at(-1)?.epoch !== epoch) leader.log.push({ epoch, value: ++this.values })
    for (const place of sorted.slice(1, last)) if (place.promise.epoch === epoch) place.log = [...leader.log]
    this.serves = this.isSettled()
    if (this.serves) this.acknowledge()
  }

  private isSettled(): boolean {
    const { epoch, inSync } = this.config
    return inSync.every((node) => this.places.get(node)!.log.some((record) => record.epoch === epoch))
  }

  private join(node: NodeId): void {
    const place = this.places.get(node)!
    place.log = [...this.leader.log]
    place.promise = { ...this.leader.promise }
    this.change({ inSync: [...this.config.inSync, node], members: this.stateOf([node], 'in-sync') })
  }

  private add(): void {
    const node = NODES.find((one) => this.config.members[one] === undefined)
    if (node === undefined || !this.serves) return
    if (this.places.get(node)?.isErased === false) return
    for (const [name, { met }] of this.places) {
      if (this.config.inSync.includes(name) && name !== node) met.add(node)
    }
    const met = new Set(Object.keys(this.config.members))
    this.places.set(node, { log: [], promise: { epoch: 0, primary: '' }, noted: undefined, met, isErased: false })
    this.config = { ...this.config, members: { ...this.config.members, ...configOf('v', 1, [node], {}, 0).members } }
  }

  private remove(node: NodeId): void {
    const members = { ...this.config.members }
    delete members[node]
    this.config = { ...this.config, members }
    this.places.get(node)!.isErased = true
    this.places.get(node)!.log = []
  }

  private force(node: NodeId): void {
    this.forced++
    const { epoch } = this.config
    const others = Object.keys(this.config.members).filter((one) => one !== node)
    const forced = { ...this.config.members[node]!, state: 'in-sync' as const }
    const members = { ...this.stateOf(others, 'needs-full'), [node]: forced }
    this.config = { ...this.config, epoch: epoch + 2 ** 20, primary: node, inSync: [node], members }
    this.acknowledged.clear()
    this.serves = false
  }

  private change(change: Partial<VolumeConfig>): void {
    this.config = { ...this.config, ...change, epoch: this.config.epoch + 1 }
  }

  private stateOf(nodes: readonly NodeId[], state: MemberState): VolumeConfig['members'] {
    const members = { ...this.config.members }
    for (const node of nodes) members[node] = { ...members[node]!, state }
    return members
  }
}

const isBehind = (a: Log, b: Log): boolean => {
  const [x, y] = [a.at(-1)?.epoch ?? 0, b.at(-1)?.epoch ?? 0]
  return x < y || (x === y && a.length < b.length)
}
