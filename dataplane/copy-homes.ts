/**
 * Which data worker of this node has what belongs to a volume: its copy, and its frontend beside it. It is the same
 * one for as long as a daemon runs, whatever is made and erased meanwhile; others rely on that (`copy/copy-places.ts`).
 *
 *   a copy is there      the worker that owns the stream in which it lies
 *   none is there        as a volume whose id begins with the same eight digits: what is cloned lies beside its clones
 *   nor one of those     by the volume's id, so that volumes spread, and a copy that is lost is made anew where it was
 *
 * A stream belongs to worker (number of the stream) mod (number of workers). So after a start with another number of
 * workers a copy may be at another one than its id says, and is found there. Only one that came to lie in streams of
 * several workers (it grew, or was filled again, while fewer ran) cannot be served by any of them: that start is
 * refused before anything is opened by more than one.
 */
import { HoldfastError } from '../engine/errors.ts'
import { SharedSegmentGrants } from '../engine/log/segment-grants.ts'
import type { LogPort } from '../engine/ports.ts'
import type { Store } from '../engine/volume/store.ts'
import type { VolumeDescriptor } from '../engine/volume/descriptor.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { openStore } from './store-shell.ts'

/** By id of a volume; and by the eight digits that the ids of clones have from their origin. */
export type CopyHomes = ReadonlyMap<string, number>

const DIGITS = 8

/** @param homes  of the copies that were found when the daemon started */
export function homeOf(volumeId: string, homes: CopyHomes, workers: number): number {
  if (workers === 1) return 0
  const digits = volumeId.slice(0, DIGITS)
  return homes.get(volumeId) ?? homes.get(digits) ?? Number.parseInt(digits, 16) % workers
}

export interface FindHomes {
  /** Of the node; they stay the caller's, and are opened by nobody else. */
  disks: readonly PreparedDisk[]
  indexDir: string
  workers: number
  log: LogPort
}

/**
 * Look where the copies are. One worker finds all of them where it looks.
 * @throws HoldfastError when one cannot be served by so many workers, or the disks cannot be opened
 */
export async function findHomes({ disks, indexDir, workers, log }: FindHomes): Promise<CopyHomes> {
  if (workers === 1) return new Map()
  const barrier = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const unused = disks.map((disk) => ({ ...disk, ...unopened(disk) }))
  const opened = await openStore({ disks: unused, indexDir, worker: 0, workers: 1, barrier, log })
  if (!opened.ok) throw opened.error
  const shell = opened.value
  const streams = streamsOfCopies(shell.store)
  await new Promise<void>((resolve) => shell.stop(() => resolve()))
  return homesOf(streams, workers)
}

/** What the streams of a disk share, as before anybody opened it. */
const unopened = ({ segmentCount }: PreparedDisk): Pick<PreparedDisk, 'grants' | 'barrier'> => ({
  grants: new SharedArrayBuffer(SharedSegmentGrants.byteLength(segmentCount)),
  barrier: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT),
})

interface Found {
  name: string
  streams: ReadonlySet<number>
}

/** Also those of which something cannot be read: they are fenced, and have to be erased. */
function streamsOfCopies(store: Store): Map<string, Found> {
  const found = new Map<string, Found>()
  for (const [volumeId, { copy }] of store.copies()) found.set(volumeId, streamsOf(copy.targets[0]!.map.descriptor))
  for (const { volumesById } of store.streams()) {
    for (const [volumeId, { copy, descriptor }] of volumesById) {
      if (copy === undefined || descriptor.copy?.isRemoved === true || found.has(volumeId)) continue
      found.set(volumeId, streamsOf(descriptor))
    }
  }
  return found
}

/** Also on disks that are away now. */
const streamsOf = ({ spec: { name }, slices }: VolumeDescriptor): Found => (
  { name, streams: new Set(slices.map(([, stream]) => stream)) })

function homesOf(found: ReadonlyMap<string, Found>, workers: number): Map<string, number> {
  const homes = new Map<string, number>()
  for (const [volumeId, { name, streams }] of [...found].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const owners = new Set([...streams].map((stream) => stream % workers))
    if (owners.size > 1) {
      const what = `volume ${name} on ${workers} data workers, with a copy in streams of ${owners.size} of them,`
      throw new HoldfastError('not-supported', { what, instead: 'start the node with --workers 1' })
    }
    const digits = volumeId.slice(0, DIGITS)
    for (const owner of owners) {
      homes.set(volumeId, owner)
      if (!homes.has(digits)) homes.set(digits, owner)
    }
  }
  return homes
}
