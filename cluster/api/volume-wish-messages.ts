/** What is asked of volumes, and answered where that is more than the volume (definition.ts). */
import type { VolumePage } from './volume-page.ts'

export interface CreateVolumeRequest {
  name: string
  sizeBytes: number
  parameters: Record<string, string>
  /** Under which id it is made; empty: a new one. */
  volumeId?: string
  /** Of an encrypted volume whose user wrapped its data key himself, for that id. Else empty. */
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

export interface ChangeKeysRequest {
  name: string
  /** What is to be replaced, as it was told: a spec's `encryption` as JSON, as `encryption` is. */
  former: string
  encryption: string
  /** Id of the key that wraps the newest data key in it. */
  wrappedBy: string
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
