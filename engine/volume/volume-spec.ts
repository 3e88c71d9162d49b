/**
 * What was wished for a volume, and what is observed of it: two types, so that nobody writes an observation into a
 * wish. The spec is what a volume's control record carries on every disk of the copy; `engine/log/FORMAT.md` names
 * its fields.
 */
import type { Durability } from '../replication/record.ts'
import type { QosLimits } from './qos-limits.ts'
import type { VolumeEncryption } from './volume-encryption.ts'

export type { Durability }
export type OnFull = 'hold' | 'error'
export type Compression = 'none' | 'lz4'

export interface VolumeSpec {
  /** 32 lower-case hex digits. */
  id: string
  name: string
  sizeBytes: number
  blockSizeBytes: 4096 | 512
  replicas: number
  durability: Durability
  onFull: OnFull
  /** How long I/O is held before it fails; 0 = for ever. */
  ioTimeoutMs: number
  pool: string
  /** Every tag must be on the disk. */
  diskTags: string[]
  /** Of what is written from now on; absent: none. */
  compression?: 'lz4'
  /** Of all it ever has; absent: none. Only how its keys are wrapped changes. */
  encryption?: VolumeEncryption
  /** How a primary makes sure before it reads that nobody else leads (SPEC L4), for good; absent: by leases. */
  readCheck?: 'confirm'
  /** Absent: clients may ask as much as they like. */
  qos?: QosLimits
}

export type VolumeHealth = 'healthy' | 'degraded' | 'at-risk' | 'suspended' | 'faulted'

export interface VolumeStatus {
  spec: VolumeSpec
  health: VolumeHealth
  /** Empty when healthy; else a sentence. */
  healthReason: string
  epoch: number
  /** Highest seq given out, and highest one that is durable without a gap. */
  seq: number
  commitSeq: number
  /** Bytes of live blocks (as stored) of this volume on this node. */
  usedBytes: number
  /** The same blocks, 4096 bytes each. */
  logicalBytes: number
  /** Requests that wait for space. */
  heldRequests: number
}

/** `suspect`: served, and to be emptied. */
export type DiskState = 'online' | 'suspect' | 'failed'

export interface DiskStatus {
  uuid: string
  path: string
  pool: string
  tags: string[]
  state: DiskState
  /** Why it is not `online`. */
  reason: string
  /** What volumes may fill: segments less the reserve. */
  capacityBytes: number
  freeBytes: number
  reserveBytes: number
  checksumErrors: number
}
