/**
 * What a scrape gathers from a data worker: plain numbers that were counted where the requests passed, each since the
 * start of the daemon (or of the attachment, copy or disk it belongs to, when that is younger). The metric table turns
 * them into what Prometheus reads; nothing here knows of either.
 */
import type { ScrubStatus } from '../../engine/control/node-status.ts'
import type { Usage } from '../../engine/log/extent-map.ts'

/** Upper bounds of the buckets of every latency, in milliseconds; above the last one there is one more bucket. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
]

/** `counts[i]`: of those at or below bound i and above the one before it; one more for those above all bounds. */
export interface LatencyFigures {
  counts: number[]
  sumMs: number
}

export interface OperationFigures {
  operation: string
  requests: number
  errors: number
  /** Asked for; 0 of a flush. */
  bytes: number
  latency: LatencyFigures
}

/** A volume as the clients of this node use it. */
export interface AttachmentFigures {
  volumeId: string
  volume: string
  operations: OperationFigures[]
  /** Of a replicated volume: from its arrival to the first time a request leaves for the primary. */
  admit: LatencyFigures | undefined
  /** From the volume's answer to the moment at which the kernel has taken the reply. */
  reply: LatencyFigures
  heldMs: number
  /** In which requests waited for a limit of the volume, by which. */
  qosWaitedMs: { iops: number; bandwidth: number }
  /** Bytes of blocks that left for the primary, before and after compression; of a volume that is replicated. */
  compression: { writtenBytes: number; storedBytes: number } | undefined
  unanswered: number
  /** How long the oldest unanswered request has waited; 0 without any. */
  oldestMs: number
}

/** A copy on this node. Latencies and counts of members are of the time in which it leads. */
export interface CopyFigures {
  volumeId: string
  /** Its id when the copy cannot be opened. */
  volume: string
  role: string
  isLeading: boolean
  epoch: number
  epochChanges: number
  /** Copies in the configuration, and those of them in the in-sync set. */
  members: number
  inSync: number
  lagBytes: number
  usage: Usage
  scrubs: ScrubStatus
  /** Of which it shows blocks of its origin. */
  sharedSlices: number
  append: LatencyFigures
  replicate: LatencyFigures
  commit: LatencyFigures
}

export interface DiskFigures {
  uuid: string
  path: string
  pool: string
  isOnline: boolean
  isSuspect: boolean
  capacityBytes: number
  freeBytes: number
  reclaimableBytes: number
  checksumErrors: number
  sync: LatencyFigures
}

export interface WorkerFigures {
  attachments: AttachmentFigures[]
  copies: CopyFigures[]
  disks: DiskFigures[]
}

/** Of a node: what its workers counted, those of shared disks added up. */
export function joinFigures(workers: readonly WorkerFigures[]): WorkerFigures {
  const disks = new Map<string, DiskFigures>()
  for (const disk of workers.flatMap((worker) => worker.disks)) {
    const known = disks.get(disk.uuid)
    if (known === undefined) disks.set(disk.uuid, { ...disk, sync: { ...disk.sync, counts: [...disk.sync.counts] } })
    else addDisk(known, disk)
  }
  return {
    attachments: workers.flatMap(({ attachments }) => attachments),
    copies: workers.flatMap(({ copies }) => copies),
    disks: [...disks.values()],
  }
}

/** Each worker subtracts from the capacity what its own volumes hold. */
function addDisk(known: DiskFigures, disk: DiskFigures): void {
  known.isOnline &&= disk.isOnline
  known.isSuspect ||= disk.isSuspect
  known.freeBytes = Math.max(0, known.freeBytes - (disk.capacityBytes - disk.freeBytes))
  known.reclaimableBytes += disk.reclaimableBytes
  known.checksumErrors += disk.checksumErrors
  known.sync.sumMs += disk.sync.sumMs
  disk.sync.counts.forEach((count, index) => (known.sync.counts[index]! += count))
}
