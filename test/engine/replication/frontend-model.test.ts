/**
 * Random runs of a frontend against a tiny primary, over a network that loses, repeats and reorders, with primaries
 * that come and go, sockets that close and clients that then send again as the kernel does. For every cell of 1024 B:
 *
 * - changes are applied in the order in which the clients' requests arrived, each at most once: so a late first write
 *   can never land behind what came after it;
 * - a write that is answered is there; a read sees the last change that arrived before it, never a later one
 *   (one that was refused may be ordered while the read is served, never behind a later change);
 * - what another writer put beside a narrow write stays;
 * - when the faults stop everything ends.
 */
import t from 'tap'
import type { ClientAnswer } from '../../../engine/replication/frontend-port.ts'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import { countNumbered, numberedAt } from '../../../engine/replication/numbered.ts'
import type { BlockVersion, RequestId } from '../../../engine/replication/record.ts'
import type { ClientOperation } from '../../../engine/replication/request-parts.ts'
import { CELL_BYTES, cellsOf, FrontendBench } from './frontend-bench.ts'
import { TinyPrimary } from './tiny-primary.ts'

const RUNS = Number(process.env['RUNS'] ?? 250)
const SEED = Number(process.env['SEED'] ?? 0)
const STEPS = 500
const BLOCKS = 6
const CELLS = BLOCKS * 4
/** The last cells of the last two blocks belong to another writer. */
const FOREIGN = [CELLS - 5, CELLS - 1]

function randomFrom(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0
    let mixed = Math.imul(state ^ (state >>> 12), 0x297a2d39)
    mixed ^= mixed >>> 15
    return (mixed >>> 0) % below
  }
}

interface Asked {
  tag: number
  connection: number
  operation: ClientOperation
  first: number
  end: number
  /** Of another writer's cells when it was asked. */
  foreign: number[]
}

class Run {
  readonly random
  readonly bench: FrontendBench
  readonly primary = new TinyPrimary(BLOCKS * 4096)
  network: Array<{ to: string; message: FrontendMessage } | { from: string; message: FrontendMessage }> = []
  asked = new Map<number, Asked>()
  /** Without an answer, and somebody waits. */
  waiting = new Set<number>()
  tagOf = new Map<number, number>()
  lastTag = new Array<number>(CELLS).fill(0)
  readTag = new Array<number>(CELLS).fill(0)
  /** Where the last change was refused, and ordered all the same while it was on its way: the one before it. */
  beforeRefused = new Array<number | undefined>(CELLS).fill(undefined)
  foreign = FOREIGN.map(() => 0)
  connections = [1, 2, 3]
  nextConnection = 4
  nextTag = 1
  counts: Record<string, number> = {}
  private readonly refusedOneIn: number
  private readonly repeatedOf20: number

  constructor(seed: number) {
    this.random = randomFrom(seed)
    this.refusedOneIn = [40, 8, 3][this.random(3)]!
    this.repeatedOf20 = [1, 3, 9][this.random(3)]!
    this.bench = new FrontendBench({
      ioTimeoutMs: this.random(3) === 0 ? 3000 : 0,
      partBytesMax: 4096 * (1 + this.random(3)),
      inFlightPartsMax: 2 + this.random(12),
    })
    this.primary.applied = (id, blocks) => this.apply(id, blocks)
    const answered = this.bench.answers
    answered.set = (tag, answer) => {
      this.answered(tag, answer)
      return Map.prototype.set.call(answered, tag, answer) as typeof answered
    }
  }

  send = (from: string, message: FrontendMessage): void => void this.network.push({ from, message })

  /** What the frontend sent goes into the network, and which request each number is. */
  flush(): void {
    for (const one of this.bench.sent) {
      this.network.push(one)
      if (one.message.type !== 'request') continue
      const { request } = one.message.id
      const arrival = numberedAt(this.bench.state.outgoing, request)?.find((part) => part !== undefined)?.arrival
      const tag = arrival === undefined ? undefined : numberedAt(this.bench.state.requests, arrival)?.tag
      if (tag === undefined) continue
      if ((this.tagOf.get(request) ?? tag) !== tag) throw new Error(`number ${request} is of two requests`)
      this.tagOf.set(request, tag)
    }
    this.bench.sent = []
  }

  apply({ request, part }: RequestId, blocks: readonly BlockVersion[]): void {
    this.count('applied')
    const tag = this.tagOf.get(request)!
    const isRefused = this.primary.refused.has(`${request}.${part}`)
    const { first, end } = this.asked.get(tag)!
    const from = Math.max(first, blocks[0]!.lba * 4)
    const to = Math.min(end, (blocks.at(-1)!.lba + 1) * 4)
    for (let cell = from; cell < to; cell++) {
      if (this.lastTag[cell]! > tag) throw new Error(`${tag} is applied behind ${this.lastTag[cell]} at ${cell}`)
      if (this.readTag[cell]! > tag && !isRefused) throw new Error(`${tag} is applied behind a read`)
      this.beforeRefused[cell] = isRefused ? this.lastTag[cell] : undefined
      this.lastTag[cell] = tag
    }
  }

  answered(tag: number, answer: ClientAnswer): void {
    if (!this.waiting.delete(tag)) throw new Error(`nobody waits for ${tag}`)
    this.count(answer.ok ? 'ok' : answer.code)
    if (!answer.ok) return
    const { operation, first, end, foreign } = this.asked.get(tag)!
    if (operation.type === 'flush') return
    for (let cell = first; cell < end; cell++) {
      const isForeign = FOREIGN.indexOf(cell)
      const last = this.lastTag[cell]!
      if (operation.type !== 'read') {
        if (last !== tag) throw new Error(`${tag} is answered, and ${cell} is of ${last}`)
        continue
      }
      const version = answer.versions.find(({ lba }) => lba === Math.floor(cell / 4))
      const value = cellsOf(version)[cell % 4]!
      if (isForeign >= 0) {
        if (value < foreign[isForeign]!) throw new Error(`the other writer's cell went back to ${value}`)
        continue
      }
      this.readTag[cell] = Math.max(this.readTag[cell]!, tag)
      if (last > tag) throw new Error(`the read ${tag} is overtaken by ${last}`)
      const before = this.beforeRefused[cell]
      if (before !== undefined && value === this.valueOf(before)) continue
      if (value !== this.valueOf(last)) throw new Error(`read ${tag}: ${value}, not ${last}, at ${cell}`)
    }
  }

  ask(operation: ClientOperation, connection: number): void {
    const tag = this.nextTag++
    const [first, end] =
      operation.type === 'flush'
        ? [0, 0]
        : [operation.offsetBytes / CELL_BYTES, (operation.offsetBytes + operation.lengthBytes) / CELL_BYTES]
    const own =
      operation.type === 'write' ? { ...operation, data: new Array<number>(end - first).fill(tag) } : operation
    this.asked.set(tag, { tag, connection, operation: own, first, end, foreign: this.foreignCells() })
    this.waiting.add(tag)
    this.bench.ask(tag, own, connection)
  }

  /** What a change leaves in each of its cells. */
  valueOf(tag: number): number {
    return this.asked.get(tag)?.operation.type === 'write' ? tag : 0
  }

  foreignCells(): number[] {
    return FOREIGN.map((cell) => this.primary.read(Math.floor(cell / 4))[cell % 4]!)
  }

  askSomething(): void {
    if (this.waiting.size > 20) return
    const connection = this.connections[this.random(3)]!
    const types = ['read', 'read', 'write', 'write', 'write', 'trim', 'zero', 'flush'] as const
    const type = types[this.random(types.length)]!
    if (type === 'flush') return this.ask({ type }, connection)
    const first = this.random(CELLS)
    let end = Math.min(CELLS, first + 1 + this.random(this.random(2) === 0 ? 3 : 12))
    if (type !== 'read') for (const cell of FOREIGN) if (first <= cell && cell < end) end = cell
    if (end <= first) return
    const range = { offsetBytes: first * CELL_BYTES, lengthBytes: (end - first) * CELL_BYTES }
    if (type === 'read') this.ask({ type, ...range }, connection)
    else this.ask({ type, ...range, data: undefined, fua: false }, connection)
  }

  /** As the kernel does it: what is unanswered comes again, on another socket, in any order. */
  closeSocket(): void {
    const index = this.random(3)
    const closed = this.connections[index]!
    this.connections[index] = this.nextConnection++
    const lost = [...this.waiting].map((tag) => this.asked.get(tag)!).filter((one) => one.connection === closed)
    for (const { tag } of lost) this.waiting.delete(tag)
    this.bench.step({ type: 'connection-closed', connection: closed })
    lost.sort(() => this.random(3) - 1)
    for (const { operation } of lost) if (this.random(4) > 0) this.ask(operation, this.connections[this.random(3)]!)
    this.count('closed')
  }

  deliver(index: number, faults: boolean): void {
    const one = this.network[index]
    if (one === undefined) return
    const fate = faults ? this.random(20) : 17
    if (fate >= this.repeatedOf20) this.network.splice(index, 1)
    if (fate > 17) return
    if ('from' in one) this.bench.from(one.from, structuredClone(one.message))
    else this.primary.receive(one.to, one.message, this.send, faults && this.random(this.refusedOneIn) === 0)
  }

  answerConfig(isThere: boolean): void {
    const token = this.bench.reads.shift()
    if (token === undefined) return
    const config = this.primary.configs.at(-1)!
    const value = isThere ? { config, version: `${config.epoch}` } : undefined
    this.bench.step({ type: 'config-read', token, value, ok: isThere })
  }

  changePrimary(): void {
    const { primary } = this
    const nodes = ['a', 'b', 'c']
    this.count('epochs')
    if (this.random(3) === 0) primary.evict()
    else primary.failOver(nodes[this.random(3)]!, this.random(primary.pending.length + 1), this.send)
  }

  step(): void {
    const dice = this.random(100)
    if (dice < 20) this.askSomething()
    else if (dice < 62) this.deliver(this.random(Math.min(this.network.length, 30) || 1), true)
    else if (dice < 78) this.primary.commit(this.send)
    else if (dice < 79) this.closeSocket()
    else if (dice < 82) {
      const which = this.random(FOREIGN.length)
      this.primary.writeElsewhere(Math.floor(FOREIGN[which]! / 4), ++this.foreign[which]!)
    } else if (dice < 84) this.changePrimary()
    else if (dice < 86) this.primary.learn('abc'[this.random(3)]!)
    else if (dice < 88) {
      const config = this.primary.configs[this.random(this.primary.configs.length)]!
      this.bench.step({ type: 'config-hint', value: { config, version: `${config.epoch}` } })
    } else if (dice < 93) this.answerConfig(this.random(5) > 0)
    else this.bench.pass(this.random(this.random(4) === 0 ? 900 : 60))
    this.flush()
  }

  heal(): void {
    for (let round = 0; round < 200; round++) {
      this.flush()
      while (this.bench.reads.length > 0) this.answerConfig(true)
      this.flush()
      for (let messages = this.network.length; messages > 0; messages--) this.deliver(0, false)
      while (this.primary.pending.length > 0) this.primary.commit(this.send)
      const { state } = this.bench
      if (this.network.length === 0 && countNumbered(state.requests) === 0) break
      this.bench.pass(100)
    }
    const { state } = this.bench
    if (this.waiting.size > 0 || countNumbered(state.requests) > 0) throw new Error(`${[...this.waiting]} never ended`)
    if (
      state.inFlightParts +
        state.inFlightBytes +
        state.unnumbered +
        state.order.ranges.length +
        state.order.blockers >
      0
    )
      throw new Error('a rest')
    if (state.answeredBelow !== state.nextNumber) throw new Error('a number was never answered')
    for (let cell = 0; cell < CELLS; cell++) {
      const value = this.primary.read(Math.floor(cell / 4))[cell % 4]
      const last = this.lastTag[cell]!
      if (!FOREIGN.includes(cell) && value !== this.valueOf(last)) throw new Error(`${cell} holds ${value}`)
    }
    this.foreignCells().forEach((value, which) => {
      const last = this.primary.elsewhere.get(Math.floor(FOREIGN[which]! / 4)) ?? 0
      if (value !== last) throw new Error(`the other writer wrote ${last}, and there is ${value}`)
    })
  }

  count(name: string): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1
  }
}

t.test('random runs', (t) => {
  const counts: Record<string, number> = {}
  for (let seed = SEED || 1; seed <= (SEED || RUNS); seed++) {
    const run = new Run(seed)
    try {
      for (let step = 0; step < STEPS; step++) run.step()
      run.heal()
    } catch (error) {
      t.fail(`SEED=${seed}: ${(error as Error).stack}`)
      break
    }
    for (const [name, count] of Object.entries(run.counts)) counts[name] = (counts[name] ?? 0) + count
  }
  t.comment(JSON.stringify(counts))
  for (const name of ['applied', 'ok', 'timeout', 'no-space', 'closed', 'epochs']) t.ok(counts[name], `some ${name}`)
  t.end()
})
