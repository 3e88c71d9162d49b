/** Group snapshots: one instant of several volumes, found by name; the id tells which group of that name is meant. */
import type { ControlClient } from '../../cluster/api/client.ts'
import type { SnapshotGroup } from '../../cluster/api/snapshot-messages.ts'
import { shown } from '../../cluster/api/names.ts'
import type { CreateVolumeGroupSnapshotRequest, GroupSnapshotRequest, VolumeGroupSnapshot } from '../messages.ts'
import { groupHandle, groupIdOf, ourName, parseGroupHandle, snapshotHandle } from '../names.ts'
import { invalid, notFound } from '../refusal.ts'
import { checkSnapshotParameters } from './parameters.ts'
import { timestampOf } from './snapshot-calls.ts'
import { unless, volumeById } from './volumes.ts'

function csiGroup(group: SnapshotGroup): VolumeGroupSnapshot {
  const creationTime = timestampOf(group.createdAtMs)
  const groupSnapshotId = groupHandle(group)
  const snapshots = group.members.map(({ volumeId, sizeBytes }) => ({
    sizeBytes,
    snapshotId: snapshotHandle({ volumeId, snapshotId: group.snapshotId }),
    sourceVolumeId: volumeId,
    creationTime,
    readyToUse: true,
    groupSnapshotId,
  }))
  return { groupSnapshotId, snapshots, creationTime, readyToUse: true }
}

export async function createGroup(
  api: ControlClient, { name: csiName, sourceVolumeIds, parameters }: CreateVolumeGroupSnapshotRequest,
): Promise<{ groupSnapshot: VolumeGroupSnapshot }> {
  checkSnapshotParameters(parameters)
  if (sourceVolumeIds.length === 0) throw invalid('the source volumes are missing')
  const volumes = await Promise.all(sourceVolumeIds.map(async (id) => (await volumeById(api, id)).id))
  const name = ourName(csiName)
  const group = await api.createGroup({ name, volumes, labels: {}, id: groupIdOf(name, volumes) })
  return { groupSnapshot: csiGroup(group) }
}

/** Undefined: there is none of that id. @throws CsiRefusal INVALID_ARGUMENT: it has other snapshots */
async function findGroup(
  api: ControlClient, { groupSnapshotId, snapshotIds }: GroupSnapshotRequest,
): Promise<SnapshotGroup | undefined> {
  if (groupSnapshotId === '') throw invalid('the group snapshot id is missing')
  const handle = parseGroupHandle(groupSnapshotId)
  if (handle === undefined) return undefined
  const found = await unless('group-not-found', api.getGroup({ name: handle.name }))
  if (found === undefined || found.id !== handle.id) return undefined
  const own = csiGroup(found).snapshots.map(({ snapshotId }) => snapshotId)
  const other = snapshotIds.find((id) => !own.includes(id))
  if (other === undefined) return found
  throw invalid(`snapshot ${shown(other)} does not belong to group snapshot ${groupSnapshotId}`)
}

export async function deleteGroup(api: ControlClient, request: GroupSnapshotRequest): Promise<object> {
  const found = await findGroup(api, request)
  if (found !== undefined) await api.deleteGroup({ name: found.name, id: found.id })
  return {}
}

export async function getGroup(
  api: ControlClient, request: GroupSnapshotRequest,
): Promise<{ groupSnapshot: VolumeGroupSnapshot }> {
  const found = await findGroup(api, request)
  if (found?.state === 'made') return { groupSnapshot: csiGroup(found) }
  throw notFound(`there is no group snapshot ${shown(request.groupSnapshotId)}`)
}
