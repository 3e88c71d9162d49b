/**
 * A wished clone, checked: what it is a clone of, and what is not said, which is as it is for that volume. Labels, a
 * schedule of snapshots, nodes and zones are none of it: they say what one volume is for, not how it behaves.
 */
import { restingMode } from '../../engine/control/attach-wish.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { encryptionOfClone } from '../../engine/volume/volume-encryption.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { isName } from './names.ts'
import { checkQos } from './qos-request.ts'
import { clusterParameters, clusterVolumeOf, parseTags, refuse } from './volume-request.ts'
import type { Context } from './volume-request.ts'
import type { CreateVolumeRequest } from './volume-wish-messages.ts'

/** What a new volume is to be a clone of. */
export interface CloneWish {
  volume: string
  /** Empty: as the volume is now. */
  snapshot: string
}

/** Undefined: it is to be empty. */
export function cloneWishOf({ parameters }: CreateVolumeRequest): CloneWish | undefined {
  const text = clusterParameters(parameters).get('clone-of')
  if (text === undefined) return undefined
  const [volume = '', snapshot = '', ...rest] = text.split('@')
  const isWhole = isName(volume) && rest.length === 0 && (text === volume || isName(snapshot))
  return isWhole ? { volume, snapshot } : refuse('clone-of', text, 'VOLUME or VOLUME@SNAPSHOT')
}

/**
 * A record as `clusterVolumeOf` makes it, where what is not said is as it is for the origin. No key is needed.
 * @throws HoldfastError `parameter`, `too-few-nodes`, `volume-name` or `volume-size`
 */
export function clonedVolumeOf(request: CreateVolumeRequest, context: Context, origin: VolumeRecord): VolumeRecord {
  const given = clusterParameters(request.parameters)
  checkStays(given, origin.spec)
  for (const name of ['encryption', 'cipher']) given.delete(name)
  // Each of the limits for itself.
  const limits = {
    iops: given.get('qos-iops'), bandwidth: given.get('qos-bandwidth'), burst: given.get('qos-burst'),
  }
  for (const name of ['qos-iops', 'qos-bandwidth', 'qos-burst']) given.delete(name)
  const parameters = { ...inherited(origin, given, context.nodes), ...Object.fromEntries(given) }
  const record = clusterVolumeOf({ ...request, parameters }, context)
  const qos = checkQos(limits, origin.spec.qos)
  const spec: VolumeSpec = { ...record.spec, ...(qos === undefined ? {} : { qos }) }
  const { encryption } = origin.spec
  if (encryption !== undefined) spec.encryption = encryptionOfClone(encryption, context.id)
  // Each of both says how many copies have to be in sync.
  if (given.has('min-in-sync') || given.has('failure-mode')) return { ...record, spec }
  const { failureMode } = origin
  const minInSync = Math.min(origin.minInSync, spec.replicas + 1)
  return { ...record, spec, minInSync, ...(failureMode === undefined ? {} : { failureMode }) }
}

/** It lies on the disks of its origin, and shows the blocks that were written there, encrypted as they are. */
function checkStays(given: ReadonlyMap<string, string>, origin: VolumeSpec): void {
  const { blockSizeBytes, pool, diskTags, encryption } = origin
  const stays = {
    'block-size': String(blockSizeBytes), pool, 'disk-tags': diskTags.join('+'),
    encryption: String(encryption !== undefined), cipher: encryption?.cipher ?? 'none',
  }
  for (const [name, own] of Object.entries(stays)) {
    const text = given.get(name)
    const asked = name === 'disk-tags' ? parseTags(name, text ?? '').join('+') : text
    const only = own === '' ? 'none' : own
    if (text !== undefined && asked !== own) refuse(name, text, `${only}, as what it is cloned from`)
  }
}

/** As parameters, but for limits and for how many copies have to be in sync. */
function inherited(
  { spec, allowDegraded, attachMode, dataLocality }: VolumeRecord, given: ReadonlyMap<string, string>, nodes: number,
): Record<string, string> {
  const isDegradable = (given.get('allow-degraded') ?? String(allowDegraded)) === 'true'
  return {
    replicas: String(isDegradable ? spec.replicas : Math.min(spec.replicas, nodes - 1)),
    durability: spec.durability, 'on-full': spec.onFull, 'io-timeout': `${spec.ioTimeoutMs}ms`,
    'block-size': String(spec.blockSizeBytes), pool: spec.pool, 'disk-tags': spec.diskTags.join('+'),
    compression: spec.compression ?? 'none', 'read-check': spec.readCheck ?? 'lease',
    'allow-degraded': String(allowDegraded), 'attach-mode': restingMode(attachMode),
    'data-locality': dataLocality ?? 'disabled',
  }
}
