/**
 * Replication of one volume, as much of it as the control plane meets: who leads and serves, who is evicted, promoted
 * and filled, by the rules C1-C5 and S6 of engine/replication/SPEC.md, a second a step. Writes are a counter.
 */
import { withMember, withoutMembers, withPrimary } from '../../../engine/replication/configuration.ts'
import type { NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import { MIB } from '../../../engine/units.ts'
import type { Random } from '../../sim/random.ts'
import type { Said, ToyCopy, ToyNode } from './toy-node.ts'
import type { ToyStore } from './toy-store.ts'

const GRACE_STEPS = 4
const EVICT_STEPS = 3
const BREAK_STEPS = 20

export class ToyVolume {
  readonly id: string
  readonly isWriteback: boolean
  /** Acknowledged writes. */
  seq = 0
  /** Under which the primary serves; 0: none does. */
  servedEpoch = 0
  /** When it last served, under which epoch. */
  servedAtMs = -Infinity
  held = ''
  private readonly store: ToyStore
  private readonly nodes: ReadonlyMap<NodeId, ToyNode>
  private readonly random: Random
  private readonly fillSeconds: number
  private silent = new Map<NodeId, number>()
  private isServed = false
  private reconcileLeft = 0
  private reconcilingEpoch = 0
  private notWholeSteps = 0

  constructor(options: {
    id: string
    /** Of a clone: what it begins with. */
    seq: number
    isWriteback: boolean
    store: ToyStore
    nodes: ReadonlyMap<NodeId, ToyNode>
    random: Random
    fillSeconds: number
  }) {
    const { id, seq, isWriteback, store, nodes, random, fillSeconds } = options
    this.id = id
    this.seq = seq
    this.isWriteback = isWriteback
    this.store = store
    this.nodes = nodes
    this.random = random
    this.fillSeconds = fillSeconds
  }

  get config(): VolumeConfig | undefined {
    return this.store.get<VolumeConfig>(`configs/${this.id}`)
  }

  /** The copy of a member, as long as it lies somewhere that works. */
  copyOf(config: VolumeConfig, node: NodeId): ToyCopy | undefined {
    const copy = this.nodes.get(node)?.copies.get(this.id)
    return copy !== undefined && copy.copyId === config.members[node]?.copyId && copy.failure === '' ? copy : undefined
  }

  /** It has all that was acknowledged, and in `writeback` knows it. */
  isComplete(copy: ToyCopy | undefined): boolean {
    return copy !== undefined && copy.isConsistent && copy.has === this.seq && (!this.isWriteback || copy.isWhole)
  }

  roleOf(node: NodeId, copy: ToyCopy): Said {
    return { ...this.placeOf(node, copy), awaits: this.awaitedBy(node, copy) }
  }

  /** D9: who is not there has not answered. */
  private awaitedBy(node: NodeId, copy: ToyCopy): NodeId[] {
    const { config } = this
    if (config === undefined || copy.lacks.size === 0) return []
    return Object.keys(config.members).filter((other) => other !== node && this.usable(config, other) === undefined)
  }

  /** Whether it has what this write wrote. */
  hasWrite = (copy: ToyCopy | undefined, write: number): boolean =>
    copy !== undefined && copy.has >= write && !copy.lacks.has(write)

  /** D2: whoever is there and has it gives it. */
  private repair(config: VolumeConfig): void {
    const there = Object.keys(config.members).flatMap((node) => this.usable(config, node) ?? [])
    for (const copy of there)
      for (const write of copy.lacks) if (there.some((other) => this.hasWrite(other, write))) copy.lacks.delete(write)
  }

  private placeOf(node: NodeId, copy: ToyCopy): Omit<Said, 'awaits'> {
    const { config } = this
    const epoch = config?.epoch ?? 0
    if (copy.failure !== '') return { role: 'fenced', epoch, hearsPrimary: false, held: '' }
    const isMember = config?.members[node]?.copyId === copy.copyId
    if (config === undefined || !isMember) return { role: 'out', epoch: 0, hearsPrimary: false, held: '' }
    if (config.primary === node) {
      const role = this.servedEpoch === epoch ? 'primary' : 'reconciling'
      return { role, epoch, hearsPrimary: false, held: this.held }
    }
    const hearsPrimary = this.usable(config, config.primary) !== undefined
    return { role: config.inSync.includes(node) ? 'replica' : 'out', epoch, hearsPrimary, held: '' }
  }

  step(nowMs: number, isBusy: boolean): void {
    const { config } = this
    if (config === undefined) return
    for (const node of Object.keys(config.members)) {
      const copy = this.usable(config, node)
      if (copy !== undefined && copy.isVirgin) {
        copy.isVirgin = false
        copy.isConsistent = config.inSync.includes(node)
      }
      this.silent.set(node, copy === undefined ? (this.silent.get(node) ?? 0) + 1 : 0)
    }
    this.held = ''
    this.repair(config)
    const { primary } = config
    const leader = this.usable(config, primary)
    if (leader === undefined || !leader.isConsistent) {
      this.servedEpoch = 0
      if (this.silent.get(primary)! > GRACE_STEPS || leader !== undefined) this.promote(config)
      return
    }
    if (this.servedEpoch === 0 || this.servedEpoch !== config.epoch) {
      if (!this.reconcile(config, leader)) return this.fill(config)
    }
    this.servedAtMs = nowMs
    this.serve(config, isBusy)
    this.fill(this.config!)
  }

  /** It may hand over when it serves and the other one is fit (C8). */
  handOver(to: NodeId): void {
    const { config } = this
    if (config === undefined || this.servedEpoch !== config.epoch || !config.inSync.includes(to)) return
    if (this.usable(config, to)?.isConsistent !== true) return
    this.swap({ ...config, primary: to, epoch: config.epoch + 1 })
  }

  private usable(config: VolumeConfig, node: NodeId): ToyCopy | undefined {
    return this.nodes.get(node)?.isUp === true ? this.copyOf(config, node) : undefined
  }

  private swap(config: VolumeConfig | undefined): void {
    if (config !== undefined) this.store.put(`configs/${this.id}`, config)
  }

  /** C3: of those in the set that are there, a whole one first. */
  private promote(config: VolumeConfig): void {
    const others = config.inSync.filter((node) => node !== config.primary)
    const fit = others.filter((node) => this.usable(config, node)?.isConsistent === true)
    const to = fit.find((node) => this.usable(config, node)!.isWhole) ?? fit[0]
    if (to === undefined) return
    // Who is not whole takes nobody out of the set.
    const isWhole = !this.isWriteback || this.usable(config, to)!.isWhole
    this.swap(isWhole ? withPrimary(config, to, '') : { ...config, primary: to, epoch: config.epoch + 1 })
  }

  /** C4. True: it serves from now on. */
  private reconcile(config: VolumeConfig, leader: ToyCopy): boolean {
    if (this.reconcilingEpoch !== config.epoch) {
      // Of an epoch that its own eviction began, or one of the control plane, nothing is to be reconciled.
      this.reconcileLeft = this.servedEpoch > 0 ? 0 : this.random.between(1, 5)
      this.reconcilingEpoch = config.epoch
    } else if (this.servedEpoch === 0 && this.isServed) {
      // It served under this epoch, and was away since: an epoch is led by one instance.
      this.isServed = false
      this.swap({ ...config, epoch: config.epoch + 1 })
      return false
    }
    this.servedEpoch = 0
    if (this.isWriteback && !leader.isWhole) {
      const whole = config.inSync.find((node) => this.usable(config, node)?.isWhole === true)
      if (whole !== undefined) {
        this.swap({ ...config, primary: whole, epoch: config.epoch + 1 })
        return false
      }
      if (++this.notWholeSteps < BREAK_STEPS) return false
      // S6: the session breaks, and what only others had is gone.
      leader.isWhole = true
      this.seq = leader.has
    }
    this.notWholeSteps = 0
    const missing = this.missing(config)
    if (this.reconcileLeft-- > 0) return false
    if (missing.length > 0 && !this.evict(config, missing)) return false
    const now = this.config!
    this.servedEpoch = now.epoch
    this.isServed = true
    this.reconcilingEpoch = now.epoch
    for (const node of now.inSync) {
      const copy = this.usable(now, node)
      if (copy !== undefined && copy.isConsistent) copy.has = this.seq
    }
    return true
  }

  private missing(config: VolumeConfig): NodeId[] {
    const { inSync, primary } = config
    return inSync.filter((node) => node !== primary && this.usable(config, node) === undefined)
  }

  /** C1. False: it may not. */
  private evict(config: VolumeConfig, nodes: NodeId[]): boolean {
    const next = withoutMembers(config, nodes, '')
    if (next === undefined) return false
    this.swap(next)
    if (this.servedEpoch > 0) this.servedEpoch = next.epoch
    return true
  }

  private serve(config: VolumeConfig, isBusy: boolean): void {
    const overdue = this.missing(config).filter((node) => this.silent.get(node)! > EVICT_STEPS)
    const amnesiac = config.inSync.filter((node) => this.isWriteback && this.usable(config, node)?.isWhole === false)
    if (overdue.length > 0 || amnesiac.length > 0) {
      for (const node of [...overdue, ...amnesiac]) {
        const now = this.config!
        if (this.evict(now, [node])) continue
        const copy = this.usable(now, node)
        if (copy !== undefined && copy.fillLeft === 0) this.beginFill(copy)
      }
    }
    const now = this.config!
    const isHeld = now.inSync.some((node) => this.usable(now, node)?.isConsistent !== true)
    if (isHeld && this.missing(now).length > 0) this.held = `it waits for ${this.missing(now).join(', ')}`
    if (isHeld || !isBusy) return
    this.seq++
    for (const node of now.inSync) {
      const copy = this.usable(now, node)!
      copy.has = this.seq
      if (this.seq % 16 === 0) copy.usedBytes += 64 * MIB
    }
  }

  private beginFill(copy: ToyCopy): void {
    copy.isConsistent = false
    copy.fillLeft = this.random.between(1, copy.has > 0 ? 3 : this.fillSeconds)
  }

  /** C5, F6: those out of the set, and those that are filled in place. */
  private fill(config: VolumeConfig): void {
    const source = this.usable(config, config.primary)
    if (source === undefined || !source.isConsistent) return
    for (const [node, { state }] of Object.entries(config.members)) {
      const copy = this.usable(config, node)
      const isIn = config.inSync.includes(node)
      if (copy === undefined || copy === source || state === 'failed' || (isIn && copy.isConsistent)) continue
      if (copy.fillLeft === 0) this.beginFill(copy)
      if (--copy.fillLeft > 0) continue
      copy.fillLeft = 0
      copy.isConsistent = true
      copy.isWhole = source.isWhole
      // D8: of what the source cannot read it gets a mark, where it has no more than that itself.
      for (const write of source.lacks) if (!this.hasWrite(copy, write)) copy.lacks.add(write)
      copy.has = this.seq
      copy.usedBytes = source.usedBytes
      const now = this.config!
      if (isIn) continue
      const gone = now.inSync.length <= now.minInSync ? this.missing(now) : []
      const next = withMember(now, node, gone.slice(0, 1), '')
      this.swap(next)
      if (next !== undefined && this.servedEpoch > 0) this.servedEpoch = next.epoch
    }
  }
}
