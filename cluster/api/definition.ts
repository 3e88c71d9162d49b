/**
 * The control API in TypeScript: its methods, and the six services loaded from proto/holdfast/v1. Their messages, as
 * they travel through @grpc/proto-loader (camel case, int64 as number: sizes and seqs stay below 2^53), stand beside it
 * in volume-messages.ts, volume-wish-messages.ts, snapshot-messages.ts and node-messages.ts.
 * A test compares what is told there with its message, so that neither drifts.
 */
import type { ServiceDefinition } from '@grpc/grpc-js'
import type {
  AddDiskRequest, CapacityAnswer, CapacityRequest, CreateTokenRequest, Disk, Node, SetNodeWishRequest, Status, Token,
} from './node-messages.ts'
import type {
  CreateGroupRequest, CreateSnapshotRequest, DeleteGroupRequest, DeleteSnapshotRequest, ListGroupsRequest,
  ListSnapshotsRequest, RollBackRequest, SetSnapshotScheduleRequest, Snapshot, SnapshotGroup, SnapshotList,
} from './snapshot-messages.ts'
import type { Explanation, RekeyProgress, Volume, VolumeKeys } from './volume-messages.ts'
import type {
  AttachVolumeRequest, ChangeKeysRequest, CreateVolumeRequest, DeleteVolumeRequest, DetachVolumeRequest,
  ForcePromotionRequest, HydrateVolumeRequest, HydrateVolumeResponse, ListVolumesRequest, ModifyVolumeRequest,
  MoveVolumeRequest, ResizeVolumeRequest, ScrubVolumeRequest, ScrubVolumeResponse,
} from './volume-wish-messages.ts'
import { loadServices } from './proto.ts'

/** What a daemon answers. A refusal is a rejected promise with a HoldfastError; anything else rejected is a bug. */
export interface ControlApi {
  createVolume(request: CreateVolumeRequest): Promise<Volume>
  /** `isInTrash`: those that were deleted, instead */
  listVolumes(request?: ListVolumesRequest): Promise<{ volumes: Volume[]; next: string }>
  getVolume(request: { name: string }): Promise<Volume>
  resizeVolume(request: ResizeVolumeRequest): Promise<Volume>
  deleteVolume(request: DeleteVolumeRequest): Promise<{ keptMs: number }>
  restoreVolume(request: { name: string }): Promise<Volume>
  purgeVolume(request: { name: string }): Promise<object>
  /** What it is asked for from now on, also of one in use. */
  modifyVolume(request: ModifyVolumeRequest): Promise<Volume>
  getKeys(request: { name: string }): Promise<VolumeKeys>
  changeKeys(request: ChangeKeysRequest): Promise<Volume>
  rekeyVolume(request: { name: string }): Promise<RekeyProgress>
  moveVolume(request: MoveVolumeRequest): Promise<Volume>
  forcePromotion(request: ForcePromotionRequest): Promise<Volume>
  explainVolume(request: { name: string }): Promise<Explanation>
  attachVolume(request: AttachVolumeRequest): Promise<Volume>
  detachVolume(request: DetachVolumeRequest): Promise<Volume>
  scrubVolume(request: ScrubVolumeRequest): Promise<ScrubVolumeResponse>
  hydrateVolume(request: HydrateVolumeRequest): Promise<HydrateVolumeResponse>
  createSnapshot(request: CreateSnapshotRequest): Promise<Snapshot>
  /** `unread`: volumes whose snapshots could not be asked for, of a list of all. */
  listSnapshots(request: ListSnapshotsRequest): Promise<SnapshotList>
  getSnapshot(request: { volume: string; name: string }): Promise<Snapshot>
  deleteSnapshot(request: DeleteSnapshotRequest): Promise<object>
  /** The snapshot that keeps what was rolled away. */
  rollBackVolume(request: RollBackRequest): Promise<Snapshot>
  setSnapshotSchedule(request: SetSnapshotScheduleRequest): Promise<Volume>
  createGroup(request: CreateGroupRequest): Promise<SnapshotGroup>
  listGroups(request: ListGroupsRequest): Promise<{ groups: SnapshotGroup[]; next: string }>
  getGroup(request: { name: string }): Promise<SnapshotGroup>
  deleteGroup(request: DeleteGroupRequest): Promise<object>
  listDisks(): Promise<{ disks: Disk[] }>
  addDisk(request: AddDiskRequest): Promise<Disk>
  adoptDisk(request: { path: string }): Promise<Disk>
  setDiskEvicted(request: { uuid: string; isEvicted: boolean }): Promise<Disk>
  listNodes(): Promise<{ nodes: Node[] }>
  getNode(request: { name: string }): Promise<Node>
  setNodeWish(request: SetNodeWishRequest): Promise<Node>
  removeNode(request: { name: string }): Promise<object>
  createToken(request: CreateTokenRequest): Promise<Token>
  listTokens(): Promise<{ tokens: Token[] }>
  revokeToken(request: { name: string }): Promise<object>
  status(): Promise<Status>
  capacity(request: CapacityRequest): Promise<CapacityAnswer>
}

/** Which RPC each method of ControlApi is. */
export const METHODS = {
  createVolume: ['VolumeService', 'Create'],
  listVolumes: ['VolumeService', 'List'],
  getVolume: ['VolumeService', 'Get'],
  resizeVolume: ['VolumeService', 'Resize'],
  deleteVolume: ['VolumeService', 'Delete'],
  restoreVolume: ['VolumeService', 'Restore'],
  purgeVolume: ['VolumeService', 'Purge'],
  modifyVolume: ['VolumeService', 'Modify'],
  getKeys: ['VolumeService', 'GetKeys'],
  changeKeys: ['VolumeService', 'ChangeKeys'],
  rekeyVolume: ['VolumeService', 'Rekey'],
  moveVolume: ['VolumeService', 'Move'],
  forcePromotion: ['VolumeService', 'ForcePromotion'],
  explainVolume: ['VolumeService', 'Explain'],
  attachVolume: ['VolumeService', 'Attach'],
  detachVolume: ['VolumeService', 'Detach'],
  scrubVolume: ['VolumeService', 'Scrub'],
  hydrateVolume: ['VolumeService', 'Hydrate'],
  createSnapshot: ['SnapshotService', 'Create'],
  listSnapshots: ['SnapshotService', 'List'],
  getSnapshot: ['SnapshotService', 'Get'],
  deleteSnapshot: ['SnapshotService', 'Delete'],
  rollBackVolume: ['SnapshotService', 'RollBack'],
  setSnapshotSchedule: ['SnapshotService', 'SetSchedule'],
  createGroup: ['GroupService', 'Create'],
  listGroups: ['GroupService', 'List'],
  getGroup: ['GroupService', 'Get'],
  deleteGroup: ['GroupService', 'Delete'],
  listDisks: ['DiskService', 'List'],
  addDisk: ['DiskService', 'Add'],
  adoptDisk: ['DiskService', 'Adopt'],
  setDiskEvicted: ['DiskService', 'SetEvicted'],
  listNodes: ['NodeService', 'List'],
  getNode: ['NodeService', 'Get'],
  setNodeWish: ['NodeService', 'SetWish'],
  removeNode: ['NodeService', 'Remove'],
  createToken: ['TokenService', 'Create'],
  listTokens: ['TokenService', 'List'],
  revokeToken: ['TokenService', 'Revoke'],
  status: ['NodeService', 'Status'],
  capacity: ['NodeService', 'Capacity'],
} as const satisfies Record<keyof ControlApi, readonly [service: string, rpc: string]>

export type Method = keyof typeof METHODS

export const METHOD_NAMES = Object.keys(METHODS) as Method[]

let loaded: Record<string, ServiceDefinition> | undefined

/** The services by their short name, read from the .proto files once. */
export function services(): Record<string, ServiceDefinition> {
  const names = new Set(Object.values(METHODS).map(([name]) => name))
  loaded ??= loadServices(['volume', 'snapshot', 'group', 'disk', 'node', 'token'], names)
  return loaded
}
