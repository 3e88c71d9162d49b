/**
 * A volume is staged on this host: its device is there, has a file system, and that is mounted at kubelet's staging
 * path (csi/SPEC.md section 6, S2 to S8). Each step looks at the kernel for whether it is done, so that any of them
 * may be repeated, come late, or be cut off. Kept: N2, N3, N5.
 */
import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { checkFileSystem, growFileSystem, makeUnlessThere, ownOptions } from '../host/file-systems.ts'
import type { HostDevice, HostDevices, StagedMount } from '../host/host-devices.ts'
import type { KubeletFolder } from '../host/kubelet-paths.ts'
import { mountAt } from '../host/mountinfo.ts'
import { makeMountPoint, mountDevice, unmountAll } from '../host/mounting.ts'
import type { AskVolume } from './attachment-end.ts'
import type { Attachment, Use } from './node-requests.ts'
import { allMountsOf, isMountOf, mountOf } from '../host/volume-mounts.ts'
import { unfinished } from '../refusal.ts'
import { heldData } from '../volume-content.ts'
import { PUBLISHED, otherDevices, stageNoteOf } from './stage-notes.ts'
import { endOver, stagedAnew } from './unstaging.ts'

const ATTACHED_FOLDER = 'attached'
const OFFER_WAIT_MS = 20_000
const OFFER_LOOK_EVERY_MS = 50

export interface StagingOptions {
  api: Pick<ControlClient, 'getVolume'>
  /** The control API at any other node: asked whether an attachment is over while the one of this host is silent. */
  elsewhere?: AskVolume | undefined
  devices: HostDevices
  /** Name and folder of the node whose data process serves this host. */
  node: string
  nodeFolder: string
  kubelet: KubeletFolder
}

export interface StageWish {
  volume: Volume
  attachment: Attachment
  use: Use
  /** In kubelet's folder, without symbolic links. */
  stagingPath: string
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * One that fails leaves nothing that it made, or fails with UNAVAILABLE.
 * @param unlock  what its data process needs to serve it; once it is known that the attachment is not past
 */
export async function stage(options: StagingOptions, wish: StageWish, unlock: () => Promise<void>): Promise<void> {
  const before = await options.devices.find(wish.volume.id)
  stagedAnew(wish.volume.id)
  try {
    await stageOver(options, wish, unlock, before)
  } catch (error) {
    const { generation } = wish.attachment
    const isKept = before !== undefined
      && (before.generation > generation || (before.generation === generation && stageNoteOf(before) !== undefined))
    if (!isKept) await undo(options, wish)
    throw await isLeft(options, wish, error) ? unfinished(error) : error
  }
}

/**
 * Something of this attachment is here still, so an unstage has to come: a mount of which a later step failed, a device
 * that somebody has open. Not an entry alone, as after a boot; nor a stage that is there and was asked for otherwise:
 * kubelet knows that one.
 */
async function isLeft(
  { devices }: StagingOptions, { volume: { id }, attachment: { generation } }: StageWish, error: unknown,
): Promise<boolean> {
  if (error instanceof HoldfastError && error.code === 'mount-differs') return false
  try {
    const device = await devices.find(id)
    return device?.generation === generation && (device.path !== '' || allMountsOf(device).length > 0)
  } catch (found) {
    if (found instanceof HoldfastError) return true
    throw found
  }
}

/** Kubelet does not unstage what was refused for good. What cannot be undone now is undone by an unstage (`isLeft`). */
async function undo({ devices }: StagingOptions, { volume: { id } }: StageWish): Promise<void> {
  try {
    const device = await devices.find(id)
    if (device !== undefined && allMountsOf(device).length === 0) await devices.detach(id)
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
  }
}

async function stageOver(
  options: StagingOptions, asked: StageWish, unlock: () => Promise<void>, present: HostDevice | undefined,
): Promise<void> {
  const { devices, nodeFolder } = options
  const { volume, attachment: { generation, mode } } = asked
  // Where only reading was given, nothing is written, whatever the pod could do: no log is replayed either.
  const use = { ...asked.use, isReadOnly: asked.use.isReadOnly || mode === 'read-only' }
  const wish = { ...asked, use }
  if (use.fsType !== undefined && mode === 'shared') throw new HoldfastError('mount-shared', { volume: volume.name })
  if (present !== undefined) await endFormerStage(options, wish, present)
  checkNotPast(options, wish)
  await unlock()
  await awaitOffer(options, wish)
  const device = await devices.attach({
    volumeId: volume.id, generation, mode, nodeFolder, ioTimeoutMs: volume.ioTimeoutMs,
    readOnly: use.isReadOnly,
  })
  await checkStagedAlike(wish, device)
  if (use.fsType === undefined) return noteStage(options, wish, device)
  await asOne(options, device, () => mountStaged(options, wish, device))
}

/**
 * From the look to the mount it is one device: while it is open its index goes to no other volume, whatever becomes of
 * it, and once it is open it is looked at whether it is that of this volume still.
 */
async function asOne({ devices }: StagingOptions, device: HostDevice, work: () => Promise<void>): Promise<void> {
  const { volumeId, path: devicePath, generation } = device
  const refused = (reason: string, cause?: unknown): HoldfastError =>
    new HoldfastError('device-unread', { device: devicePath, reason }, { cause })
  const file = await open(devicePath, 'r').catch((error: NodeJS.ErrnoException) => {
    throw refused(error.code ?? error.message, error)
  })
  try {
    const now = await devices.find(volumeId)
    if (now?.path !== devicePath || now.generation !== generation || now.state !== 'attached') {
      throw refused(`it is not the device of volume ${volumeId} any more`)
    }
    await work()
  } finally {
    await file.close()
  }
}

/**
 * Of an older generation: what was mounted of it answers nothing but errors, and nobody unpublished it when the volume
 * went elsewhere by force. It ends before its device does. @throws HoldfastError `generation-past` (N3)
 */
async function endFormerStage(
  { devices, kubelet }: StagingOptions, { volume, attachment: { generation } }: StageWish, present: HostDevice,
): Promise<void> {
  if (present.generation === generation) return
  if (present.generation > generation) {
    const reason = `generation ${present.generation} was seen on this host`
    throw new HoldfastError('generation-past', { volume: volume.name, asked: generation, reason })
  }
  const others = await otherDevices(devices, volume.id)
  const order = { volume: volume.name, devicePath: present.path, isOurs: isMountOf(present, others) }
  await endOver(devices, volume.id, async () => {
    for (const { mountPoint } of allMountsOf(present, others)) {
      // What somebody mounted elsewhere is his to unmount.
      if (kubelet.isInside(mountPoint)) await unmountAll(mountPoint, order)
    }
  })
}

/**
 * A generation is given once: one that was given, and is not this node's, will not be.
 * @throws HoldfastError `generation-past`
 */
function checkNotPast({ node }: StagingOptions, { volume, attachment: { generation } }: StageWish): void {
  const { generation: highest, holders } = volume.attach
  const holder = holders.find((one) => one.node === node)
  // What was looked at may be older than the attachment.
  if (highest < generation || holder?.generation === generation) return
  const reason = holder === undefined ? `${node} does not hold it any more`
    : `${node} has generation ${holder.generation} of it now`
  throw new HoldfastError('generation-past', { volume: volume.name, asked: generation, reason })
}

/** S2. Its socket is there as long as that generation is in force on this node. */
async function awaitOffer({ node, nodeFolder }: StagingOptions, wish: StageWish): Promise<void> {
  const { volume: { id, name }, attachment: { generation } } = wish
  const socketPath = path.join(nodeFolder, ATTACHED_FOLDER, `${id}.${generation}`)
  const untilMs = performance.now() + OFFER_WAIT_MS
  while (!existsSync(socketPath)) {
    if (performance.now() > untilMs) {
      throw new HoldfastError('attachment-missing', { node, volume: name, generation, seconds: OFFER_WAIT_MS / 1000 })
    }
    await pause(OFFER_LOOK_EVERY_MS)
  }
}

const describe = (fileSystem: string, options: readonly string[]): string =>
  `${fileSystem === '' ? 'a block device' : fileSystem}${options.length === 0 ? '' : ` (${options.join(',')})`}`

const optionsOf = ({ fsType, options, isReadOnly }: Use): string[] =>
  fsType === undefined ? [] : [...new Set([...options, ...ownOptions(fsType, isReadOnly)])]

/** One stage for each volume. @throws HoldfastError `mount-differs` */
async function checkStagedAlike({ volume, use, stagingPath }: StageWish, device: HostDevice): Promise<void> {
  const noted = stageNoteOf(device)
  if (noted === undefined) return
  const isThere = noted.fileSystem === '' || mountOf(device, noted.path) !== undefined
  // Half done, and now wished otherwise: nobody has it yet.
  if (!isThere) return
  const wished = { path: stagingPath, fileSystem: use.fsType ?? '', options: optionsOf(use) }
  const isAlike = noted.path === wished.path && noted.fileSystem === wished.fileSystem
    && [...noted.options].sort().join() === [...wished.options].sort().join()
  if (isAlike) return
  throw new HoldfastError('mount-differs', {
    volume: volume.name, path: noted.path, present: describe(noted.fileSystem, noted.options),
    wanted: `${describe(wished.fileSystem, wished.options)} at ${stagingPath}`,
  })
}

/** S8, before S7: a half-done stage is undone by unstage. */
async function noteStage({ devices }: StagingOptions, wish: StageWish, device: HostDevice): Promise<void> {
  const { use, stagingPath } = wish
  const note: StagedMount = { path: stagingPath, fileSystem: use.fsType ?? '', options: optionsOf(use) }
  if (JSON.stringify(stageNoteOf(device)) === JSON.stringify(note)) return
  const published = device.mounts.filter(({ fileSystem }) => fileSystem === PUBLISHED)
  await devices.note(device.volumeId, { mounts: [note, ...published] })
}

/** S4 to S8. */
async function mountStaged(options: StagingOptions, wish: StageWish, device: HostDevice): Promise<void> {
  const { volume, use, stagingPath } = wish
  const fsType = use.fsType!
  const { isReadOnly } = use
  const format = {
    volume: volume.name, devicePath: device.path, fsType, isReadOnly, heldData: () => heldData(options.api, volume.id),
  }
  let isNew = false
  if (mountOf(device, stagingPath) === undefined) {
    const other = mountAt(stagingPath)
    if (other !== undefined) {
      const found = `${other.fsType} of ${other.source}`
      throw new HoldfastError('mount-foreign', { path: stagingPath, found, volume: volume.name })
    }
    // What is mounted somewhere is in use: neither formatted nor checked.
    if (allMountsOf(device).length === 0) {
      isNew = await makeUnlessThere(format)
      if (!isNew) await checkFileSystem(format)
    }
    await makeMountPoint(stagingPath, 'folder')
    await noteStage(options, wish, device)
    await mountDevice({ devicePath: device.path, mountPoint: stagingPath, fsType, options: optionsOf(use) })
    if (mountOf(device, stagingPath) === undefined) {
      throw new HoldfastError('volume-unstaged', { volume: volume.name, path: stagingPath })
    }
  }
  // A clone, or a volume that was resized while nobody had it; also after a kill between mount and this.
  if (!isReadOnly && !isNew) await growFileSystem(device.path, stagingPath, fsType)
}
