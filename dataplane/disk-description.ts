/**
 * What the disks of a node have of replicated volumes, read while nothing runs on them: the stores are opened as at any
 * start, looked at, and closed again. Nothing that a later start would read differently is changed.
 */
import type { CopyDescription, DiskDescription } from '../engine/control/node-description.ts'
import { decodeNoted } from '../cluster/store/node-descriptions.ts'
import type { LogPort } from '../engine/ports.ts'
import type { ReplicatedRecord } from '../engine/replication/record.ts'
import type { OpenCopy } from '../engine/volume/copy-store.ts'
import type { CopyDescriptor } from '../engine/volume/copy-part.ts'
import type { Result } from '../engine/volume/store-api.ts'
import type { Store } from '../engine/volume/store.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { openStore } from './store-shell.ts'

export interface DisksDescription {
  disks: DiskDescription[]
  copies: CopyDescription[]
}

/** @param disks  of the node, prepared; they stay the caller's */
export async function describeDisks(
  { disks, indexDir, log }: { disks: PreparedDisk[]; indexDir: string; log: LogPort },
): Promise<Result<DisksDescription>> {
  const barrier = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const opened = await openStore({ disks, indexDir, worker: 0, workers: 1, barrier, log })
  if (!opened.ok) return opened
  const shell = opened.value
  const value: DisksDescription = {
    disks: shell.disks().map(({ path, state, reason }) => ({ path, failure: state === 'failed' ? reason : '' })),
    copies: copiesOf(shell.store),
  }
  await new Promise<void>((resolve) => shell.stop(() => resolve()))
  return { ok: true, value }
}

function copiesOf(store: Store): CopyDescription[] {
  const copies = [...store.copies().values()].map(openCopy)
  const others = new Map<string, CopyDescription>()
  for (const { volumesById } of store.streams()) {
    for (const [volumeId, { copy, descriptor }] of volumesById) {
      if (copy === undefined || store.copies().has(volumeId)) continue
      const one = closedCopy(volumeId, descriptor as CopyDescriptor)
      others.set(`${volumeId} ${one.copyId}`, one)
    }
  }
  return [...copies, ...others.values()]
}

function openCopy({ copy, stored }: OpenCopy): CopyDescription {
  const { facts, epochs, tail, lostSlices, copyId, boot } = stored
  const { promise, attach, consistency, wholeBoot } = facts
  const { spec } = copy.descriptor()
  // Whoever goes on with this copy commits what waits in its log.
  const sizeBytes = stored.unapplied.reduce((size, record) => sizeBehind(record, size), spec.sizeBytes)
  const generations = [...attach.incarnations, ...(attach.open ?? []).map(([, ...of]) => of)]
  return {
    volumeId: copy.volumeId,
    copyId,
    isErased: false,
    failure: '',
    isConsistent: consistency.state === 'consistent',
    isWhole: copy.isDurable || wholeBoot === boot,
    lostSlices: lostSlices.length,
    promise,
    lastEpoch: epochs.at(-1)?.[0] ?? 0,
    tail,
    generation: Math.max(attach.brokenGeneration, ...generations.map(([generation]) => generation)),
    incarnation: Math.max(0, ...generations.map(([, incarnation]) => incarnation)),
    spec: { ...spec, sizeBytes, durability: copy.isDurable ? 'durable' : 'writeback' },
    noted: decodeNoted(copy.volumeId, copy.noted),
  }
}

/** Of the volume, when it was applied. */
function sizeBehind(record: ReplicatedRecord, sizeBytes: number): number {
  if (record.kind !== 'control') return sizeBytes
  const { change } = record
  return change.operation === 'resize' || change.operation === 'shrink' ? change.sizeBytes : sizeBytes
}

/** One that was taken away, or of which something cannot be read. */
function closedCopy(volumeId: string, { spec, copy }: CopyDescriptor): CopyDescription {
  const { copyId, isRemoved, facts, noted } = copy
  const isErased = isRemoved === true
  return {
    volumeId,
    copyId,
    isErased,
    failure: isErased ? '' : 'what it accepted cannot be read',
    isConsistent: false,
    isWhole: false,
    lostSlices: 0,
    promise: facts.promise,
    lastEpoch: 0,
    tail: 0,
    generation: 0,
    incarnation: 0,
    spec,
    noted: decodeNoted(volumeId, noted),
  }
}
