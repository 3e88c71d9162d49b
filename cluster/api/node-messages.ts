/** Nodes, disks, the cluster as a whole, and tokens in the control API (definition.ts). */
import type { DiskState, VolumeHealth } from '../../engine/volume/volume-spec.ts'

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

export interface SetNodeWishRequest {
  name: string
  isCordoned: boolean
  isDraining: boolean
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
