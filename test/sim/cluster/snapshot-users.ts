/**
 * Readers of a volume's snapshots, the engine's own (snapshot-reader.ts), as nodes have them for their clients: each
 * opens one, reads and asks for maps and differences, and closes it; some do not come to run for longer than they are
 * waited for, and their snapshot is deleted meanwhile. What they are told is compared with the committed log at once.
 *
 * Checked: a block is what it was at the snapshot's record (N1, N2); a map has what is data and a difference what
 * differs; one that is there is not said to be gone (N3); none is deleted by a primary that told a reader again and
 * again, from before that was ordered until it was applied, that it has it, nor by the next one before what its
 * predecessor told last is old (N4); everything is answered in the end.
 *
 * Drawn apart, for one of five seeds above those in which planted bugs are counted: what the others are like does not
 * change.
 */
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import { SNAPSHOT_RUN_KIND } from '../../../engine/replication/messages.ts'
import type {
  FrontendMessage, OpenedSnapshot, SnapshotOperation, SnapshotPlace,
} from '../../../engine/replication/messages.ts'
import {
  closeSnapshotReader, createSnapshotReader, stepSnapshotReader,
} from '../../../engine/replication/snapshot-reader.ts'
import type {
  ReaderAnswer, ReaderEvent, ReaderPort, SnapshotReaderState,
} from '../../../engine/replication/snapshot-reader.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { SNAPSHOT_USE_MS } from '../../../engine/replication/snapshot-uses.ts'
import { BLOCK_BYTES, SLICE_BLOCKS } from '../../../engine/units.ts'
import { Random } from '../random.ts'
import { replay } from './checker/history.ts'
import { spread } from './focus.ts'
import { NodeClock } from './node-clock.ts'
import type { Swarm } from './swarm.ts'
import { briefFrontend } from './trace-text.ts'
import type { World } from './world.ts'

const FIRST_SEED = 10_000

/** Long enough for a use to end unheard. */
const LONG_MS = 5 * SNAPSHOT_USE_MS

export function setSnapshotReaders(swarm: Swarm): Swarm {
  const { seed, attachMode, operations, inFlightMax, clients } = swarm
  if (seed <= FIRST_SEED || seed % 5 !== 3) return swarm
  const random = new Random(`snapshot readers ${seed}`)
  const readers = random.pick([1, 2, 3])
  const one = random.pick(['rollback', 'hand-over', 'snapshot'] as const)
  const actions: Swarm['actions'] = [...swarm.actions, 'snapshot', 'snapshot', 'snapshot-delete', one]
  const factor = random.chance(0.25) ? LONG_MS / swarm.faultsUntilMs : 1
  if (factor <= 1) {
    return { ...swarm, readers, actions, actionEveryMs: Math.min(swarm.actionEveryMs, swarm.faultsUntilMs / 12) }
  }
  return {
    ...swarm,
    readers,
    actions,
    faultsUntilMs: LONG_MS,
    faultEveryMs: swarm.faultEveryMs * factor,
    actionEveryMs: Math.min(swarm.actionEveryMs * factor, LONG_MS / 12),
    ...spread({ faultsUntilMs: LONG_MS, attachMode }, operations, inFlightMax, clients),
  }
}

/** By any clock. */
const SURE_USE_MS = 0.97 * SNAPSHOT_USE_MS

/** Of the readers of all volumes: no two have a number. */
interface Numbers {
  last: number
}

/** What a primary told a reader, of one term and snapshot. */
interface Use {
  reader: string
  epoch: number
  id: string
  sinceMs: number
  lastMs: number
}

interface Asked {
  operation: SnapshotOperation
  since: OpenedSnapshot | undefined
}

export class SnapshotUsers {
  readonly counts = { opened: 0, read: 0, mapped: 0, gone: 0, damaged: 0 }
  /** By id, of those that were opened. */
  readonly places = new Map<string, OpenedSnapshot>()
  readonly numbers: Numbers
  private readonly readers: SnapshotUser[]
  /** By number of a reader. */
  private readonly uses = new Map<number, Use>()
  private readonly orderedAtMs = new Map<string, number>()
  private readonly termsAtMs = new Map<number, number>()
  private readonly known = new Map<string, ReadonlyMap<number, number>>()
  private readonly world: World

  constructor(world: World, numbers: Numbers) {
    this.world = world
    this.numbers = numbers
    const { readers, seed } = world.swarm
    this.readers = Array.from({ length: readers }, (_, i) => {
      const random = new Random(`snapshot reader ${i} ${seed} ${world.volumeId}`)
      return new SnapshotUser(`r${i + 1}`, world, this, random)
    })
  }

  get names(): string[] {
    return this.readers.map(({ name }) => name)
  }

  get isDone(): boolean {
    return this.readers.every(({ isDone }) => isDone)
  }

  begin(): void {
    for (const reader of this.readers) {
      this.world.store.watch(reader.name, (value) => reader.hint(value))
      reader.begin()
    }
  }

  message(to: string, from: string, message: FrontendMessage): void {
    this.readers.find(({ name }) => name === to)?.message(from, message)
  }

  /** A primary answers. */
  told(to: string, message: FrontendMessage): void {
    if (message.type !== 'snapshot-opened' || message.snapshot === undefined) return
    const { reader: number, epoch, snapshot: { id } } = message
    const nowMs = this.world.clock.nowMs()
    const before = this.uses.get(number)
    const goesOn = before?.epoch === epoch && before.id === id && nowMs - before.lastMs < SURE_USE_MS
    this.uses.set(number, { reader: to, epoch, id, sinceMs: goesOn ? before.sinceMs : nowMs, lastMs: nowMs })
  }

  closed(number: number): void {
    this.uses.delete(number)
  }

  termBegins(epoch: number): void {
    if (!this.termsAtMs.has(epoch)) this.termsAtMs.set(epoch, this.world.clock.nowMs())
  }

  deletionOrdered(id: string): void {
    if (!this.orderedAtMs.has(id)) this.orderedAtMs.set(id, this.world.clock.nowMs())
  }

  applied(record: ReplicatedRecord): void {
    if (record.kind !== 'control' || record.change.operation !== 'snapshot-delete') return
    const { epoch, change: { id } } = record
    const nowMs = this.world.clock.nowMs()
    for (const use of this.uses.values()) {
      if (use.id !== id || nowMs - use.lastMs >= SURE_USE_MS) continue
      const isKnown = use.epoch === epoch && use.sinceMs < (this.orderedAtMs.get(id) ?? 0)
      const isOfBefore = use.epoch < epoch && use.lastMs <= (this.termsAtMs.get(epoch) ?? 0)
      if (!isKnown && !isOfBefore) continue
      this.complain(`${id} is deleted in epoch ${epoch}, and ${use.reader} was told in ${use.epoch} that it has it`)
    }
  }

  complain(message: string): void {
    this.world.judge.report([{ checker: 'snapshot-reads', message }])
  }

  checkDone(healMs: number): void {
    for (const { name, isDone } of this.readers) {
      if (!isDone) this.complain(`${name} waits for an answer ${healMs} ms after everything is well`)
    }
  }

  /** What it shows; undefined: what was committed then is not any more. */
  stampsAt({ id, epoch, seq }: SnapshotPlace): ReadonlyMap<number, number> | undefined {
    const { log, base, eras } = this.world.judge.committed
    if (log[seq - 1]?.epoch !== epoch) {
      if (!this.hasLost) this.complain(`snapshot ${id} stands at (${epoch}, ${seq}), which nobody committed`)
      return undefined
    }
    const key = `${eras.length}.${epoch}.${seq}`
    let stamps = this.known.get(key)
    if (stamps === undefined) {
      const { blocks } = replay(log.slice(0, seq), base).state
      stamps = new Map([...blocks].map(([lba, { stamp }]) => [lba, stamp] as const))
      this.known.set(key, stamps)
    }
    return stamps
  }

  isThere({ id, epoch, seq }: SnapshotPlace): boolean {
    return this.world.judge.committed.log[seq - 1]?.epoch === epoch && !this.isDeleted(id)
  }

  isDeleted(id: string): boolean {
    const { log } = this.world.judge.committed
    return log.some(({ change }) => change?.operation === 'snapshot-delete' && change.id === id)
  }

  isMade(id: string): boolean {
    return this.world.judge.committed.log.some(({ change }) => change?.operation === 'snapshot' && change.id === id)
  }

  get hasLost(): boolean {
    return this.world.judge.committed.eras.length > 1
  }
}

class SnapshotUser {
  readonly name: string
  private readonly world: World
  private readonly users: SnapshotUsers
  private readonly random: Random
  private readonly time: NodeClock
  private state: SnapshotReaderState | undefined
  private snapshot: OpenedSnapshot | undefined
  private readonly asked = new Map<number, Asked>()
  /** When it was opened. */
  private wasMade = false
  private tags = 0
  private left = 0
  private life = 0
  private wakeAtMs = Infinity
  private sleepsUntilMs = 0
  private outbox: Array<() => void> = []

  constructor(name: string, world: World, users: SnapshotUsers, random: Random) {
    this.name = name
    this.world = world
    this.users = users
    this.random = random
    this.time = new NodeClock(world.clock, 1 + (random.float() - 0.5) * 0.0198)
  }

  get isDone(): boolean {
    return this.state === undefined
  }

  begin(): void {
    const { faultsUntilMs } = this.world.swarm
    this.world.clock.after(this.random.float() * (faultsUntilMs / 20), () => {
      if (this.world.isHealed || this.world.isDeleted) return
      const { snapshots } = this.world.operator
      if (snapshots.length === 0) return this.begin()
      this.open(this.random.chance(0.5) ? snapshots.at(-1)! : this.random.pick(snapshots))
    })
  }

  hint(value: VersionedConfig): void {
    this.step({ type: 'config-hint', value })
  }

  message(from: string, message: FrontendMessage): void {
    if (this.isAwake) this.step({ type: 'message', from, message })
  }

  private get isAwake(): boolean {
    return this.world.clock.nowMs() >= this.sleepsUntilMs || this.world.isHealed
  }

  private open(wanted: string): void {
    const { resendMs, retryMs, partBlocksMax } = this.world.swarm
    this.life++
    this.wasMade = this.users.isMade(wanted)
    this.left = this.random.between(1, 12)
    this.wakeAtMs = Infinity
    this.state = createSnapshotReader({
      reader: ++this.users.numbers.last,
      wanted,
      ioTimeoutMs: 0,
      resendMs,
      retryMs: Math.min(resendMs, retryMs),
      partBlocksMax,
      inFlightBlocksMax: 64,
    })
    this.step({ type: 'tick' })
  }

  private end(): void {
    const { state } = this
    if (state === undefined) return
    if (!state.isGone) closeSnapshotReader(state, this.port)
    this.users.closed(state.options.reader)
    this.flush()
    this.life++
    this.state = undefined
    this.snapshot = undefined
    this.asked.clear()
    this.begin()
  }

  private opened(snapshot: OpenedSnapshot | undefined): void {
    if (snapshot === undefined) return this.absent()
    this.snapshot = snapshot
    this.users.counts.opened++
    this.users.places.set(snapshot.id, snapshot)
    this.users.stampsAt(snapshot)
    for (let i = this.random.pick([1, 1, 4]); i > 0; i--) this.later(0, () => this.ask())
  }

  private absent(): void {
    const { wanted } = this.state!.options
    if (this.wasMade && !this.users.isDeleted(wanted) && !this.users.hasLost) {
      this.users.complain(`${this.name} is told that there is no ${wanted}`)
    }
    this.later(0, () => this.end())
  }

  private later(afterMs: number, then: () => void): void {
    const { life } = this
    this.world.clock.after(afterMs, () => {
      if (life === this.life) then()
    })
  }

  private ask(): void {
    const { random, world } = this
    if (world.isDeleted) return this.end()
    if (this.left === 0 || world.isHealed) {
      if (this.asked.size === 0) this.end()
      return
    }
    this.left--
    const { lba, blockCount } = this.range()
    const other = random.chance(0.5) ? random.pick([...this.users.places.values()]) : undefined
    const since = other && { id: other.id, epoch: other.epoch, seq: other.seq }
    if (random.chance(0.7)) this.send({ type: 'read', lba, blockCount }, undefined)
    else this.send({ type: 'map', lba, blockCount, ...(since && { since }) }, other)
    if (random.chance(0.1)) this.sleep()
  }

  /** It stands still, and its snapshot is deleted as soon as that is possible. */
  private sleep(): void {
    const { world, random } = this
    const { id } = this.snapshot!
    this.sleepsUntilMs = world.clock.nowMs() + SNAPSHOT_USE_MS * (1.5 + random.float())
    world.clock.after(SNAPSHOT_USE_MS * (1.05 + 0.4 * random.float()), () => {
      const change = { operation: 'snapshot-delete', id } as const
      if (!world.isHealed && !world.isDeleted) world.operator.command({ type: 'change', change })
    })
    this.wakeUp()
  }

  private wakeUp(): void {
    if (this.isAwake) this.step({ type: 'tick' })
    else this.later(SNAPSHOT_USE_MS / 40, () => this.wakeUp())
  }

  private range(): { lba: number; blockCount: number } {
    const { slices, blocksPerSlice, firstBlock } = this.world.swarm
    const slice = this.random.int(slices)
    const isLast = slices > 1 && slice === 0
    const first = slice * SLICE_BLOCKS + (isLast ? SLICE_BLOCKS - blocksPerSlice : firstBlock)
    const lba = first + this.random.int(blocksPerSlice)
    const most = this.snapshot!.sizeBytes / BLOCK_BYTES - lba
    return { lba, blockCount: Math.min(most, this.random.between(1, 2 * blocksPerSlice)) }
  }

  private send(operation: SnapshotOperation, since: OpenedSnapshot | undefined): void {
    const tag = ++this.tags
    this.asked.set(tag, { operation, since })
    this.step({ type: 'ask', tag, operation })
  }

  private answered(tag: number, answer: ReaderAnswer): void {
    const asked = this.asked.get(tag)
    const snapshot = this.snapshot!
    if (asked === undefined) return this.users.complain(`${this.name} is answered twice`)
    if (!answer.ok && answer.code === 'snapshot-gone') return this.gone(snapshot)
    this.asked.delete(tag)
    const { counts } = this.users
    if (!answer.ok) {
      if (answer.code === 'damaged') counts.damaged++
      else this.users.complain(`${this.name} is told ${answer.code} of a range of ${snapshot.id}`)
    } else if (answer.type === 'read') {
      counts.read++
      this.checkRead(snapshot, asked.operation, answer)
    } else {
      counts.mapped++
      this.checkMap(snapshot, asked, answer)
      const { operation } = asked
      const end = operation.lba + operation.blockCount
      if (answer.endLba <= operation.lba) this.users.complain(`${this.name} is told nothing of ${operation.lba}`)
      else if (answer.endLba < end) {
        const rest = { ...operation, lba: answer.endLba, blockCount: end - answer.endLba }
        return this.later(0, () => this.send(rest, asked.since))
      }
    }
    this.later(this.random.float() * this.random.pick([0, 1, 10, this.world.swarm.graceMs]), () => this.ask())
  }

  /** It, or one that it was compared with: of what else was asked the same is said. */
  private gone(snapshot: OpenedSnapshot): void {
    this.users.counts.gone++
    const concerned = [snapshot, ...[...this.asked.values()].flatMap(({ since }) => since ?? [])]
    if (concerned.every((one) => this.users.isThere(one))) {
      this.users.complain(`${this.name} is told that ${snapshot.id} is gone, and it is there`)
    }
    this.later(0, () => this.end())
  }

  private checkRead(
    snapshot: OpenedSnapshot,
    { lba, blockCount }: SnapshotOperation,
    { versions }: Extract<ReaderAnswer, { type: 'read' }>,
  ): void {
    const stamps = this.users.stampsAt(snapshot)
    if (stamps === undefined) return
    for (let at = lba; at < lba + blockCount; at++) {
      const found = this.world.codec.stampOf(versions.find((version) => version.lba === at))
      const expected = stamps.get(at) ?? 0
      if (found === expected) continue
      const { id, seq } = snapshot
      return this.users.complain(`${this.name}: block ${at} of ${id} at ${seq} is ${expected}, and ${found} was read`)
    }
  }

  private checkMap(
    snapshot: OpenedSnapshot,
    { operation: { lba }, since }: Asked,
    { runs, endLba }: Extract<ReaderAnswer, { type: 'map' }>,
  ): void {
    const now = this.users.stampsAt(snapshot)
    const then = since && this.users.stampsAt(since)
    if (now === undefined || (since !== undefined && then === undefined)) return
    const kinds = new Map<number, number>()
    for (let i = 0; i < runs.length; i += 3) {
      for (let k = 0; k < runs[i + 1]!; k++) kinds.set(runs[i]! + k, runs[i + 2]!)
    }
    for (let at = lba; at < endLba; at++) {
      const stamp = now.get(at) ?? 0
      const kind = kinds.get(at)
      const isTold = since === undefined ? stamp !== 0 : stamp !== (then!.get(at) ?? 0)
      // Allocated zeroes may be told.
      const isRight = isTold
        ? (kind === SNAPSHOT_RUN_KIND.data) === (stamp !== 0) && kind !== undefined
        : kind === undefined || (stamp === 0 && kind === SNAPSHOT_RUN_KIND.zero)
      // What a clone may share is told as data (CLONES.md section 7).
      if (isRight || (kind === SNAPSHOT_RUN_KIND.data && this.world.origin !== undefined)) continue
      const which = since === undefined ? snapshot.id : `${snapshot.id} since ${since.id}`
      return this.users.complain(`${this.name}: block ${at} of ${which} is ${stamp}, and told as ${kind ?? 'nothing'}`)
    }
  }

  private step(event: ReaderEvent): void {
    const { state } = this
    if (state === undefined || (event.type !== 'ask' && !this.isAwake)) return
    try {
      stepSnapshotReader(state, event, this.time.bootMs(), this.port)
    } catch (error) {
      this.world.failed(this, error)
    }
    this.flush()
  }

  private flush(): void {
    const { outbox } = this
    this.outbox = []
    for (const act of outbox) act()
  }

  private readonly port: ReaderPort = {
    send: (to, message) => this.outbox.push(() => this.sendTo(to, message)),
    opened: (snapshot) => this.opened(snapshot),
    answer: (tag, answer) => this.answered(tag, answer),
    readConfig: (token) => {
      const { life } = this
      this.outbox.push(() =>
        this.world.store.read(this.name, (value) => {
          if (life === this.life) this.step({ type: 'config-read', token, value, ok: value !== undefined })
        }),
      )
    },
    wakeAt: (atMs) => {
      if (atMs >= this.wakeAtMs) return
      this.wakeAtMs = atMs
      this.later(this.time.delayUntilMs(atMs), () => {
        if (this.wakeAtMs !== atMs) return
        this.wakeAtMs = Infinity
        this.step({ type: 'tick' })
      })
    },
  }

  private sendTo(to: string, message: FrontendMessage): void {
    const { trace, network, nodes } = this.world
    trace.note(this.name, message.type, 0, 0, to, () => `to ${to}${briefFrontend(message)}`)
    network.send(this.name, to, () => nodes.get(to)?.deliver({ type: 'frontend', from: this.name, message }))
  }
}
