/**
 * Copies share a zone only when no other one can take them: judged by nodes that were fit for a while, so that a
 * controller could know.
 */
import type { Action } from '../../../engine/control/actions.ts'
import type { RebuildTable } from '../../../engine/control/rebuild-table.ts'
import type { DiskWish, NodeWish } from '../../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { ToyController } from './toy-controller.ts'
import type { ToyNode } from './toy-node.ts'
import type { ToyWorld } from './toy-world.ts'

/** Nothing happened to a node for so long. */
const STEADY_MS = 25_000
/** An entry that is gone may still be acted upon by one who was not told. */
const LATE_MS = 10_000

export class ZoneChecks {
  private readonly world: ToyWorld
  private readonly violated: (what: string) => void
  private readonly tabledAtMs = new Map<string, number>()

  constructor(world: ToyWorld, violated: (what: string) => void) {
    this.world = world
    this.violated = violated
  }

  wasTabled(volumeId: string, node: NodeId): boolean {
    return this.world.nowMs - (this.tabledAtMs.get(`${volumeId} ${node}`) ?? -Infinity) <= LATE_MS
  }

  planned({ cluster }: ToyController, { rebuilds }: Extract<Action, { type: 'change-rebuilds' }>): void {
    const { store, nowMs } = this.world
    const table = store.get<RebuildTable>('rebuilds')!
    for (const { volumeId, to } of [...table, ...rebuilds]) this.tabledAtMs.set(`${volumeId} ${to}`, nowMs)
    for (const entry of rebuilds) {
      if (cluster.rebuilds.includes(entry)) continue
      const { volumeId, to, why } = entry
      const config = cluster.volumes.get(volumeId)?.config
      const record = store.get<VolumeRecord>(`volumes/${volumeId}`)
      if (config === undefined || record === undefined || cluster.volumes.get(volumeId)!.move !== undefined) continue
      if (this.isClosed(to)) this.violated(`${volumeId}: a copy for ${to}, which takes none`)
      const beside = rebuilds.filter((other) => other.volumeId === volumeId && other !== entry)
      const coming = beside.map((other) => other.to)
      // It goes where an operator or a user is.
      if (why === 'move') continue
      // Those that may go are left out of both sides: a zone that only they are in may be chosen or not.
      const others = [...Object.keys(config.members), ...coming].filter((node) => node !== to)
      const staying = others.filter((node) => !this.mayGo(volumeId, node))
      const inZone = this.countIn(this.zoneOf(to), staying)
      if (why === 'rebalance') {
        const kept = others.filter((node) => node !== entry.from)
        if (this.countIn(this.zoneOf(to), kept) > this.countIn(this.zoneOf(entry.from), kept)) {
          this.violated(`${volumeId}: rebalanced from ${entry.from} to ${to}, where others are`)
        }
        continue
      }
      const better = this.fitNodes(record, new Set([...others, to])).find(
        (node) => this.countIn(this.zoneOf(node.name), others) < inZone,
      )
      if (better === undefined) continue
      this.violated(`${volumeId}: a copy for ${to} (${why}), ${better.name} is in a freer zone`)
    }
  }

  creates(volumeId: string, config: VolumeConfig): void {
    const record = this.world.store.get<VolumeRecord>(`volumes/${volumeId}`)
    const copies = config.inSync
    // Who did not get the order was passed over.
    if (this.world.swarm.lossChance > 0) return
    if (record === undefined || copies.some((node) => !this.isSteady(this.world.nodes.get(node)!))) return
    const fit = this.fitNodes(record, new Set(copies))
    for (const node of copies) {
      const others = copies.filter((other) => other !== node)
      const inZone = this.countIn(this.zoneOf(node), others)
      if (node === record.firstNode) continue
      const better = fit.find((one) => this.countIn(this.zoneOf(one.name), others) < inZone)
      if (better !== undefined) this.violated(`${volumeId}: made on ${node}, ${better.name} is in a freer zone`)
    }
  }

  private zoneOf(name: NodeId): string {
    const { zone } = this.world.nodes.get(name)!
    return zone === '' ? `node ${name}` : zone
  }

  private countIn(zone: string, nodes: readonly NodeId[]): number {
    return nodes.filter((node) => this.zoneOf(node) === zone).length
  }

  private mayGo(volumeId: string, name: NodeId): boolean {
    const node = this.world.nodes.get(name)!
    const wish = this.world.store.get<NodeWish>(`node-wishes/${name}`)!
    const copy = node.copies.get(volumeId)
    const isBroken = copy === undefined || copy.failure !== ''
    const isOnEvicted = copy?.diskUuids.some((uuid) => this.isEvicted(uuid)) === true
    return isBroken || wish.isDraining || isOnEvicted || !this.isSteady(node)
  }

  /** Cordoned or drained, for so long that everybody knows. */
  private isClosed(name: NodeId): boolean {
    const wish = this.world.store.get<NodeWish>(`node-wishes/${name}`)!
    return (wish.isCordoned || wish.isDraining) && this.isSteady(this.world.nodes.get(name)!)
  }

  private isEvicted(uuid: string): boolean {
    return this.world.store.get<DiskWish>(`disk-wishes/${uuid}`)?.isEvicted === true
  }

  private isSteady(node: ToyNode): boolean {
    return node.isUp && this.world.nowMs - node.touchedAtMs > STEADY_MS
  }

  /** They could take a copy, and everybody knows. */
  private fitNodes({ spec }: VolumeRecord, taken: ReadonlySet<NodeId>): ToyNode[] {
    return [...this.world.nodes.values()].filter((node) => {
      if (taken.has(node.name) || node.copies.has(spec.id) || !this.isSteady(node)) return false
      const wish = this.world.store.get<NodeWish>(`node-wishes/${node.name}`)!
      if (wish.isCordoned || wish.isDraining) return false
      for (const [cut, { untilMs }] of this.world.cuts) {
        if (cut.endsWith(` ${node.name}`) && untilMs > this.world.nowMs - STEADY_MS) return false
      }
      const disks = node.disks.filter(({ isFailed, tags, uuid }) => {
        return !isFailed && !this.isEvicted(uuid) && spec.diskTags.every((tag) => tags.includes(tag))
      })
      // Far from any limit.
      const capacityBytes = disks.reduce((sum, disk) => sum + disk.capacityBytes, 0)
      return node.copies.size * 8 * 2 ** 30 + spec.sizeBytes * 4 < capacityBytes
    })
  }
}
