/**
 * A scrub of one copy (engine/replication/SCRUB.md): its disks one after the other, each from where the last one was
 * left to its end.
 *
 *   window -> damaged? -> told to the machine of the copy, as if a read had met it -> repaired | waited for no longer
 *          -> noted, now and then -> next window
 *
 * - Q1 a scrub changes nothing: what it finds is repaired the one way there is (SPEC.md D2 to D4), and what is not
 *   repaired is counted, and found again by the next one.
 * - Q2 a block counts as repaired when it was read from the medium again, or no view shows it any more.
 */
import { READ_BLOCKS, type Pace } from '../log/medium-pace.ts'
import type { StructureWatch } from '../log/structure-check.ts'
import { until, type Task } from '../task.ts'
import type { DamagedId } from '../replication/record.ts'
import { BLOCK_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { FoundVersion } from './copy-reader.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { walkDeep, type DeepSteps } from './deep-walk.ts'
import type { WindowLimits } from './deep-window.ts'
import { ExclusiveBytes } from './exclusive-bytes.ts'
import { walkLight } from './light-walk.ts'
import { LostBlocks, without } from './lost-blocks.ts'
import { lookAgain, type LookedAt } from './medium-blocks.ts'
import {
  noCounts, readScrubNote, writeScrubNote, type RunningScrub, type ScrubCounts, type ScrubKind, type ScrubNote,
  type ScrubTrack,
} from './scrub-note.ts'

/** What a scrub needs of whoever runs it. */
export interface ScrubPort {
  /** Wall clock, milliseconds since 1970; for people and schedules. */
  wallMs(): number
  /** Run `go(true)` when so many bytes may be read, or the next page be looked at; `go(false)`: the scrub ends here. */
  pace(bytes: number, go: (goesOn: boolean) => void): void
  /** Blocks that one read may have at the most now; unset: as many as one has. */
  blocksMost?(): number
  /**
   * Of remains, which have no machine: tell whoever reads them of damage, and say which of it somebody reads. Unset:
   * the machine of the copy is told.
   */
  tell?(versions: readonly DamagedId[]): Task<DamagedId[]>
  /** Of memory, for tests; unset: what there is for it. */
  limits?: WindowLimits
  /** Structures of segments, which a deep one looks at along the way; unset: it does not. */
  structures?: StructureWatch
  /** Map and segments of the copy do not agree. */
  onProblem(problem: string): void
}

/** Of all disks of a copy. */
export interface ScrubSummary {
  /** Since when all of it was looked at, wall clock; 0: not all of it was. */
  endedAtMs: number
  /** One is under way, or was when the process ended. */
  isRunning: boolean
  /** How far that is, as a share of its blocks; 0 when there is none. */
  doneShare: number
  /** Of the last that ended on each disk, or of the one under way where that found more. */
  counts: ScrubCounts
  /** Damaged blocks that could not be repaired so far (1,024 of a disk at the most). */
  unrepaired: number
  /** Blocks that no member has any more, as each of them said (1,024 of a disk at the most). */
  lost: number
}

/** Whether a disk is looked at, going on with what was begun or not. */
export type ScrubTodo = 'resume' | 'anew' | 'nothing'

/** Damaged blocks that are waited for at a time. */
const TOLD_MOST = 64
/** For how long; a member may be away that has them. */
const REPAIR_WAIT_MS = 10_000
const LOOK_FIRST_MS = 20
const LOOK_MOST_MS = 250
/** Of a disk, those not repaired that are noted. */
const LEFT_MOST = 1024
/** What was found. */
const STILL_THERE: readonly LookedAt[] = ['damaged', 'marked']
const NOTE_EVERY_MS = 10_000
/** What is stored when a deep scrub begins is applied by then, unless the volume is held. */
const APPLY_WAIT_MS = 10_000
const APPLY_LOOK_MS = 100

interface Pass {
  kind: ScrubKind
  targets: Target[]
  at: Target | undefined
  /** Looked at there since that was counted with what it notes. */
  blocks: number
  /** Found in the map there, to be looked at. */
  counted: number
}

/** What it takes to find a block in the map, beside reading it: 16 KiB a page of 256 (SCRUB.md Q8). */
const COUNT_SHARE = 1 / 64

export class CopyScrub {
  readonly copy: LocalCopyStore
  readonly lost: LostBlocks
  readonly exclusive = new ExclusiveBytes()
  private readonly port: ScrubPort
  private readonly notes = new Map<Target, ScrubNote>()
  private notedAtMs = -Infinity
  private isEnding = false
  /** The one under way, and where it is. */
  private pass: Pass | undefined

  constructor(copy: LocalCopyStore, port: ScrubPort) {
    this.copy = copy
    this.port = port
    this.lost = new LostBlocks(copy, this.notes)
  }

  /** Read what former ones noted. Once, before anything else. */
  *openTask(): Task<void> {
    const { copyId } = this.copy.bodies.now.copy
    for (const target of this.copy.targets) this.notes.set(target, yield* readScrubNote(target, copyId))
  }

  /** A pass that is under way comes to its end soon, and is noted. */
  end(): void {
    this.isEnding = true
  }

  /** Q3: what is not there yet is no damage. */
  get isConsistent(): boolean {
    return this.copy.bodies.now.copy.facts.consistency.state === 'consistent'
  }

  private get isOver(): boolean {
    return this.isEnding || this.copy.failedReason !== ''
  }

  tracks(kind: ScrubKind): ScrubTrack[] {
    return [...this.notes.values()].map((note) => note[kind])
  }

  summary(kind: ScrubKind): ScrubSummary {
    const tracks = this.tracks(kind)
    const counts = noCounts()
    for (const { last, running } of tracks)
      for (const name of Object.keys(counts) as Array<keyof ScrubCounts>)
        counts[name] += Math.max(last[name], running?.[name] ?? 0)
    return {
      endedAtMs: tracks.length === 0 ? 0 : Math.min(...tracks.map(({ endedAtMs }) => endedAtMs)),
      isRunning: this.pass?.kind === kind || tracks.some(({ running }) => running !== undefined),
      doneShare: this.doneShare(kind),
      counts,
      unrepaired: [...this.notes.values()].reduce((sum, { left }) => sum + left.length, 0),
      lost: this.lost.count,
    }
  }

  /** What is written meanwhile may be more than there was. */
  private doneShare(kind: ScrubKind): number {
    const { pass } = this
    let [done, all] = [0, 0]
    for (const [target, note] of this.notes) {
      const { running, last } = note[kind]
      const isOfPass = pass?.kind === kind && pass.targets.includes(target)
      if (running === undefined && !isOfPass) continue
      const stored = target.stream.map.usage(target.map).logicalBytes / BLOCK_BYTES
      const blocks = kind === 'deep' ? stored * (1 + COUNT_SHARE) : stored
      const sinceNoted = isOfPass && pass.at === target ? pass.blocks + pass.counted * COUNT_SHARE : 0
      const isDone = isOfPass && pass.targets.indexOf(target) < pass.targets.indexOf(pass.at ?? target)
      done += running === undefined ? (isDone ? last.blocks : 0) : running.blocks + sinceNoted
      all += Math.max(blocks, isDone ? last.blocks : 0)
    }
    return all === 0 ? 0 : Math.min(1, done / all)
  }

  /**
   * Look at every disk of which `todo` says so. False: it was ended before, by the port or because it could not go on;
   * what was done is noted.
   */
  *passTask(kind: ScrubKind, todo: (track: ScrubTrack) => ScrubTodo): Task<boolean> {
    const pass: Pass = { kind, targets: [], at: undefined, blocks: 0, counted: 0 }
    this.pass = pass
    if (kind === 'deep') yield* this.whenApplied()
    const todos = [...this.notes].map(([target, note]) => ({ target, note, what: todo(note[kind]) }))
    if (kind === 'light') {
      const { copy, port } = this
      // What a former process looked at is not known here.
      if (todos.every(({ what }) => what === 'anew')) {
        this.exclusive.begin(copy.bodies.now, copy.appliedSeq, port.wallMs())
      } else this.exclusive.abandon()
    }
    const wanted = todos.filter(({ what }) => what !== 'nothing')
    pass.targets = wanted.map(({ target }) => target)
    for (const { target, note, what } of wanted) {
      if (what === 'anew') delete note[kind].running
      pass.at = target
      pass.blocks = 0
      pass.counted = 0
      const ended = yield* this.disk(kind, target, note)
      yield* writeScrubNote(target, note)
      if (ended) continue
      if (kind === 'light') this.exclusive.abandon()
      this.pass = undefined
      return false
    }
    if (kind === 'light') this.exclusive.end()
    this.pass = undefined
    return true
  }

  /**
   * Q4: a pass sees what is applied. A replica hears of commits with beacons, so what is stored now is applied soon; of
   * a volume that is held it may never be, and no pass waits for that.
   */
  private *whenApplied(): Task<void> {
    const { clock } = this.copy.o
    const { storedSeq } = this.copy.queue
    const untilMs = clock.nowMs() + APPLY_WAIT_MS
    while (this.copy.appliedSeq < storedSeq && clock.nowMs() < untilMs && !this.isOver)
      yield* until<void>((resume) => void clock.after(APPLY_LOOK_MS, () => resume()))
  }

  private *disk(kind: ScrubKind, target: Target, note: ScrubNote): Task<boolean> {
    const track = note[kind]
    const { port } = this
    if (kind === 'deep' && track.running === undefined) note.left = []
    const running = (track.running ??= { ...noCounts(), beganAtMs: port.wallMs(), nextPage: 0 })
    const isWhole = kind === 'deep' ? yield* this.deep(target, note, running) : yield* this.light(target, note, running)
    if (!isWhole) return false
    // Who has them may be there now, or have been asked by a process that is gone.
    note.left = (yield* this.repaired(target, note.left)).left
    if (kind === 'deep' && note.left.length < LEFT_MOST)
      yield* this.lost.foundOnly(note, (ids) => this.stillPaced(target, ids))
    const { blocks, damaged, problems } = running
    track.last = { blocks, damaged, problems }
    track.endedAtMs = port.wallMs()
    delete track.running
    return true
  }

  private *deep(target: Target, note: ScrubNote, running: RunningScrub): Task<boolean> {
    const { copy, port } = this
    const steps: DeepSteps = {
      pace: this.paceTask,
      damaged: (ids) => this.met(target, note, running, ids),
      isDue: () => this.isNoteDue,
      looked: (blocks) => {
        if (this.pass !== undefined) this.pass.blocks += blocks
      },
      counted: (blocks) => {
        if (this.pass !== undefined) this.pass.counted += blocks
      },
      ...(port.structures === undefined ? {} : { structures: port.structures }),
      reached: ({ nextPage, within }, blocks) => {
        running.blocks += blocks
        if (this.pass !== undefined) this.pass.blocks = 0
        running.nextPage = nextPage
        if (within === undefined) delete running.within
        else running.within = within
        return this.noteNowAndThen(target, note)
      },
    }
    return yield* walkDeep(copy.reading, target, running, steps, port.limits)
  }

  /** What was left of a segment that was not looked at to its end is met again. */
  private *met(target: Target, note: ScrubNote, running: RunningScrub, ids: readonly DamagedId[]): Task<void> {
    const { told, left } = yield* this.repaired(target, without(ids, note.left))
    running.damaged += told
    note.left = [...note.left, ...left].slice(0, LEFT_MOST)
  }

  private *light(target: Target, note: ScrubNote, running: RunningScrub): Task<boolean> {
    const each = (versions: readonly FoundVersion[]): void => this.exclusive.add(target.map, versions)
    for (;;) {
      const walked = yield* walkLight(target, running.nextPage, this.paceTask, each)
      if (walked === undefined) return false
      running.blocks += walked.blocks
      running.problems += walked.problems.length
      for (const problem of walked.problems) this.port.onProblem(problem)
      if (walked.nextPage === undefined) return true
      running.nextPage = walked.nextPage
      yield* this.noteNowAndThen(target, note)
    }
  }

  /** Have them repaired. @returns how many somebody reads, without marks, and all that were not in time */
  private *repaired(target: Target, found: readonly DamagedId[]): Task<{ told: number; left: DamagedId[] }> {
    const left: DamagedId[] = []
    let told = 0
    const isAlone = this.copy.bodies.pins.length === 0 || this.port.tell !== undefined
    const damaged = isAlone ? found : yield* this.copy.ownDamage(found)
    const { clock } = this.copy.o
    for (let at = 0; at < damaged.length; at += TOLD_MOST) {
      let waiting = damaged.slice(at, at + TOLD_MOST)
      if (this.port.tell === undefined) this.copy.tellDamage(waiting)
      else waiting = yield* this.port.tell(waiting)
      told += waiting.filter(({ isMark }) => isMark !== true).length
      if (waiting.length === 0) continue
      const untilMs = clock.nowMs() + REPAIR_WAIT_MS
      for (let delayMs = LOOK_FIRST_MS; ; delayMs = Math.min(2 * delayMs, LOOK_MOST_MS)) {
        yield* until<void>((resume) => void clock.after(delayMs, () => resume()))
        waiting = yield* this.still(target, waiting)
        if (waiting.length === 0 || clock.nowMs() >= untilMs || this.isOver) break
      }
      left.push(...waiting)
    }
    return { told, left }
  }

  private *still(target: Target, damaged: readonly DamagedId[]): Task<DamagedId[]> {
    const left: DamagedId[] = []
    for (const id of damaged) {
      const isLeft = this.isOver || STILL_THERE.includes(yield* lookAgain(this.copy.reading, target, id))
      if (isLeft) left.push(id)
    }
    return left
  }

  private *stillPaced(target: Target, ids: readonly DamagedId[]): Task<DamagedId[]> {
    const left: DamagedId[] = []
    for (const id of ids) {
      const isLeft = !(yield* this.paced(BLOCK_BYTES)) || (yield* this.still(target, [id])).length > 0
      if (isLeft) left.push(id)
    }
    return left
  }

  private get isNoteDue(): boolean {
    return this.copy.o.clock.nowMs() - this.notedAtMs >= NOTE_EVERY_MS
  }

  private *noteNowAndThen(target: Target, note: ScrubNote): Task<void> {
    if (!this.isNoteDue) return
    this.notedAtMs = this.copy.o.clock.nowMs()
    yield* writeScrubNote(target, note)
  }

  private readonly paceTask: Pace = {
    wait: (bytes) => this.paced(bytes),
    blocksMost: () => this.port.blocksMost?.() ?? READ_BLOCKS,
  }

  private *paced(bytes: number): Task<boolean> {
    if (this.isOver || !this.isConsistent) return false
    return yield* until<boolean>((resume) => this.port.pace(bytes, resume))
  }
}
