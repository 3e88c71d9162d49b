/**
 * What must never be, judged by the world as it is, not by what a controller believes. A controller knows a thing only
 * after a while, and acts a while later; so what it relies on must have been true within a window.
 *
 * I23: nothing is taken away unless a complete copy that answered is left in the set, in `writeback` a whole one, while
 *      the primary serves. And: copies share a zone only when they must, the budget is kept, nothing goes back and
 *      forth, nothing leaves the trash too early, minInSync is never raised by a set that has not got it.
 */
import type { Action } from '../../../engine/control/actions.ts'
import type { RebuildTable } from '../../../engine/control/rebuild-table.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import { ZoneChecks } from './zone-checks.ts'
import type { ToyController } from './toy-controller.ts'
import type { ToyVolume } from './toy-volume.ts'
import type { ToyWorld } from './toy-world.ts'

/** As fresh as it has to be, and two steps; and what an action takes. */
const WINDOW_MS = 3000 + 2000
/** Nothing happened to a node for so long. */
const STEADY_MS = 25_000
/** A move that is done may still be acted upon by one who was not told. */
const MOVE_MS = 10_000

interface Seen {
  /** It was there and had everything. */
  hadAtMs: number
  /** And was whole. */
  wholeAtMs: number
}

type Of<T extends Action['type']> = Extract<Action, { type: T }>

export class Checks {
  readonly violations: string[] = []
  /** The last thing that was done to the world, by a fault or an operator. */
  lastEventMs = 0
  private readonly world: ToyWorld
  private readonly zones: ZoneChecks
  private readonly seen = new Map<string, Seen>()
  /** When a volume's primary served under an epoch. */
  private readonly served = new Map<string, number>()
  /** Of volumes: when the wish changed, when it was deleted, and whether the operator wants it purged. */
  readonly wishedAtMs = new Map<string, number>()
  readonly deletedAtMs = new Map<string, number>()
  readonly purgeWished = new Set<string>()
  /** Copies that went since the last event. */
  private readonly went = new Map<string, number>()
  /** When a move was wished last. */
  private readonly movedAtMs = new Map<string, number>()
  /** When a copy came back to its user. */
  private readonly backAtMs = new Map<string, number>()
  private readonly evicted = new Map<string, number>()
  /** The last users of a volume, the newest first. */
  private readonly uses = new Map<string, Array<{ node: NodeId | undefined; sinceMs: number }>>()
  /** By volume: writes that some copy could not read, and since when. */
  private readonly rottenAtMs = new Map<string, Map<number, number>>()
  private readonly windowMs: number

  constructor(world: ToyWorld) {
    this.world = world
    this.windowMs = WINDOW_MS + world.swarm.delaySeconds * 1000
    this.zones = new ZoneChecks(world, (what) => this.violated(what))
  }

  /** It has another user from now on; undefined: none. */
  used(volumeId: string, node: NodeId | undefined): void {
    const uses = this.uses.get(volumeId) ?? []
    this.uses.set(volumeId, [{ node, sinceMs: this.world.nowMs }, ...uses.slice(0, 3)])
  }

  /** Whether its user was there a moment ago, so that a controller may still think so. */
  private wasUsedAt(volumeId: string, node: NodeId): boolean {
    let untilMs = Infinity
    for (const { node: user, sinceMs } of this.uses.get(volumeId) ?? []) {
      if (user === node && untilMs >= this.world.nowMs - this.windowMs) return true
      untilMs = sinceMs
    }
    return false
  }

  violated(what: string): void {
    if (this.violations.length < 5) this.violations.push(`${this.world.nowMs / 1000} s: ${what}`)
  }

  rotten(volumeId: string, write: number): void {
    const writes = this.rottenAtMs.get(volumeId) ?? new Map<number, number>()
    this.rottenAtMs.set(volumeId, writes.set(write, this.world.nowMs))
  }

  /** Once a step. */
  observe(): void {
    const { volumes, nowMs, store } = this.world
    for (const volume of volumes.values()) {
      if (store.entries.has(`moves/${volume.id}`)) this.movedAtMs.set(volume.id, nowMs)
      const { config } = volume
      if (config === undefined) continue
      if (volume.servedEpoch > 0) this.served.set(`${volume.id} ${volume.servedEpoch}`, nowMs)
      for (const node of config.inSync) {
        const copy = volume.copyOf(config, node)
        if (copy === undefined || !this.world.nodes.get(node)!.isUp) continue
        const key = `${volume.id} ${copy.copyId}`
        const seen = this.seen.get(key) ?? { hadAtMs: -Infinity, wholeAtMs: -Infinity }
        if (copy.isConsistent && copy.has === volume.seq) seen.hadAtMs = nowMs
        if (volume.isComplete(copy)) seen.wholeAtMs = nowMs
        this.seen.set(key, seen)
      }
    }
  }

  planned(controller: ToyController, action: Action): void {
    if (action.type === 'change-rebuilds') this.zones.planned(controller, action)
  }

  creates({ volumeId, config }: Of<'create-config'>): void {
    const { nodes, store } = this.world
    const record = store.get<VolumeRecord>(`volumes/${volumeId}`)
    // A clone begins with as many as its origin has.
    const isEnough = record?.allowDegraded === true || record?.origin !== undefined
    if (record !== undefined && config.inSync.length < record.spec.replicas + 1 && !isEnough) {
      if (!this.isWishNew(volumeId)) this.violated(`${volumeId} is made with fewer copies than wished`)
    }
    for (const node of nodes.values()) {
      if (node.copies.get(volumeId)?.isVirgin !== false) continue
      this.violated(`${volumeId} is made anew, ${node.name} has a copy`)
    }
    this.zones.creates(volumeId, config)
  }

  changes({ volumeId, config: next, why }: Of<'change-config'>): void {
    const { store, volumes } = this.world
    const now = store.get<VolumeConfig>(`configs/${volumeId}`)!
    const volume = volumes.get(volumeId)!
    for (const node of now.inSync) {
      if (!next.inSync.includes(node)) this.evicts(volume, now, next, node, why)
    }
    for (const node of Object.keys(now.members)) {
      if (next.members[node] === undefined) this.removes(volume, now, node)
    }
    for (const node of Object.keys(next.members)) {
      if (now.members[node] === undefined) this.adds(volumeId, node)
    }
    if (next.primary !== now.primary) this.violated(`${volumeId}: the control plane names another primary`)
    if (next.minInSync > now.minInSync && this.answering(volume, now, '').had < next.minInSync) {
      this.violated(`${volumeId}: minInSync ${next.minInSync} is more than what is in sync`)
    }
    if (next.minInSync < now.minInSync) this.lowers(volumeId, next)
  }

  erases({ volumeId, node, copyId }: Of<'erase-copy'>): void {
    const { store, volumes, nodes } = this.world
    const record = store.get<VolumeRecord>(`volumes/${volumeId}`)
    if (record?.trash?.isPurging === true) return
    const config = store.get<VolumeConfig>(`configs/${volumeId}`)
    const copy = nodes.get(node)!.copies.get(volumeId)!
    if (config === undefined) {
      const wasUsed = !copy.isVirgin || copy.failure === ''
      return wasUsed ? this.violated(`${volumeId}: a copy is erased, there is no configuration`) : undefined
    }
    if (config.members[node]?.copyId === copyId) this.violated(`${volumeId}: the copy of the member ${node} is erased`)
    if (!copy.isVirgin) this.needsActive(volumes.get(volumeId)!, config, node, 'erased')
  }

  wishes(action: Of<'change-volume'>): void {
    const { volumeId, record } = action
    const now = this.world.store.get<VolumeRecord>(`volumes/${volumeId}`)!
    if (record.trash?.isPurging === true) return this.purges(action)
    const rest = ({ hydration: _, moved: __, ...others }: VolumeRecord): string => JSON.stringify(others)
    if (rest(now) !== rest(record)) return this.violated(`${volumeId}: the control plane changes a wish`)
    if (JSON.stringify(now.moved) !== JSON.stringify(record.moved)) return this.moves(volumeId, record)
    const { config } = this.world.volumes.get(volumeId)!
    const copies = Object.keys(config?.members ?? {}).map((node) => ({
      node: this.world.nodes.get(node)!, copy: this.world.nodes.get(node)!.copies.get(volumeId),
    }))
    const sharing = copies.filter(({ node: { name }, copy }) =>
      copy?.below !== undefined && copy.copyId === config!.members[name]?.copyId)
    if (record.hydration === undefined) {
      for (const { node } of sharing) this.violated(`${volumeId} shares on ${node.name}, and its wish is over`)
    } else if (record.hydration === 'remains') {
      const others = sharing.filter(({ node, copy }) => !node.isLastReader(copy!))
      for (const { node } of others) this.violated(`${volumeId} is to be hydrated for remains it is not alone with, ` +
        `on ${node.name}`)
    } else if (record.hydration === 'depth') {
      const begins = this.world.store.get<VolumeRecord>(`volumes/${now.origin!.volumeId}`)
      if (begins?.hydration !== undefined && begins.trash === null && !this.isWishNew(now.origin!.volumeId))
        this.violated(`${volumeId} is hydrated for the depth of ${begins.spec.id}, which is hydrated`)
    }
    if (record.hydration !== undefined) this.wishedAtMs.set(volumeId, this.world.nowMs)
  }

  /** V7. Another move may have been asked for since. */
  private moves(volumeId: string, { moved }: VolumeRecord): void {
    const { members } = this.world.store.get<VolumeConfig>(`configs/${volumeId}`)!
    const isDone = moved !== undefined && members[moved.to] !== undefined && members[moved.from] === undefined
    if (!isDone) this.violated(`${volumeId}: a move is noted that is not done`)
  }

  private purges({ volumeId, record }: Of<'change-volume'>): void {
    const deletedAtMs = this.deletedAtMs.get(volumeId)
    if (record.trash?.isPurging !== true || deletedAtMs === undefined) {
      return this.violated(`${volumeId}: the control plane changes a wish`)
    }
    const keptMs = this.world.nowMs - deletedAtMs
    if (keptMs < record.trash.keepMs && !this.purgeWished.has(volumeId)) {
      this.violated(`${volumeId} is purged after ${keptMs} ms, ${record.trash.keepMs} were promised`)
    }
    const { config } = this.world.volumes.get(volumeId)!
    if (Object.keys(config?.attach.holders ?? {}).length > 0) this.violated(`${volumeId} is purged in use`)
  }

  forgets({ volumeId }: Of<'delete-config' | 'delete-volume'>): void {
    const record = this.world.store.get<VolumeRecord>(`volumes/${volumeId}`)
    // T5: one that came late.
    if (record === undefined && [...this.world.nodes.values()].every(({ copies }) => !copies.has(volumeId))) return
    if (record?.trash?.isPurging !== true) this.violated(`${volumeId} is forgotten, it was not purged`)
    const members = this.world.store.get<VolumeConfig>(`configs/${volumeId}`)?.members ?? {}
    for (const [node, { copyId }] of Object.entries(members)) {
      if (this.world.nodes.get(node)!.copies.get(volumeId)?.copyId !== copyId) continue
      this.violated(`${volumeId} is forgotten, ${node} has a copy`)
    }
  }

  tabled({ rebuilds }: Of<'change-rebuilds'>): void {
    const { rebuildsMax, rebuildsPerNode } = this.world.swarm
    const now = this.world.store.get<RebuildTable>('rebuilds')!
    if (rebuilds.length > rebuildsMax) this.violated(`${rebuilds.length} rebuilds, ${rebuildsMax} are allowed`)
    for (const entry of rebuilds) {
      if (now.some(({ volumeId, to }) => volumeId === entry.volumeId && to === entry.to)) continue
      this.follows(entry)
      const beside = rebuilds.filter(({ to }) => to === entry.to).length
      if (beside > rebuildsPerNode) this.violated(`${beside} rebuilds on ${entry.to}, ${rebuildsPerNode} are allowed`)
    }
  }

  /** U1, U2, U6: a copy goes where an operator or a user is, and the balancer takes none from there. */
  private follows({ volumeId, to, from, why }: RebuildTable[number]): void {
    const { store, nowMs } = this.world
    const record = store.get<VolumeRecord>(`volumes/${volumeId}`)
    if (record === undefined) return
    const isLocal = record.dataLocality !== undefined
    const isFollowed = isLocal && this.wasUsedAt(volumeId, to)
    const isMoved = nowMs - (this.movedAtMs.get(volumeId) ?? -Infinity) <= MOVE_MS
    if (why === 'move' && !isFollowed && !isMoved) this.violated(`${volumeId}: a copy is moved to ${to} for nobody`)
    const [use] = this.uses.get(volumeId) ?? []
    const isTaken = why === 'rebalance' && isLocal && use?.node === from && nowMs - use.sinceMs > this.windowMs
    if (isTaken && record.moved?.from !== from) this.violated(`${volumeId}: its copy is taken away from its user`)
  }

  ages({ ageMs }: Of<'change-age'>): void {
    if (ageMs > this.world.nowMs) this.violated(`the cluster is ${ageMs} ms old, it began ${this.world.nowMs} ms ago`)
  }

  private evicts(volume: ToyVolume, now: VolumeConfig, next: VolumeConfig, node: NodeId, why: string): void {
    const { id } = volume
    if (next.inSync.length < now.minInSync) this.violated(`${id}: ${node} is evicted below minInSync`)
    if (next.epoch !== now.epoch + 1) this.violated(`${id}: another set in the same epoch`)
    this.needsActive(volume, now, node, 'evicted')
    const record = this.world.store.get<VolumeRecord>(`volumes/${id}`)
    const { had } = this.answering(volume, now, node)
    if (record !== undefined && !this.isWishNew(id) && had < record.spec.replicas + 1) {
      this.violated(`${id}: ${node} is evicted (${why}), ${had} complete copies are left`)
    }
    if (why === 'it is one too many') this.letsGo(volume, now, node)
    this.keepsWrites(volume, now, node, 'evicted')
    const { copyId } = now.members[node]!
    const before = this.evicted.get(copyId)
    const isAgain = before !== undefined && before > this.lastEventMs + this.windowMs
    if (isAgain) this.violated(`${id}: ${copyId} is evicted again`)
    this.evicted.set(copyId, this.world.nowMs)
    this.went.set(`${id} ${node}`, this.world.nowMs)
  }

  /** U4: not the copy of a user, while another one that is there could go. */
  private letsGo({ id }: ToyVolume, now: VolumeConfig, node: NodeId): void {
    const { store, nodes, volumes, nowMs, cuts } = this.world
    const record = store.get<VolumeRecord>(`volumes/${id}`)
    const [use] = this.uses.get(id) ?? []
    const isUsed = use?.node === node && nowMs - use.sinceMs > this.windowMs && record?.moved?.from !== node
    if (record?.dataLocality === undefined || !isUsed || cuts.size > 0 || store.entries.has(`moves/${id}`)) return
    const others = now.inSync.filter((one) => one !== node && one !== now.primary && nodes.get(one)!.isUp
      && nowMs - nodes.get(one)!.touchedAtMs > STEADY_MS && volumes.get(id)!.isComplete(nodes.get(one)!.copies.get(id)))
    if (others.length > 0) this.violated(`${id}: ${node} lets its copy go, where its user is`)
  }

  private removes(volume: ToyVolume, now: VolumeConfig, node: NodeId): void {
    if (now.inSync.includes(node)) return
    this.needsActive(volume, now, node, 'removed')
    this.keepsWrites(volume, now, node, 'removed')
  }

  /** E5: what another one lacks, as it could say by now, and nobody else has. */
  private keepsWrites(volume: ToyVolume, now: VolumeConfig, node: NodeId, what: string): void {
    const goes = volume.copyOf(now, node)
    const left = Object.keys(now.members).filter((other) => other !== node)
    for (const [write, atMs] of this.rottenAtMs.get(volume.id) ?? []) {
      if (this.world.nowMs - atMs <= this.windowMs || !volume.hasWrite(goes, write)) continue
      if (left.some((other) => volume.hasWrite(volume.copyOf(now, other), write))) continue
      this.violated(`${volume.id}: ${node} is ${what}, nobody else has what write ${write} wrote`)
    }
  }

  /** I23. */
  private needsActive(volume: ToyVolume, now: VolumeConfig, node: NodeId, what: string): void {
    const { nowMs } = this.world
    const servedAtMs = this.served.get(`${volume.id} ${now.epoch}`) ?? -Infinity
    const isServing = nowMs - servedAtMs <= this.windowMs
    if (!isServing) this.violated(`${volume.id}: ${node} is ${what}, the primary does not serve`)
    if (now.primary === node && what === 'evicted') this.violated(`${volume.id}: the primary is evicted`)
    const { had, whole } = this.answering(volume, now, node)
    if (had === 0) this.violated(`${volume.id}: ${node} is ${what}, nobody else has everything`)
    const leaver = now.members[node]
    const seen = leaver === undefined ? undefined : this.seen.get(`${volume.id} ${leaver.copyId}`)
    const wasWhole = (seen?.wholeAtMs ?? -Infinity) >= nowMs - this.windowMs
    if (what === 'evicted' && volume.isWriteback && wasWhole && whole === 0) {
      this.violated(`${volume.id}: ${node} is evicted, the last that is whole`)
    }
  }

  /** Of the set without a node those that had everything, and were whole, not long ago. */
  private answering(volume: ToyVolume, config: VolumeConfig, node: NodeId): { had: number; whole: number } {
    const sinceMs = this.world.nowMs - this.windowMs
    let had = 0
    let whole = 0
    for (const other of config.inSync) {
      if (other === node) continue
      const seen = this.seen.get(`${volume.id} ${config.members[other]!.copyId}`)
      if (seen !== undefined && seen.hadAtMs >= sinceMs) had++
      if (seen !== undefined && seen.wholeAtMs >= sinceMs) whole++
    }
    return { had, whole }
  }

  private adds(volumeId: string, node: NodeId): void {
    const table = this.world.store.get<RebuildTable>('rebuilds')!
    const isTabled = table.some((entry) => entry.volumeId === volumeId && entry.to === node)
    if (!isTabled && !this.zones.wasTabled(volumeId, node)) {
      this.violated(`${volumeId}: a copy on ${node} that the budget does not know`)
    }
    const key = `${volumeId} ${node}`
    const wentAtMs = this.went.get(key)
    if (wentAtMs === undefined || wentAtMs <= this.lastEventMs + this.windowMs) return
    // From a disk that is evicted it may come back to its user, on another one: once.
    const isLocal = this.world.store.get<VolumeRecord>(`volumes/${volumeId}`)?.dataLocality !== undefined
    const isBack = isLocal && this.wasUsedAt(volumeId, node) && (this.backAtMs.get(key) ?? -Infinity) < this.lastEventMs
    if (isBack) this.backAtMs.set(key, this.world.nowMs)
    else this.violated(`${volumeId}: ${node} gave its copy up and gets one again`)
  }

  private lowers(volumeId: string, next: VolumeConfig): void {
    const record = this.world.store.get<VolumeRecord>(`volumes/${volumeId}`)
    if (record === undefined || this.isWishNew(volumeId)) return
    const { minInSync, spec } = record
    const wished = minInSync > 0 ? Math.min(minInSync, spec.replicas + 1) : spec.replicas >= 2 ? 2 : 1
    if (next.minInSync >= wished) return
    this.violated(`${volumeId}: minInSync is lowered to ${next.minInSync}, wished is ${wished}`)
  }

  private isWishNew(volumeId: string): boolean {
    return this.world.nowMs - (this.wishedAtMs.get(volumeId) ?? -Infinity) <= this.windowMs
  }
}
