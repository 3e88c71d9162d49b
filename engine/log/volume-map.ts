/**
 * The map state of one volume in one stream: which pages are in memory, which range tombstones and older versions wait.
 * Owned by `extent-map.ts`, which keeps its rules.
 */
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import { Views } from '../volume/views.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import { ChangeLog } from './change-log.ts'
import { CopyMap } from './copy-map.ts'
import { ENTRY_WORDS, type EntryKind } from './entry.ts'
import { HistoryChanges, type HistoryTally } from './history-changes.ts'

/** One page (256 blocks) of a head map in memory. All its entries are resolved. */
export class MapPage {
  readonly map: VolumeMap
  readonly page: number
  readonly words: Uint32Array
  /** One flag a block: changed since the last checkpoint took it. */
  readonly dirty = new Uint8Array(PAGE_BLOCKS)
  dirtyCount = 0
  /** It was loaded with unresolved deltas: the next checkpoint writes a base. */
  mustFold = false
  /** A checkpoint with its changes is under way: the index does not show them yet. */
  committing = false
  pins = 0
  /** For the clock hand of the cache. */
  used = true
  /** Checkpoint numbers of this page's keys in the index. */
  keys: number[] = []
  /** Entries in the deltas behind the base. */
  deltaEntries = 0
  /** A rollback was recorded since: hidden entries have to be replaced before the next use. */
  needsRewind = false

  constructor(map: VolumeMap, page: number, words: Uint32Array = new Uint32Array(PAGE_BLOCKS * ENTRY_WORDS)) {
    this.map = map
    this.page = page
    this.words = words
  }

  get firstLba(): number {
    return this.page * PAGE_BLOCKS
  }

  /** That the index does not show. */
  get hasChanges(): boolean {
    return this.dirtyCount > 0 || this.mustFold
  }

  markDirty(index: number): void {
    if (this.dirty[index] === 0) {
      this.dirty[index] = 1
      this.dirtyCount++
    }
  }
}

/** A zero or trim of whole pages whose effect is not yet in every page of its range. */
export interface Tombstone {
  firstPage: number
  endPage: number
  epoch: number
  seq: number
  kind: EntryKind
  segment: number
  bornBatch: number
  /** The segment that the index names; absent: it does not have it yet, or from before this opening. */
  savedSegment?: number
}

export class VolumeMap {
  /** Short number of the volume in this stream's index. */
  readonly number: number
  descriptor: VolumeDescriptor
  views: Views
  readonly pages = new Map<number, MapPage>()
  readonly loading = new Map<number, Array<(page: MapPage | undefined) => void>>()
  /** In order of seq. Those of a clone stay, because its holes show the origin. */
  tombstones: Tombstone[] = []
  /** Older versions some snapshot sees, as far as the index does not have them so. */
  history: HistoryChanges
  committingHistory = new HistoryChanges()
  readonly changes = new ChangeLog()
  /** What changed is known behind this seq: an index of before the log of changes has none of what it shows. */
  changesFrom = 0
  /** Of all versions that are kept: what they take, and how many they are. */
  usedUnits = 0
  usedBlocks = 0
  /** Where the newest control record lies. */
  controlSegment = -1
  controlBornBatch = 0
  appliedSeq = 0
  previousSeq = 0
  /** Something of what the index holds under `v` changed. */
  changed = true
  /** All pages were dropped after the deletion; what remains is the control record. */
  emptied = false
  /** Deleted, and another copy is being made over it: it stays, whatever its record says. */
  isTaken = false
  /** Older versions may have become dead: the history has to be swept. */
  sweepHistory = false
  /** How often views went, or a rollback came: what was swept before may have more to lose. */
  losses = 0
  /** Of a copy of a replicated volume. */
  readonly copy: CopyMap | undefined
  /** A zero or trim leaves an entry where there was none: below a hole something older may show, or come. */
  keepsZeroes: boolean

  constructor(number: number, descriptor: VolumeDescriptor, tally: HistoryTally) {
    this.number = number
    this.descriptor = descriptor
    this.history = new HistoryChanges(tally)
    this.views = new Views(descriptor)
    this.copy = descriptor.copy === undefined ? undefined : new CopyMap(descriptor.copy)
    this.keepsZeroes = keepsZeroes(descriptor)
  }

  get isDeleted(): boolean {
    return this.descriptor.deleted
  }

  /** Deleted, and no clone reads what is left of it. */
  get isGone(): boolean {
    return this.isDeleted && (this.descriptor.copy?.pins?.length ?? 0) === 0
  }

  get isClone(): boolean {
    return this.descriptor.origin !== null
  }

  setDescriptor(descriptor: VolumeDescriptor): void {
    const former = this.descriptor
    this.descriptor = descriptor
    const views = this.views.after(descriptor)
    const hasLost = views.lost(this.views)
    this.views = views
    this.keepsZeroes = keepsZeroes(descriptor)
    this.changed = true
    if (!descriptor.deleted) this.emptied = false
    // Here and not where it was asked for, so that roll-forward does the same.
    if (hasLost) this.sweepHistory = true
    const isRolledBack = former.rollbacks.length !== descriptor.rollbacks.length
    if (isRolledBack) for (const page of this.pages.values()) page.needsRewind = true
    if (hasLost || isRolledBack) this.losses++
  }

  /** Whether older versions may exist: some view wants them, or they wait for their sweep. */
  get hasHistory(): boolean {
    return this.views.keepsOlder || this.sweepHistory
  }
}

const keepsZeroes = (descriptor: VolumeDescriptor): boolean =>
  descriptor.origin !== null || descriptor.copy?.facts.consistency.state === 'filling'

/** Pages of all volumes share maps keyed by one number: 2^26 pages are 64 TiB. */
export const PAGES_MAX = 2 ** 26
export const SLICES_MAX = (PAGES_MAX * PAGE_BLOCKS) / SLICE_BLOCKS
export const pageKeyOf = (volume: number, page: number): number => volume * PAGES_MAX + page
