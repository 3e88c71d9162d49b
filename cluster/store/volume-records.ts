/** What was wished for a volume, in the cluster store: `volumes/<id>` (engine/control/volume-record.ts). */
import { FAILURE_MODE_NAMES, THRESHOLD_MAX } from '../../engine/control/failure-modes.ts'
import type { FailureMode } from '../../engine/control/failure-modes.ts'
import type { SnapshotSchedule } from '../../engine/control/snapshot-schedule.ts'
import type { Allowed, CloneOrigin, HydrationWhy, Trash, VolumeRecord } from '../../engine/control/volume-record.ts'
import type { AttachMode } from '../../engine/replication/configuration.ts'
import { MIB, VOLUME_BYTES_MAX } from '../../engine/units.ts'
import type { QosLimits } from '../../engine/volume/qos-limits.ts'
import { CIPHERS } from '../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption, VolumeKey } from '../../engine/volume/volume-encryption.ts'
import type { Durability, OnFull, VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { isCount, isFlag, isRecord, isText } from '../../engine/value-shape.ts'
import {
  encodeJson, isRecordName, isNode, isNodeOrNone, isOneOf, isVolumeId, parseRecord,
} from './json-value.ts'

export const VOLUME_PREFIX = 'volumes/'

export const volumeKey = (id: string): string => `${VOLUME_PREFIX}${id}`

export const encodeVolume = (record: VolumeRecord): Uint8Array => encodeJson(record)

/**
 * What a newer version wished in fields that are not known here is carried along, so that who changes the record does
 * not take it out. Undefined when it is not the record of that volume.
 */
export function decodeVolume(id: string, value: Uint8Array): VolumeRecord | undefined {
  const found = parseRecord(value)
  if (found === undefined) return undefined
  const {
    spec: foundSpec, origin: foundOrigin, minInSync, allowDegraded, firstNode, attachMode, hydration, snapshotSchedule,
    trash, allowed, dataLocality, failureMode, labels, moved, ...others
  } = found
  const spec = decodeSpec(foundSpec)
  if (spec === undefined || spec.id !== id) return undefined
  if (!isCount(minInSync) || !isFlag(allowDegraded) || !isNodeOrNone(firstNode)) return undefined
  if (!isOneOf(attachMode, ATTACH_MODES) || (trash !== null && !isTrash(trash))) return undefined
  const origin = foundOrigin === undefined ? undefined : decodeOrigin(foundOrigin)
  if (foundOrigin !== undefined && origin === undefined) return undefined
  if (hydration !== undefined && !isOneOf(hydration, HYDRATIONS)) return undefined
  if (labels !== undefined && !isLabels(labels)) return undefined
  if (allowed !== undefined && !isAllowed(allowed)) return undefined
  if (failureMode !== undefined && !isFailureMode(failureMode)) return undefined
  if (dataLocality !== undefined && !isOneOf(dataLocality, LOCALITIES)) return undefined
  if (moved !== undefined && !isMoved(moved)) return undefined
  const begins = origin === undefined ? {} : { origin }
  const wish = hydration === undefined ? {} : { hydration }
  const said = {
    ...(labels === undefined ? {} : { labels }),
    ...(allowed === undefined ? {} : { allowed: { nodes: allowed.nodes, zones: allowed.zones } }),
    ...(moved === undefined ? {} : { moved: { from: moved.from, to: moved.to } }),
    ...(dataLocality === undefined ? {} : { dataLocality }),
    ...(failureMode === undefined ? {} : { failureMode }),
  }
  const known = { spec, ...begins, ...wish, ...said, minInSync, allowDegraded, firstNode, attachMode, trash }
  const record: VolumeRecord = { ...others, ...known }
  if (snapshotSchedule === undefined) return record
  const schedule = decodeSchedule(snapshotSchedule)
  return schedule === undefined ? undefined : { ...record, snapshotSchedule: schedule }
}

function decodeOrigin(value: unknown): CloneOrigin | undefined {
  if (!isRecord(value)) return undefined
  const { volumeId, snapshotId, seq, epoch } = value
  if (!isVolumeId(volumeId) || !isText(snapshotId) || !isCount(seq) || !isCount(epoch)) return undefined
  return { volumeId, snapshotId, seq, epoch }
}

function decodeSchedule(value: unknown): SnapshotSchedule | undefined {
  if (!isRecord(value) || !isRecord(value.keep)) return undefined
  const { everyMs, keep: { last, hourly, daily, weekly } } = value
  if (!isCount(everyMs) || everyMs === 0) return undefined
  if (!isCount(last) || !isCount(hourly) || !isCount(daily) || !isCount(weekly)) return undefined
  return { everyMs, keep: { last, hourly, daily, weekly } }
}

const isLabels = (value: unknown): value is Record<string, string> =>
  isRecord(value) && Object.values(value).every(isText)

/** Of nothing at all would be of nobody. */
const isAllowed = (value: unknown): value is Allowed =>
  isRecord(value) && isTexts(value.nodes) && isTexts(value.zones) && value.nodes.length + value.zones.length > 0

/** From nowhere in particular: who asked for it left that to us. */
const isMoved = (value: unknown): value is NonNullable<VolumeRecord['moved']> =>
  isRecord(value) && isNodeOrNone(value.from) && isNode(value.to)

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText)

const isFailureMode = (value: unknown): value is FailureMode =>
  isOneOf(value, FAILURE_MODE_NAMES) || (isCount(value) && value <= THRESHOLD_MAX)

const LOCALITIES = ['best-effort', 'strict'] as const
const ATTACH_MODES: readonly AttachMode[] = ['single', 'shared', 'read-only', 'open']
const HYDRATIONS: readonly HydrationWhy[] = ['asked', 'depth', 'clones', 'remains']
const DURABILITIES: readonly Durability[] = ['durable', 'writeback']
const ON_FULL: readonly OnFull[] = ['hold', 'error']
const BLOCK_SIZES = [4096, 512] as const

/** With what is not known here, as above. Undefined when it is none. */
export function decodeSpec(value: unknown): VolumeSpec | undefined {
  if (!isRecord(value)) return undefined
  const {
    id, name, sizeBytes, blockSizeBytes, replicas, durability, onFull, ioTimeoutMs, pool, diskTags, compression,
    encryption, qos, readCheck, ...others
  } = value
  if (!isVolumeId(id) || !isRecordName(name) || !isText(pool)) return undefined
  if (!isCount(replicas) || !isCount(ioTimeoutMs)) return undefined
  if (!isCount(sizeBytes) || sizeBytes === 0 || sizeBytes % MIB !== 0 || sizeBytes > VOLUME_BYTES_MAX) return undefined
  if (!isOneOf(blockSizeBytes, BLOCK_SIZES) || !isOneOf(durability, DURABILITIES)) return undefined
  if (!isOneOf(onFull, ON_FULL) || !Array.isArray(diskTags) || !diskTags.every(isText)) return undefined
  const spec = { id, name, sizeBytes, blockSizeBytes, replicas, durability, onFull, ioTimeoutMs, pool, diskTags }
  if (compression !== undefined && compression !== 'lz4') return undefined
  if (readCheck !== undefined && readCheck !== 'confirm') return undefined
  const limits = qos === undefined ? undefined : decodeQos(qos)
  if (qos !== undefined && limits === undefined) return undefined
  const keys = encryption === undefined ? undefined : decodeEncryption(encryption, id)
  // Taken for a plain one it would be written in the clear.
  if (encryption !== undefined && keys === undefined) return undefined
  const decoded: VolumeSpec = {
    ...others, ...spec, ...(compression && { compression: 'lz4' }), ...(readCheck && { readCheck: 'confirm' }),
    ...(limits && { qos: limits }),
  }
  return keys === undefined ? decoded : { ...decoded, encryption: keys }
}

/** Undefined when it is none of that volume. */
export function decodeEncryption(value: unknown, volumeId: string): VolumeEncryption | undefined {
  if (!isRecord(value) || !isOneOf(value.cipher, CIPHERS) || !Array.isArray(value.keys)) return undefined
  const keys: VolumeKey[] = []
  for (const one of value.keys as unknown[]) {
    if (!isRecord(one) || !isVolumeId(one.volumeId)) return undefined
    const { dataKey } = one
    if (dataKey === undefined) {
      if (keys.length === 0) return undefined
      keys.push({ volumeId: one.volumeId })
      continue
    }
    if (!isRecord(dataKey) || !isKeyId(dataKey.wrappedBy) || !isWrapped(dataKey.wrapped)) return undefined
    const { wrappedBy, wrapped } = dataKey
    keys.push({ volumeId: one.volumeId, dataKey: { wrappedBy, wrapped } })
  }
  if (keys.at(-1)?.volumeId !== volumeId) return undefined
  const { cipher, writesUnder, rewriting } = value
  const isFormer = isCount(writesUnder) && writesUnder > 0 && writesUnder < keys.length
  if (writesUnder !== undefined && !isFormer) return undefined
  const isWish = typeof rewriting === 'string' && /^[0-9a-f]{16}$/.test(rewriting)
  if (rewriting !== undefined && !isWish) return undefined
  return {
    cipher, keys, ...(writesUnder === undefined ? {} : { writesUnder }),
    ...(isWish ? { rewriting } : {}),
  }
}

/** Of a key in a file; or of one that a Vault or OpenBao server keeps. */
export const isKeyId = (value: unknown): value is string =>
  typeof value === 'string' && (/^[0-9a-f]{16}$/.test(value) || isTransitKey(value))
/** 92 bytes as base64; or what such a server made. */
export const isWrapped = (value: unknown): value is string =>
  typeof value === 'string' && (/^[0-9a-zA-Z+/]{123}=$/.test(value) || isTransitWrap(value))

const isTransitKey = (text: string): boolean => text.length <= 200 && /^vault:[\w.-]+(?:\/[\w.-]+)+$/.test(text)
export const isTransitWrap = (text: string): boolean =>
  text.length <= 512 && /^vault:v\d{1,9}:[0-9a-zA-Z+/]+={0,2}$/.test(text)

function decodeQos(value: unknown): QosLimits | undefined {
  if (!isRecord(value)) return undefined
  const { iops, bandwidthBytes, burstMs } = value
  if (!isCount(iops) || !isCount(bandwidthBytes) || !isCount(burstMs) || burstMs === 0) return undefined
  return { iops, bandwidthBytes, burstMs }
}

const isTrash = (value: unknown): value is Trash =>
  isRecord(value) && isCount(value.deletedAtAgeMs) && isCount(value.keepMs) && isFlag(value.isPurging) &&
  (value.by === undefined || isText(value.by))
