/**
 * A load client that knows what every block may hold: many stamped writes, reads, trims and flushes in flight over
 * several connections of one volume, each answer checked against the history of its blocks (block-history.ts).
 * When the sockets close it connects again, takes what was unanswered for unknown, and goes on; what was acknowledged
 * must still be there. Loss shows as soon as a block is read, at the latest in `verify`.
 *
 * It takes a close of all its connections for the death of the server; a close nobody caused is the caller's to notice
 * (`reconnects`). Of a cluster, that takes nothing that was acknowledged, flushed or not: others have it. What does is
 * a session that breaks (`writeback`, every whole copy lost its power): errors, until the client connects anew. It
 * does, and whether there was a reason for so many (`breaks`) is the caller's to judge, too.
 */
import { BlockHistory } from './block-history.ts'
import type { PastValue, Value } from './block-history.ts'
import { FLUSH, FUA, NbdConnection, READ, TRIM, WRITE, WRITE_ZEROES } from './nbd-connection.ts'
import type { Answer } from './nbd-connection.ts'
import { BLOCK_BYTES, fillStamps, readStamp } from './stamp.ts'
import type { Found, Writer } from './stamp.ts'

export interface StampedClientOptions {
  socketPath: string
  exportName: string
  /** The volume acknowledges before its writes are stable. */
  writeback?: boolean
  /** Numbers in 0..1; the choice of operations repeats with it. */
  random: () => number
  connections?: number
  /** Requests in flight, over all connections. */
  depth?: number
  /** Of a write, read or trim; half of them are of one block. */
  requestBlocksMax?: number
  /** Answers with an error, otherwise a problem. */
  allowErrno?: readonly number[]
  /**
   * The server is one of several nodes: what it passed on before it died may still happen elsewhere, until the next
   * request of the same block is answered.
   */
  isCluster?: boolean
  /** Shared by clients of several volumes whose instants are compared; its own unless given. */
  clock?: LogicalClock
}

/** Counts what is sent and answered. */
export interface LogicalClock {
  now: number
}

/** A pause between answers, while some are owed, that counts as held. */
const HELD_MS = 250

const EIO = 5
const VERIFY_BLOCKS = 256
const HOT_BLOCKS = 96
const RETRY_MS = 10
const PROBLEMS_MAX = 20
const JOURNAL_LENGTH = 20_000

interface Event {
  words: string
  lba: number
  blocks: number
  sentAt: number
  at: number
}

export class StampedClient {
  readonly counts = {
    writes: 0, acknowledgedWrites: 0, reads: 0, trims: 0, flushes: 0, unknown: 0, errors: 0, verifiedBlocks: 0,
    breaks: 0,
  }
  readonly problems: string[] = []
  /** How often it had connections and lost them all; how often it got them. */
  reconnects = 0
  sessions = 0
  sizeBytes = 0
  /** Time without an answer while some were owed, of all pauses that a user would notice; and the longest. */
  readonly held = { ms: 0, longestMs: 0 }
  readonly #options: Required<StampedClientOptions>
  readonly #writer: Writer
  readonly #blocks = new Map<number, BlockHistory>()
  /** Blocks that a flush changes something for; writeback only. */
  readonly #volatile = new Set<number>()
  /** When each read in flight was sent, the oldest first. */
  readonly #reading = new Set<number>()
  readonly #journal: Event[] = []
  #connections: NbdConnection[] = []
  #connecting: Promise<void> | undefined
  readonly #clock: LogicalClock
  #op = 0
  #inFlight = 0
  /** Of the last answer, or of the first request behind a rest. */
  #answeredMs = 0
  /** Cluster: when it died last, or its session broke, for blocks for which nobody has answered since. */
  readonly #unsettled = new Map<number, { at: number; isLossy: boolean }>()
  /** Those that were opened last, also while they close; and those whose session broke. */
  #session: readonly NbdConnection[] = []
  #broken: readonly NbdConnection[] = []
  #running = false
  #closing = false
  #isAway = false
  #lanes: Promise<void>[] = []

  constructor(options: StampedClientOptions) {
    this.#options = {
      writeback: false, connections: 2, depth: 32, requestBlocksMax: 64, allowErrno: [], isCluster: false,
      clock: { now: 0 }, ...options,
    }
    this.#clock = this.#options.clock
    const pick = (): number => Math.floor(options.random() * 2 ** 32)
    this.#writer = { id: pick(), random: pick() }
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** Connect, now or as soon as somebody listens. */
  connected(): Promise<void> {
    this.#connecting ??= this.#connect()
    return this.#connecting
  }

  /** Begin the load; it goes on over every death of the server. */
  start(): void {
    if (this.#running) return
    this.#running = true
    this.#lanes = Array.from({ length: this.#options.depth }, () => this.#lane())
  }

  /** End the load and wait for what is in flight. */
  async pause(): Promise<void> {
    this.#running = false
    await Promise.all(this.#lanes)
  }

  /** End the load and all connections; nothing connects again before `comeBack`. Not twice. */
  async leave(): Promise<void> {
    this.#isAway = true
    await this.pause()
    await Promise.all(this.#connections.map((connection) => connection.disconnect()))
    while (this.#connections.length > 0) await new Promise((resolve) => setImmediate(resolve))
    await this.#connecting
  }

  /** It may connect again. */
  comeBack(): void {
    this.#isAway = false
    this.#connecting = undefined
  }

  /** The volume was rolled back after this client left: nothing that was asked before happens any more. */
  shows(image: Buffer): void {
    const at = ++this.#clock.now
    this.#blocks.clear()
    this.#volatile.clear()
    this.#unsettled.clear()
    for (const [lba, found] of this.stampsOf(image, 0).entries()) {
      if ('wrong' in found) this.#problem(`block ${lba}, rolled back: ${found.wrong}`)
      else this.#blocks.set(lba, BlockHistory.showing(found.op, at, this.#options.writeback))
    }
    this.#note('rolled back', 0, Infinity, at, at)
  }

  /** Also when no server is there any more. */
  async close(): Promise<void> {
    this.#closing = true
    await this.pause()
    await Promise.all(this.#connections.map((connection) => connection.disconnect()))
  }

  /** Every block that was ever written holds what it may; with `share` below 1 about that part of them. */
  async verify(share = 1): Promise<void> {
    await this.connected()
    const total = this.sizeBytes / BLOCK_BYTES
    const chunks: number[] = []
    for (let lba = 0; lba < total; lba += VERIFY_BLOCKS) if (this.#options.random() <= share) chunks.push(lba)
    const lane = async (): Promise<void> => {
      for (let lba = chunks.shift(); lba !== undefined; lba = chunks.shift()) {
        const blocks = Math.min(VERIFY_BLOCKS, total - lba)
        while (!(await this.read(lba, blocks))) await this.connected()
        this.counts.verifiedBlocks += blocks
      }
    }
    await Promise.all([lane(), lane(), lane(), lane()])
  }

  /** Fill the whole volume once, in large writes. */
  async fill(): Promise<void> {
    await this.connected()
    const total = this.sizeBytes / BLOCK_BYTES
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < total) {
        const lba = next
        next += VERIFY_BLOCKS
        await this.write(lba, Math.min(VERIFY_BLOCKS, total - lba), false)
      }
    }
    await Promise.all(Array.from({ length: 8 }, lane))
  }

  /** @returns whether it was answered without an error */
  async write(lba: number, blocks: number, fua: boolean): Promise<boolean> {
    if (!this.#alive) return false
    const op = ++this.#op
    const data = Buffer.allocUnsafe(blocks * BLOCK_BYTES)
    fillStamps(data, this.#writer, op, lba)
    this.counts.writes++
    return this.#change(`write ${op}`, op, lba, blocks, fua, (connection) =>
      connection.ask({ type: WRITE, flags: fua ? FUA : 0, offset: lba * BLOCK_BYTES, data }))
  }

  async trim(lba: number, blocks: number, zero: boolean): Promise<boolean> {
    if (!this.#alive) return false
    this.counts.trims++
    const place = { offset: lba * BLOCK_BYTES, length: blocks * BLOCK_BYTES }
    return this.#change(zero ? 'zero' : 'trim', 0, lba, blocks, false, (connection) =>
      connection.ask({ type: zero ? WRITE_ZEROES : TRIM, ...place }))
  }

  async read(lba: number, blocks: number): Promise<boolean> {
    if (!this.#alive) return false
    this.counts.reads++
    const sentAt = ++this.#clock.now
    const ask = { type: READ, offset: lba * BLOCK_BYTES, length: blocks * BLOCK_BYTES }
    this.#reading.add(sentAt)
    const answer = await this.#ask((connection) => connection.ask(ask))
    this.#reading.delete(sentAt)
    const at = ++this.#clock.now
    if (!this.#succeeded(answer, 'read', lba, blocks, sentAt)) return false
    this.#note('read', lba, blocks, sentAt, at)
    for (let index = 0; index < blocks; index++) {
      const block = answer.data.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
      const found = readStamp(block, this.#writer, lba + index)
      const wrong = 'wrong' in found ? found.wrong : this.#readValue(lba + index, found.op, sentAt, at)
      if (wrong !== undefined) this.#problem(`block ${lba + index}: ${wrong}${this.#past(lba + index)}`)
    }
    return true
  }

  async flush(): Promise<boolean> {
    if (!this.#alive) return false
    this.counts.flushes++
    const sentAt = ++this.#clock.now
    const answer = await this.#ask((connection) => connection.ask({ type: FLUSH }))
    if (!this.#succeeded(answer, 'flush', 0, 0, sentAt)) return false
    for (const lba of this.#volatile) {
      const history = this.#blocks.get(lba)!
      history.flushed(sentAt, this.#oldestRead)
      if (!history.volatile) this.#volatile.delete(lba)
    }
    return true
  }

  /** A snapshot is about to be ordered: what it may show is kept until `endInstant`. @returns the moment */
  beginInstant(): number {
    const at = ++this.#clock.now
    this.#reading.add(at)
    return at
  }

  /**
   * The snapshot is there, or it is not.
   * @param begunAt  of `beginInstant`
   * @returns what each block may have held at an instant between then and now; those that are missing, zeroes. Of a
   *   client whose session broke (`counts.breaks`) it says nothing
   */
  endInstant(begunAt: number): Map<number, PastValue[]> {
    this.#reading.delete(begunAt)
    return new Map([...this.#blocks].map(([lba, history]) => [lba, history.copies()]))
  }

  /** Which operation of this client wrote each of these blocks. @param lba  of the first */
  stampsOf(data: Buffer, lba: number): Found[] {
    const found: Found[] = []
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      found.push(readStamp(data.subarray(at, at + BLOCK_BYTES), this.#writer, lba + at / BLOCK_BYTES))
    }
    return found
  }

  get #oldestRead(): number {
    return this.#reading.values().next().value ?? Infinity
  }

  #readValue(lba: number, op: number, sentAt: number, at: number): string | undefined {
    const history = this.#settled(lba, sentAt, at)
    if (history === undefined) return op === 0 ? undefined : `operation ${op} was read, it was never written`
    return history.read(op, sentAt, at, this.#oldestRead)
  }

  async #change(
    words: string, op: number, lba: number, blocks: number, fua: boolean,
    send: (connection: NbdConnection) => Promise<Answer>,
  ): Promise<boolean> {
    const sentAt = ++this.#clock.now
    const values: Value[] = []
    for (let at = lba; at < lba + blocks; at++) {
      let history = this.#blocks.get(at)
      if (history === undefined) {
        history = new BlockHistory(this.#options.writeback)
        this.#blocks.set(at, history)
      }
      values.push(history.sent(op, sentAt))
      if (this.#options.writeback) this.#volatile.add(at)
    }
    const answer = await this.#ask(send)
    const at = ++this.#clock.now
    if (!this.#succeeded(answer, words, lba, blocks, sentAt)) return false
    if (op > 0) this.counts.acknowledgedWrites++
    this.#note(fua ? `${words} with FUA` : words, lba, blocks, sentAt, at)
    const stable = fua || !this.#options.writeback
    const oldest = this.#oldestRead
    for (const [index, value] of values.entries()) {
      this.#settled(lba + index, sentAt, at)!.answered(value, at, stable, oldest)
    }
    return true
  }

  /** A request of the block was answered: what was asked before the last death has happened by now, or never will. */
  #settled(lba: number, sentAt: number, at: number): BlockHistory | undefined {
    const history = this.#blocks.get(lba)
    const death = this.#unsettled.get(lba)
    if (death === undefined || sentAt < death.at) return history
    this.#unsettled.delete(lba)
    history!.crashed(at, death.at, death.isLossy)
    return history
  }

  /** Nothing is sent, and nothing is noted as sent, while there is no server. */
  get #alive(): boolean {
    return this.#connections.length > 0
  }

  async #ask(send: (connection: NbdConnection) => Promise<Answer>): Promise<Answer> {
    const connection = this.#connections[Math.floor(this.#options.random() * this.#connections.length)]!
    if (this.#inFlight === 0) this.#answeredMs = performance.now()
    this.#inFlight++
    const answer = await send(connection)
    this.#inFlight--
    this.#waited()
    return answer
  }

  #waited(): void {
    const nowMs = performance.now()
    const waitedMs = nowMs - this.#answeredMs
    this.#answeredMs = nowMs
    if (waitedMs < HELD_MS) return
    this.held.ms += waitedMs
    this.held.longestMs = Math.max(this.held.longestMs, waitedMs)
  }

  #succeeded(
    answer: Answer, words: string, lba: number, blocks: number, sentAt: number,
  ): answer is Exclude<Answer, 'closed'> {
    if (answer === 'closed') {
      this.counts.unknown++
      this.#note(`${words}: unanswered`, lba, blocks, sentAt, Infinity)
      return false
    }
    if (answer.errno === 0) return true
    this.counts.errors++
    if (answer.errno === EIO && this.#options.isCluster && this.#options.writeback) this.#break()
    else if (!this.#options.allowErrno.includes(answer.errno)) {
      this.#problem(`${words} of ${blocks} blocks at ${lba} was answered with error ${answer.errno}`)
    }
    this.#note(`${words}: error ${answer.errno}`, lba, blocks, sentAt, this.#clock.now)
    return false
  }

  /** What was acknowledged and not flushed may be gone; whoever connects from now on is served. */
  #break(): void {
    if (this.#broken === this.#session) return
    this.#broken = this.#session
    this.counts.breaks++
    for (const connection of this.#session) void connection.disconnect()
  }

  async #lane(): Promise<void> {
    const { random, requestBlocksMax } = this.#options
    while (this.#running) {
      await this.connected()
      if (!this.#running) return
      const total = this.sizeBytes / BLOCK_BYTES
      const blocks = Math.min(total, blocksOf(random, requestBlocksMax))
      const range = random() < 0.25 ? Math.min(total, HOT_BLOCKS) : total
      const lba = Math.floor(random() * Math.max(1, range - blocks + 1))
      const dice = random()
      if (dice < 0.6) await this.write(lba, blocks, random() < 0.1)
      else if (dice < 0.88) await this.read(lba, blocks)
      else if (dice < 0.95) await this.trim(lba, blocks, random() < 0.4)
      else await this.flush()
    }
  }

  async #connect(): Promise<void> {
    const { socketPath, exportName, connections } = this.#options
    let opened: NbdConnection[] = []
    while (opened.length < connections) {
      if (this.#closing || this.#isAway) return
      const connection = await NbdConnection.open(socketPath, exportName, opened.length % 2 === 0)
      opened = opened.filter(({ isOpen }) => isOpen)
      if (connection !== undefined) opened.push(connection)
      else await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    this.sizeBytes = opened[0]!.sizeBytes
    this.#connections = opened
    this.#session = opened
    this.sessions++
    void this.#watch(opened)
  }

  /** Answers may still arrive on one connection when another is closed: the server is dead when all are. */
  async #watch(connections: NbdConnection[]): Promise<void> {
    const died = Promise.all(connections.map(({ closed }) => closed)).then(() => this.#died(connections))
    await Promise.race(connections.map(({ closed }) => closed))
    this.#connections = []
    this.#connecting = died.then(() => this.#connect())
  }

  async #died(connections: NbdConnection[]): Promise<void> {
    for (const { problem } of connections) if (problem !== undefined) this.#problem(`protocol: ${problem}`)
    if (this.#closing) return
    // What is unanswered is told so in microtasks of the same closes.
    await new Promise((resolve) => setImmediate(resolve))
    const at = ++this.#clock.now
    const isBroken = this.#broken === connections
    for (const [lba, history] of this.#blocks) {
      const isLossy = isBroken || this.#unsettled.get(lba)?.isLossy === true
      if (this.#options.isCluster) this.#unsettled.set(lba, { at, isLossy })
      else history.crashed(at)
    }
    this.#note('the server died', 0, Infinity, at, at)
    this.reconnects++
  }

  #note(words: string, lba: number, blocks: number, sentAt: number, at: number): void {
    this.#journal.push({ words, lba, blocks, sentAt, at })
    if (this.#journal.length > 2 * JOURNAL_LENGTH) this.#journal.splice(0, JOURNAL_LENGTH)
  }

  #past(lba: number): string {
    const about = this.#journal.filter((event) => event.lba <= lba && lba < event.lba + event.blocks).slice(-30)
    return about.map(({ words, sentAt, at }) => `\n    ${sentAt}..${at} ${words}`).join('')
  }

  #problem(words: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(`${this.#options.exportName}: ${words}`)
  }
}

function blocksOf(random: () => number, blocksMax: number): number {
  const kind = random()
  if (kind < 0.5) return 1
  return 1 + Math.floor(random() * Math.min(kind < 0.8 ? 8 : blocksMax, blocksMax))
}
