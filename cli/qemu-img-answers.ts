/** What `qemu-img --output=json` prints of an image that anybody may have made. */
import { HoldfastError } from '../engine/errors.ts'
import { isCount, isFlag, isRecord } from '../engine/value-shape.ts'

/** Bytes that the image shows. @throws HoldfastError `image-read` */
export function virtualSizeOf(file: string, told: string): number {
  const value = parsedOf(told)
  const sizeBytes = isRecord(value) ? value['virtual-size'] : undefined
  return isCount(sizeBytes) ? sizeBytes : refused(file)
}

/** Of a map: bytes that are not zeroes. @throws HoldfastError `image-read` */
export function dataBytesOf(file: string, told: string): number {
  const extents = parsedOf(told)
  if (!Array.isArray(extents)) return refused(file)
  let bytes = 0
  for (const extent of extents as unknown[]) {
    if (!isRecord(extent)) return refused(file)
    const { length, data, zero } = extent
    if (!isCount(length) || !isFlag(data) || !isFlag(zero)) return refused(file)
    if (data && !zero) bytes += length
  }
  return isCount(bytes) ? bytes : refused(file)
}

function parsedOf(told: string): unknown {
  try {
    return JSON.parse(told)
  } catch {
    return undefined
  }
}

function refused(path: string): never {
  throw new HoldfastError('image-read', { path, reason: 'what qemu-img says of it cannot be read' })
}
