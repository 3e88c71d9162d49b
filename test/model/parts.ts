/**
 * States as rows of numbers of interned parts: `[copies..., cluster store, client, faults used, links...]`. A link is a
 * set of messages. Tokens that more than one part may know are numbered anew over the whole row (`tokens.ts`).
 */
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { PeerMessage } from '../../engine/replication/messages.ts'
import { NODES, type Bounds } from './bounds.ts'
import { copyOf } from './canonical.ts'
import type { Seen } from './checks.ts'
import { Interned } from './interned.ts'
import type { Happening, LocalCopy } from './local-copy.ts'
import type { ModelClient } from './model-client.ts'
import { summaryOf, type Summary } from './summary.ts'
import { countersOf, renumberLocal, setTold, toldOf, visitMessage, visitTold } from './tokens.ts'

export interface Envelope {
  from: string
  to: string
  instance: string
  message: PeerMessage
}

export interface CopyPart {
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

const COUNTERS_OF_NODE = 2
const TOKENS_MAX = 30

export class Parts {
  readonly bounds: Bounds
  readonly nodes: readonly string[]
  readonly width: number
  readonly copies = new Interned<CopyPart>()
  readonly messages = new Interned<MessagePart>()
  readonly links = new Interned<LinkPart>()
  readonly clusters = new Interned<VersionedConfig[]>()
  readonly clients = new Interned<ModelClient>()
  private readonly linksWith = new Map<number, number>()
  private readonly linksWithout = new Map<number, number>()
  private readonly renames = new Map<string, number>()
  private readonly counters: string[]

  constructor(bounds: Bounds) {
    this.bounds = bounds
    this.nodes = NODES.slice(0, bounds.copies)
    this.counters = this.nodes.flatMap(countersOf)
    this.width = bounds.copies * bounds.copies + 3
  }

  clusterOf(row: Int32Array): VersionedConfig[] {
    return this.clusters.get(row[this.bounds.copies]!)
  }

  clientOf(row: Int32Array): ModelClient {
    return this.clients.get(row[this.bounds.copies + 1]!)
  }

  /** What the checks look at. */
  seen(row: Int32Array): Seen {
    const { nodes, bounds } = this
    const answersEpochs = nodes.map((_, from) => {
      let epoch = 0
      for (let to = 0; to < nodes.length; to++) {
        if (to !== from) epoch = Math.max(epoch, this.links.get(row[this.linkAt(from, to)]!).answersEpoch)
      }
      return epoch
    })
    const copies = nodes.map((_, i) => this.copies.get(row[i]!).summary)
    const { config } = this.clusterOf(row).at(-1)!
    return { nodes, copies, answersEpochs, config, client: this.clientOf(row), bounds }
  }

  copyIdOf(copy: LocalCopy): number {
    return this.copies.idOf(copy, () => {
      const told = this.heldTokens((rename) => visitTold(copy, rename))
      return { copy, summary: summaryOf(copy, this.bounds.blocks), told }
    })
  }

  messageIdOf(envelope: Envelope): number {
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

  linkAt(from: number, to: number): number {
    const { copies } = this.bounds
    return copies + 3 + from * (copies - 1) + (to < from ? to : to - 1)
  }

  linkWith(link: number, message: number): number {
    const key = link * 2 ** 24 + message
    const known = this.linksWith.get(key)
    if (known !== undefined) return known
    const { messages } = this.links.get(link)
    // What is under way already is so once; a link that is full loses what comes.
    const isKept = !messages.includes(message) && messages.length < this.bounds.linkMessages
    const after = isKept ? this.linkIdOf([...messages, message]) : link
    this.linksWith.set(key, after)
    return after
  }

  linkWithout(link: number, message: number): number {
    const key = link * 2 ** 24 + message
    const known = this.linksWithout.get(key)
    if (known !== undefined) return known
    const after = this.linkIdOf(this.links.get(link).messages.filter((one) => one !== message))
    this.linksWithout.set(key, after)
    return after
  }

  linkIdOf(messages: number[]): number {
    const sorted = messages.sort((a, b) => a - b)
    return this.links.idOf(sorted, () => {
      const told = new Int32Array(this.counters.length)
      for (const id of sorted) this.messages.get(id).told.forEach((mask, i) => (told[i]! |= mask))
      const epochs = sorted.map((id) => answersUnder(this.messages.get(id).message))
      return { messages: sorted, answersEpoch: Math.max(0, ...epochs), told }
    })
  }

  renumberTold(row: Int32Array): void {
    const { copies } = this.bounds
    for (let counter = 0; counter < this.counters.length; counter++) {
      const { copy, summary } = this.copies.get(row[Math.floor(counter / COUNTERS_OF_NODE)]!)
      if (!summary.isUp) continue
      let mask = 0
      for (let i = 0; i < copies; i++) mask |= this.copies.get(row[i]!).told[counter]!
      for (let at = copies + 3; at < this.width; at++) mask |= this.links.get(row[at]!).told[counter]!
      if (mask !== 2 ** toldOf(copy, this.counters[counter]!) - 1) this.renumberOf(row, counter, mask)
    }
  }

  private renumberOf(row: Int32Array, counter: number, mask: number): void {
    const { copies } = this.bounds
    const order: number[] = []
    for (let token = 1; token <= TOKENS_MAX; token++) if ((mask & (1 << (token - 1))) !== 0) order.push(token)
    const name = this.counters[counter]!
    const rename = (drawnBy: string, token: number): number =>
      drawnBy === name && token > 0 ? order.indexOf(token) + 1 : token
    for (let i = 0; i < copies; i++) row[i] = this.renamedCopy(row[i]!, counter, mask, order.length, rename)
    for (let at = copies + 3; at < this.width; at++) {
      const { messages, told } = this.links.get(row[at]!)
      if (told[counter] === 0) continue
      row[at] = this.linkIdOf([...new Set(messages.map((id) => this.renamedMessage(id, rename)))])
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
}

/** I3: these say that the sender promised, and must be true after a crash. */
function answersUnder(message: PeerMessage): number {
  const needsPromise = message.type === 'promised' || message.type === 'stored' || message.type === 'confirmed'
  return needsPromise ? message.epoch : 0
}
