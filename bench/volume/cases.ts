/** What fio is told to do: the cases that servers are measured with. */
import { MIB } from '../../engine/units.ts'

export interface FioCase {
  name: string
  /** `randrw`: MIXED_READ_PERCENT of the operations are reads. */
  rw: 'randwrite' | 'randread' | 'randrw' | 'write' | 'read'
  blockBytes: number
  /** Of each volume. */
  queueDepth: number
  /** A sync behind every write, which is part of its latency. */
  syncEach?: boolean
  /** Used at once, each over an equal share of the bytes. Without it: one. */
  volumes?: number
}

export const MIXED_READ_PERCENT = 70
export const VOLUMES_AT_ONCE = 4

const KIB = 1024

export const CASES: readonly FioCase[] = [
  { name: '4k randwrite QD1', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 1 },
  { name: '4k randwrite QD32', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 32 },
  { name: '4k randwrite QD128', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 128 },
  { name: '4k randread QD1', rw: 'randread', blockBytes: 4 * KIB, queueDepth: 1 },
  { name: '4k randread QD32', rw: 'randread', blockBytes: 4 * KIB, queueDepth: 32 },
  { name: '4k randread QD128', rw: 'randread', blockBytes: 4 * KIB, queueDepth: 128 },
  { name: '128k write QD8', rw: 'write', blockBytes: 128 * KIB, queueDepth: 8 },
  { name: '128k read QD8', rw: 'read', blockBytes: 128 * KIB, queueDepth: 8 },
  { name: '1M write QD4', rw: 'write', blockBytes: MIB, queueDepth: 4 },
  { name: '1M read QD4', rw: 'read', blockBytes: MIB, queueDepth: 4 },
  { name: '4k 70/30 QD32', rw: 'randrw', blockBytes: 4 * KIB, queueDepth: 32 },
  { name: '4k randwrite + flush QD1', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 1, syncEach: true },
  { name: '4k randwrite 4xQD32', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 32, volumes: VOLUMES_AT_ONCE },
]

export const isWrite = ({ rw }: FioCase): boolean => rw.endsWith('write')

/** @param sizeBytes  of what it uses, from the beginning of a volume or file */
export function caseWords(one: FioCase, sizeBytes: number, seconds: number): string[] {
  const { rw, blockBytes, queueDepth, syncEach, volumes = 1 } = one
  return [
    `--rw=${rw}`, `--bs=${blockBytes}`, `--iodepth=${queueDepth}`, `--size=${sizeBytes / volumes}`, '--time_based',
    `--runtime=${Math.round(seconds * 1000)}ms`, '--randrepeat=0', '--norandommap',
    ...(rw === 'randrw' ? [`--rwmixread=${MIXED_READ_PERCENT}`] : []), ...(syncEach === true ? ['--fsync=1'] : []),
  ]
}
