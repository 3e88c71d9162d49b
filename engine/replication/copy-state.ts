/**
 * What one copy of a volume remembers while its process lives (SPEC.md 2.2, 2.3): plain data, so that it can be copied,
 * hashed and printed. What is durable is in the copy's store; here is what was last told to it, and what it confirmed.
 *
 *   appliedSeq <= commitSeq <= (own progress, when it is required) <= tail
 *
 * `assertInvariants` looks at everything and is for tests and the simulator; the asserts in the other files are O(1).
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES, SLICE_BLOCKS } from '../units.ts'
import type { NodeId, VolumeConfig } from './configuration.ts'
import type { CopyOptions, VersionedConfig } from './copy-port.ts'
import type { Consistency, CopyFacts, KeptMarks, StoredCopy } from './copy-store.ts'
import type { PeerMessage } from './messages.ts'
import type { PrimaryState } from './primary-state.ts'
import type { Durability, ReplicatedRecord, Session, VersionId } from './record.ts'
import type { DamagedVersion } from './repair.ts'
import { emptyWindow, lastSeqOf, pushRecord } from './record-window.ts'
import type { RecordWindow } from './record-window.ts'
import { isOverIn, NO_FENCE } from './session-fence.ts'
import type { SessionFence } from './session-fence.ts'
import { decodeWindows } from './session-window.ts'
import type { SessionWindow } from './session-window.ts'

export const ROLES = [
  'starting',
  'out',
  'replica',
  'candidate',
  'reconciling',
  'primary',
  'handing-over',
  'fenced',
] as const
export type Role = (typeof ROLES)[number]

export interface Promised {
  epoch: number
  primary: NodeId
}

export interface CopyLog {
  epochs: Array<readonly [epoch: number, firstSeq: number]>
  tail: number
  /** Prefixes that the store reported. */
  writtenSeq: number
  durableSeq: number
  commitSeq: number
  appliedSeq: number
  /** What the primary we follow said is committed; may be above what we have. */
  toldCommitSeq: number
  /** Records above what every copy that needs them has. */
  window: RecordWindow
  /** Changes of the durability above the applied seq, in order (W10). */
  durabilities: Array<{ seq: number; to: Durability }>
  /** Calls of `dropAbove` and `startFill`: what the store reported before the last one is not believed. */
  drops: number
}

/** Why a configuration is being changed; one at a time (SPEC 2.1, 4). */
export interface ConfigChange {
  purpose: 'evict' | 'join' | 'stand' | 'renew' | 'pass-on' | 'hand-over'
  token: number
  from: VersionedConfig
  to: VolumeConfig
  /** `asked`: the answer is awaited. `reading`: lost or unknown, the value is read. `again`: not before a time. */
  phase: 'asked' | 'reading' | 'again'
  againAtMs: number
}

/** What a `kept` of the store means to us. */
export type KeptPurpose =
  | { type: 'promise'; promise: Promised; answerTo: NodeId | undefined; probe?: number | undefined }
  | { type: 'fence'; fence: SessionFence; answerTo: NodeId | undefined }
  | { type: 'fill-started'; fill: number; from: NodeId; fence: SessionFence }
  | { type: 'filled'; fill: number; number: number; from: NodeId; consistency?: Consistency }
  | { type: 'fill-ended'; fill: number; from: NodeId }
  | { type: 'repaired'; versions: VersionId[] }
  | { type: 'nothing' }

/** The lead, which this copy was named for and may not take (SPEC C3). */
export interface Passing {
  /** Who had it from us. */
  to: NodeId[]
  /** How often all had, and when the next of them begins. */
  rounds: number
  againAtMs: number
}

const notPassing = (): Passing => ({ to: [], rounds: 0, againAtMs: -Infinity })

/** Somebody leads. */
export function endPassing(state: CopyState): void {
  if (state.passing.rounds > 0 || state.passing.to.length > 0) state.passing = notPassing()
}

/** A `new-epoch` that waits (SPEC C12). */
export interface LeadClaim {
  from: NodeId
  instance: string
  promise: Promised
  probe: number | undefined
  /** As the sender has it. */
  config: VolumeConfig
  /** By the record of the cluster store. */
  isNamed: boolean
  /** When it was heard first, or when the store said something since that does not tell. */
  heardAtMs: number
}

/** How long this copy is bound to a primary, and when it may take its place (SPEC section 8). */
export interface GraceState {
  startedAtMs: number
  /** No promise to another primary than that of our promise before this. */
  boundUntilMs: number
  /** Whom we watch as a possible successor, and when it counts as gone. */
  watched: Promised
  goneAtMs: number
  /** The instance of a node that spoke of this volume last. */
  instances: Map<NodeId, string>
  /** Instances that a supervisor saw end (Infinity), or that had a fenced copy, with the last epoch it could lead. */
  ended: Map<string, number>
  /** Beacons extend nothing any more: another primary waits for our promise, or we stand ourselves (L2). */
  hasLeft: boolean
  /** It left to stand: when that came to nothing, a `confirm` of its primary binds it again. */
  hasStood: boolean
  /** Of who says that it leads, while we are not free to promise, or do not know yet whether it is named. */
  waiting: LeadClaim | undefined
  /** Of the last `confirm` under our promise: an older `release` is void. */
  confirmToken: number
}

/** A copy that is being filled, seen by itself. */
export interface FillTarget {
  fill: number
  from: NodeId
  instance: string
  phase: 'starting' | 'filling' | 'ending' | 'ended'
  target: number
  /** Of the next `fill`, and of those before it that are not durable yet. */
  nextNumber: number
  storing: number[]
  /** Came before their turn, by number: at most as many as are under way. */
  early: Map<number, Extract<PeerMessage, { type: 'fill' }>>
  heardAtMs: number
  /** All of their versions were given to the store. */
  done: { number: number; slices: readonly number[]; wholeSeq: number } | undefined
}

export interface CopyState {
  options: CopyOptions
  /** As of the applied seq; of what is accepted behind that `durabilityAt` tells. */
  durability: Durability
  role: Role
  isRecovered: boolean
  fencedBecause: string | undefined
  copyId: string
  /** Where its own history begins: behind the end of its origin's, when it is a clone's (SPEC 2.2). */
  baseSeq: number
  /** Of the machine. */
  boot: string
  /** It has all that it acknowledged; in `writeback` a boot takes that away until a log is chosen and served (2.2). */
  isWhole: boolean
  /** The last epoch of its log when the process began: what came later was chosen since. */
  epochAtStart: number
  lostSlices: number[]
  promise: Promised
  durablePromise: Promised
  consistency: Consistency
  /** Blocks of which it has but a mark, and some member may have more. */
  marks: KeptMarks
  /** The map is asked for more of them (`token`), or not before `afterMs`. */
  marksSought: { token: number | undefined; afterMs: number }
  attach: SessionFence
  durableAttach: SessionFence
  log: CopyLog
  /** The log up to the tail is a beginning of the log of the primary we promised to, as it told us in this process. */
  isFollowing: boolean
  /** By which fill it became so, 0 = by reconciling. */
  followedFill: number
  /** We spoke to the primary since we started. */
  isGreeted: boolean
  windows: SessionWindow[]
  /** Mode `open`: sessions that are over, as far as it was seen that newer ones followed them. */
  followed: Session[]
  rollbacks: Array<readonly [to: number, at: number]>
  sizeBytes: number
  sliceCount: number
  sliceBlocks: number
  /** Trims up to here may have left no trace. Above `trimsKeptAbove` they do; infinite: nobody needs them. */
  forgottenSeq: number
  trimsKeptAbove: number | undefined
  config: VersionedConfig | undefined
  /** As the primary that was promised named them last, under that epoch: of use until a record of it is read (C12). */
  told: { epoch: number; members: NodeId[] } | undefined
  change: ConfigChange | undefined
  /** `isLate`: it began before something that was told since. */
  reading: { token: number; againAtMs: number; toStand: boolean; isLate: boolean } | undefined
  nextToken: number
  kept: Map<number, KeptPurpose>
  grace: GraceState
  fillTarget: FillTarget | undefined
  primary: PrimaryState | undefined
  /** When a join or hello is sent again. */
  greetAtMs: number
  greets: number
  /** Of the join that we sent last; another one after each fill that was taken. */
  joinNumber: number
  /** Whom we led, to be told that we do not any more until they follow another (C6). */
  released: { epoch: number; nodes: NodeId[] } | undefined
  /** What cannot be read here, and what others asked for (section 10). */
  damaged: DamagedVersion[]
  /** There were more than are kept at a time. */
  isDamageLeftOut: boolean
  /** Those that were repaired last. */
  repaired: VersionId[]
  fetches: Map<number, { to: NodeId; wanted: VersionId[]; appliedSeq: number; asked: number | undefined }>
  /** The last epoch that it could lead, once it is fenced. */
  fencedEpoch: number
  /** Own terms in a row that ended without serving (C3). */
  fruitlessTerms: number
  passing: Passing
  wakeAtMs: number
}

export const NOBODY: Promised = { epoch: 0, primary: '' }

const NO_MARKS: KeptMarks = { ids: [], isMore: false }

export function createCopy(options: CopyOptions): CopyState {
  return {
    options,
    durability: options.mode,
    role: 'starting',
    isRecovered: false,
    fencedBecause: undefined,
    copyId: '',
    baseSeq: 0,
    boot: '',
    isWhole: true,
    epochAtStart: 0,
    lostSlices: [],
    promise: NOBODY,
    durablePromise: NOBODY,
    consistency: { state: 'consistent' },
    marks: NO_MARKS,
    marksSought: { token: undefined, afterMs: 0 },
    attach: NO_FENCE,
    durableAttach: NO_FENCE,
    log: {
      epochs: [],
      tail: 0,
      writtenSeq: 0,
      durableSeq: 0,
      commitSeq: 0,
      appliedSeq: 0,
      toldCommitSeq: 0,
      window: emptyWindow(1),
      durabilities: [],
      drops: 0,
    },
    isFollowing: false,
    followedFill: 0,
    isGreeted: false,
    windows: [],
    followed: [],
    rollbacks: [],
    sizeBytes: 0,
    sliceCount: 1,
    sliceBlocks: SLICE_BLOCKS,
    forgottenSeq: 0,
    trimsKeptAbove: undefined,
    config: undefined,
    told: undefined,
    change: undefined,
    reading: undefined,
    nextToken: 1,
    kept: new Map(),
    grace: {
      startedAtMs: 0,
      boundUntilMs: 0,
      watched: NOBODY,
      goneAtMs: 0,
      instances: new Map(),
      ended: new Map(),
      hasLeft: false,
      hasStood: false,
      waiting: undefined,
      confirmToken: 0,
    },
    fillTarget: undefined,
    primary: undefined,
    greetAtMs: Infinity,
    greets: 0,
    joinNumber: 1,
    released: undefined,
    damaged: [],
    isDamageLeftOut: false,
    repaired: [],
    fetches: new Map(),
    fencedEpoch: 0,
    fruitlessTerms: 0,
    passing: notPassing(),
    wakeAtMs: Infinity,
  }
}

/** Forget the windows of sessions that are over by what is durable here. One that is served is never among them. */
export function forgetOver(state: CopyState): void {
  const { windows, durableAttach, followed, primary } = state
  if (windows.length === 0) return
  const isOver = isOverIn(durableAttach, followed)
  const isServed = ({ generation, incarnation }: SessionWindow): boolean =>
    primary?.sessions.some((one) => one.generation === generation && one.incarnation === incarnation) === true
  state.windows = windows.filter((window) => !isOver(window) || isServed(window))
}

/** Take over what the store found. Everything it found is durable by now. */
export function takeStored(state: CopyState, stored: StoredCopy): void {
  const { facts, tail, appliedSeq } = stored
  state.copyId = stored.copyId
  state.baseSeq = stored.baseSeq ?? 0
  state.boot = stored.boot
  state.epochAtStart = stored.epochs.at(-1)?.[0] ?? 0
  state.durability = stored.durability ?? state.options.mode
  state.lostSlices = [...stored.lostSlices]
  state.promise = state.durablePromise = facts.promise
  state.attach = state.durableAttach = facts.attach
  state.consistency = facts.consistency
  state.marks = facts.marks ?? NO_MARKS
  state.forgottenSeq = stored.forgottenSeq
  state.rollbacks = [...stored.rollbacks]
  state.sliceCount = stored.sliceCount
  state.sliceBlocks = stored.sliceBlocks ?? SLICE_BLOCKS
  state.sizeBytes = stored.sizeBytes ?? stored.sliceCount * state.sliceBlocks * BLOCK_BYTES
  state.windows = decodeWindows(stored.windows)
  forgetOver(state)
  const window = emptyWindow(appliedSeq + 1)
  const durabilities: CopyLog['durabilities'] = []
  for (const record of stored.unapplied) {
    pushRecord(window, record)
    noteDurability(durabilities, record)
  }
  Object.assign(state.log, {
    epochs: [...stored.epochs],
    tail,
    writtenSeq: tail,
    durableSeq: tail,
    commitSeq: appliedSeq,
    appliedSeq,
    toldCommitSeq: appliedSeq,
    window,
    durabilities,
  })
  // It is not the boot of the last write that counts: a process may have written since without knowing what is gone.
  // Behind a change to durable nothing was acknowledged that is not here (W10).
  const isFresh = facts.promise.epoch === 0 && tail === state.baseSeq
  state.isWhole = durabilityAt(state, tail) === 'durable' || isFresh || facts.wholeBoot === stored.boot
  assert(lastSeqOf(window) === tail, 'I5: what was accepted reaches from the applied seq to the tail')
}

export const slicesOf = ({ sizeBytes, sliceBlocks }: CopyState): number =>
  Math.max(1, Math.ceil(sizeBytes / BLOCK_BYTES / sliceBlocks))

/** Which durability a record right behind this seq has, of what is accepted; not below the applied seq. */
export function durabilityAt({ durability, log: { durabilities } }: CopyState, seq: number): Durability {
  let last = durability
  for (const change of durabilities) if (change.seq <= seq) last = change.to
  return last
}

export function noteDurability(durabilities: CopyLog['durabilities'], record: ReplicatedRecord): void {
  if (record.kind !== 'control' || record.change.operation !== 'durability') return
  durabilities.push({ seq: record.seq, to: record.change.to })
}

/**
 * What this copy has stored in the sense of its durability (SPEC W3). A change of it counts when it is durable, and so
 * is everything before it (W10).
 */
export function progressOf(state: CopyState): number {
  const { durabilities, durableSeq, writtenSeq } = state.log
  if (durabilityAt(state, durableSeq) === 'durable') return durableSeq
  for (const { seq } of durabilities) if (seq > durableSeq) return Math.min(writtenSeq, seq - 1)
  return writtenSeq
}

/** What this copy knows as committed, applied or not: also what it is whole only with since it was filled. */
export const knownCommitSeq = ({ log, consistency }: CopyState): number =>
  Math.max(log.commitSeq, Math.min(log.tail, consistency.target ?? 0))

export const leads = (role: Role): boolean => role === 'primary' || role === 'reconciling' || role === 'handing-over'

/** Whether it is whole, as a fact that outlives this process; in `durable` nothing has to be known of that. */
export const wholeBootOf = (state: CopyState): Pick<CopyFacts, 'wholeBoot'> =>
  durabilityAt(state, state.log.tail) === 'writeback' ? wholeBootNow(state) : {}

export const wholeBootNow = ({ isWhole, boot }: CopyState): Pick<CopyFacts, 'wholeBoot'> =>
  ({ wholeBoot: isWhole ? boot : '' })

export const nextToken = (state: CopyState): number => state.nextToken++

export const samePromise = (a: Promised, b: Promised): boolean => a.epoch === b.epoch && a.primary === b.primary

/** Everything that holds between two steps. */
export function assertInvariants(state: CopyState): void {
  const { log, promise, durablePromise, role, primary, config } = state
  if (!state.isRecovered) return
  assert(log.appliedSeq <= log.commitSeq && log.commitSeq <= log.tail, 'I11: applied, committed, tail are in order')
  assert(log.durableSeq <= log.writtenSeq && log.writtenSeq <= log.tail, 'I5: durable, written, tail are in order')
  assert(lastSeqOf(log.window) === log.tail, 'I5: the window ends at the tail')
  assert(log.window.firstSeq <= log.appliedSeq + 1, 'I10: what is not applied is kept')
  for (let i = 1; i < log.epochs.length; i++) {
    const begun = log.epochs[i]!
    const former = log.epochs[i - 1]!
    assert(begun[0] > former[0] && begun[1] > former[1], 'I1: epochs only grow')
  }
  assert(promise.epoch >= durablePromise.epoch, 'I3: a promise never decreases')
  assert((primary !== undefined) === leads(role), 'only who leads has what a leader needs')
  if (primary === undefined) return
  assert(config !== undefined && config.config.primary === state.options.node, 'I1: who leads is named primary')
  assert(primary.epoch === config.config.epoch, 'I1: who leads does so under the epoch of its configuration')
  if (role === 'reconciling') return
  assert(state.consistency.state === 'consistent', 'I12: nothing inconsistent leads')
  assert(promise.epoch === primary.epoch, 'I3: a primary promised its own epoch')
  for (const node of primary.required) {
    const peer = primary.peers.get(node)
    if (peer?.fill !== undefined || peer?.failure !== undefined) continue
    assert(peer !== undefined && peer.storedSeq >= log.commitSeq, 'I6: committed is stored on every required copy')
  }
}
