/**
 * Which copies of one store share blocks (cluster/reconcile/CLONES.md section 2): copies of clones are made from those
 * of their origin beside them, which keep what is read for as long as it is.
 *
 *   pin durable in the origin's copy -> clone's copy durable -> ... -> it shares nothing, durably -> pin dropped
 *
 * Remains are what is left of a copy that was removed while others read it: no machine has it, nobody is told of it.
 */
import { epochOf, seqOf } from '../log/entry.ts'
import type { DamagedId, VersionId } from '../replication/record.ts'
import { runTask, until, type Task } from '../task.ts'
import { SLICE_BLOCKS, SLICE_BYTES } from '../units.ts'
import { levelsBelow } from './copy-base.ts'
import { originWithout } from './copy-bodies.ts'
import { isShared } from './copy-hydration.ts'
import { levelsOf } from './copy-shares.ts'
import { newCopyPart, type CopyDescriptor } from './copy-part.ts'
import type { FoundVersion } from './copy-reader.ts'
import type { SettledCopy } from './copy-recovery.ts'
import { slicesIn, type LocalCopyStore } from './copy-store.ts'
import { withoutSlices, type SharedRuns } from './descriptor.ts'
import { placementOf } from './placement.ts'
import { LEVELS_MOST, PINS_MOST } from './sharing-limits.ts'
import { versionsOfBlock } from './slice-scan.ts'
import type { VolumeSpec } from './volume-spec.ts'

/** What a clone begins as. */
export interface CloneSource {
  volumeId: string
  snapshotId: string
  seq: number
}

export interface SharingOptions {
  /** Of every copy that the store knows of, served or not. */
  copies(): Iterable<LocalCopyStore>
  /** Whether it is open, so that bodies of it can be written. */
  isOpen(copy: LocalCopyStore): boolean
  /** Something of a copy may be on disks that are not there. */
  isIncomplete(copy: LocalCopyStore): boolean
  /** Nobody reads them any more. */
  eraseRemains(copy: LocalCopyStore): void
}

export class CopySharing {
  readonly remains = new Set<LocalCopyStore>()
  /** Clones whose copy is being made, by id: pinned, and not recorded yet. */
  private readonly making = new Map<string, LocalCopyStore>()
  private waiters: Array<() => void> = []
  private readonly o: SharingOptions

  constructor(options: SharingOptions) {
    this.o = options
  }

  /**
   * Pin what a clone is to begin as.
   * @param made  to be called when its copy is recorded, or will not be
   * @param pinned  whether that is durable
   */
  pin(
    origin: LocalCopyStore, cloneId: string, seq: number, pinned: (isDurable: boolean, made: () => void) => void,
  ): void {
    this.making.set(cloneId, origin)
    origin.bodies.pin([cloneId, seq], (isDurable) =>
      pinned(isDurable && origin.failedReason === '', () => {
        this.making.delete(cloneId)
        this.look()
      }),
    )
  }

  isMaking(volumeId: string): boolean {
    return this.making.has(volumeId)
  }

  /** Ends when no clone beside the copy shares any of these slices with it. */
  *freeSlices(origin: LocalCopyStore, slices: readonly number[]): Task<void> {
    for (;;) {
      // What lies on a disk that is away is lost to both until it comes back, and is not wiped there now.
      const readers = [...this.readersOf(origin)].filter(({ bodies, layout }) =>
        slices.some((slice) => isShared(bodies.now.origin, slice) && layout.target(slice * SLICE_BLOCKS) !== undefined))
      if (readers.length === 0 && ![...this.making.values()].includes(origin)) return
      for (const reader of readers) if (this.o.isOpen(reader)) reader.hydration.want(slices, true)
      yield* until<void>((resume) => void this.waiters.push(resume))
    }
  }

  /** Give what reads these remains blocks of its own, so that they can go. */
  free(remains: LocalCopyStore): void {
    runTask(this.freeSlices(remains, slicesIn(remains.layout.slices)), () => {})
  }

  /**
   * Damage in remains, or in what a copy keeps for clones alone, is told to one that shows it: its machine has what it
   * shares repaired as its own (B8).
   * @returns those that some clone reads; the others go with the next sweep
   */
  *tellReaders(remains: LocalCopyStore, versions: readonly DamagedId[]): Task<DamagedId[]> {
    const told: DamagedId[] = []
    for (const id of versions) {
      const reader = yield* this.readerOf(remains, id)
      if (reader === undefined) continue
      reader.tellDamage([id])
      told.push(id)
    }
    return told
  }

  /** Clones that read what is left of a copy, also through what is left of clones between. */
  *clonesOf(remains: LocalCopyStore): Generator<LocalCopyStore> {
    for (const reader of this.readersOf(remains)) {
      if (this.remains.has(reader)) yield* this.clonesOf(reader)
      else yield reader
    }
  }

  /** One that shows this version, which it shares; through a clone between, which may not show it. */
  private *readerOf(remains: LocalCopyStore, id: VersionId): Task<LocalCopyStore | undefined> {
    for (const reader of [...this.clonesOf(remains)]) {
      const target = this.o.isOpen(reader) ? reader.layout.target(id.lba) : undefined
      const found = target === undefined ? [] : yield* versionsOfBlock(target, id.lba)
      const isIt = ({ words, owner }: FoundVersion): boolean =>
        owner !== undefined && seqOf(words, 0) === id.seq && epochOf(words, 0) === id.epoch
      if (found?.some(isIt) === true) return reader
    }
    return undefined
  }

  /** Something shares less, or is gone: pins for nobody are dropped, and who waits looks again. */
  look(): void {
    for (const copy of this.o.copies()) {
      if (copy.bodies.pins.length === 0 || !this.o.isOpen(copy) || this.o.isIncomplete(copy)) continue
      const readers = new Set([...this.readersOf(copy)].map(({ volumeId }) => volumeId))
      for (const [cloneId] of copy.bodies.pins)
        if (!readers.has(cloneId) && this.making.get(cloneId) !== copy) copy.bodies.unpin(cloneId)
    }
    for (const copy of this.remains) {
      if (copy.bodies.pins.length > 0) continue
      this.remains.delete(copy)
      this.o.eraseRemains(copy)
    }
    for (const resume of this.waiters.splice(0)) resume()
  }

  /** Something is whole again, which any copy may have met damaged. */
  lookAgain(): void {
    for (const copy of this.o.copies()) copy.hydration.lookAgain()
  }

  /** Copies that read through this one. */
  private *readersOf(origin: LocalCopyStore): Generator<LocalCopyStore> {
    const streams = new Set(origin.targets.map(({ stream }) => stream))
    for (const copy of this.o.copies())
      if (copy.bodies.now.origin?.[0] === origin.volumeId && copy.targets.some(({ stream }) => streams.has(stream)))
        yield copy
  }
}

/** Why no copy of a clone can be made from this one (B1). */
export function whyNotShared(origin: LocalCopyStore | undefined, { snapshotId, seq }: CloneSource): string | undefined {
  if (origin === undefined) return 'no copy of its origin is here'
  const { bodies, filling } = origin
  if (origin.failedReason !== '') return `the copy of its origin failed: ${origin.failedReason}`
  if (!origin.isWhole || filling.isSettling || bodies.fillsPending > 0) return 'the copy of its origin is not whole'
  if (origin.appliedSeq < seq) return 'the copy of its origin does not have all of it yet'
  if (!bodies.now.snapshots.some((one) => one.id === snapshotId && one.seq === seq)) return 'its snapshot is not there'
  if (bodies.pins.length >= PINS_MOST) return `${PINS_MOST} clones share with the copy of its origin: hydrate some`
  const depth = 1 + levelsOf(origin.targets[0]!)
  return depth < LEVELS_MOST ? undefined : `${depth} clones of clones lie below it: hydrate one of them`
}

/** A copy that shows what its origin's shows, and nothing of its own. */
export function cloneOf(
  origin: LocalCopyStore,
  spec: VolumeSpec,
  copyId: string,
  { snapshotId, seq }: CloneSource,
): CopyDescriptor {
  const { now } = origin.bodies
  const sizeBytes = now.snapshots.find(({ id }) => id === snapshotId)?.sizeBytes ?? now.spec.sizeBytes
  const beyond = new Set<number>()
  for (const slice of slicesIn(origin.layout.slices)) if (slice >= sizeBytes / SLICE_BYTES) beyond.add(slice)
  const shared: SharedRuns = []
  const slices: CopyDescriptor['slices'] = origin.layout.slices.map(([disk, stream, runs]) => {
    const kept = withoutSlices(runs, beyond)
    shared.push(...kept)
    return [disk, stream, kept.map(([first, count]) => [first, count, 1])]
  })
  const epochs = now.epochs.filter(([, firstSeq]) => firstSeq <= seq)
  return {
    format: 1,
    revision: 0,
    spec,
    epoch: epochs.at(-1)?.[0] ?? 0,
    epochs,
    slices,
    snapshots: [],
    rollbacks: [],
    origin: shared.length === 0 ? null : [origin.volumeId, seq, shared],
    deleted: false,
    seq,
    copy: { ...newCopyPart(copyId), appliedSeq: seq, baseSeq: seq },
  }
}

/** No node has it: what lies there is lost. */
const LOST_DISK = '0'.repeat(32)

/**
 * A copy as it can be opened: slices that it shares with something that is not there as it was count as lost (B3).
 * @returns which they are, besides
 */
export function withLost(settled: SettledCopy): { settled: SettledCopy; lost: number[] } {
  const { descriptor, targets } = settled
  const slices = slicesIn(descriptor.slices).filter((slice) => isShared(descriptor.origin, slice))
  const placement = placementOf(descriptor.slices, Math.max(0, ...slices) + 1, targets)
  const lost = slices.filter((slice) => {
    const target = targets[placement[slice]!]
    return target !== undefined && levelsBelow(target.stream, target.map, slice) === undefined
  })
  if (lost.length === 0) return { settled, lost }
  const gone = new Set(lost)
  const there = new Set(slicesIn(descriptor.slices).filter((slice) => !gone.has(slice)))
  const next: CopyDescriptor = {
    ...descriptor,
    origin: originWithout(descriptor.origin, gone),
    slices: descriptor.slices.flatMap(([disk, stream, runs]): CopyDescriptor['slices'] => [
      [disk, stream, withoutSlices(runs, gone)],
      [LOST_DISK, stream, withoutSlices(runs, there)],
    ]).filter(([disk, , runs]) => disk !== LOST_DISK || runs.length > 0),
  }
  for (const { map } of targets) map.setDescriptor({ ...next, revision: map.descriptor.revision })
  return { settled: { ...settled, descriptor: next }, lost }
}
