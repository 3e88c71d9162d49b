/**
 * A clone's copy gets blocks of its own for what it shares (cluster/reconcile/CLONES.md section 3), slice by slice:
 * what some view of it shows of its origin is written as versions under the ids it has; when all of a slice are durable
 * and in the map, a body says that the slice is not shared any more.
 *
 * Writes, trims and snapshots go on meanwhile, for versions take their place by id. A filling that begins ends what is
 * under way, for it may wipe what was looked at; and so does the end of the copy, which keeps no segment of a disk that
 * goes on.
 *
 * What cannot be read is gone past: the rest is written, and the slice stays shared and is looked at again, ever more
 * rarely while no fewer are left (they may be lost on every copy), and soon when something was repaired.
 *
 * Clients go first (hydration-pace.ts), unless a filling or a copy to be made waits for it.
 */
import { ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, seqOf } from '../log/entry.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { BlockVersion, DamagedId } from '../replication/record.ts'
import { runTask, until, type Task } from '../task.ts'
import { SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { blankVersion, fetchRun, readingOf, type FoundVersion } from './copy-reader.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { generationIn, type Origin } from './descriptor.ts'
import { UNPACED } from './hydration-pace.ts'
import { nextPage, PAGES_PER_SLICE, runOf, versionsOfPage } from './slice-scan.ts'

/** What was damaged may be repaired by then, or the filling that began be over. */
const RETRY_MS = 1000
/** Of what nobody could repair for long. */
const RETRY_MS_MAX = 120_000
/** A disk that gives so few of a slice is not asked for all of it. */
const UNREADABLE_MOST = 1024

interface Wish {
  /** Somebody waits for it. */
  isUrgent: boolean
  /** Blocks that could not be read when it was looked at last. */
  unreadable: number
  lookedAtMs: number
  /** From then to the next look. */
  waitMs: number
}

export const isShared = (origin: Origin | null, slice: number): boolean =>
  generationIn(origin?.[2] ?? [], slice) !== 0

export class CopyHydration {
  private readonly copy: LocalCopyStore
  /** By slice. */
  private readonly wanted = new Map<number, Wish>()
  private isRunning = false
  private isEnded = false
  private onEnded: () => void = () => {}
  /** Ends the time until the next look. */
  private wake: () => void = () => {}
  /** Ends the time until what was inserted is in the map. */
  private letGo: () => void = () => {}
  /** Blocks that this look at a slice had to leave. */
  private unreadable = 0

  constructor(copy: LocalCopyStore) {
    this.copy = copy
  }

  /**
   * Begin with those of the slices that are shared; `onUnshared` of the copy tells of each when it is done.
   * @param isUrgent  a volume lacks a copy for as long as it takes
   */
  want(slices: readonly number[], isUrgent = false): void {
    const { wanted, copy: { bodies, layout } } = this
    if (this.isEnded) return
    for (const slice of slices) {
      if (!isShared(bodies.origin, slice) || layout.target(slice * SLICE_BLOCKS) === undefined) continue
      const wish = wanted.get(slice) ?? { isUrgent, unreadable: 0, lookedAtMs: -Infinity, waitMs: 0 }
      wish.isUrgent ||= isUrgent
      wanted.set(slice, wish)
    }
    this.wake()
    if (this.isRunning || wanted.size === 0) return
    this.isRunning = true
    runTask(this.task(), () => {
      this.isRunning = false
      this.onEnded()
    })
  }

  /** Begin nothing any more. @param ended  run when nothing is under way; what is left is asked for after a start */
  end(ended: () => void): void {
    this.isEnded = true
    if (!this.isRunning) return ended()
    this.onEnded = ended
    this.wake()
    this.letGo()
  }

  get isUnderWay(): boolean {
    return this.isRunning
  }

  /** What waits to be looked at again may be whole by now. O(slices that are wanted). */
  lookAgain(): void {
    for (const wish of this.wanted.values()) {
      wish.unreadable = 0
      wish.waitMs = RETRY_MS
    }
    this.wake()
  }

  private *task(): Task<void> {
    const { bodies, o } = this.copy
    for (;;) {
      const next = this.next()
      if (next === undefined || this.isEnded || this.copy.failedReason !== '') return
      const { slice, wish } = next
      const waitMs = dueMs(wish) - o.clock.nowMs()
      if (waitMs > 0) {
        yield* this.pause(waitMs)
        continue
      }
      this.unreadable = 0
      if (yield* this.slice(slice)) {
        const isDurable = yield* until<boolean>((resume) => bodies.unshare(new Set([slice]), resume))
        if (!isDurable) return
        o.onUnshared(this.copy)
      } else this.setAside(wish)
    }
  }

  /** Of those that are due one that somebody waits for, before the others; else the one that is due next. */
  private next(): { slice: number; wish: Wish } | undefined {
    const nowMs = this.copy.o.clock.nowMs()
    let next: { slice: number; wish: Wish } | undefined
    for (const [slice, wish] of this.wanted) {
      if (!isShared(this.copy.bodies.origin, slice)) this.wanted.delete(slice)
      else if (next === undefined || isBefore(wish, next.wish, nowMs)) next = { slice, wish }
    }
    return next
  }

  private setAside(wish: Wish): void {
    const isStuck = wish.unreadable > 0 && this.unreadable >= wish.unreadable
    wish.waitMs = isStuck ? Math.min(2 * wish.waitMs, RETRY_MS_MAX) : RETRY_MS
    wish.unreadable = this.unreadable
    wish.lookedAtMs = this.copy.o.clock.nowMs()
  }

  private *pause(waitMs: number): Task<void> {
    const { clock } = this.copy.o
    yield* until<void>((resume) => {
      const timer = clock.after(waitMs, () => resume())
      this.wake = () => {
        this.wake = () => {}
        timer.cancel()
        // Not within what somebody else does.
        clock.after(0, () => resume())
      }
    })
    this.wake = () => {}
  }

  /** False when something could not be read, the copy failed, or a filling began: what was looked at may be wiped. */
  private *slice(slice: number): Task<boolean> {
    const { filling, layout } = this.copy
    const target = layout.target(slice * SLICE_BLOCKS)
    if (target === undefined || filling.isSettling) return false
    let isOver = false
    const forget = filling.whenBroken(() => (isOver = true))
    const isWhole = yield* this.pages(target, slice, () => isOver || this.isEnded)
    forget()
    return isWhole && this.unreadable === 0
  }

  private *pages(target: Target, slice: number, isOver: () => boolean): Task<boolean> {
    const end = (slice + 1) * PAGES_PER_SLICE
    for (let from = slice * PAGES_PER_SLICE; ;) {
      const page = yield* nextPage(target, from, end)
      if (page === undefined) return !isOver()
      if (page < 0) return false
      const found = yield* versionsOfPage(target, page, () => true)
      if (found === undefined) return false
      const shared = found.found.filter(({ owner }) => owner !== undefined)
      const isWhole = yield* this.chunks(target, slice, shared, isOver)
      found.release()
      if (!isWhole) return false
      from = page + 1
    }
  }

  private *chunks(
    target: Target, slice: number, shared: readonly FoundVersion[], isOver: () => boolean,
  ): Task<boolean> {
    const { pace } = this.copy.o
    for (let at = 0; at < shared.length;) {
      const turn = this.wanted.get(slice)?.isUrgent === true ? UNPACED : yield* pace.turn()
      try {
        if (isOver()) return false
        const chunk = shared.slice(at, at + turn.blocksMost)
        at += chunk.length
        const versions = yield* this.read(target, chunk)
        if (versions === undefined || isOver() || !(yield* this.insert(versions))) return false
      } finally {
        turn.end()
      }
    }
    return true
  }

  /** Without those that are damaged, which are told; undefined when the medium gives nothing. */
  private *read({ stream }: Target, shared: readonly FoundVersion[]): Task<BlockVersion[] | undefined> {
    const { reading } = this.copy
    const versions: BlockVersion[] = []
    // Up to where they are read by themselves, since some of a run cannot be.
    let oneByOne = 0
    for (let at = 0; at < shared.length;) {
      const { lba, words, owner } = shared[at]!
      if (kindOf(words, 0) !== ENTRY_KIND.data) {
        versions.push(blankVersion(words, 0, lba))
        at++
        continue
      }
      const most = oneByOne > at ? 1 : shared.length - at
      const run = runOf(shared, at, most)
      const damaged: DamagedId[] = []
      const payloads = yield* fetchRun(readingOf(reading, owner!), stream, lba, run.words, run.count, damaged)
      if (payloads === undefined) {
        if (stream.failed || this.unreadable >= UNREADABLE_MOST) return undefined
        if (run.count > 1) oneByOne = at + run.count
        else {
          this.tell(owner!, damaged)
          at++
        }
        continue
      }
      payloads.forEach((payload, i) => {
        const id = { epoch: epochOf(run.words, i * ENTRY_WORDS), seq: seqOf(run.words, i * ENTRY_WORDS) }
        versions.push({ ...id, lba: lba + i, kind: 'write', payload })
      })
      at += run.count
    }
    return versions
  }

  /** To all that can have it repaired: by other copies of the clone, and of the volume that it lies in. */
  private tell(owner: VolumeMap, damaged: readonly DamagedId[]): void {
    this.unreadable++
    this.copy.tellDamage(damaged)
    for (const id of damaged) owner.copy?.onDamaged(id)
  }

  /** False when a filling began or the copy failed before they were durable, or all is to end. */
  private *insert(versions: readonly BlockVersion[]): Task<boolean> {
    const { filling } = this.copy
    return yield* until<boolean>((resume) => {
      let isOver = false
      const end = (isWhole: boolean): void => {
        if (isOver) return
        isOver = true
        forget()
        this.letGo = () => {}
        resume(isWhole)
      }
      this.letGo = () => end(false)
      const forget = filling.whenBroken(() => end(false))
      filling.insert(versions, () => end(true))
    })
  }
}

const dueMs = ({ lookedAtMs, waitMs }: Wish): number => lookedAtMs + waitMs

function isBefore(a: Wish, b: Wish, nowMs: number): boolean {
  const [isDue, isOtherDue] = [dueMs(a) <= nowMs, dueMs(b) <= nowMs]
  if (isDue !== isOtherDue) return isDue
  return isDue ? a.isUrgent && !b.isUrgent : dueMs(a) < dueMs(b)
}
