/**
 * The services of `holdfast csi controller`: which call is which function, and the key under which it is alone. It
 * keeps nothing that a call needs: killed between any two steps, the next call goes on from what the cluster says.
 */
import type { DiffSnapshots } from '../../cluster/api/snapshot-diff.ts'
import { csiService } from '../definition.ts'
import type {
  ControllerExpandVolumeRequest, ControllerGetVolumeRequest, ControllerModifyVolumeRequest,
  ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, CreateSnapshotRequest,
  CreateVolumeGroupSnapshotRequest, CreateVolumeRequest, DeleteVolumeRequest, GetCapacityRequest,
  GetMetadataAllocatedRequest, GetMetadataDeltaRequest, GroupSnapshotRequest, ListRequest, ListSnapshotsRequest,
  SnapshotRequest, ValidateVolumeCapabilitiesRequest,
} from '../messages.ts'
import { checkCsiName, ourName, parseSnapshotHandle, snapshotHandle, snapshotIdOf } from '../names.ts'
import type { Operations } from '../operations.ts'
import { invalid } from '../refusal.ts'
import type { CsiService } from '../server.ts'
import { createVolume } from './create-volume.ts'
import type { CreateOptions } from './create-volume.ts'
import { createGroup, deleteGroup, getGroup } from './group-calls.ts'
import { publishVolume, unpublishVolume } from './publish-volume.ts'
import { SnapshotCalls } from './snapshot-calls.ts'
import { metadataAllocated, metadataDelta } from './snapshot-metadata.ts'
import {
  capacity, deleteVolume, expandVolume, getVolume, listVolumes, modifyVolume, validateCapabilities,
} from './volume-calls.ts'
import { checkVolumeIdGiven } from './volumes.ts'

export const CONTROLLER_CAPABILITIES = [
  'CREATE_DELETE_VOLUME', 'PUBLISH_UNPUBLISH_VOLUME', 'LIST_VOLUMES', 'GET_CAPACITY', 'CREATE_DELETE_SNAPSHOT',
  'LIST_SNAPSHOTS',
  'CLONE_VOLUME', 'PUBLISH_READONLY', 'EXPAND_VOLUME', 'LIST_VOLUMES_PUBLISHED_NODES', 'VOLUME_CONDITION', 'GET_VOLUME',
  'SINGLE_NODE_MULTI_WRITER', 'MODIFY_VOLUME', 'GET_SNAPSHOT',
] as const

const GROUP_CAPABILITIES = ['CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT'] as const

export interface ControllerOptions extends CreateOptions {
  diff: DiffSnapshots
  operations: Operations
  /** Attached to a node at most. */
  volumesMax: number
  /** Nothing is asked of the API before it resolves. */
  mayAsk(): Promise<void>
}

const capabilities = (types: readonly string[]) => async () =>
  ({ capabilities: types.map((type) => ({ rpc: { type } })) })

/** Controller, GroupController and SnapshotMetadata. */
export function controllerServices(options: ControllerOptions): CsiService[] {
  const services = [controllerService(options), groupService(options), metadataService(options)]
  return services.map((one) => askedFirst(one, options.mayAsk))
}

/** All but what says what this process can. */
function askedFirst({ definition, calls, streams = {} }: CsiService, mayAsk: () => Promise<void>): CsiService {
  const checked: Required<CsiService> = { definition, calls: {}, streams: {} }
  for (const [rpc, run] of Object.entries(calls)) {
    checked.calls[rpc] = rpc.endsWith('GetCapabilities') ? run : (request) => mayAsk().then(() => run(request))
  }
  for (const [rpc, run] of Object.entries(streams)) {
    checked.streams[rpc] = async function* (request) {
      await mayAsk()
      yield* run(request)
    }
  }
  return checked
}

/**
 * Keys of what volumes hold: shared by what is made of it, and had alone by who looks whether a volume has snapshots
 * and deletes it then. Others, as an attachment, have nothing to do with it.
 */
const dataOf = (volumeIds: readonly string[]): ReadonlySet<string> =>
  new Set(volumeIds.map((id) => `the data of volume ${id}`))

function sourcesOf({ volumeContentSource }: CreateVolumeRequest): string[] {
  const { snapshot, volume } = volumeContentSource ?? {}
  const id = volume?.volumeId ?? parseSnapshotHandle(snapshot?.snapshotId ?? '')?.volumeId
  return id === undefined ? [] : [id]
}

function controllerService(options: ControllerOptions): CsiService {
  const { api, operations } = options
  const snapshots = new SnapshotCalls(api)
  const ofVolume = <Q extends { volumeId: string }>(what: string, run: (request: Q) => Promise<unknown>) =>
    async (request: Q) => {
      checkVolumeIdGiven(request.volumeId)
      return operations.run([`volume ${request.volumeId}`], what, () => run(request))
    }
  const deletion = ofVolume('DeleteVolume', (request: DeleteVolumeRequest) => deleteVolume(api, request))
  return {
    definition: csiService('Controller'),
    calls: {
      ControllerGetCapabilities: capabilities(CONTROLLER_CAPABILITIES),
      CreateVolume: async (request: CreateVolumeRequest) => {
        checkCsiName(request.name, 'volume')
        const keys = [`volume ${ourName(request.name)}`]
        const create = async () => ({ volume: await createVolume(options, request) })
        return operations.run(keys, 'CreateVolume', create, dataOf(sourcesOf(request)))
      },
      DeleteVolume: async (request: DeleteVolumeRequest) =>
        operations.run([...dataOf([request.volumeId])], 'DeleteVolume', () => deletion(request)),
      ControllerPublishVolume: ofVolume('ControllerPublishVolume', (request: ControllerPublishVolumeRequest) =>
        publishVolume(api, request, options.volumesMax)),
      ControllerUnpublishVolume: ofVolume('ControllerUnpublishVolume', (request: ControllerUnpublishVolumeRequest) =>
        unpublishVolume(api, request)),
      ControllerExpandVolume: ofVolume('ControllerExpandVolume', (request: ControllerExpandVolumeRequest) =>
        expandVolume(api, request)),
      ControllerModifyVolume: ofVolume('ControllerModifyVolume', (request: ControllerModifyVolumeRequest) =>
        modifyVolume(api, request)),
      ValidateVolumeCapabilities: (request: ValidateVolumeCapabilitiesRequest) => validateCapabilities(api, request),
      ControllerGetVolume: (request: ControllerGetVolumeRequest) => getVolume(api, request),
      ListVolumes: (request: ListRequest) => listVolumes(api, request),
      GetCapacity: (request: GetCapacityRequest) => capacity(api, request),
      CreateSnapshot: async (request: CreateSnapshotRequest) => {
        const { name, sourceVolumeId: volumeId } = request
        checkCsiName(name, 'snapshot')
        if (volumeId === '') throw invalid('the source volume id is missing')
        const key = snapshotHandle({ volumeId, snapshotId: snapshotIdOf(volumeId, ourName(name)) })
        const keys = [`snapshot ${key}`, `snapshot ${name}`]
        const create = async () => ({ snapshot: await snapshots.create(request) })
        return operations.run(keys, 'CreateSnapshot', create, dataOf([volumeId]))
      },
      DeleteSnapshot: async (request: SnapshotRequest) =>
        operations.run([`snapshot ${request.snapshotId}`], 'DeleteSnapshot', () => snapshots.delete(request)),
      GetSnapshot: async (request: SnapshotRequest) => ({ snapshot: await snapshots.get(request) }),
      ListSnapshots: (request: ListSnapshotsRequest) => snapshots.list(request),
    },
  }
}

function groupService({ api, operations }: ControllerOptions): CsiService {
  return {
    definition: csiService('GroupController'),
    calls: {
      GroupControllerGetCapabilities: capabilities(GROUP_CAPABILITIES),
      CreateVolumeGroupSnapshot: async (request: CreateVolumeGroupSnapshotRequest) => {
        checkCsiName(request.name, 'group snapshot')
        const keys = [`group snapshot ${ourName(request.name)}`]
        const create = () => createGroup(api, request)
        return operations.run(keys, 'CreateVolumeGroupSnapshot', create, dataOf(request.sourceVolumeIds))
      },
      DeleteVolumeGroupSnapshot: async (request: GroupSnapshotRequest) => {
        const [name] = request.groupSnapshotId.split('.')
        return operations.run([`group snapshot ${name}`], 'DeleteVolumeGroupSnapshot', () => deleteGroup(api, request))
      },
      GetVolumeGroupSnapshot: (request: GroupSnapshotRequest) => getGroup(api, request),
    },
  }
}

const metadataService = (options: ControllerOptions): CsiService => ({
  definition: csiService('SnapshotMetadata'),
  calls: {},
  streams: {
    GetMetadataAllocated: (request: GetMetadataAllocatedRequest) => metadataAllocated(options, request),
    GetMetadataDelta: (request: GetMetadataDeltaRequest) => metadataDelta(options, request),
  },
})
