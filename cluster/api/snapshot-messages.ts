/** Snapshots, their groups and schedules in the control API (definition.ts). */
import type { GroupState } from '../../engine/control/snapshot-group.ts'

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
