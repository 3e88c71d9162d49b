/** What else Kubernetes asks of volumes: delete, look, list, grow, and whether it could have them in another way. */
import { status } from '@grpc/grpc-js'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Snapshot, SnapshotList } from '../../cluster/api/snapshot-messages.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import type {
  ControllerExpandVolumeRequest, ControllerGetVolumeRequest, ControllerModifyVolumeRequest, CsiVolume,
  DeleteVolumeRequest, GetCapacityRequest, ListRequest, ValidateVolumeCapabilitiesRequest, VolumeStatus,
} from '../messages.ts'
import { isVolumeId, snapshotIdOf } from '../names.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { CsiRefusal, invalid, precondition } from '../refusal.ts'
import { accessesOf, accessOf } from './capabilities.ts'
import { checkToken, pageLength } from './pages.ts'
import { mutableFlagsOf, parametersOf } from './parameters.ts'
import { sizeWithin } from './sizes.ts'
import { NODE_KEY, ZONE_KEY } from '../topology.ts'
import { csiVolume, findVolume, unless, volumeById, volumeStatus } from './volumes.ts'

export interface VolumeEntry {
  volume: CsiVolume
  status: VolumeStatus
}

const entryOf = (volume: Volume): VolumeEntry => ({ volume: csiVolume(volume), status: volumeStatus(volume) })

/**
 * Into the trash, for as long as that keeps things. Snapshots would go with it, so those that Kubernetes knows keep it;
 * what was cloned from it lives on.
 */
export async function deleteVolume(api: ControlClient, { volumeId }: DeleteVolumeRequest): Promise<object> {
  const volume = await findVolume(api, volumeId)
  if (volume === undefined) return {}
  const kept = await firstKept(api, volume)
  if (kept !== undefined) {
    const { name } = volume
    throw precondition(`volume ${name} has snapshots that would go with it, e.g. ${kept.name}: delete them first`)
  }
  await unless('volume-not-found', api.deleteVolume({ name: volumeId, force: false }))
  return {}
}

async function firstKept(api: ControlClient, volume: Volume): Promise<Snapshot | undefined> {
  let after = ''
  do {
    const answer = await snapshotsOf(api, volume, after)
    const kept = answer?.snapshots.find((one) => isOfKubernetes(volume.id, one))
    if (kept !== undefined) return kept
    after = answer?.next ?? ''
  } while (after !== '')
  return undefined
}

/**
 * Who leads it says which snapshots it has. Without one nobody knows, whatever was said last and to whom; only of a
 * volume that has no copies yet it is certain that there are none.
 * @throws CsiRefusal UNAVAILABLE
 */
async function snapshotsOf(
  api: ControlClient, { id, name, epoch }: Volume, after: string,
): Promise<SnapshotList | undefined> {
  try {
    return await api.listSnapshots({ volume: id, limit: 0, after })
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'volume-unled') throw error
    if (epoch === 0) return undefined
    throw new CsiRefusal(status.UNAVAILABLE, `whether volume ${name} has snapshots that would go with it is not known: `
      + `${error.message}; if they may go, delete it with \`holdfast volume delete ${name}\``)
  }
}

const isOfKubernetes = (volumeId: string, { id, name, group }: Snapshot): boolean =>
  group !== '' || id === snapshotIdOf(volumeId, name)

export async function getVolume(
  api: ControlClient, { volumeId }: ControllerGetVolumeRequest,
): Promise<VolumeEntry> {
  return entryOf(await volumeById(api, volumeId))
}

export async function listVolumes(
  api: ControlClient, { maxEntries, startingToken }: ListRequest,
): Promise<{ entries: VolumeEntry[]; nextToken: string }> {
  const length = pageLength(maxEntries)
  checkToken(startingToken, isVolumeId)
  const { volumes, next } = await api.listVolumes({ limit: length, after: startingToken })
  return { entries: volumes.map(entryOf), nextToken: next }
}

/**
 * A volume that has the size keeps it, so a repeated call, or a late smaller one, does nothing. A file system does not
 * grow by itself, and a device that is attached has to be told.
 */
export async function expandVolume(
  api: ControlClient, { volumeId, capacityRange, volumeCapability }: ControllerExpandVolumeRequest,
): Promise<{ capacityBytes: number; nodeExpansionRequired: boolean }> {
  if (capacityRange === null) throw invalid('the capacity range is missing')
  const access = volumeCapability === null ? undefined : accessOf(volumeCapability)
  const volume = await volumeById(api, volumeId)
  const sizeBytes = sizeWithin(capacityRange, volume.sizeBytes)
  const grown = sizeBytes === volume.sizeBytes ? volume : await api.resizeVolume({ name: volumeId, sizeBytes })
  const nodeExpansionRequired = access?.isBlock !== true || grown.attach.holders.length > 0
  return { capacityBytes: grown.sizeBytes, nodeExpansionRequired }
}

/** All that are named are changed, or none; what is as it is asked for already is no change. */
export async function modifyVolume(
  api: ControlClient, { volumeId, mutableParameters }: ControllerModifyVolumeRequest,
): Promise<object> {
  const { id, replicas } = await volumeById(api, volumeId)
  const parameters = mutableFlagsOf(mutableParameters, replicas)
  if (Object.keys(parameters).length > 0) await api.modifyVolume({ name: id, parameters })
  return {}
}

export interface Capacity {
  availableCapacity: number
  maximumVolumeSize: { value: number }
  minimumVolumeSize: { value: number }
}

/** The largest volume that a pod there could have; a place that nobody knows has none. */
export async function capacity(
  api: ControlClient, { volumeCapabilities, parameters, accessibleTopology }: GetCapacityRequest,
): Promise<Capacity> {
  for (const capability of volumeCapabilities) accessOf(capability)
  const { flags } = parametersOf(parameters, {})
  const { [NODE_KEY]: node = '', [ZONE_KEY]: zone = '', ...foreign } = accessibleTopology?.segments ?? {}
  const asked = Object.keys(foreign).length > 0 ? undefined
    : await unless('node-not-found', api.capacity({ parameters: flags, node, zone }))
  const largest = asked?.largestBytes ?? 0
  return { availableCapacity: largest, maximumVolumeSize: { value: largest }, minimumVolumeSize: { value: MIB } }
}

interface Validated {
  confirmed: Omit<ValidateVolumeCapabilitiesRequest, 'volumeId'> | null
  message: string
}

/** What could not be had is no error: the answer says why. */
export async function validateCapabilities(
  api: ControlClient, { volumeId, ...asked }: ValidateVolumeCapabilitiesRequest,
): Promise<Validated> {
  if (asked.volumeCapabilities.length === 0) throw invalid('the volume capabilities are missing')
  await volumeById(api, volumeId)
  try {
    accessesOf(asked.volumeCapabilities)
    parametersOf(asked.parameters, asked.mutableParameters)
    return { confirmed: asked, message: '' }
  } catch (error) {
    if (!(error instanceof CsiRefusal)) throw error
    return { confirmed: null, message: error.message }
  }
}
