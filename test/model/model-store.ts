/**
 * The store of a copy, as small as the model needs it: a disk, what is on its way to it in order, and what the process
 * sees. Plain data.
 *
 *   disk      survives everything
 *   entries   on their way; `written` of them survive the death of the process, all or some may survive a power cut
 *   live      disk and entries together, without what was dropped since
 *
 * How far the map has come is written down lazily: a crash leaves the latest, or what it was when the process began.
 * Reads and scans see what is there when they are asked for: that they are answered late is covered by late messages.
 * What is dropped is dropped from `live` only: after a crash it is there again unless a later epoch record came behind
 * it (`limbo`: accepted, and void as far as is known).
 */
import { assert } from '../../engine/assert.ts'
import type { CopyFacts, CopyStore, StoreEvent, StoredCopy } from '../../engine/replication/copy-store.ts'
import { compareIds, epochAt } from '../../engine/replication/record-id.ts'
import type { EpochHistory } from '../../engine/replication/record-id.ts'
import type { BlockVersion, ReplicatedRecord, VersionId } from '../../engine/replication/record.ts'

export interface Disk {
  facts: CopyFacts
  epochs: Array<readonly [number, number]>
  tail: number
  appliedSeq: number
  windows: unknown
  records: ReplicatedRecord[]
  limbo: ReplicatedRecord[]
  blocks: Map<number, BlockVersion>
}

type FillStart = Parameters<CopyStore['startFill']>[1]

export type StoreEntry =
  | { type: 'record'; record: ReplicatedRecord }
  | { type: 'facts'; token: number; facts: Partial<CopyFacts> }
  | { type: 'fill-start'; token: number; start: FillStart }
  | { type: 'fill'; token: number; versions: readonly BlockVersion[] }

export interface ModelStoreState {
  copyId: string
  disk: Disk
  live: Disk
  entries: StoreEntry[]
  written: number
  /** Entries up to here are synced without being asked again. */
  syncWanted: number
}

export const SLICE_BLOCKS = 4

export function newModelStore(copyId: string): ModelStoreState {
  const disk = (): Disk => ({
    facts: {
      promise: { epoch: 0, primary: '' },
      attach: { brokenGeneration: 0, incarnations: [] },
      consistency: { state: 'consistent' },
    },
    epochs: [],
    tail: 0,
    appliedSeq: 0,
    windows: [],
    records: [],
    limbo: [],
    blocks: new Map(),
  })
  return { copyId, disk: disk(), live: disk(), entries: [], written: 0, syncWanted: 0 }
}

/** So many entries are kept by a crash, and how far the map was, or not. */
export function crash(state: ModelStoreState, kept: number, keepsApplied: boolean): void {
  for (const entry of state.entries.splice(0, kept)) enter(state.disk, entry)
  const { appliedSeq, windows } = state.live
  // A fill that did not begin leaves nothing of how far it was.
  const isOfFill = state.entries.some(({ type }) => type === 'fill-start')
  if (keepsApplied && !isOfFill) applyUpTo(state.disk, appliedSeq, windows)
  state.entries = []
  state.written = state.syncWanted = 0
  state.live = structuredClone(state.disk)
}

export function recover({ copyId, live }: ModelStoreState): StoredCopy {
  return {
    copyId,
    facts: live.facts,
    epochs: live.epochs,
    tail: live.tail,
    appliedSeq: live.appliedSeq,
    unapplied: live.records,
    boot: 'the only one',
    forgottenSeq: 0,
    windows: live.windows,
    rollbacks: [],
    sliceCount: 1,
    sizeBytes: SLICE_BLOCKS * 4096,
    sliceBlocks: SLICE_BLOCKS,
    lostSlices: [],
  }
}

/** The disk has this many entries more. */
export function complete(state: ModelStoreState, count: number): StoreEvent[] {
  const done = state.entries.splice(0, count)
  for (const entry of done) enter(state.disk, entry)
  state.written = Math.max(0, state.written - count)
  state.syncWanted = Math.max(0, state.syncWanted - count)
  const events: StoreEvent[] = [stored(state)]
  for (const entry of done) if ('token' in entry) events.push({ type: 'kept', token: entry.token })
  return events
}

/** The page cache has everything (mode `writeback`). */
export function write(state: ModelStoreState): StoreEvent[] {
  state.written = state.entries.length
  return [stored(state)]
}

function stored({ live, entries, written }: ModelStoreState): StoreEvent {
  return { type: 'stored', seq: seqBefore(live, entries.slice(written)), durableSeq: seqBefore(live, entries) }
}

/** The last record of which nothing is among these. */
function seqBefore(live: Disk, entries: readonly StoreEntry[]): number {
  const isMissing = (record: ReplicatedRecord): boolean =>
    entries.some(
      (entry) => entry.type === 'record' && entry.record.seq === record.seq && entry.record.epoch === record.epoch,
    )
  const missing = live.records.find(isMissing)
  return missing === undefined ? live.tail : missing.seq - 1
}

export class ModelStore implements CopyStore {
  readonly state: ModelStoreState
  /** What is answered at once, after the step. */
  readonly answers: StoreEvent[] = []

  private readonly mode: 'durable' | 'writeback'

  constructor(state: ModelStoreState, mode: 'durable' | 'writeback') {
    this.state = state
    this.mode = mode
  }

  append(record: ReplicatedRecord): void {
    const { live } = this.state
    const epochs = epochsOf(record)
    assert(epochs !== undefined || record.seq === live.tail + 1, 'a record follows the last one')
    assert(record.seq <= live.tail + 1, 'a record follows the last one')
    assert(epochs !== undefined || epochAt(live.epochs, record.seq) === record.epoch, 'it is of the last epoch')
    assert(record.seq > live.appliedSeq, 'what is applied is not accepted again')
    this.enter({ type: 'record', record })
  }

  dropAbove(seq: number): void {
    const { live } = this.state
    assert(seq >= live.appliedSeq, 'what is applied is not dropped')
    if (seq >= live.tail) return
    live.records = live.records.filter((record) => record.seq <= seq)
    live.tail = seq
    live.epochs = live.epochs.filter(([, firstSeq]) => firstSeq <= seq)
  }

  apply(seq: number, windows: unknown): void {
    const { live } = this.state
    assert(seq <= live.tail, 'only what is there is applied')
    applyUpTo(live, seq, structuredClone(windows))
  }

  keep(token: number, facts: Partial<CopyFacts>): void {
    this.enter({ type: 'facts', token, facts })
    this.sync()
  }

  sync(): void {
    if (this.mode === 'writeback') this.state.syncWanted = this.state.entries.length
  }

  read(token: number, lba: number, blockCount: number): void {
    const versions: BlockVersion[] = []
    for (let at = lba; at < lba + blockCount; at++) {
      const version = this.state.live.blocks.get(at)
      if (version !== undefined) versions.push(version)
    }
    this.answers.push({ type: 'read-ended', token, ok: true, versions })
  }

  /** Nobody reads snapshots here: they ask of no other copy, and change nothing. */
  snapshot(): undefined {
    return undefined
  }

  readSnapshot(): void {
    assert(false, 'a snapshot that nobody opened is not read')
  }

  mapSnapshot(): void {
    assert(false, 'a snapshot that nobody opened is not read')
  }

  lookUp(token: number, lbas: readonly number[]): void {
    const seqs = lbas.map((lba) => this.state.live.blocks.get(lba)?.seq ?? 0)
    this.answers.push({ type: 'looked-up', token, ok: true, seqs })
  }

  /** Nothing becomes smaller here. */
  countBeyond(): void {
    assert(false, 'no size is changed')
  }

  slicesShown(): number {
    return 1
  }

  scan(token: number, { above, upTo }: Parameters<CopyStore['scan']>[1]): void {
    const all = [...this.state.live.blocks.values()].sort((a, b) => a.lba - b.lba)
    const versions = all.filter(({ seq }) => seq > above && seq <= upTo)
    this.answers.push({ type: 'scanned', token, ok: true, versions, cursor: undefined })
  }

  startFill(token: number, start: FillStart): void {
    this.enter({ type: 'fill-start', token, start })
    this.sync()
  }

  fill(token: number, versions: readonly BlockVersion[]): void {
    this.enter({ type: 'fill', token, versions })
    this.sync()
  }

  readVersions(token: number, wanted: readonly VersionId[]): void {
    const versions = wanted.flatMap(({ lba, epoch, seq }) => {
      const one = this.state.live.blocks.get(lba)
      return one !== undefined && one.seq === seq && one.epoch === epoch ? [one] : []
    })
    this.answers.push({ type: 'versions-read', token, versions })
  }

  /** No copy has a mark here. */
  findMarks(): void {
    assert(false, 'nothing is looked for that no fill left out')
  }

  /** Nothing is damaged here. */
  repair(token: number): void {
    this.answers.push({ type: 'kept', token })
  }

  descriptor(): unknown {
    const { epochs, appliedSeq } = this.state.live
    return { epochs: epochs.filter(([, firstSeq]) => firstSeq <= appliedSeq) }
  }

  keepTrimsAbove(): void {}

  private enter(entry: StoreEntry): void {
    this.state.entries.push(structuredClone(entry))
    enter(this.state.live, structuredClone(entry))
  }
}

function epochsOf(record: ReplicatedRecord): EpochHistory | undefined {
  return record.kind === 'control' && record.change.operation === 'epoch' ? record.change.epochs : undefined
}

function enter(disk: Disk, entry: StoreEntry): void {
  switch (entry.type) {
    case 'record':
      return accept(disk, entry.record)
    case 'facts':
      disk.facts = { ...disk.facts, ...entry.facts }
      return
    case 'fill-start':
      return startFill(disk, entry.start)
    case 'fill':
      for (const version of entry.versions) insert(disk, version)
  }
}

function accept(disk: Disk, record: ReplicatedRecord): void {
  const epochs = epochsOf(record)
  if (epochs !== undefined && record.epoch > (disk.epochs.at(-1)?.[0] ?? 0)) {
    const candidates = [...disk.records, ...disk.limbo]
    const kept: ReplicatedRecord[] = []
    for (let seq = disk.appliedSeq + 1; seq < record.seq; seq++) {
      const found = candidates.find((one) => one.seq === seq && one.epoch === epochAt(epochs, seq))
      assert(found !== undefined, 'an epoch record follows what its history names')
      kept.push(found)
    }
    disk.records = [...kept, record]
    disk.limbo = []
    disk.epochs = epochs.map(([epoch, firstSeq]) => [epoch, firstSeq] as const)
    disk.tail = record.seq
  } else if (record.seq === disk.tail + 1 && record.epoch === (disk.epochs.at(-1)?.[0] ?? 0)) {
    disk.records.push(record)
    disk.tail = record.seq
  } else disk.limbo.push(record)
}

function applyUpTo(disk: Disk, seq: number, windows: unknown): void {
  if (seq < disk.appliedSeq || seq > disk.tail) return
  for (const record of disk.records) if (record.seq <= seq) put(disk, record)
  disk.records = disk.records.filter((record) => record.seq > seq)
  disk.appliedSeq = seq
  disk.windows = windows
}

function put(disk: Disk, record: ReplicatedRecord): void {
  if (record.kind === 'control') return
  const { epoch, seq, kind } = record
  const payload = kind === 'write' ? record.payload : undefined
  for (let i = 0; i < record.blockCount; i++) insert(disk, { epoch, seq, lba: record.lba + i, kind, payload })
}

function insert(disk: Disk, version: BlockVersion): void {
  const there = disk.blocks.get(version.lba)
  if (there === undefined || compareIds(there, version) < 0) disk.blocks.set(version.lba, version)
}

function startFill(disk: Disk, start: FillStart): void {
  const { fork, target, facts, wipe, windows, descriptor } = start
  if (fork > disk.appliedSeq) applyUpTo(disk, Math.min(fork, disk.tail), disk.windows)
  disk.records = []
  disk.limbo = []
  if (wipe.length > 0) disk.blocks.clear()
  disk.facts = { ...disk.facts, ...facts }
  const { epochs } = ('epochs' in start ? start : descriptor) as { epochs: EpochHistory }
  disk.epochs = epochs.map(([epoch, firstSeq]) => [epoch, firstSeq] as const)
  if (windows !== undefined) disk.windows = windows
  disk.tail = target
  disk.appliedSeq = target
}

/** What the death of the process leaves at least. */
export function survivingDisk({ disk, entries, written }: ModelStoreState): Disk {
  if (written === 0) return disk
  const surviving = structuredClone(disk)
  for (const entry of entries.slice(0, written)) enter(surviving, structuredClone(entry))
  return surviving
}

/** What a block holds when everything that is there is applied. */
export function contentOf(disk: Disk, lba: number): unknown {
  let newest: BlockVersion | ReplicatedRecord | undefined = disk.blocks.get(lba)
  for (const record of disk.records) {
    if (record.kind !== 'control' && record.lba <= lba && lba < record.lba + record.blockCount) newest = record
  }
  return newest?.kind === 'write' ? newest.payload!.data : 0
}
