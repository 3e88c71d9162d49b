/**
 * What the API writes, of volumes above all (engine/control/SPEC.md section 1): one key at a time, so that each order
 * of steps leaves something that the next caller, or the trash, sets right.
 *
 *   create   name -> record -> is the name still ours?          a name without a live volume of it is taken over
 *   delete   record into the trash -> is nobody attached? -> name freed, unless somebody has taken it
 *   end use  nobody's any more, or a generation that nobody has: for a rollback, which is ordered behind it
 *   attach   holder -> is the volume still there?               else the holder lets go again
 *   restore  name (put anew, so that a deletion under way does not free it) -> record -> is the name still ours?
 */
import { randomUUID } from 'node:crypto'
import {
  attached, attachedAnew, detached, isInForce, isLocal, losers, restingMode, spent,
} from '../../engine/control/attach-wish.ts'
import type { HoldingMode } from '../../engine/control/attach-wish.ts'
import { deleted, purged, restored } from '../../engine/control/volume-record.ts'
import type { Move, VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { formatSize } from '../api/amounts.ts'
import { isId, isName, shown } from '../api/names.ts'
import { beatKey } from '../membership/beat-body.ts'
import type { DiskWish, NodeWish } from '../../engine/control/node-status.ts'
import { decodeDiskWish, diskWishKey, encodeDiskWish } from '../store/disk-wishes.ts'
import { nodeKey } from '../store/node-records.ts'
import { decodeRemoved, encodeRemoved, removedKey } from '../store/removed-nodes.ts'
import { decodeNodeWish, encodeNodeWish, nodeWishKey } from '../store/node-wishes.ts'
import { AGE_KEY, decodeAge } from '../store/cluster-age.ts'
import { VOLUME_PREFIX, decodeVolume, encodeVolume, volumeKey } from '../store/volume-records.ts'
import { configKey, decodeConfig, encodeConfig } from '../store/volume-configs.ts'
import { decodeMove, encodeMove, moveKey } from '../store/volume-moves.ts'
import { decodeName, encodeName, nameKey } from '../store/volume-names.ts'
import { HOLDERS_MAX } from '../../engine/replication/configuration.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { Version } from '../store/cluster-store.ts'
import type { RecordStore, Stored } from './record-store.ts'

/** Beyond the deadline of one call of the store. */
const MAKING_MS = 6_000
const LOOK_EVERY_MS = 50

export interface AttachWish {
  node: string
  mode: HoldingMode
  /** Whoever loses it by that. */
  force: boolean
  /** Only while this is the newest generation; undefined: whatever it is. */
  follows?: number | undefined
}

/** A connection, by the generation under which it was made. */
export interface Client {
  node: string
  generation: number
}

function attachedError(name: string, { attach }: VolumeConfig, holders: readonly string[]): HoldfastError {
  return new HoldfastError('volume-attached', { name, holders: holders.join(', '), mode: attach.mode })
}

/** U7. @throws HoldfastError `volume-not-local` */
function checkLocal({ spec: { name }, dataLocality }: VolumeRecord, config: VolumeConfig, node: string): void {
  if (dataLocality !== 'strict' || config.attach.holders[node] !== undefined || isLocal(config, node)) return
  const copies = Object.keys(config.members).filter((one) => isLocal(config, one)).sort().join(', ')
  throw new HoldfastError('volume-not-local', { name, node, copies })
}

/** Who holds it by an attachment that was begun later is not who was meant. */
const heldUpTo = (newest: number, { attach }: VolumeConfig, nodes: readonly string[]): string[] =>
  nodes.filter((node) => (attach.holders[node] ?? 0) <= newest)

export class VolumeWishes {
  private readonly records: RecordStore
  private readonly makingMs: number

  /** @param makingMs  a name whose volume is not there after so long is of one that was never made */
  constructor(records: RecordStore, makingMs = MAKING_MS) {
    this.records = records
    this.makingMs = makingMs
  }

  /** @throws HoldfastError `volume-exists` */
  async create(record: VolumeRecord): Promise<void> {
    const { id, name } = record.spec
    await this.takeName(name, id)
    const won = await this.records.put(volumeKey(id), undefined, encodeVolume(record))
    if (won && (await this.idOf(name)) === id) return
    // Somebody took the name before the record was there to hold it.
    if (won) await this.update(id, (one) => ({ ...one, trash: { deletedAtAgeMs: 0, keepMs: 0, isPurging: true } }))
    else await this.freeUnlessOf(name, id)
    throw new HoldfastError('volume-exists', { name, existing: 'made at the same time' })
  }

  /** Undefined: no volume has that name. What is no name is not asked for: the store may have no such key at all. */
  async idOf(name: string): Promise<string | undefined> {
    if (!isName(name)) return undefined
    return (await this.records.read(nameKey(name), decodeName))?.value
  }

  /** By a volume that is not in the trash. */
  async isUsed(name: string): Promise<boolean> {
    const id = await this.idOf(name)
    return id !== undefined && (await this.isLive(id, name, 0))
  }

  /** By id or name, not in the trash. @throws HoldfastError `volume-not-found` */
  async find(name: string): Promise<VolumeRecord> {
    const byId = isId(name) ? (await this.record(name))?.value : undefined
    if (byId?.trash === null) return byId
    // Of a former version one may be called like an id.
    const id = await this.idOf(name)
    const record = id === undefined ? undefined : (await this.record(id))?.value
    // A creation that broke off may have left the name at a volume of another one.
    if (record?.trash === null && record.spec.name === name) return record
    throw new HoldfastError('volume-not-found', { name: shown(name) })
  }

  /** Also in the trash. */
  async recordOf(id: string): Promise<VolumeRecord | undefined> {
    return (await this.record(id))?.value
  }

  /** Change the wish of a volume that is there. Undefined: as it is. @returns as it is now */
  async update(id: string, next: (record: VolumeRecord) => VolumeRecord | undefined): Promise<VolumeRecord> {
    const decode = (value: Uint8Array) => decodeVolume(id, value)
    return this.records.change(volumeKey(id), decode, encodeVolume, async (record) => {
      if (record === undefined) throw new HoldfastError('volume-not-found', { name: id })
      return next(record) ?? record
    })
  }

  /** Into the trash. @param keepMs  0: purged as soon as nobody holds it */
  async delete(given: string, options: { keepMs: number; force: boolean }): Promise<void> {
    const record = await this.find(given)
    const { id, name } = record.spec
    const holder = await this.records.read(nameKey(name), decodeName)
    const ageMs = (await this.records.read(AGE_KEY, decodeAge))?.value ?? 0
    const by = randomUUID()
    await this.update(id, (one) => {
      // A forced one takes over what is there: who put it there may take it back.
      const isOver = options.force && one.trash?.isPurging === false
      const next = deleted(isOver ? { ...one, trash: null } : one, ageMs, options.keepMs)
      return next && { ...next, trash: { ...next.trash!, by } }
    })
    const config = (await this.records.read(configKey(id), (value) => decodeConfig(id, value)))?.value
    const holders = Object.keys(config?.attach.holders ?? {})
    if (config !== undefined && holders.length > 0) {
      if (!options.force) {
        await this.update(id, (one) => (one.trash?.by === by ? restored(one) : undefined))
        throw attachedError(name, config, holders)
      }
      await this.letGo(record, holders, config.attach.generation)
    }
    if (holder?.value === id) await this.records.put(nameKey(name), holder.version, undefined)
  }

  /** Out of the trash, by name or id. */
  async restore(name: string): Promise<VolumeRecord> {
    const record = await this.inTrash(name)
    const { id } = record.spec
    const refusePurged = ({ trash }: VolumeRecord) => {
      if (trash?.isPurging === true) throw new HoldfastError('volume-purged', { name: record.spec.name })
    }
    refusePurged(record)
    await this.takeName(record.spec.name, id)
    const now = await this.update(id, (one) => {
      refusePurged(one)
      return restored(one)
    })
    if ((await this.idOf(record.spec.name)) === id) return now
    await this.update(id, (one) => ({ ...one, trash: record.trash }))
    throw new HoldfastError('volume-exists', { name: record.spec.name, existing: 'made at the same time' })
  }

  /** There is no way back. */
  async purge(name: string): Promise<void> {
    const { spec: { id } } = await this.inTrash(name)
    await this.update(id, purged)
  }

  /** A configuration in place of the one of that version. @returns whether that was still there */
  configure(id: string, version: string, config: VolumeConfig): Promise<boolean> {
    return this.records.put(configKey(id), version as Version, encodeConfig(config))
  }

  /**
   * That node's clients may use it, and nobody's of an older generation (engine/control/SPEC.md section 13).
   * @param clients  as far as they are known; those of an open volume lose it
   * @throws HoldfastError `attachment-overtaken`, `volume-not-local`, `parameter`: too many hold it; unless forced
   *   `volume-attached`, `volume-in-use`
   */
  async attach(wished: VolumeRecord, wish: AttachWish, clients: readonly Client[]): Promise<VolumeConfig> {
    const { node, mode, force, follows } = wish
    const { id, name } = wished.spec
    const config = await this.reconfigure(id, name, (now) => {
      const next = attached(now, node, mode, randomUUID())
      if (next === now) return next
      const { generation } = now.attach
      if (follows !== undefined && generation !== follows) {
        throw new HoldfastError('attachment-overtaken', { name, node, read: follows, generation })
      }
      checkLocal(wished, now, node)
      if (Object.keys(next.attach.holders).length > HOLDERS_MAX) {
        const allowed = `one of the ${HOLDERS_MAX} nodes that may hold it at a time`
        throw new HoldfastError('parameter', { parameter: 'node', value: node, allowed })
      }
      if (force) return next
      const losing = losers(now, node, mode)
      if (losing.length > 0) throw attachedError(name, now, losing)
      const sessions = clients.filter((client) => isInForce(now.attach, client)).length
      if (now.attach.mode === 'open' && sessions > 0) throw new HoldfastError('volume-in-use', { name, sessions })
      return next
    })
    const record = (await this.record(id))?.value
    if (record !== undefined && record.trash === null) return config
    await this.letGo(wished, [node], config.attach.generation)
    throw new HoldfastError('volume-not-found', { name: shown(name) })
  }

  /**
   * By id or name, also in the trash. @param from  empty: the only one that holds it; all: whoever does
   * @param generation  who holds it under a newer one keeps it; 0: newer than it is when it is first read, however
   * often somebody else is faster then
   * @param spend  no attachment that follows a generation of before begins any more
   * @returns what is agreed, undefined: nothing yet, so nobody holds it; `was`: whether it was attached
   * @throws HoldfastError `parameter` when several hold it and none is named
   */
  async detach(
    given: string, from: { node: string } | 'all', generation = 0, spend = false,
  ): Promise<{ record: VolumeRecord; config: VolumeConfig | undefined; was: boolean }> {
    const record = await this.findAnywhere(given)
    const { spec: { id, name } } = record
    const node = from === 'all' ? '' : from.node
    let was = false
    let newest = generation === 0 ? undefined : generation
    const next = (now: VolumeConfig): VolumeConfig => {
      newest ??= now.attach.generation
      const holders = Object.keys(now.attach.holders)
      if (from !== 'all' && node === '' && holders.length > 1) {
        throw new HoldfastError('parameter', { parameter: 'from', value: 'none', allowed: holders.sort().join(', ') })
      }
      const asked = node === '' ? holders : [node]
      const rest = detached(now, heldUpTo(newest, now, asked), restingMode(record.attachMode), randomUUID())
      was ||= rest !== now
      const isOver = asked.every((one) => rest.attach.holders[one] === undefined)
      return spend && isOver ? spent(rest, randomUUID()) : rest
    }
    const config = await this.reconfigure(id, name, next).catch((error: unknown) => {
      if (error instanceof HoldfastError && error.code === 'volume-waits') return undefined
      throw error
    })
    return { record, config, was }
  }

  /**
   * Whoever used it until now does not any more (SNAPSHOTS.md T6): a new generation in mode `open`, no holders in the
   * others. @param clients  as far as they are known
   * @throws HoldfastError `volume-attached` or `volume-in-use` unless it is forced
   */
  async endUse(
    { spec: { id, name }, attachMode }: VolumeRecord, force: boolean, clients: readonly Client[],
  ): Promise<VolumeConfig> {
    return this.reconfigure(id, name, (now) => {
      const holders = Object.keys(now.attach.holders).sort()
      if (holders.length > 0 && !force) throw attachedError(name, now, holders)
      const sessions = clients.filter((client) => isInForce(now.attach, client)).length
      if (sessions > 0 && !force) throw new HoldfastError('volume-in-use', { name, sessions })
      if (now.attach.mode === 'open') return attachedAnew(now, randomUUID())
      return detached(now, holders, restingMode(attachMode), randomUUID())
    })
  }

  private letGo(
    { spec, attachMode }: VolumeRecord, nodes: readonly string[], newest: number,
  ): Promise<VolumeConfig> {
    const next = (now: VolumeConfig) =>
      detached(now, heldUpTo(newest, now, nodes), restingMode(attachMode), randomUUID())
    return this.reconfigure(spec.id, spec.name, next)
  }

  /** What is agreed becomes what `next` makes of it; the same object: nothing is written. */
  private async reconfigure(
    id: string, name: string, next: (now: VolumeConfig) => VolumeConfig,
  ): Promise<VolumeConfig> {
    const decode = (value: Uint8Array) => decodeConfig(id, value)
    const nextOf = (found: VolumeConfig | undefined): VolumeConfig => {
      if (found === undefined) throw new HoldfastError('volume-waits', { name, reason: 'its copies are being made' })
      return next(found)
    }
    const found = (await this.records.read(configKey(id), decode))?.value
    if (nextOf(found) === found) return found!
    return this.records.change(configKey(id), decode, encodeConfig, async (now) => nextOf(now))
  }

  /** The newest wish counts. */
  async move(id: string, move: Move): Promise<void> {
    await this.records.change(moveKey(id), decodeMove, encodeMove, async () => move)
  }

  /** SPEC.md A6. Once: who is faster is not overtaken, and whether it was done is not told. */
  async lead(id: string, to: string): Promise<void> {
    const found = await this.records.read(moveKey(id), decodeMove)
    if (found !== undefined && found.value.isFollowing !== true) return
    const move: Move = { what: 'primary', to, from: '', isFollowing: true }
    await this.records.put(moveKey(id), found?.version, encodeMove(move))
  }

  /** It follows nobody who does not hold the volume. */
  async endLead({ volumeId, attach }: VolumeConfig): Promise<void> {
    const found = await this.records.read(moveKey(volumeId), decodeMove)
    if (found?.value.isFollowing !== true || attach.holders[found.value.to] !== undefined) return
    await this.records.put(moveKey(volumeId), found.version, undefined)
  }

  async node(name: string, wish: NodeWish): Promise<void> {
    await this.records.change(nodeWishKey(name), decodeNodeWish, encodeNodeWish, async () => wish)
  }

  /**
   * First what proves it is worth nothing, so that it does not come back by itself; then its record: from then on it is
   * no node, whatever becomes of the rest.
   */
  async removeNode(name: string, removedAtMs: number): Promise<void> {
    const decode = (value: Uint8Array) => decodeRemoved(name, value)
    const removed = async () => ({ name, removedAtMs })
    await this.records.change(removedKey(name), decode, encodeRemoved, removed)
    for (const key of [nodeKey(name), nodeWishKey(name), beatKey(name)]) await this.records.remove(key)
  }

  async disk(uuid: string, wish: DiskWish): Promise<void> {
    await this.records.change(diskWishKey(uuid), decodeDiskWish, encodeDiskWish, async () => wish)
  }

  /** All that were deleted and are not gone yet. */
  async trash(): Promise<VolumeRecord[]> {
    const found = await this.records.list(VOLUME_PREFIX, decodeVolume)
    return found.filter(({ trash }) => trash !== null)
  }

  private record(id: string): Promise<Stored<VolumeRecord> | undefined> {
    return this.records.read(volumeKey(id), (value) => decodeVolume(id, value))
  }

  private async findAnywhere(name: string): Promise<VolumeRecord> {
    try {
      return await this.find(name)
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'volume-not-found') return this.inTrash(name)
      throw error
    }
  }

  /** By id or name; of several of one name the one that was deleted last. */
  private async inTrash(name: string): Promise<VolumeRecord> {
    // Not by a list of all volumes.
    const byId = isId(name) ? (await this.record(name))?.value : undefined
    if (byId !== undefined && byId.trash !== null) return byId
    if (byId !== undefined) throw new HoldfastError('volume-kept', { name: byId.spec.name })
    const found = (await this.trash()).filter(({ spec }) => spec.id === name || spec.name === name)
    found.sort((a, b) => b.trash!.deletedAtAgeMs - a.trash!.deletedAtAgeMs)
    if (found[0] !== undefined) return found[0]
    if (await this.isUsed(name)) throw new HoldfastError('volume-kept', { name })
    throw new HoldfastError('volume-not-found', { name: shown(name) })
  }

  /** Put anew when it is ours. A name may be taken over from a volume that is in the trash, or was never made. */
  private async takeName(name: string, id: string): Promise<void> {
    let former: string | undefined
    await this.records.change(nameKey(name), decodeName, encodeName, async (holder) => {
      former = holder === id ? undefined : holder
      const isTaken = former !== undefined && (await this.isLive(former, name, this.makingMs))
      if (isTaken) throw await this.exists(name, former!)
      return id
    })
    if (former === undefined || !(await this.isLive(former, name, 0))) return
    // It was slow, and is there after all: both see the other one, so both give way.
    const giveBack = async (holder: string | undefined) => (holder === id ? former! : holder ?? former!)
    await this.records.change(nameKey(name), decodeName, encodeName, giveBack)
    throw await this.exists(name, former)
  }

  /** An id that is in use gets no second name. */
  private async freeUnlessOf(name: string, id: string): Promise<void> {
    const record = (await this.record(id))?.value
    const holder = await this.records.read(nameKey(name), decodeName)
    if (record === undefined || record.spec.name === name || holder?.value !== id) return
    await this.records.put(nameKey(name), holder.version, undefined)
  }

  /** Under that name. @param makingMs  one that is not there may just be made: it is waited for so long */
  private async isLive(id: string, name: string, makingMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + makingMs
    let record = await this.record(id)
    while (record === undefined && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
      record = await this.record(id)
    }
    return record !== undefined && record.value.trash === null && record.value.spec.name === name
  }

  private async exists(name: string, id: string): Promise<HoldfastError> {
    const record = (await this.record(id))?.value
    const existing = record === undefined ? 'being made' : formatSize(record.spec.sizeBytes)
    return new HoldfastError('volume-exists', { name, existing })
  }
}
