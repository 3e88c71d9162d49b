/**
 * A copy's store in memory, honest about what a crash leaves. Everything it is told becomes an entry of a journal
 * (memory-journal.ts):
 *
 *   entries   [ durable | written: the page cache has it | told ]
 *              survives   survives the death of the       lost with the
 *              all        process, not a power cut        process
 *
 * A crash keeps a prefix of the journal, at least what it must; what is found is what the prefix adds up to. Dropped
 * records are not in it: they come back unless a later epoch record made them void, as in the real log.
 *
 * Nothing happens by itself: each thing under way is a task (plain data) that its driver finishes, in any order, which
 * gives the store's events. State is plain data, so that a model may copy it; it draws no random number.
 */
import { assert } from '../../../engine/assert.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { CopyFacts, CopyStore, StoreEvent, StoredCopy } from '../../../engine/replication/copy-store.ts'
import { SNAPSHOT_RUN_KIND } from '../../../engine/replication/messages.ts'
import type { OpenedSnapshot, SnapshotPlace } from '../../../engine/replication/messages.ts'
import { epochAt } from '../../../engine/replication/record-id.ts'
import type { BlockVersion, ReplicatedRecord, VersionId } from '../../../engine/replication/record.ts'
import { emptyView, enter, epochsOf, isSame, LOST_PAYLOAD, syncsByItself } from './memory-journal.ts'
import type { FillStart, JournalEntry, View } from './memory-journal.ts'
import { visibleAt } from './version-map.ts'

type ScanRange = Parameters<CopyStore['scan']>[1]
type MapRange = Parameters<CopyStore['mapSnapshot']>[2]
type MarkRange = Parameters<CopyStore['findMarks']>[1]

export type StoreTask = { id: number } & (
  | { type: 'write'; upTo: number }
  | { type: 'sync'; upTo: number }
  | { type: 'read'; token: number; lba: number; blockCount: number }
  | { type: 'read-snapshot'; token: number; snapshot: SnapshotPlace; lba: number; blockCount: number }
  | ({ type: 'map-snapshot'; token: number; snapshot: SnapshotPlace } & MapRange)
  | { type: 'look-up'; token: number; lbas: readonly number[] }
  | { type: 'count-beyond'; token: number; lba: number }
  | ({ type: 'scan'; token: number } & ScanRange)
  | { type: 'versions'; token: number; wanted: readonly VersionId[] }
  | ({ type: 'find-marks'; token: number } & MarkRange)
)

export interface MemoryStoreState {
  copyId: string
  sliceBlocks: number
  /** Made in mode `durable`. */
  autoSync: boolean
  initial: { facts: CopyFacts; sizeBlocks: number }
  entries: JournalEntry[]
  written: number
  durable: number
  /** Sync at least up to this entry. */
  syncWanted: number
  tasks: StoreTask[]
  nextTaskId: number
  view: View
  /** Of each seq that is not known to be durable: its entry. */
  entryOfSeq: Map<number, number>
  /** Calls of `dropAbove` and `startFill`. */
  drops: number
  /** Which boot of its machine this is. */
  boot: number
  lostSlices: number[]
  failed: boolean
  /** What the medium has not any more. Unset: nothing. */
  damaged?: VersionId[]
}

export interface NewMemoryStore {
  copyId: string
  sizeBlocks: number
  sliceBlocks: number
  autoSync: boolean
  facts: CopyFacts
}

export function newMemoryStore(options: NewMemoryStore): MemoryStoreState {
  const { copyId, sizeBlocks, sliceBlocks, autoSync, facts } = options
  return opened({ copyId, sliceBlocks, autoSync, initial: { facts, sizeBlocks }, entries: [] }, 1)
}

/** What is found after a crash that kept this many entries. Until it is told anew, it forgets no more trims. */
export function crashed(state: MemoryStoreState, kept: number, boot: number): MemoryStoreState {
  const { copyId, sliceBlocks, autoSync, initial, damaged } = state
  const entries: JournalEntry[] = [...state.entries.slice(0, kept), { type: 'trims', above: 0 }]
  return { ...opened({ copyId, sliceBlocks, autoSync, initial, entries }, boot), ...(damaged && { damaged }) }
}

type Durable = Pick<MemoryStoreState, 'copyId' | 'sliceBlocks' | 'autoSync' | 'initial' | 'entries'>

function opened(durable: Durable, boot: number): MemoryStoreState {
  const { facts, sizeBlocks } = durable.initial
  const view = emptyView(facts, sizeBlocks, durable.autoSync ? 'durable' : 'writeback')
  for (const entry of durable.entries) enter(view, entry, durable.sliceBlocks)
  const count = durable.entries.length
  return {
    ...durable,
    written: count,
    durable: count,
    syncWanted: count,
    tasks: [],
    nextTaskId: 1,
    view,
    entryOfSeq: new Map(),
    drops: 0,
    boot,
    lostSlices: [],
    failed: false,
  }
}

export class MemoryStore implements CopyStore {
  readonly state: MemoryStoreState

  constructor(state: MemoryStoreState) {
    this.state = state
  }

  recovered(): StoredCopy {
    const { copyId, view, boot, lostSlices } = this.state
    return {
      copyId,
      facts: view.facts,
      epochs: view.epochs.slice(),
      tail: view.tail,
      appliedSeq: view.appliedSeq,
      durability: view.durability,
      unapplied: view.unapplied.slice(),
      boot: String(boot),
      forgottenSeq: view.forgottenSeq,
      windows: view.windows,
      rollbacks: view.rollbacks.slice(),
      sliceCount: this.sliceCount,
      sizeBytes: view.sizeBlocks * BLOCK_BYTES,
      lostSlices: lostSlices.slice(),
    }
  }

  /** Of the head, for checks: it asks no task. */
  get view(): Readonly<View> {
    return this.state.view
  }

  // ---- CopyStore

  append(record: ReplicatedRecord): void {
    const { view, failed } = this.state
    if (failed) return
    const isEpoch = epochsOf(record) !== undefined
    assert(isEpoch ? record.seq <= view.tail + 1 : record.seq === view.tail + 1, 'a record follows the last one')
    assert(isEpoch || epochAt(view.epochs, record.seq) === record.epoch, 'a record is of the last epoch')
    assert(record.seq > view.appliedSeq, 'what is applied is not accepted again')
    this.enter({ type: 'record', record })
    this.state.entryOfSeq.set(record.seq, this.state.entries.length - 1)
  }

  dropAbove(seq: number): void {
    const { view } = this.state
    assert(seq >= view.appliedSeq, 'what is applied is not dropped')
    this.state.drops++
    if (seq >= view.tail) return
    view.unapplied = view.unapplied.filter((record) => record.seq <= seq)
    view.tail = seq
    // The epochs of what was dropped go with it; the epoch record that follows makes that durable.
    view.epochs = view.epochs.filter(([, firstSeq]) => firstSeq <= seq)
  }

  apply(seq: number, windows: unknown): void {
    const { view } = this.state
    assert(seq <= view.tail, 'only what is there is applied')
    if (seq >= view.appliedSeq) this.enter({ type: 'applied', seq, windows })
  }

  keep(token: number, facts: Partial<CopyFacts>): void {
    this.enter({ type: 'facts', token, facts })
    this.sync()
  }

  sync(): void {
    this.state.syncWanted = this.state.entries.length
    this.schedule()
  }

  read(token: number, lba: number, blockCount: number): void {
    this.addTask({ type: 'read', token, lba, blockCount })
  }

  snapshot(wanted: string): OpenedSnapshot | undefined {
    const { snapshots, epochs, sizeBlocks } = this.state.view
    const found = snapshots.find(({ id }) => id === wanted)
    if (found === undefined) return undefined
    const { id, seq } = found
    const sizeBytes = (found.sizeBlocks ?? sizeBlocks) * BLOCK_BYTES
    return { id, epoch: epochAt(epochs, seq), seq, name: id, sizeBytes }
  }

  readSnapshot(token: number, snapshot: SnapshotPlace, lba: number, blockCount: number): void {
    this.addTask({ type: 'read-snapshot', token, snapshot, lba, blockCount })
  }

  mapSnapshot(token: number, snapshot: SnapshotPlace, range: MapRange): void {
    this.addTask({ type: 'map-snapshot', token, snapshot, ...range })
  }

  lookUp(token: number, lbas: readonly number[]): void {
    this.addTask({ type: 'look-up', token, lbas })
  }

  countBeyond(token: number, lba: number): void {
    this.addTask({ type: 'count-beyond', token, lba })
  }

  slicesShown(): number {
    const { sizeBlocks, snapshots } = this.state.view
    const most = Math.max(sizeBlocks, ...snapshots.map((one) => one.sizeBlocks ?? 0))
    return Math.max(1, Math.ceil(most / this.state.sliceBlocks))
  }

  scan(token: number, range: ScanRange): void {
    this.addTask({ type: 'scan', token, ...range })
  }

  startFill(token: number, start: FillStart): void {
    this.state.drops++
    this.state.entryOfSeq.clear()
    this.enter({ type: 'fill-start', token, ...start })
    this.sync()
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    const marks = versions.filter(({ payload }) => payload?.data === LOST_PAYLOAD.data)
    if (marks.length > 0) this.state.damaged = [...(this.state.damaged ?? []), ...marks.map(idOf)]
    this.enter({ type: 'fill', token, versions })
    this.sync()
  }

  readVersions(token: number, wanted: readonly VersionId[]): void {
    this.addTask({ type: 'versions', token, wanted })
  }

  findMarks(token: number, range: MarkRange): void {
    this.addTask({ type: 'find-marks', token, ...range })
  }

  /** What is written anew is what is there. */
  repair(token: number, versions: readonly BlockVersion[]): void {
    const { damaged } = this.state
    if (damaged !== undefined) this.state.damaged = damaged.filter((id) => !versions.some((one) => isSame(one, id)))
    this.enter({ type: 'repair', versions })
    this.keep(token, {})
  }

  descriptor(): unknown {
    const { sizeBlocks, snapshots, rollbacks, epochs, appliedSeq, forgottenSeq, durability } = this.state.view
    const known = epochs.filter(([, firstSeq]) => firstSeq <= appliedSeq)
    return structuredClone({ sizeBlocks, snapshots, rollbacks, epochs: known, forgottenSeq, durability })
  }

  keepTrimsAbove(seq: number): void {
    if (seq !== this.state.view.trimsKeptAbove) this.enter({ type: 'trims', above: seq })
  }

  // ---- its driver

  /** End a task; `ok: false` is a failed read. Write and sync fail by `fail`. */
  finish(id: number, ok = true): StoreEvent[] {
    const { state } = this
    const at = state.tasks.findIndex((task) => task.id === id)
    assert(at >= 0, 'the task is under way')
    const [task] = state.tasks.splice(at, 1)
    switch (task!.type) {
      case 'write':
        state.written = Math.max(state.written, task!.upTo)
        this.schedule()
        return [this.stored()]
      case 'sync':
        return this.synced(task!.upTo)
      case 'read': {
        const { token, lba, blockCount } = task!
        return [{ type: 'read-ended', token, ...this.whole(ok ? this.readBlocks(lba, blockCount) : undefined) }]
      }
      case 'read-snapshot': {
        const { token, snapshot, lba, blockCount } = task!
        const isGone = !this.has(snapshot)
        const versions = ok && !isGone ? this.readBlocks(lba, blockCount, snapshot.seq) : undefined
        return [{ type: 'read-ended', token, ...this.whole(versions), isGone }]
      }
      case 'map-snapshot': {
        const { token, snapshot, since, lba, blockCount } = task!
        const isGone = !this.has(snapshot) || (since !== undefined && !this.has(since))
        const runs = ok && !isGone ? this.runsOf(snapshot.seq, since?.seq, lba, lba + blockCount) : []
        return [{ type: 'mapped', token, ok: ok && !isGone, runs, endLba: lba + blockCount, isGone }]
      }
      case 'look-up': {
        const { token, lbas } = task!
        const seqs = ok ? lbas.map((lba) => visibleAt(state.view, lba, Infinity)?.seq ?? 0) : []
        return [{ type: 'looked-up', token, ok, seqs }]
      }
      case 'count-beyond': {
        const { token, lba } = task!
        const beyond = [...state.view.blocks.keys()].filter((at) => at >= lba)
        const data = beyond.filter((at) => visibleAt(state.view, at, Infinity)?.kind === 'write')
        return [{ type: 'beyond-counted', token, ok, bytes: ok ? data.length * BLOCK_BYTES : 0 }]
      }
      case 'scan':
        return [this.scanned(task!, ok)]
      case 'versions': {
        const { token, wanted } = task!
        const versions = wanted.flatMap(({ lba, epoch, seq }) => {
          const all = ok ? (state.view.blocks.get(lba) ?? []) : []
          return all.filter((one) => one.kind === 'write' && one.seq === seq && one.epoch === epoch)
        })
        const rotten = versions.filter((version) => this.isRotten(version))
        const whole = versions.filter((version) => !this.isRotten(version))
        const unknown = ok ? [] : [...wanted]
        return [{ type: 'versions-read', token, versions: whole, damaged: rotten, unknown }]
      }
      case 'find-marks':
        return [this.marksFound(task!, ok)]
    }
  }

  fail(reason: string): StoreEvent[] {
    this.state.failed = true
    this.state.tasks = []
    return [{ type: 'store-failed', reason }]
  }

  /** Up to where a power cut now would leave the log. */
  get durableSeq(): number {
    return this.seqWithin(this.state.durable)
  }

  /** Every slice that has something, or may get it. */
  get sliceCount(): number {
    const { view, sliceBlocks } = this.state
    const endLba = [...view.blocks.keys()].reduce((end, lba) => Math.max(end, lba + 1), view.sizeBlocks)
    return Math.max(1, Math.ceil(endLba / sliceBlocks))
  }

  private enter(entry: JournalEntry): void {
    if (this.state.failed) return
    this.state.entries.push(entry)
    enter(this.state.view, entry, this.state.sliceBlocks)
    this.schedule()
  }

  private schedule(): void {
    const { state } = this
    const isUnderWay = (type: string) => state.tasks.some((task) => task.type === type)
    if (state.written < state.entries.length && !isUnderWay('write')) {
      this.addTask({ type: 'write', upTo: state.entries.length })
    }
    const wanted = syncsByItself(state.view) || state.syncWanted > state.durable
    if (wanted && state.durable < state.written && !isUnderWay('sync')) {
      this.addTask({ type: 'sync', upTo: state.written })
    }
  }

  private addTask(task: DistributiveOmit<StoreTask, 'id'>): void {
    if (!this.state.failed) this.state.tasks.push({ id: this.state.nextTaskId++, ...task } as StoreTask)
  }

  private synced(upTo: number): StoreEvent[] {
    const { state } = this
    const events: StoreEvent[] = []
    const from = state.durable
    state.durable = Math.max(state.durable, upTo)
    for (let i = from; i < state.durable; i++) {
      const entry = state.entries[i]!
      if ('token' in entry) events.push({ type: 'kept', token: entry.token })
    }
    for (const [seq, entry] of state.entryOfSeq) {
      if (entry >= state.durable) break
      state.entryOfSeq.delete(seq)
    }
    this.schedule()
    return [this.stored(), ...events]
  }

  private stored(): StoreEvent {
    const { written, durable, drops } = this.state
    return { type: 'stored', seq: this.seqWithin(written), durableSeq: this.seqWithin(durable), drops }
  }

  private seqWithin(entryCount: number): number {
    let seq = this.state.view.tail
    for (;;) {
      const entry = this.state.entryOfSeq.get(seq)
      if (entry === undefined || entry < entryCount) return seq
      seq--
    }
  }

  private has({ id, epoch, seq }: SnapshotPlace): boolean {
    const found = this.snapshot(id)
    return found !== undefined && found.epoch === epoch && found.seq === seq
  }

  private runsOf(seq: number, sinceSeq: number | undefined, first: number, end: number): number[] {
    const runs: number[] = []
    for (let lba = first; lba < end; lba++) {
      const shown = visibleAt(this.state.view, lba, seq)
      const since = sinceSeq === undefined ? undefined : visibleAt(this.state.view, lba, sinceSeq)
      const isZero = shown?.kind !== 'write'
      if (shown?.seq === since?.seq || (isZero && since?.kind !== 'write')) continue
      runs.push(lba, 1, isZero ? SNAPSHOT_RUN_KIND.hole : SNAPSHOT_RUN_KIND.data)
    }
    return runs
  }

  private readBlocks(lba: number, blockCount: number, point = Infinity): BlockVersion[] {
    const versions: BlockVersion[] = []
    for (let at = lba; at < lba + blockCount; at++) {
      const version = visibleAt(this.state.view, at, point)
      if (version !== undefined) versions.push(version)
    }
    return versions
  }

  /** Of all that it holds. */
  marks(): VersionId[] {
    const all = [...this.state.view.blocks.values()].flat()
    return all.filter(({ payload }) => payload?.data === LOST_PAYLOAD.data).map(idOf)
  }

  private marksFound(range: MarkRange & { token: number }, ok: boolean): StoreEvent {
    const { token, from = { lba: 0, seq: 0 }, most } = range
    const all = this.marks().sort((a, b) => a.lba - b.lba || a.seq - b.seq)
    const behind = ok ? all.filter(({ lba, seq }) => lba > from.lba || (lba === from.lba && seq >= from.seq)) : []
    return { type: 'marks-found', token, ok, ids: behind.slice(0, most), from: behind[most] }
  }

  /** Damaged, or a mark: that is none of the block, whatever a medium gives back. */
  private isRotten(version: BlockVersion): boolean {
    const { damaged = [] } = this.state
    return version.payload?.data === LOST_PAYLOAD.data || damaged.some((id) => isSame(id, version))
  }

  /** What a read answers: all of it, or what of it the medium has not any more. */
  private whole(
    versions: BlockVersion[] | undefined,
  ): { ok: boolean; versions: BlockVersion[]; damaged?: VersionId[] } {
    const rotten = (versions ?? []).filter((version) => this.isRotten(version))
    if (rotten.length > 0) return { ok: false, versions: [], damaged: rotten }
    return { ok: versions !== undefined, versions: versions ?? [] }
  }

  private scanned(range: ScanRange & { token: number }, ok: boolean): StoreEvent {
    const { token, slice, above, upTo, cursor, bytesMax } = range
    const first = Math.max(slice * this.state.sliceBlocks, cursor)
    const below = (slice + 1) * this.state.sliceBlocks
    const versions: BlockVersion[] = []
    let next: number | undefined
    let bytes = 0
    if (ok) {
      const lbas = [...this.state.view.blocks.keys()].filter((lba) => lba >= first && lba < below)
      for (const lba of lbas.sort((a, b) => a - b)) {
        if (bytes >= bytesMax) {
          next = lba
          break
        }
        for (const version of this.state.view.blocks.get(lba)!) {
          if (version.seq <= above || version.seq > upTo) continue
          versions.push(version)
          bytes += version.payload?.bytes ?? 64
        }
      }
    }
    const isLost = (id: VersionId): boolean => range.lost?.some((one) => isSame(one, id)) === true
    const rotten = versions.filter((version) => this.isRotten(version))
    const marks = rotten.filter(isLost).map((version) => ({ ...version, payload: LOST_PAYLOAD, isMark: true as const }))
    const others = versions.filter((version) => !marks.some((mark) => isSame(mark, version)))
    const whole = this.whole(ok ? others : undefined)
    const given = whole.ok ? [...whole.versions, ...marks].sort((a, b) => a.lba - b.lba || a.seq - b.seq) : []
    return { type: 'scanned', token, ...whole, versions: given, cursor: whole.ok ? next : undefined }
  }
}

const idOf = ({ lba, epoch, seq }: VersionId): VersionId => ({ lba, epoch, seq })

type DistributiveOmit<T, K extends string> = T extends unknown ? Omit<T, K> : never
