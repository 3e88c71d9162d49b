/**
 * Disks that a node of a cluster takes while it runs. New copies, and slices of volumes that grow, may lie there as
 * soon as the elected node has heard of it; copies that are there already go on where they are. What a disk that was
 * ours before brings of copies is served after the next start, when it is opened with all others.
 */
import type { AddDiskRequest, Disk } from '../cluster/api/node-messages.ts'
import { checkPool, parseTags } from '../cluster/api/volume-request.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { joinDisks } from './joined-disks.ts'
import type { DiskOption } from './worker-messages.ts'
import type { WorkerThread } from './worker-thread.ts'

export interface NodeDisksOptions {
  node: string
  workers(): ReadonlyArray<Pick<WorkerThread, 'replicationCall'>>
  /** @throws HoldfastError */
  prepare(disk: DiskOption): PreparedDisk
  release(disk: PreparedDisk): void
  /** To be opened again at the next start. @returns forgets it again. @throws HoldfastError `folder-write` */
  remember(disk: DiskOption, prepared: PreparedDisk): () => void
}

/** @throws HoldfastError when pool or tags cannot be */
export function diskOptionOf({ path, sizeBytes, pool, tags }: AddDiskRequest): DiskOption {
  return {
    path,
    sizeBytes: sizeBytes === 0 ? undefined : sizeBytes,
    pool: checkPool(pool),
    tags: parseTags('tags', tags.join(',')),
  }
}

export interface DiskTaking {
  remember(): () => void
  /** All workers at once: none of them uses a segment of it before all have said which are theirs. */
  take(): Array<Promise<unknown>>
  release(): void
}

/**
 * A disk is remembered before it is taken: one that a worker has taken is written to from then on, so it keeps its lock
 * and is opened again at the next start, whatever the others said. One that none has taken is forgotten again.
 * @throws HoldfastError when not all have taken it
 */
export async function takeDisk(disk: string, { remember, take, release }: DiskTaking): Promise<void> {
  let forget: () => void
  try {
    forget = remember()
  } catch (error) {
    release()
    throw error
  }
  const outcomes = await Promise.allSettled(take())
  const refused = outcomes.filter((one) => one.status === 'rejected')
  const taken = outcomes.length - refused.length
  if (taken === 0) forgetAndRelease(forget, release)
  const [first] = refused
  if (first === undefined) return
  const { reason: error } = first
  if (taken === 0 || !(error instanceof HoldfastError)) throw error
  const detail = { disk, taken, workers: outcomes.length, reason: error.message }
  throw new HoldfastError('disk-partly-taken', detail, { cause: error })
}

function forgetAndRelease(forget: () => void, release: () => void): void {
  try {
    forget()
  } catch (error) {
    // The next start opens it, as one of ours that is empty; why it was not taken says more.
    if (!(error instanceof HoldfastError)) throw error
  } finally {
    release()
  }
}

export class NodeDisks {
  readonly #o: NodeDisksOptions

  constructor(options: NodeDisksOptions) {
    this.#o = options
  }

  /** @throws HoldfastError why it is not taken */
  async add(request: AddDiskRequest): Promise<Disk> {
    const { node, prepare, release, remember } = this.#o
    const option = diskOptionOf(request)
    const prepared = prepare(option)
    const workers = this.#o.workers()
    const { path } = option
    await takeDisk(path, {
      remember: () => remember({ ...option, pool: prepared.pool, tags: prepared.tags }, prepared),
      take: () => workers.map((worker) => worker.replicationCall<'add-disk'>({ kind: 'add-disk', disk: prepared })),
      release: () => release(prepared),
    })
    const asked = workers.map((worker) => worker.replicationCall<'status'>({ kind: 'status', since: 0 }))
    const disks = joinDisks((await Promise.all(asked)).flatMap((told) => told.disks))
    const status = disks.find((disk) => disk.path === path)
    if (status === undefined) throw new HoldfastError('disk-not-found', { disk: path })
    return { ...status, node }
  }
}
