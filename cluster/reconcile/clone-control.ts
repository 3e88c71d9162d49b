/**
 * A clone, from the wish to its record (CLONES.md section 4), at the elected controller. What follows is the creation
 * of any volume, but for where its first copies are made (engine/control/creation.ts).
 *
 * Invariant: a snapshot that was made for a clone is deleted again by who made it, unless the clone may need it; then
 * by who hears that it is served (K3).
 */
import { randomBytes } from 'node:crypto'
import { restingMode } from '../../engine/control/attach-wish.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { Volume } from '../api/volume-messages.ts'
import type { CreateVolumeRequest, HydratedCopy, HydrateVolumeResponse } from '../api/volume-wish-messages.ts'
import { clonedVolumeOf, type CloneWish } from '../api/clone-request.ts'
import { checkVolumeName, isSaid } from '../api/volume-request.ts'
import { formatDuration, formatSize } from '../api/amounts.ts'
import { scheduleText } from '../api/schedule-request.ts'
import type { ReachedNode } from './action-runner.ts'
import type { SnapshotControl } from './snapshot-control.ts'
import type { VolumeWishes } from './volume-wishes.ts'

export interface CloneControlOptions {
  wishes: VolumeWishes
  snapshots: SnapshotControl
  wallMs(): number
}

/** What any new volume goes through. */
export interface Making {
  /** Whether it can be made at all. @throws HoldfastError */
  judge(record: VolumeRecord): Promise<void>
  /** Write it, and wait for the volume. */
  make(record: VolumeRecord): Promise<Volume>
  /** Wait for one that is there. */
  served(record: VolumeRecord): Promise<Volume>
}

export class CloneControl {
  private readonly options: CloneControlOptions

  constructor(options: CloneControlOptions) {
    this.options = options
  }

  /**
   * One of that name that is what is asked for is answered as it is.
   * @param nodes  how many could hold a copy
   */
  async create(request: CreateVolumeRequest, wish: CloneWish, nodes: number, making: Making): Promise<Volume> {
    const { wishes } = this.options
    const { name } = request
    checkVolumeName(name)
    if (await wishes.isUsed(name)) {
      const there = await wishes.find(name)
      const existing = await this.differenceOf(there, request, wish)
      if (existing !== '') throw new HoldfastError('volume-exists', { name, existing })
      const volume = await making.served(there)
      const origin = hasOwn(there) ? await wishes.recordOf(there.origin.volumeId) : undefined
      if (origin !== undefined) await this.removeOwn(origin, there.origin!.snapshotId)
      return volume
    }
    const origin = await wishes.find(wish.volume)
    const hex = randomBytes(16).toString('hex')
    // At home where its origin is, on every node (dataplane/copy-homes.ts).
    const context = { id: origin.spec.id.slice(0, 8) + hex.slice(8), nodes }
    if (wish.snapshot !== '') return this.makeFrom(origin, wish.snapshot, request, context, making)
    // Of a volume: of a snapshot that is made for it, if nothing else is in the way.
    const { sizeBytes: leastBytes } = origin.spec
    await making.judge(clonedVolumeOf(withSize(request, leastBytes, wish.volume), context, origin))
    await this.options.snapshots.make(origin, hex, {
      name: `clone-${hex.slice(0, 8)}`, createdAtMs: this.options.wallMs(), labels: { 'made-for': 'clone' },
    })
    try {
      const made = await this.makeFrom(origin, hex, request, context, making)
      // Its copies keep what it needs.
      await this.removeOwn(origin, hex)
      return made
    } catch (error) {
      if (error instanceof HoldfastError && !(await this.mayCome(context.id, error))) await this.removeOwn(origin, hex)
      throw error
    }
  }

  /** @param source  name of the snapshot, or id of the one that was made for it */
  private async makeFrom(
    origin: VolumeRecord, source: string, request: CreateVolumeRequest, context: { id: string; nodes: number },
    { make }: Making,
  ): Promise<Volume> {
    const { wishes, snapshots } = this.options
    const { id: volumeId, name: volume } = origin.spec
    const { snapshot, epoch } = await snapshots.source(origin, source)
    // As it is behind the snapshot: a data key that came in between may be that of blocks which the snapshot shows.
    const now = await wishes.recordOf(volumeId)
    if (now === undefined) throw new HoldfastError('volume-not-found', { name: volume })
    const leastBytes = snapshot.sizeBytes === 0 ? origin.spec.sizeBytes : snapshot.sizeBytes
    const of = isMadeFor(snapshot.id, context.id) ? volume : `${volume}@${source}`
    const record = clonedVolumeOf(withSize(request, leastBytes, of), context, now)
    const { id: snapshotId, seq } = snapshot
    return make({ ...record, origin: { volumeId, snapshotId, seq, epoch } })
  }

  /** Whether a creation that was refused left something that is made, or will be. */
  private async mayCome(id: string, { code }: HoldfastError): Promise<boolean> {
    if (code.startsWith('store-')) return true
    try {
      const record = await this.options.wishes.recordOf(id)
      return record !== undefined && record.trash === null
    } catch (error) {
      if (error instanceof HoldfastError) return true
      throw error
    }
  }

  /** What cannot be deleted now is listed, and anybody may. */
  private async removeOwn(origin: VolumeRecord, snapshotId: string): Promise<void> {
    try {
      await this.options.snapshots.remove(origin, `clone-${snapshotId.slice(0, 8)}`, snapshotId)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
    }
  }

  /** From what is asked for, as a part of a sentence; empty: it is that. */
  private async differenceOf(there: VolumeRecord, request: CreateVolumeRequest, wish: CloneWish): Promise<string> {
    const { wishes, snapshots } = this.options
    const { spec, origin } = there
    if (origin === undefined) return 'it is no clone'
    // By ids it is known without what they are of, which may be deleted by now.
    if (wish.volume !== origin.volumeId || (wish.snapshot !== '' && wish.snapshot !== origin.snapshotId)) {
      const source = await wishes.find(wish.volume)
      const volumeName = (await wishes.recordOf(origin.volumeId))?.spec.name
      if (origin.volumeId !== source.spec.id) return `it is a clone of ${volumeName ?? 'a volume that is gone'}`
      if (wish.snapshot !== '' && wish.snapshot !== origin.snapshotId) {
        const { snapshot } = await snapshots.source(source, wish.snapshot)
        if (snapshot.id !== origin.snapshotId) return `it is a clone of ${wish.volume}, but not of this snapshot`
      }
    }
    if (wish.snapshot === '' && !hasOwn(there)) return `it is a clone of a snapshot of ${wish.volume}`
    const { sizeBytes } = request
    if (sizeBytes !== 0 && sizeBytes !== spec.sizeBytes)
      return `it has ${formatSize(spec.sizeBytes)}, not ${formatSize(sizeBytes)}`
    // What is not said is as the one that is there has it.
    const asIs = { ...request, sizeBytes: spec.sizeBytes }
    const wished = clonedVolumeOf(asIs, { id: spec.id, nodes: Infinity }, there)
    for (const [name, valueOf] of Object.entries(COMPARED)) {
      const [is, asked] = [valueOf(there), valueOf(wished)]
      if (isSaid(request, name) && is !== asked) return `its ${name} is ${String(is)}, not ${String(asked)}`
    }
    const hasOthers = wished.labels !== undefined && labelsText(wished) !== labelsText(there)
    return hasOthers ? 'it has other labels' : ''
  }
}

/**
 * Parameters of a clone that are compared where they are given, and what a record has of each. Those that a clone has
 * of its origin for good are refused before.
 */
const COMPARED: Record<string, (record: VolumeRecord) => unknown> = {
  replicas: ({ spec }) => spec.replicas,
  durability: ({ spec }) => spec.durability,
  compression: ({ spec }) => spec.compression ?? 'none',
  'on-full': ({ spec }) => spec.onFull,
  'io-timeout': ({ spec }) => formatDuration(spec.ioTimeoutMs),
  'qos-iops': ({ spec }) => spec.qos?.iops ?? 0,
  'qos-bandwidth': ({ spec }) => spec.qos?.bandwidthBytes ?? 0,
  'qos-burst': ({ spec }) => formatDuration(spec.qos?.burstMs ?? 0),
  'read-check': ({ spec }) => spec.readCheck ?? 'lease',
  'min-in-sync': ({ minInSync }) => minInSync,
  'failure-mode': ({ failureMode }) => failureMode ?? 'none',
  'allow-degraded': ({ allowDegraded }) => allowDegraded,
  'attach-mode': ({ attachMode }) => restingMode(attachMode),
  'data-locality': ({ dataLocality }) => dataLocality ?? 'disabled',
  'snapshot-schedule': ({ snapshotSchedule }) => scheduleText(snapshotSchedule) || 'none',
}

const labelsText = ({ labels = {} }: VolumeRecord): string => JSON.stringify(Object.entries(labels).sort())

/** The snapshot that is made for a clone of a volume has the id of the clone, but for what that has of its origin's. */
const isMadeFor = (snapshotId: string, cloneId: string): boolean => snapshotId.slice(8) === cloneId.slice(8)

const hasOwn = (record: VolumeRecord): record is VolumeRecord & Required<Pick<VolumeRecord, 'origin'>> =>
  record.origin !== undefined && isMadeFor(record.origin.snapshotId, record.spec.id)

/** @param source  for sentences @throws HoldfastError `clone-smaller` */
function withSize(request: CreateVolumeRequest, leastBytes: number, source: string): CreateVolumeRequest {
  const sizeBytes = request.sizeBytes === 0 ? leastBytes : request.sizeBytes
  if (sizeBytes >= leastBytes) return { ...request, sizeBytes }
  const sizes = { least: formatSize(leastBytes), size: formatSize(sizeBytes) }
  throw new HoldfastError('clone-smaller', { name: request.name, source, ...sizes })
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
