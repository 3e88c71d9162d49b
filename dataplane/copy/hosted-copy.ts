/**
 * One copy of a volume in its worker: the machine (`engine/replication/copy.ts`), its inbox, and the port by which it
 * asks the world. What it says in a step leaves when the turn ends; what it says to a frontend of this worker is taken
 * in the same turn.
 *
 * A failed assert in a step ends this copy and nothing else: what the step had said is dropped, the evidence is saved,
 * the machine is told that its store failed, so that the others let it go, and the store takes nothing more. If the
 * machine cannot even take that, it is not stepped again.
 */
import { heedsBeacon } from '../../engine/replication/grace.ts'
import { heedsAcknowledgement } from '../../engine/replication/reads.ts'
import { isLetGo } from '../../engine/replication/configuration-change.ts'
import { SnapshotIndex } from '../../engine/control/snapshot-index.ts'
import type { NodeId, VolumeConfig } from '../../engine/replication/configuration.ts'
import type {
  CommandResult, CopyEvent, CopyOptions, CopyPort, OperatorCommand,
} from '../../engine/replication/copy-port.ts'
import { createCopy, isRun, step } from '../../engine/replication/copy.ts'
import type { CopyState } from '../../engine/replication/copy.ts'
import type { StoredCopy, StoreEvent } from '../../engine/replication/copy-store.ts'
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import type { BlockVersion, ReplicatedRecord, VersionId } from '../../engine/replication/record.ts'
import { recordAt } from '../../engine/replication/record-window.ts'
import type { LocalCopyStore, OpenCopy } from '../../engine/volume/copy-store.ts'
import { CopyMeter } from '../meters/copy-meter.ts'
import type { SlabPool } from '../slab-pool.ts'
import type { ConfigPort } from './config-port.ts'
import { sendMerged } from './merged-appends.ts'
import { FillMemory } from './fill-memory.ts'
import { PayloadUses } from './payload-uses.ts'
import { Inbox } from './turn-loop.ts'
import type { TurnLoop } from './turn-loop.ts'
import { NOWHERE } from './wake-timer.ts'
import type { Sleeper, WakeTimer } from './wake-timer.ts'
import type { WorkerAddress } from './worker-links.ts'

/** What a copy needs of its worker. */
export interface CopyOwner {
  readonly loop: TurnLoop
  readonly timer: WakeTimer
  readonly configs: ConfigPort
  readonly pool: SlabPool
  sendToCopy(to: NodeId, volumeId: string, message: PeerMessage): void
  takesMarks(to: NodeId, volumeId: string): boolean
  sendToFrontend(to: WorkerAddress, volumeId: string, message: FrontendMessage): void
  /** A frontend of this very worker. */
  tellFrontend(volumeId: string, message: FrontendMessage): void
  /** It has something to say when the turn ends. */
  speaks(copy: HostedCopy): void
  /** Its log refers to memory that it may let go when everybody has spoken. */
  keepsPayload(copy: HostedCopy): void
  left(copy: HostedCopy, node: NodeId): void
  nonce(): string
  /** Who is a member may have changed. */
  configChanged(copy: HostedCopy): void
  /** It leads since this turn, or does so no more. */
  leadChanged(copy: HostedCopy): void
  /** Its inbox is empty, and it is fenced because it was no member when it looked. */
  wasLetGo(copy: HostedCopy): void
  /** A version of a copy could not be read as it was written. */
  damaged(diskUuid: string, volumeId: string, id: VersionId): void
  /** A peer said what cannot be. */
  disbelieved(copy: HostedCopy, from: NodeId, why: string): void
  /** A step met a bug. @param event  it was taking */
  broken(copy: HostedCopy, error: unknown, event: CopyEvent): void
}

/** What the links of its worker tell every copy. */
export type LinkEvent = Extract<CopyEvent, { type: 'beacon' | 'beacon-acknowledged' }>

type Saying =
  | { kind: 'peer'; to: NodeId; message: PeerMessage }
  | { kind: 'frontend'; to: NodeId; message: FrontendMessage }
  | { kind: 'ask'; run: () => void }

export class HostedCopy implements Sleeper {
  readonly volumeId: string
  readonly state: CopyState
  readonly inbox: Inbox<CopyEvent>
  readonly meter = new CopyMeter()
  place = NOWHERE
  /** As the cluster store told it last; it may be old. */
  hintedConfig: VolumeConfig | undefined
  /** Commit point as beacons told it last. */
  toldCommitSeq = 0
  #seenConfig: CopyState['config']
  #seenPrimary = false
  readonly #owner: CopyOwner
  readonly #self: WorkerAddress
  readonly #store: LocalCopyStore | undefined
  readonly #port: CopyPort
  readonly #commands = new Map<number, (result: CommandResult) => void>()
  /** From which worker of a node its frontend spoke last. */
  readonly #frontendWorkers = new Map<NodeId, number>()
  #nextCommand = 1
  #sayings: Saying[] = []
  #toLocal: FrontendMessage[] = []
  readonly #toPeers = new Map<NodeId, PeerMessage[]>()
  readonly #payloads = new PayloadUses()
  readonly #fillMemory: FillMemory | undefined
  #isOver = false
  readonly #snapshots = new SnapshotIndex()

  /** @param open  undefined: its store cannot be opened; it is fenced and tells whoever speaks to it */
  constructor(options: CopyOptions, worker: number, owner: CopyOwner, open: OpenCopy | { reason: string }) {
    this.volumeId = options.volumeId
    this.#owner = owner
    this.#self = { node: options.node, worker }
    this.state = createCopy(options)
    this.inbox = new Inbox<CopyEvent>(owner.loop, this.#step, this.#drained)
    this.#store = 'copy' in open ? open.copy : undefined
    this.#fillMemory = this.#store && new FillMemory(this.#store, owner.pool)
    this.#port = this.#portOver(this.#store ?? unopened)
    owner.timer.add(this)
    if ('copy' in open) {
      open.copy.onEvent = (event) => {
        this.#noteDamage(event, open.copy)
        if (!this.#isOver) this.inbox.put(event)
      }
      this.inbox.put({ type: 'recovered', stored: open.stored })
    } else this.inbox.put({ type: 'store-failed', reason: open.reason })
  }

  get store(): LocalCopyStore | undefined {
    return this.#store
  }

  /** Those of the volume that are applied here. */
  get snapshots(): SnapshotIndex {
    return this.#snapshots.follow(this.#store?.descriptor().snapshots ?? [])
  }

  /** What a start would find, when nothing is on its way to a disk; undefined when that cannot be told. */
  stored(): StoredCopy | undefined {
    const store = this.#store
    const { log } = this.state
    if (store === undefined || store.failedReason !== '' || store.tail !== log.tail) return undefined
    const unapplied: ReplicatedRecord[] = []
    for (let seq = store.appliedSeq + 1; seq <= store.tail; seq++) {
      const record = recordAt(log.window, seq)
      if (record === undefined) return undefined
      unapplied.push(record)
    }
    return { ...store.stored(), unapplied }
  }

  /** Nothing that a message brought waits outside of the log. */
  get keepsNoRequest(): boolean {
    const { primary } = this.state
    return primary === undefined || (primary.held.length === 0 && primary.edges.size === 0)
  }

  get isPrimary(): boolean {
    return this.state.role === 'primary'
  }

  wake(): void {
    this.inbox.put({ type: 'tick' })
  }

  /** The copy on another node speaks. */
  received(from: NodeId, instance: string, message: PeerMessage): void {
    this.inbox.put({ type: 'message', from, instance, message })
  }

  /** The versions of a `fill` lie in the memory of its delivery. */
  arrived(versions: readonly BlockVersion[], delivery: { release(): void }): void {
    this.#fillMemory?.arrived(versions, delivery)
  }

  /**
   * A beacon came, or an acknowledgement of ours. It comes to every copy, several times a second, and means nothing to
   * most: who would not change, and has nothing before it that might change that, is not stepped. A fenced copy is:
   * it looks whether it is a member again. One that brings nothing else moves a lease or a grace, and makes nobody
   * speak: who has nothing before it is stepped at once, without what follows an inbox.
   */
  heeds(event: LinkEvent): 'not' | 'at-once' | 'in-turn' {
    const { state, inbox } = this
    const isAcknowledgement = event.type === 'beacon-acknowledged'
    const isHeeded =
      isAcknowledgement ? heedsAcknowledgement(state, event.from) : heedsBeacon(state, event.from, event.instance)
    const isPlain = isAcknowledgement ? event.left !== true : event.commitSeq === undefined
    if (!isPlain || !inbox.isEmpty || state.role === 'fenced') return 'in-turn'
    return isHeeded ? 'at-once' : 'not'
  }

  /** @param how  as it heeds it */
  heard(event: LinkEvent, how: 'at-once' | 'in-turn'): void {
    if (how === 'at-once') this.#step(event)
    else this.inbox.put(event)
  }

  /** A frontend of a node asks. */
  request(from: NodeId, worker: number, message: FrontendMessage): void {
    if (from !== this.#self.node || worker !== this.#self.worker) this.#frontendWorkers.set(from, worker)
    else this.#frontendWorkers.delete(from)
    this.inbox.put({ type: 'frontend', from, message })
  }

  /** An operator's change or hand-over. `ended` once; when the copy is closed before, never. */
  command(command: OperatorCommand, ended: (result: CommandResult) => void): void {
    const token = this.#nextCommand++
    this.#commands.set(token, ended)
    this.inbox.put({ type: 'command', token, command })
  }

  /** It is stepped no more; nothing of it is said. Its store stays. */
  close(): void {
    this.#isOver = true
    this.#sayings = []
    this.#toLocal = []
    this.#owner.timer.delete(this)
  }

  // --- a turn ------------------------------------------------------------------------------------------------------

  /** Before what waits in the inbox: the clock is in doubt. */
  doubtClock(): void {
    this.#step({ type: 'clock-doubt' })
  }

  /** Changes that came together are of one time. */
  #runMs: number | undefined

  /** Steps that were taken: the same number, the same state. */
  steps = 0

  readonly #step = (event: CopyEvent, next?: CopyEvent): void => {
    if (this.#isOver) return
    this.steps++
    const said = this.#sayings.length
    const saidHere = this.#toLocal.length
    const isMore = isRun(event, next)
    const nowMs = this.#runMs ?? this.#owner.loop.nowMs()
    this.#runMs = isMore ? nowMs : undefined
    try {
      step(this.state, event, nowMs, this.#port, isMore)
      if (event.type === 'scanned') this.#fillMemory?.scanned(event.versions)
    } catch (error) {
      this.#sayings.length = said
      this.#toLocal.length = saidHere
      this.#break(error, event)
    }
  }

  #break(error: unknown, event: CopyEvent): void {
    const { loop } = this.#owner
    this.#owner.broken(this, error, event)
    const reason = `a bug of ours: ${error instanceof Error ? error.message : String(error)}`
    try {
      step(this.state, { type: 'store-failed', reason }, loop.nowMs(), this.#port)
    } catch {
      this.close()
    }
    this.#store?.fail(reason)
  }

  /** The inbox is empty: frontends of this worker are told in this turn. */
  readonly #drained = (): void => {
    this.meter.note(this.state, this.#owner.loop.nowMs())
    this.#payloads.take(this.state.log)
    if (this.#payloads.isCounting || this.#fillMemory?.isKeeping === true) this.#owner.keepsPayload(this)
    if (this.state.config !== this.#seenConfig) {
      this.#seenConfig = this.state.config
      this.#owner.configChanged(this)
    }
    if (this.isPrimary !== this.#seenPrimary) {
      this.#seenPrimary = this.isPrimary
      this.#owner.leadChanged(this)
    }
    if (this.state.role === 'fenced' && isLetGo(this.state)) this.#owner.wasLetGo(this)
    if (this.#toLocal.length === 0) return
    const messages = this.#toLocal
    this.#toLocal = []
    for (const message of messages) this.#owner.tellFrontend(this.volumeId, message)
  }

  /** The turn ends: what was said leaves. */
  flush(): void {
    this.#drained()
    const sayings = this.#sayings
    this.#sayings = []
    for (const saying of sayings) {
      if (saying.kind === 'ask') saying.run()
      else if (saying.kind === 'frontend') {
        const worker = this.#frontendWorkers.get(saying.to) ?? this.#self.worker
        this.#owner.sendToFrontend({ node: saying.to, worker }, this.volumeId, saying.message)
      } else {
        const list = this.#toPeers.get(saying.to)
        if (list === undefined) this.#toPeers.set(saying.to, [saying.message])
        else list.push(saying.message)
      }
    }
    for (const [to, messages] of this.#toPeers) {
      if (messages.length > 0) sendMerged(messages, (message) => this.#owner.sendToCopy(to, this.volumeId, message))
    }
  }

  /** All that was said has left. */
  letPayloadGo(): void {
    if (this.#store !== undefined) this.#payloads.letGo(this.state.log, this.#store.queue.storedSeq)
    this.#fillMemory?.letGo(this.state)
  }

  #noteDamage(event: StoreEvent, { layout }: LocalCopyStore): void {
    const damaged = event.type === 'damaged' ? event.versions : 'damaged' in event ? event.damaged ?? [] : []
    for (const id of damaged) {
      const target = layout.target(id.lba)
      // Its disk gave what was written there.
      if (target === undefined || id.isMark === true) continue
      const { diskUuid } = target.stream.context
      this.meter.damaged(diskUuid)
      this.#owner.damaged(diskUuid, this.volumeId, id)
    }
  }

  #say(saying: Saying): void {
    if (this.#sayings.push(saying) === 1) this.#owner.speaks(this)
  }

  #portOver(store: CopyPort['store']): CopyPort {
    const { configs, timer } = this.#owner
    const { volumeId } = this
    return {
      store,
      send: (to, message) => this.#say({ kind: 'peer', to, message }),
      takesMarks: (node) => this.#owner.takesMarks(node, volumeId),
      reply: (to, message) => {
        if (to !== this.#self.node || this.#frontendWorkers.has(to)) this.#say({ kind: 'frontend', to, message })
        else if (this.#toLocal.push(message) === 1) this.#owner.speaks(this)
      },
      readConfig: (token) =>
        this.#ask(() =>
          configs.read(volumeId, (read) => {
            const value = read.ok ? read.value : undefined
            this.#hear({ type: 'config-read', token, ok: read.ok, value })
          }),
        ),
      compareAndSwap: (token, version, config) =>
        this.#ask(() =>
          configs.compareAndSwap(volumeId, version, config, (cas) => {
            const version = cas.outcome === 'won' ? cas.version : undefined
            // What was refused did not happen; the machine reads anyhow before it believes that.
            const outcome = cas.outcome === 'refused' ? 'lost' : cas.outcome
            this.#hear({ type: 'cas-ended', token, outcome, version })
          }),
        ),
      nonce: () => this.#owner.nonce(),
      wakeAt: (atMs) => timer.wakeAt(this, atMs),
      left: (node) => this.#owner.left(this, node),
      disbelieved: (from, why) => this.#owner.disbelieved(this, from, why),
      commandEnded: (token, result) => {
        const ended = this.#commands.get(token)
        this.#commands.delete(token)
        if (ended !== undefined) this.#ask(() => ended(result))
      },
    }
  }

  #ask(run: () => void): void {
    this.#say({ kind: 'ask', run })
  }

  #hear(event: CopyEvent): void {
    if (!this.#isOver) this.inbox.put(event)
  }
}

/** A copy that cannot be opened is fenced before anything else, and a fenced one asks nothing of its store. */
const unopened = new Proxy({} as CopyPort['store'], {
  get(_, name) {
    throw new Error(`the store of a copy that could not be opened was asked: ${String(name)}`)
  },
})
