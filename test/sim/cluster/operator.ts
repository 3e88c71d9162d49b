/**
 * The operator, and the control plane where it only changes the configuration: takes snapshots, goes back to them,
 * enlarges and shrinks, hands over, evicts, adds and replaces copies, moves the attachment, and, when the primary is
 * down, forces another one. Its changes go through the cluster store like everybody's.
 */
import { unreachable } from '../../../engine/assert.ts'
import {
  withForcedPrimary,
  withHolder,
  withHolderAnew,
  withoutHolder,
  withoutMembers,
  type VolumeConfig,
} from '../../../engine/replication/configuration.ts'
import type { CommandResult, OperatorCommand } from '../../../engine/replication/copy-port.ts'
import { GIB } from '../../../engine/units.ts'
import { Random } from '../random.ts'
import type { Scene } from './aims.ts'
import type { ClientOperation } from './checker/history.ts'
import { beginClone } from './clone-maker.ts'
import type { PlannedEvent } from './plan.ts'
import { mayWriteBack } from './durability-focus.ts'
import { discard, smaller } from './shrink-focus.ts'
import type { SimClient } from './sim-client.ts'
import type { SimNode } from './sim-node.ts'
import type { ActionKind } from './swarm.ts'
import { deleteVolume } from './volume-deletion.ts'
import type { World } from './world.ts'

const ATTEMPTS_MAX = 20

export class Operator {
  private readonly world: World
  private readonly commands = new Map<number, ClientOperation>()
  private readonly waiting = new Map<number, (result: CommandResult) => void>()
  private tokens = 0
  private names = 0
  private changesUnderWay = 0
  /** Ids of those that were asked for. */
  readonly snapshots: string[] = []
  private sizeBytes: number
  /** That were done. */
  shrinks = 0
  durabilities = 0

  constructor(world: World, sizeBytes: number) {
    this.world = world
    this.sizeBytes = sizeBytes
  }

  /** Of a snapshot that is taken for something else. */
  nextName(prefix: string): string {
    return `${prefix}${++this.names}`
  }

  /** It may still take copies out, or put new ones in. */
  get isBusy(): boolean {
    return this.changesUnderWay > 0
  }

  /** `scene`: what it waited for. */
  act(event: PlannedEvent, scene?: Scene): void {
    const { world } = this
    if (world.isDeleted) return
    const random = new Random(event.seed)
    const kind = event.kind as ActionKind
    world.trace.note('operator', kind)
    const { config } = world.store.current
    switch (kind) {
      case 'snapshot': {
        const id = `s${++this.names}`
        this.snapshots.push(id)
        return this.command({ type: 'change', change: { operation: 'snapshot', id } })
      }
      case 'snapshot-delete':
        if (this.snapshots.length === 0) return
        return this.command({
          type: 'change',
          change: { operation: 'snapshot-delete', id: random.pick(this.snapshots) },
        })
      case 'rollback':
        if (this.snapshots.length === 0) return
        return this.rollBack(random)
      case 'resize':
        return this.enlarge()
      case 'shrink':
        return this.shrink(random)
      case 'set-durability':
        return this.setDurability(random)
      case 'hand-over':
        return this.command({ type: 'hand-over', to: this.seen(scene, config) ?? random.pick(config.inSync) })
      case 'evict': {
        const node = this.seen(scene, config) ?? random.pick(config.inSync)
        return this.change(random, (now, nonce) => this.without(now, node, nonce))
      }
      case 'add-copy':
        return this.addCopy(random)
      case 'replace-disk':
        return this.replaceDisk(random)
      case 'renew-copy':
        return this.renewCopy(random)
      case 'clone':
        return beginClone(world, random)
      case 'hydrate':
        return this.hydrate()
      case 'delete':
        return deleteVolume(world, random.float() * world.swarm.graceMs)
      case 'move-attach':
        return this.moveAttach(random)
      case 'force-promote':
        return this.forceWhenDown(random, ATTEMPTS_MAX)
      default:
        return unreachable(kind)
    }
  }

  /** Of those who were seen one that is in the set and does not lead. */
  private seen(scene: Scene | undefined, { inSync, primary }: VolumeConfig): string | undefined {
    if (scene === undefined) return undefined
    return [scene.who, scene.other].find((name) => name !== primary && inSync.includes(name))
  }

  /** Somebody else holds it; or, where several may, somebody too, or no more. */
  private moveAttach(random: Random): void {
    const { world } = this
    const { mode } = world.store.current.config.attach
    if (mode === 'open') return
    const client = random.pick([...world.clients.values()])
    const leaves = mode !== 'single' && random.chance(0.5)
    const change = (now: VolumeConfig, nonce: string) => {
      if (leaves && Object.keys(now.attach.holders).length === 1) return undefined
      const next = leaves ? withoutHolder(now, client.name, nonce) : withHolder(now, client.name, mode, nonce)
      return next === now ? undefined : next
    }
    // Who does not hold it any more is not told by us.
    this.change(random, change, ({ attach: { holders } }) => {
      const generation = holders[client.name]
      if (!leaves && generation !== undefined) world.users.attach(client, generation)
    })
  }

  /** Somebody else leads, whatever he lacks. Looks for a while whether the primary is down. */
  private forceWhenDown(random: Random, looks: number): void {
    const { world } = this
    const { config } = world.store.current
    const isDown = ({ primary }: VolumeConfig) => world.nodes.get(primary)?.process === undefined
    if (!isDown(config)) {
      if (looks === 0) return
      const again = () => !world.isHealed && this.forceWhenDown(random, looks - 1)
      world.clock.after(world.swarm.graceMs / 8, again)
      return
    }
    const node = random.pick(config.inSync)
    this.change(random, (now, nonce) =>
      now.epoch === config.epoch && isDown(now) ? withForcedPrimary(now, node, nonce) : undefined,
    )
  }

  /** Its session broke: it comes back under a new generation. */
  attachAnew(client: SimClient, generation: number): void {
    const random = new Random(`attach ${client.name} ${++this.names}`)
    const heldUnder = ({ attach }: VolumeConfig): number | undefined =>
      attach.mode === 'open' ? attach.generation : attach.holders[client.name]
    const change = (now: VolumeConfig, nonce: string): VolumeConfig | undefined => {
      const held = heldUnder(now)
      return held === undefined || held > generation ? undefined : withHolderAnew(now, client.name, nonce)
    }
    const attach = () => {
      const held = heldUnder(this.world.store.current.config)
      const { session } = this.world.clients.get(client.name)!
      if (session === undefined && held !== undefined) this.world.users.attach(client, held)
    }
    this.change(random, change, attach, attach)
  }

  ended(token: number, result: CommandResult): void {
    this.waiting.get(token)?.(result)
    this.waiting.delete(token)
    const op = this.commands.get(token)
    if (op === undefined || op.end !== Infinity) return
    op.end = this.world.position()
    op.result = result.ok ? 'ok' : result.code
    op.seq = result.ok ? result.seq : 0
    this.world.trace.note('operator', 'command ended', 0, op.seq, op.result)
  }

  /** This one leads, whatever it lacks, in the set or not. */
  force(random: Random, name: string): void {
    const { nodes } = this.world
    const isFit = (now: VolumeConfig): boolean =>
      nodes.get(now.primary)?.process === undefined &&
      this.world.hasCopy(now, name) &&
      nodes.get(name)!.witness.isConsistent
    this.change(random, (now, nonce) => (isFit(now) ? withForcedPrimary(now, name, nonce) : undefined))
  }

  enlarge(): void {
    this.sizeBytes += GIB
    this.command({ type: 'change', change: { operation: 'resize', sizeBytes: this.sizeBytes } })
  }

  /** Most often somebody discards what lies there before it is asked, and half of the time a snapshot has it. */
  private shrink(random: Random): void {
    const { world } = this
    const nowBytes = world.nodes.get(world.store.current.config.primary)?.process?.copy.sizeBytes ?? 0
    const wish = smaller(world.swarm, nowBytes, random)
    if (wish === undefined) return
    const order = (): void => {
      if (world.isHealed || world.isDeleted) return
      const { sizeBytes } = wish
      this.command({ type: 'change', change: { operation: 'shrink', sizeBytes } }, ({ ok }) => {
        if (!ok) return
        this.sizeBytes = sizeBytes
        this.shrinks++
      })
    }
    if (random.chance(0.2)) return order()
    if (random.chance(0.5)) {
      const id = `s${++this.names}`
      this.snapshots.push(id)
      this.command({ type: 'change', change: { operation: 'snapshot', id } })
    }
    discard(world, wish, random)
    const { network, disk } = world.swarm
    world.clock.after(random.float() * random.pick([1, 4, 16]) * (network.delayMs[1] + disk.syncMs[1]), order)
  }

  /** Most often to the other one. */
  private setDurability(random: Random): void {
    const { world } = this
    const now = world.judge.committed.durabilityBehind(Infinity, world.swarm.mode)
    const other = now === 'durable' ? 'writeback' : 'durable'
    const to = random.chance(0.8) ? other : now
    world.judge.durabilityAsked(to)
    this.command({ type: 'change', change: { operation: 'durability', to } }, (result) => {
      if (!result.ok) return
      this.durabilities++
      world.judge.durabilityChanged(result.seq)
    })
  }

  handOver(to: string): void {
    this.command({ type: 'hand-over', to })
  }

  /** Another value that says the same: whoever changes the former one has lost. */
  touch(random: Random): void {
    this.change(random, (now, nonce) => ({ ...now, nonce }))
  }

  /** Half of them keep what they roll away, and that may be rolled back to. */
  private rollBack(random: Random): void {
    const to = random.pick(this.snapshots)
    if (random.chance(0.5)) return this.command({ type: 'change', change: { operation: 'rollback', to } })
    const id = `s${++this.names}`
    this.snapshots.push(id)
    this.command({ type: 'change', change: { operation: 'rollback', to, kept: { id } } })
  }

  /** To whoever the configuration names. @param ended  told how it ended, unless its process does before */
  command(command: OperatorCommand, ended?: (result: CommandResult) => void): void {
    const { world } = this
    const node = world.nodes.get(world.store.current.config.primary)
    if (node?.process === undefined) return
    const token = ++this.tokens
    const op: ClientOperation = {
      client: 'operator',
      request: '',
      kind: 'control',
      lba: 0,
      blockCount: 0,
      stamps: [],
      start: world.position(),
      end: Infinity,
      result: 'none',
      seq: 0,
    }
    this.commands.set(token, op)
    if (ended !== undefined) this.waiting.set(token, ended)
    if (command.type === 'change') world.users.record(op)
    if (command.type === 'change' && command.change.operation === 'snapshot-delete') {
      world.readers.deletionOrdered(command.change.id)
    }
    node.deliver({ type: 'command', token, command })
  }

  /** It was taken for a clone, which is served. */
  dropSnapshot(id: string): void {
    this.command({ type: 'change', change: { operation: 'snapshot-delete', id } })
  }

  /** Each copy gets blocks of its own for what it shares, by itself. */
  private hydrate(): void {
    const { network, nodes } = this.world
    for (const node of nodes.values()) {
      network.send('operator', node.name, () => {
        if (node.process !== undefined && !node.isPaused) node.disk.hydrate()
      })
    }
  }

  /** A spare node takes a copy. */
  addCopy(random: Random): void {
    const { world } = this
    const spares = [...world.nodes.values()].filter(
      ({ name }) => world.store.current.config.members[name] === undefined,
    )
    if (spares.length === 0 || world.store.current.config.inSync.length >= 6) return
    const node = random.pick(spares)
    this.place(random, node.name)
  }

  /** A replica's copy is erased where it is, and made anew there. */
  private renewCopy(random: Random): void {
    const node = this.spareable(random)
    if (node !== undefined) this.replace(node)
  }

  /** The disk of a replica is gone, and another one is put in. */
  private replaceDisk(random: Random): void {
    const { world } = this
    const node = this.spareable(random)
    if (node === undefined) return
    node.losePower(world.position())
    world.newDisk(node, '')
    this.replace(node)
  }

  /**
   * A member whose copy may go. One that was taken away and is still in the set does not count among those that stay:
   * with fewer than `minInSync` of them nobody serves, and only an operator's force would help.
   */
  private spareable(random: Random): SimNode | undefined {
    const { world } = this
    const { config } = world.store.current
    const { inSync, minInSync, primary, members } = config
    const away = Object.keys(members).filter((name) => !inSync.includes(name))
    const there = inSync.filter((name) => world.hasCopy(config, name))
    const spareable = there.length > Math.max(1, minInSync) ? there.filter((name) => name !== primary) : []
    const names = [...away, ...spareable].filter((name) => !world.nodes.get(name)!.role.includes('prim'))
    return names.length === 0 ? undefined : world.nodes.get(random.pick(names))!
  }

  /** A node gets another copy in place of that of a member, which may be gone with its disk. */
  replace(node: SimNode): void {
    const random = new Random(`replace ${node.name} ${++this.names}`)
    const out = (now: VolumeConfig, nonce: string) =>
      now.inSync.includes(node.name) ? this.without(now, node.name, nonce) : undefined
    this.change(random, out, undefined, () => this.place(random, node.name))
  }

  /**
   * Never the last one that has its copy, nor in `writeback` the last that has all it acknowledged, nor while the
   * primary reconciles (C1, I23). The last is for disks that lie; the machine stands it where they do not.
   */
  private without(now: VolumeConfig, name: string, nonce: string): VolumeConfig | undefined {
    const { world } = this
    const lacksSlices = (other: string) => (world.nodes.get(other)!.openCopy?.lostSlices.length ?? 0) > 0
    const left = now.inSync.filter((other) => other !== name && world.hasCopy(now, other) && !lacksSlices(other))
    const copyOf = (node: string) => world.nodes.get(node)!.process?.copy
    const isKnownWhole = (node: string) => world.nodes.get(node)!.openCopy?.isWhole === true
    // Who is down may be whole.
    const mayBeWhole = world.hasCopy(now, name) && copyOf(name)?.isWhole !== false
    if (!world.atlas.isHonest(now.primary) && copyOf(now.primary)?.role !== 'primary') return undefined
    if (mayWriteBack(world.swarm) && mayBeWhole && !left.some(isKnownWhole)) return undefined
    return left.length === 0 ? undefined : withoutMembers(now, [name], nonce)
  }

  private place(random: Random, name: string): void {
    if (this.world.swarm.isErasing) {
      this.world.orders.renew(name)
      this.world.nodes.get(name)!.start()
      return
    }
    const copyId = `copy-${name}-${++this.names}`
    const change = (now: VolumeConfig, nonce: string): VolumeConfig | undefined => {
      if (now.inSync.includes(name)) return undefined
      return { ...now, members: { ...now.members, [name]: { copyId, state: 'catching-up' } }, nonce }
    }
    this.change(random, change, () => {
      // Another one was placed there meanwhile.
      if (this.world.store.current.config.members[name]?.copyId !== copyId) return
      const node = this.world.nodes.get(name)!
      node.losePower(this.world.position())
      this.world.newDisk(node, copyId)
      node.start()
    })
  }

  /** Read, change, swap; again while somebody else was faster. `otherwise`: it changed nothing, or was given up. */
  change(
    random: Random,
    change: (now: VolumeConfig, nonce: string) => VolumeConfig | undefined,
    done?: (now: VolumeConfig) => void,
    otherwise?: () => void,
    attempt = 0,
    former?: string,
  ): void {
    const { store, clock } = this.world
    if (attempt === 0) this.changesUnderWay++
    const over = (then?: () => void) => {
      this.changesUnderWay--
      then?.()
    }
    const again = (nonce?: string) => {
      if (attempt >= ATTEMPTS_MAX) return over(otherwise)
      clock.after(1 + random.float() * 50, () => this.change(random, change, done, otherwise, attempt + 1, nonce))
    }
    store.read('operator', (value) => {
      if (value === undefined) return again(former)
      // An unknown outcome: ours is in force, or something came after it.
      if (former !== undefined && store.history.some(({ config }) => config.nonce === former))
        return over(() => done?.(value.config))
      const nonce = `operator.${random.u32().toString(36)}`
      const next = change(value.config, nonce)
      if (next === undefined) return over(otherwise)
      store.compareAndSwap('operator', value.version, next, ({ outcome }) => {
        if (outcome === 'won') {
          over(() => {
            done?.(next)
            otherwise?.()
          })
        } else again(outcome === 'unknown' ? nonce : undefined)
      })
    })
  }
}
