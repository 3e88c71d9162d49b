/**
 * Group snapshots as users ask for them, at the elected controller (GROUPS.md):
 *
 *   create   read all -> record `taking` -> HOLD all, TAKE all -> `made`, the group exists
 *                                        \-> `undoing` -> nothing is left of it -> record removed; anew, or refused
 *   delete   `made` -> `undoing` -> nothing is left of it -> record removed
 */
import { randomInt, randomUUID } from 'node:crypto'
import type { GroupRecord, MemberRecord } from '../../engine/control/snapshot-group.ts'
import { made } from '../../engine/control/snapshot-group.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type {
  CreateGroupRequest, DeleteGroupRequest, ListGroupsRequest, SnapshotGroup,
} from '../api/snapshot-messages.ts'
import { checkGroupPage, checkGroupVolumes } from '../api/group-request.ts'
import { isId, shown } from '../api/names.ts'
import { checkNewLabels, checkSnapshotId, checkSnapshotName } from '../api/snapshot-request.ts'
import { GROUP_PREFIX, decodeGroup, encodeGroup, groupKey } from '../store/snapshot-groups.ts'
import type { ReachedNode } from './action-runner.ts'
import { takeAtOnce } from './group-attempt.ts'
import { GroupRemains } from './group-remains.ts'
import type { RecordStore, Stored } from './record-store.ts'
import { lookWhenLed, reasonOf } from './settled-change.ts'
import type { SettlingOptions } from './settled-change.ts'
import { alreadyThere, areSameLabels, hasRoomFor, withLabels } from './snapshot-control.ts'
import type { VolumeWishes } from './volume-wishes.ts'

/** Then the outcome is not known, or it was refused again and again. */
const GROUP_MS = 20_000
const ATTEMPTS_MAX = 4
/** Passes before another attempt. */
const PAUSES_MAX = 3

export interface GroupControlOptions extends SettlingOptions {
  wishes: VolumeWishes
  records: RecordStore
  onBug(error: unknown): void
  /** A group was taken; writes of no member waited for longer, by what their primaries measured. */
  onGroup?(group: GroupRecord, heldMs: number): void
}

interface Judged {
  name: string
  record: VolumeRecord
  member: MemberRecord
  sizeBytes: number
  primary: ReachedNode
}

/** Neither: somebody else's group is there, or another one of ours. */
interface AttemptEnd {
  made?: GroupRecord
  /** It was not made, or what became of it is decided elsewhere: the record says. */
  refusal?: HoldfastError
}

const NOTHING: AttemptEnd = {}

export class GroupControl {
  readonly remains: GroupRemains
  private readonly options: GroupControlOptions

  constructor(options: GroupControlOptions) {
    this.options = options
    this.remains = new GroupRemains(options)
  }

  async create(request: CreateGroupRequest): Promise<SnapshotGroup> {
    const { name, volumes, labels, id } = request
    checkSnapshotName(name)
    checkGroupVolumes(volumes)
    checkNewLabels(labels)
    checkSnapshotId(id)
    const { controller, nowMs } = this.options
    const deadlineMs = nowMs() + GROUP_MS
    const isLate = () => nowMs() > deadlineMs || controller.term() === undefined
    let refusal: HoldfastError | undefined
    for (let attempts = 0; ; ) {
      const group = (await this.readAgain(request, attempts))?.value
      if (group === undefined) {
        // All of ours is undone, and nothing of it is left.
        if (refusal !== undefined && (isLate() || attempts >= ATTEMPTS_MAX)) throw refusal
        // Two that want the same volumes do not go on meeting.
        for (let pauses = attempts++ === 0 ? 0 : randomInt(PAUSES_MAX); pauses > 0; pauses--) await controller.passed()
        const end = await this.attempt(request)
        if (end.made !== undefined) return this.view(end.made)
        refusal = end.refusal
        continue
      }
      if (group.id === id && group.state === 'made') return this.view(group)
      if (group.id !== id && group.state === 'made') {
        const difference = await this.differenceOf(group, request)
        if (difference === '') return this.view(group)
        throw exists(group, difference)
      }
      if (group.id !== id && group.state !== 'undoing') throw exists(group)
      if (group.id === id && group.state === 'undoing' && refusal !== undefined) {
        if (isLate() || attempts >= ATTEMPTS_MAX) throw refusal
      } else if (isLate()) throw group.id === id ? this.unknown(request, 'it is being decided') : exists(group)
      await controller.passed()
    }
  }

  /** From what is asked for; empty: it is that (G6). */
  private async differenceOf({ members, labels }: GroupRecord, request: CreateGroupRequest): Promise<string> {
    const wished = await Promise.all(request.volumes.map((volume) => this.options.wishes.find(volume)))
    const ids = new Set(wished.map(({ spec }) => spec.id))
    if (ids.size !== members.length || !members.every(({ volumeId }) => ids.has(volumeId)))
      return 'it is of other volumes'
    return areSameLabels(labels, request.labels) ? '' : `it is ${withLabels(labels)}, not ${withLabels(request.labels)}`
  }

  async get({ name }: { name: string }): Promise<SnapshotGroup> {
    const stored = await this.read(await this.nameOf(name))
    if (stored === undefined) throw missing(name)
    return this.view(stored.value)
  }

  async list({ limit, after }: ListGroupsRequest): Promise<{ groups: SnapshotGroup[]; next: string }> {
    const most = checkGroupPage(limit)
    const found = await this.options.records.list(GROUP_PREFIX, decodeGroup)
    const behind = found.filter(({ name }) => name > after).sort((a, b) => (a.name < b.name ? -1 : 1))
    const groups = behind.slice(0, most).map((group) => this.view(group))
    return { groups, next: behind.length > most ? groups.at(-1)!.name : '' }
  }

  async delete({ name: given, id }: DeleteGroupRequest): Promise<object> {
    if (id !== '') checkSnapshotId(id)
    const name = await this.nameOf(given)
    const deadlineMs = this.options.nowMs() + GROUP_MS
    let isFound = false
    for (;;) {
      const stored = await this.read(name)
      if (stored === undefined || (id !== '' && stored.value.id !== id)) {
        if (isFound || id !== '') return {}
        throw missing(name)
      }
      isFound = true
      if (stored.value.state === 'made') {
        await this.remains.checkUnused(stored.value)
        const undoing = encodeGroup({ ...stored.value, state: 'undoing' })
        await this.options.records.put(groupKey(name), stored.version, undoing)
        continue
      }
      const left = stored.value.state === 'undoing' ? await this.remains.settle(name) : undefined
      if (this.options.nowMs() > deadlineMs || this.options.controller.term() === undefined) {
        const { volume = 'its members', reason = 'it is being decided' } = left ?? {}
        throw new HoldfastError('group-undoing', { group: name, volume, reason })
      }
      if (left !== undefined || stored.value.state === 'taking') await this.options.controller.passed()
    }
  }

  /** By name or id. */
  private async nameOf(nameOrId: string): Promise<string> {
    if (!isId(nameOrId)) return nameOrId
    const groups = await this.options.records.list(GROUP_PREFIX, decodeGroup)
    return groups.find(({ id }) => id === nameOrId)?.name ?? nameOrId
  }

  /** Whether a snapshot of that id belongs to the group that its title names. */
  async isMember(group: string, snapshotId: string): Promise<boolean> {
    return (await this.read(group))?.value.snapshotId === snapshotId
  }

  /** @throws HoldfastError that nothing was changed, or `change-outcome` */
  private async attempt(request: CreateGroupRequest): Promise<AttemptEnd> {
    const { name, labels, id } = request
    const judged = await Promise.all(request.volumes.map((volume) => this.judge(volume, request)))
    // One may be named by its name and by its id.
    checkGroupVolumes(judged.map((one) => one.name))
    const snapshotId = randomUUID().replaceAll('-', '')
    const createdAtMs = Date.now()
    const members = judged.map(({ member }) => member)
    const group: GroupRecord = { name, id, state: 'taking', snapshotId, labels, createdAtMs, members }
    const end = await this.remains.whileTaking(snapshotId, () => this.certain(request, async () => {
      const isOurs = await this.options.records.put(groupKey(name), undefined, encodeGroup(group))
      return isOurs ? this.take(group, judged) : NOTHING
    }))
    if (end.refusal !== undefined) this.remains.begin(name)
    return end
  }

  private async take(group: GroupRecord, judged: readonly Judged[]): Promise<AttemptEnd> {
    const { records, onGroup } = this.options
    const { name, snapshotId, createdAtMs, labels } = group
    const title = { name, createdAtMs, labels, group: name }
    const members = judged.map(({ name: volume, member: record, primary }) => ({ record, volume, primary }))
    const end = await takeAtOnce({ snapshotId, title, members })
    const stored = await this.read(name)
    if (stored?.value.snapshotId !== snapshotId || stored.value.state !== 'taking') return decidedElsewhere()
    const becomes = async (next: GroupRecord): Promise<GroupRecord> => {
      return (await records.put(groupKey(name), stored.version, encodeGroup(next))) ? next : decidedElsewhere()
    }
    if (end.outcome === 'taken') {
      const taken = end.seqs.map((seq, i) => ({ seq, sizeBytes: judged[i]!.sizeBytes }))
      const all = await becomes(made(group, taken))
      onGroup?.(all, end.heldMs)
      return { made: all }
    }
    // What is not known is decided by what the volumes show.
    if (end.outcome === 'refused') await becomes({ ...group, state: 'undoing' })
    const { volume, error } = end
    return { refusal: new HoldfastError('group-not-made', { group: name, volume, reason: reasonOf(error) }) }
  }

  /** @throws HoldfastError when a snapshot of that name cannot be made of it */
  private async judge(volume: string, { name: snapshot, labels }: CreateGroupRequest): Promise<Judged> {
    const { wishes } = this.options
    const record = await wishes.find(volume)
    const { id: volumeId } = record.spec
    const query = () => ({ ids: [], names: [snapshot], after: { seq: 0, id: '' }, limit: 0 })
    const { answer, primary } = await lookWhenLed(this.options, { record, what: `group snapshot ${snapshot}`, query })
    const { changed: expected, sizeBytes, count, snapshots } = answer
    const [other] = snapshots
    if (other !== undefined) throw alreadyThere(record.spec.name, other)
    const title = { name: snapshot, labels, createdAtMs: Date.now() }
    if (!hasRoomFor(answer, title)) throw new HoldfastError('snapshot-limit', { volume: record.spec.name, count })
    return { name: record.spec.name, record, member: { volumeId, expected, seq: 0, sizeBytes: 0 }, sizeBytes, primary }
  }

  /** Something of the request may be under way when this fails. @throws HoldfastError `change-outcome` */
  private async certain<T>(request: CreateGroupRequest, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof HoldfastError) throw this.unknown(request, reasonOf(error))
      throw error
    }
  }

  private readAgain(request: CreateGroupRequest, attempts: number): Promise<Stored<GroupRecord> | undefined> {
    const read = () => this.read(request.name)
    return attempts === 0 ? read() : this.certain(request, read)
  }

  private read(name: string): Promise<Stored<GroupRecord> | undefined> {
    return this.remains.read(name)
  }

  private unknown({ name, volumes }: CreateGroupRequest, reason: string): HoldfastError {
    return new HoldfastError('change-outcome', { what: `group snapshot ${name}`, volume: volumes.join(', '), reason })
  }

  private view({ members, ...group }: GroupRecord): SnapshotGroup {
    const volumes = this.options.controller.term()?.cluster.volumes
    const shownMembers = members.map(({ volumeId, seq, sizeBytes }) => {
      return { volume: volumes?.get(volumeId)?.record?.spec.name ?? '', volumeId, seq, sizeBytes }
    })
    return { ...group, members: shownMembers }
  }
}

const missing = (group: string): HoldfastError => new HoldfastError('group-not-found', { group: shown(group) })

const exists = ({ name: group, state }: GroupRecord, difference = 'it was made before'): HoldfastError => {
  const words = { made: difference, taking: 'it is being made', undoing: 'it is being deleted' }
  return new HoldfastError('group-exists', { group, reason: words[state] })
}

/**
 * There is another controller, or there was: whoever is elected is asked what came of it. We try nothing anew, so that
 * nothing of ours follows what that one says.
 */
const decidedElsewhere = (): never => {
  throw new HoldfastError('no-controller', { reason: 'another node decides by now' })
}
