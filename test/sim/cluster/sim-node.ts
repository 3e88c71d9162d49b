/**
 * A node: a machine that boots and loses power, with a disk that outlives it, and on it a process that starts, dies
 * and stands still. The process is the shell around the machine of a copy: it drains its queue, steps, then lets out
 * what was sent; what happens while it stands still waits in the queue.
 */
import type {
  CommandResult,
  CopyEvent,
  CopyOptions,
  CopyPort,
  VersionedConfig,
} from '../../../engine/replication/copy-port.ts'
import { assertInvariants, createCopy, type CopyState } from '../../../engine/replication/copy-state.ts'
import { step } from '../../../engine/replication/copy.ts'
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
  /** An event reached a copy, or a step threw. */
  readonly hasFailed: boolean
  stepped(node: SimNode, event: CopyEvent): void
  failed(node: SimNode, error: unknown): void
}

const VOLUME = 'v'

type LinkEvent = { type: 'beat' } | { type: 'of-link'; beacon: Beacon }

/** A life of the process. */
interface Process {
  instance: string
  copy: CopyState
  /** Beacons of other nodes and its own beat, which reach the copy through the links of the node. */
  links: LinksState
  linksWakeAtMs: number
  queue: Array<CopyEvent | LinkEvent>
  outbox: Array<() => void>
  isTurnDue: boolean
  isOver: boolean
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
  private starts = 0
  private readonly world: NodeWorld
  private readonly random: Random

  constructor(name: string, world: NodeWorld, random: Random, rate: number, disk: NodeDisk) {
    this.name = name
    this.world = world
    this.random = random
    this.time = new NodeClock(world.clock, rate)
    this.witness = new CopyWitness(name, world)
    this.disk = disk
  }

  get role(): string {
    if (!this.isPowered) return 'off'
    if (this.process === undefined) return 'down'
    return this.isPaused ? `paused ${this.process.copy.role}` : this.process.copy.role
  }

  /** Start the process; boot the machine first when it is off. */
  start(): void {
    if (this.process !== undefined) return
    if (!this.isPowered) {
      this.isPowered = true
      this.boot++
      this.time.reboot()
    }
    const instance = `${this.name}.${++this.starts}`
    const { beaconMs, leaseMs } = this.world.swarm
    const process: Process = {
      instance,
      copy: createCopy(this.options(instance)),
      links: createLinks({ node: this.name, instance, beaconMs, leaseMs }),
      linksWakeAtMs: Infinity,
      queue: [],
      outbox: [],
      isTurnDue: false,
      isOver: false,
      gated: [],
      wakeAtMs: Infinity,
    }
    this.process = process
    this.isPaused = false
    this.disk.open(this.userOf(process), this.boot)
    this.stepLinks(process, { type: 'peers', nodes: this.world.othersOf(this.name) })
  }

  /** SIGKILL. What the page cache has survives, and some of what was under way. */
  kill(): void {
    const { process } = this
    if (process === undefined) return
    this.end(process)
    this.disk.kill()
    this.world.processEnded(this.name, process.instance)
  }

  /** Only what was synced is certain. */
  losePower(at: number): void {
    if (!this.isPowered) return
    if (this.process !== undefined) this.end(this.process)
    this.isPowered = false
    this.lastPowerLoss = at
    this.disk.losePower(this.diskLies)
  }

  /** The disk gives an error: of what was not synced anything may be gone. */
  failDisk(at: number, next?: 'write' | 'sync'): void {
    if (this.process === undefined || this.disk.hasFailed) return
    this.lastPowerLoss = at
    if (next === undefined) this.disk.fail()
    else this.disk.failNext(next)
  }

  /** After `failDisk`, with the process down: now what was not synced is gone. */
  mendDisk(at: number): void {
    this.boot++
    this.lastPowerLoss = at
    this.disk.mend()
  }

  pause(): void {
    if (this.process !== undefined) this.isPaused = true
  }

  resume(): void {
    if (!this.isPaused || this.process === undefined) return
    this.isPaused = false
    // The loop sees that it stood still before it sees anything else.
    this.process.queue.unshift({ type: 'clock-doubt' })
    this.dueTurn(this.process)
    for (const run of this.process.gated.splice(0)) run()
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
        witness.opened(store, stored)
        this.deliver({ type: 'recovered', stored })
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
    for (const event of queue) {
      if (event.type === 'of-link') this.stepLinks(process, { type: 'beacon', beacon: event.beacon })
      else if (event.type === 'beat') this.beat(process)
      else this.stepCopy(process, event)
      if (process.isOver || this.world.hasFailed) return
    }
    this.disk.worked()
    const outbox = process.outbox
    if (outbox.length === 0) return
    process.outbox = []
    for (const send of outbox) if (!process.isOver) send()
  }

  private stepCopy(process: Process, event: CopyEvent): void {
    if (this.world.hasFailed) return
    try {
      step(process.copy, event, this.time.bootMs(), this.portOf(process))
      assertInvariants(process.copy)
    } catch (error) {
      this.world.failed(this, error)
      return
    }
    this.world.stepped(this, event)
  }

  private beat(process: Process): void {
    const { role, log, promise } = process.copy
    if (role === 'primary') {
      const committed = {
        type: 'committed',
        volumeId: VOLUME,
        epoch: promise.epoch,
        commitSeq: log.commitSeq,
      } as const
      for (const node of this.world.othersOf(this.name)) this.stepLinks(process, { ...committed, node })
    }
    this.stepLinks(process, { type: 'tick', wallMs: this.time.wallMs() })
  }

  private stepLinks(process: Process, event: LinksEvent): void {
    stepLinks(process.links, event, this.time.bootMs(), this.linksPortOf(process))
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
      beacon: ({ from, instance, atMs, commits }) => {
        const [, epoch, commitSeq] = commits.find(([volumeId]) => volumeId === VOLUME) ?? []
        const event = { type: 'beacon' as const, from, instance, atMs, commitSeq }
        this.stepCopy(process, epoch === undefined ? event : { ...event, epoch })
      },
      acknowledged: ({ from, instance, sentAtMs, left }) => {
        this.stepCopy(process, {
          type: 'beacon-acknowledged',
          from,
          instance,
          sentAtMs,
          left: left.includes(VOLUME),
        })
      },
      clockDoubt: () => this.stepCopy(process, { type: 'clock-doubt' }),
    }
  }

  private portOf(process: Process): CopyPort {
    const { world, name, witness } = this
    const later = (send: () => void) => void process.outbox.push(send)
    return {
      store: witness,
      send: (to, message) => later(() => world.send(name, process.instance, to, message)),
      reply: (to, message) => {
        world.replying(name, to, message)
        later(() => world.reply(name, to, message))
      },
      readConfig: (token) =>
        later(() =>
          world.readConfig(name, (value) =>
            this.deliverTo(process, { type: 'config-read', token, value, ok: value !== undefined }),
          ),
        ),
      compareAndSwap: (token, version, config) =>
        later(() =>
          world.compareAndSwap(name, version, config, (ended) =>
            this.deliverTo(process, { type: 'cas-ended', token, ...ended }),
          ),
        ),
      nonce: () => `${process.instance}.${this.random.u32().toString(36)}`,
      wakeAt: (atMs) => this.wakeAt(process, atMs),
      left: (node) => this.stepLinks(process, { type: 'left', volumeId: VOLUME, node }),
      commandEnded: (token, result) => world.commandEnded(name, token, result),
    }
  }

  private deliverTo(process: Process, event: CopyEvent): void {
    if (!process.isOver) this.deliver(event)
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
    const { windowRecordsMax, fillBytesMax } = this.world.swarm
    return {
      node: this.name,
      instance,
      volumeId: VOLUME,
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
    }
  }
}
