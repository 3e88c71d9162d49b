/**
 * A wished volume, checked (K1 of the control path): text parameters by flag name become a VolumeSpec, or the refusal
 * with the limit in it. The daemon does this for every caller, so that the CLI and CSI are refused in the same words.
 * Nothing is ignored silently: what this version cannot do is refused by name.
 */
import { randomUUID } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import { FAILURE_MODE_NAMES, THRESHOLD_MAX } from '../../engine/control/failure-modes.ts'
import type { FailureMode } from '../../engine/control/failure-modes.ts'
import { HOLDING_MODES, RESTING_MODES } from '../../engine/control/attach-wish.ts'
import type { HoldingMode } from '../../engine/control/attach-wish.ts'
import { TRASH_KEEP_MS } from '../../engine/control/volume-record.ts'
import type { Allowed, DataLocality, VolumeRecord } from '../../engine/control/volume-record.ts'
import { MIB, VOLUME_BYTES_MAX } from '../../engine/units.ts'
import { CIPHERS } from '../../engine/volume/volume-encryption.ts'
import type { Cipher, VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import type { Compression, Durability, OnFull, VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { parseDurationMs } from './amounts.ts'
import type { CreateVolumeRequest } from './volume-wish-messages.ts'
import { isId, isName, nearest, shown } from './names.ts'
import { checkQos } from './qos-request.ts'
import { checkSchedule } from './schedule-request.ts'
import { checkVolumeLabels } from './volume-labels.ts'
import { newEncryption } from '../keys/data-key.ts'
import type { UserKey } from '../keys/user-key.ts'
import { isVolumeId } from '../store/json-value.ts'
import { decodeEncryption } from '../store/volume-records.ts'

export const PARAMETER_PREFIX = 'holdfast.io/'
export const REPLICAS_MAX = 5
const IO_TIMEOUT_MS_DEFAULT = 10 * 60_000
/** 30 days: what rests takes room, and is no backup. */
const TRASH_KEEP_MS_MAX = 30 * 24 * 60 * 60_000
/** A day; longer means for ever, which is 0. */
const IO_TIMEOUT_MS_MAX = 24 * 60 * 60_000

export const KNOWN_PARAMETERS = [
  'replicas', 'durability', 'block-size', 'on-full', 'io-timeout', 'pool', 'disk-tags', 'encryption',
  'qos-iops', 'qos-bandwidth', 'qos-burst',
] as const

/** Beside those, where there are several nodes. */
export const CLUSTER_PARAMETERS = [
  'min-in-sync', 'allow-degraded', 'attach-mode', 'snapshot-schedule', 'clone-of', 'compression', 'cipher',
  'data-locality', 'failure-mode', 'read-check',
] as const

/** Names that are fixed but not obeyed everywhere yet: refused, never ignored. */
const LATER_PARAMETERS = [
  'min-in-sync', 'failure-mode', 'compression', 'data-locality', 'read-check', 'allow-degraded', 'attach-mode',
  'snapshot-schedule', 'clone-of', 'cipher',
]

export function refuse(parameter: string, value: string, allowed: string): never {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

function choose<T extends string>(parameter: string, value: string | undefined, choices: readonly [T, ...T[]]): T {
  if (value === undefined) return choices[0]
  return choices.find((choice) => choice === value) ?? refuse(parameter, value, choices.join(', '))
}

export function checkVolumeName(name: string): void {
  if (!isName(name) || isId(name)) throw new HoldfastError('volume-name', { name: shown(name) })
}

export function checkVolumeSize(sizeBytes: number): void {
  const fits = sizeBytes > 0 && sizeBytes <= VOLUME_BYTES_MAX && sizeBytes % MIB === 0
  if (!fits) throw new HoldfastError('volume-size', { size: sizeBytes })
}

/** `replicas` counts the copies beside the primary, so it needs one node more. */
export function checkReplicas(text: string | undefined, nodes: number): number {
  if (text === undefined) return Math.min(2, nodes - 1)
  if (!/^[0-9]{1,2}$/.test(text) || Number(text) > REPLICAS_MAX) refuse('replicas', text, `0 to ${REPLICAS_MAX}`)
  const replicas = Number(text)
  if (replicas > nodes - 1) {
    throw new HoldfastError('too-few-nodes', { replicas, needed: replicas + 1, nodes, most: nodes - 1 })
  }
  return replicas
}

/** For how long the trash keeps what is deleted, in ms. @param isPurged  not at all, without more words */
export function checkKept(text: string | undefined, isPurged: boolean): number {
  if (text === undefined || text === '') return isPurged ? 0 : TRASH_KEEP_MS
  const ms = parseDurationMs(text)
  if (ms === undefined || ms > TRASH_KEEP_MS_MAX) refuse('keep', text, '0 (not at all) or 1ms to 720h, e.g. 24h')
  if (isPurged && ms > 0) refuse('keep', text, '0 with --purge, which keeps nothing')
  return ms
}

export function checkIoTimeout(text: string | undefined): number {
  if (text === undefined) return IO_TIMEOUT_MS_DEFAULT
  const ms = parseDurationMs(text)
  if (ms === undefined || ms > IO_TIMEOUT_MS_MAX) refuse('io-timeout', text, '0 (for ever) or 1ms to 24h, e.g. 30s')
  return ms
}

/** Tags are separated by `,` or `+`; sorted, so that equal wishes are equal specs. */
export function parseTags(parameter: string, text: string): string[] {
  const tags = text.split(/[,+]/).filter((tag) => tag !== '')
  for (const tag of tags) if (!isName(tag)) refuse(parameter, tag, 'names of a-z, 0-9 and -, joined by `,`')
  return [...new Set(tags)].sort()
}

export function checkPool(text: string | undefined): string {
  if (text === undefined || text === '') return 'default'
  return isName(text) ? text : refuse('pool', text, '1 to 63 characters of a-z, 0-9 and -')
}

const isEncrypted = (parameters: ReadonlyMap<string, string>): boolean =>
  choose('encryption', parameters.get('encryption'), ['false', 'true']) === 'true'

/**
 * Of a new volume of a cluster, wrapped by its user or else by the cluster key; undefined: it is not encrypted.
 * @throws HoldfastError `key-unnamed`: there is neither
 */
function encryptionOf(
  request: CreateVolumeRequest, parameters: ReadonlyMap<string, string>, { id, clusterKey }: Context,
): VolumeEncryption | undefined {
  const text = parameters.get('cipher')
  if (!isEncrypted(parameters)) {
    if (text !== undefined) refuse('cipher', text, 'with encryption = true only')
    if (isGiven(request.wrapped)) refuse('wrapped', 'a key', 'with encryption = true only')
    return undefined
  }
  const cipher = choose<Cipher>('cipher', text, CIPHERS)
  const { name, wrappedBy, wrapped } = request
  if (!isGiven(wrapped)) {
    if (clusterKey === undefined) throw new HoldfastError('key-unnamed', { name })
    return newEncryption(cipher, id, clusterKey)
  }
  const given = decodeEncryption({ cipher, keys: [{ volumeId: id, dataKey: { wrappedBy, wrapped } }] }, id)
  return given ?? refuse('wrapped', 'what was given', 'a wrapped data key and the id of its key')
}

const isGiven = (text: string | undefined): boolean => text !== undefined && text !== ''

/** Parameters under their plain names; unknown ones are refused with the nearest known one. */
function plainParameters(parameters: Record<string, string>, known: readonly string[]): Map<string, string> {
  const plain = new Map<string, string>()
  for (const [given, value] of Object.entries(parameters)) {
    const name = given.startsWith(PARAMETER_PREFIX) ? given.slice(PARAMETER_PREFIX.length) : given
    if (LATER_PARAMETERS.includes(name) && !known.includes(name)) {
      throw new HoldfastError('not-supported', { what: `parameter ${name}`, instead: 'leave it out' })
    }
    if (!known.includes(name)) {
      const meant = nearest(name, known)
      refuse(shown(given), value, meant === undefined ? known.join(', ') : `did you mean ${meant}?`)
    }
    if (plain.has(name) && plain.get(name) !== value) refuse(name, value, 'one value, and two were given')
    plain.set(name, value)
  }
  return plain
}

/** What is given to a volume of a cluster, under plain names. @throws HoldfastError `parameter` */
export const clusterParameters = (given: Record<string, string>): Map<string, string> =>
  plainParameters(given, [...KNOWN_PARAMETERS, ...CLUSTER_PARAMETERS])

/** Whether a parameter is said, or left to what is usual. */
export const isSaid = ({ parameters }: CreateVolumeRequest, name: string): boolean =>
  Object.hasOwn(parameters, name) || Object.hasOwn(parameters, `${PARAMETER_PREFIX}${name}`)

/** The one that is asked for, so that its volume is known where no answer comes; else a new one. */
export function newVolumeId({ volumeId = '' }: CreateVolumeRequest): string {
  if (volumeId === '') return randomUUID().replaceAll('-', '')
  return isVolumeId(volumeId) ? volumeId : refuse('volume id', shown(volumeId), '32 hex digits')
}

export interface Context {
  id: string
  nodes: number
  /** Of who decides; wraps the data key of a volume for which no key is named. */
  clusterKey?: UserKey | undefined
}

/** @param nodes how many nodes could hold a copy */
export function volumeSpecOf(request: CreateVolumeRequest, context: Context): VolumeSpec {
  const parameters = plainParameters(request.parameters, KNOWN_PARAMETERS)
  if (isEncrypted(parameters)) {
    throw new HoldfastError('not-supported', {
      what: 'encryption on a node by itself',
      instead: 'make the node one of a cluster (`--store`), or put LUKS on top where that is needed',
    })
  }
  if (checkVolumeLabels(request.labels) !== undefined) {
    const instead = 'leave them out, or make the node one of a cluster (`--store`)'
    throw new HoldfastError('not-supported', { what: 'labels of a volume on a node by itself', instead })
  }
  return specOf(request, parameters, context)
}

/** The same for a cluster, with what is wished beside the spec. @param nodes of the cluster */
export function clusterVolumeOf(request: CreateVolumeRequest, context: Context): VolumeRecord {
  const { nodes } = context
  const parameters = clusterParameters(request.parameters)
  const allowDegraded = choose('allow-degraded', parameters.get('allow-degraded'), ['false', 'true']) === 'true'
  const plain = specOf(request, parameters, { ...context, nodes: allowDegraded ? REPLICAS_MAX + 1 : nodes })
  const encryption = encryptionOf(request, parameters, context)
  const unpacked = encryption === undefined ? plain : { ...plain, encryption }
  const packed = withCompression(unpacked, parameters.get('compression') ?? 'none')
  const isConfirmed = choose('read-check', parameters.get('read-check'), ['lease', 'confirm']) === 'confirm'
  const spec: VolumeSpec = isConfirmed ? { ...packed, readCheck: 'confirm' } : packed
  const minInSync = checkMinInSync(parameters.get('min-in-sync'), spec.replicas + 1)
  const mode = parameters.get('failure-mode')
  if (mode !== undefined && minInSync > 0)
    refuse('min-in-sync', String(minInSync), 'failure-mode or this: each says how many copies have to be in sync')
  const attachMode = choose('attach-mode', parameters.get('attach-mode'), RESTING_MODES)
  const snapshotSchedule = checkSchedule(parameters.get('snapshot-schedule') ?? '')
  const schedule = snapshotSchedule === undefined ? {} : { snapshotSchedule }
  const labels = checkVolumeLabels(request.labels)
  const allowed = allowedOf(request)
  const locality = checkDataLocality(parameters.get('data-locality'))
  const more = {
    ...(labels === undefined ? {} : { labels }),
    ...(allowed === undefined ? {} : { allowed }),
    ...(locality === 'disabled' ? {} : { dataLocality: locality }),
    ...(mode === undefined ? {} : { failureMode: checkFailureMode(mode) }),
    ...schedule,
  }
  return { spec, minInSync, allowDegraded, firstNode: '', attachMode, ...more, trash: null }
}

const LOCALITIES: readonly [DataLocality, ...DataLocality[]] = ['disabled', 'best-effort', 'strict']

export const checkDataLocality = (text: string | undefined): DataLocality => choose('data-locality', text, LOCALITIES)

export const checkDurability = (text: string | undefined): Durability =>
  choose<Durability>('durability', text, ['durable', 'writeback'])

export const checkOnFull = (text: string | undefined): OnFull => choose<OnFull>('on-full', text, ['hold', 'error'])

export function checkFailureMode(text: string): FailureMode {
  const name = FAILURE_MODE_NAMES.find((one) => one === text)
  if (name !== undefined) return name
  const isThreshold = /^[0-9]$/.test(text) && Number(text) <= THRESHOLD_MAX
  const allowed = `${FAILURE_MODE_NAMES.join(', ')}, or 0 to ${THRESHOLD_MAX} replicas beside the primary`
  return isThreshold ? Number(text) : refuse('failure-mode', text, allowed)
}

/** Kubernetes names each of its nodes, when it names any. */
const NODES_MAX = 1000

/** Undefined: anywhere. */
function allowedOf({ allowedNodes = [], allowedZones = [] }: CreateVolumeRequest): Allowed | undefined {
  const [nodes, zones] = [allowedNodes, allowedZones].map((names) => [...new Set(names)].sort()) as [string[], string[]]
  if (nodes.length + zones.length > NODES_MAX) refuse('allowed nodes', String(nodes.length), `${NODES_MAX} at most`)
  for (const name of [...nodes, ...zones])
    if (!isName(name)) refuse('allowed node or zone', name, '1 to 63 characters of a-z, 0-9 and -')
  return nodes.length + zones.length === 0 ? undefined : { nodes, zones }
}

/** For which the largest volume is asked: a record of one, but for what its size and its name are. */
export function capacityRecordOf(given: Record<string, string>, nodes: number): VolumeRecord {
  const known = clusterParameters(given)
  // Neither takes room, and the one needs a key.
  for (const name of ['encryption', 'cipher', 'clone-of']) known.delete(name)
  const request = { name: 'capacity', sizeBytes: MIB, parameters: Object.fromEntries(known) }
  return clusterVolumeOf(request, { id: '0'.repeat(32), nodes })
}

/** @throws HoldfastError `parameter` when it is neither `none` nor `lz4` */
export function withCompression(spec: VolumeSpec, text: string): VolumeSpec {
  const { compression: _, ...plain } = spec
  return choose<Compression>('compression', text, ['none', 'lz4']) === 'lz4' ? { ...plain, compression: 'lz4' } : plain
}

/** Exclusive unless it is said otherwise. */
export function checkHoldingMode(text: string): HoldingMode {
  return choose('mode', text === '' ? undefined : text, HOLDING_MODES)
}

/** 0: not wished. */
export function checkMinInSync(text: string | undefined, copies: number): number {
  if (text === undefined) return 0
  const isOne = /^[0-9]$/.test(text) && Number(text) >= 1 && Number(text) <= copies
  return isOne ? Number(text) : refuse('min-in-sync', text, `1 to ${copies}, the number of copies`)
}

function specOf(request: CreateVolumeRequest, parameters: ReadonlyMap<string, string>, context: Context): VolumeSpec {
  checkVolumeName(request.name)
  checkVolumeSize(request.sizeBytes)
  const blockSize = choose('block-size', parameters.get('block-size'), ['4096', '512'])
  const qos = checkQos({
    iops: parameters.get('qos-iops'), bandwidth: parameters.get('qos-bandwidth'), burst: parameters.get('qos-burst'),
  })
  return {
    id: context.id,
    name: request.name,
    sizeBytes: request.sizeBytes,
    blockSizeBytes: blockSize === '512' ? 512 : 4096,
    replicas: checkReplicas(parameters.get('replicas'), context.nodes),
    durability: checkDurability(parameters.get('durability')),
    onFull: checkOnFull(parameters.get('on-full')),
    ioTimeoutMs: checkIoTimeout(parameters.get('io-timeout')),
    pool: checkPool(parameters.get('pool')),
    diskTags: parseTags('disk-tags', parameters.get('disk-tags') ?? ''),
    ...(qos === undefined ? {} : { qos }),
  }
}
