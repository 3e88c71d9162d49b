/**
 * A clone's copy gets blocks of its own for what it shares (cluster/reconcile/CLONES.md section 3), slice by slice:
 * what some view of it shows of its origin is written as versions under the ids it has; when all of a slice are durable
 * and in the map, a body says that the slice is not shared any more.
 *
 * Writes, trims and snapshots go on meanwhile, for versions take their place by id. A filling that begins ends what is
 * under way: it may wipe what was looked at. What cannot be read, or found no room, is tried again.
 *
 * Clients go first (hydration-pace.ts), unless a filling or a copy to be made waits for it.
 */
import { ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, seqOf } from '../log/entry.ts'
import type { BlockVersion, VersionId } from '../replication/record.ts'
import { runTask, until, type Task } from '../task.ts'
import { SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { blankVersion, fetchRun, readingOf, type FoundVersion } from './copy-reader.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { generationIn, type Origin } from './descriptor.ts'
import { UNPACED } from './hydration-pace.ts'
import { nextPage, PAGES_PER_SLICE, runOf, versionsOfPage } from './slice-scan.ts'

/** What was damaged may be repaired by then. */
const RETRY_MS = 1000

export const isShared = (origin: Origin | null, slice: number): boolean =>
  generationIn(origin?.[2] ?? [], slice) !== 0

export class CopyHydration {
  private readonly copy: LocalCopyStore
  /** Slices, and whether somebody waits for it. */
  private readonly wanted = new Map<number, boolean>()
  private isRunning = false

  constructor(copy: LocalCopyStore) {
    this.copy = copy
  }

  /**
   * Begin with those of the slices that are shared; `onUnshared` of the copy tells of each when it is done.
   * @param isUrgent  a volume lacks a copy for as long as it takes
   */
  want(slices: readonly number[], isUrgent = false): void {
    const { wanted, copy: { bodies, layout } } = this
    for (const slice of slices)
      if (isShared(bodies.origin, slice) && layout.target(slice * SLICE_BLOCKS) !== undefined)
        wanted.set(slice, isUrgent || wanted.get(slice) === true)
    if (this.isRunning || this.wanted.size === 0) return
    this.isRunning = true
    runTask(this.task(), () => {
      this.isRunning = false
    })
  }

  get isUnderWay(): boolean {
    return this.isRunning
  }

  private *task(): Task<void> {
    const { bodies, o } = this.copy
    for (;;) {
      const slice = this.next()
      if (slice === undefined || this.copy.failedReason !== '') return
      if (yield* this.slice(slice)) {
        const isDurable = yield* until<boolean>((resume) => bodies.unshare(new Set([slice]), resume))
        if (!isDurable) return
        o.onUnshared(this.copy)
      } else yield* until<void>((resume) => void o.clock.after(RETRY_MS, () => resume()))
    }
  }

  private next(): number | undefined {
    let next: number | undefined
    for (const [slice, isUrgent] of this.wanted) {
      if (!isShared(this.copy.bodies.origin, slice)) this.wanted.delete(slice)
      else if (isUrgent) return slice
      else next ??= slice
    }
    return next
  }

  /** False when something could not be read, or a filling began: what was looked at may be wiped. */
  private *slice(slice: number): Task<boolean> {
    const { filling, layout } = this.copy
    const target = layout.target(slice * SLICE_BLOCKS)
    if (target === undefined || filling.isSettling) return false
    let isOver = false
    const forget = filling.whenBegun(() => (isOver = true))
    const isWhole = yield* this.pages(target, slice, () => isOver)
    forget()
    return isWhole
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
      const turn = this.wanted.get(slice) === true ? UNPACED : yield* pace.turn()
      try {
        if (isOver()) return false
        const chunk = shared.slice(at, at + turn.blocksMost)
        at += chunk.length
        const damaged: VersionId[] = []
        const versions = yield* this.read(target, chunk, damaged)
        if (damaged.length > 0) this.copy.tellDamage(damaged)
        if (versions === undefined || isOver() || !(yield* this.insert(versions))) return false
      } finally {
        turn.end()
      }
    }
    return true
  }

  private *read(
    { stream }: Target, shared: readonly FoundVersion[], damaged: VersionId[],
  ): Task<BlockVersion[] | undefined> {
    const { reading } = this.copy
    const versions: BlockVersion[] = []
    for (let at = 0; at < shared.length;) {
      const { lba, words, owner } = shared[at]!
      if (kindOf(words, 0) !== ENTRY_KIND.data) {
        versions.push(blankVersion(words, 0, lba))
        at++
        continue
      }
      const run = runOf(shared, at, shared.length - at)
      const payloads = yield* fetchRun(readingOf(reading, owner!), stream, lba, run.words, run.count, damaged)
      if (payloads === undefined) return undefined
      payloads.forEach((payload, i) => {
        const id = { epoch: epochOf(run.words, i * ENTRY_WORDS), seq: seqOf(run.words, i * ENTRY_WORDS) }
        versions.push({ ...id, lba: lba + i, kind: 'write', payload })
      })
      at += run.count
    }
    return versions
  }

  /** False when a filling began before they were durable. */
  private *insert(versions: readonly BlockVersion[]): Task<boolean> {
    const { filling } = this.copy
    return yield* until<boolean>((resume) => {
      let isOver = false
      const end = (isWhole: boolean): void => {
        if (isOver) return
        isOver = true
        forget()
        resume(isWhole)
      }
      const forget = filling.whenBegun(() => end(false))
      filling.insert(versions, () => end(true))
    })
  }
}
