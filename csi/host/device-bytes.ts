/** Bytes of a block device, or in tests of a file: read whole, or told with the device in the sentence. */
import { constants, readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import { deviceNumber } from './volume-mounts.ts'

/** Of sizes in /sys, whatever the device has. */
const SECTOR_BYTES = 512
/** Who reads through a device reads so much at once, for so long. */
export const PIECE_BYTES = 4 * MIB
export const READ_THROUGH_MS = 60_000

/** Nobody has it mounted or to himself meanwhile. */
export const ALONE = constants.O_RDWR | constants.O_EXCL

/** Of a block device or a file. @throws HoldfastError `device-unread`, also of what `use` meets */
export async function withDevice<T>(
  devicePath: string, flags: string | number, use: (file: FileHandle, sizeBytes: number) => Promise<T>,
): Promise<T> {
  let file: FileHandle | undefined
  try {
    file = await open(devicePath, flags)
    return await use(file, await endOf(file, devicePath))
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
    throw new HoldfastError('device-unread', { device: devicePath, reason }, { cause: error })
  } finally {
    await file?.close().catch(() => undefined)
  }
}

/** A block device has no size that `stat` would tell. */
async function endOf(file: FileHandle, devicePath: string): Promise<number> {
  const stats = await file.stat()
  if (!stats.isBlockDevice()) return stats.size
  return Number(readFileSync(`/sys/dev/block/${deviceNumber(devicePath)}/size`, 'utf8')) * SECTOR_BYTES
}

/** @throws where the device ends before */
export async function readAll(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  let read = 0
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, offset + read)
    if (bytesRead === 0) throw new Error(`it ends at byte ${offset + read}`)
    read += bytesRead
  }
  return bytes
}

const ZEROES = Buffer.alloc(PIECE_BYTES)
/** Of `PIECE_BYTES` at most. */
export const isZero = (bytes: Buffer): boolean => bytes.equals(ZEROES.subarray(0, bytes.length))
