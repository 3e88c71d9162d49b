/**
 * Snapshots, rollbacks and clones: changes of a volume's descriptor that take their place among its writes. Nothing is
 * copied; what a change means for each block follows from the seqs (FORMAT.md section 4), and what becomes dead is
 * swept later.
 *
 * A clone pins what it reads through: a snapshot of the same seq, named after the clone, that users do not see. The pin
 * is durable before the clone exists and goes after the clone is gone, so a crash in between leaves a pin too many
 * (dropped when the store opens), never a clone without its origin.
 */
import { HoldfastError } from '../errors.ts'
import { OPERATION } from '../log/record.ts'
import type { Snapshot, VolumeDescriptor } from './descriptor.ts'
import type { Reply } from './store-api.ts'
import type { Store } from './store.ts'
import type { VolumeSpec, VolumeStatus } from './volume-spec.ts'
import type { Volume } from './volume.ts'

/** A view of the volume as it is behind every request accepted so far. Answers its seq. */
export function createSnapshot(volume: Volume, id: string, reply: Reply<number>): void {
  const { spec, snapshots } = volume.descriptor
  const other = snapshots.find((one) => one.id === id)
  if (other !== undefined) {
    const detail = { volume: spec.name, snapshot: id, difference: '', made: `at seq ${other.seq}`, id }
    return reply({ ok: false, error: new HoldfastError('snapshot-exists', detail) })
  }
  change(
    volume,
    OPERATION.snapshot,
    (now, seq) => ({
      ...now,
      snapshots: [...now.snapshots, { id, seq, pinnedBy: null }],
    }),
    reply,
  )
}

export function deleteSnapshot(volume: Volume, id: string, reply: Reply<number>): void {
  if (userSnapshot(volume, id) === undefined) return reply(notFound(volume, id))
  change(
    volume,
    OPERATION.snapshotDelete,
    (now) => ({
      ...now,
      snapshots: now.snapshots.filter((one) => one.id !== id),
    }),
    reply,
  )
}

/** The volume shows what the snapshot shows. Snapshots taken since stay, so this can be undone by another rollback. */
export function rollBack(volume: Volume, id: string, reply: Reply<number>): void {
  const snapshot = userSnapshot(volume, id)
  if (snapshot === undefined) return reply(notFound(volume, id))
  // A write that was merged with what the rollback takes away must not come behind it.
  volume.betweenMerges(() =>
    change(
      volume,
      OPERATION.rollback,
      (now, seq) => ({
        ...now,
        rollbacks: [...now.rollbacks, [snapshot.seq, seq] as [number, number]],
      }),
      reply,
    ),
  )
}

/** A new volume of the same size that shows the snapshot until it is written. */
export function cloneSnapshot(
  store: Store,
  origin: Volume,
  id: string,
  spec: VolumeSpec,
  reply: Reply<VolumeStatus>,
): void {
  const snapshot = userSnapshot(origin, id)
  if (snapshot === undefined) return reply(notFound(origin, id))
  const { seq } = snapshot
  const { descriptor } = origin
  change(
    origin,
    OPERATION.clone,
    (now) => ({
      ...now,
      snapshots: [...now.snapshots, { id: spec.id, seq, pinnedBy: spec.id }],
    }),
    (pinned) => {
      if (!pinned.ok) return reply(pinned)
      // When this fails the pin stays: the clone may be recorded on some disk, and come back when the store opens.
      store.createClone(spec, descriptor, seq, reply)
    },
  )
}

/** The clone is gone: its origin need not keep anything for it. */
export function unpin(origin: Volume, cloneId: string, done: (ok: boolean) => void): void {
  origin.control(
    OPERATION.snapshotDelete,
    (now) => ({
      ...now,
      snapshots: now.snapshots.filter((one) => one.pinnedBy !== cloneId),
    }),
    done,
  )
}

function userSnapshot(volume: Volume, id: string): Snapshot | undefined {
  return volume.descriptor.snapshots.find((one) => one.id === id && one.pinnedBy === null)
}

function change(
  volume: Volume,
  operation: number,
  make: (now: VolumeDescriptor, seq: number) => VolumeDescriptor,
  reply: Reply<number>,
): void {
  let place = 0
  const { name } = volume.descriptor.spec
  volume.control(
    operation,
    (now, seq) => {
      place = seq
      return make(now, seq)
    },
    (ok) => {
      if (ok) return reply({ ok: true, value: place })
      reply({
        ok: false,
        error: new HoldfastError('disk-failed', { disk: name, reason: 'the change could not be recorded' }),
      })
    },
  )
}

const notFound = ({ descriptor }: Volume, snapshot: string) =>
  ({ ok: false, error: new HoldfastError('snapshot-not-found', { volume: descriptor.spec.name, snapshot }) }) as const
