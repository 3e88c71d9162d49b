/**
 * A client: a user of the volume with a few requests at a time, behind the frontend of its node, which is the engine's
 * own. It writes down what it asked and what it was answered, part by part, for the checkers. A client that restarts
 * forgets its requests (they may happen or not) and opens a new session.
 *
 * When one of its connections is lost, what went out on it is sent again on another one: for the frontend that is
 * another request, for the client the same operation, and only the answer to the last one reaches it.
 */
import { assert } from '../../../engine/assert.ts'
import { createFrontend, stepFrontend } from '../../../engine/replication/frontend.ts'
import type {
  ClientAnswer,
  ComposedWrite,
  FrontendEvent,
  FrontendPort,
} from '../../../engine/replication/frontend-port.ts'
import { assertFrontend, type FrontendState } from '../../../engine/replication/frontend-state.ts'
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import { countNumbered, numberedAt } from '../../../engine/replication/numbered.ts'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import type { Payload, RequestId, Session } from '../../../engine/replication/record.ts'
import type { ClientOperation as Request } from '../../../engine/replication/request-parts.ts'
import { BLOCK_BYTES, SLICE_BLOCKS } from '../../../engine/units.ts'
import type { SimClock } from '../clock.ts'
import { Random } from '../random.ts'
import { requestKey, type ClientOperation } from './checker/history.ts'
import { ClientSockets } from './client-sockets.ts'
import { NodeClock } from './node-clock.ts'
import type { StampCodec, Stamps } from './stamps.ts'
import type { Swarm } from './swarm.ts'

/** Of clients with few requests in a long time; the end of a run is bounded. */
const HEALED_THINK_MS = 1000

/** What a request fails with that was held for too long; it may still happen. */
const HELD = ['timeout', 'no-space']

export interface ClientWorld {
  readonly clock: SimClock
  readonly swarm: Swarm
  /** Nothing fails any more: what is left to be asked is asked soon. */
  readonly isHealed: boolean
  /** In place of a request that failed in time another one is made, until one is served. */
  readonly asksAnew: boolean
  readonly stamps: Stamps
  readonly codec: StampCodec
  /** The next position in the order of everything. */
  position(): number
  record(op: ClientOperation): void
  sendToCopy(client: string, to: string, message: FrontendMessage): void
  readConfig(user: string, ended: (value: VersionedConfig | undefined) => void): void
  clientAnswered(client: SimClient, kind: ClientOperation['kind'], result: string, tag: number): void
  failed(who: { name: string }, error: unknown): void
}

interface Pending {
  tag: number
  /** The one that the frontend knows it by since it was sent last; 0: nobody waits for it any more. */
  sentAs: number
  /** Undefined: it waits for the next one. */
  connection: number | undefined
  request: Request
  start: number
  /** What stands in the history for it: itself for reads and flushes, one a part that was sent for changes. */
  operations: Map<string, ClientOperation>
  /** Of its parts: how the primary answered them. One that was refused says nothing of the others. */
  outcomes: Map<string, string>
  /** Of its parts: those that went out on a connection that was lost. */
  former: Set<string>
  /** How it ended, and when. */
  ended: { end: number; result: string } | undefined
  stamps: number[]
}

export class SimClient {
  readonly name: string
  readonly time: NodeClock
  frontend: FrontendState | undefined
  session: Session | undefined
  /** Requests still to be made. */
  budget: number
  /** Of its last session. */
  lastGeneration = 0
  /** Until then nothing reaches it. */
  deafUntilMs = 0
  /** Why its session ended, when it did. */
  ended: 'stale-session' | 'session-broken' | undefined
  private pending = new Map<number, Pending>()
  /** What was sent, by the tag it was sent under; what was sent again under all of them. */
  private sends = new Map<number, Pending>()
  /** Since all is well: it was held for too long, and nothing was answered since. */
  private overdue: ClientOperation | undefined
  private readonly sockets: ClientSockets
  private lastTag = 0
  private life = 0
  private wakeAtMs = Infinity
  private outbox: Array<() => void> = []
  private readonly world: ClientWorld
  private readonly random: Random

  constructor(name: string, world: ClientWorld, random: Random, rate: number, budget: number) {
    this.name = name
    this.world = world
    this.random = random
    this.time = new NodeClock(world.clock, rate)
    this.budget = budget
    this.sockets = new ClientSockets(new Random(`sockets of ${name} ${world.swarm.seed}`))
  }

  get unanswered(): ClientOperation[] {
    const waiting = [...this.pending.values()].map((pending) => this.operationOf(pending))
    return this.overdue === undefined ? waiting : [...waiting, this.overdue]
  }

  private operationOf({ request: { type: kind }, start, operations }: Pending): ClientOperation {
    const [sent] = operations.values()
    const unsent = { request: 'unsent', lba: 0, blockCount: 0, stamps: [], end: Infinity, result: 'none', seq: 0 }
    return sent ?? { client: this.name, kind, start, ...unsent }
  }

  /** Nothing is waited for, and nothing of it is on its way: what failed in time, or lost its socket, still is. */
  get isDone(): boolean {
    const isUnderWay = this.frontend !== undefined && countNumbered(this.frontend.requests) > 0
    return this.budget === 0 && this.pending.size === 0 && !isUnderWay
  }

  /** Open a session and begin. */
  attach(session: Session): void {
    this.detach()
    const { resendMs, partBlocksMax, ioTimeoutMs, sockets } = this.world.swarm
    this.session = session
    this.lastGeneration = session.generation
    this.ended = undefined
    this.wakeAtMs = Infinity
    this.sockets.begin(sockets)
    this.frontend = createFrontend({
      session,
      mode: 'write',
      ioTimeoutMs,
      resendMs,
      retryMs: Math.min(resendMs, this.world.swarm.retryMs),
      partBytesMax: partBlocksMax * BLOCK_BYTES,
      inFlightPartsMax: 64,
      inFlightBytesMax: 1 << 20,
    })
    this.step({ type: 'tick' })
    const life = this.life
    for (let i = 0; i < this.world.swarm.inFlightMax; i++) this.think(life)
  }

  /** Its process is gone; nobody hears of its requests any more. */
  detach(): void {
    this.life++
    this.pending = new Map()
    this.sends = new Map()
    this.overdue = undefined
    this.frontend = undefined
    this.session = undefined
  }

  message(from: string, message: FrontendMessage): void {
    if (this.frontend === undefined || this.world.clock.nowMs() < this.deafUntilMs) return
    if (message.type === 'reply') this.replied(from, message)
    else this.step({ type: 'message', from, message })
  }

  /**
   * What went out on it is sent again, in any order, on those that are left, or when it is replaced. The frontend
   * hears that it is closed before that, or later.
   */
  loseSocket(random: Random, downMs: number): void {
    const lost = this.frontend === undefined ? undefined : this.sockets.lose(random)
    if (lost === undefined) return
    const { life } = this
    const later = (ms: number, run: () => void): void => {
      this.world.clock.after(ms, () => {
        if (life === this.life) run()
      })
    }
    const close = () => this.step({ type: 'connection-closed', connection: lost })
    if (random.chance(0.5)) close()
    else later(downMs * random.float(), close)
    later(downMs * random.float(), () => {
      this.sockets.add()
      this.sendWaiting(random)
    })
    for (const pending of this.pending.values()) {
      if (pending.connection !== lost) continue
      pending.connection = undefined
      for (const key of pending.operations.keys()) pending.former.add(key)
    }
    this.sendWaiting(random)
  }

  private sendWaiting(random: Random): void {
    const { life } = this
    const waiting = [...this.pending.values()].filter(({ connection }) => connection === undefined)
    for (const pending of random.shuffle(waiting)) if (life === this.life) this.submit(pending)
  }

  /** Its frontend may take this for the answer to a part, and with that of the last one it answers the client. */
  private replied(from: string, message: Extract<FrontendMessage, { type: 'reply' }>): void {
    const { id, result } = message
    const key = requestKey(id)
    const { outgoing } = this.frontend!
    const isWaiting = (): boolean => numberedAt(outgoing, id.request)?.[id.part] !== undefined
    const pending = [...this.pending.values()].find(({ operations }) => operations.has(key))
    const isAwaited = pending !== undefined && isWaiting()
    if (isAwaited) pending.outcomes.set(key, result.ok ? 'ok' : result.code)
    this.step({ type: 'message', from, message })
    if (!isAwaited) return
    // It is not believed, or the part is sent again under its number, with other edges.
    if (isWaiting()) pending.outcomes.delete(key)
    else if (!result.ok) pending.operations.get(key)!.result = result.code
  }

  hint(value: VersionedConfig): void {
    if (this.frontend !== undefined) this.step({ type: 'config-hint', value })
  }

  private think(life: number): void {
    const { swarm, isHealed } = this.world
    const thinkMs = isHealed ? Math.min(swarm.thinkMs, HEALED_THINK_MS) : swarm.thinkMs
    this.world.clock.after(this.random.float() * thinkMs, () => {
      if (life === this.life) this.ask()
    })
  }

  private ask(): void {
    if (this.budget === 0 || this.frontend === undefined) return
    this.budget--
    this.begin(this.draw())
  }

  /** Ask for this now; the tag that its answer has, and what it writes. */
  begin(request: Request): { tag: number; stamps: readonly number[] } {
    const tag = ++this.lastTag
    const start = this.world.position()
    const pending: Pending = {
      tag,
      sentAs: 0,
      connection: undefined,
      request,
      start,
      operations: new Map(),
      outcomes: new Map(),
      former: new Set(),
      ended: undefined,
      stamps: [],
    }
    if (request.type === 'write') {
      const first = Math.floor(request.offsetBytes / BLOCK_BYTES)
      const blocks = Math.ceil((request.offsetBytes + request.lengthBytes) / BLOCK_BYTES) - first
      pending.stamps = Array.from({ length: blocks }, (_, i) => this.world.stamps.next(this.name, first + i))
      request.data = pending
    }
    this.pending.set(tag, pending)
    this.submit(pending)
    return pending
  }

  private submit(pending: Pending): void {
    const connection = this.sockets.any()
    if (connection === undefined) return
    const tag = pending.sentAs === 0 ? pending.tag : ++this.lastTag
    pending.sentAs = tag
    pending.connection = connection
    this.sends.set(tag, pending)
    this.step({ type: 'request', connection, tag, operation: pending.request })
  }

  private draw(): Request {
    const { weights, slices, blocksPerSlice, firstBlock, blocksMax, fuaRate, beyondRate } = this.world.swarm
    const kinds = Object.keys(weights) as Array<keyof typeof weights>
    let left = this.random.float() * kinds.reduce((sum, kind) => sum + weights[kind], 0)
    const kind = kinds.find((one) => (left -= weights[one]) < 0) ?? 'read'
    if (kind === 'flush') return { type: 'flush' }
    // Around the end of the first slice, so that requests go over it, and at one place of the others.
    const slice = this.random.chance(beyondRate) ? slices + this.random.int(3) : this.random.int(slices)
    const isLast = slices > 1 && slice === 0
    const firstLba = slice * SLICE_BLOCKS + (isLast ? SLICE_BLOCKS - blocksPerSlice : firstBlock)
    const lba = firstLba + this.random.int(blocksPerSlice)
    const room = isLast ? blocksMax : firstLba + blocksPerSlice - lba
    const blocks = this.random.between(1, Math.max(1, Math.min(blocksMax, room)))
    const offsetBytes = lba * BLOCK_BYTES
    const lengthBytes = blocks * BLOCK_BYTES
    const fua = this.random.chance(fuaRate)
    if (kind === 'read') return { type: 'read', offsetBytes, lengthBytes }
    if (kind === 'narrow') {
      const skip = this.random.int(7) * 512
      return {
        type: 'write',
        offsetBytes: offsetBytes + skip,
        lengthBytes: lengthBytes - skip - 512,
        data: undefined,
        fua,
      }
    }
    if (kind === 'write') return { type: 'write', offsetBytes, lengthBytes, data: undefined, fua }
    return { type: kind, offsetBytes, lengthBytes, fua }
  }

  private step(event: FrontendEvent): void {
    const { frontend } = this
    if (frontend === undefined) return
    try {
      stepFrontend(frontend, event, this.time.bootMs(), this.port)
      assertFrontend(frontend)
    } catch (error) {
      this.world.failed(this, error)
    }
    const outbox = this.outbox
    this.outbox = []
    for (const act of outbox) act()
  }

  private readonly port: FrontendPort = {
    send: (to, message) => {
      if (message.type === 'request') this.sent(message)
      this.outbox.push(() => this.world.sendToCopy(this.name, to, message))
    },
    answer: (_connection, tag, answer) => {
      this.answered(tag, answer)
    },
    readConfig: (token) => {
      const life = this.life
      this.outbox.push(() =>
        this.world.readConfig(this.name, (value) => {
          if (life === this.life) this.step({ type: 'config-read', token, value, ok: value !== undefined })
        }),
      )
    },
    wakeAt: (atMs) => {
      if (atMs >= this.wakeAtMs) return
      this.wakeAtMs = atMs
      const life = this.life
      this.world.clock.after(this.time.delayUntilMs(atMs), () => {
        if (life !== this.life || this.wakeAtMs !== atMs) return
        this.wakeAtMs = Infinity
        this.step({ type: 'tick' })
      })
    },
    compose: (write) => this.compose(write),
    // Its memory may be another write's from now on.
    composedEnded: (payload) => void this.endedPayloads.add(payload),
  }

  private readonly endedPayloads = new WeakSet<Payload>()

  /** A part leaves: from now on it may be in the log, under this number. */
  private sent({ id, operation }: Extract<FrontendMessage, { type: 'request' }>): void {
    if (operation.type === 'read' || operation.type === 'flush') return
    assert(operation.type !== 'write' || !this.endedPayloads.has(operation.payload), 'what ended is not sent again')
    const key = requestKey(id)
    const tag = this.tagOf(id)
    const pending = tag === undefined ? this.pendingIn(operation) : this.sends.get(tag)
    if (pending === undefined || pending.operations.has(key)) return
    const op: ClientOperation = {
      client: this.name,
      session: this.session!.incarnation,
      request: key,
      kind: operation.type,
      lba: operation.lba,
      blockCount: operation.blockCount,
      stamps: [],
      start: pending.start,
      end: Infinity,
      result: 'none',
      seq: 0,
    }
    pending.operations.set(key, op)
    if (tag !== undefined && (tag !== pending.sentAs || pending.connection === undefined)) pending.former.add(key)
    // It goes out behind its own end.
    if (pending.ended !== undefined) Object.assign(op, pending.ended)
    this.world.record(op)
  }

  private tagOf(id: RequestId): number | undefined {
    const { outgoing, requests } = this.frontend!
    const sent = numberedAt(outgoing, id.request)?.find((one) => one !== undefined)
    return sent && numberedAt(requests, sent.arrival)?.tag
  }

  /** Numbered in this very step: overlapping changes go out one after the other, so the range tells. */
  private pendingIn(operation: { lba: number; blockCount: number }): Pending | undefined {
    const first = operation.lba * BLOCK_BYTES
    const end = (operation.lba + operation.blockCount) * BLOCK_BYTES
    return [...this.pending.values()].find(({ request }) => {
      if (request.type === 'flush' || request.type === 'read') return false
      return request.offsetBytes < end && first < request.offsetBytes + request.lengthBytes
    })
  }

  private answered(tag: number, answer: ClientAnswer): void {
    const pending = this.sends.get(tag)
    // Of a connection that was lost nothing is heard.
    if (pending === undefined || pending.sentAs !== tag || pending.connection === undefined) return
    pending.sentAs = 0
    this.pending.delete(pending.tag)
    if (tag === pending.tag) this.sends.delete(tag)
    const end = this.world.position()
    const result = answer.ok ? 'ok' : answer.code
    const { request, start } = pending
    const hasEnded = result === 'stale-session' || result === 'session-broken'
    const former = result === 'ok' ? 'again' : result
    pending.ended = { end, result: former }
    for (const [key, op] of pending.operations) {
      op.end = end
      const unheard = pending.former.has(key) ? former : result
      op.result = (hasEnded ? undefined : pending.outcomes.get(key)) ?? unheard
    }
    if (request.type === 'read' && answer.ok) {
      const lba = request.offsetBytes / BLOCK_BYTES
      const blockCount = request.lengthBytes / BLOCK_BYTES
      const stamps = new Array<number>(blockCount).fill(0)
      for (const version of answer.versions) stamps[version.lba - lba] = this.world.codec.stampOf(version)
      this.world.record({
        client: this.name,
        session: this.session!.incarnation,
        request: `${this.session!.incarnation}#${pending.tag}`,
        kind: 'read',
        lba,
        blockCount,
        stamps,
        start,
        end,
        result,
        seq: 0,
      })
    }
    if (hasEnded) this.ended = result
    const isOverdue = this.world.asksAnew && this.world.swarm.ioTimeoutMs > 0 && HELD.includes(result)
    if (isOverdue) this.budget++
    this.overdue = isOverdue ? { ...this.operationOf(pending), end, result } : undefined
    this.world.clientAnswered(this, request.type, result, pending.tag)
    // What is asked anew goes one by one, for in a long row each might be held for too long.
    if (!isOverdue || this.pending.size === 0) this.think(this.life)
  }

  private compose({ data, skipBytes, lengthBytes, lba, blockCount, old }: ComposedWrite): Payload {
    const pending = data as Pending | undefined
    const first =
      pending === undefined ? 0 : Math.floor((pending.request as { offsetBytes: number }).offsetBytes / BLOCK_BYTES)
    const stamps: number[] = []
    for (let i = 0; i < blockCount; i++) {
      const from = i * BLOCK_BYTES
      const isWhole = skipBytes <= from && skipBytes + lengthBytes >= from + BLOCK_BYTES
      const base = this.world.codec.stampOf(old.find((version) => version.lba === lba + i))
      if (isWhole) stamps.push(pending?.stamps[lba + i - first] ?? 0)
      else stamps.push(this.world.stamps.next(this.name, lba + i, base))
    }
    return this.world.codec.payloadOf(stamps)
  }
}
