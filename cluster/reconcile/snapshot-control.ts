/** What users ask of a volume's snapshots, at the elected controller (SNAPSHOTS.md). */
import type { VolumeView } from '../../engine/control/cluster.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { SnapshotAnswer, VolumeSnapshot } from '../../engine/control/volume-snapshots.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { rewriteWished } from '../../engine/volume/volume-encryption.ts'
import type { Attach } from '../../engine/replication/configuration.ts'
import type { SnapshotTitle } from '../../engine/replication/record.ts'
import { MIB } from '../../engine/units.ts'
import type {
  CreateSnapshotRequest, DeleteSnapshotRequest, ListSnapshotsRequest, RollBackRequest, Snapshot, SnapshotList,
} from '../api/snapshot-messages.ts'
import { formatSize, formatTime } from '../api/amounts.ts'
import { isId, shown } from '../api/names.ts'
import {
  SNAPSHOT_PAGE_MAX, checkAllToken, checkNewLabels, checkPage, checkPageToken, checkSnapshotId, checkSnapshotName,
  pageToken,
} from '../api/snapshot-request.ts'
import { primaryCopy } from './cluster-view.ts'
import type { Term } from './controller.ts'
import { drawnWish } from './rekey-control.ts'
import { look, lookAt, reasonOf, settle } from './settled-change.ts'
import type { Asked, SettlingOptions } from './settled-change.ts'
import type { Client, VolumeWishes } from './volume-wishes.ts'

/**
 * Of the descriptions of all snapshots of a volume. A filling tells them in one message, whose control part has 4 MiB
 * at most, and begins with records of them all: half of the smallest segment.
 */
export const DESCRIPTIONS_BYTES_MAX = 2 * MIB

/** Of how many volumes it is kept when a snapshot was made, before it is looked at which can go. */
const MADE_MOST = 1_000

/** Volumes that are asked for their snapshots at a time. */
const ASKED_AT_ONCE = 32

const NOWHERE = { after: { seq: 0, id: '' }, limit: 0 }

interface SnapshotControlOptions extends SettlingOptions {
  wishes: VolumeWishes
  /** Whether the snapshot of that id belongs to a group snapshot of that name. */
  isMember(group: string, snapshotId: string): Promise<boolean>
}

const view = ({ spec: { name: volume, id: volumeId } }: VolumeRecord, snapshot: VolumeSnapshot): Snapshot =>
  ({ volume, volumeId, ...snapshot })

/** When the node of the primary spoke last. */
const saidAtMs = ({ cluster: { nodes } }: Term, { config }: VolumeView): number =>
  nodes.get(config?.primary ?? '')?.said?.atMs ?? -Infinity

/** One that was just made has nothing that the head does not show. */
const UNKNOWN = { exclusiveBytes: 0, exclusiveAtMs: 0 }

export class SnapshotControl {
  private readonly options: SnapshotControlOptions
  /** By volume, on our clock. */
  private readonly madeAtMs = new Map<string, number>()
  private madeMost = MADE_MOST

  constructor(options: SnapshotControlOptions) {
    this.options = options
  }

  async create({ volume, name, labels, id }: CreateSnapshotRequest): Promise<Snapshot> {
    checkSnapshotName(name)
    checkNewLabels(labels)
    checkSnapshotId(id)
    const title = { name, createdAtMs: Date.now(), labels }
    return this.make(await this.options.wishes.find(volume), id, title, (other) => differenceOf(other, labels))
  }

  /**
   * @param id  drawn for this request
   * @param difference  of one of that name from what is asked for; empty: it is that (T5)
   */
  make(
    record: VolumeRecord, id: string, title: SnapshotTitle, difference?: (other: VolumeSnapshot) => string,
  ): Promise<Snapshot> {
    const { name } = title
    const { name: volume } = record.spec
    const asked = askedOf(record, `snapshot ${name}`, () => ({ ids: [id], names: [name] }))
    return this.noting(record, settle(this.options, asked, ({ snapshots, sizeBytes, count, bytes }) => {
      const own = snapshots.find((one) => one.id === id)
      if (own !== undefined) return { done: view(record, own) }
      const [other] = snapshots
      if (other !== undefined) {
        const how = difference?.(other)
        return how === '' ? { done: view(record, other) } : { refused: alreadyThere(volume, other, how) }
      }
      const made = (seq: number) => view(record, { id, seq, sizeBytes, ...title, group: '', ...UNKNOWN })
      if (!hasRoom(bytes, made(2 ** 48))) return { refused: new HoldfastError('snapshot-limit', { volume, count }) }
      return { order: { operation: 'snapshot', id, title }, made }
    }))
  }

  /** One of that volume was made just now: its node has not told it yet. */
  made(volumeId: string): void {
    this.madeAtMs.set(volumeId, this.options.nowMs())
    if (this.madeAtMs.size < this.madeMost) return
    this.forgetTold()
    this.madeMost = Math.max(MADE_MOST, 2 * this.madeAtMs.size)
  }

  /** Of those that their nodes have told since, and of volumes that are gone. */
  private forgetTold(): void {
    const term = this.options.controller.term()
    if (term === undefined) return
    for (const [id, atMs] of this.madeAtMs) {
      const view = term.cluster.volumes.get(id)
      if (view === undefined || saidAtMs(term, view) > atMs) this.madeAtMs.delete(id)
    }
  }

  /** It may have been made, whatever is told of it. */
  private noting<T>({ spec: { id } }: VolumeRecord, settling: Promise<T>): Promise<T> {
    return settling.finally(() => this.made(id))
  }

  /**
   * Of all volumes, in order of their ids: each that may have some is asked, several at a time. Of those that their
   * nodes said to have none since the last one was made there are none.
   */
  async listAll(term: Term, { limit, after }: ListSnapshotsRequest): Promise<SnapshotList> {
    const most = checkPage(limit)
    const from = checkAllToken(after)
    const records = this.mayHaveSome(term).filter(({ spec }) => spec.id >= from.volumeId)
    const found: Snapshot[] = []
    const unread: VolumeRecord[] = []
    for (let i = 0; i < records.length && found.length <= most; i += ASKED_AT_ONCE) {
      const pages = await Promise.all(records.slice(i, i + ASKED_AT_ONCE).map(async (record) => {
        const place = record.spec.id === from.volumeId ? from : NOWHERE.after
        return { record, snapshots: await this.pageOnce(record, place, most + 1) }
      }))
      for (const { record, snapshots } of pages) {
        if (snapshots === undefined) unread.push(record)
        else found.push(...snapshots.map((one) => view(record, one)))
      }
    }
    const snapshots = found.slice(0, most)
    const last = found.length > most ? snapshots.at(-1)! : undefined
    // What lies behind this page is asked for with the next one.
    const here = unread.filter(({ spec: { id } }) => last === undefined || id < last.volumeId)
    const next = last === undefined ? '' : `${last.volumeId}.${pageToken(last)}`
    return { snapshots, next, unread: here.map(({ spec: { name } }) => name) }
  }

  private mayHaveSome(term: Term): VolumeRecord[] {
    const records: VolumeRecord[] = []
    for (const view of term.cluster.volumes.values()) {
      if (view.record === undefined || view.record.trash !== null) continue
      const copy = primaryCopy(term, view)
      const isKnown = copy?.role === 'primary' && saidAtMs(term, view) > (this.madeAtMs.get(view.id) ?? -Infinity)
      if (!isKnown || copy.snapshots > 0) records.push(view.record)
    }
    return records.sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1))
  }

  /** Undefined: it could not be asked. */
  private async pageOnce(record: VolumeRecord, after: { seq: number; id: string }, limit: number) {
    const { seq, id } = after
    try {
      const asked = askedOf(record, 'a list', () => ({ ids: [], names: [] }), { after: { seq, id }, limit })
      return (await look(this.options, asked)).answer.snapshots
    } catch (error) {
      if (error instanceof HoldfastError) return undefined
      throw error
    }
  }

  async list({ volume, limit, after }: ListSnapshotsRequest): Promise<SnapshotList> {
    const most = checkPage(limit)
    const from = checkPageToken(after)
    const record = await this.options.wishes.find(volume)
    const snapshots = await this.page(record, from, most + 1)
    const shownNow = snapshots.slice(0, most)
    const next = snapshots.length > most ? pageToken(shownNow.at(-1)!) : ''
    return { snapshots: shownNow.map((one) => view(record, one)), next, unread: [] }
  }

  /** All of them. */
  async all(record: VolumeRecord): Promise<VolumeSnapshot[]> {
    const found: VolumeSnapshot[] = []
    for (let after = NOWHERE.after; ;) {
      const page = await this.page(record, after, SNAPSHOT_PAGE_MAX)
      found.push(...page)
      if (page.length < SNAPSHOT_PAGE_MAX) return found
      after = page.at(-1)!
    }
  }

  async get({ volume, name }: { volume: string; name: string }): Promise<Snapshot> {
    const record = await this.options.wishes.find(volume)
    const { snapshot } = await this.source(record, name)
    return view(record, snapshot)
  }

  /** What a clone may begin as, by its name or id, and the epoch under which that was read. */
  async source(record: VolumeRecord, name: string): Promise<{ snapshot: VolumeSnapshot; epoch: number }> {
    const asked = askedOf(record, 'a list', () => named(name))
    const { snapshots, epoch } = await lookAt(this.options, asked)
    const snapshot = snapshots.find(({ id }) => id === name) ?? snapshots[0]
    if (snapshot === undefined) throw missing(record.spec.name, name)
    return { snapshot, epoch }
  }

  async delete({ volume, name, id: given }: DeleteSnapshotRequest): Promise<object> {
    if (given !== '') checkSnapshotId(given)
    return this.remove(await this.options.wishes.find(volume), name, given)
  }

  /** @param given  id of the one that is meant; empty: whichever has that name, and there has to be one */
  remove(record: VolumeRecord, name: string, given: string): Promise<object> {
    let id = given
    const volume = record.spec.name
    const which = () => (id === '' ? named(name) : { ids: [id], names: [] })
    const asked = askedOf(record, `the deletion of snapshot ${name}`, which)
    return settle<object>(this.options, asked, async ({ snapshots }) => {
      const found = snapshots.find((one) => one.id === name) ?? snapshots[0]
      if (found === undefined) return id === '' ? { refused: missing(volume, name) } : { done: {} }
      const { group } = found
      if (group !== '' && (await this.options.isMember(group, found.id))) {
        return { refused: new HoldfastError('snapshot-in-group', { volume, snapshot: found.name, group }) }
      }
      id = found.id
      const onRefusal = (error: HoldfastError): boolean => {
        if (error.code !== 'snapshot-in-use') return false
        error.detail['snapshot'] = shown(found.name)
        return true
      }
      return { order: { operation: 'snapshot-delete', id }, made: () => ({}), onRefusal }
    })
  }

  /** @param clientsOf  of a volume, who is there now, as far as that is known */
  async rollBack(
    { volume: given, to, keepAs, force, id }: RollBackRequest, clientsOf: (volumeId: string) => Promise<Client[]>,
  ): Promise<Snapshot> {
    if (keepAs !== '') checkSnapshotName(keepAs)
    checkSnapshotId(id)
    const createdAtMs = Date.now()
    const title = { name: keepAs === '' ? nameOfTime(createdAtMs) : keepAs, createdAtMs, labels: {} }
    const which = () => ({ ids: isId(to) ? [id, to] : [id], names: [to, title.name] })
    const record = await this.options.wishes.find(given)
    const volume = record.spec.name
    const asked = askedOf(record, `the rollback to snapshot ${to}`, which)
    /** What keeps former users out; the primary may need a moment to hear of it, so it stays as long as it does. */
    let fence: Attach | undefined
    const settling = settle<Snapshot>(this.options, asked, async ({ snapshots, sizeBytes, count, bytes }) => {
      const kept = snapshots.find((one) => one.id === id)
      if (kept !== undefined) return { done: view(record, kept) }
      const target = snapshots.find((one) => one.id === to) ?? snapshots.find(({ name }) => name === to)
      if (target === undefined) return { refused: missing(volume, to) }
      if (target.sizeBytes > sizeBytes) {
        const [size, current] = [formatSize(target.sizeBytes), formatSize(sizeBytes)]
        return { refused: new HoldfastError('rollback-size', { volume, snapshot: to, size, current }) }
      }
      const other = snapshots.find(({ name }) => name === title.name)
      if (other !== undefined) return { refused: alreadyThere(volume, other) }
      const made = (seq: number) => view(record, { id, seq: seq - 1, sizeBytes, ...title, group: '', ...UNKNOWN })
      if (!hasRoom(bytes, made(2 ** 48))) return { refused: new HoldfastError('snapshot-limit', { volume, count }) }
      try {
        fence ??= (await this.options.wishes.endUse(record, force, await clientsOf(record.spec.id))).attach
      } catch (error) {
        if (error instanceof HoldfastError) return { refused: error }
        throw error
      }
      // Blocks under former data keys come back.
      await this.options.wishes.update(record.spec.id, withRewriting)
      const onRefusal = ({ code }: HoldfastError): boolean => {
        // Who came in between is looked for like anybody before: he may have left, or has to.
        if (code === 'rollback-in-use') fence = undefined
        return false
      }
      const order = { operation: 'rollback' as const, to: target.id, kept: { id, title } }
      return { order, unusedSince: fence.generation, made, onRefusal }
    })
    const before = await this.noting(record, settling)
    if (record.spec.encryption === undefined) return before
    try {
      // A pass for that wish may have ended before the primary had heard of the fence, and of the rollback.
      await this.options.wishes.update(record.spec.id, withRewriting)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      // It was rolled back: who asks again under the same id finds that, and draws the wish.
      const { what } = asked
      throw new HoldfastError('change-outcome', { what, volume, reason: reasonOf(error) })
    }
    return before
  }

  /** In order of seq. */
  private async page(record: VolumeRecord, after: { seq: number; id: string }, limit: number) {
    const { seq, id } = after
    const asked = askedOf(record, 'a list', () => ({ ids: [], names: [] }), { after: { seq, id }, limit })
    return (await lookAt(this.options, asked)).snapshots
  }
}

/** What somebody calls so: snapshots are asked for by name or id. */
const named = (name: string): { ids: string[]; names: string[] } =>
  ({ ids: isId(name) ? [name] : [], names: [name] })

const askedOf = (
  record: VolumeRecord, what: string, which: () => { ids: string[]; names: string[] }, page = NOWHERE,
): Asked => ({ record, what, query: () => ({ ...which(), ...page }) })

/** The same of one that is taken for a group. */
export function hasRoomFor({ bytes, sizeBytes }: SnapshotAnswer, title: Omit<SnapshotTitle, 'group'>): boolean {
  const id = '0'.repeat(32)
  const about = { volume: id, volumeId: id, id, group: title.name, seq: 2 ** 48, sizeBytes }
  return hasRoom(bytes, { ...title, ...about, ...UNKNOWN })
}

/** What is shown of one is a little more than what is kept of it. */
const hasRoom = (bytes: number, added: Snapshot): boolean =>
  bytes + JSON.stringify(added).length <= DESCRIPTIONS_BYTES_MAX

/** E.g. `before-rollback-20261130-054547-123`, UTC. */
const nameOfTime = (ms: number): string =>
  `before-rollback-${new Date(ms).toISOString().replace(/[-:Z]/g, '').replace(/[T.]/g, '-')}`

/** T5. */
export function alreadyThere(
  volume: string, { name, id, seq, createdAtMs }: VolumeSnapshot, difference = '',
): HoldfastError {
  const made = createdAtMs === 0 ? `at seq ${seq}` : `${formatTime(createdAtMs)} UTC`
  return new HoldfastError('snapshot-exists', { volume, snapshot: name, difference, made, id })
}

function differenceOf({ group, labels }: VolumeSnapshot, wished: Record<string, string>): string {
  if (group !== '') return ` as a part of group snapshot ${group}`
  return areSameLabels(labels, wished) ? '' : ` ${withLabels(labels)}, not ${withLabels(wished)}`
}

export const areSameLabels = (a: Record<string, string>, b: Record<string, string>): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => b[key] === value)

/** E.g. `with labels app=db`, of those that were checked. */
export function withLabels(labels: Record<string, string>): string {
  const words = Object.entries(labels).map(([key, value]) => `${key}=${value}`).sort()
  return words.length === 0 ? 'without labels' : `with labels ${words.join(',')}`
}

const missing = (volume: string, name: string): HoldfastError =>
  new HoldfastError('snapshot-not-found', { volume, snapshot: shown(name) })

function withRewriting(record: VolumeRecord): VolumeRecord | undefined {
  const { encryption, id } = record.spec
  const wished = encryption === undefined ? undefined : rewriteWished(encryption, id, drawnWish())
  return wished === undefined ? undefined : { ...record, spec: { ...record.spec, encryption: wished } }
}
