/**
 * Opening the copies of replicated volumes (FORMAT.md section 7). Roll-forward hands each stream's records over one by
 * one (`rollCopyRecord`); when all streams have been read, `settleCopy` says for each copy what was applied, what
 * waits, and what the log does not have without a gap. Changes memory only; the checkpoint that ends the opening of a
 * stream makes it durable.
 */
import { OPERATION, isReplicated, RECORD_FLAG, RECORD_KIND } from '../log/record.ts'
import type { RolledRecord } from '../log/log-tail.ts'
import { fillVersions } from '../log/fill-version.ts'
import { moveEntry, moveZero } from '../log/relocation.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { WaitingRecord } from '../log/waiting-records.ts'
import type { Task } from '../task.ts'
import { SLICE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { mergedCopy, withChange, type CopyDescriptor } from './copy-part.ts'
import { decodeDescriptor, generationOfSlice, type VolumeDescriptor } from './descriptor.ts'
import { withList, type SnapshotLeaf } from './snapshot-leaves.ts'
import { Views } from './views.ts'

/** A settled copy: its log above the applied seq, in order; control records have an entry for each disk. */
export interface SettledCopy {
  descriptor: CopyDescriptor
  targets: Target[]
  tail: number
  unapplied: Array<{ seq: number; places: Array<{ target: Target; waiting: WaitingRecord }> }>
}

/** More than a copy writes on some of its disks only. */
export const AWAY_REVISIONS = 2 ** 20

/** Take one record behind the checkpoint. False when the index cannot be read. */
export function* rollCopyRecord(stream: StoreStream, volume: VolumeMap, rolled: RolledRecord): Task<boolean> {
  const { record, batch } = rolled
  const copy = volume.copy!
  const now = (): CopyDescriptor => copy.rolled ?? (volume.descriptor as CopyDescriptor)
  const units = batch.startBlock * UNITS_PER_BLOCK + record.payloadUnits
  const isMoved = (record.flags & RECORD_FLAG.moved) !== 0
  if (rolled.leaf !== undefined) {
    copy.leaves.place(rolled.leaf, batch.segment)
    volume.changed = true
    return true
  }
  if (record.kind === RECORD_KIND.control) {
    const body = rolled.descriptor as CopyDescriptor
    if (body.revision >= now().revision) {
      volume.controlSegment = batch.segment
      volume.controlBornBatch = record.bornBatch
      volume.changed = true
    }
    const isLaterFill = body.copy.fills > now().copy.fills
    copy.hintSeq = isLaterFill ? body.copy.appliedSeq : Math.max(copy.hintSeq, body.copy.appliedSeq)
    copy.rolled = mergedCopy(now(), body)
  } else if (isMoved || (record.flags & RECORD_FLAG.fill) !== 0) {
    const slice = Math.floor(record.lba / SLICE_BLOCKS)
    if (record.sliceGeneration !== generationOfSlice(now(), slice)) return true
    if (isMoved && record.kind === RECORD_KIND.write)
      return yield* moveEntry(stream, volume, record, { segment: batch.segment, units })
    if (isMoved) return yield* moveZero(stream, volume, record, batch.segment)
    return yield* fillVersions(stream, volume, record, { segment: batch.segment, units })
  }
  if (isMoved || !isReplicated(record)) return true
  const generation = stream.segments.generation[batch.segment]!
  copy.waiting.add({ record, segment: batch.segment, generation, units, batch: undefined, listed: false, at: -1 })
  return true
}

/**
 * All copies that lie on these streams. One of which something cannot be read is not among the answers; its streams are
 * `unreadable`, and must not be finished: a checkpoint would pass what was found of it and is not in force.
 */
export function* settleCopies(
  streams: readonly StoreStream[],
): Task<{ settled: SettledCopy[]; unreadable: Set<StoreStream> }> {
  const byId = new Map<string, Target[]>()
  for (const stream of streams)
    for (const [id, map] of stream.volumesById)
      if (map.copy !== undefined) byId.set(id, [...(byId.get(id) ?? []), { stream, map }])
  const settled: SettledCopy[] = []
  const unreadable = new Set<StoreStream>()
  for (const targets of [...byId.values()].flatMap(apart)) {
    // A copy that was being created when the crash came is recorded on some of its disks only.
    const { descriptor } = targets[0]!.map
    for (const stream of streams)
      if (
        !targets.some((target) => target.stream === stream) &&
        descriptor.slices.some(([disk, id]) => disk === stream.context.diskUuid && id === stream.context.streamId)
      )
        targets.push({ stream, map: stream.addVolume({ ...descriptor, revision: 0 }) })
    const one = yield* settleCopy(targets)
    if (one !== undefined) settled.push(one)
    else for (const { stream } of targets) unreadable.add(stream)
  }
  return { settled, unreadable }
}

/**
 * The disks of each copy. A disk was away, its copy was given up, and another one was made on others, or it was filled
 * on others, and then they were away and it was filled on that disk: when all are back there are two, neither of which
 * names a disk of the other. What one of them says is nothing to the other.
 */
function apart(targets: Target[]): Target[][] {
  const copies: Target[][] = []
  for (const target of targets) {
    const isWith = (other: Target): boolean => {
      const [a, b] = [foundDescriptor(target), foundDescriptor(other)]
      return isNamed(a, other) || isNamed(b, target)
    }
    const its = copies.filter((copy) => copy.some(isWith))
    copies.splice(0, Infinity, ...copies.filter((copy) => !its.includes(copy)), [...its.flat(), target])
  }
  return copies
}

/**
 * Of two copies of a volume on disks of one node: whether the first one was used after the other. Who was a member last
 * has the later epoch in its log, for the other one had left the set by then; who was filled under the same one has
 * more of it.
 */
export function isLaterCopy(a: SettledCopy, b: SettledCopy): boolean {
  const rank = ({ descriptor: { copy, epoch, revision }, tail }: SettledCopy): number[] => [
    copy.isRemoved === true ? 0 : 1,
    epoch,
    copy.facts.consistency.state === 'consistent' ? 1 : 0,
    tail,
    copy.facts.promise.epoch,
    copy.fills,
    revision,
  ]
  const ofB = rank(b)
  const differences = rank(a).map((value, i) => value - ofB[i]!)
  return (differences.find((difference) => difference !== 0) ?? 0) > 0
}

/** @param targets  of one copy, those that could be read. Undefined when something of it cannot be read. */
function* settleCopy(targets: Target[]): Task<SettledCopy | undefined> {
  let final = foundDescriptor(targets[0]!)
  for (const target of targets) final = mergedCopy(final, foundDescriptor(target))
  const listed = listOf(final, targets)
  if (listed === undefined) return undefined
  final = listed.descriptor
  const { appliedSeq, fills, fillBorn, fork } = final.copy
  const bornLeast = ({ stream }: Target): number => fillBorn[stream.context.diskUuid] ?? 0
  const isForgotten = (target: Target, { seq, bornBatch }: { seq: number; bornBatch: number }): boolean =>
    seq > fork && bornBatch < bornLeast(target)
  // A disk that came back after the copy had gone on without it has nothing to say: its slices lie elsewhere.
  const own = targets.filter((target) => isNamed(final, target))
  const changes = new Map<number, CopyDescriptor>()
  // A control record is whole on all disks that its own body names.
  const isOnAll = (body: CopyDescriptor | undefined, on: (target: Target) => boolean): boolean =>
    body !== undefined && own.every((target) => !isNamed(body, target) || on(target))
  const begun = new Map<number, { body: CopyDescriptor; disks: Set<Target> }>()
  for (const target of own) {
    const { stream, map } = target
    for (const { record, segment, units } of map.copy!.waiting.all) {
      if (record.kind !== RECORD_KIND.control) continue
      const body = yield* readBody(stream, segment, units, record)
      if (body === undefined) return undefined
      changes.set(record.lba, body)
      if (record.operation !== OPERATION.epoch || isForgotten(target, record)) continue
      const one = begun.get(record.epoch) ?? { body, disks: new Set<Target>() }
      begun.set(record.epoch, one)
      one.disks.add(target)
    }
  }
  // An epoch above what was applied has begun when its record is on every disk; the last one says what is void.
  const whole = [...begun]
    .filter(([, { body, disks }]) => isOnAll(body, (target) => disks.has(target)))
    .sort(([a], [b]) => b - a)[0]
  const settledEpochs = final.epochs.filter(([, firstSeq]) => firstSeq <= appliedSeq)
  const isNewer = whole !== undefined && whole[0] > (settledEpochs.at(-1)?.[0] ?? 0)
  final = { ...final, epochs: isNewer ? whole[1].body.epochs : settledEpochs }
  const views = new Views(final)
  const bySeq = new Map<number, SettledCopy['unapplied'][number]>()
  for (const target of targets) {
    const { map } = target
    const copy = map.copy!
    const isOfThisFill = (map.descriptor as CopyDescriptor).copy.fills === fills
    const valid = new Map<number, WaitingRecord>()
    for (const one of [...copy.waiting.all].sort((a, b) => a.record.bornBatch - b.record.bornBatch)) {
      const { epoch, seq, bornBatch, lba, kind, sliceGeneration } = one.record
      const slice = Math.floor(lba / SLICE_BLOCKS)
      const isWiped = kind !== RECORD_KIND.control && sliceGeneration !== generationOfSlice(final, slice)
      const isDone = seq <= map.appliedSeq && (isOfThisFill || bornBatch < bornLeast(target))
      const isOut = isForgotten(target, one.record) || isWiped || isDone || views.isVoid(epoch, seq)
      if (isOut || !own.includes(target)) release(target, one)
      else {
        // The same record twice: the later one counts.
        const twin = valid.get(seq)
        if (twin !== undefined) release(target, twin)
        valid.set(seq, one)
      }
    }
    for (const seq of [...valid.keys()].sort((a, b) => a - b)) {
      const waiting = valid.get(seq)!
      if (seq > appliedSeq) {
        let entry = bySeq.get(seq)
        if (entry === undefined) bySeq.set(seq, (entry = { seq, places: [] }))
        entry.places.push({ target, waiting })
        continue
      }
      applyWaiting(target, waiting, changes.get(waiting.record.lba))
      release(target, waiting)
    }
  }
  const unapplied: SettledCopy['unapplied'] = []
  for (let seq = appliedSeq + 1; ; seq++) {
    const entry = bySeq.get(seq)
    if (entry === undefined) break
    const { places } = entry
    const { kind, lba } = places[0]!.waiting.record
    const isOn = (target: Target): boolean => places.some((place) => place.target === target)
    if (kind === RECORD_KIND.control && !isOnAll(changes.get(lba), isOn)) break
    unapplied.push(entry)
    bySeq.delete(seq)
  }
  const tail = appliedSeq + unapplied.length
  // A disk that is away may have what is missing: what lies behind waits on, and is there when that disk is back.
  const isAway = final.slices.some(([disk]) => targets.every(({ stream }) => stream.context.diskUuid !== disk))
  if (!isAway)
    for (const { places } of bySeq.values()) for (const { target, waiting } of places) release(target, waiting)
  const epochs = final.epochs.filter(([, firstSeq]) => firstSeq <= tail)
  // It may also have revisions that are on no other: what is said from now on is not to be taken for them.
  const known = Math.max(...targets.map((target) => foundDescriptor(target).revision))
  const revision = known + (isAway ? AWAY_REVISIONS : 0)
  const descriptor: CopyDescriptor = { ...final, revision, epochs, epoch: epochs.at(-1)?.[0] ?? 0 }
  for (const { stream, map } of targets) {
    const copy = map.copy!
    for (const slice of changedSlices(map.descriptor, descriptor))
      if (!copy.wiping.includes(slice)) copy.wiping.push(slice)
    // Its newest body is of a former filling: what that one names says nothing of the present one.
    if (foundDescriptor({ stream, map }).copy.fills < descriptor.copy.fills) copy.hintSeq = 0
    // Not the revision: that is of what lies on this disk.
    map.setDescriptor({ ...descriptor, revision: foundDescriptor({ stream, map }).revision })
    map.appliedSeq = appliedSeq
    copy.leaves.setCut(listed.leaves)
    copy.windows = descriptor.copy.windows
    copy.forgot(descriptor.copy.forgottenSeq)
    copy.rolled = undefined
  }
  return { descriptor, targets, tail, unapplied }
}

/** What was found with its whole list. Undefined when a leaf of it is on no disk. */
function listOf(
  found: CopyDescriptor,
  targets: Target[],
): { descriptor: CopyDescriptor; leaves: readonly SnapshotLeaf[] } | undefined {
  if (found.leaves === undefined) {
    // An index has it whole, and knows how it was cut.
    const indexed = targets.find(({ map }) => map.descriptor.snapshots === found.snapshots)
    return { descriptor: found, leaves: indexed?.map.copy!.leaves.leaves ?? [] }
  }
  // All disks that have a leaf have the same one; it may have been on its way to some.
  return withList(found, (name) => {
    for (const { map } of targets) {
      const leaf = map.copy!.leaves.find(name)
      if (leaf !== undefined) return leaf
    }
    return undefined
  })
}

/** Whether the copy lies on this disk, as of that body. */
const isNamed = ({ slices }: CopyDescriptor, { stream: { context } }: Target): boolean =>
  slices.some(([disk, stream]) => disk === context.diskUuid && stream === context.streamId)

const foundDescriptor = ({ map }: Target): CopyDescriptor => map.copy!.rolled ?? (map.descriptor as CopyDescriptor)

const release = ({ stream, map }: Target, waiting: WaitingRecord): void =>
  map.copy!.waiting.release(waiting, undefined, stream.segments)

/** Put a record that waited into the map. @param body  of a control record */
export function applyWaiting(
  { stream, map }: Target,
  waiting: WaitingRecord,
  body: CopyDescriptor | undefined,
): void {
  const { record, segment, units } = waiting
  if (record.kind !== RECORD_KIND.control) stream.apply(map, record, segment, units)
  else if (record.operation !== OPERATION.epoch && body?.copy.change !== undefined)
    map.setDescriptor(withChange(map.descriptor as CopyDescriptor, body.copy.change, record.seq))
}

export function* readBody(
  stream: StoreStream,
  segment: number,
  units: number,
  record: { bodyBytes: number; bodyCrc: number },
): Task<CopyDescriptor | undefined> {
  const bytes = yield* stream.reader.readUnits(segment, units, Math.ceil(record.bodyBytes / UNIT_BYTES))
  const body = bytes?.subarray(0, record.bodyBytes)
  if (body === undefined || stream.context.crc32c(body) >>> 0 !== record.bodyCrc) return undefined
  const descriptor = decodeDescriptor(body)
  return descriptor?.copy === undefined ? undefined : (descriptor as CopyDescriptor)
}

/** Slices that have another generation than before: what is there of the old one is to be wiped. */
function changedSlices(former: VolumeDescriptor, now: VolumeDescriptor): number[] {
  const changed: number[] = []
  for (const [, , runs] of now.slices)
    for (const [first, count, generation] of runs)
      for (let slice = first; slice < first + count; slice++) {
        const was = generationOfSlice(former, slice)
        if (was !== 0 && was !== generation) changed.push(slice)
      }
  return changed
}
