/**
 * When the copies of a worker are scrubbed, and how fast (engine/replication/SCRUB.md): one at a time, each in its turn
 * by age, those that a user asked for first.
 *
 *   look, once a minute: which copies are there -> what they noted -> whose time has come -> pass -> look again
 *
 * What a user asks for does not wait for what runs by schedule: that is left where it is, noted, and goes on behind it.
 *
 * Foreground first: while clients or other copies ask anything of this worker, a scrub reads so many bytes a second and
 * no more; when nobody did for a second it reads as fast as it can.
 */
import type { ClockPort, LogPort } from '../../engine/ports.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import { runTask, until } from '../../engine/task.ts'
import { CopyScrub, type ScrubSummary, type ScrubTodo } from '../../engine/volume/copy-scrub.ts'
import type { Remains } from '../../engine/volume/copy-set.ts'
import type { LocalCopyStore } from '../../engine/volume/copy-store.ts'
import type { Exclusive } from '../../engine/volume/exclusive-bytes.ts'
import type { Foreground } from '../../engine/volume/foreground.ts'
import type { ScrubKind, ScrubTrack } from '../../engine/volume/scrub-note.ts'
import type { ScrubOptions } from './scrub-options.ts'
import type { StructureChecks } from './structure-checks.ts'

const HOUR_MS = 3_600_000
const LOOK_EVERY_MS = 60_000
/** Of one read while it is busy: a longer one would keep the disk from what others wait for. */
const BUSY_READ_BLOCKS = 32
/** What a page of the map counts, of which no data is read. */
const PAGE_BYTES = 16 * 1024
/** A copy that never was scrubbed is within this, or within its interval. */
const FIRST_MS = HOUR_MS
/** So much of an interval earlier than its end, by volume: those that were made together do not stay together. */
const SPREAD = 0.1
/** By so many intervals a scrub is overdue. */
const OVERDUE_INTERVALS = 2

export interface ScrubbedCopy {
  volumeId: string
  store: LocalCopyStore | undefined
  /** Set when it is what is left of one. */
  remains?: Remains
}

export interface ScrubberOptions extends ScrubOptions {
  clock: ClockPort
  /** Milliseconds since 1970. */
  wallMs(): number
  copies(): Iterable<ScrubbedCopy>
  foreground: Foreground
  log: LogPort
  /** Of its disks; unset: none are checked. */
  structures?: StructureChecks
}

/** Of a copy, for who looks from outside. */
export interface ScrubReport {
  light: ScrubSummary
  deep: ScrubSummary
  /** Asked for, and not begun yet. */
  isWaiting: boolean
  isOverdue: boolean
}

interface Known {
  volumeId: string
  remains: Remains | undefined
  scrub: CopyScrub
  /** Its notes are read. */
  isOpen: boolean
  seenAtMs: number
  /** Of the port's clock; the one healed longest ago is the next. */
  healedAtMs: number
  /** By kind: when a user asked for one that is still to come. */
  asked: Map<ScrubKind, number>
}

export class Scrubber {
  readonly #o: ScrubberOptions
  readonly #known = new Map<LocalCopyStore, Known>()
  #isRunning = false
  /** What runs was asked for, or is as good as done: nothing goes before it. */
  #isAsked = false
  #timer: { cancel(): void } | undefined
  #isStopped = false
  #onEnded: (() => void) | undefined
  /** A grant that waits for its time. */
  #waiting: { timer: { cancel(): void }; go: (goesOn: boolean) => void } | undefined
  #nextGrantMs = 0

  constructor(options: ScrubberOptions) {
    this.#o = options
    this.#timer = options.clock.after(0, () => this.#look())
  }

  /**
   * Scrub a copy now, or as soon as those that run have ended, with what is left of deleted ones that it reads. False:
   * it is not here, or cannot be served.
   */
  ask(volumeId: string, kind: ScrubKind): boolean {
    this.#meet()
    const known = [...this.#known.values()].find((one) => one.remains === undefined && one.volumeId === volumeId)
    if (known === undefined || known.scrub.copy.failedReason !== '') return false
    for (const one of [known, ...this.#remainsOf(volumeId)]) one.asked.set(kind, this.#o.wallMs())
    if (kind === 'deep') this.#o.structures?.ask(known.scrub.copy.targets.map(({ stream }) => stream))
    this.#lookSoon()
    return true
  }

  /** Undefined until its notes are read. */
  report(store: LocalCopyStore | undefined): ScrubReport | undefined {
    const known = store === undefined ? undefined : this.#known.get(store)
    if (known?.isOpen !== true) return undefined
    const { scrub } = known
    const [light, deep] = [scrub.summary('light'), scrub.summary('deep')]
    // Nobody else is told of what only its clones show.
    for (const one of this.#remainsOf(known.volumeId)) {
      const of = one.scrub.summary('deep')
      deep.unrepaired += of.unrepaired
      deep.counts.damaged += of.counts.damaged
    }
    return { light, deep, isWaiting: known.asked.size > 0, isOverdue: this.#isOverdue(known) }
  }

  /** What only the snapshot that stands there shows, as the last light scrub of the copy found. */
  exclusive(store: LocalCopyStore, seq: number): Exclusive {
    const known = this.#known.get(store)
    return known === undefined ? { bytes: 0, atMs: 0 } : known.scrub.exclusive.of(store.bodies.now, seq)
  }

  #remainsOf(volumeId: string): Known[] {
    return [...this.#known.values()].filter(({ remains }) => remains?.clones().includes(volumeId) === true)
  }

  /** No read begins any more; `done` when none is under way. */
  stop(done: () => void): void {
    this.#isStopped = true
    this.#timer?.cancel()
    for (const { scrub } of this.#known.values()) scrub.end()
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.timer.cancel()
    if (!this.#isRunning) return done()
    this.#onEnded = done
    waiting?.go(false)
  }

  // --- whose turn it is --------------------------------------------------------------------------------------------

  #lookSoon(): void {
    if (this.#isStopped) return
    this.#timer?.cancel()
    this.#timer = this.#o.clock.after(0, () => this.#look())
  }

  #look(): void {
    if (this.#isStopped) return
    this.#timer = this.#o.clock.after(LOOK_EVERY_MS, () => this.#look())
    this.#meet()
    if (this.#isRunning) return
    const next = this.#next()
    if (next !== undefined) return this.#begin(next.known, next.kind)
    // Copies may have something to heal at every look, a stream is checked as often as blocks are.
    const stream = this.#o.structures?.next()
    if (stream !== undefined) return this.#check(stream)
    const healing = [...this.#known.values()]
      .filter(({ isOpen, scrub }) => isOpen && scrub.copy.failedReason === '' && scrub.lost.mayHaveHealed)
      .sort((a, b) => a.healedAtMs - b.healedAtMs)
    if (healing.length > 0) this.#heal(healing[0]!)
  }

  #check(stream: StoreStream): void {
    this.#isRunning = true
    this.#isAsked = false
    const pace = {
      wait: (bytes: number) => until<boolean>((resume) => this.#pace(bytes, resume)),
      blocksMost: () => this.#blocksMost(),
    }
    runTask(this.#o.structures!.task(stream, pace), (isWhole) => this.#ended(isWhole))
  }

  /** Some copy that was asked for could begin. */
  get #isAnyAsked(): boolean {
    for (const known of this.#known.values()) if (known.asked.size > 0 && mayBegin(known)) return true
    return false
  }

  /** What was lost, or not repaired, may have been written over. */
  #heal(known: Known): void {
    this.#isRunning = true
    known.healedAtMs = this.#o.clock.nowMs()
    runTask(known.scrub.lost.healTask(), () => this.#ended(false))
  }

  /** Copies come and go. */
  #meet(): void {
    const there = new Set<LocalCopyStore>()
    for (const { volumeId, store, remains } of this.#o.copies()) {
      if (store === undefined) continue
      there.add(store)
      if (this.#known.has(store)) continue
      const scrub = new CopyScrub(store, {
        wallMs: this.#o.wallMs,
        pace: (bytes, go) => this.#pace(bytes, go),
        blocksMost: () => this.#blocksMost(),
        ...(this.#o.structures === undefined ? {} : { structures: this.#o.structures }),
        ...(remains === undefined ? {} : { tell: (versions) => remains.tellReaders(versions) }),
        onProblem: (problem) =>
          this.#o.log.event('error', 'the map of a copy and its segments do not agree', { volumeId, problem }),
      })
      const known: Known = {
        volumeId, remains, scrub, isOpen: false, seenAtMs: this.#o.wallMs(), healedAtMs: 0, asked: new Map(),
      }
      this.#known.set(store, known)
      store.onScrubSoon = () => {
        known.asked.set('deep', this.#o.wallMs())
        this.#lookSoon()
      }
      runTask(scrub.openTask(), () => {
        known.isOpen = true
        if (known.asked.size > 0) this.#lookSoon()
      })
    }
    for (const [store, { scrub }] of this.#known) {
      if (there.has(store)) continue
      scrub.end()
      this.#known.delete(store)
    }
  }

  #next(): { known: Known; kind: ScrubKind } | undefined {
    const nowMs = this.#o.wallMs()
    let best: { known: Known; kind: ScrubKind; atMs: number } | undefined
    for (const known of this.#known.values()) {
      if (!mayBegin(known)) continue
      for (const kind of ['deep', 'light'] as const) {
        const atMs = known.asked.has(kind) ? -Infinity : this.#dueAtMs(known, kind)
        if (atMs <= nowMs && (best === undefined || atMs < best.atMs)) best = { known, kind, atMs }
      }
    }
    return best
  }

  #dueAtMs(known: Known, kind: ScrubKind): number {
    const everyMs = this.#everyMs(kind)
    if (everyMs === Infinity) return Infinity
    return Math.min(...known.scrub.tracks(kind).map((track) => this.#trackDueAtMs(known, kind, track)))
  }

  #trackDueAtMs({ volumeId, scrub, seenAtMs }: Known, kind: ScrubKind, { running, endedAtMs }: ScrubTrack): number {
    const everyMs = this.#everyMs(kind)
    const share = shareOf(`${volumeId} ${scrub.copy.bodies.now.copy.copyId} ${kind}`)
    // One that was left goes on soon; what ended in the future counts for nothing.
    if (running !== undefined) return seenAtMs + share * Math.min(LOOK_EVERY_MS, everyMs)
    if (endedAtMs === 0 || endedAtMs > this.#o.wallMs()) return seenAtMs + share * Math.min(FIRST_MS, everyMs)
    return endedAtMs + everyMs * (1 - SPREAD * share)
  }

  #everyMs(kind: ScrubKind): number {
    const everyMs = kind === 'deep' ? this.#o.deepEveryMs : this.#o.lightEveryMs
    return everyMs === 0 ? Infinity : everyMs
  }

  #isOverdue({ scrub, seenAtMs }: Known): boolean {
    const { endedAtMs } = scrub.summary('deep')
    return this.#o.wallMs() - Math.max(endedAtMs, seenAtMs) > OVERDUE_INTERVALS * this.#everyMs('deep')
  }

  #begin(known: Known, kind: ScrubKind): void {
    const { scrub, volumeId, asked } = known
    const askedAtMs = asked.get(kind)
    asked.delete(kind)
    this.#isRunning = true
    // A light one is soon done, and begun anew it could not say what snapshots hold alone.
    this.#isAsked = askedAtMs !== undefined || kind === 'light'
    const nowMs = this.#o.wallMs()
    const todo = (track: ScrubTrack): ScrubTodo => {
      if (askedAtMs !== undefined) return 'anew'
      if (track.running !== undefined) return 'resume'
      return this.#trackDueAtMs(known, kind, track) <= nowMs ? 'anew' : 'nothing'
    }
    runTask(scrub.passTask(kind, todo), (isWhole) => {
      const { counts, unrepaired, lost } = scrub.summary(kind)
      if (isWhole && (counts.damaged > 0 || counts.problems > 0))
        this.#o.log.event('warn', `a ${kind} scrub found damage`, { volumeId, ...counts, unrepaired, lost })
      this.#ended(isWhole)
    })
  }

  #ended(isWhole: boolean): void {
    this.#isRunning = false
    if (this.#isStopped) return this.#onEnded?.()
    // One that could not go on is tried again at the next look.
    if (isWhole || this.#isAnyAsked) this.#lookSoon()
  }

  // --- how fast ----------------------------------------------------------------------------------------------------

  #blocksMost(): number {
    return this.#o.foreground.isBusy() ? BUSY_READ_BLOCKS : Infinity
  }

  #pace(bytes: number, go: (goesOn: boolean) => void): void {
    const { clock, foreground, busyBytesPerSecond } = this.#o
    const goesOn = (): boolean => !this.#isStopped && (this.#isAsked || !this.#isAnyAsked)
    const nowMs = clock.nowMs()
    const atMs = foreground.isBusy() ? Math.max(nowMs, this.#nextGrantMs) : nowMs
    this.#nextGrantMs = atMs + ((bytes === 0 ? PAGE_BYTES : bytes) / busyBytesPerSecond) * 1000
    // A timer of nothing is one of a millisecond.
    if (atMs <= nowMs) return clock.defer(() => go(goesOn()))
    const timer = clock.after(atMs - nowMs, () => {
      this.#waiting = undefined
      go(goesOn())
    })
    this.#waiting = { timer, go }
  }
}

/** Q3: it is there, and has all that it should. */
const mayBegin = ({ isOpen, scrub }: Known): boolean =>
  isOpen && scrub.copy.failedReason === '' && scrub.isConsistent

/** From 0 to 1, the same for the same words. */
function shareOf(words: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words.charCodeAt(i), 0x01000193) >>> 0
  return hash / 2 ** 32
}
