/**
 * A node as a volume sees it: a machine that boots and loses power, with a disk that outlives it, and on it a process
 * that starts, dies and stands still. The process is the shell around the machine of a copy: it drains its queue,
 * steps, then lets out what was sent; what happens while it stands still waits in the queue.
 *
 * Several volumes on one machine are several of these, of which the first one leads: power, process, clock, store and
 * links are the same for all of them, and whatever happens to one happens to all.
 */
import type {
  CommandResult,
  CopyEvent,
  CopyOptions,
  CopyPort,
  VersionedConfig,
} from '../../../engine/replication/copy-port.ts'
import { assert } from '../../../engine/assert.ts'
import { assertInvariants, createCopy, type CopyState } from '../../../engine/replication/copy-state.ts'
import { isRun, step } from '../../../engine/replication/copy.ts'
import { createLinks, stepLinks } from '../../../engine/replication/leases.ts'
import type { Beacon, LinksEvent, LinksPort, LinksState } from '../../../engine/replication/leases.ts'
import type { FrontendMessage, PeerMessage } from '../../../engine/replication/messages.ts'
import type { SimClock } from '../clock.ts'
import type { Random } from '../random.ts'
import type { CasOutcome } from './cluster-store.ts'
import { CopyWitness, type WitnessPort } from './copy-witness.ts'
import { NodeClock } from './node-clock.ts'
import type { NodeDisk, StoreUser } from './node-disk.ts'
import type { Swarm } from './swarm.ts'

export interface NodeWorld extends WitnessPort {
  readonly clock: SimClock
  readonly swarm: Swarm
  readonly volumeId: string
  /** A copy decides to say something. `knowsFailure`: it was told that its store failed. */
  deciding(from: string, message: PeerMessage, knowsFailure: boolean): void
  /** It leaves. */
  send(from: string, instance: string, to: string, message: PeerMessage): void
  /** A copy decides to answer. */
  replying(from: string, to: string, message: FrontendMessage): void
  /** The answer leaves. */
  reply(from: string, to: string, message: FrontendMessage): void
  readConfig(node: string, ended: (value: VersionedConfig | undefined) => void): void
  compareAndSwap(
    node: string,
    version: string,
    config: VersionedConfig['config'],
    ended: (o: CasOutcome) => void,
  ): void
  commandEnded(node: string, token: number, result: CommandResult): void
  /** A process ended, and its machine still runs. */
  processEnded(node: string, instance: string): void
  /** The other nodes. */
  othersOf(node: string): string[]
  beacon(beacon: Beacon): void
  lostPower(node: string): void
  /** A copy was erased, or is not there any more. */
  copyErased(node: string): void
  /** An event reached a copy, or a step threw. */
  readonly hasFailed: boolean
  stepped(node: SimNode, event: CopyEvent): void
  failed(node: SimNode, error: unknown): void
}

type LinkEvent = { type: 'beat' } | { type: 'of-link'; beacon: Beacon }

/** A life of the process. */
interface Process {
  instance: string
  copy: CopyState
  /** Beacons of other nodes and its own beat, which reach the copy through the links of the node. */
  links: LinksState
  linksWakeAtMs: number
  /** Made with the first step. */
  port: CopyPort | undefined
  linksPort: LinksPort | undefined
  queue: Array<CopyEvent | LinkEvent>
  outbox: Array<() => void>
  isTurnDue: boolean
  isOver: boolean
  /** Its store could be opened. */
  hasOpened: boolean
  /** Its copy was told that the store failed. */
  knowsFailure: boolean
  /** Of the store, while it stands still. */
  gated: Array<() => void>
  wakeAtMs: number
}

export class SimNode {
  readonly name: string
  readonly time: NodeClock
  readonly witness: CopyWitness
  disk: NodeDisk
  boot = 1
  isPowered = true
  isPaused = false
  /** The canary: what was synced may be gone too. */
  diskLies = false
  /** Position in the order of everything, of the last power loss. */
  lastPowerLoss = 0
  process: Process | undefined
  /** As the world saw it last. */
  lastRole = ''
  /** Its store is open, and has no copy. */
  hasNoCopy = false
  private starts = 0
  private readonly lead: SimNode
  /** Of all volumes on the machine, in the one that leads. */
  private readonly seats: SimNode[] = [this]
  private readonly world: NodeWorld
  private readonly random: Random

  /** @param lead  of another volume on the same machine */
  constructor(name: string, world: NodeWorld, random: Random, rate: number, disk: NodeDisk, lead?: SimNode) {
    this.name = name
    this.world = world
    this.random = random
    this.lead = lead ?? this
    lead?.seats.push(this)
    this.time = lead?.time ?? new NodeClock(world.clock, rate)
    this.witness = new CopyWitness(name, world)
    this.disk = disk
  }

  get role(): string {
    if (!this.isPowered) return 'off'
    if (this.process === undefined) return 'down'
    return this.isPaused ? `paused ${this.process.copy.role}` : this.process.copy.role
  }

  /** Its copy, once it knows what its store found. */
  get openCopy(): CopyState | undefined {
    const { process } = this
    return process?.hasOpened === true && process.copy.isRecovered ? process.copy : undefined
  }

  /** Start the process; boot the machine first when it is off. */
  start(): void {
    if (this.lead !== this) return this.lead.start()
    if (this.process !== undefined) return
    if (!this.isPowered) {
      for (const seat of this.seats) {
        seat.isPowered = true
        seat.boot++
      }
      this.time.reboot()
    }
    const instance = `${this.name}.${++this.starts}`
    for (const seat of this.seats) seat.begin(instance)
    this.stepLinks(this.process!, { type: 'peers', nodes: this.world.othersOf(this.name) })
  }

  /** A volume that came while the machine runs, or is off: its copy takes part in what the machine does. */
  join(): void {
    const { process, boot, isPowered, isPaused, lastPowerLoss } = this.lead
    this.boot = boot
    this.isPowered = isPowered
    this.lastPowerLoss = lastPowerLoss
    if (process === undefined) return
    this.begin(process.instance)
    this.isPaused = isPaused
  }

  private begin(instance: string): void {
    const { beaconMs, leaseMs, beatsTogether } = this.world.swarm
    const joinMs = beatsTogether ? beaconMs / 2 : 0
    const process: Process = {
      instance,
      copy: createCopy(this.options(instance)),
      links: createLinks({ node: this.name, instance, beaconMs, leaseMs, joinMs }),
      linksWakeAtMs: Infinity,
      port: undefined,
      linksPort: undefined,
      queue: [],
      outbox: [],
      isTurnDue: false,
      isOver: false,
      hasOpened: false,
      knowsFailure: false,
      gated: [],
      wakeAtMs: Infinity,
    }
    this.process = process
    this.isPaused = false
    this.hasNoCopy = false
    this.disk.open(this.userOf(process), this.boot)
  }

  /** SIGKILL. What the page cache has survives, and some of what was under way. */
  kill(): void {
    if (this.lead !== this) return this.lead.kill()
    const { process } = this
    if (process === undefined) return
    for (const seat of this.seats) seat.end(seat.process!)
    for (const seat of this.seats) seat.disk.kill()
    this.world.processEnded(this.name, process.instance)
  }

  /** Only what was synced is certain. */
  losePower(at: number): void {
    if (!this.isPowered) return
    const { seats } = this.lead
    for (const seat of seats) {
      if (seat.process !== undefined) seat.end(seat.process)
      seat.isPowered = false
      seat.lastPowerLoss = seat === this ? at : seat.world.position()
      seat.disk.losePower(this.diskLies)
    }
    for (const seat of seats) seat.world.lostPower(this.name)
  }

  /** The disk gives an error: of what was not synced anything may be gone. */
  failDisk(at: number, next?: 'write' | 'sync'): void {
    if (this.process === undefined || this.disk.hasFailed) return
    for (const seat of this.lead.seats) seat.lastPowerLoss = seat === this ? at : seat.world.position()
    if (next === undefined) this.disk.fail()
    else this.disk.failNext(next)
  }

  /** After `failDisk`, with the process down: now what was not synced is gone. */
  mendDisk(at: number): void {
    for (const seat of this.lead.seats) {
      seat.boot++
      seat.lastPowerLoss = seat === this ? at : seat.world.position()
      seat.disk.mend()
      seat.world.lostPower(this.name)
    }
  }

  pause(): void {
    for (const seat of this.lead.seats) if (seat.process !== undefined) seat.isPaused = true
  }

  resume(): void {
    for (const seat of this.lead.seats) seat.goOn()
  }

  private goOn(): void {
    if (!this.isPaused || this.process === undefined) return
    this.isPaused = false
    // The loop sees that it stood still before it sees anything else.
    this.process.queue.unshift({ type: 'clock-doubt' })
    this.dueTurn(this.process)
    for (const run of this.process.gated.splice(0)) run()
  }

  /** An order of the control plane: an empty copy. It may be repeated, or come late. */
  makeCopy(copyId: string): void {
    if (this.process !== undefined && this.hasNoCopy) this.disk.make(copyId)
  }

  /** An order of the control plane: its copy goes, if it is this one. It says nothing more from now on. */
  eraseCopy(copyId: string): void {
    const { process } = this
    if (process?.hasOpened !== true || this.disk.hasFailed || this.disk.copyId !== copyId) return
    this.close(process)
    this.disk.erase()
  }

  /** It was no member, and is one now: it begins anew over its open store, which has nothing yet. */
  reopenCopy(): void {
    const { process } = this
    const copy = this.openCopy
    if (process === undefined || copy?.role !== 'fenced' || this.disk.hasFailed) return
    this.disk.settled((stored) => {
      if (process.isOver || process.copy !== copy || stored.tail > stored.appliedSeq) return
      this.close(process)
      process.hasOpened = true
      this.witness.reopened(stored)
      this.deliver({ type: 'recovered', stored })
    })
  }

  /** The machine of its copy is stepped no more; another one may begin in its place. */
  private close(process: Process): void {
    process.copy = createCopy(this.options(process.instance))
    process.hasOpened = false
    process.port = undefined
    process.wakeAtMs = Infinity
    process.queue = process.queue.filter(({ type }) => type === 'of-link' || type === 'beat')
  }

  deliver(event: CopyEvent): void {
    const { process } = this
    if (process === undefined) return
    process.queue.push(event)
    this.dueTurn(process)
  }

  /** One came in. */
  beacon(beacon: Beacon): void {
    if (this.process === undefined) return
    this.process.queue.push({ type: 'of-link', beacon })
    this.dueTurn(this.process)
  }

  /** To whoever is on the machine. */
  deliverToAll(event: CopyEvent): void {
    for (const seat of this.lead.seats) seat.deliver(event)
  }

  private end(process: Process): void {
    process.isOver = true
    this.process = undefined
    this.isPaused = false
  }

  private userOf(process: Process): StoreUser {
    const { witness } = this
    return {
      get isOver() {
        return process.isOver
      },
      gate: (run) => {
        if (process.isOver) return
        if (this.isPaused) process.gated.push(run)
        else run()
      },
      opened: (store, stored) => {
        process.hasOpened = true
        this.hasNoCopy = false
        witness.opened(store, stored)
        this.deliver({ type: 'recovered', stored })
      },
      hasNone: () => {
        this.hasNoCopy = true
        this.world.copyErased(this.name)
      },
      heard: (event) => {
        if (event.type === 'stored') witness.stored(event.seq, event.durableSeq)
        if (event.type === 'kept') witness.kept(event.token)
        this.deliver(event)
      },
    }
  }

  private dueTurn(process: Process): void {
    if (process.isTurnDue || this.isPaused) return
    process.isTurnDue = true
    this.world.clock.after(0.005, () => {
      process.isTurnDue = false
      if (!process.isOver && !this.isPaused) this.turn(process)
    })
  }

  private turn(process: Process): void {
    const queue = process.queue
    process.queue = []
    for (const [i, event] of queue.entries()) {
      if (event.type === 'of-link') this.stepLinks(process, { type: 'beacon', beacon: event.beacon })
      else if (event.type === 'beat') this.beat(process)
      else this.stepCopy(process, event, queue[i + 1])
      if (process.isOver || this.world.hasFailed) return
    }
    this.disk.worked()
    const outbox = process.outbox
    if (outbox.length === 0) return
    process.outbox = []
    for (const send of outbox) if (!process.isOver) send()
  }

  private stepCopy(process: Process, event: CopyEvent, next?: Process['queue'][number]): void {
    if (this.world.hasFailed) return
    if (event.type === 'store-failed') process.knowsFailure = true
    try {
      process.port ??= this.portOf(process)
      const isMore = next?.type !== 'of-link' && next?.type !== 'beat' && isRun(event, next)
      step(process.copy, event, this.time.bootMs(), process.port, isMore)
      assertInvariants(process.copy)
    } catch (error) {
      this.world.failed(this, error)
      return
    }
    this.world.stepped(this, event)
  }

  private beat(process: Process): void {
    for (const { process: own, world } of this.seats) {
      if (own?.copy.role !== 'primary') continue
      const { log, promise } = own.copy
      const { volumeId } = world
      const committed = { type: 'committed', volumeId, epoch: promise.epoch, commitSeq: log.commitSeq } as const
      for (const node of this.world.othersOf(this.name)) this.stepLinks(process, { ...committed, node })
    }
    this.stepLinks(process, { type: 'tick', wallMs: this.time.wallMs() })
  }

  private stepLinks(process: Process, event: LinksEvent): void {
    process.linksPort ??= this.linksPortOf(process)
    stepLinks(process.links, event, this.time.bootMs(), process.linksPort)
  }

  /** Of the links, for every copy of the machine; one that is not there hears it in vain. */
  private tellAll(event: (volumeId: string) => CopyEvent): void {
    for (const seat of this.seats) {
      const { process, world } = seat
      if (seat === this) seat.stepCopy(process!, event(world.volumeId))
      else seat.deliver(event(world.volumeId))
    }
  }

  private linksPortOf(process: Process): LinksPort {
    return {
      send: (beacon) => this.world.beacon(beacon),
      wakeAt: (atMs) => {
        if (atMs >= process.linksWakeAtMs) return
        process.linksWakeAtMs = atMs
        this.world.clock.after(this.time.delayUntilMs(atMs) * (1 + this.random.float() * 0.05), () => {
          if (process.isOver || process.linksWakeAtMs !== atMs) return
          process.linksWakeAtMs = Infinity
          process.queue.push({ type: 'beat' })
          this.dueTurn(process)
        })
      },
      beacon: ({ from, instance, atMs, commits }) =>
        this.tellAll((volume) => {
          const told = commits.find(([volumeId]) => volumeId === volume)
          const event = { type: 'beacon' as const, from, instance, atMs, commitSeq: told?.[2] }
          return told === undefined ? event : { ...event, epoch: told[1] }
        }),
      acknowledged: ({ from, instance, sentAtMs, left }) =>
        this.tellAll((volume) => {
          const hasLeft = left.includes(volume)
          return { type: 'beacon-acknowledged', from, instance, sentAtMs, left: hasLeft }
        }),
      clockDoubt: () => this.tellAll(() => ({ type: 'clock-doubt' })),
    }
  }

  private portOf(process: Process): CopyPort {
    const { world, name, witness, lead } = this
    const { copy } = process
    // What a copy said that is closed since does not leave, and it hears no answers.
    const later = (send: () => void) => void process.outbox.push(() => process.copy === copy && send())
    const deliver = (event: CopyEvent): void => {
      if (!process.isOver && process.copy === copy) this.deliver(event)
    }
    return {
      store: witness,
      send: (to, message) => {
        world.deciding(name, message, process.knowsFailure)
        later(() => world.send(name, process.instance, to, message))
      },
      reply: (to, message) => {
        world.replying(name, to, message)
        later(() => world.reply(name, to, message))
      },
      readConfig: (token) =>
        later(() =>
          world.readConfig(name, (value) =>
            deliver({ type: 'config-read', token, value, ok: value !== undefined }),
          ),
        ),
      compareAndSwap: (token, version, config) =>
        later(() =>
          world.compareAndSwap(name, version, config, (ended) =>
            deliver({ type: 'cas-ended', token, ...ended }),
          ),
        ),
      nonce: () => `${process.instance}.${this.random.u32().toString(36)}`,
      wakeAt: (atMs) => this.wakeAt(process, atMs),
      left: (node) => lead.stepLinks(lead.process!, { type: 'left', volumeId: world.volumeId, node }),
      disbelieved: (from, why) => assert(false, `${why}, of what ${from} says`),
      commandEnded: (token, result) => world.commandEnded(name, token, result),
    }
  }

  private wakeAt(process: Process, atMs: number): void {
    if (atMs >= process.wakeAtMs) return
    process.wakeAtMs = atMs
    this.world.clock.after(this.time.delayUntilMs(atMs), () => {
      if (process.isOver || process.wakeAtMs !== atMs) return
      process.wakeAtMs = Infinity
      this.deliver({ type: 'tick' })
    })
  }

  private options(instance: string): CopyOptions {
    const { mode, readCheck, leaseMs, graceMs, evictAfterMs, retryMs, candidateStepMs, windowBytesMax } =
      this.world.swarm
    const { windowRecordsMax, fillBytesMax, marksMost } = this.world.swarm
    return {
      node: this.name,
      instance,
      volumeId: this.world.volumeId,
      mode,
      readCheck,
      leaseMs,
      graceMs,
      evictAfterMs,
      retryMs,
      candidateStepMs,
      windowBytesMax,
      windowRecordsMax,
      fillBytesMax,
      marksMost,
    }
  }
}
