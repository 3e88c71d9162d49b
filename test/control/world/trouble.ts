/**
 * What befalls the world: nodes and disks that fail and come back, controllers that end or double, and an operator who
 * drains, moves, changes, deletes and restores. Never the last copy that has everything: that is nobody's to survive.
 */
import type { NodeWish } from '../../../engine/control/node-status.ts'
import { deleted, hydrated, purged, restored } from '../../../engine/control/volume-record.ts'
import type { Move, VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { NodeId } from '../../../engine/replication/configuration.ts'
import { Random } from '../../sim/random.ts'
import type { ToyNode } from './toy-node.ts'
import type { ToyWorld } from './toy-world.ts'

const VOLUMES_LEAST = 8

export class Trouble {
  private readonly world: ToyWorld
  private readonly random: Random
  private readonly rotRandom: Random
  /** Nodes that are down, and when they come back. */
  private readonly backAtMs = new Map<NodeId, number>()

  constructor(world: ToyWorld, random: Random) {
    this.world = world
    this.random = random
    this.rotRandom = new Random(`rot ${world.swarm.seed}`)
  }

  step(): void {
    const { world, random } = this
    const { swarm, nowMs } = world
    for (const [name, atMs] of this.backAtMs) if (atMs <= nowMs) this.up(world.nodes.get(name)!)
    if (random.chance(swarm.faultChance)) this.fault()
    if (random.chance(swarm.wishChance)) this.wish()
    if (random.chance(swarm.cloneChance)) this.clone()
    if (random.chance(swarm.useChance)) this.use()
    if (swarm.rotChance > 0 && this.rotRandom.chance(swarm.rotChance)) this.rot()
  }

  /** A pod of some volume begins, moves or ends. */
  private use(): void {
    const { world, random } = this
    const ids = world.store.keys('volumes/').map((key) => key.slice('volumes/'.length))
    if (ids.length === 0) return
    const id = random.pick(ids)
    const { config } = world.volumes.get(id)!
    const { trash } = world.store.get<VolumeRecord>(`volumes/${id}`)!
    if (config === undefined || trash !== null) return
    this.event()
    const generation = config.attach.generation + 1
    const holders = random.chance(0.8) ? { [random.pick([...world.nodes.keys()])]: generation } : {}
    world.checks.used(id, Object.keys(holders)[0])
    world.store.put(`configs/${id}`, { ...config, attach: { mode: 'single', generation, holders } })
    // A6; the API stops before it ends that with a detachment.
    const [user] = Object.keys(holders)
    const move = world.store.get<Move>(`moves/${id}`)
    const isAsked = move !== undefined && move.isFollowing !== true
    if (user === undefined || isAsked || config.primary === user || !config.inSync.includes(user)) return
    world.store.put(`moves/${id}`, { what: 'primary', to: user, from: '', isFollowing: true })
  }

  /** A clone, or that one is to share nothing, or goes: rather of one that was made last, so chains get long. */
  private clone(): void {
    const { world, random } = this
    const { store, nowMs, checks } = world
    const ids = store.keys('volumes/').map((key) => key.slice('volumes/'.length)).sort()
    if (ids.length === 0) return
    const id = random.chance(0.5) ? ids.at(-1)! : random.pick(ids)
    const record = store.get<VolumeRecord>(`volumes/${id}`)!
    this.event()
    if (random.chance(0.8)) {
      if (ids.length < VOLUMES_LEAST + world.swarm.volumes) world.createClone(id, random)
      return
    }
    const next = random.chance(0.5) ? hydrated(record, 'asked') : deleted(record, store.get<number>('cluster-age')!, 0)
    const holders = Object.keys(world.volumes.get(id)?.config?.attach.holders ?? {})
    if (next === undefined || (next.trash !== null && holders.length > 0)) return
    if (next.trash !== record.trash) checks.deletedAtMs.set(id, nowMs)
    checks.wishedAtMs.set(id, nowMs)
    store.put(`volumes/${id}`, next)
  }

  /** One of the set cannot read what a write wrote, which another member has, wherever that is. */
  private rot(): void {
    const { world, rotRandom } = this
    const volume = rotRandom.pick([...world.volumes.values()])
    const { config } = volume ?? {}
    if (volume === undefined || config === undefined || volume.seq === 0) return
    const node = rotRandom.pick(config.inSync)
    const copy = volume.copyOf(config, node)
    const write = rotRandom.between(1, volume.seq)
    if (copy === undefined || !volume.hasWrite(copy, write)) return
    const others = Object.keys(config.members).filter((other) => other !== node)
    if (!others.some((other) => volume.hasWrite(volume.copyOf(config, other), write))) return
    copy.lacks.add(write)
    world.checks.rotten(volume.id, write)
  }

  /** Everything comes back, and what was wished can be had. */
  heal(): void {
    const { world, random } = this
    for (const name of this.backAtMs.keys()) this.up(world.nodes.get(name)!)
    world.cuts.clear()
    while (world.controllers.length > 1) world.endController(world.controllers[0]!)
    if (world.controllers.length === 0) world.startController()
    world.controllers[0]!.isElected = true
    const isDraining = (name: NodeId) => world.store.get<NodeWish>(`node-wishes/${name}`)!.isDraining
    // Drains go on when there are nodes enough.
    const drained = [...world.nodes.keys()].filter(isDraining)
    const most = Math.max(0, world.swarm.nodes - world.swarm.replicasMax - 1)
    for (const name of world.nodes.keys()) {
      const keeps = drained.slice(0, most).includes(name) && random.chance(0.5)
      world.nodes.get(name)!.touchedAtMs = world.nowMs
      world.store.put(`node-wishes/${name}`, { isCordoned: false, isDraining: keeps })
    }
    // Whose every disk failed gets a new one.
    for (const node of world.nodes.values()) {
      for (const disk of node.disks) world.store.put(`disk-wishes/${disk.uuid}`, { isEvicted: false })
      const [first] = node.disks
      if (node.disks.some(({ isFailed }) => isFailed) && first !== undefined) {
        for (const disk of node.disks) {
          if (disk.isFailed) Object.assign(disk, { uuid: `${disk.uuid}+`, isFailed: false })
        }
      }
    }
    for (const key of world.store.keys('moves/')) {
      const id = key.slice('moves/'.length)
      const { what, to } = world.store.get<Move>(key)!
      const tags = world.store.get<VolumeRecord>(`volumes/${id}`)?.spec.diskTags ?? []
      const isMember = world.volumes.get(id)?.config?.inSync.includes(to) === true
      const { disks } = world.nodes.get(to)!
      const isOpen = !isDraining(to) && disks.some((disk) => tags.every((tag) => disk.tags.includes(tag)))
      if (!isOpen || (what === 'primary' && !isMember)) world.store.put(key, undefined)
    }
    this.event()
  }

  private event(): void {
    this.world.checks.lastEventMs = this.world.nowMs
  }

  private up(node: ToyNode): void {
    node.isUp = true
    node.instance++
    for (const copy of node.copies.values()) copy.isHydrating = false
    node.touchedAtMs = this.world.nowMs
    this.backAtMs.delete(node.name)
    this.event()
  }

  private fault(): void {
    const { world, random } = this
    const node = random.pick([...world.nodes.values()])
    const { nowMs } = world
    const what = random.pick(['crash', 'crash', 'power', 'power', 'disk', 'cut', 'controller', 'controller', 'rack'])
    this.event()
    if (what === 'crash' || what === 'power') return this.down(node, what === 'power')
    if (what === 'disk') return this.failDisk(node)
    if (what === 'rack') {
      for (const other of world.nodes.values()) {
        if (other.zone === node.zone && random.chance(0.7)) this.down(other, random.chance(0.5))
      }
      return
    }
    if (what === 'cut') {
      const controller = world.controllers[0]
      const untilMs = nowMs + random.between(1, 60) * 1000
      // Its heartbeat may still come through the store.
      const what = random.chance(0.5) ? 'all' : 'answers'
      if (controller !== undefined) world.cuts.set(`${controller.name} ${node.name}`, { untilMs, what })
      node.touchedAtMs = nowMs
      return
    }
    const { controllers } = world
    if (controllers.length < world.swarm.controllersMax) world.startController()
    else if (random.chance(0.5)) world.endController(random.pick(controllers))
    else for (const controller of controllers) controller.isElected = random.chance(0.7)
    if (controllers.length === 0) world.startController()
  }

  private down(node: ToyNode, losesPower: boolean): void {
    if (!node.isUp) return
    node.isUp = false
    node.touchedAtMs = this.world.nowMs
    this.backAtMs.set(node.name, this.world.nowMs + this.random.pick([1, 3, 8, 30, 120]) * 1000)
    if (!losesPower) return
    for (const copy of node.copies.values()) {
      if (this.world.volumes.get(copy.volumeId)?.isWriteback === true) copy.isWhole = false
    }
  }

  /** Unless it has the only complete copy of something. */
  private failDisk(node: ToyNode): void {
    const { world, random } = this
    const disk = random.pick(node.disks)
    const copies = [...node.copies.values()].filter(({ diskUuids }) => diskUuids.includes(disk.uuid))
    const isLast = copies.some((copy) => {
      const volume = world.volumes.get(copy.volumeId)
      const config = volume?.config
      if (volume === undefined || config?.members[node.name]?.copyId !== copy.copyId) return false
      const others = config.inSync.filter((name) => name !== node.name)
      return !others.some((name) => volume.isComplete(volume.copyOf(config, name)))
    })
    if (isLast || disk.isFailed) return
    disk.isFailed = true
    for (const one of node.remains) if (one.diskUuids.includes(disk.uuid)) node.remains.delete(one)
    node.touchedAtMs = world.nowMs
    const isWiped = random.chance(0.3)
    for (const copy of copies) {
      if (isWiped) node.copies.delete(copy.volumeId)
      else copy.failure = 'a write failed'
    }
  }

  private wish(): void {
    const { world, random } = this
    const { store, checks, nowMs } = world
    const ids = store.keys('volumes/').map((key) => key.slice('volumes/'.length))
    const name = random.pick([...world.nodes.keys()])
    const what = random.pick([
      'drain', 'undrain', 'cordon', 'evict-disk', 'keep-disk', 'create', 'delete', 'restore', 'purge',
      'replicas', 'replicas', 'move', 'move', 'lead', 'attach', 'detach',
    ] as const)
    this.event()
    const id = ids.length > 0 ? random.pick(ids) : undefined
    const node = world.nodes.get(name)!
    const nodeWish = store.get<NodeWish>(`node-wishes/${name}`)!
    switch (what) {
      case 'drain':
        node.touchedAtMs = nowMs
        return store.put(`node-wishes/${name}`, { ...nodeWish, isDraining: true })
      case 'undrain':
      case 'cordon':
        node.touchedAtMs = nowMs
        return store.put(`node-wishes/${name}`, { isCordoned: what === 'cordon', isDraining: false })
      case 'evict-disk':
      case 'keep-disk':
        node.touchedAtMs = nowMs
        return store.put(`disk-wishes/${random.pick(node.disks).uuid}`, { isEvicted: what === 'evict-disk' })
      case 'create':
        if (ids.length < Math.max(VOLUMES_LEAST, world.swarm.volumes * 1.1)) world.createVolume()
        return
    }
    if (id === undefined) return
    const record = store.get<VolumeRecord>(`volumes/${id}`)!
    const put = (next: VolumeRecord | undefined) => {
      if (next === undefined) return
      checks.wishedAtMs.set(id, nowMs)
      store.put(`volumes/${id}`, next)
    }
    const { config } = world.volumes.get(id)!
    switch (what) {
      case 'delete': {
        if (Object.keys(config?.attach.holders ?? {}).length > 0) return
        const next = deleted(record, store.get<number>('cluster-age')!, random.pick([0, 60_000, 300_000]))
        if (next !== undefined) checks.deletedAtMs.set(id, nowMs)
        return put(next)
      }
      case 'restore':
        return put(restored(record))
      case 'purge':
        if (purged(record) !== undefined) checks.purgeWished.add(id)
        return put(purged(record))
      case 'replicas': {
        const replicas = random.between(0, world.swarm.replicasMax)
        return put({ ...record, spec: { ...record.spec, replicas } })
      }
      case 'move':
      case 'lead': {
        const members = Object.keys(config?.members ?? {})
        const from = members.length > 0 && random.chance(0.5) ? random.pick(members) : ''
        if (from === name) return
        const move: Move = { what: what === 'lead' ? 'primary' : 'copy', to: name, from: what === 'lead' ? '' : from }
        return store.put(`moves/${id}`, move)
      }
      case 'attach':
      case 'detach': {
        // Attaching and deleting at the same time: both may be there for a while (T4).
        if (config === undefined || (record.trash !== null && (record.trash.isPurging || random.chance(0.7)))) return
        const generation = config.attach.generation + 1
        const attach = { ...config.attach, generation, holders: what === 'attach' ? { [name]: generation } : {} }
        checks.used(id, Object.keys(attach.holders)[0])
        return store.put(`configs/${id}`, { ...config, attach })
      }
    }
  }
}
