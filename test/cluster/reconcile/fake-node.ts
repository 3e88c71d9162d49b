/**
 * The data side of a node for tests of the control plane: copies without bytes, which follow the configurations in the
 * store as real ones do. A copy that is named in its configuration leads or follows; the one that leads lets the dead
 * go and takes those that were filled into the set; when its own node is dead, another member of the set takes over.
 */
import type { RekeyReport } from '../../../cluster/reconcile/node-calls.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { VolumeEncryption } from '../../../engine/volume/volume-encryption.ts'
import { randomUUID } from 'node:crypto'
import type { LocalNode } from '../../../cluster/local-node.ts'
import type { ChangeAnswer, DigestAnswer, UsedBy } from '../../../cluster/reconcile/node-calls.ts'
import type { ClusterStore, Version } from '../../../cluster/store/cluster-store.ts'
import {
  CONFIG_PREFIX, configKey, decodeConfig, encodeConfig, volumeOfKey,
} from '../../../cluster/store/volume-configs.ts'
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../../engine/control/node-status.ts'
import type { CopyStatus, NodeStatus } from '../../../engine/control/node-status.ts'
import { SnapshotIndex } from '../../../engine/control/snapshot-index.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../../../engine/control/volume-snapshots.ts'
import { withMember, withPrimary, withSuccessor, withoutMembers } from '../../../engine/replication/configuration.ts'
import type { Attach, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { ChangeCommand, HoldCommand } from '../../../engine/replication/copy-port.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { GIB } from '../../../engine/units.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { listAll } from '../../conformance/cluster-store/calls-suite.ts'
import { FakeVolume } from './fake-volume.ts'

export class FakeNode implements LocalNode {
  readonly name: string
  readonly instance: string
  readonly copies = new Map<string, CopyStatus>()
  /** Of the cluster, by id. */
  readonly volumes: Map<string, FakeVolume>
  readonly erased: string[] = []
  /** Clients of this node. */
  sessions: UsedBy[] = []
  /** No copy here is filled. */
  isFillHeld = false
  isAlive = true
  freeBytes = 100 * GIB
  /** As it says. */
  diskUuid: string
  private readonly store: ClusterStore

  constructor(name: string, instance: string, store: ClusterStore, volumes = new Map<string, FakeVolume>()) {
    this.name = name
    this.diskUuid = `disk-${name}`
    this.volumes = volumes
    this.instance = instance
    this.store = store
  }

  async status(): Promise<NodeStatus> {
    const disk = {
      uuid: this.diskUuid, path: '/d', pool: 'default', tags: [], state: 'online' as const, reason: '',
      capacityBytes: 100 * GIB, freeBytes: this.freeBytes, reserveBytes: 0, checksumErrors: 0,
    }
    const copies = [...this.copies.values()].map((copy) => {
      const { durability, snapshots } = this.volume(copy.volumeId)
      const { count, newest, newestAtMs, newestScheduledAtMs } = new SnapshotIndex().follow(snapshots).summary
      const told = { snapshots: count, newestSnapshot: newest, newestSnapshotAtMs: newestAtMs, newestScheduledAtMs }
      return { ...copy, durability, ...told }
    })
    return { node: this.name, instance: this.instance, isOpen: true, disks: [disk], copies }
  }

  async makeCopy({ id: volumeId, sizeBytes }: VolumeSpec): Promise<{ copyId: string }> {
    if (!this.volumes.has(volumeId)) this.volume(volumeId).sizeBytes = sizeBytes
    if (this.copies.has(volumeId)) {
      const detail = { node: this.name, order: 'make a copy of', volume: volumeId, reason: 'there is one' }
      throw new HoldfastError('order-refused', detail)
    }
    const copyId = randomUUID()
    this.copies.set(volumeId, {
      volumeId, copyId, role: 'out', epoch: 0, isConsistent: true, isWhole: true,
      durability: 'durable', durabilityNext: '', isVirgin: true, lostSlices: 0,
      diskUuids: [`disk-${this.name}`], usedBytes: 0, logicalBytes: 0, seq: 0, commitSeq: 0, lagBytes: 0,
      snapshots: 0, newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0,
      hearsPrimary: false, held: '', isPoolFull: false, awaits: [], heldRequests: 0, joining: '', failure: '',
      ...NEVER_SCRUBBED, ...NOTHING_SHARED,
    })
    return { copyId }
  }

  async eraseCopy(volumeId: string, copyId: string): Promise<void> {
    if (this.copies.get(volumeId)?.copyId !== copyId) throw new Error('a copy is erased that is not there')
    this.copies.delete(volumeId)
    this.erased.push(copyId)
  }

  async handOver(volumeId: string, to: string): Promise<void> {
    const found = await this.configOf(volumeId)
    const next = withSuccessor(found!.config, to, randomUUID())
    if (found!.config.primary === this.name && next !== undefined) await this.swap(found!.version, next)
  }

  async change(volumeId: string, command: Omit<ChangeCommand, 'type'>): Promise<ChangeAnswer> {
    this.checkLeads(volumeId)
    const { config } = (await this.configOf(volumeId))!
    return { ...this.volume(volumeId).order(this.name, command, config), heldMs: 0 }
  }

  async hold(volumeId: string, command: Omit<HoldCommand, 'type'>): Promise<{ seq: number }> {
    this.checkLeads(volumeId)
    return this.volume(volumeId).beginHold(this.name, command)
  }

  async release(volumeId: string, hold: string): Promise<void> {
    this.checkLeads(volumeId)
    this.volume(volumeId).release(hold)
  }

  async snapshots(query: SnapshotQuery): Promise<SnapshotAnswer> {
    const { volumeId } = query
    const epoch = this.checkLeads(volumeId)
    const { attach } = (await this.configOf(volumeId))!.config
    return this.volume(volumeId).tell(query, epoch, this.knownAttach ?? attach)
  }

  /** What a primary here knows of who may use its volumes; undefined: what is agreed. */
  knownAttach: Attach | undefined

  volume(volumeId: string): FakeVolume {
    const known = this.volumes.get(volumeId)
    if (known !== undefined) return known
    const made = new FakeVolume()
    this.volumes.set(volumeId, made)
    return made
  }

  /** @returns under which epoch */
  private checkLeads(volumeId: string): number {
    const copy = this.copies.get(volumeId)
    if (copy?.role === 'primary') return copy.epoch
    throw new HoldfastError('copy-refused', { node: this.name, volume: volumeId, reason: 'it does not lead' })
  }

  async clients(of: string): Promise<number[]> {
    const used = this.sessions.filter(({ volumeId, snapshot }) => volumeId === of && snapshot === '')
    return used.map(({ generation }) => generation)
  }

  readonly rekeyed: VolumeEncryption[] = []
  /** What it says of that; `keyCount` below 0: all that the volume has. */
  rekeying: RekeyReport = {
    keyCount: -1, why: '', totalBytes: 0, doneBytes: 0, rewrittenBlocks: 0, damagedBlocks: 0, isDone: false,
  }

  async rekey({ record }: { record: VolumeRecord }): Promise<RekeyReport> {
    this.rekeyed.push(record.spec.encryption!)
    const keyCount = record.spec.encryption!.keys.length
    return { ...this.rekeying, keyCount: this.rekeying.keyCount < 0 ? keyCount : this.rekeying.keyCount }
  }

  async hydrate(): Promise<number> {
    return 0
  }

  async scrub(volumeId: string, isDeep: boolean): Promise<void> {
    const copy = this.copies.get(volumeId)
    if (copy === undefined) throw new HoldfastError('copy-not-found', { node: this.name, volume: volumeId })
    Object.assign(copy, isDeep ? { scrubbedAtMs: 1 } : { checkedAtMs: 1 })
  }

  async digest(): Promise<DigestAnswer> {
    const seqs = { appliedSeq: 0, endSeq: 0, views: 0 }
    return { isTold: false, ...seqs, pages: [], versions: [], isShared: false, slicesShown: 0 }
  }

  async offer(): Promise<void> {}

  async hide(): Promise<void> {}

  async offered(): Promise<boolean> {
    return true
  }

  async withdraw(): Promise<void> {}

  /** Each copy takes a step by its configuration. */
  async turn(isAlive: (node: string) => boolean): Promise<void> {
    const { entries } = await listAll(this.store, CONFIG_PREFIX)
    const configs = new Map(entries.map(({ key, value, version }) => {
      const volumeId = volumeOfKey(key)!
      return [volumeId, { config: decodeConfig(volumeId, value)!, version }]
    }))
    for (const copy of this.copies.values()) {
      const found = configs.get(copy.volumeId)
      if (found !== undefined) await this.follow(copy, found.config, found.version, isAlive)
    }
  }

  private async follow(
    copy: CopyStatus, config: VolumeConfig, version: Version, isAlive: (node: string) => boolean,
  ): Promise<void> {
    const { name } = this
    const { primary, epoch, inSync, members } = config
    if (members[name]?.copyId !== copy.copyId) {
      Object.assign(copy, { role: copy.isVirgin ? 'out' : 'fenced' })
      return
    }
    copy.isVirgin = false
    if (primary === name) {
      if (copy.role !== 'primary') this.volume(copy.volumeId).newTerm(epoch)
      Object.assign(copy, { role: 'primary', epoch })
      const filled = Object.keys(members).find((node) =>
        !inSync.includes(node) && members[node]!.state === 'catching-up' && isAlive(node) && !this.isFillHeld)
      const dead = inSync.filter((node) => !isAlive(node))
      const next = dead.length > 0
        ? withoutMembers(config, dead, randomUUID())
        : filled === undefined ? undefined : withMember(config, filled, [], randomUUID())
      if (next !== undefined) await this.swap(version, next)
      return
    }
    const hearsPrimary = isAlive(primary)
    Object.assign(copy, { role: inSync.includes(name) ? 'replica' : 'out', epoch, hearsPrimary })
    if (hearsPrimary || !inSync.includes(name)) return
    const next = withPrimary(config, name, randomUUID())
    if (next !== undefined) await this.swap(version, next)
  }

  private async configOf(volumeId: string): Promise<{ config: VolumeConfig; version: Version } | undefined> {
    const read = await this.store.get(configKey(volumeId))
    if (!read.ok || read.value === undefined) return undefined
    return { config: decodeConfig(volumeId, read.value.value)!, version: read.value.version }
  }

  private async swap(version: Version, config: VolumeConfig): Promise<void> {
    await this.store.compareAndSwap({ key: configKey(config.volumeId), version, value: encodeConfig(config) })
  }
}
