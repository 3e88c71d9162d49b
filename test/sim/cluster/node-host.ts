/**
 * What the nodes of a volume ask of its world (sim-node.ts, copy-witness.ts): messages go over the network, changes of
 * the configuration to the cluster store, and the judge hears of everything.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { CommandResult, CopyEvent, VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { Beacon } from '../../../engine/replication/leases.ts'
import type { FrontendMessage, PeerMessage } from '../../../engine/replication/messages.ts'
import type { BlockVersion, ReplicatedRecord } from '../../../engine/replication/record.ts'
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'
import type { CasOutcome } from './cluster-store.ts'
import { mayWriteBack } from './durability-focus.ts'
import type { NodeWorld, SimNode } from './sim-node.ts'
import type { Swarm } from './swarm.ts'
import { briefEvent, briefFrontend, briefMessage } from './trace-text.ts'
import type { World } from './world.ts'

/** What says that something is stored. */
const ACKNOWLEDGING: readonly string[] = ['stored', 'promised', 'fenced', 'fill-started', 'filled', 'fill-ended']

/** What makes a primary count more of a member as stored. */
const COUNTED: readonly string[] = ['stored', 'promised', 'fill-started']

export class NodeHost implements NodeWorld {
  private readonly world: World
  private readonly reportsRandom: Random

  /** @param reportsRandom  which reports of supervisors are late */
  constructor(world: World, reportsRandom: Random) {
    this.world = world
    this.reportsRandom = reportsRandom
  }

  get clock(): SimClock {
    return this.world.clock
  }

  get swarm(): Swarm {
    return this.world.swarm
  }

  get volumeId(): string {
    return this.world.volumeId
  }

  get hasFailed(): boolean {
    return this.world.hasFailed
  }

  position(): number {
    return this.world.position()
  }

  failed(node: SimNode, error: unknown): void {
    this.world.failed(node, error)
  }

  readConfig(node: string, ended: (value: VersionedConfig | undefined) => void): void {
    this.world.store.read(node, ended)
  }

  /** I14. What was decided before its store failed is true, and may leave in the same turn. */
  deciding(from: string, { type }: PeerMessage, knowsFailure: boolean): void {
    if (knowsFailure && ACKNOWLEDGING.includes(type)) this.world.judge.acknowledges(from, type)
  }

  send(from: string, instance: string, to: string, message: PeerMessage): void {
    if (message.type === 'promised' || message.type === 'stored') this.world.judge.promiseUsed(from, message.epoch)
    if (message.type === 'fenced') this.world.judge.fenceUsed(from, message.fence)
    const seq =
      'seq' in message ? message.seq : 'tail' in message && typeof message.tail === 'number' ? message.tail : 0
    this.world.trace.note(
      from,
      message.type,
      'epoch' in message ? message.epoch : 0,
      seq,
      to,
      () => `to ${to}${briefMessage(message)}`,
    )
    const arrived: CopyEvent = { type: 'message', from, instance, message }
    this.world.network.send(from, to, () => this.world.nodes.get(to)?.deliver(arrived))
    this.world.aims.saw(message.type, from, to)
  }

  reply(from: string, to: string, message: FrontendMessage): void {
    const epoch = 'epoch' in message ? message.epoch : 0
    this.world.trace.note(from, message.type, epoch, 0, to, () => `to ${to}${briefFrontend(message)}`)
    this.world.readers.told(to, message)
    this.world.network.send(from, to, () => {
      this.world.judge.answered(message)
      this.world.clients.get(to)?.message(from, message)
      this.world.readers.message(to, from, message)
      for (const ghost of this.world.users.ghosts) if (ghost.name === to) ghost.message(from, message)
    })
    this.world.aims.saw(message.type, from, to)
  }

  compareAndSwap(node: string, version: string, config: VolumeConfig, ended: (outcome: CasOutcome) => void): void {
    const detail = () => `${version}: primary ${config.primary}, set ${config.inSync.join('+')}`
    this.world.trace.note(node, 'cas', config.epoch, 0, version, detail)
    this.world.aims.saw('cas', node, config.primary)
    this.world.store.compareAndSwap(node, version, config, (outcome) => {
      this.world.trace.note(node, `cas ${outcome.outcome}`, config.epoch)
      ended(outcome)
    })
  }

  commandEnded(_node: string, token: number, result: CommandResult): void {
    this.world.operator.ended(token, result)
  }

  processEnded(node: string, instance: string): void {
    this.world.trace.note(node, 'process ended', 0, 0, instance)
    if (!this.world.swarm.supervisorReports) return
    for (const other of this.world.nodes.values()) {
      if (other.name === node) continue
      const report = () => other.deliverToAll({ type: 'instance-ended', node, instance })
      const isLate = this.reportsRandom.chance(this.world.swarm.lateReportRate)
      if (!isLate || this.reportsRandom.chance(0.5)) this.world.network.send(node, other.name, report)
      if (isLate) this.world.clock.after(this.reportsRandom.float() * 3 * this.world.swarm.graceMs, report)
    }
  }

  othersOf(node: string): string[] {
    return [...this.world.nodes.keys()].filter((other) => other !== node)
  }

  beacon(beacon: Beacon): void {
    this.world.network.send(beacon.from, beacon.to, () => this.world.nodes.get(beacon.to)?.beacon(beacon))
  }

  stepped(node: SimNode, event: CopyEvent): void {
    const copy = node.process?.copy
    this.world.judge.stepped(node.name, copy)
    const { openCopy } = node
    if (openCopy !== undefined && this.world.atlas.lostPower(node.name, !openCopy.isWhole)) this.world.checkAtlas()
    if (event.type === 'message' && COUNTED.includes(event.message.type)) this.world.judge.counted(node.name, copy)
    if (copy !== undefined && copy.role !== node.lastRole) {
      node.lastRole = copy.role
      this.world.aims.saw(copy.role, node.name, copy.promise.primary)
      // It takes no part any more, and perhaps nobody is left who could say so in the configuration.
      if (copy.role === 'fenced') this.world.checkAtlas()
    }
    if (copy === undefined || event.type === 'tick' || event.type === 'beacon') return
    if (event.type === 'beacon-acknowledged' && event.left !== true) return
    const { role, promise, log } = copy
    const detail = () => `${role}, commit ${log.commitSeq}${briefEvent(event)}`
    this.world.trace.note(node.name, event.type, promise.epoch, log.tail, role, detail)
  }

  // ---- of witnesses

  replying(from: string, to: string, message: FrontendMessage): void {
    this.world.judge.replying(from, to, message)
  }

  applied(node: string, record: ReplicatedRecord): void {
    this.world.judge.applied(node, record)
    this.world.readers.applied(record)
  }

  promiseTold(node: string, epoch: number): void {
    this.world.trace.note(node, 'promise', epoch)
    this.world.judge.report(this.world.judge.primaries.promiseTold(node, epoch))
  }

  promiseKept(node: string, epoch: number): void {
    this.world.judge.primaries.promiseKept(node, epoch)
  }

  /** What it kept when it was open on other disks than now it may have forgotten (D7). */
  promiseFound(node: string, epoch: number, isWhole: boolean): void {
    const { atlas, judge } = this.world
    judge.report(judge.primaries.promiseFound(node, epoch, isWhole && atlas.isHonest(node)))
  }

  /** What a disk lost that did not lie is found elsewhere: by the checkers. */
  cameBackShort(node: string): boolean {
    const hasLied = !this.world.atlas.isHonest(node)
    if (!hasLied) return false
    this.world.atlas.cameBackShort(node)
    this.world.nodes.get(node)!.witness.forgottenSeq = 0
    return true
  }

  /** What was written and not synced may be gone: in `writeback` it may have been answered. */
  lostPower(node: string): void {
    if (mayWriteBack(this.world.swarm) && this.world.atlas.lostPower(node, true)) this.world.checkAtlas()
  }

  /** On the same disk: what was there is gone. */
  copyErased(name: string): void {
    this.world.trace.note(name, 'has no copy')
    const node = this.world.nodes.get(name)!
    node.witness.diskTaken()
    this.world.atlas.forget(name)
    this.world.checkAtlas()
    this.world.judge.primaries.forget(name)
  }

  fillStarts(_node: string): void {
    this.world.checkAtlas()
  }

  fillsIn(node: string, { lba, seq }: BlockVersion, target: number): void {
    if (seq <= target) return
    const message = `${node} is filled with block ${lba} as of seq ${seq}, above the target ${target}`
    this.world.judge.report([{ checker: 'copies-identical', message }])
  }

  filled(node: string): void {
    this.world.atlas.broughtInLine([node])
  }
}
