/**
 * A clone, from the wish to its record (CLONES.md section 4), at the elected controller. What follows is the creation
 * of any volume, but for where its first copies are made (engine/control/creation.ts).
 */
import { randomBytes } from 'node:crypto'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { CreateVolumeRequest, HydratedCopy, HydrateVolumeResponse, Volume } from '../api/definition.ts'
import { checkVolumeName, clonedVolumeOf, isSaid, type CloneWish } from '../api/volume-request.ts'
import { formatSize } from '../api/amounts.ts'
import type { ReachedNode } from './action-runner.ts'
import type { SnapshotControl } from './snapshot-control.ts'
import type { VolumeWishes } from './volume-wishes.ts'

export interface CloneControlOptions {
  wishes: VolumeWishes
  snapshots: SnapshotControl
  wallMs(): number
}

export class CloneControl {
  private readonly options: CloneControlOptions

  constructor(options: CloneControlOptions) {
    this.options = options
  }

  /**
   * One of that name that is what is asked for is answered as it is.
   * @param nodes  how many could hold a copy
   * @param make  of a record: write it, and wait for the volume
   * @param served  wait for one that is there
   */
  async create(
    request: CreateVolumeRequest, wish: CloneWish, nodes: number,
    { make, served }: Record<'make' | 'served', (record: VolumeRecord) => Promise<Volume>>,
  ): Promise<Volume> {
    const { wishes, snapshots, wallMs } = this.options
    const { name } = request
    checkVolumeName(name)
    if (await wishes.isUsed(name)) {
      const there = await wishes.find(name)
      const existing = await this.differenceOf(there, request, wish)
      if (existing !== '') throw new HoldfastError('volume-exists', { name, existing })
      return served(there)
    }
    const origin = await wishes.find(wish.volume)
    const hex = randomBytes(16).toString('hex')
    // Of a volume: of a snapshot that is made for it, and deleted when the clone does not need it any more.
    const own = wish.snapshot === '' ? `clone-${hex.slice(0, 8)}` : undefined
    const labels = { 'made-for': 'clone' }
    if (own !== undefined) await snapshots.make(origin, hex, { name: own, createdAtMs: wallMs(), labels })
    const { snapshot, epoch } = await snapshots.source(origin, own ?? wish.snapshot)
    // As it is behind the snapshot: a data key that came in between may be that of blocks which the snapshot shows.
    const now = await wishes.recordOf(origin.spec.id)
    if (now === undefined) throw new HoldfastError('volume-not-found', { name: wish.volume })
    const leastBytes = snapshot.sizeBytes === 0 ? origin.spec.sizeBytes : snapshot.sizeBytes
    const sizeBytes = request.sizeBytes === 0 ? leastBytes : request.sizeBytes
    if (sizeBytes < leastBytes) {
      const source = own === undefined ? `${wish.volume}@${wish.snapshot}` : wish.volume
      const sizes = { least: formatSize(leastBytes), size: formatSize(sizeBytes) }
      throw new HoldfastError('clone-smaller', { name, source, ...sizes })
    }
    // At home where its origin is, on every node (dataplane/copy-homes.ts).
    const id = origin.spec.id.slice(0, 8) + hex.slice(8)
    const record = clonedVolumeOf({ ...request, sizeBytes }, { id, nodes }, now.spec)
    const { id: snapshotId, seq } = snapshot
    const made = await make({ ...record, origin: { volumeId: origin.spec.id, snapshotId, seq, epoch } })
    // Its copies keep what it needs. What cannot be deleted now is listed, and anybody may.
    if (own !== undefined) await snapshots.remove(origin, own, hex).catch(onlyExpected)
    return made
  }

  /** From what is asked for, as a part of a sentence; empty: it is that. */
  private async differenceOf(there: VolumeRecord, request: CreateVolumeRequest, wish: CloneWish): Promise<string> {
    const { wishes, snapshots } = this.options
    const { spec, origin } = there
    if (origin === undefined) return 'it is no clone'
    const source = await wishes.find(wish.volume)
    const volumeName = (await wishes.recordOf(origin.volumeId))?.spec.name
    if (origin.volumeId !== source.spec.id) return `it is a clone of ${volumeName ?? 'a volume that is gone'}`
    // The snapshot that is made for a clone of a volume has the id of the clone, but for what that has of its origin's.
    const isOwn = origin.snapshotId.slice(8) === spec.id.slice(8)
    if (wish.snapshot === '' && !isOwn) return `it is a clone of a snapshot of ${wish.volume}`
    if (wish.snapshot !== '') {
      const { snapshot } = await snapshots.source(source, wish.snapshot)
      if (snapshot.id !== origin.snapshotId) return `it is a clone of ${wish.volume}, but not of this snapshot`
    }
    const { sizeBytes } = request
    if (sizeBytes !== 0 && sizeBytes !== spec.sizeBytes)
      return `it has ${formatSize(spec.sizeBytes)}, not ${formatSize(sizeBytes)}`
    // What is not said is as the one that is there has it.
    const wished = clonedVolumeOf({ ...request, sizeBytes: spec.sizeBytes }, { id: spec.id, nodes: Infinity }, {
      ...source.spec, replicas: spec.replicas, durability: spec.durability,
      ...(spec.compression === undefined ? {} : { compression: spec.compression }),
    })
    for (const [name, valueOf] of Object.entries(COMPARED)) {
      const [is, asked] = [valueOf(there), valueOf(wished)]
      if (isSaid(request, name) && is !== asked) return `its ${name} is ${String(is)}, not ${String(asked)}`
    }
    return ''
  }
}

/** Parameters of a clone that are compared where they are given, and what a record has of each. */
const COMPARED: Record<string, (record: VolumeRecord) => unknown> = {
  replicas: ({ spec }) => spec.replicas,
  durability: ({ spec }) => spec.durability,
  compression: ({ spec }) => spec.compression ?? 'none',
  'on-full': ({ spec }) => spec.onFull,
  'io-timeout': ({ spec }) => spec.ioTimeoutMs,
  'qos-iops': ({ spec }) => spec.qos?.iops ?? 0,
  'qos-bandwidth': ({ spec }) => spec.qos?.bandwidthBytes ?? 0,
  'min-in-sync': ({ minInSync }) => minInSync,
}

function onlyExpected(error: unknown): void {
  if (!(error instanceof HoldfastError)) throw error
}

/**
 * All copies of a volume that can be reached are told at once to get blocks of their own for what they share, which is
 * wished by now; the others are told by the controller when they are there.
 * @param reach  a member; undefined: it did not speak lately
 */
export async function hydrateCopies(
  members: readonly string[], volumeId: string, reach: (node: string) => ReachedNode | undefined,
): Promise<HydrateVolumeResponse> {
  const copies = members.map(async (node): Promise<HydratedCopy> => {
    const reached = reach(node)
    if (reached === undefined) return { node, sharedSlices: 0, why: 'it does not answer' }
    try {
      return { node, ...(await reached.calls.hydrate({ volumeId, ...reached.addressee })), why: '' }
    } catch (error) {
      if (error instanceof HoldfastError) return { node, sharedSlices: 0, why: error.message }
      throw error
    }
  })
  return { copies: await Promise.all(copies) }
}
