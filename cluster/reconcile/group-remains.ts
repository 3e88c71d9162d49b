/**
 * What is left of groups that are not `made` (GROUPS.md G3, G4): somebody else's `taking` is finished by what the
 * volumes show, `undoing` is cleaned away, and then its record is removed. The elected controller does it for as long
 * as there is any; any number of them may, and each may die anywhere.
 */
import { partOf, made } from '../../engine/control/snapshot-group.ts'
import type { GroupRecord, MemberPart, MemberRecord } from '../../engine/control/snapshot-group.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { SNAPSHOT_USE_MS } from '../../engine/replication/snapshot-uses.ts'
import type { Problem } from '../api/node-messages.ts'
import { isName } from '../api/names.ts'
import { decodeGroup, encodeGroup, groupKey } from '../store/snapshot-groups.ts'
import type { RecordStore, Stored } from './record-store.ts'
import { look, reasonOf, settle } from './settled-change.ts'
import type { Asked, SettlingOptions } from './settled-change.ts'
import type { VolumeWishes } from './volume-wishes.ts'

export interface RemainsOptions extends SettlingOptions {
  wishes: VolumeWishes
  records: RecordStore
  onBug(error: unknown): void
}

/** What is in the way. */
export interface Left {
  volume: string
  reason: string
}

export class GroupRemains {
  private readonly options: RemainsOptions
  /** Attempts of this process, by their snapshot id: not ours to finish. */
  private readonly taking = new Set<string>()
  private readonly settling = new Map<string, Promise<Left | undefined>>()
  /** Of those that could not be settled. */
  private readonly left = new Map<string, Left>()

  constructor(options: RemainsOptions) {
    this.options = options
  }

  /** Of `holdfast status`. */
  problems(): Problem[] {
    const groups = this.options.controller.term()?.cache.groups
    const isThere = (name: string) => (groups?.get(name)?.state ?? 'made') !== 'made'
    return [...this.left].filter(([name]) => isThere(name)).map(([name, { volume, reason }]) => ({
      what: `group snapshot ${name} is not made, or deleted, and something of it is left`,
      why: `volume ${volume}: ${reason}`,
      next: 'it goes by itself as soon as that volume is served and nobody reads it',
    }))
  }

  async whileTaking<T>(snapshotId: string, work: () => Promise<T>): Promise<T> {
    this.taking.add(snapshotId)
    try {
      return await work()
    } finally {
      this.taking.delete(snapshotId)
    }
  }

  /** Begins with all that nobody is at, and waits for nothing. */
  turn(): void {
    const term = this.options.controller.term()
    if (term === undefined) return
    for (const { name, state, snapshotId } of term.cache.groups.values()) {
      if (state !== 'made' && !this.taking.has(snapshotId)) this.begin(name)
    }
  }

  /** The same of one. */
  begin(name: string): void {
    if (!this.settling.has(name)) this.settle(name).catch(this.options.onBug)
  }

  /**
   * Not twice at a time for one of them. Rejects for bugs only.
   * @returns what is in the way; undefined: it is made, or nothing is left of it
   */
  settle(name: string): Promise<Left | undefined> {
    const known = this.settling.get(name)
    if (known !== undefined) return known
    const settled = this.finish(name).finally(() => this.settling.delete(name))
    settled.then((left) => (left === undefined ? this.left.delete(name) : this.left.set(name, left)), () => undefined)
    this.settling.set(name, settled)
    return settled
  }

  /**
   * Refused before anything is changed. Who begins to read behind this keeps his own part until he ends.
   * @throws HoldfastError `snapshot-in-use`
   */
  async checkUnused(group: GroupRecord): Promise<void> {
    await Promise.all(group.members.map(async (member) => {
      const asked = await this.asked(group, member)
      const answer = asked === undefined ? undefined : (await tried(() => look(this.options, asked)))?.answer
      if (answer === undefined || answer.inUse === '') return
      const seconds = SNAPSHOT_USE_MS / 1000
      const of = { volume: asked!.record.spec.name, snapshot: group.name }
      throw new HoldfastError('snapshot-in-use', { ...of, reason: answer.inUse, seconds })
    }))
  }

  private async finish(name: string): Promise<Left | undefined> {
    try {
      let stored = await this.read(name)
      if (stored?.value.state === 'taking' && !this.taking.has(stored.value.snapshotId)) {
        const left = await this.decide(stored)
        if (left !== undefined) return left
        stored = await this.read(name)
      }
      if (stored?.value.state !== 'undoing') return undefined
      const group = stored.value
      const lefts = await Promise.all(group.members.map((member) => this.clean(group, member)))
      const left = lefts.find((one) => one !== undefined)
      if (left !== undefined) return left
      await this.options.records.put(groupKey(name), stored.version, undefined)
      return undefined
    } catch (error) {
      if (error instanceof HoldfastError) return { volume: 'its members', reason: reasonOf(error) }
      throw error
    }
  }

  /** G4: made if all of it was taken; else it never is. */
  private async decide({ value: group, version }: Stored<GroupRecord>): Promise<Left | undefined> {
    const { records } = this.options
    const parts = await Promise.all(group.members.map((member) => this.part(group, member)))
    const isMissing = parts.some((part) => !('volume' in part) && part.part !== 'taken')
    const left = parts.find((part): part is Left => 'volume' in part)
    if (!isMissing && left !== undefined) return left
    const taken = parts.flatMap((part) => (!('volume' in part) && part.part === 'taken' ? [part.snapshot] : []))
    const next = isMissing ? { ...group, state: 'undoing' as const } : made(group, taken)
    await records.put(groupKey(group.name), version, encodeGroup(next))
    return undefined
  }

  private async part(group: GroupRecord, member: MemberRecord): Promise<MemberPart | Left> {
    const asked = await this.asked(group, member)
    if (asked === undefined) return { part: 'never' }
    try {
      return partOf(group.snapshotId, member, (await look(this.options, asked)).answer)
    } catch (error) {
      if (error instanceof HoldfastError) return { volume: asked.record.spec.name, reason: reasonOf(error) }
      throw error
    }
  }

  /** G3: none is there, and none will be. */
  private async clean(group: GroupRecord, member: MemberRecord): Promise<Left | undefined> {
    const asked = await this.asked(group, member)
    if (asked === undefined) return undefined
    const { snapshotId: id } = group
    try {
      await settle(this.options, asked, (answer) => {
        if (partOf(id, member, answer).part === 'never') return { done: undefined }
        return { order: { operation: 'snapshot-delete', id }, made: () => undefined }
      })
      return undefined
    } catch (error) {
      if (error instanceof HoldfastError) return { volume: asked.record.spec.name, reason: reasonOf(error) }
      throw error
    }
  }

  /** Undefined: there is no such volume, or it is in the trash (G7). */
  private async asked({ name, snapshotId }: GroupRecord, { volumeId }: MemberRecord): Promise<Asked | undefined> {
    const record = await this.options.wishes.recordOf(volumeId)
    if (record === undefined || record.trash !== null) return undefined
    const query = () => ({ ids: [snapshotId], names: [], after: { seq: 0, id: '' }, limit: 0 })
    return { record, what: `the snapshot of group ${name}`, query }
  }

  /** By name, of users too: what is no name is nobody's, and the store may have no such key at all. */
  async read(name: string): Promise<Stored<GroupRecord> | undefined> {
    if (!isName(name)) return undefined
    return this.options.records.read(groupKey(name), (value) => decodeGroup(name, value))
  }
}

/** Undefined: it cannot be asked now. */
async function tried<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof HoldfastError) return undefined
    throw error
  }
}
