/** The messages of CSI as they travel through @grpc/proto-loader (definition.ts); an unset message is null. */

export interface Topology { segments: Record<string, string> }
export interface TopologyRequirement { requisite: Topology[]; preferred: Topology[] }
export interface CapacityRange { requiredBytes: number; limitBytes: number }

export type AccessModeName =
  | 'UNKNOWN' | 'SINGLE_NODE_WRITER' | 'SINGLE_NODE_READER_ONLY' | 'MULTI_NODE_READER_ONLY' | 'MULTI_NODE_SINGLE_WRITER'
  | 'MULTI_NODE_MULTI_WRITER' | 'SINGLE_NODE_SINGLE_WRITER' | 'SINGLE_NODE_MULTI_WRITER'

export interface MountVolume { fsType: string; mountFlags: string[]; volumeMountGroup: string }

export interface VolumeCapability {
  block?: object | null
  mount?: MountVolume | null
  accessMode: { mode: AccessModeName | number } | null
}

export interface VolumeContentSource {
  snapshot?: { snapshotId: string } | null
  volume?: { volumeId: string } | null
}

export interface CsiVolume {
  capacityBytes: number
  volumeId: string
  volumeContext: Record<string, string>
  contentSource: VolumeContentSource | null
  accessibleTopology: Topology[]
}

export interface VolumeCondition { abnormal: boolean; message: string }
export interface VolumeStatus { publishedNodeIds: string[]; volumeCondition: VolumeCondition }

export interface CreateVolumeRequest {
  name: string
  capacityRange: CapacityRange | null
  volumeCapabilities: VolumeCapability[]
  parameters: Record<string, string>
  secrets: Record<string, string>
  volumeContentSource: VolumeContentSource | null
  accessibilityRequirements: TopologyRequirement | null
  mutableParameters: Record<string, string>
}

export interface DeleteVolumeRequest { volumeId: string }

export interface ControllerPublishVolumeRequest {
  volumeId: string
  nodeId: string
  volumeCapability: VolumeCapability | null
  readonly: boolean
}

export interface ControllerUnpublishVolumeRequest { volumeId: string; nodeId: string }

export interface ValidateVolumeCapabilitiesRequest {
  volumeId: string
  volumeContext: Record<string, string>
  volumeCapabilities: VolumeCapability[]
  parameters: Record<string, string>
  mutableParameters: Record<string, string>
}

export interface ListRequest { maxEntries: number; startingToken: string }
export interface ControllerGetVolumeRequest { volumeId: string }

export interface GetCapacityRequest {
  volumeCapabilities: VolumeCapability[]
  parameters: Record<string, string>
  accessibleTopology: Topology | null
}

export interface ControllerExpandVolumeRequest {
  volumeId: string
  capacityRange: CapacityRange | null
  volumeCapability: VolumeCapability | null
}

export interface ControllerModifyVolumeRequest { volumeId: string; mutableParameters: Record<string, string> }

export interface Timestamp { seconds: number; nanos: number }

export interface CsiSnapshot {
  sizeBytes: number
  snapshotId: string
  sourceVolumeId: string
  creationTime: Timestamp
  readyToUse: boolean
  groupSnapshotId: string
}

export interface CreateSnapshotRequest { sourceVolumeId: string; name: string; parameters: Record<string, string> }
export interface SnapshotRequest { snapshotId: string }
export interface ListSnapshotsRequest extends ListRequest { sourceVolumeId: string; snapshotId: string }

export interface CreateVolumeGroupSnapshotRequest {
  name: string
  sourceVolumeIds: string[]
  parameters: Record<string, string>
}

export interface GroupSnapshotRequest { groupSnapshotId: string; snapshotIds: string[] }

export interface VolumeGroupSnapshot {
  groupSnapshotId: string
  snapshots: CsiSnapshot[]
  creationTime: Timestamp
  readyToUse: boolean
}

export interface GetMetadataAllocatedRequest { snapshotId: string; startingOffset: number; maxResults: number }

export interface GetMetadataDeltaRequest {
  baseSnapshotId: string
  targetSnapshotId: string
  startingOffset: number
  maxResults: number
}

export interface BlockMetadata { byteOffset: number; sizeBytes: number }

export interface MetadataPart {
  blockMetadataType: 'VARIABLE_LENGTH'
  volumeCapacityBytes: number
  blockMetadata: BlockMetadata[]
}
