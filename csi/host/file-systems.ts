/**
 * File systems on devices of ours: ext4 and xfs, made only on what is blank, checked by their own rules, grown while
 * mounted. Each step may be repeated and cut off anywhere (csi/SPEC.md S4 to S7).
 *
 *     blank --mark--> unfinished --mkfs--> unfinished --take mark--> file system --mount-->
 *
 * The mark is durable before mkfs starts, and durably gone before the first mount.
 */
import { HoldfastError } from '../../engine/errors.ts'
import { UNKNOWN_DATA, isZeroThroughout, lookAt } from './device-content.ts'
import { formerMark, putMark, takeMark } from './format-mark.ts'
import { hostCommand, wordsOf } from './host-command.ts'

export const FILE_SYSTEMS = ['ext4', 'xfs'] as const
export type FileSystem = (typeof FILE_SYSTEMS)[number]

/** Mkfs writes kilobytes to a blank device; a volume may hold I/O meanwhile. */
const MAKE_DEADLINE_MS = 15 * 60_000
/** A repair of many TiB takes hours, and ended in its middle it leaves what it was mending. */
const CHECK_DEADLINE_MS = 24 * 60 * 60_000
/** Asked to end, it writes what it has. */
const CHECK_END_MS = 10 * 60_000
const GROW_DEADLINE_MS = 15 * 60_000

/** Bits of e2fsck's exit status. */
const CORRECTED = 1
const REBOOT_ASKED = 2
const UNCORRECTED = 4

export interface FormatWish {
  /** For sentences. */
  volume: string
  devicePath: string
  fsType: FileSystem
  isReadOnly: boolean
  /**
   * What the cluster knows of that was written, wherever in the volume, as a part of a sentence; asked only of what
   * looks blank. Undefined: nothing, for certain; what is not known is `content-unknown`.
   */
  heldData(): Promise<string | undefined>
}

/**
 * After this the device has a whole file system of the wished kind, which is not mounted.
 * @returns whether it was just made
 * @throws HoldfastError `device-content`: something else is on it, or nothing, and it may only be read; what
 *   `heldData` fails with
 */
export async function makeUnlessThere(wish: FormatWish): Promise<boolean> {
  const { volume, devicePath, fsType, isReadOnly } = wish
  const content = await lookAt(devicePath)
  const refused = (found: string): HoldfastError =>
    new HoldfastError('device-content', { volume, device: devicePath, found, wanted: fsType })
  switch (content.kind) {
    case 'foreign': throw refused(content.found)
    case 'file-system':
      if (content.fsType !== fsType) throw refused(content.fsType)
      return false
    case 'data':
    case 'unfinished':
    case 'blank': {
      if (content.kind !== 'data' && isReadOnly) throw refused('no file system, and it is attached for reading only')
      const held = content.kind === 'blank' ? await heldOn(wish) : content.kind === 'data' ? UNKNOWN_DATA : undefined
      let markedBytes = content.kind === 'unfinished' ? content.markedBytes : undefined
      // It has grown since mkfs was cut off.
      if (held !== undefined && !isReadOnly) markedBytes = await formerMark(devicePath)
      if (held !== undefined && markedBytes === undefined) throw refused(held)
      await putMark(devicePath, markedBytes)
      await make(devicePath, fsType, markedBytes === undefined)
      await takeMark(devicePath)
      return true
    }
  }
}

/** Where the cluster does not know what was written, the device is read through. */
async function heldOn({ devicePath, heldData }: FormatWish): Promise<string | undefined> {
  try {
    return await heldData()
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'content-unknown') throw error
    const isZero = await isZeroThroughout(devicePath)
    if (isZero === undefined) throw error
    return isZero ? undefined : UNKNOWN_DATA
  }
}

/**
 * What is not discarded reads as zeroes: the device was blank. So is the journal of an ext4 then, which is tens of MiB;
 * where one was half made before, parts of that may be there, and mkfs zeroes it.
 */
async function make(devicePath: string, fsType: FileSystem, isBlank = false): Promise<void> {
  const run = { what: `make ${fsType} on ${devicePath}`, deadlineMs: MAKE_DEADLINE_MS }
  if (fsType === 'xfs') await hostCommand('mkfs.xfs', ['-f', '-K', '-q', devicePath], run)
  else {
    const lazily = `nodiscard,lazy_itable_init=1${isBlank ? ',lazy_journal_init=1' : ''}`
    await hostCommand('mkfs.ext4', ['-F', '-q', '-m', '0', '-E', lazily, devicePath], run)
  }
}

/**
 * Never while it is mounted. ext4: the journal is replayed and what is safe to mend is mended, which takes no time when
 * it was unmounted in order. xfs: its mount replays the log, so there is nothing to do before.
 * @throws HoldfastError `file-system-damaged`, `host-command`
 */
export async function checkFileSystem(wish: Omit<FormatWish, 'heldData'>): Promise<void> {
  const { volume, devicePath, fsType, isReadOnly } = wish
  if (fsType === 'xfs' || isReadOnly) return
  const run = { what: `check ${fsType} on ${devicePath}`, deadlineMs: CHECK_DEADLINE_MS, endsMs: CHECK_END_MS }
  const { status, stdout, stderr } = await hostCommand('e2fsck', ['-p', devicePath], {
    ...run, allow: [CORRECTED, REBOOT_ASKED, CORRECTED + REBOOT_ASKED, UNCORRECTED, UNCORRECTED + CORRECTED],
  })
  if (status < UNCORRECTED) return
  const reason = wordsOf(`${stdout}\n${stderr}`)
  throw new HoldfastError('file-system-damaged', { volume, device: devicePath, fsType, reason })
}

/** To the size of its device; one that has it stays as it is. It has to be mounted for writing at `mountPoint`. */
export async function growFileSystem(devicePath: string, mountPoint: string, fsType: FileSystem): Promise<void> {
  const run = { what: `grow ${fsType} on ${devicePath} to its device`, deadlineMs: GROW_DEADLINE_MS }
  if (fsType === 'xfs') await hostCommand('xfs_growfs', ['-d', mountPoint], run)
  else await hostCommand('resize2fs', [devicePath], run)
}

/** What the kernel needs to be told of a mount of ours, besides what the user wishes. */
export function ownOptions(fsType: FileSystem, isReadOnly: boolean): string[] {
  // A clone has the uuid of its origin, and both may be used on one host.
  const uuid = fsType === 'xfs' ? ['nouuid'] : []
  // A snapshot may hold a log that nobody may replay in it: what is read is what the log does not know of.
  const log = fsType === 'xfs' ? 'norecovery' : 'noload'
  return isReadOnly ? [...uuid, 'ro', log] : uuid
}
