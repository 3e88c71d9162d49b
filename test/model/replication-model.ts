/**
 * The replication core as a machine to be searched: copies, what is under way between them, the cluster store, a client
 * and the faults that are left. The `step` functions are those of production; nothing of the protocol is written again.
 *
 * A state is a row of numbers of interned parts: the copies, the cluster store's values, the client, the faults used,
 * and the messages of each link (a set: a message that is under way twice is a duplicate, which is a fault of its own).
 * One thing happens at a time, at any time that it may:
 *
 *   deliver, lose or duplicate a message          a tick that is due              time passes by one unit
 *   the disk has a prefix of what it was given    a copy crashes, starts          the client opens, writes or reads
 *   a compare-and-swap lands, is answered or not  a read of the cluster store is answered with a value since it began
 *   a watch says that there is a newer value
 *
 * A copy is not told in which order other parts move, so what a part does is worked out once for each part and thing
 * that happens to it, and remembered.
 */
import { type Bounds } from './bounds.ts'
import { violationIn } from './checks.ts'
import { servingRow, startedRow } from './first-state.ts'
import { versionText, type Happening } from './local-copy.ts'
import {
  FRONTEND,
  maySend,
  newestAnswered,
  openMessage,
  readMessage,
  takeReply,
  writeMessage,
  type ModelClient,
} from './model-client.ts'
import { Outcomes, type Outcome } from './outcomes.ts'
import { Parts } from './parts.ts'
import { sayHappening, sayMessage } from './readable.ts'
import { StepFailed, type Machine } from './search.ts'

const FAULTS = [
  'crashes',
  'losses',
  'duplicates',
  'unknowns',
  'handOvers',
  'lateReads',
  'earlyTimeouts',
  'pauses',
] as const
type Fault = (typeof FAULTS)[number]
const FAULT_BASE = 8
const TIME: Happening = { type: 'time' }

type Visit = (next: Int32Array, say: () => string) => void

export class ReplicationModel implements Machine {
  readonly width: number
  readonly bounds: Bounds
  readonly parts: Parts
  readonly outcomes: Outcomes
  private readonly nodes: readonly string[]
  private readonly first: Int32Array
  private readonly next: Int32Array
  private visit: Visit = () => undefined
  private epochMax = Infinity

  constructor(bounds: Bounds, from: 'serving' | 'start' = 'serving') {
    this.bounds = bounds
    this.parts = new Parts(bounds)
    this.outcomes = new Outcomes(this.parts)
    this.nodes = this.parts.nodes
    this.width = this.parts.width
    this.next = new Int32Array(this.width)
    const start = startedRow(this.parts)
    this.first = from === 'start' ? start : servingRow(this.parts, this, start)
    this.epochMax = this.parts.clusterOf(this.first).at(-1)!.config.epoch + bounds.epochs - 1
  }

  initial(): Int32Array {
    return this.first
  }

  violation(row: Int32Array): string | undefined {
    return violationIn(this.parts.seen(row))
  }

  successors(row: Int32Array, visit: Visit): void {
    this.visit = visit
    const { copies } = this.bounds
    for (let i = 0; i < copies; i++) this.ofCopy(row, i)
    for (let from = 0; from < copies; from++) {
      for (let to = 0; to < copies; to++) if (to !== from) this.ofLink(row, from, to)
    }
    this.ofClient(row)
    this.timePasses(row)
  }

  // ---- what may happen

  private ofCopy(row: Int32Array, i: number): void {
    const { copy, summary } = this.parts.copies.get(row[i]!)
    const { copies, mode } = this.bounds
    const clusterId = row[copies]!
    const cluster = this.parts.clusters.get(clusterId)
    const { entries, written, syncWanted } = copy.store
    if (!summary.isUp) this.local(row, i, 'start', { type: 'start' })
    else {
      if (summary.isTickDue) this.local(row, i, 'tick', { type: 'event', event: { type: 'tick' } })
      const isNewer = summary.configVersion !== versionText(cluster.length)
      if (isNewer && !summary.isReading && summary.role !== 'fenced' && copy.memory!.isRecovered) {
        this.local(row, i, `hint ${clusterId}`, {
          type: 'event',
          event: { type: 'config-hint', value: cluster.at(-1)! },
        })
      }
      if (mode === 'writeback' && written < entries.length) this.local(row, i, 'written', { type: 'written' })
      const syncs = mode === 'durable' ? entries.length : Math.min(written, syncWanted)
      for (let count = 1; count <= syncs; count++) {
        this.local(row, i, `stored ${count}`, { type: 'stored', count })
      }
      for (const { token, sinceVersion } of copy.reads) {
        for (let version = sinceVersion; version <= cluster.length; version++) {
          const value = cluster[version - 1]!
          this.local(row, i, `read ${token} ${clusterId} ${version}`, { type: 'read', token, value })
        }
      }
      if (this.has(row, 'crashes')) {
        for (const keepsApplied of summary.hasApplied ? [true, false] : [true]) {
          for (let kept = mode === 'durable' ? 0 : written; kept <= entries.length; kept++) {
            this.local(row, i, `crash ${kept} ${keepsApplied}`, { type: 'crash', kept, keepsApplied }, 'crashes')
          }
        }
      }
    }
    copy.swaps.forEach((swap, index) => {
      if (swap.outcome === undefined && swap.config.epoch <= this.epochMax) this.lands(row, i, index)
      if (swap.isForgotten) return
      if (swap.outcome !== undefined)
        this.local(row, i, `answered ${index}`, { type: 'answered', index, isUnknown: false })
      if (this.has(row, 'unknowns'))
        this.local(row, i, `unknown ${index}`, { type: 'answered', index, isUnknown: true }, 'unknowns')
    })
  }

  private ofLink(row: Int32Array, from: number, to: number): void {
    const at = this.parts.linkAt(from, to)
    const { summary } = this.parts.copies.get(row[to]!)
    for (const id of this.parts.links.get(row[at]!).messages) {
      const { arrival } = this.parts.messages.get(id)
      if (summary.isUp) {
        this.begin(row)
        this.take(at, id)
        this.happens(row, to, arrival, this.outcomes.nameOfArrival(id))
        if (this.has(row, 'duplicates')) {
          this.begin(row, 'duplicates')
          this.happens(row, to, arrival, this.outcomes.nameOfArrival(id), () => 'duplicate: ')
        }
      }
      if (this.has(row, 'losses')) {
        this.begin(row, 'losses')
        this.take(at, id)
        this.visit(this.next, () => `lost: ${sayMessage(this.parts.messages.get(id))}`)
      }
    }
  }

  private ofClient(row: Int32Array): void {
    const { bounds } = this
    const { copies, blocks } = bounds
    const client = this.parts.clients.get(row[copies + 1]!)
    for (let i = 0; i < copies; i++) {
      const node = this.nodes[i]!
      const { summary } = this.parts.copies.get(row[i]!)
      if (summary.role !== 'primary' && summary.role !== 'handing-over') continue
      if (!summary.hasSession) {
        if (!summary.isOpening && summary.role === 'primary') this.asks(row, i, 'open', openMessage())
        continue
      }
      for (let write = 0; write < bounds.writes; write++) {
        if (!maySend(client, write, bounds)) break
        const isRepeated = client.answered[write]!
        if (!isRepeated || this.has(row, 'duplicates')) {
          const fault = isRepeated ? 'duplicates' : undefined
          this.asks(row, i, `write ${write}`, writeMessage(write, bounds), undefined, fault)
        }
      }
      if (client.read === undefined && client.readsDone < bounds.reads && !client.answered.includes(false)) {
        for (let lba = 0; lba < blocks; lba++) {
          const floor = Math.max(newestAnswered(client, lba, bounds), client.seen[lba]!)
          this.asks(row, i, this.nameOfRead(client, lba), readMessage(client, lba), { read: { node, lba, floor } })
        }
      } else if (client.read !== undefined && (client.read.node !== node || summary.readsPending === 0)) {
        const { lba } = client.read
        this.asks(row, i, this.nameOfRead(client, lba), readMessage(client, lba), { read: { ...client.read, node } })
      }
      if (summary.role === 'primary' && this.has(row, 'handOvers')) {
        for (const to of this.nodes) {
          if (to === node) continue
          const event = { type: 'command' as const, token: 1, command: { type: 'hand-over' as const, to } }
          this.local(row, i, `hand-over ${to}`, { type: 'event', event }, 'handOvers')
        }
      }
    }
  }

  private nameOfRead({ answered }: ModelClient, lba: number): string {
    return `read ${lba} below ${answered.indexOf(false)}`
  }

  private asks(
    row: Int32Array,
    i: number,
    name: string,
    message: ReturnType<typeof openMessage>,
    change?: Partial<ModelClient>,
    fault?: Fault,
  ): void {
    this.begin(row, fault)
    if (change !== undefined) this.changeClient((client) => Object.assign(client, change))
    const what: Happening = { type: 'event', event: { type: 'frontend', from: FRONTEND, message } }
    this.happens(row, i, what, this.outcomes.nameOf(name))
  }

  private timePasses(row: Int32Array): void {
    const isDue = this.nodes.some((_, i) => this.parts.copies.get(row[i]!).summary.isTickDue)
    const fault = isDue ? 'pauses' : this.isQuiet(row) ? undefined : 'earlyTimeouts'
    if (fault !== undefined && !this.has(row, fault)) return
    this.begin(row, fault)
    let isChanged = false
    for (let i = 0; i < this.bounds.copies; i++) {
      if (!this.parts.copies.get(row[i]!).summary.isUp) continue
      const { copyId } = this.outcomes.outcomeOf(row[i]!, TIME, this.outcomes.nameOf('time'), 0)
      if (copyId !== row[i]!) isChanged = true
      this.next[i] = copyId
    }
    if (isChanged) this.visit(this.next, () => 'time passes')
  }

  /** Nothing is under way: only time or the client can go on. */
  private isQuiet(row: Int32Array): boolean {
    const { copies } = this.bounds
    for (let i = 0; i < copies; i++) {
      const { copy, summary } = this.parts.copies.get(row[i]!)
      if (copy.reads.length > 0 || copy.swaps.some(({ isForgotten }) => !isForgotten)) return false
      if (!summary.isUp) continue
      if (copy.store.entries.length > 0) return false
      for (let from = 0; from < copies; from++) {
        if (from !== i && this.parts.links.get(row[this.parts.linkAt(from, i)]!).messages.length > 0) return false
      }
    }
    return true
  }

  private lands(row: Int32Array, i: number, index: number): void {
    const { copies } = this.bounds
    const cluster = this.parts.clusters.get(row[copies]!)
    const swap = this.parts.copies.get(row[i]!).copy.swaps[index]!
    const before = cluster.at(-1)!.config
    const { config } = swap
    const say = () =>
      `${this.nodes[i]}'s swap lands: epoch ${config.epoch} of ${config.primary}, set ${config.inSync.join('+')}`
    if (swap.version !== cluster.length) return
    if (config.epoch <= before.epoch) throw new StepFailed('I1: a value of no higher epoch', say())
    if (!before.inSync.includes(config.primary)) throw new StepFailed('I12: a primary from outside the set', say())
    if (!config.inSync.includes(config.primary)) throw new StepFailed('I2: a primary outside its set', say())
    this.begin(row)
    const version = cluster.length + 1
    const values = [...cluster, { config, version: versionText(version) }]
    this.next[copies] = this.parts.clusters.idOf(values, () => values)
    this.next[i] = this.outcomes.outcomeOf(
      this.next[i]!,
      { type: 'landed', index, outcome: 'won' },
      this.outcomes.nameOf(`landed ${index}`),
      this.next[copies]!,
    ).copyId
    for (let j = 0; j < copies; j++) {
      const { swaps } = this.parts.copies.get(this.next[j]!).copy
      const isStale = swaps.some((one) => one.outcome === undefined && one.version < version)
      if (isStale)
        this.next[j] = this.outcomes.outcomeOf(
          this.next[j]!,
          { type: 'version', version },
          this.outcomes.nameOf(`version ${version}`),
          this.next[copies]!,
        ).copyId
    }
    this.visit(this.next, say)
  }

  // ---- making it happen

  private local(row: Int32Array, i: number, name: string, what: Happening, fault?: Fault): void {
    this.begin(row, fault)
    this.happens(row, i, what, this.outcomes.nameOf(name))
  }

  private begin(row: Int32Array, fault?: Fault): void {
    this.next.set(row)
    const at = this.bounds.copies + 2
    if (fault !== undefined) this.next[at] = this.next[at]! + FAULT_BASE ** FAULTS.indexOf(fault)
  }

  private has(row: Int32Array, fault: Fault): boolean {
    const used = Math.floor(row[this.bounds.copies + 2]! / FAULT_BASE ** FAULTS.indexOf(fault)) % FAULT_BASE
    return used < this.bounds[fault]
  }

  private happens(row: Int32Array, i: number, what: Happening, name: number, prefix: () => string = () => ''): void {
    const { bounds, next } = this
    const isLateToo = bounds.lateReads > 0 && this.has(next, 'lateReads')
    const before = isLateToo ? next.slice() : next
    const { didRead } = this.follow(row, i, what, name, false, prefix)
    if (!didRead || !isLateToo) return
    this.begin(before, 'lateReads')
    this.follow(row, i, what, name, true, prefix)
  }

  private follow(
    row: Int32Array,
    i: number,
    what: Happening,
    name: number,
    isLate: boolean,
    prefix: () => string,
  ): Outcome {
    const { next, nodes } = this
    const outcome = this.outcomes.outcomeOf(row[i]!, what, name, row[this.bounds.copies]!, isLate)
    const { copyId, sent, replies, failure } = outcome
    const say = () => {
      const messages = sent.map(({ message }) => this.parts.messages.get(message))
      return prefix() + sayHappening(nodes[i]!, what, messages, replies)
    }
    if (failure !== undefined) throw new StepFailed(failure, say())
    next[i] = copyId
    for (const { link, message } of sent) this.put(link, message)
    for (const reply of replies) {
      let wrong: string | undefined
      this.changeClient((client) => (wrong = takeReply(client, nodes[i]!, reply)))
      if (wrong !== undefined) throw new StepFailed(wrong, say())
    }
    this.parts.renumberTold(next)
    this.visit(next, say)
    return outcome
  }

  private changeClient(change: (client: ModelClient) => void): void {
    const at = this.bounds.copies + 1
    const client = { ...this.parts.clients.get(this.next[at]!) }
    change(client)
    this.next[at] = this.parts.clients.idOf(client, () => client)
  }

  private put(link: number, message: number): void {
    if (this.parts.messages.get(message).message.type === 'join' && this.isLastEpoch()) return
    this.next[link] = this.parts.linkWith(this.next[link]!, message)
  }

  private take(link: number, message: number): void {
    this.next[link] = this.parts.linkWithout(this.next[link]!, message)
  }

  /** Who asks to join in the last epoch prepares what would lead beyond the bound: he is not heard. */
  private isLastEpoch(): boolean {
    return this.parts.clusters.get(this.next[this.bounds.copies]!).at(-1)!.config.epoch >= this.epochMax
  }
}
