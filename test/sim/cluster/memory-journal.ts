/**
 * The journal of a copy's store in memory (memory-store.ts), and what its entries add up to: accepted records until an
 * epoch record says which of them count, the map as of the applied seq, facts, and what a filling brought.
 */
import { assert } from '../../../engine/assert.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { CopyFacts, CopyStore } from '../../../engine/replication/copy-store.ts'
import { epochAt, type EpochHistory } from '../../../engine/replication/record-id.ts'
import type {
  BlockVersion, Durability, Payload, ReplicatedRecord, VersionId,
} from '../../../engine/replication/record.ts'
import { emptyVersionMap, insertVersion, settleAll, wipe, type VersionMap } from './version-map.ts'

export type JournalEntry =
  | { type: 'record'; record: ReplicatedRecord }
  | { type: 'applied'; seq: number; windows: unknown }
  | { type: 'facts'; token: number; facts: Partial<CopyFacts> }
  | ({ type: 'fill-start'; token: number } & FillStart)
  | { type: 'fill'; token: number; versions: readonly BlockVersion[] }
  | { type: 'repair'; versions: readonly BlockVersion[] }
  | { type: 'trims'; above: number }

export type FillStart = Parameters<CopyStore['startFill']>[1]
export type Descriptor = Pick<View, 'sizeBlocks' | 'snapshots' | 'rollbacks' | 'epochs' | 'forgottenSeq' | 'durability'>

/** What the journal adds up to. */
export interface View extends VersionMap {
  facts: CopyFacts
  epochs: Array<readonly [number, number]>
  tail: number
  appliedSeq: number
  windows: unknown
  /** Accepted and not applied, in order of seq. */
  unapplied: ReplicatedRecord[]
  /** Void as far as is known: what a later epoch record may still bring in. Only while recovering. */
  limbo: ReplicatedRecord[]
  sizeBlocks: number
  /** As of `appliedSeq`. */
  durability: Durability
}

export const emptyView = (facts: CopyFacts, sizeBlocks: number, durability: Durability): View => ({
  ...emptyVersionMap(), facts, epochs: [], tail: 0, appliedSeq: 0, windows: undefined, unapplied: [], limbo: [],
  sizeBlocks, durability,
})

/** Whatever is accepted from now on becomes durable without being asked. */
export function syncsByItself({ unapplied, durability }: View): boolean {
  let last = durability
  for (const record of unapplied) {
    if (record.kind === 'control' && record.change.operation === 'durability') last = record.change.to
  }
  return last === 'durable'
}

/** The mark of what nobody has (SPEC.md D8). */
export const LOST_PAYLOAD: Payload = { bytes: 4096, data: 'lost' }

export const isSame = (a: VersionId, b: VersionId): boolean => a.lba === b.lba && a.seq === b.seq && a.epoch === b.epoch

export function epochsOf(record: ReplicatedRecord): EpochHistory | undefined {
  return record.kind === 'control' && record.change.operation === 'epoch' ? record.change.epochs : undefined
}

export function enter(view: View, entry: JournalEntry, sliceBlocks: number): void {
  switch (entry.type) {
    case 'record':
      return accept(view, entry.record)
    case 'applied':
      return applyUpTo(view, entry.seq, entry.windows)
    case 'facts':
      view.facts = { ...view.facts, ...entry.facts }
      return
    case 'fill-start':
      return startFill(view, entry, sliceBlocks)
    case 'fill':
      for (const version of entry.versions) insertVersion(view, version)
      return
    case 'repair':
      for (const version of entry.versions) replaceMark(view, version)
      return
    case 'trims':
      view.trimsKeptAbove = entry.above
      settleAll(view)
  }
}

function replaceMark(view: View, version: BlockVersion): void {
  const all = view.blocks.get(version.lba) ?? []
  const at = all.findIndex((one) => isSame(one, version) && one.payload?.data === LOST_PAYLOAD.data)
  if (at < 0) return
  const { isMark: _, ...rest } = all[at]!
  all[at] = { ...rest, payload: version.payload }
}

function accept(view: View, record: ReplicatedRecord): void {
  const epochs = epochsOf(record)
  if (epochs !== undefined && record.epoch > (view.epochs.at(-1)?.[0] ?? 0)) {
    // Of what was accepted only what this history names is left; the rest is void from here on.
    const candidates = [...view.unapplied, ...view.limbo]
    const kept: ReplicatedRecord[] = []
    for (let seq = view.appliedSeq + 1; seq < record.seq; seq++) {
      const epoch = epochAt(epochs, seq)
      const found = candidates.find((one) => one.seq === seq && one.epoch === epoch)
      assert(found !== undefined, 'an epoch record follows what its history names')
      kept.push(found)
    }
    view.unapplied = [...kept, record]
    view.limbo = []
    view.epochs = epochs.map(([epoch, firstSeq]) => [epoch, firstSeq] as const)
    view.tail = record.seq
  } else if (record.seq === view.tail + 1 && record.epoch === (view.epochs.at(-1)?.[0] ?? 0)) {
    view.unapplied.push(record)
    view.tail = record.seq
  } else {
    view.limbo.push(record)
  }
}

function applyUpTo(view: View, seq: number, windows: unknown): void {
  if (seq < view.appliedSeq || seq > view.tail) return
  let count = 0
  for (const record of view.unapplied) {
    if (record.seq > seq) break
    put(view, record)
    count++
  }
  view.unapplied.splice(0, count)
  view.appliedSeq = seq
  view.windows = windows
}

function put(view: View, record: ReplicatedRecord): void {
  const { epoch, seq, kind } = record
  if (kind !== 'control') {
    for (let i = 0; i < record.blockCount; i++) {
      const payload = kind === 'write' ? payloadOfBlock(record.payload, record.blockCount, i) : undefined
      insertVersion(view, { epoch, seq, lba: record.lba + i, kind, payload })
    }
    return
  }
  const { change } = record
  switch (change.operation) {
    case 'epoch':
      return
    case 'resize':
    case 'shrink':
      view.sizeBlocks = change.sizeBytes / BLOCK_BYTES
      return
    case 'durability':
      view.durability = change.to
      return
    case 'snapshot':
      view.snapshots.push({ id: change.id, seq, sizeBlocks: view.sizeBlocks })
      return
    case 'snapshot-delete':
      view.snapshots = view.snapshots.filter(({ id }) => id !== change.id)
      return settleAll(view)
    case 'rollback': {
      const to = view.snapshots.find(({ id }) => id === change.to)
      if (to === undefined) return
      const { sizeBlocks } = view
      if (change.kept !== undefined) view.snapshots.push({ id: change.kept.id, seq: seq - 1, sizeBlocks })
      view.rollbacks.push([to.seq, seq])
      return settleAll(view)
    }
    case 'delete':
      view.blocks.clear()
  }
}

/** `data` is a list with one element a block; anything else stands for every block. */
function payloadOfBlock(payload: { bytes: number; data: unknown }, blockCount: number, index: number) {
  const { bytes, data } = payload
  return { bytes: bytes / blockCount, data: Array.isArray(data) ? (data as unknown[])[index] : data }
}

function startFill(view: View, start: FillStart, sliceBlocks: number): void {
  const { fork, target, facts } = start
  const descriptor = start.descriptor as Descriptor
  if (fork > view.appliedSeq) applyUpTo(view, Math.min(fork, view.tail), view.windows)
  view.unapplied = []
  view.limbo = []
  for (const slice of start.wipe) wipe(view, slice * sliceBlocks, (slice + 1) * sliceBlocks)
  view.facts = { ...view.facts, ...facts }
  view.windows = start.windows ?? view.windows
  view.sizeBlocks = descriptor.sizeBlocks
  view.durability = descriptor.durability
  view.snapshots = structuredClone(descriptor.snapshots)
  view.rollbacks = structuredClone(descriptor.rollbacks)
  view.epochs = structuredClone(descriptor.epochs)
  // What the source forgot nobody can learn from this copy either.
  view.forgottenSeq = Math.max(view.forgottenSeq, descriptor.forgottenSeq)
  view.tail = target
  view.appliedSeq = target
  settleAll(view)
}
