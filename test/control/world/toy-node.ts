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
}

export class ToyNode {
  readonly name: string
  readonly zone: string
  readonly disks: ToyDisk[]
  readonly copies = new Map<string, ToyCopy>()
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

  /** False: it has one, or nowhere to put it. */
  makeCopy({ spec, trash }: VolumeRecord, store: ToyStore, random: Random): boolean {
    if (this.copies.has(spec.id) || trash?.isPurging === true) return false
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
      has: 0,
      isConsistent: true,
      isWhole: true,
      diskUuids: [random.pick(disks).uuid],
      failure: '',
      fillLeft: 0,
      usedBytes: 0,
    })
    return true
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

  status(roleOf: (copy: ToyCopy) => Pick<CopyStatus, 'role' | 'epoch' | 'hearsPrimary' | 'held'>): NodeStatus {
    const copies = [...this.copies.values()].map((copy): CopyStatus => {
      const { volumeId, copyId, isConsistent, isWhole, isVirgin, diskUuids, usedBytes, fillLeft, failure } = copy
      const { role, epoch, hearsPrimary, held } = roleOf(copy)
      return {
        volumeId, copyId, role, epoch, isConsistent, isWhole, isVirgin, lostSlices: 0, diskUuids,
        usedBytes, logicalBytes: usedBytes,
        snapshots: 0, newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0,
        seq: copy.has, commitSeq: copy.has,
        lagBytes: fillLeft, hearsPrimary, held, isPoolFull: false, heldRequests: 0, failure,
        ...NEVER_SCRUBBED,
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
