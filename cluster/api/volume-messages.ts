/** What a volume is, as the control API tells it (definition.ts): copies, who uses it, keys, what it waits for. */
import type { DataLocality, HydrationWhy } from '../../engine/control/volume-record.ts'
import type { AttachMode } from '../../engine/replication/configuration.ts'
import type { QosLimits } from '../../engine/volume/qos-limits.ts'
import type { Cipher } from '../../engine/volume/volume-encryption.ts'
import type { Compression, Durability, OnFull, VolumeHealth } from '../../engine/volume/volume-spec.ts'

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
  /** Whether it is blank, as far as its primary has told (proto); empty: not known. */
  holds: '' | 'nothing' | 'data' | 'shared'
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
