/**
 * The records of the cluster store as the planner knows them: one watch of them all feeds engine/control's Cluster,
 * each change in the order in which it happened. What cannot be read is left as it was known, and its volume alone:
 * nothing is decided from a value that is not understood.
 */
import {
  setAge, setConfig, setDiskWish, setMove, setNode, setNodeWish, setRebuilds, setVolume,
} from '../../engine/control/cluster.ts'
import type { Cluster } from '../../engine/control/cluster.ts'
import type { GroupRecord } from '../../engine/control/snapshot-group.ts'
import type { HoldfastError } from '../../engine/errors.ts'
import { AGE_KEY, decodeAge } from '../store/cluster-age.ts'
import type { ClusterStore, Version } from '../store/cluster-store.ts'
import { DISK_WISH_PREFIX, decodeDiskWish } from '../store/disk-wishes.ts'
import { afterPrefix, isNode, isVolumeId } from '../store/json-value.ts'
import { NODE_PREFIX, decodeNode } from '../store/node-records.ts'
import { NODE_WISH_PREFIX, NO_NODE_WISH, decodeNodeWish } from '../store/node-wishes.ts'
import { PrefixWatch } from '../store/prefix-watch.ts'
import { GROUP_PREFIX, decodeGroup } from '../store/snapshot-groups.ts'
import { REBUILDS_KEY, decodeRebuilds } from '../store/rebuild-records.ts'
import { CONFIG_PREFIX, decodeConfig } from '../store/volume-configs.ts'
import { MOVE_PREFIX, decodeMove } from '../store/volume-moves.ts'
import { VOLUME_PREFIX, decodeVolume } from '../store/volume-records.ts'

/**
 * The keys of all records lie behind those of the heartbeats, which would be told several times a second and concern
 * nobody here.
 */
export const BEHIND_BEATS = 'beats0'
/** Engine/control's word for a key that is absent. */
const ABSENT = ''

export interface ClusterCacheOptions {
  store: ClusterStore
  cluster: Cluster
  nowMs(): number
  /** After the cluster took it in; also of keys that are not for the planner. */
  onChange(key: string): void
  onProblem(error: HoldfastError): void
}

export class ClusterCache {
  /** Keys whose values were not understood. */
  readonly unreadable = new Set<string>()
  /** By name; what is left of some is to be cleared away. */
  readonly groups = new Map<string, GroupRecord>()
  private readonly cluster: Cluster
  private readonly options: ClusterCacheOptions
  private readonly watch: PrefixWatch
  private isListed = false

  constructor(options: ClusterCacheOptions) {
    this.options = options
    this.cluster = options.cluster
    this.watch = new PrefixWatch({
      store: options.store,
      prefix: '',
      from: BEHIND_BEATS,
      onChange: (key, value, version) => this.take(key, value, version),
      onListed: () => {
        this.isListed = true
        options.onChange('')
      },
      onProblem: options.onProblem,
    })
  }

  /** All records were seen once. */
  get isComplete(): boolean {
    return this.isListed
  }

  close(): void {
    this.watch.close()
  }

  private take(key: string, value: Uint8Array | undefined, version: Version | undefined): void {
    const take = this.takerOf(key)
    if (take === undefined) return
    if (take(value, version ?? ABSENT)) this.unreadable.delete(key)
    else this.unreadable.add(key)
    this.options.onChange(key)
  }

  /** Answers whether it was understood. Undefined: such keys do not concern the planner. */
  private takerOf(key: string): ((value: Uint8Array | undefined, version: string) => boolean) | undefined {
    const { cluster } = this
    const volumeId = afterPrefix(key, VOLUME_PREFIX)
    if (volumeId !== undefined) {
      const decode = (value: Uint8Array) => decodeVolume(volumeId, value)
      return taker(decode, undefined, (record, version) => setVolume(cluster, volumeId, record, version))
    }
    const configured = afterPrefix(key, CONFIG_PREFIX)
    if (configured !== undefined) {
      const decode = (value: Uint8Array) => decodeConfig(configured, value)
      return taker(decode, undefined, (config, version) => setConfig(cluster, configured, config, version))
    }
    const moved = afterPrefix(key, MOVE_PREFIX)
    if (moved !== undefined) {
      const decode = (value: Uint8Array) => (isVolumeId(moved) ? decodeMove(value) : undefined)
      return taker(decode, undefined, (move, version) => setMove(cluster, moved, move, version))
    }
    const node = afterPrefix(key, NODE_PREFIX)
    if (node !== undefined) {
      return taker((value) => decodeNode(node, value), undefined, (record) => {
        const known = record === undefined ? undefined : { name: record.name, zone: record.zone }
        setNode(cluster, node, known, this.options.nowMs())
      })
    }
    const wished = afterPrefix(key, NODE_WISH_PREFIX)
    if (wished !== undefined) {
      const decode = (value: Uint8Array) => (isNode(wished) ? decodeNodeWish(value) : undefined)
      return taker(decode, NO_NODE_WISH, (wish) => setNodeWish(cluster, wished, wish))
    }
    const disk = afterPrefix(key, DISK_WISH_PREFIX)
    if (disk !== undefined) {
      return taker(decodeDiskWish, { isEvicted: false }, (wish) => setDiskWish(cluster, disk, wish))
    }
    const group = afterPrefix(key, GROUP_PREFIX)
    if (group !== undefined) {
      return taker((value) => decodeGroup(group, value), undefined, (record) => {
        if (record === undefined) this.groups.delete(group)
        else this.groups.set(group, record)
      })
    }
    if (key === REBUILDS_KEY) {
      return taker(decodeRebuilds, [], (rebuilds, version) => setRebuilds(cluster, rebuilds, version))
    }
    if (key === AGE_KEY) {
      return taker(decodeAge, 0, (ageMs, version) => setAge(cluster, ageMs, version, this.options.nowMs()))
    }
    return undefined
  }
}

/** @param absent  what it is taken for when the key is not there */
function taker<T, A>(
  decode: (value: Uint8Array) => T | undefined,
  absent: A,
  set: (found: T | A, version: string) => void,
): (value: Uint8Array | undefined, version: string) => boolean {
  return (value, version) => {
    const found = value === undefined ? absent : decode(value)
    if (value !== undefined && found === undefined) return false
    set(found as T | A, version)
    return true
  }
}
