/**
 * Records of a copy that its log holds and its map does not show yet: they wait for the word that they are committed,
 * or to be dropped (FORMAT.md section 7). One list a volume and stream.
 *
 * - Until a checkpoint a waiting record holds the position of the log (its batch counts as not applied). Each
 *   checkpoint lists it in the index instead, so that the position may pass it: `park`, then `collect`.
 * - A segment that a listed record lies in is no victim of the cleaner (`held`).
 * - `release` ends both; the key goes with the next checkpoint, unless the same record came again and is listed.
 */
import type { LogBatch } from './log-batch.ts'
import type { LogStream } from './log-stream.ts'
import { decodeRecord, encodeRecord, recordBytes, type RecordHeader } from './record.ts'
import type { SegmentTable } from './segment-table.ts'
import { waitingKey } from './index-keys.ts'

export interface WaitingRecord {
  record: RecordHeader
  segment: number
  generation: number
  /** Of its first blob (control: of its body), from the segment's start. */
  units: number
  /** The batch it holds back; undefined once it is listed, and for one that recovery found. */
  batch: LogBatch | undefined
  /** It has a key in the index, or gets one with the checkpoint under way. */
  listed: boolean
  /** Of the list: where in it. */
  at: number
}

const PLACE_BYTES = 16

export class WaitingRecords {
  /** An array, in which the last one takes the place of one that goes: the reason is that of `numbered.ts`. */
  private readonly waiting: WaitingRecord[] = []
  /** Of the checkpoint that is being collected. */
  private parked: WaitingRecord[] = []
  /** Released since the last checkpoint. */
  private gone: RecordHeader[] = []

  /** In no order. */
  get all(): readonly WaitingRecord[] {
    return this.waiting
  }

  has(record: WaitingRecord): boolean {
    return this.waiting[record.at] === record
  }

  add(record: WaitingRecord): void {
    if (!this.has(record)) record.at = this.waiting.push(record) - 1
  }

  private delete(record: WaitingRecord): void {
    if (!this.has(record)) return
    const last = this.waiting.pop()!
    if (last === record) return
    last.at = record.at
    this.waiting[record.at] = last
  }

  /** Take what a checkpoint has to list. Before its position is asked for. */
  park(log: LogStream, segments: SegmentTable): void {
    for (const waiting of this.all) {
      if (waiting.listed) continue
      waiting.listed = true
      segments.hold(waiting.segment)
      this.parked.push(waiting)
      const { batch } = waiting
      waiting.batch = undefined
      if (batch !== undefined) log.applied(batch)
    }
  }

  /** The index has it already. */
  adopt(waiting: WaitingRecord, segments: SegmentTable): void {
    segments.hold(waiting.segment)
    this.add(waiting)
  }

  /** It is in the map now, or void. @param log  undefined while recovery is under way */
  release(waiting: WaitingRecord, log: LogStream | undefined, segments: SegmentTable): void {
    this.delete(waiting)
    if (waiting.listed) {
      segments.unhold(waiting.segment)
      this.gone.push(waiting.record)
    } else if (waiting.batch !== undefined) log!.applied(waiting.batch)
    waiting.batch = undefined
  }

  collect(volume: number, put: (key: Uint8Array, value: Uint8Array) => void, del: (key: Uint8Array) => void): void {
    const gone = this.gone.splice(0)
    const listed = gone.length === 0 ? [] : this.all.filter((waiting) => waiting.listed)
    const again = new Map(listed.map((waiting) => [nameOf(waiting.record), waiting]))
    for (const record of gone) {
      const key = waitingKey(volume, record.seq, record.epoch)
      const other = again.get(nameOf(record))
      if (other === undefined) del(key)
      else put(key, encodeWaiting(other))
    }
    for (const waiting of this.parked.splice(0))
      // Released in the turn in which it was parked: never listed.
      if (this.has(waiting))
        put(waitingKey(volume, waiting.record.seq, waiting.record.epoch), encodeWaiting(waiting))
  }

  /** Records in batches below this one are applied or void, parked ones included. */
  oldestBatch(position: number): number {
    let oldest = position
    for (const { record } of this.all) if (record.bornBatch < oldest) oldest = record.bornBatch
    return oldest
  }
}

const nameOf = ({ epoch, seq }: RecordHeader): string => `${epoch}:${seq}`

function encodeWaiting({ record, segment, generation, units }: WaitingRecord): Uint8Array {
  const out = new Uint8Array(PLACE_BYTES + recordBytes(record))
  const view = new DataView(out.buffer)
  view.setUint32(0, segment, true)
  view.setUint32(4, generation, true)
  view.setUint32(8, units, true)
  encodeRecord(view, PLACE_BYTES, record)
  return out
}

/** Undefined when the bytes are not what was written. */
export function decodeWaiting(bytes: Uint8Array): WaitingRecord | undefined {
  if (bytes.length < PLACE_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const record = decodeRecord(view, PLACE_BYTES, bytes.length)
  if (record === undefined) return undefined
  return {
    record,
    segment: view.getUint32(0, true),
    generation: view.getUint32(4, true),
    units: view.getUint32(8, true),
    batch: undefined,
    listed: true,
    at: -1,
  }
}
