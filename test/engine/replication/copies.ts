/**
 * A few copies of one volume on a desk: messages, stores, the cluster store and time move only when a test says so, or
 * as a seed draws it. Small on purpose; the simulator in `test/sim` is the large one.
 */
import assert from 'node:assert'
import { heedsBeacon } from '../../../engine/replication/grace.ts'
import { heedsAcknowledgement } from '../../../engine/replication/reads.ts'
import { step, createCopy, assertInvariants } from '../../../engine/replication/copy.ts'
import type { CopyState } from '../../../engine/replication/copy.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type {
  CommandResult,
  CopyEvent,
  CopyOptions,
  CopyPort,
  OperatorCommand,
} from '../../../engine/replication/copy-port.ts'
import type { FrontendMessage, FrontendOperation, PeerMessage } from '../../../engine/replication/messages.ts'
import type { Session } from '../../../engine/replication/record.ts'
import { crashed, MemoryStore, newMemoryStore } from '../../sim/cluster/memory-store.ts'

export interface Letter {
  from: string
  instance: string
  to: string
  message: PeerMessage
}

interface Node {
  name: string
  state: CopyState
  store: MemoryStore
  isUp: boolean
  wakeAtMs: number
  starts: number
}

export interface ClusterOptions {
  nodes?: number
  minInSync?: number
  members?: string[]
  copy?: Partial<CopyOptions>
  seed?: number
  lossRate?: number
  repeatRate?: number
  isUnconfigured?: boolean
}

const FRONTEND = 'front'

function heeds(state: CopyState, event: CopyEvent): boolean {
  if (event.type === 'beacon') return event.commitSeq !== undefined || heedsBeacon(state, event.from, event.instance)
  return event.type !== 'beacon-acknowledged' || heedsAcknowledgement(state, event.from)
}

export class Copies {
  nowMs = 1000
  readonly nodes = new Map<string, Node>()
  /** Whose reads of the configuration saw what was there when they began, and are answered by `letReadsGo` only. */
  slowReader: string | undefined
  private readonly slowReads: Array<() => void> = []
  letters: Letter[] = []
  /** How many were ever sent. */
  sent = 0
  replies: Array<{ from: string; message: FrontendMessage }> = []
  results = new Map<number, CommandResult>()
  config: VolumeConfig
  version = 1
  /** What happens to the next compare-and-swaps. */
  casFate: Array<'answered' | 'lost-answer' | 'lost-request'> = []
  storeIsOut = false
  /** The store has no value yet. */
  isUnconfigured = false
  /** Whose disks do nothing for now. */
  isStalled: (node: Node) => boolean = () => false
  /** Whose nodes are of a version that knows no marks: no message with one comes there. */
  isOfBefore: (node: string) => boolean = () => false
  cut = new Set<string>()
  nextBeaconMs = 1000
  readonly beaconMs = 500
  lossRate: number
  repeatRate: number
  private readonly pending: Array<{ to: string; instance: number; event: CopyEvent }> = []
  private nonces = 0
  private random: number
  private readonly copyOptions: Partial<CopyOptions>
  /** Beacons and acknowledgements of which it was known beforehand that they change nothing; each did not. */
  unheeded = 0

  constructor({
    nodes = 3,
    minInSync,
    members,
    copy = {},
    seed = 1,
    lossRate = 0,
    repeatRate = 0,
    isUnconfigured = false,
  }: ClusterOptions = {}) {
    this.isUnconfigured = isUnconfigured
    const names = Array.from({ length: nodes }, (_, i) => `n${i + 1}`)
    const inSync = members ?? names
    this.copyOptions = copy
    this.random = seed
    this.lossRate = lossRate
    this.repeatRate = repeatRate
    this.config = {
      volumeId: 'v',
      epoch: 1,
      primary: inSync[0]!,
      inSync,
      members: Object.fromEntries(
        names.map((name) => [
          name,
          { copyId: `c-${name}`, state: inSync.includes(name) ? ('in-sync' as const) : ('catching-up' as const) },
        ]),
      ),
      minInSync: minInSync ?? (nodes > 2 ? 2 : 1),
      attach: { generation: 1, mode: 'single', holders: { [FRONTEND]: 1 } },
      nonce: 'first',
    }
    for (const name of names) {
      const store = new MemoryStore(
        newMemoryStore({
          copyId: `c-${name}`,
          sizeBlocks: 64,
          sliceBlocks: 16,
          autoSync: (copy.mode ?? 'durable') === 'durable',
          facts: {
            promise: { epoch: 0, primary: '' },
            attach: { brokenGeneration: 0, incarnations: [] },
            consistency: { state: 'consistent' },
          },
        }),
      )
      this.nodes.set(name, { name, store, isUp: false, wakeAtMs: Infinity, starts: 0, state: undefined as never })
      this.start(name)
    }
  }

  node(name: string): Node {
    return this.nodes.get(name)!
  }

  start(name: string): void {
    this.node(name).starts++
    this.begin(this.node(name))
  }

  /** Another copy in the same process, empty. */
  remake(name: string, copyId: string): void {
    this.settle()
    const node = this.node(name)
    node.store = new MemoryStore(
      newMemoryStore({
        copyId,
        sizeBlocks: 64,
        sliceBlocks: 16,
        autoSync: (this.copyOptions.mode ?? 'durable') === 'durable',
        facts: {
          promise: { epoch: 0, primary: '' },
          attach: { brokenGeneration: 0, incarnations: [] },
          consistency: { state: 'consistent' },
        },
      }),
    )
    this.begin(node)
  }

  private begin(node: Node): void {
    const { name } = node
    node.isUp = true
    node.wakeAtMs = Infinity
    node.state = createCopy({
      node: name,
      instance: `${name}#${node.starts}`,
      volumeId: 'v',
      mode: 'durable',
      readCheck: 'lease',
      leaseMs: 2000,
      graceMs: 4000,
      evictAfterMs: 1500,
      retryMs: 100,
      candidateStepMs: 300,
      windowBytesMax: 1 << 20,
      windowRecordsMax: 64,
      fillBytesMax: 4096 * 4,
      marksMost: 4,
      ...this.copyOptions,
    })
    const stored = { ...node.store.recovered(), sizeBytes: 64 * 4096, sliceBlocks: 16 }
    this.event(name, { type: 'recovered', stored })
  }

  /** `kept`: entries of its store that survive; all written ones by default. */
  kill(name: string, { isPowerCut = false } = {}): void {
    const node = this.node(name)
    node.isUp = false
    const { written, durable } = node.store.state
    node.store = new MemoryStore(
      crashed(node.store.state, isPowerCut ? durable : written, node.store.state.boot + (isPowerCut ? 1 : 0)),
    )
  }

  /** @param isMore  as of `step` */
  event(name: string, event: CopyEvent, isMore = false): void {
    const node = this.nodes.get(name)
    if (node === undefined || !node.isUp) return
    const isHeeded = heeds(node.state, event)
    const before = isHeeded ? undefined : structuredClone({ state: node.state, letters: this.letters })
    step(node.state, event, this.nowMs, this.portOf(node), isMore)
    assertInvariants(node.state)
    if (before === undefined) return
    this.unheeded++
    assert.deepStrictEqual({ state: node.state, letters: this.letters }, before)
  }

  private portOf(node: Node): CopyPort {
    const later = (event: CopyEvent): void => void this.pending.push({ to: node.name, instance: node.starts, event })
    return {
      store: node.store,
      send: (to, message) => {
        const letter = { from: node.name, instance: `${node.name}#${node.starts}`, to, message }
        this.letters.push(structuredClone(letter))
        this.sent++
      },
      takesMarks: (to) => !this.isOfBefore(to),
      disbelieved: (from, why) => {
        assert.ok(this.liars.has(from), `${from} is not believed: ${why}`)
        this.disbelieved.push(why)
      },
      reply: (to, message) => void this.replies.push(structuredClone({ from: node.name, message })),
      readConfig: (token) => {
        const value = this.storeIsOut || this.isUnconfigured ? undefined : this.value()
        const end = (): void => later({ type: 'config-read', token, ok: !this.storeIsOut, value })
        if (this.slowReader === node.name) this.slowReads.push(end)
        else end()
      },
      compareAndSwap: (token, version, config) => {
        const fate = this.storeIsOut ? 'lost-request' : (this.casFate.shift() ?? 'answered')
        const isCurrent = version === `v${this.version}`
        if (isCurrent && fate !== 'lost-request') {
          this.config = structuredClone(config)
          this.version++
        }
        const outcome = fate !== 'answered' ? 'unknown' : isCurrent ? 'won' : 'lost'
        later({ type: 'cas-ended', token, outcome, version: outcome === 'won' ? `v${this.version}` : undefined })
      },
      nonce: () => `nonce-${++this.nonces}`,
      wakeAt: (atMs) => void (node.wakeAtMs = Math.min(node.wakeAtMs, atMs)),
      commandEnded: (token, result) => void this.results.set(token, result),
      left: (to) => void this.left.add(`${node.name}>${to}`),
    }
  }

  readonly left = new Set<string>()
  /** Who may say what cannot be. */
  readonly liars = new Set<string>()
  readonly disbelieved: string[] = []

  /** As an operator or the control plane does; everybody gets the hint. */
  change(config: VolumeConfig): void {
    this.config = config
    this.isUnconfigured = false
    this.version++
    for (const { name } of this.nodes.values()) this.event(name, { type: 'config-hint', value: this.value() })
  }

  value() {
    return { config: structuredClone(this.config), version: `v${this.version}` }
  }

  letReadsGo(): void {
    this.slowReader = undefined
    for (const end of this.slowReads.splice(0)) end()
  }

  draw(): number {
    this.random = (this.random * 1103515245 + 12345) % 2147483648
    return this.random / 2147483648
  }

  isCut(a: string, b: string): boolean {
    return this.cut.has(`${a}>${b}`)
  }

  isolate(name: string): void {
    for (const other of this.nodes.keys()) this.cut.add(`${name}>${other}`).add(`${other}>${name}`)
  }

  deliver(letter: Letter): void {
    const { from, instance, to, message } = letter
    const hasMarks = message.type === 'fill' && message.versions.some(({ isMark }) => isMark === true)
    if (hasMarks && this.isOfBefore(to)) return
    if (!this.isCut(from, to)) this.event(to, structuredClone({ type: 'message', from, instance, message }))
  }

  /** Everything that can happen now, until nothing does; what is lost and repeated is drawn. */
  settle(limit = 20000): void {
    for (let i = 0; i < limit; i++) {
      const answer = this.pending.shift()
      if (answer !== undefined) {
        if (this.node(answer.to).starts === answer.instance) this.event(answer.to, answer.event)
        continue
      }
      const isBusy = (node: Node) => node.isUp && node.store.state.tasks.length > 0 && !this.isStalled(node)
      const busy = [...this.nodes.values()].find(isBusy)
      if (busy !== undefined && (this.letters.length === 0 || this.draw() < 0.5)) {
        for (const event of busy.store.finish(busy.store.state.tasks[0]!.id)) this.event(busy.name, event)
        continue
      }
      if (this.letters.length === 0) return
      const isShuffled = this.lossRate > 0 || this.repeatRate > 0
      const at = isShuffled ? Math.floor(this.draw() * this.letters.length) : 0
      const letter = this.letters[at]!
      if (this.draw() >= this.repeatRate) this.letters.splice(at, 1)
      if (this.draw() >= this.lossRate) this.deliver(letter)
    }
    throw new Error('it does not come to rest')
  }

  /** Let time pass: beacons, ticks, and all that follows. */
  run(forMs: number): void {
    const endMs = this.nowMs + forMs
    this.settle()
    for (;;) {
      const next = Math.min(
        this.nextBeaconMs,
        ...[...this.nodes.values()].map((one) => (one.isUp ? one.wakeAtMs : Infinity)),
      )
      if (next > endMs) break
      this.nowMs = Math.max(this.nowMs, next)
      if (this.nowMs >= this.nextBeaconMs) this.beacons()
      for (const node of this.nodes.values()) {
        if (!node.isUp || node.wakeAtMs > this.nowMs) continue
        node.wakeAtMs = Infinity
        this.event(node.name, { type: 'tick' })
      }
      this.settle()
    }
    this.nowMs = endMs
  }

  private beacons(): void {
    this.nextBeaconMs = this.nowMs + this.beaconMs
    for (const a of this.nodes.values()) {
      for (const b of this.nodes.values()) {
        if (a === b || !a.isUp || !b.isUp || this.isCut(a.name, b.name)) continue
        const instance = `${a.name}#${a.starts}`
        this.event(b.name, { type: 'beacon', from: a.name, instance, atMs: this.nowMs, commitSeq: undefined })
        if (this.isCut(b.name, a.name)) continue
        const left = this.left.delete(`${b.name}>${a.name}`)
        const acknowledged = { from: b.name, instance: `${b.name}#${b.starts}`, sentAtMs: this.nowMs, left }
        this.event(a.name, { type: 'beacon-acknowledged', ...acknowledged })
      }
    }
  }

  // ---- what a client does

  get primary(): Node | undefined {
    return [...this.nodes.values()].find(({ isUp, state }) => isUp && state.role === 'primary')
  }

  session: Session = { generation: 1, incarnation: 1 }
  private requests = 0
  private reads = 2 ** 52

  /** Open the session at whoever leads. */
  open(at = this.config.primary): boolean {
    const event: CopyEvent = {
      type: 'frontend',
      from: FRONTEND,
      message: { type: 'open', session: this.session, mode: 'write' },
    }
    this.event(at, event)
    this.settle()
    return this.replies.some(({ from, message }) => from === at && message.type === 'opened')
  }

  /** Returns the request's number. */
  ask(
    operation: FrontendOperation,
    { at = this.config.primary, number = 0, epoch = this.config.epoch, isMore = false } = {},
  ): number {
    const isChange = operation.type !== 'read' && operation.type !== 'flush'
    const request = number > 0 ? number : isChange ? ++this.requests : ++this.reads
    const id = { ...this.session, request, part: 0, parts: 1 }
    const message: FrontendMessage = { type: 'request', id, epoch, operation, answeredBelow: 0 }
    this.event(at, { type: 'frontend', from: FRONTEND, message }, isMore)
    return request
  }

  write(lba: number, data: number, at = this.config.primary, edges: Array<[number, number]> = []): number {
    const payload = { bytes: 4096, data }
    return this.ask({ type: 'write', lba, blockCount: 1, payload, fua: false, edges }, { at })
  }

  answerOf(request: number) {
    for (const { message } of this.replies) {
      if (message.type === 'reply' && message.id.request === request) return message.result
    }
    return undefined
  }

  read(lba: number, at = this.config.primary): unknown {
    const request = this.ask({ type: 'read', lba, blockCount: 1 }, { at })
    this.settle()
    const result = this.answerOf(request)
    return result?.ok === true ? (result.versions[0]?.payload?.data ?? 'nothing') : result
  }

  command(name: string, command: OperatorCommand): number {
    const token = this.results.size + 1
    this.event(name, { type: 'command', token, command })
    this.settle()
    return token
  }
}

/** Copies that serve. */
export function serving(options: ClusterOptions = {}): Copies {
  const copies = new Copies(options)
  copies.run(500)
  copies.open()
  return copies
}

/** The same, with 33 in block 3. */
export function written(): Copies {
  const copies = serving()
  copies.write(3, 33)
  copies.run(500)
  return copies
}
