/**
 * Damage in blocks that copies of one store share (cluster/reconcile/CLONES.md B8): a block of the origin that a clone
 * shows may be mended by copies of either volume, and neither's machine asks the other's.
 *
 *   a read meets it -> told to the machines of both -> mended by either: read again
 *                                                   -> the origin's knows nobody who has it, or is silent: damaged
 *
 * Only then the machine of the clone has the word, whose members may all be asked by then; without a wait a clone of
 * one copy would lose what its origin has twice more.
 */
import type { VolumeMap } from '../log/volume-map.ts'
import type { DamagedId, VersionId } from '../replication/record.ts'
import { runTask, until, type Task } from '../task.ts'
import { SLICE_BLOCKS } from '../units.ts'
import { levelsBelow } from './copy-base.ts'
import type { Mended } from './copy-repair.ts'
import type { LocalCopyStore } from './copy-store.ts'

/** A version that could not be read; `owner`: of what a clone shares, whose map it is in. */
export interface MetDamage extends DamagedId {
  owner?: VolumeMap
}

interface SharedId extends MetDamage {
  owner: VolumeMap
}

/**
 * For the copies of an origin, in all of one read; a member of theirs may be away that has it. For as long after that
 * nobody waits for them, for a machine reads once more before it says that a block is lost.
 */
const OWNER_WAIT_MS = 10_000

interface Wait {
  reader: LocalCopyStore
  met: readonly SharedId[]
  /** Of which the owner has not said yet that nobody has it. */
  left: SharedId[]
  end(isMended: boolean): void
}

export interface SharedDamageOptions {
  /** Of every copy that the store knows of, served or not. */
  copies(): Iterable<LocalCopyStore>
  /** Whether a machine has the copy, which is told of damage. */
  isServed(copy: LocalCopyStore): boolean
}

const isSame = (a: VersionId, b: VersionId): boolean => a.lba === b.lba && a.seq === b.seq && a.epoch === b.epoch
const isAmong = (ids: readonly VersionId[], id: VersionId): boolean => ids.some((one) => isSame(one, id))
const isShared = (one: MetDamage): one is SharedId => one.owner !== undefined
const has = ({ targets }: LocalCopyStore, map: VolumeMap): boolean => targets.some((target) => target.map === map)

export class SharedDamage {
  private readonly o: SharedDamageOptions
  private readonly waits = new Set<Wait>()
  /** What owners were silent about. */
  private silent: Array<{ one: SharedId; untilMs: number }> = []
  private isEnded = false

  constructor(options: SharedDamageOptions) {
    this.o = options
  }

  /**
   * Have machines mend what a read of `reader` met in what it shares.
   * @returns whether something of it was mended before `untilMs`; else copies of its owners do not have it, as they
   *     say, or nothing is heard of them
   */
  *whenMended(reader: LocalCopyStore, met: readonly SharedId[], untilMs: number): Task<boolean> {
    const { clock } = reader.o
    if (this.isEnded || clock.nowMs() >= untilMs) return false
    this.silent = this.silent.filter((silent) => silent.untilMs > clock.nowMs())
    const isSilent = ({ owner, ...id }: SharedId): boolean =>
      this.silent.some(({ one }) => one.owner === owner && isSame(one, id))
    const wait: Wait = { reader, met, left: met.filter((one) => !isSilent(one)), end: () => {} }
    let isMended: boolean | undefined
    wait.end = (isSo) => (isMended ??= isSo)
    this.waits.add(wait)
    reader.tellDamage(met.map(idOf))
    for (const owner of new Set(met.map((one) => one.owner))) {
      const copy = [...this.o.copies()].find((one) => has(one, owner) && this.o.isServed(one))
      const ids = met.filter((one) => one.owner === owner).map(idOf)
      const own = copy === undefined ? [] : yield* copy.haveMended(ids)
      // Of the rest copies of the owner need not have anything.
      wait.left = wait.left.filter((one) => one.owner !== owner || isAmong(own, one))
    }
    if (isMended === undefined && wait.left.length > 0)
      yield* until<void>((resume) => {
        const timer = clock.after(untilMs - clock.nowMs(), () => {
          const nowMs = clock.nowMs()
          this.silent.push(...wait.left.map((one) => ({ one, untilMs: nowMs + OWNER_WAIT_MS })))
          wait.end(false)
        })
        wait.end = (isSo) => {
          if (isMended !== undefined) return
          isMended = isSo
          timer.cancel()
          // Not within what somebody else does.
          clock.defer(resume)
        }
      })
    this.waits.delete(wait)
    return isMended === true
  }

  /** All other members of its volume were asked by the machine of a copy. @returns what is lost to it so far */
  lost(copy: LocalCopyStore, versions: readonly VersionId[]): VersionId[] {
    const awaited = [...this.waits].filter(({ reader }) => reader === copy).flatMap(({ left }) => left)
    for (const wait of this.waits) {
      wait.left = wait.left.filter((one) => !has(copy, one.owner) || !isAmong(versions, one))
      if (wait.left.length === 0) wait.end(false)
    }
    return versions.filter((id) => !isAmong(awaited, id))
  }

  /** A copy has written these anew, each in the map it is in: they are whole for all that show them. */
  mended(mended: readonly Mended[]): void {
    for (const wait of this.waits)
      if (wait.met.some((one) => mended.some(({ id, map }) => map === one.owner && isSame(id, one)))) wait.end(true)
    for (const copy of this.o.copies()) {
      const shown = mended.filter((one) => isShownBy(copy, one)).map(({ id }) => id)
      if (shown.length > 0) copy.onRepaired(shown)
    }
  }

  /** Wait for nobody any more. */
  end(): void {
    this.isEnded = true
    for (const wait of this.waits) wait.end(false)
  }
}

/** By the slice; whether a view of a clone shows the very block does not matter to who has not lost it. */
function isShownBy({ layout }: LocalCopyStore, { id, map }: Mended): boolean {
  const target = layout.target(id.lba)
  if (target === undefined) return false
  if (target.map === map) return true
  const levels = levelsBelow(target.stream, target.map, Math.floor(id.lba / SLICE_BLOCKS)) ?? []
  return levels.some((level) => level.map === map && id.seq <= level.viewSeq)
}

/**
 * Read once, and again for as long as what was met damaged is the origin's and gets mended.
 * @param ended  with what was found; without, with what could not be read, if that is why
 */
export function readMended<T>(
  copy: LocalCopyStore,
  read: (damaged: MetDamage[]) => Task<T | undefined>,
  ended: (found: T | undefined, damaged: DamagedId[]) => void,
): void {
  const met: MetDamage[] = []
  runTask(read(met), (found) => {
    if (found !== undefined || !met.some(isShared)) ended(found, met)
    else runTask(again(copy, read, met), ([mended, damaged]) => ended(mended, damaged.map(idOf)))
  })
}

function* again<T>(
  copy: LocalCopyStore,
  read: (damaged: MetDamage[]) => Task<T | undefined>,
  first: readonly MetDamage[],
): Task<[found: T | undefined, damaged: readonly MetDamage[]]> {
  const { clock, sharedDamage } = copy.o
  const untilMs = clock.nowMs() + OWNER_WAIT_MS
  for (let damaged = first; ;) {
    const shared = damaged.filter(isShared)
    if (shared.length === 0 || !(yield* sharedDamage.whenMended(copy, shared, untilMs))) return [undefined, damaged]
    const met: MetDamage[] = []
    const found = yield* read(met)
    if (found !== undefined) return [found, met]
    damaged = met
  }
}

function idOf({ lba, epoch, seq, isMark }: MetDamage): DamagedId {
  return { lba, epoch, seq, ...(isMark === true ? { isMark } : {}) }
}
