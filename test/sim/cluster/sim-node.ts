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
  replying(from: string, message: FrontendMessage): void
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
  beacons(node: SimNode): void
  /** An event reached a copy, or a step threw. */
  stepped(node: SimNode, event: CopyEvent): void
  failed(node: SimNode, error: unknown): void
}

/** A life of the process. */
interface Process {
  instance: string
  copy: CopyState
  queue: CopyEvent[]
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
    const process: Process = {
      instance,
      copy: createCopy(this.options(instance)),
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
    this.beaconLoop(process)
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
  failDisk(at: number): void {
    if (this.process === undefined || this.disk.hasFailed) return
    this.lastPowerLoss = at
    this.disk.fail()
  }

  /** After `failDisk`, with the process down. */
  mendDisk(): void {
    this.boot++
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
    const port = this.portOf(process)
    const queue = process.queue
    process.queue = []
    for (const event of queue) {
      try {
        step(process.copy, event, this.time.bootMs(), port)
        assertInvariants(process.copy)
      } catch (error) {
        this.world.failed(this, error)
        return
      }
      this.world.stepped(this, event)
      if (process.isOver) return
    }
    this.disk.worked()
    const outbox = process.outbox
    if (outbox.length === 0) return
    process.outbox = []
    for (const send of outbox) send()
  }

  private portOf(process: Process): CopyPort {
    const { world, name, witness } = this
    const later = (send: () => void) => void process.outbox.push(send)
    return {
      store: witness,
      send: (to, message) => later(() => world.send(name, process.instance, to, message)),
      reply: (to, message) => {
        world.replying(name, message)
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

  private beaconLoop(process: Process): void {
    const { beaconMs } = this.world.swarm
    this.world.clock.after((beaconMs * (0.9 + this.random.float() * 0.2)) / this.time.rate, () => {
      if (process.isOver) return
      if (!this.isPaused) this.world.beacons(this)
      this.beaconLoop(process)
    })
  }

  private options(instance: string): CopyOptions {
    const { mode, readCheck, leaseMs, graceMs, evictAfterMs, retryMs, candidateStepMs, windowBytesMax } =
      this.world.swarm
    const { windowRecordsMax, fillBytesMax } = this.world.swarm
    return {
      node: this.name,
      instance,
      volumeId: 'v',
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
