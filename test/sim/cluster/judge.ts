/**
 * The judge of a run: it sees what clients and copies say and do, as they do it, and calls the checkers. What it knows
 * beyond the histories is what the checkers ask of the moment: when a request came, what had been answered before it,
 * what was flushed, and which sessions have to be broken.
 */
import { FORCED_EPOCH_STEP, type VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { CopyState } from '../../../engine/replication/copy-state.ts'
import { LOST_GRACES } from '../../../engine/replication/log-choice.ts'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import { epochAt } from '../../../engine/replication/record-id.ts'
import type { Durability, ReplicatedRecord } from '../../../engine/replication/record.ts'
import type { SessionFence } from '../../../engine/replication/session-fence.ts'
import {
  checkAfterFailure,
  checkAnswer,
  checkBegun,
  checkCounted,
  checkFlush,
} from './checker/acknowledged-is-durable.ts'
import { CommittedLog } from './checker/copies-identical.ts'
import { Holders } from './checker/holders.ts'
import { requestKey, type Base, type ClientOperation, type LoggedRecord, type Violation } from './checker/history.ts'
import { checkForgotten } from './checker/nothing-comes-back.ts'
import { OnePrimaryPerEpoch } from './checker/one-primary-per-epoch.ts'
import type { CopyWitness } from './copy-witness.ts'
import { changesDurability, mayWriteBack } from './durability-focus.ts'
import { Stamps, type StampCodec } from './stamps.ts'
import { DAMAGING } from './volume-focus.ts'
import type { World } from './world.ts'

/** What a clone has of its origin (clone-maker.ts). */
export interface Born {
  base: Base
  /** The log of its origin, up to there. */
  records: readonly LoggedRecord[]
  stamps: Stamps
}

export class Judge {
  readonly violations: Violation[] = []
  readonly operations: ClientOperation[] = []
  readonly committed: CommittedLog
  readonly stamps: Stamps
  readonly primaries: OnePrimaryPerEpoch
  private readonly holders: Holders
  private readonly world: World
  /** The volume is being purged: nobody asks any more what it holds. */
  isOver = false
  /** One order for all volumes of a cluster. */
  private readonly order: { last: number }
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
  /** The highest that who chose a log knew as broken. */
  private brokenSeen = 0
  /** Since the last change to `durable` that is committed. */
  private wasWritebackAsked = false
  /** S6: a log was chosen after the time in which a member is waited for. */
  private wasSilentForLong = false
  private readonly answeredRequests = new Set<string>()
  /** Answered by a copy, and lost as it may be: the answer may still be on its way. */
  readonly lost = new Set<string>()
  /** Of each epoch, when it won, in ms, and whether its primary has chosen the log. */
  private readonly terms = new Map<number, { wonAtMs: number; hasChosen: boolean }>()
  /** S6: what was committed above this seq before that epoch may be gone; of the present era. */
  private excused: Array<{ era: number; aboveSeq: number; epoch: number }> = []

  /**
   * S6: a log was chosen while a member stood still: what it commits from this seq on of an older epoch is late. Out of
   * the set that is lost. In the set it leads when it is heard (C4 e), and then it is not: until then it is excused.
   */
  private readonly silenced: Array<{ seq: number; epoch: number }> = []

  /**
   * @param first  of the first volume of the cluster
   * @param born  of a clone: what it began as, and the stamps of its origin, of which it shows some
   */
  constructor(world: World, config: VolumeConfig, first?: Judge, born?: Born) {
    this.order = first?.order ?? { last: 0 }
    this.world = world
    this.committed = new CommittedLog(born)
    this.stamps = born?.stamps ?? new Stamps()
    // Who joins the set has what it began as.
    this.answeredSeq = this.flushed.seq = born?.base.seq ?? 0
    this.primaries = new OnePrimaryPerEpoch(config)
    this.holders = new Holders(config)
  }

  /** Of what happens now: what happens later has a greater one. */
  position(): number {
    return ++this.order.last
  }

  report(violations: readonly Violation[]): void {
    if (this.isOver) violations = violations.filter(({ checker }) => checker === 'assert' || checker === 'progress')
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
      this.opened(from, message)
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
    if (kind === 'write' && this.isOfLostEra(from, key, epoch)) return this.answeredLate(key, id.generation, epoch)
    // A write that the chosen log has may still be told as stored by who was silent while it was chosen.
    if (id.generation <= this.brokenGeneration && !(kind === 'write' && this.isSilent(from, epoch))) {
      const message = `${from} answers ${key} of a session that lost answers which were not flushed`
      this.report([{ checker: 'acknowledged-is-durable', message }])
    }
    if (isRead) return
    const members = this.witnessesOf(this.world.store.current.config)
    if (flushBound !== undefined) {
      this.report(checkFlush(key, flushBound, members))
      this.flushed.seq = Math.max(this.flushed.seq, flushBound)
      return
    }
    const isRepeated = this.answeredRequests.has(key)
    this.answeredRequests.add(key)
    // In its step a copy may answer first and apply then.
    this.afterStep.push(() => {
      const id = this.committed.idOf(key)
      const isDurable = this.isDurable((id?.seq ?? 0) - 1)
      if (isRepeated && !isDurable) return
      this.report(checkAnswer(key, id, members, isDurable || this.fuaRequests.has(key)))
    })
  }

  /** W10: what stands right behind this seq, as far as it is committed. */
  private isDurable(seq: number): boolean {
    return this.committed.durabilityBehind(seq, this.world.swarm.mode) === 'durable'
  }

  /** W10: it may be ordered, and who has that cannot know what was answered behind it. */
  durabilityAsked(to: Durability): void {
    if (to === 'writeback') this.wasWritebackAsked = true
  }

  /** W10: the operator is told that his change stands at that seq: it is durable, and all before it. */
  durabilityChanged(seq: number): void {
    if (this.isOver) return
    this.report(checkFlush('of the change of the durability', seq, this.witnessesOf(this.world.store.current.config)))
  }

  /** S2: a session is open when all of the set refuse what is older, for ever. */
  private opened(from: string, { epoch, session }: Extract<FrontendMessage, { type: 'opened' }>): void {
    const { config } = this.world.store.current
    // Who does not know yet that another one leads may say so: nothing comes of it.
    if (config.primary !== from || config.epoch !== epoch || config.attach.mode === 'open') return
    this.holders.isOpen(session)
    this.report(this.holders.fenced(this.fencesOf(config.inSync, config), config))
  }

  /** Of members that have their copies: what was refused went with a disk that was taken out, or that lied. */
  private fencesOf(names: readonly string[], { members }: VolumeConfig): Map<string, SessionFence> {
    const { atlas, nodes } = this.world
    const known = names.filter((name) => !atlas.isShort(name)).map((name) => nodes.get(name)!)
    const present = known.filter(({ name, disk }) => disk.copyId === members[name]?.copyId)
    return new Map(present.map(({ name, witness }) => [name, witness.durableAttach]))
  }

  /** Of the set, but for who came back short and is not met yet: it said what its disk had said. */
  private witnessesOf({ inSync }: VolumeConfig): CopyWitness[] {
    const { atlas, nodes } = this.world
    return inSync.filter((name) => !atlas.isShort(name)).map((name) => nodes.get(name)!.witness)
  }

  /** S6: a primary that does not know yet answers what was stored everywhere, and is gone since with the power. */
  private isOfLostEra(node: string, key: string, epoch: number): boolean {
    const { log, cutSeq } = this.committed.eras.at(-1)!
    const isOlder = epoch < (log[cutSeq]?.epoch ?? 0)
    const isLate = isOlder || this.isSilent(node, epoch)
    return mayWriteBack(this.world.swarm) && isLate && this.committed.idOf(key) === undefined
  }

  /** It led in that epoch, and the others went on without what it has. */
  private isSilent(node: string, epoch: number): boolean {
    return this.isOut(node) && this.isSilenced(epoch, Infinity)
  }

  private isOut(node: string): boolean {
    return !this.world.store.current.config.inSync.includes(node)
  }

  private isSilenced(epoch: number, seq: number): boolean {
    return this.silenced.some((since) => epoch < since.epoch && seq >= since.seq)
  }

  /** Then the session that gets the answer has to be broken. */
  private answeredLate(key: string, generation: number, epoch: number): void {
    const { log, cutSeq } = this.committed.eras.at(-1)!
    this.lost.add(key)
    if (log[cutSeq]!.epoch - epoch >= FORCED_EPOCH_STEP) return
    this.brokenGeneration = Math.max(this.brokenGeneration, generation)
  }

  /** A frontend that nobody replaced is told that its session is stale. */
  refused(client: string, generation: number): void {
    this.report(this.holders.refused(client, generation))
  }

  /** S6: a session is broken where something may be gone; nobody who was only started anew has lost anything. */
  broken(client: string, generation: number): void {
    const { nodes, swarm } = this.world
    const isDamaged = swarm.faults.some((kind) => DAMAGING.includes(kind))
    const mayBeGone = isDamaged || [...nodes.values()].some(({ lastPowerLoss }) => lastPowerLoss > 0)
    if (mayBeGone || this.wasSilentForLong) return
    const message = `generation ${generation} of ${client} is broken, and no member lost its power or was away for long`
    this.report([{ checker: 'progress', message }])
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
      this.primaries.active(copy.primary!.epoch, this.order.last)
      this.holders.active(copy.primary!.epoch, this.order.last)
    }
    const { openCopy, witness } = this.world.nodes.get(node)!
    if (openCopy !== undefined && this.world.atlas.isHonest(node)) {
      this.report(checkForgotten(node, openCopy.forgottenSeq, witness.forgottenSeq))
    }
    if (this.afterStep.length === 0) return
    for (const check of this.afterStep) check()
    this.afterStep = []
  }

  /** I6: what a primary counts of a member is stored there, as long as that one runs and follows it. */
  counted(node: string, copy: CopyState | undefined): void {
    if (copy?.role !== 'primary') return
    const { peers, required, epoch, sinceEpoch } = copy.primary!
    for (const name of required) {
      const { process, witness } = this.world.nodes.get(name)!
      const { instance, isFollowing, fillId, storedSeq } = peers.get(name)!
      if (process === undefined || process.instance !== instance || !isFollowing) continue
      const { promise, followedFill } = process.copy
      const isOurs = promise.primary === node && promise.epoch >= sinceEpoch && promise.epoch <= epoch
      if (!isOurs || followedFill !== fillId) continue
      const changes = [...this.committed.durabilityChanges(), ...copy.log.durabilities]
      const first = this.world.swarm.mode
      this.report(checkCounted(node, name, storedSeq, progressWithin(changes, first, witness)))
    }
  }

  private begins({ log, primary }: CopyState): void {
    const { config } = this.world.store.current
    const { epoch } = primary!
    // Only now: who has chosen a log and does not serve has settled nothing, and who was silent may choose late.
    this.excused = this.excused.filter((excused) => excused.epoch > epoch)
    if (config.epoch !== epoch) return
    const seq = log.epochs.at(-1)![1]
    const members = this.witnessesOf(config)
    // Who stored it and came back without it since is as short as before.
    const { atlas, nodes } = this.world
    atlas.broughtInLine(config.inSync.filter((name) => nodes.get(name)!.witness.has(epoch, seq)))
    this.report(checkBegun(epoch, seq, members))
  }

  // ---- of copies

  applied(node: string, record: ReplicatedRecord): void {
    if (this.isOver) return
    const at = this.position()
    const logged = loggedRecord(record, this.world.codec)
    const { log } = this.committed
    const known = log.length
    const eraCount = this.committed.eras.length
    const copy = this.world.nodes.get(node)!.process?.copy
    const isOut = this.isOut(node)
    const leads = copy?.primary !== undefined
    if (isOut && this.isSilenced(record.epoch, record.seq)) {
      return this.report(this.committed.late(node, logged, leads))
    }
    // Who was forced to lead brings its own log, of whatever epochs.
    const epoch = leads ? copy!.promise.epoch : record.epoch
    const before = leads ? epochAt(copy!.log.epochs, record.seq - 1) : 0
    const how = { isOut, leads, epoch, ...(before === 0 ? {} : { before }) }
    const isForced = this.committed.isForced(epoch)
    this.report(this.committed.applied(node, logged, at, (seq) => this.mayLose(seq, epoch), how))
    if (this.committed.eras.length > eraCount) this.eraEnded(log, epoch, isForced)
    else if (record.seq <= known || this.committed.log.length === known) return
    // W10: it is durable on the whole set, and so is everything before it.
    if (logged.change?.operation === 'durability') {
      this.flushed.seq = Math.max(this.flushed.seq, logged.seq)
      if (logged.change.to === 'durable') this.wasWritebackAsked = false
    }
    logged.stamps.forEach((stamp, i) => {
      const origin = this.stamps.origin(stamp)
      if (stamp === 0 || origin?.lba === logged.lba + i) return
      const message = `seq ${record.seq} puts ${stamp} into block ${logged.lba + i}; it was written to ${origin?.lba}`
      this.report([{ checker: 'copies-identical', message }])
    })
  }

  /** But for a forced promotion: only what was excused when a log was chosen without it. */
  private mayLose(seq: number, epoch: number): boolean {
    const known = this.committed.log[seq - 1]!
    return this.excusedNow().some(
      (excused) => seq > excused.aboveSeq && known.epoch < excused.epoch && epoch >= excused.epoch,
    )
  }

  /** Several may have chosen and not served; of each choice something may be in what is served in the end. */
  private excusedNow(): Judge['excused'] {
    return this.excused.filter(({ era }) => era === this.committed.eras.length)
  }

  /**
   * S6: what was written and not flushed may be gone when each member of the set before lost power since it had
   * stored it, or said nothing for as long as a primary has to wait for it.
   */
  private chose(node: string, { primary, options, attach }: CopyState, elapsedMs: number): void {
    const { nodes, store, swarm } = this.world
    const { epoch, peers, reconciling } = primary!
    const { witness } = nodes.get(node)!
    const { log } = this.committed
    const isChosen = ({ epoch: of, seq }: LoggedRecord) => seq < reconciling!.epochSeq && witness.has(of, seq)
    const first = log.find((record) => !isChosen(record))
    if (this.isDurable(Infinity)) {
      const isNews = attach.brokenGeneration > this.brokenSeen
      this.brokenSeen = Math.max(this.brokenSeen, attach.brokenGeneration)
      // Who was forced to lead may lack the change.
      const isOld = this.wasWritebackAsked || this.committed.isForced(epoch)
      const mayLack = isOld || [...nodes.keys()].some((name) => !this.world.atlas.isHonest(name))
      if (!isNews || !changesDurability(swarm) || mayLack) return
      const message = `${node} breaks the sessions of a volume that is durable, in epoch ${epoch}`
      return this.report([{ checker: 'acknowledged-is-durable', message }])
    }
    this.brokenSeen = Math.max(this.brokenSeen, attach.brokenGeneration)
    const era = this.committed.eras.length
    const before = store.history.findLast(({ config }) => config.epoch < epoch)!.config
    const waitMs = LOST_GRACES * (options.graceMs + options.evictAfterMs)
    // Its clock may be fast.
    if (elapsedMs >= 0.98 * waitMs) this.wasSilentForLong = true
    const isSilent = (name: string) => elapsedMs >= 0.98 * waitMs && peers.get(name)?.report === undefined
    // Its power may be lost after it said that it had stored it, and before that was applied anywhere. Who is being
    // filled has given up what it had.
    const lostPower = (name: string, seq: number) => {
      const { lastPowerLoss, witness } = nodes.get(name)!
      return lastPowerLoss > (witness.storedAt(seq) ?? Infinity) || !witness.isConsistent
    }
    const isLost = (seq: number) =>
      before.inSync.every((name) => lostPower(name, seq) || (name !== node && isSilent(name)))
    if (first === undefined) {
      // What was stored everywhere may have been committed by nobody yet.
      const { epochSeq: seq } = reconciling!
      if (!isLost(seq)) return
      this.silenced.push({ seq, epoch })
      if (seq > this.flushed.seq) this.excused.push({ era, aboveSeq: seq - 1, epoch })
      return
    }
    if (isLost(first.seq) && first.seq > this.flushed.seq) this.excused.push({ era, aboveSeq: first.seq - 1, epoch })
  }

  /** S6: who was answered what is gone now must be told. */
  private eraEnded(former: readonly LoggedRecord[], epoch: number, isForced: boolean): void {
    const { cutSeq } = this.committed.eras.at(-1)!
    const lost = former.slice(cutSeq)
    this.world.trace.note('world', 'era ended', epoch, cutSeq, lost.length)
    this.answeredSeq = Math.min(this.answeredSeq, cutSeq)
    this.flushed.seq = Math.min(this.flushed.seq, cutSeq)
    for (const [key, seq] of this.flushBounds) this.flushBounds.set(key, Math.min(seq, cutSeq))
    for (const { request } of lost) if (this.answeredRequests.has(request)) this.lost.add(request)
    if (isForced) return
    for (const { request } of lost) {
      if (!this.answeredRequests.has(request)) continue
      this.brokenGeneration = Math.max(this.brokenGeneration, Number(request.split('.')[0]))
    }
  }

  /** A promise is told to somebody. */
  promiseUsed(node: string, epoch: number): void {
    this.report(this.primaries.promiseUsed(node, epoch, this.world.nodes.get(node)!.witness.durablePromise))
  }

  acknowledges(node: string, what: string): void {
    this.report([checkAfterFailure(node, what)])
  }

  fenceUsed(node: string, fence: SessionFence): void {
    this.report(this.primaries.fenceUsed(node, fence, this.world.nodes.get(node)!.witness.durableAttach))
  }

  /** A configuration won. */
  configured(config: VolumeConfig, by: string): void {
    const { atlas, nodes, store } = this.world
    const before = store.history.at(-2)!.config
    const joined = config.inSync.filter((name) => !before.inSync.includes(name))
    if (!this.terms.has(config.epoch)) {
      // Who goes on without having chosen has waited since it began to.
      const former = before.primary === config.primary ? this.terms.get(before.epoch) : undefined
      const wonAtMs = former?.hasChosen === false ? former.wonAtMs : this.world.clock.nowMs()
      this.terms.set(config.epoch, { wonAtMs, hasChosen: false })
    }
    const mayBeGone = Math.min(...this.excusedNow().map(({ aboveSeq }) => aboveSeq))
    const id = this.committed.log[Math.min(this.answeredSeq, mayBeGone) - 1]
    if (joined.length > 0 && id !== undefined && config.epoch - before.epoch < FORCED_EPOCH_STEP) {
      // A change that was asked may win after its disk lied: the primary knows, and counts it for nothing.
      const members = joined.filter((name) => atlas.isHonest(name)).map((name) => nodes.get(name)!.witness)
      this.report(checkAnswer('that was last answered', id, members, this.isDurable(id.seq - 1)))
    }
    this.holders.configured(config)
    if (config.epoch - before.epoch >= FORCED_EPOCH_STEP) {
      this.holders.forced()
      this.committed.forced(config.epoch)
    }
    const honest = joined.filter((name) => atlas.isHonest(name))
    this.report(this.holders.fenced(this.fencesOf(honest, config), config))
    const asked = nodes.get(by)?.openCopy
    const isUnfit = asked !== undefined && (asked.lostSlices.length > 0 || asked.consistency.state === 'filling')
    const isConsistent = (node: string) => nodes.get(node)?.witness.isConsistent ?? false
    this.report(this.primaries.configured(config, isConsistent, isUnfit ? by : undefined))
  }
}

/** How much of a member counts for who leads: behind a change of the durability as that says, and it when durable. */
function progressWithin(
  changes: ReadonlyArray<{ seq: number; to: Durability }>, first: Durability, { durableSeq, storedSeq }: CopyWitness,
): number {
  const last = changes.findLast(({ seq }) => seq <= durableSeq)
  if ((last?.to ?? first) === 'durable') return durableSeq
  const next = changes.find(({ seq }) => seq > durableSeq)
  return next === undefined ? storedSeq : Math.min(storedSeq, next.seq - 1)
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
