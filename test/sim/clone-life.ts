/** One copy of a volume in a run of clones (clone-run.ts), as it was told to be: what it has to show at any seq. */
import type { StoreEvent } from '../../engine/replication/copy-store.ts'
import type { LocalCopyStore } from '../../engine/volume/copy-store.ts'
import { ModelState, type ModelRecord, type ModelVersion } from './copy-model.ts'

export class Life {
  readonly name: string
  readonly copyId: string
  readonly sizeBytes: number
  readonly baseSeq: number
  private readonly base: ReadonlyMap<number, ModelVersion>
  epochs: Array<[number, number]>
  /** An epoch is one primary's, and begins at one seq: one that a crash took back is never given again. */
  greatestEpoch: number
  records: ModelRecord[] = []
  applied: number
  copy!: LocalCopyStore
  storedSeq = 0
  events: StoreEvent[] = []

  constructor(of: {
    name: string
    copyId: string
    sizeBytes: number
    seq: number
    base: ReadonlyMap<number, ModelVersion>
    epochs: Array<[number, number]>
  }) {
    this.name = of.name
    this.copyId = of.copyId
    this.sizeBytes = of.sizeBytes
    this.baseSeq = of.seq
    this.base = of.base
    this.epochs = of.epochs
    this.greatestEpoch = this.epoch
    this.applied = of.seq
  }

  get tail(): number {
    return this.baseSeq + this.records.length
  }

  get epoch(): number {
    return this.epochs.at(-1)?.[0] ?? 0
  }

  use(copy: LocalCopyStore): void {
    this.copy = copy
    this.storedSeq = copy.tail
    this.events = []
    copy.onEvent = (event) => {
      if (event.type === 'stored') this.storedSeq = event.seq
      else if (event.type !== 'damaged') this.events.push(event)
    }
  }

  push(record: Omit<ModelRecord, 'seq'>): ModelRecord {
    const full = { ...record, seq: this.tail + 1 }
    this.records.push(full)
    return full
  }

  /** What it shows when everything up to a seq is applied. */
  state(upTo = this.applied): ModelState {
    const state = new ModelState()
    state.head = new Map(this.base)
    for (const record of this.records) if (record.seq <= upTo) state.apply(record)
    return state
  }
}
