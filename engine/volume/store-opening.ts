/**
 * Opening a store: every stream reads what it has; a volume's tail is the last seq without a gap over all its disks,
 * what lies behind is cut; then every stream finishes, every volume that may have lost its tail, or of which a disk
 * missed a record, takes a new epoch, and only then is a segment granted or a request accepted.
 */
import type { RolledRecord } from '../log/log-tail.ts'
import { OPERATION } from '../log/record.ts'
import { finishOpen, openStream, type OpenedStream } from '../log/recovery.ts'
import { adoptRolled, applyRolled } from '../log/roll-forward.ts'
import type { StoreStream } from '../log/store-stream.ts'
import { until, type Task } from '../task.ts'
import { rollCopyRecord, settleCopies } from './copy-recovery.ts'
import type { CopySet } from './copy-set.ts'
import { newEpoch, type VolumeDescriptor } from './descriptor.ts'
import { lackOf, witnessed } from './disk-witness.ts'
import type { StoreDisk, StoreDisks } from './store-disks.ts'
import type { Volume } from './volume.ts'
import type { VolumeSet } from './volume-set.ts'

export interface StoreParts {
  disks: StoreDisks
  volumes: VolumeSet
  copies: CopySet
  /** Runs `go` when every stream of every disk, also those of other workers, has said which segments are its own. */
  recovered(go: () => void): void
}

export function* openStore(store: StoreParts, storeDisks: StoreDisk[]): Task<void> {
  const { disks, volumes, copies } = store
  const found: Array<{ disk: StoreDisk; opened: OpenedStream }> = []
  for (const disk of storeDisks) {
    const outcome = yield* openStream(disk.context)
    if (outcome.ok) found.push({ disk, opened: outcome.opened })
    else yield* disks.refuseStream(disk, outcome.reason)
  }
  const opened: typeof found = []
  const durable = witnessed(found.map((one) => one.opened))
  for (const one of found) {
    const lack = lackOf(one.opened.stream, durable)
    if (lack === undefined) opened.push(one)
    else yield* disks.refuseStream(one.disk, lack)
  }
  for (const one of opened) adoptRolled(one.opened)
  const cut = tailsOf(opened)
  const readable = new Set<OpenedStream>()
  for (const one of opened) {
    let ok = true
    for (const rolled of one.opened.rolled) {
      const volume = one.opened.stream.volumesById.get(rolled.volumeId)
      if (volume?.copy !== undefined) {
        ok &&= yield* rollCopyRecord(one.opened.stream, volume, rolled)
        continue
      }
      if (volume === undefined || volume.views.isVoid(rolled.record.epoch, rolled.record.seq)) continue
      const tail = cut.get(rolled.volumeId)
      const isFresh = (rolled.record.flags & 1) === 0
      if (isFresh && tail !== undefined && rolled.record.seq > tail) continue
      ok &&= yield* applyRolled(one.opened.stream, volume, rolled)
    }
    if (ok) readable.add(one.opened)
  }
  const { settled, unreadable } = yield* settleCopies(
    opened.filter((one) => readable.has(one.opened)).map((one) => one.opened.stream),
  )
  for (const one of opened) {
    const { stream } = one.opened
    const isRead = readable.has(one.opened)
    const ok = isRead && !unreadable.has(stream) && (yield* finishOpen(one.opened))
    if (ok) disks.add(one.disk, stream)
    else if (unreadable.has(stream)) disks.refuse(one.disk, COPY_UNREADABLE)
    else disks.refuse(one.disk, stream.failedReason || whyUnfinished(isRead))
  }
  const unfinished = volumes.finishCreations()
  const epochs: Volume[] = []
  const unclean = new Set(opened.filter((one) => !one.opened.plan.clean).map((one) => one.opened.stream))
  for (const { volume, isBehind } of volumes.fromMaps())
    // With a disk missing nothing was cut, and what it holds must not become void.
    if (isBehind || unfinished.has(volume.descriptor.spec.id) || volume.targets.some((t) => unclean.has(t.stream)))
      if (!volume.targets.some((t) => t.stream.failed)) epochs.push(volume)
  yield* until<void>((resume) => store.recovered(() => resume()))
  for (const { stream } of disks.entries) stream.supply.start()
  yield* copies.openTask(settled)
  // Every opening takes a segment for its epochs: one crash after the other must not use them up.
  disks.kick(undefined)
  for (const volume of epochs) yield* until<boolean>((resume) => volume.control(OPERATION.epoch, newEpoch, resume))
  yield* volumes.dropOrphanPins()
  disks.kick(undefined)
}

const COPY_UNREADABLE = 'what a copy on it accepted cannot be read'

/** Records are rolled forward over the index; what comes then only writes. */
const whyUnfinished = (isRolled: boolean): string =>
  isRolled ? 'its recovery could not be finished' : 'the index cannot be read'

/** What is in force has its list by itself; that of a copy is whole when it is settled. */
const withoutNames = ({ leaves: _, ...descriptor }: VolumeDescriptor): VolumeDescriptor => descriptor

/** The tail of each volume that has a gap; volumes whose first control record lies behind the checkpoint get a map. */
function tailsOf(opened: Array<{ opened: OpenedStream }>): Map<string, number> {
  interface Known {
    applied: number
    found: number[]
    newest: VolumeDescriptor | undefined
  }
  const seqs = new Map<string, Known>()
  const at = (id: string): Known => {
    let one = seqs.get(id)
    if (one === undefined) seqs.set(id, (one = { applied: 0, found: [], newest: undefined }))
    return one
  }
  const note = (one: Known, descriptor: VolumeDescriptor): void => {
    if (descriptor.revision >= (one.newest?.revision ?? 0)) one.newest = descriptor
    // What lies below an epoch was settled when it began, also the gap that a failed disk left.
    one.applied = Math.max(one.applied, descriptor.epochs.at(-1)![1] - 1)
  }
  for (const {
    opened: { stream, rolled },
  } of opened) {
    for (const record of rolled) {
      if (record.descriptor !== undefined && !stream.volumesById.has(record.volumeId))
        stream.addVolume(withoutNames(record.descriptor))
      if (stream.volumesById.get(record.volumeId)?.copy !== undefined) continue
      if (record.descriptor !== undefined) note(at(record.volumeId), record.descriptor)
      if ((record.record.flags & 1) === 0) at(record.volumeId).found.push(record.record.seq)
    }
    for (const [id, volume] of stream.volumesById) {
      if (volume.copy !== undefined) continue
      const one = at(id)
      one.applied = Math.max(one.applied, volume.appliedSeq)
      note(one, volume.descriptor)
    }
  }
  const tails = new Map<string, number>()
  const isOpen = ([disk, stream]: VolumeDescriptor['slices'][number]): boolean =>
    opened.some(({ opened: { stream: s } }) => s.context.diskUuid === disk && s.context.streamId === stream)
  for (const [id, { applied, found, newest }] of seqs) {
    // One disk: its log order has no gaps. A missing disk: what it held is unknown, nothing that is there is cut.
    if (newest === undefined || newest.slices.length < 2 || !newest.slices.every(isOpen)) continue
    let tail = applied
    const sorted = [...new Set(found)].sort((a, b) => a - b)
    for (const seq of sorted) if (seq === tail + 1) tail = seq
    if (sorted.length > 0 && sorted.at(-1)! > tail) tails.set(id, tail)
  }
  return tails
}

/** Take a disk while the store runs. What is wrong with it, undefined when nothing is. */
export function* addDisk(
  store: StoreParts,
  storeDisks: StoreDisk[],
  others: string[],
  recovered: (go: () => void) => void,
): Task<string | undefined> {
  const { disks, volumes } = store
  const streams: Array<{ disk: StoreDisk; stream: StoreStream }> = []
  let problem: string | undefined
  disks.triedAgain(storeDisks)
  for (const disk of storeDisks) {
    const outcome = yield* openStream(disk.context)
    if (!outcome.ok) {
      yield* disks.refuseStream(disk, outcome.reason)
      problem ??= outcome.reason
      continue
    }
    const served = disks.entries.map(({ stream }) => stream)
    const lack = lackOf(outcome.opened.stream, witnessed([outcome.opened], served))
    if (lack !== undefined) {
      yield* disks.refuseStream(disk, lack)
      problem ??= lack
      continue
    }
    problem ??= yield* rollAdded(outcome.opened)
    streams.push({ disk, stream: outcome.opened.stream })
  }
  // No segment is granted before all streams of the disk have said which are theirs, also those of other workers.
  yield* until<void>((resume) => recovered(() => resume()))
  if (problem !== undefined) return problem
  for (const { disk, stream } of streams) {
    disks.add(disk, stream)
    stream.supply.start()
    volumes.take(stream, others)
  }
  return undefined
}

function* rollAdded(opened: OpenedStream): Task<string | undefined> {
  const { stream } = opened
  adoptRolled(opened)
  for (const rolled of opened.rolled as RolledRecord[]) {
    if (rolled.descriptor !== undefined && !stream.volumesById.has(rolled.volumeId))
      stream.addVolume(withoutNames(rolled.descriptor))
    const volume = stream.volumesById.get(rolled.volumeId)
    if (volume === undefined) continue
    const roll = volume.copy === undefined ? applyRolled : rollCopyRecord
    if (!(yield* roll(stream, volume, rolled))) return whyUnfinished(false)
  }
  // What a disk brings of copies is served after the next start.
  const { unreadable } = yield* settleCopies([stream])
  if (unreadable.size > 0) return COPY_UNREADABLE
  if (yield* finishOpen(opened)) return undefined
  return stream.failedReason || whyUnfinished(true)
}
