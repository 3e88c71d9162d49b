/**
 * Opening all disks of a node, and going on without one that is gone. A disk that this node served before and that
 * cannot be opened now (it is not there, does not answer, or has no whole superblock) is left out and told as failed:
 * its copies are placed elsewhere, the others are served (engine/replication/SPEC.md D7). A disk that was never served
 * is a word in the configuration that is wrong, and one that is another's, in use or of a newer format is somebody's to
 * decide about: then the start is refused, as it is when no disk is left. A node by itself goes on without none of
 * them.
 *
 * A file that was served is never made anew by a start, whatever size its option has: its file system may not be
 * mounted yet, and what is then written below is hidden by the mount. Somebody puts an empty disk there, or takes it
 * out of the options for one start.
 *
 *   seen-disks.json   [{path, uuid, pool, tags, isLost}]: what was served at the last start, and what was not any more
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'
import type { Result } from '../engine/volume/store-api.ts'
import type { DiskStatus } from '../engine/volume/volume-spec.ts'
import { releaseDisk } from './disk-preparation.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { readJson, rememberDisk, replaceFile } from './node-folder.ts'
import type { NodePaths } from './node-folder.ts'
import type { DiskOption } from './worker-messages.ts'

/** A host that boots may show its disks a little later than it starts us. */
const WAIT_MS = 5_000
const LOOK_EVERY_MS = 100

/** What the loss of a disk looks like to who opens or reads it. */
const LOSSES: ReadonlySet<unknown> = new Set([
  'ENOENT', 'EIO', 'ENXIO', 'ENODEV', 'ENOMEDIUM', 'EREMOTEIO', 'ETIMEDOUT',
])

export interface SeenDisk {
  path: string
  uuid: string
  pool: string
  tags: string[]
  /** The last start went on without it. */
  isLost: boolean
}

export interface OpenedDisks {
  disks: PreparedDisk[]
  /** As they are shown: failed, without room. */
  lost: DiskStatus[]
}

export interface DisksToOpen {
  options: readonly DiskOption[]
  /** The file of what was seen. */
  seen: string
  prepare(option: DiskOption): Result<PreparedDisk>
  /** A node by itself: nobody else has what is on one that is gone. */
  needsAll?: boolean
  log: LogPort
  /** To be shorter in tests. */
  waitMs?: number
}

/** @throws HoldfastError why the node cannot start; none of them is held then */
export async function openDisks(asked: DisksToOpen): Promise<OpenedDisks> {
  const opened: OpenedDisks = { disks: [], lost: [] }
  try {
    await openAll(asked, opened)
    return opened
  } catch (error) {
    opened.disks.forEach(releaseDisk)
    throw error
  }
}

/** Whether the start would be refused, from what can be known before a disk is anybody's. @throws HoldfastError why */
export function checkDisks(
  { options, seen, check }: Pick<DisksToOpen, 'options' | 'seen'> & { check(option: DiskOption): Result<unknown> },
): void {
  for (const option of knownOptions(options, seen)) {
    const checked = check(option)
    if (!checked.ok && !(option.isKnown === true && isLoss(checked))) throw checked.error
  }
}

/** With the mark of those that were served before: no file is made for them. */
export function knownOptions(options: readonly DiskOption[], seen: string): DiskOption[] {
  const known = new Set(seenDisks(seen).map(({ path }) => path))
  return options.map((option) => (known.has(option.path) ? { ...option, isKnown: true } : option))
}

async function openAll(
  { options, seen, prepare, needsAll = false, log, waitMs = WAIT_MS }: DisksToOpen, { disks, lost }: OpenedDisks,
): Promise<void> {
  const known = new Map(seenDisks(seen).map((disk) => [disk.path, disk]))
  const endMs = performance.now() + waitMs
  const now: SeenDisk[] = []
  let first: HoldfastError | undefined
  for (const option of knownOptions(options, seen)) {
    const former = known.get(option.path)
    let opened = prepare(option)
    while (isLoss(opened) && former?.isLost === false && performance.now() < endMs) {
      await sleep(LOOK_EVERY_MS)
      opened = prepare(option)
    }
    if (opened.ok) {
      const { diskUuid: uuid, pool, tags, file: { path } } = opened.value
      disks.push(opened.value)
      now.push({ path, uuid, pool, tags, isLost: false })
      continue
    }
    if (former === undefined || needsAll || !isLoss(opened)) throw opened.error
    first ??= opened.error
    now.push({ ...former, isLost: true })
    lost.push(asFailed(former, opened.error))
    const { message: reason } = opened.error
    log.event('error', 'a disk is gone; the node goes on without it', { path: option.path, reason })
  }
  if (disks.length === 0 && first !== undefined) throw first
  keepSeen(seen, now)
}

/**
 * One is taken while the node runs.
 * @returns puts back what was known of its path. Both throw HoldfastError `folder-write`
 */
export function noteSeen(file: string, { diskUuid: uuid, pool, tags, file: { path } }: PreparedDisk): () => void {
  const former = seenDisks(file).filter((disk) => disk.path === path)
  const keep = (now: readonly SeenDisk[]): void =>
    keepSeen(file, [...seenDisks(file).filter((disk) => disk.path !== path), ...now])
  keep([{ path, uuid, pool, tags, isLost: false }])
  return () => keep(former)
}

/** The next start opens it, and knows that it was there: both or none is kept. @returns forgets it, as of `noteSeen` */
export function rememberSeen(
  paths: Pick<NodePaths, 'disks' | 'seenDisks'>, disk: DiskOption, prepared: PreparedDisk,
): () => void {
  const forget = rememberDisk(paths.disks, disk)
  try {
    const unsee = noteSeen(paths.seenDisks, prepared)
    return () => {
      unsee()
      forget()
    }
  } catch (error) {
    forget()
    throw error
  }
}

export const seenDisks = (file: string): SeenDisk[] => (readJson(file) as SeenDisk[] | undefined) ?? []

function keepSeen(file: string, disks: readonly SeenDisk[]): void {
  const text = `${JSON.stringify(disks, undefined, 2)}\n`
  if (text !== `${JSON.stringify(seenDisks(file), undefined, 2)}\n`) replaceFile(file, text)
}

function isLoss(opened: Result<unknown>): opened is { ok: false; error: HoldfastError } {
  if (opened.ok) return false
  const { code } = opened.error
  const cause = opened.error.cause as { code?: string } | undefined
  // One that was large enough shows no size any more.
  if (code === 'format-damaged' || code === 'disk-too-small') return true
  return code === 'disk-open' && LOSSES.has(cause?.code)
}

function asFailed({ path, uuid, pool, tags }: SeenDisk, { detail }: HoldfastError): DiskStatus {
  const reason = String(detail['reason'] ?? 'it cannot be opened')
  const nothing = { capacityBytes: 0, freeBytes: 0, reserveBytes: 0, checksumErrors: 0 }
  return { path, uuid, pool, tags, state: 'failed', reason, ...nothing }
}
