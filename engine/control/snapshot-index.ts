/**
 * The snapshots of one volume, found by id, by name and by place: what a primary is asked about them must not cost more
 * the more there are (cluster/reconcile/SNAPSHOTS.md T2). It follows the list of the descriptor, which is replaced by
 * another one with each change, and holds the same objects in the same order.
 */
import type { Snapshot } from '../volume/descriptor.ts'
import { scheduledAtMs } from './snapshot-schedule.ts'
import type { RecordedSnapshot, SnapshotQuery, SnapshotSummary } from './volume-snapshots.ts'

type Place = Pick<Snapshot, 'seq' | 'id'>

export class SnapshotIndex {
  /** Of all as JSON, those that users do not see as well. */
  bytes = 0
  private list: readonly Snapshot[] = []
  private readonly byId = new Map<string, Snapshot>()
  private readonly byName = new Map<string, Snapshot[]>()
  /** Those that users see, by place. */
  private readonly shown: Snapshot[] = []

  /** Undefined: the one that had it is gone. */
  private scheduledAtMs: number | undefined = 0

  get summary(): SnapshotSummary {
    const last = this.shown.at(-1)
    const newest = last === undefined ? '' : nameOf(last)
    this.scheduledAtMs ??= this.shown.reduce((most, one) => Math.max(most, timeOf(one)), 0)
    const newestScheduledAtMs = this.scheduledAtMs
    return { count: this.shown.length, newest, newestAtMs: last?.title?.createdAtMs ?? 0, newestScheduledAtMs }
  }

  /** Take over a list. Cost: a comparison for each of both, more only for those that came or went. */
  follow(list: readonly Snapshot[]): this {
    if (list === this.list) return this
    let at = 0
    for (const one of this.list) {
      if (list[at] === one) at++
      else this.forget(one)
    }
    for (; at < list.length; at++) this.add(list[at]!)
    this.list = list
    return this
  }

  answer(query: Omit<SnapshotQuery, 'volumeId'>): {
    count: number
    bytes: number
    snapshots: RecordedSnapshot[]
  } {
    return { count: this.shown.length, bytes: this.bytes, snapshots: this.found(query).map(toldOf) }
  }

  private found({ ids, names, after, limit }: Omit<SnapshotQuery, 'volumeId'>): Snapshot[] {
    if (ids.length + names.length === 0) {
      const from = this.placeOf(after) + (this.isAt(after) ? 1 : 0)
      return this.shown.slice(from, from + limit)
    }
    const byId = ids.flatMap((id) => this.byId.get(id) ?? [])
    const byName = names.flatMap((name) => this.byName.get(name) ?? [])
    return [...new Set([...byId, ...byName])].sort(inOrder)
  }

  private add(one: Snapshot): void {
    this.bytes += bytesOf(one)
    if (one.pinnedBy !== null) return
    this.byId.set(one.id, one)
    this.byName.set(nameOf(one), [...(this.byName.get(nameOf(one)) ?? []), one])
    this.shown.splice(this.placeOf(one), 0, one)
    if (this.scheduledAtMs !== undefined) this.scheduledAtMs = Math.max(this.scheduledAtMs, timeOf(one))
  }

  private forget(one: Snapshot): void {
    this.bytes -= bytesOf(one)
    if (one.pinnedBy !== null) return
    this.byId.delete(one.id)
    const others = this.byName.get(nameOf(one))!.filter((other) => other !== one)
    if (others.length > 0) this.byName.set(nameOf(one), others)
    else this.byName.delete(nameOf(one))
    this.shown.splice(this.placeOf(one), 1)
    if (timeOf(one) === this.scheduledAtMs) this.scheduledAtMs = undefined
  }

  /** How many stand before it. */
  private placeOf(place: Place): number {
    let low = 0
    let high = this.shown.length
    while (low < high) {
      const mid = (low + high) >>> 1
      if (inOrder(this.shown[mid]!, place) < 0) low = mid + 1
      else high = mid
    }
    return low
  }

  private isAt(place: Place): boolean {
    const one = this.shown[this.placeOf(place)]
    return one !== undefined && inOrder(one, place) === 0
  }
}

/** One without a title is called by its id. */
const nameOf = ({ id, title }: Snapshot): string => title?.name ?? id

/** Of which a schedule made it; 0: none did. */
const timeOf = ({ title }: Snapshot): number => scheduledAtMs(title?.labels ?? {}) ?? 0

function toldOf({ id, seq, sizeBytes = 0, title }: Snapshot): RecordedSnapshot {
  const { name = id, createdAtMs = 0, labels = {}, group = '' } = title ?? {}
  return { id, name, seq, sizeBytes, createdAtMs, labels, group }
}

/** With the comma behind it. */
const bytesOf = (one: Snapshot): number => JSON.stringify(one).length + 1

function inOrder(a: Place, b: Place): number {
  if (a.seq !== b.seq) return a.seq - b.seq
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}
