/** Sizes that Kubernetes asks for, and the one that a volume gets: whole MiB, upwards, never beyond the limit. */
import { GIB, MIB, VOLUME_BYTES_MAX } from '../../engine/units.ts'
import type { CapacityRange } from '../messages.ts'
import { invalid, outOfRange } from '../refusal.ts'
import type { FileSystem } from './parameters.ts'

/** Where nothing is asked for, or only a limit that is no smaller. */
export const SIZE_BYTES_DEFAULT = GIB

/**
 * @param least  below which it cannot be: what it is cloned from, or has by now
 * @throws CsiRefusal INVALID_ARGUMENT, OUT_OF_RANGE
 */
export function sizeWithin(range: CapacityRange | null, least: number): number {
  const { requiredBytes, limitBytes } = checkRange(range)
  const wanted = requiredBytes > 0 ? Math.max(requiredBytes, least) : least > 0 ? least : usualSize(limitBytes)
  const sizeBytes = Math.ceil(wanted / MIB) * MIB
  if (sizeBytes > VOLUME_BYTES_MAX) throw outOfRange(`a volume of ${wanted} bytes is not possible: at most 64 TiB`)
  if (limitBytes > 0 && sizeBytes > limitBytes) {
    const why = wanted > requiredBytes ? `it has at least ${wanted} bytes` : 'sizes are multiples of 1 MiB, rounded up'
    throw outOfRange(`${requiredBytes} to ${limitBytes} bytes are not possible: ${why}; raise the limit`)
  }
  return sizeBytes
}

/** mkfs.xfs refuses what is smaller; ext4 takes any volume. */
const XFS_BYTES_MIN = 300 * MIB

/**
 * Of a volume that is made of nothing.
 * @param fileSystems  that may be made on it; undefined: it is used as a block device
 * @throws CsiRefusal INVALID_ARGUMENT, OUT_OF_RANGE
 */
export function newSizeWithin(
  range: CapacityRange | null, fileSystems: ReadonlyArray<FileSystem | undefined>,
): number {
  const sizeBytes = sizeWithin(range, 0)
  if (sizeBytes >= XFS_BYTES_MIN || !fileSystems.includes('xfs')) return sizeBytes
  const { limitBytes } = checkRange(range)
  if (limitBytes === 0 || limitBytes >= XFS_BYTES_MIN) return XFS_BYTES_MIN
  throw outOfRange(`an xfs has at least 300 MiB: raise the limit, which is ${limitBytes} bytes, or use ext4`)
}

/** @param limitBytes  0: none */
function usualSize(limitBytes: number): number {
  if (limitBytes === 0) return SIZE_BYTES_DEFAULT
  const most = Math.floor(limitBytes / MIB) * MIB
  return Math.min(SIZE_BYTES_DEFAULT, Math.max(most, MIB))
}

/** Whether a volume of that size is one that was asked for. @throws CsiRefusal INVALID_ARGUMENT */
export function isWithin(sizeBytes: number, range: CapacityRange | null): boolean {
  const { requiredBytes, limitBytes } = checkRange(range)
  return sizeBytes >= requiredBytes && (limitBytes === 0 || sizeBytes <= limitBytes)
}

function checkRange(range: CapacityRange | null): CapacityRange {
  const { requiredBytes, limitBytes } = range ?? { requiredBytes: 0, limitBytes: 0 }
  if (requiredBytes < 0 || limitBytes < 0) throw invalid('a size below 0 was asked for')
  if (limitBytes > 0 && requiredBytes > limitBytes) {
    throw invalid(`at least ${requiredBytes} and at most ${limitBytes} bytes are no range`)
  }
  return { requiredBytes, limitBytes }
}
