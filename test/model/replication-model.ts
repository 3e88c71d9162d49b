/**
 * The replication core as a machine to be searched: copies, what is under way between them, the cluster store, a client
 * and the faults that are left. The `step` functions are those of production; nothing of the protocol is written again.
 *
 * A state is a row of numbers of interned parts: the copies, the cluster store's values, the client, the faults used,
 * and the messages of each link (a set: a message that is under way twice is a duplicate, which is a fault of its own).
 * One thing happens at a time, at any time that it may:
 *
 *   deliver, lose or duplicate a message          a tick that is due              time passes by one unit
 *   the disk has a prefix of what it was given    a copy crashes, starts          the client opens, writes, reads, repeats
 *   a compare-and-swap lands, is answered or not  a read of the cluster store is answered with a value since it began
 *   a watch says that there is a newer value
 *
 * A copy is not told in which order other parts move, so what a part does is worked out once for each part and thing
 * that happens to it, and remembered.
 */
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { PeerMessage } from '../../engine/replication/messages.ts'
import { NODES, type Bounds } from './bounds.ts'
import { copyOf } from './canonical.ts'
import { violationIn } from './checks.ts'
import { Interned } from './interned.ts'
import { happen, newLocalCopy, versionText, type Happening, type LocalCopy } from './local-copy.ts'
import {
  FRONTEND,
  maySend,
  newestAnswered,
  newClient,
  openMessage,
  readMessage,
  takeReply,
  writeMessage,
  type ModelClient,
} from './model-client.ts'
import { sayHappening, sayMessage } from './readable.ts'
import { StepFailed, type Machine } from './search.ts'
import { summaryOf, type Summary } from './summary.ts'
import { countersOf, renumberLocal, setTold, toldOf, visitMessage, visitTold } from './tokens.ts'

export interface Envelope {
  from: string
  to: string
  instance: string
  message: PeerMessage
}

interface CopyPart {
  copy: LocalCopy
  summary: Summary
  told: Int32Array
}

interface LinkPart {
  messages: number[]
  /** The highest epoch under which something is answered here that needs a durable promise. */
  answersEpoch: number
  told: Int32Array
}

interface MessagePart extends Envelope {
  /** Of each counter: which of its tokens it holds, a bit each. */
  told: Int32Array
  /** That it arrives. */
  arrival: Happening
}

/** What follows when something happens to a copy. */
interface Outcome {
  copyId: number
  sent: Array<{ link: number; message: number }>
  replies: ReturnType<typeof happen>['replies']
  didRead: boolean
  failure: string | undefined
}

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
const COUNTERS_OF_NODE = 2
const TOKENS_MAX = 30
const TIME: Happening = { type: 'time' }

type Visit = (next: Int32Array, say: () => string) => void

export class ReplicationModel implements Machine {
  readonly width: number
  readonly bounds: Bounds
  readonly nodes: readonly string[]
  /** Things that were worked out, and that were known already. */
  readonly counts = { worked: 0, known: 0 }
  readonly copies = new Interned<CopyPart>()
  private readonly messages = new Interned<MessagePart>()
  private readonly links = new Interned<LinkPart>()
  private readonly linksWith = new Map<number, number>()
  private readonly linksWithout = new Map<number, number>()
  private readonly clusters = new Interned<VersionedConfig[]>()
  private readonly clients = new Interned<ModelClient>()
  private readonly happenings = new Map<string, number>()
  private readonly outcomes = new Map<number, Outcome>()
  private readonly renames = new Map<string, number>()
  private readonly counters: string[]
  private readonly first: Int32Array
  private readonly next: Int32Array
  private visit: Visit = () => undefined
  private epochMax = Infinity

  constructor(bounds: Bounds, from: 'serving' | 'start' = 'serving') {
    this.bounds = bounds
    this.nodes = NODES.slice(0, bounds.copies)
    this.counters = this.nodes.flatMap(countersOf)
    this.width = bounds.copies * bounds.copies + 3
    this.next = new Int32Array(this.width)
    const start = this.started()
    this.first = from === 'start' ? start : this.serving(start)
    this.epochMax = this.clusters.get(this.first[bounds.copies]!).at(-1)!.config.epoch + bounds.epochs - 1
  }

  initial(): Int32Array {
    return this.first
  }

  partsOf(row: Int32Array): {
    copies: CopyPart[]
    cluster: VersionedConfig[]
    client: ModelClient
    messages: Envelope[]
  } {
    const { copies } = this.bounds
    return {
      copies: this.nodes.map((_, i) => this.copies.get(row[i]!)),
      cluster: this.clusters.get(row[copies]!),
      client: this.clients.get(row[copies + 1]!),
      messages: [...row.subarray(copies + 3)].flatMap((link) =>
        this.links.get(link).messages.map((id) => this.messages.get(id)),
      ),
    }
  }

  violation(row: Int32Array): string | undefined {
    const { copies, cluster, client } = this.partsOf(row)
    const summaries = copies.map(({ summary }) => summary)
    const { nodes, bounds } = this
    const answersEpochs = nodes.map((_, from) => {
      let epoch = 0
      for (let to = 0; to < nodes.length; to++) {
        if (to !== from) epoch = Math.max(epoch, this.links.get(row[this.linkAt(from, to)]!).answersEpoch)
      }
      return epoch
    })
    return violationIn({ nodes, copies: summaries, answersEpochs, config: cluster.at(-1)!.config, client, bounds })
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
    const { copy, summary } = this.copies.get(row[i]!)
    const { copies, mode } = this.bounds
    const clusterId = row[copies]!
    const cluster = this.clusters.get(clusterId)
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
    const at = this.linkAt(from, to)
    const { summary } = this.copies.get(row[to]!)
    for (const id of this.links.get(row[at]!).messages) {
      const { arrival } = this.messages.get(id)
      if (summary.isUp) {
        this.begin(row)
        this.take(at, id)
        this.happens(row, to, arrival, 2 * id + 1)
        if (this.has(row, 'duplicates')) {
          this.begin(row, 'duplicates')
          this.happens(row, to, arrival, 2 * id + 1, () => 'duplicate: ')
        }
      }
      if (this.has(row, 'losses')) {
        this.begin(row, 'losses')
        this.take(at, id)
        this.visit(this.next, () => `lost: ${sayMessage(this.messages.get(id))}`)
      }
    }
  }

  private ofClient(row: Int32Array): void {
    const { bounds } = this
    const { copies, blocks } = bounds
    const client = this.clients.get(row[copies + 1]!)
    for (let i = 0; i < copies; i++) {
      const node = this.nodes[i]!
      const { summary } = this.copies.get(row[i]!)
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
    this.happens(row, i, what, this.nameOf(name))
  }

  private timePasses(row: Int32Array): void {
    const isDue = this.nodes.some((_, i) => this.copies.get(row[i]!).summary.isTickDue)
    const fault = isDue ? 'pauses' : this.isQuiet(row) ? undefined : 'earlyTimeouts'
    if (fault !== undefined && !this.has(row, fault)) return
    this.begin(row, fault)
    let isChanged = false
    for (let i = 0; i < this.bounds.copies; i++) {
      if (!this.copies.get(row[i]!).summary.isUp) continue
      const { copyId } = this.outcomeOf(row[i]!, TIME, this.nameOf('time'), 0)
      if (copyId !== row[i]!) isChanged = true
      this.next[i] = copyId
    }
    if (isChanged) this.visit(this.next, () => 'time passes')
  }

  /** Nothing is under way: only time or the client can go on. */
  private isQuiet(row: Int32Array): boolean {
    const { copies } = this.bounds
    for (let i = 0; i < copies; i++) {
      const { copy, summary } = this.copies.get(row[i]!)
      if (copy.reads.length > 0 || copy.swaps.some(({ isForgotten }) => !isForgotten)) return false
      if (!summary.isUp) continue
      if (copy.store.entries.length > 0) return false
      for (let from = 0; from < copies; from++) {
        if (from !== i && this.links.get(row[this.linkAt(from, i)]!).messages.length > 0) return false
      }
    }
    return true
  }

  private lands(row: Int32Array, i: number, index: number): void {
    const { copies } = this.bounds
    const cluster = this.clusters.get(row[copies]!)
    const swap = this.copies.get(row[i]!).copy.swaps[index]!
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
    this.next[copies] = this.clusters.idOf(values, () => values)
    this.next[i] = this.outcomeOf(
      this.next[i]!,
      { type: 'landed', index, outcome: 'won' },
      this.nameOf(`landed ${index}`),
      this.next[copies]!,
    ).copyId
    for (let j = 0; j < copies; j++) {
      const { swaps } = this.copies.get(this.next[j]!).copy
      const isStale = swaps.some((one) => one.outcome === undefined && one.version < version)
      if (isStale)
        this.next[j] = this.outcomeOf(
          this.next[j]!,
          { type: 'version', version },
          this.nameOf(`version ${version}`),
          this.next[copies]!,
        ).copyId
    }
    this.visit(this.next, say)
  }

  // ---- making it happen

  private local(row: Int32Array, i: number, name: string, what: Happening, fault?: Fault): void {
    this.begin(row, fault)
    this.happens(row, i, what, this.nameOf(name))
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

  /** Of what happens, other than that a message arrives. */
  private nameOf(text: string): number {
    let name = this.happenings.get(text)
    if (name === undefined) this.happenings.set(text, (name = 2 * this.happenings.size))
    return name
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
    const outcome = this.outcomeOf(row[i]!, what, name, row[this.bounds.copies]!, isLate)
    const { copyId, sent, replies, failure } = outcome
    const say = () => {
      const messages = sent.map(({ message }) => this.messages.get(message))
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
    this.renumberTold()
    this.visit(next, say)
    return outcome
  }

  private outcomeOf(copyId: number, what: Happening, name: number, cluster: number, isLate = false): Outcome {
    const key = ((name * 256 + cluster) * 2 + Number(isLate)) * 2 ** 22 + copyId
    const known = this.outcomes.get(key)
    if (known !== undefined) {
      this.counts.known++
      return known
    }
    this.counts.worked++
    const copy = copyOf(this.copies.get(copyId).copy)
    let outcome: Outcome
    try {
      const { sent, replies, didRead } = happen(copy, what, this.bounds, this.clusters.get(cluster), isLate)
      const from = this.nodes.indexOf(copy.node)
      outcome = {
        copyId: this.copyIdOf(copy),
        sent: sent
          .filter(({ to }) => to !== copy.node && this.nodes.includes(to))
          .map(({ to, message }) => ({
            link: this.linkAt(from, this.nodes.indexOf(to)),
            message: this.messageIdOf({ from: copy.node, to, instance: `${copy.node}${copy.life}`, message }),
          })),
        replies,
        didRead,
        failure: undefined,
      }
    } catch (error) {
      const failure = (error as Error).stack?.split('\n').slice(0, 4).join(' ') ?? String(error)
      outcome = { copyId, sent: [], replies: [], didRead: false, failure }
    }
    this.outcomes.set(key, outcome)
    return outcome
  }

  private copyIdOf(copy: LocalCopy): number {
    return this.copies.idOf(copy, () => {
      const told = this.heldTokens((rename) => visitTold(copy, rename))
      return { copy, summary: summaryOf(copy, this.bounds.blocks), told }
    })
  }

  private messageIdOf(envelope: Envelope): number {
    return this.messages.idOf(envelope, () => {
      const told = this.heldTokens((rename) => visitMessage(envelope.message, envelope.from, envelope.to, rename))
      const { from, instance, message } = envelope
      const arrival: Happening = { type: 'event', event: { type: 'message', from, instance, message } }
      return { ...envelope, told, arrival }
    })
  }

  private heldTokens(visit: (note: (drawnBy: string, token: number) => number) => void): Int32Array {
    const held = new Int32Array(this.counters.length)
    visit((drawnBy, token) => {
      const counter = this.counters.indexOf(drawnBy)
      if (token > TOKENS_MAX) throw new Error(`more than ${TOKENS_MAX} tokens of ${drawnBy} are held at once`)
      if (counter >= 0 && token > 0) held[counter]! |= 1 << (token - 1)
      return token
    })
    return held
  }

  private changeClient(change: (client: ModelClient) => void): void {
    const at = this.bounds.copies + 1
    const client = { ...this.clients.get(this.next[at]!) }
    change(client)
    this.next[at] = this.clients.idOf(client, () => client)
  }

  private linkAt(from: number, to: number): number {
    const { copies } = this.bounds
    return copies + 3 + from * (copies - 1) + (to < from ? to : to - 1)
  }

  private put(link: number, message: number): void {
    if (this.messages.get(message).message.type === 'join' && this.isLastEpoch()) return
    const before = this.next[link]!
    const key = before * 2 ** 24 + message
    let after = this.linksWith.get(key)
    if (after === undefined) {
      const { messages } = this.links.get(before)
      // What is under way already is so once; a link that is full loses what comes.
      const isKept = !messages.includes(message) && messages.length < this.bounds.linkMessages
      this.linksWith.set(key, (after = isKept ? this.linkIdOf([...messages, message]) : before))
    }
    this.next[link] = after
  }

  /** Who asks to join in the last epoch prepares what would lead beyond the bound: he is not heard. */
  private isLastEpoch(): boolean {
    return this.clusters.get(this.next[this.bounds.copies]!).at(-1)!.config.epoch >= this.epochMax
  }

  private take(link: number, message: number): void {
    const key = this.next[link]! * 2 ** 24 + message
    let after = this.linksWithout.get(key)
    if (after === undefined) {
      const { messages } = this.links.get(this.next[link]!)
      this.linksWithout.set(key, (after = this.linkIdOf(messages.filter((one) => one !== message))))
    }
    this.next[link] = after
  }

  private linkIdOf(messages: number[]): number {
    const sorted = messages.sort((a, b) => a - b)
    return this.links.idOf(sorted, () => {
      const told = new Int32Array(this.counters.length)
      for (const id of sorted) this.messages.get(id).told.forEach((mask, i) => (told[i]! |= mask))
      const epochs = sorted.map((id) => answersUnder(this.messages.get(id).message))
      return { messages: sorted, answersEpoch: Math.max(0, ...epochs), told }
    })
  }

  // ---- tokens that are known to more than one

  private renumberTold(): void {
    const { copies } = this.bounds
    for (let counter = 0; counter < this.counters.length; counter++) {
      const { copy, summary } = this.copies.get(this.next[Math.floor(counter / COUNTERS_OF_NODE)]!)
      if (!summary.isUp) continue
      let mask = 0
      for (let i = 0; i < copies; i++) mask |= this.copies.get(this.next[i]!).told[counter]!
      for (let at = copies + 3; at < this.width; at++) mask |= this.links.get(this.next[at]!).told[counter]!
      if (mask !== 2 ** toldOf(copy, this.counters[counter]!) - 1) this.renumberOf(counter, mask)
    }
  }

  private renumberOf(counter: number, mask: number): void {
    const { copies } = this.bounds
    const { next } = this
    const order: number[] = []
    for (let token = 1; token <= TOKENS_MAX; token++) if ((mask & (1 << (token - 1))) !== 0) order.push(token)
    const name = this.counters[counter]!
    const rename = (drawnBy: string, token: number): number =>
      drawnBy === name && token > 0 ? order.indexOf(token) + 1 : token
    for (let i = 0; i < copies; i++) next[i] = this.renamedCopy(next[i]!, counter, mask, order.length, rename)
    for (let at = copies + 3; at < this.width; at++) {
      const { messages, told } = this.links.get(next[at]!)
      if (told[counter] === 0) continue
      next[at] = this.linkIdOf([...new Set(messages.map((id) => this.renamedMessage(id, rename)))])
    }
  }

  private renamedCopy(
    id: number,
    counter: number,
    mask: number,
    told: number,
    rename: (node: string, token: number) => number,
  ): number {
    const { copy: former, told: held } = this.copies.get(id)
    const name = this.counters[counter]!
    const isOwn = countersOf(former.node).includes(name)
    if (!isOwn && held[counter] === 0) return id
    const renameKey = `${id}/${counter}/${mask}`
    const known = this.renames.get(renameKey)
    if (known !== undefined) return known
    const copy = copyOf(former)
    visitTold(copy, rename)
    setTold(copy, name, told)
    renumberLocal(copy)
    const renamed = this.copyIdOf(copy)
    this.renames.set(renameKey, renamed)
    return renamed
  }

  private renamedMessage(id: number, rename: (node: string, token: number) => number): number {
    const { from, to, instance, message } = this.messages.get(id)
    const renamed = copyOf(message)
    visitMessage(renamed, from, to, rename)
    return this.messageIdOf({ from, to, instance, message: renamed })
  }

  // ---- where a search begins

  /** Nothing ever happened: the configuration names the first copy, all disks are empty. */
  private started(): Int32Array {
    const { nodes, bounds } = this
    const { copies } = bounds
    const members = Object.fromEntries(
      nodes.map((node) => [node, { copyId: `copy-${node}`, state: 'in-sync' as const }]),
    )
    const config = {
      volumeId: 'v',
      epoch: 1,
      primary: nodes[0]!,
      inSync: [...nodes],
      members,
      minInSync: bounds.minInSync,
      attach: { generation: 1, mode: 'single' as const, holders: [FRONTEND] },
      removed: false,
      nonce: '',
    }
    const values: VersionedConfig[] = [{ config, version: versionText(1) }]
    const row = new Int32Array(this.width)
    nodes.forEach((node, i) => {
      row[i] = this.copyIdOf(newLocalCopy(node))
    })
    row[copies] = this.clusters.idOf(values, () => values)
    const client = newClient(bounds)
    row[copies + 1] = this.clients.idOf(client, () => client)
    const nothing = this.linkIdOf([])
    for (let at = copies + 3; at < this.width; at++) row[at] = nothing
    return row
  }

  /** The first copy leads, the others follow, the client is there, nothing is under way: a shortest way to it, greedily. */
  private serving(start: Int32Array): Int32Array {
    const seen = new Set<string>()
    const way: Int32Array[] = [start]
    for (;;) {
      const row = way.at(-1)
      if (row === undefined) throw new Error('the first copy never leads')
      if (this.isServing(row)) return row
      const options: Int32Array[] = []
      const isPlain = (said: string): boolean =>
        !/^(lost|duplicate)|crashes|[^a]'s swap lands|client: (writes|reads)|unknown|hand-over/.test(said)
      const late: Int32Array[] = []
      this.successors(row, (next, say) => {
        const said = say()
        if (said === 'time passes') late.push(next.slice())
        else if (isPlain(said)) options.push(next.slice())
      })
      const found = [...options, ...late].find((next) => !seen.has(next.join()))
      if (found === undefined) way.pop()
      else {
        seen.add(found.join())
        way.push(found)
      }
    }
  }

  private isServing(row: Int32Array): boolean {
    const { copies, messages } = this.partsOf(row)
    const [first, ...others] = copies.map(({ copy, summary }) => ({ ...summary, copy }))
    const { tail } = first!
    const isQuiet = copies.every(({ copy }) => copy.store.entries.length === 0)
    const knowsAll = [...(first!.copy.memory?.primary?.peers.values() ?? [])].every(
      ({ storedSeq, toldCommitSeq }) => storedSeq === tail && toldCommitSeq === tail,
    )
    return (
      first!.leadsEpoch > 0 &&
      first!.hasSession &&
      first!.commitSeq === tail &&
      others.every(({ role, commitSeq }) => role === 'replica' && commitSeq === tail) &&
      messages.length === 0 &&
      isQuiet &&
      knowsAll
    )
  }
}

/** I3: these say that the sender promised, and must be true after a crash. */
function answersUnder(message: PeerMessage): number {
  const needsPromise = message.type === 'promised' || message.type === 'stored' || message.type === 'confirmed'
  return needsPromise ? message.epoch : 0
}
