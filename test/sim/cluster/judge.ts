/**
 * The judge of a run: it sees what clients and copies say and do, as they do it, and calls the checkers. What it knows
 * beyond the histories is what the checkers ask of the moment: when a request came, what had been answered before it,
 * what was flushed, and which sessions have to be broken.
 */
import { FORCED_EPOCH_STEP, type VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { CopyState } from '../../../engine/replication/copy-state.ts'
import { LOST_GRACES } from '../../../engine/replication/log-choice.ts'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import type { SessionFence } from '../../../engine/replication/session-fence.ts'
import { checkAnswer, checkBegun, checkFlush } from './checker/acknowledged-is-durable.ts'
import { CommittedLog } from './checker/copies-identical.ts'
import { Holders } from './checker/holders.ts'
import { requestKey, type ClientOperation, type LoggedRecord, type Violation } from './checker/history.ts'
import { OnePrimaryPerEpoch } from './checker/one-primary-per-epoch.ts'
import { Stamps, type StampCodec } from './stamps.ts'
import type { World } from './world.ts'

export class Judge {
  readonly violations: Violation[] = []
  readonly operations: ClientOperation[] = []
  readonly committed = new CommittedLog()
  readonly stamps = new Stamps()
  readonly primaries: OnePrimaryPerEpoch
  private readonly holders: Holders
  private readonly world: World
  private positions = 0
  /** When a request came to a node first. */
  private readonly arrivals = new Map<string, number>()
  /** Of flushes: the highest seq answered when they were sent. */
  private readonly flushBounds = new Map<string, number>()
  private readonly flushed = { seq: 0 }
  private readonly changes = new Set<string>()
  private readonly fuaRequests = new Set<string>()
  private answeredSeq = 0
  private afterStep: Array<() => void> = []
  private brokenGeneration = 0
  private readonly answeredRequests = new Set<string>()
  /** Answered by a copy, and lost as it may be: the answer may still be on its way. */
  readonly lost = new Set<string>()
  /** Of each committed record, when it was applied first. */
  private appliedAt: number[] = []
  /** Of each epoch, when it won, in ms, and whether its primary has chosen the log. */
  private readonly terms = new Map<number, { wonAtMs: number; hasChosen: boolean }>()
  /** S6: what was committed above this seq before that epoch may be gone; of the present era. */
  private excused: { era: number; aboveSeq: number; epoch: number } | undefined

  constructor(world: World, config: VolumeConfig) {
    this.world = world
    this.primaries = new OnePrimaryPerEpoch(config)
    this.holders = new Holders(config)
  }

  /** Of what happens now: what happens later has a greater one. */
  position(): number {
    return ++this.positions
  }

  report(violations: readonly Violation[]): void {
    for (const violation of violations) {
      this.violations.push(violation)
      this.world.trace.note('VIOLATION', violation.checker, 0, 0, violation.message)
    }
  }

  // ---- of requests and their answers

  invoked(op: ClientOperation): void {
    this.operations.push(op)
    if (op.request !== '' && op.kind !== 'read') this.changes.add(op.request)
  }

  sent(message: FrontendMessage): void {
    if (message.type !== 'request') return
    const key = requestKey(message.id)
    const { operation } = message
    if (operation.type === 'flush' && !this.flushBounds.has(key)) this.flushBounds.set(key, this.answeredSeq)
    if ('fua' in operation && operation.fua) this.fuaRequests.add(key)
  }

  arrived(node: string, message: FrontendMessage): void {
    if (message.type !== 'request') return
    const arrival = `${node} ${requestKey(message.id)}`
    if (!this.arrivals.has(arrival)) this.arrivals.set(arrival, this.position())
  }

  replying(from: string, to: string, message: FrontendMessage): void {
    const at = this.position()
    if (message.type === 'opened') {
      this.report(this.holders.opened(from, message.epoch, to, message.session.generation, at))
    }
    if (message.type !== 'reply' || !message.result.ok) return
    const { id, epoch } = message
    const key = requestKey(id)
    const arrivedAt = this.arrivals.get(`${from} ${key}`) ?? at
    const flushBound = this.flushBounds.get(key)
    const isRead = flushBound === undefined && !this.changes.has(key)
    const kind = isRead ? 'read' : flushBound === undefined ? 'write' : 'flush'
    this.report(this.primaries.served(from, epoch, { kind, arrivedAt }))
    this.report(this.holders.served(from, to, { kind, generation: id.generation, arrivedAt }))
    if (id.generation <= this.brokenGeneration) {
      const message = `${from} answers ${key} of a session that lost answers which were not flushed`
      this.report([{ checker: 'acknowledged-is-durable', message }])
    }
    if (isRead) return
    const members = this.world.store.current.config.inSync.map((name) => this.world.nodes.get(name)!.witness)
    if (flushBound !== undefined) {
      this.report(checkFlush(key, flushBound, members))
      this.flushed.seq = Math.max(this.flushed.seq, flushBound)
      return
    }
    const isRepeated = this.answeredRequests.has(key)
    this.answeredRequests.add(key)
    if (isRepeated && this.world.swarm.mode === 'writeback') return
    const mustBeDurable = this.world.swarm.mode === 'durable' || this.fuaRequests.has(key)
    // In its step a copy may answer first and apply then.
    this.afterStep.push(() => this.report(checkAnswer(key, this.committed.idOf(key), members, mustBeDurable)))
  }

  /** A frontend that nobody replaced is told that its session is stale. */
  refused(client: string, generation: number): void {
    this.report(this.holders.refused(client, generation))
  }

  /** A reply reaches its client. */
  answered(message: FrontendMessage): void {
    if (message.type !== 'reply' || !message.result.ok) return
    const id = this.committed.idOf(requestKey(message.id))
    if (id !== undefined) this.answeredSeq = Math.max(this.answeredSeq, id.seq)
  }

  /** A copy ended its step. */
  stepped(node: string, copy: CopyState | undefined): void {
    const term = copy?.primary?.reconciling?.phase === 'syncing' ? this.terms.get(copy.primary.epoch) : undefined
    if (term?.hasChosen === false) {
      term.hasChosen = true
      this.chose(node, copy!, this.world.clock.nowMs() - term.wonAtMs)
    }
    if (copy?.role === 'primary') {
      if (this.world.nodes.get(node)!.lastRole === 'reconciling') this.begins(copy)
      this.primaries.active(copy.primary!.epoch, this.positions)
      this.holders.active(copy.primary!.epoch, this.positions)
    }
    if (this.afterStep.length === 0) return
    for (const check of this.afterStep) check()
    this.afterStep = []
  }

  private begins({ log, primary }: CopyState): void {
    const { config } = this.world.store.current
    const { epoch } = primary!
    if (config.epoch !== epoch) return
    const members = config.inSync.map((name) => this.world.nodes.get(name)!.witness)
    this.report(checkBegun(epoch, log.epochs.at(-1)![1], members))
  }

  // ---- of copies

  applied(node: string, record: ReplicatedRecord): void {
    const at = this.position()
    const logged = loggedRecord(record, this.world.codec)
    const { log } = this.committed
    const known = log.length
    const eraCount = this.committed.eras.length
    const copy = this.world.nodes.get(node)!.process?.copy
    const isOut = !this.world.store.current.config.inSync.includes(node)
    const how = { isOut, leads: copy?.primary !== undefined }
    this.report(this.committed.applied(node, logged, at, (seq) => this.mayLose(seq, record.epoch), how))
    if (this.committed.eras.length > eraCount) this.eraEnded(log.slice(record.seq - 1), record.epoch)
    else if (record.seq <= known || this.committed.log.length === known) return
    this.appliedAt.length = record.seq - 1
    this.appliedAt.push(at)
    logged.stamps.forEach((stamp, i) => {
      const origin = this.stamps.origin(stamp)
      if (stamp === 0 || origin?.lba === logged.lba + i) return
      const message = `seq ${record.seq} puts ${stamp} into block ${logged.lba + i}; it was written to ${origin?.lba}`
      this.report([{ checker: 'copies-identical', message }])
    })
  }

  /** A forced promotion may lose anything; else only what was excused when a log was chosen without it. */
  private mayLose(seq: number, epoch: number): boolean {
    const known = this.committed.log[seq - 1]!
    if (epoch - known.epoch >= FORCED_EPOCH_STEP) return true
    const { excused } = this
    if (excused === undefined || excused.era !== this.committed.eras.length) return false
    return seq > excused.aboveSeq && known.epoch < excused.epoch && epoch >= excused.epoch
  }

  /**
   * S6: what was written and not flushed may be gone when each member of the set before lost power since, or said
   * nothing for as long as a primary has to wait for it.
   */
  private chose(node: string, { primary, options }: CopyState, elapsedMs: number): void {
    const { nodes, store, swarm } = this.world
    const { epoch, peers, reconciling } = primary!
    const { witness } = nodes.get(node)!
    const { log } = this.committed
    const isChosen = ({ epoch: of, seq }: LoggedRecord) => seq < reconciling!.epochSeq && witness.has(of, seq)
    const first = log.find((record) => !isChosen(record))
    if (first === undefined || swarm.mode === 'durable') {
      this.excused = undefined
      return
    }
    const era = this.committed.eras.length
    if (this.excused?.era === era && this.excused.aboveSeq < first.seq) return
    const before = store.history.findLast(({ config }) => config.epoch < epoch)!.config
    const waitMs = LOST_GRACES * (options.graceMs + options.evictAfterMs)
    // Its clock may be fast.
    const isSilent = (name: string) => elapsedMs >= 0.98 * waitMs && peers.get(name)?.report === undefined
    const lostPower = (name: string) => nodes.get(name)!.lastPowerLoss > this.appliedAt[first.seq - 1]!
    const isLost = before.inSync.every((name) => lostPower(name) || (name !== node && isSilent(name)))
    if (isLost && first.seq > this.flushed.seq) this.excused = { era, aboveSeq: first.seq - 1, epoch }
  }

  /** S6: who was answered what is gone now must be told. */
  private eraEnded(lost: readonly LoggedRecord[], epoch: number): void {
    const cutSeq = lost[0]!.seq - 1
    this.world.trace.note('world', 'era ended', epoch, cutSeq, lost.length)
    this.answeredSeq = Math.min(this.answeredSeq, cutSeq)
    for (const [key, seq] of this.flushBounds) this.flushBounds.set(key, Math.min(seq, cutSeq))
    for (const { request } of lost) if (this.answeredRequests.has(request)) this.lost.add(request)
    if (epoch - lost[0]!.epoch >= FORCED_EPOCH_STEP) return
    for (const { request } of lost) {
      if (!this.answeredRequests.has(request)) continue
      this.brokenGeneration = Math.max(this.brokenGeneration, Number(request.split('.')[0]))
    }
  }

  /** A promise is told to somebody. */
  promiseUsed(node: string, epoch: number): void {
    this.report(this.primaries.promiseUsed(node, epoch, this.world.nodes.get(node)!.witness.durablePromise))
  }

  fenceUsed(node: string, fence: SessionFence): void {
    this.report(this.primaries.fenceUsed(node, fence, this.world.nodes.get(node)!.witness.durableAttach))
  }

  /** A configuration won. */
  configured(config: VolumeConfig): void {
    const { nodes, store, swarm } = this.world
    const before = store.history.at(-2)!.config
    const joined = config.inSync.filter((name) => !before.inSync.includes(name))
    if (!this.terms.has(config.epoch)) {
      // Who goes on without having chosen has waited since it began to.
      const former = before.primary === config.primary ? this.terms.get(before.epoch) : undefined
      const wonAtMs = former?.hasChosen === false ? former.wonAtMs : this.world.clock.nowMs()
      this.terms.set(config.epoch, { wonAtMs, hasChosen: false })
    }
    const mayBeGone = this.excused?.era === this.committed.eras.length ? this.excused.aboveSeq : Infinity
    const id = this.committed.log[Math.min(this.answeredSeq, mayBeGone) - 1]
    if (joined.length > 0 && id !== undefined && config.epoch - before.epoch < FORCED_EPOCH_STEP) {
      const members = joined.map((name) => nodes.get(name)!.witness)
      this.report(checkAnswer('that was last answered', id, members, swarm.mode === 'durable'))
    }
    this.holders.configured(config)
    this.report(this.primaries.configured(config, (node) => nodes.get(node)?.witness.isConsistent ?? false))
  }
}

function loggedRecord(record: ReplicatedRecord, codec: StampCodec): LoggedRecord {
  const { epoch, seq, kind } = record
  const request = record.request === undefined ? '' : requestKey(record.request)
  if (kind === 'control')
    return { epoch, seq, kind, lba: 0, blockCount: 0, stamps: [], request, change: record.change }
  const { lba, blockCount } = record
  return {
    epoch,
    seq,
    kind,
    lba,
    blockCount,
    stamps: kind === 'write' ? codec.stampsOf(record.payload) : [],
    request,
    change: undefined,
  }
}
