/**
 * The mark on a device of a file system that is being made (csi/SPEC.md S5, N2).
 *
 * The mark says that we looked, saw a blank device, and began to make a file system. It lies on the device itself, so
 * it goes where the volume goes: a host that dies over mkfs leaves a volume that the next one can make anew.
 *
 *     | first MiB ............ | ............ | last MiB: [512 KiB] MARK (4 KiB) [508 KiB] |
 *
 * There because mkfs of ext4 and xfs write the first MiB, and zero the last 64 or 128 KiB, but nothing between
 * (without discard). Were it overwritten all the same, the device would be refused, never formatted.
 *
 * Of a volume that has grown since it lies where the end was: there a half-made file system says that it ends, or it is
 * the last thing on the device that is not zero. Before mkfs it goes to the end of now, and says where it was.
 *
 * The mark alone decides nothing: whoever may write a file can bring its bytes there. A device is made anew only when
 * it is marked and nobody can have mounted it: `blkid` knows nothing on it, its ext4 has no time of a last mount (the
 * kernel writes that), or its xfs is in progress (the kernel mounts none such). So no user of a mounted volume gets it
 * formatted.
 */
import type { FileHandle } from 'node:fs/promises'
import { MIB } from '../../engine/units.ts'
import { ALONE, PIECE_BYTES, READ_THROUGH_MS, isZero, readAll, withDevice } from './device-bytes.ts'

const MARK_BYTES = 4096
const MARK_FORMER_OFFSET = 512
const MARK_SEARCH_MS = 10_000
const READS_AT_ONCE = 16
const MARK_FROM_END_BYTES = 512 * 1024
const MARK_TEXT = 'holdfast: a file system is being made here, version 1\n'

/** Which of its sizes, that of now first, the device had when it was marked. */
export async function markedAmong(devicePath: string, formerSizes: readonly number[]): Promise<number | undefined> {
  return withDevice(devicePath, 'r', async (file, sizeBytes) => {
    for (const bytes of [sizeBytes, ...formerSizes.filter((one) => one >= MARK_FROM_END_BYTES && one < sizeBytes)]) {
      if (await markOf(file, bytes) !== undefined) return bytes
    }
    return undefined
  })
}

/**
 * How large the device was when mkfs began on it and left nothing that is known; only of what shows no file system.
 * Nobody wrote behind that end, so all is zero there and the mark alone in its MiB. Undefined: it is not so, or cannot
 * be seen in time. @throws HoldfastError `device-unread`
 */
export async function formerMark(devicePath: string): Promise<number | undefined> {
  return withDevice(devicePath, 'r', async (file, sizeBytes) => {
    const end = await lastMark(file, sizeBytes)
    return end !== undefined && await isAlone(file, end, sizeBytes) ? end : undefined
  })
}

/** Of the places that marks can have, from the end of the device on, only zeroes lie behind it. */
async function lastMark(file: FileHandle, sizeBytes: number): Promise<number | undefined> {
  const untilMs = performance.now() + MARK_SEARCH_MS
  for (let end = Math.floor(sizeBytes / MIB) * MIB; end > 0 && performance.now() <= untilMs;) {
    const ends = Array.from({ length: READS_AT_ONCE }, (_, i) => end - i * MIB).filter((one) => one > 0)
    const found = await Promise.all(ends.map((one) => readAll(file, markAt(one), MARK_BYTES)))
    const at = found.findIndex((bytes) => !isZero(bytes))
    if (at >= 0) return await markOf(file, ends[at]!) === undefined ? undefined : ends[at]
    end -= READS_AT_ONCE * MIB
  }
  return undefined
}

async function isAlone(file: FileHandle, end: number, sizeBytes: number): Promise<boolean> {
  const untilMs = performance.now() + READ_THROUGH_MS
  const around = await readAll(file, end - MIB, MIB)
  around.fill(0, markAt(MIB), markAt(MIB) + MARK_BYTES)
  if (!isZero(around)) return false
  for (let at = end; at < sizeBytes; at += PIECE_BYTES) {
    if (performance.now() > untilMs || !isZero(await readAll(file, at, Math.min(PIECE_BYTES, sizeBytes - at)))) {
      return false
    }
  }
  return true
}

/**
 * Durable when this resolves. Only on what `lookAt` called blank or unfinished, or what has a former mark.
 * @param markedBytes  size of the device when it was marked before; that mark goes with this one
 */
export async function putMark(devicePath: string, markedBytes?: number): Promise<void> {
  await withDevice(devicePath, ALONE, async (file, sizeBytes) => {
    if (markedBytes === sizeBytes) return
    const before = markedBytes === undefined ? undefined : await markOf(file, markedBytes)
    if (before !== undefined && before.formerBytes > 0) await clearMark(file, before.formerBytes)
    await file.write(markBytes(markedBytes), 0, MARK_BYTES, markAt(sizeBytes))
    await file.sync()
  })
}

/** Durable when this resolves. What is no mark is not touched. */
export async function takeMark(devicePath: string): Promise<void> {
  await withDevice(devicePath, ALONE, async (file, sizeBytes) => {
    const mark = await markOf(file, sizeBytes)
    if (mark === undefined) return
    if (mark.formerBytes > 0) await clearMark(file, mark.formerBytes)
    await clearMark(file, sizeBytes)
  })
}

async function clearMark(file: FileHandle, sizeBytes: number): Promise<void> {
  // mkfs may have written something there.
  if (await markOf(file, sizeBytes) === undefined) return
  await file.write(Buffer.alloc(MARK_BYTES), 0, MARK_BYTES, markAt(sizeBytes))
  await file.sync()
}

const markAt = (sizeBytes: number): number => Math.max(0, sizeBytes - MARK_FROM_END_BYTES)

/** That of a device of so many bytes. `formerBytes`: where it was marked before; 0: nowhere. */
async function markOf(file: FileHandle, sizeBytes: number): Promise<{ formerBytes: number } | undefined> {
  const found = await readAll(file, markAt(sizeBytes), MARK_BYTES)
  const formerBytes = Number(found.readBigUInt64LE(MARK_FORMER_OFFSET))
  return found.equals(markBytes(formerBytes)) && formerBytes < sizeBytes ? { formerBytes } : undefined
}

function markBytes(formerBytes = 0): Buffer {
  const bytes = Buffer.alloc(MARK_BYTES)
  bytes.write(MARK_TEXT)
  bytes.writeBigUInt64LE(BigInt(formerBytes), MARK_FORMER_OFFSET)
  return bytes
}
