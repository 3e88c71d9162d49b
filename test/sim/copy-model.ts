/**
 * What a copy has to show: the records of a volume in order of seq, and what they add up to at any seq. Plain copying
 * of maps, nothing of the engine's ways.
 */
import type { ControlChange, ReplicatedRecord } from '../../engine/replication/record.ts'
import { mixedWrite } from './copy-world.ts'

export interface ModelRecord {
  epoch: number
  seq: number
  kind: 'write' | 'zero' | 'trim' | 'control'
  lba: number
  stamps: number[]
  blockCount: number
  change?: ControlChange
}

export interface ModelVersion {
  epoch: number
  seq: number
  kind: 'write' | 'zero' | 'trim'
  stamp: number
}

export class ModelState {
  head = new Map<number, ModelVersion>()
  snapshots = new Map<string, { seq: number; blocks: Map<number, ModelVersion> }>()

  apply(record: ModelRecord): void {
    const { epoch, seq, kind, lba, stamps, blockCount, change } = record
    if (kind !== 'control') {
      for (let i = 0; i < blockCount; i++) this.head.set(lba + i, { epoch, seq, kind, stamp: stamps[i] ?? 0 })
      return
    }
    if (change!.operation === 'snapshot') this.snapshots.set(change!.id, { seq, blocks: new Map(this.head) })
    if (change!.operation === 'snapshot-delete') this.snapshots.delete(change!.id)
    if (change!.operation === 'rollback') {
      const { to, kept } = change!
      if (kept !== undefined) this.snapshots.set(kept.id, { seq: seq - 1, blocks: new Map(this.head) })
      this.head = new Map(this.snapshots.get(to)!.blocks)
    }
  }

  /** What some view shows, by block and seq. */
  versions(): Map<string, ModelVersion & { lba: number }> {
    const found = new Map<string, ModelVersion & { lba: number }>()
    for (const blocks of [this.head, ...[...this.snapshots.values()].map((one) => one.blocks)])
      for (const [lba, version] of blocks) found.set(`${lba}/${version.seq}`, { ...version, lba })
    return found
  }
}

/** One history: its records from seq 1 on, and its epochs. */
export class Line {
  readonly records: ModelRecord[]
  readonly epochs: Array<[number, number]>

  constructor(records: ModelRecord[] = [], epochs: Array<[number, number]> = []) {
    this.records = records
    this.epochs = epochs
  }

  get tail(): number {
    return this.records.length
  }

  get epoch(): number {
    return this.epochs.at(-1)?.[0] ?? 0
  }

  upTo(seq: number): Line {
    return new Line(
      this.records.slice(0, seq),
      this.epochs.filter(([, firstSeq]) => firstSeq <= seq),
    )
  }

  push(record: Omit<ModelRecord, 'seq'>): ModelRecord {
    const full = { ...record, seq: this.tail + 1 }
    if (full.change?.operation === 'epoch') this.epochs.push([full.epoch, full.seq])
    this.records.push(full)
    return full
  }

  newEpoch(epoch: number): ModelRecord {
    const epochs = [...this.epochs, [epoch, this.tail + 1] as [number, number]]
    return this.push({
      epoch,
      kind: 'control',
      lba: 0,
      stamps: [],
      blockCount: 0,
      change: { operation: 'epoch', epochs },
    })
  }

  stateAt(seq: number): ModelState {
    const state = new ModelState()
    for (const record of this.records.slice(0, seq)) state.apply(record)
    return state
  }
}

export function replicated(record: ModelRecord): ReplicatedRecord {
  const { epoch, seq, kind, lba, stamps, blockCount, change } = record
  if (kind === 'write') return mixedWrite(epoch, seq, lba, stamps)
  const base = { epoch, seq, request: undefined }
  return kind === 'control' ? { ...base, kind, change: change! } : { ...base, kind, lba, blockCount }
}
