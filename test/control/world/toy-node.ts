/**
 * A node of the simulated control plane: disks, and copies that are no more than how much of the volume's history they
 * have. It says what it has, makes empty copies, and erases by the node's part of E3.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { NEVER_SCRUBBED } from '../../../engine/control/node-status.ts'
import type { CopyStatus, DiskWish, NodeStatus } from '../../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { DiskStatus } from '../../../engine/volume/volume-spec.ts'
import type { Random } from '../../sim/random.ts'
import type { ToyStore } from './toy-store.ts'

export interface ToyDisk {
  uuid: string
  pool: string
  tags: string[]
  capacityBytes: number
  isFailed: boolean
}

export interface ToyCopy {
  volumeId: string
  copyId: string
  isVirgin: boolean
  /** Writes it has, counted; and whether a fill is under way. */
  has: number
  isConsistent: boolean
  isWhole: boolean
  diskUuids: string[]
  failure: string
  /** Ticks of its fill that are left. */
  fillLeft: number
  usedBytes: number
  /** Writes of which it cannot read what they wrote. */
  lacks: Set<number>
  /** Of a clone's copy: slices it shares, and with which copy; and whether its node knows that it is to end. */
  shared: number
  below: ToyCopy | undefined
  isHydrating: boolean
}

/** What its volume knows of a copy. */
export type Said = Pick<CopyStatus, 'role' | 'epoch' | 'hearsPrimary' | 'held' | 'awaits'>

/** As the real limits, less. */
const LEVELS_MOST = 4
const READERS_MOST = 5

const levelsOf = ({ below }: ToyCopy): number => (below === undefined ? 0 : 1 + levelsOf(below))

export class ToyNode {
  readonly name: string
  readonly zone: string
  readonly disks: ToyDisk[]
  readonly copies = new Map<string, ToyCopy>()
  /** Of copies that were removed while clones read them. */
  readonly remains = new Set<ToyCopy>()
  isUp = true
  /** When it came up, or the last thing happened to it that may exclude it. */
  touchedAtMs = -Infinity
  instance = 1
  private copyNumber = 0

  constructor(name: string, zone: string, disks: ToyDisk[]) {
    this.name = name
    this.zone = zone
    this.disks = disks
  }

  /** False: it has one, or nowhere to put it, or of a clone nothing to share with. */
  makeCopy({ spec, trash, origin }: VolumeRecord, store: ToyStore, random: Random): boolean {
    if (this.copies.has(spec.id) || trash?.isPurging === true) return false
    const left = [...this.remains].filter(({ volumeId }) => volumeId === spec.id)
    // B5: clones beside it get first what they read there.
    for (const one of left) for (const reader of this.readersOf(one)) reader.isHydrating = true
    if (left.length > 0) return false
    const isFirst = origin !== undefined && store.get(`configs/${spec.id}`) === undefined
    const below = isFirst ? this.copies.get(origin.volumeId) : undefined
    if (isFirst && (below === undefined || below.isVirgin || !below.isConsistent || below.failure !== '')) return false
    if (below !== undefined && levelsOf(below) + 1 >= LEVELS_MOST) return false
    if (below !== undefined && this.readersOf(below).length >= READERS_MOST) return false
    const disks = this.disks.filter(({ uuid, isFailed, pool, tags }) => {
      const isEvicted = store.get<DiskWish>(`disk-wishes/${uuid}`)?.isEvicted === true
      return !isFailed && !isEvicted && pool === spec.pool && spec.diskTags.every((tag) => tags.includes(tag))
    })
    if (disks.length === 0) return false
    const copyId = `${this.name}.${spec.id}.${++this.copyNumber}`
    this.copies.set(spec.id, {
      volumeId: spec.id,
      copyId,
      isVirgin: true,
      has: isFirst ? origin.seq : 0,
      isConsistent: true,
      isWhole: true,
      diskUuids: below?.diskUuids ?? [random.pick(disks).uuid],
      failure: '',
      fillLeft: 0,
      usedBytes: 0,
      lacks: new Set(),
      shared: below === undefined ? 0 : random.between(1, 4),
      below,
      isHydrating: false,
    })
    return true
  }

  readersOf(copy: ToyCopy): ToyCopy[] {
    return [...this.copies.values(), ...this.remains].filter(({ below }) => below === copy)
  }

  levelsOf(volumeId: string): number {
    return levelsOf(this.copies.get(volumeId)!)
  }

  isLastReader({ below }: ToyCopy): boolean {
    return below !== undefined && this.remains.has(below) && this.readersOf(below).length === 1
  }

  erase(volumeId: string): void {
    const copy = this.copies.get(volumeId)
    this.copies.delete(volumeId)
    if (copy !== undefined && this.readersOf(copy).length > 0) this.remains.add(copy)
    this.sweep()
  }

  /** O2: in the memory of its process. */
  hydrate(volumeId: string, store: ToyStore): void {
    const copy = this.copies.get(volumeId)
    if (copy?.below === undefined || copy.failure !== '') return
    if (store.get<VolumeRecord>(`volumes/${volumeId}`)?.hydration !== undefined) copy.isHydrating = true
  }

  /** A slice each. */
  hydrateStep(): void {
    for (const copy of this.copies.values()) {
      if (!copy.isHydrating || --copy.shared > 0) continue
      copy.isHydrating = false
      copy.shared = 0
      copy.below = undefined
    }
    this.sweep()
  }

  private sweep(): void {
    for (const one of this.remains) if (this.readersOf(one).length === 0) this.remains.delete(one)
  }

  /** E3, the node's part. */
  mayErase(store: ToyStore, order: { volumeId: string; copyId: string; epoch: number }): boolean {
    const copy = this.copies.get(order.volumeId)
    const record = store.get<VolumeRecord>(`volumes/${order.volumeId}`)
    if (copy === undefined || copy.copyId !== order.copyId || record === undefined) return false
    if (record.trash?.isPurging === true) return true
    const config = store.get<VolumeConfig>(`configs/${order.volumeId}`)
    if (config === undefined) return copy.isVirgin && copy.failure !== ''
    return config.epoch === order.epoch && config.members[this.name]?.copyId !== copy.copyId
  }

  status(roleOf: (copy: ToyCopy) => Said): NodeStatus {
    const copies = [...this.copies.values()].map((copy): CopyStatus => {
      const { volumeId, copyId, isConsistent, isWhole, isVirgin, diskUuids, usedBytes, fillLeft, failure } = copy
      const { role, epoch, hearsPrimary, held, awaits } = roleOf(copy)
      return {
        volumeId, copyId, role, epoch, isConsistent, isWhole, durability: 'durable', durabilityNext: '',
        isVirgin, lostSlices: 0,
        diskUuids,
        usedBytes, logicalBytes: usedBytes,
        snapshots: 0, newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0,
        seq: copy.has, commitSeq: copy.has,
        lagBytes: fillLeft, hearsPrimary, held, isPoolFull: false, awaits, heldRequests: 0, joining: '', failure,
        ...NEVER_SCRUBBED,
        sharedSlices: copy.shared, sharedBytes: copy.shared, isHydrating: copy.isHydrating, levels: levelsOf(copy),
        readers: this.readersOf(copy).length, isLastReader: this.isLastReader(copy),
      }
    })
    const disks = this.disks.map((disk): DiskStatus => {
      const { uuid, pool, tags, capacityBytes, isFailed } = disk
      const used = [...this.copies.values()].filter(({ diskUuids }) => diskUuids.includes(uuid))
      const freeBytes = capacityBytes - used.reduce((sum, { usedBytes }) => sum + usedBytes, 0)
      return {
        uuid, path: uuid, pool, tags, state: isFailed ? 'failed' : 'online', reason: '', capacityBytes,
        freeBytes: Math.max(0, freeBytes), reserveBytes: 0, checksumErrors: 0,
      }
    })
    return { node: this.name, instance: `${this.name}.${this.instance}`, isOpen: true, disks, copies }
  }
}
