/**
 * The control API in TypeScript: the messages of proto/holdfast/v1 as they travel through @grpc/proto-loader (camel
 * case, int64 as number: sizes and seqs stay below 2^53), and the six services loaded from those files.
 * A test compares every interface here with its message, so that neither drifts.
 */
import type { ServiceDefinition } from '@grpc/grpc-js'
import type { GroupState } from '../../engine/control/snapshot-group.ts'
import type { DataLocality, HydrationWhy } from '../../engine/control/volume-record.ts'
import type { AttachMode } from '../../engine/replication/configuration.ts'
import type { Cipher } from '../../engine/volume/volume-encryption.ts'
import type { DiskState } from '../../engine/volume/volume-spec.ts'
import type { Compression, Durability, OnFull, VolumeHealth } from '../../engine/volume/volume-spec.ts'
import type { QosLimits } from '../../engine/volume/qos-limits.ts'
import { loadServices } from './proto.ts'
import type { VolumePage } from './volume-page.ts'

export interface CreateVolumeRequest {
  name: string
  sizeBytes: number
  parameters: Record<string, string>
  /** Of an encrypted volume whose user wrapped its data key himself: for which id. Else empty, as the next two. */
  volumeId?: string
  wrappedBy?: string
  wrapped?: string
  /** What is said of it, e.g. `csi-pvc`. */
  labels?: Record<string, string>
  /** The first of them that can takes the first copy, and leads. */
  preferredNodes?: string[]
  /** Copies lie on these nodes and in these zones only; both empty: anywhere. */
  allowedNodes?: string[]
  allowedZones?: string[]
}

export interface ListVolumesRequest extends VolumePage {
  /** Those that were deleted, instead. */
  isInTrash?: boolean
}

/** With what the data keys of a volume are wrapped, and where else they are. */
export interface VolumeKeys {
  volumeId: string
  /** The spec's, as JSON; empty: it is not encrypted. */
  encryption: string
  /** Nodes with a copy, and so with the wrapped key on their disks. */
  nodes: string[]
  /** Other volumes, also in the trash, that have the same data key. */
  sharedWith: string[]
}

export interface ChangeKeysRequest {
  name: string
  /** What is to be replaced, as it was told: a spec's `encryption` as JSON, as `encryption` is. */
  former: string
  encryption: string
  /** Id of the key that wraps the newest data key in it. */
  wrappedBy: string
}

/** Of a volume that gets another data key. */
export interface RekeyProgress {
  /** waits: `why`, and it goes on by itself; rewriting: blocks of former data keys are written anew; done. */
  stage: 'waits' | 'rewriting' | 'done'
  /** That writes them anew; empty: none. */
  node: string
  /** Of the volume. */
  doneBytes: number
  totalBytes: number
  rewrittenBlocks: number
  /** That could not be read, or written. */
  damagedBlocks: number
  why: string
}

export interface Copy {
  node: string
  role: 'primary' | 'replica'
  state: 'in-sync' | 'catching-up' | 'rebuilding' | 'failed'
  lagBytes: number
  /** By the clock of its node, milliseconds since 1970; 0: never. */
  scrubbedAtMs: number
  checkedAtMs: number
  /** Also one that was asked for and waits its turn; of its blocks so many of a hundred were looked at. */
  isScrubbing: boolean
  scrubPercent: number
  damagedBlocks: number
  unrepairedBlocks: number
  lostBlocks: number
  mapProblems: number
  /** Of the primary. */
  comparedAtMs: number
  differences: number
  /** Slices of 1 GiB of which it shows blocks of the volume that it is a clone of; whether it gets its own now. */
  sharedSlices: number
  isHydrating: boolean
  /** What it waits for until it is in the set; empty: it is. */
  joining: string
  /** The volume could go on with this copy alone, as its node says freshly. */
  isComplete: boolean
}

export interface ScrubVolumeRequest {
  name: string
  isDeep: boolean
}

export interface HydrateVolumeRequest {
  name: string
}

export interface HydratedCopy {
  node: string
  sharedSlices: number
  why: string
}

export interface HydrateVolumeResponse {
  copies: HydratedCopy[]
}

export interface ScrubVolumeResponse {
  nodes: string[]
  refused: Array<{ node: string; why: string }>
}

export interface Frontend {
  node: string
  session: string
  generation: number
}

/** Who may use a volume. */
export interface VolumeAttach {
  mode: AttachMode
  /** The highest that was given. */
  generation: number
  /** Nobody in mode `open`. */
  holders: Array<{ node: string; generation: number }>
}

export interface Volume {
  name: string
  id: string
  sizeBytes: number
  replicas: number
  durability: Durability
  /** To which it is being changed; until then only what `writeback` promises holds. Empty: it is not. */
  durabilityNext: Durability | ''
  encryption: boolean
  /** Empty: it is not encrypted. */
  cipher: '' | Cipher
  /** Of the key that its data key is wrapped with; empty: none. */
  keyId: string
  epoch: number
  health: VolumeHealth
  healthReason: string
  minInSync: number
  blockSizeBytes: number
  copies: Copy[]
  frontends: Frontend[]
  nbd: string[]
  /** What its blocks take, those of snapshots too; and what they are, 4096 bytes each. */
  usedBytes: number
  logicalBytes: number
  pool: string
  diskTags: string[]
  onFull: OnFull
  ioTimeoutMs: number
  seq: number
  commitSeq: number
  heldRequests: number
  /** Of one in the trash: for so long it can be restored. */
  keptMs: number
  attach: VolumeAttach
  /** How many there are, as the primary said last; the newest one, and when it was made (empty and 0: not known). */
  snapshots: number
  newestSnapshot: string
  newestSnapshotAtMs: number
  /** As it is typed; empty: none. */
  snapshotSchedule: string
  /** All 0: no limits. */
  qos: QosLimits
  /** Of what is written from now on. */
  compression: Compression
  /** Of a clone that gets blocks of its own, why (engine/control/SPEC.md section 14); empty: it is none. */
  hydration: HydrationWhy | ''
  labels: Record<string, string>
  allowedNodes: string[]
  allowedZones: string[]
  dataLocality: DataLocality
  /** hard, soft, alwayson or a number of replicas; empty: as `minInSync` was asked for, or the usual one. */
  failureMode: string
  /** How its primary makes sure, before it reads, that nobody else leads. */
  readCheck: 'lease' | 'confirm'
  /** It has fewer copies than it is to have, and a node could take another one now or soon. */
  awaitsCopy: boolean
}

/** For whom the largest volume is asked. */
export interface CapacityRequest {
  /** As of a volume that is made. */
  parameters: Record<string, string>
  /** Where its user is; both empty: anywhere. */
  node: string
  zone: string
  /** Answer of each node there, too. */
  eachNode?: boolean
}

export interface CapacityAnswer {
  /** The largest volume that could be made now for a user there; 0: none. */
  largestBytes: number
  /** The largest one of which a copy could lie there. */
  localBytes: number
  /** What may still be written on the disks there that fit. */
  freeBytes: number
  /** The latter two of each node there; empty: it was not asked for. */
  nodes: Array<{ node: string; localBytes: number; freeBytes: number }>
}

export interface AddDiskRequest {
  path: string
  sizeBytes: number
  pool: string
  tags: string[]
}

export interface Disk {
  path: string
  pool: string
  capacityBytes: number
  freeBytes: number
  state: DiskState
  reason: string
  uuid: string
  tags: string[]
  reserveBytes: number
  checksumErrors: number
  node: string
}

export interface Node {
  name: string
  state: 'up' | 'down' | 'cordoned' | 'draining'
  zone: string
  pid: number
  disks: Disk[]
  id: string
  clusterId: string
  instanceId: string
  version: string
  nodeVersion: string
  uptimeMs: number
  workers: number
  rssBytes: number
  ioFlusher: 'set' | 'refused'
  listening: string[]
  folder: string
  /** The greatest version of the protocol between data workers that it speaks; 0: not told. */
  protocol: number
  /** It decides for the cluster now. */
  isElected: boolean
}

export interface StatusNode {
  name: string
  state: Node['state']
  safeToReboot: boolean
  because: string
}

export interface Problem {
  what: string
  why: string
  next: string
}

export interface Status {
  clusterId: string
  health: VolumeHealth
  nodes: StatusNode[]
  volumes: number
  volumesHealthy: number
  capacityBytes: number
  freeBytes: number
  usedBytes: number
  /** Of all volumes, and when the newest of them was made; 0: not known. */
  snapshots: number
  newestSnapshotAtMs: number
  /** Of all copies, those of which no deep scrub has come to its end. */
  copiesNeverScrubbed: number
  /** Of the others, the one whose last deep scrub ended first: since 1970, 0: of none. */
  oldestScrubAtMs: number
  oldestScrubVolume: string
  oldestScrubNode: string
  /** Copies that are scrubbed now, or wait their turn, and how far they are on the average: of a hundred. */
  copiesScrubbing: number
  scrubPercent: number
  /** Clones that get blocks of their own, and slices of 1 GiB that their copies share still. */
  hydrating: number
  sharedSlices: number
  sessions: number
  problems: Problem[]
  /** What a cluster of so few nodes, or with its store where it is, cannot promise. */
  limits: string[]
}

export interface ResizeVolumeRequest {
  name: string
  sizeBytes: number
  /** Also to less, where nothing lives beyond. */
  force?: boolean
}

export interface DeleteVolumeRequest {
  name: string
  force: boolean
  /** Not kept in the trash. */
  purge?: boolean
  /** How long the trash keeps it, as a duration; empty: as long as usual. */
  keep?: string
}

export interface MoveVolumeRequest {
  name: string
  what: 'copy' | 'primary'
  to: string
  /** Empty: whoever is best. */
  from: string
}

export interface ModifyVolumeRequest {
  name: string
  /** By name, as when a volume is made: all of them are changed, or none. */
  parameters: Record<string, string>
  /** Those with an empty value are taken out; others stay as they are. */
  labels?: Record<string, string>
}

export interface ForcePromotionRequest {
  name: string
  to: string
  /** Of the refusal that said what it costs; empty: to be told. */
  confirm: string
}

export interface AttachVolumeRequest {
  name: string
  node: string
  /** Empty: single. */
  mode: string
  force: boolean
  /** The lead goes there too, if a copy there is in sync; whether it does is not waited for. */
  primary?: boolean
  /** Only while that node holds fewer volumes, or this one; 0: however many. */
  heldMost?: number
  /** Only while no other generation was given or spent since the caller read this one; null: whatever happened. */
  follows?: { generation: number } | null
}

export interface DetachVolumeRequest {
  name: string
  /** Empty: the only one that holds it. */
  node: string
  /** Instead of `node`: whoever holds it, also when nobody does. */
  all?: boolean
  /** Only who holds it under this generation or an older one; 0: that of the volume when it is first looked at. */
  generation?: number
  /** No attachment that follows a generation of before begins any more, also when nobody held it. */
  spend?: boolean
}

export interface Explanation {
  health: VolumeHealth
  healthReason: string
  next: string
  /** Copies, and how many have a place that they keep. */
  wished: number
  placed: number
  copies: Array<{ node: string; role: Copy['role']; condition: string; leaving: string; reasons: string[] }>
  others: Array<{ node: string; why: string }>
}

export interface SetNodeWishRequest {
  name: string
  isCordoned: boolean
  isDraining: boolean
}

/** Of a volume of a cluster. */
export interface Snapshot {
  /** Name of the volume. */
  volume: string
  volumeId: string
  name: string
  id: string
  /** Where it stands in the volume's history. */
  seq: number
  /** Of the volume then; 0: not known. */
  sizeBytes: number
  /** Since 1970, by the clock of the node that decided; 0: not known. */
  createdAtMs: number
  labels: Record<string, string>
  /** Name of the group snapshot that it was taken for; empty: none. */
  group: string
  /** What only it shows, as it is stored: what its deletion gives back at the least. */
  exclusiveBytes: number
  /** Since 1970, of the scrub that found that; 0: it is not known yet. */
  exclusiveAtMs: number
}

export interface CreateSnapshotRequest {
  volume: string
  name: string
  labels: Record<string, string>
  /** The same in all tries of one request; empty: drawn by the node that is asked. */
  id: string
}

export interface ListSnapshotsRequest {
  /** Empty: all volumes, in order of their ids. */
  volume: string
  /** 0: as many as fit a page. */
  limit: number
  /** `next` of the page before; empty: from the first on. */
  after: string
}

export interface SnapshotList {
  snapshots: Snapshot[]
  /** Empty: these were the last. */
  next: string
  unread: string[]
}

export interface DeleteSnapshotRequest {
  volume: string
  name: string
  /** Of the one that is meant; empty: whichever has that name, and there has to be one. */
  id: string
}

export interface RollBackRequest {
  volume: string
  /** Name of a snapshot of it. */
  to: string
  /** Of the snapshot that keeps what is rolled away; empty: named after the time. */
  keepAs: string
  /** Also while it is attached or connected: what its users ask from then on fails. */
  force: boolean
  /** Of the snapshot that keeps what is rolled away; as in `CreateSnapshotRequest`. */
  id: string
}

export interface SetSnapshotScheduleRequest {
  volume: string
  /** E.g. `every 1h keep-last 24`; `none`: no snapshots by themselves. */
  schedule: string
}

/** One instant of several volumes. */
export interface SnapshotGroup {
  name: string
  /** Of the request. */
  id: string
  /** Only one that is made exists. */
  state: GroupState
  createdAtMs: number
  labels: Record<string, string>
  /** Of the snapshot of each member; its name is the group's. */
  snapshotId: string
  members: GroupMember[]
}

export interface GroupMember {
  /** Its name now; empty: there is no such volume any more. */
  volume: string
  volumeId: string
  /** Of its snapshot; 0: it is not made. */
  seq: number
  sizeBytes: number
}

export interface CreateGroupRequest {
  name: string
  volumes: string[]
  labels: Record<string, string>
  /** As in `CreateSnapshotRequest`. */
  id: string
}

export interface ListGroupsRequest {
  /** 0: as many as fit a page. */
  limit: number
  /** `next` of the page before; empty: from the first on. */
  after: string
}

export interface DeleteGroupRequest {
  name: string
  /** As in `DeleteSnapshotRequest`. */
  id: string
}

export interface CreateTokenRequest {
  name: string
  /** viewer, operator, admin, csi or node. */
  role: string
  /** SHA-256 of the secret, which stays with whoever asks: 64 hex digits. */
  hash: string
  validMs: number
}

/** A bearer token, without what proves it. */
export interface Token {
  name: string
  role: string
  /** Since 1970. */
  createdAtMs: number
  expiresAtMs: number
  clusterId: string
}

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
