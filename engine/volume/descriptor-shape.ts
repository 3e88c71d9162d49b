/**
 * Whether a value is a volume descriptor, before anything of it is believed: a disk may have been made by somebody
 * whose checksums fit. Form only: what is iterated is a list, what is counted a number. What a later version adds
 * beside it stays, and what an earlier one did not have may be absent. The same of what a peer says of a volume.
 */
import { VOLUME_BYTES_MAX } from '../units.ts'
import { either, isCount, isFlag, isRecord, isText, listOf, tupleOf } from '../value-shape.ts'
import type { Shape } from '../value-shape.ts'
import type { ReplicatedDescriptor } from './copy-store.ts'
import type { Snapshot, VolumeDescriptor } from './descriptor.ts'

const isCounts: Shape = (value) => isRecord(value) && Object.values(value).every(isCount)

const optional = (of: Shape): Shape => (value) => value === undefined || of(value)
const has = (fields: Record<string, Shape>): Shape => {
  const shapes = Object.entries(fields)
  return (value) => isRecord(value) && shapes.every(([name, shape]) => shape(value[name]))
}

const isPair = tupleOf(isCount, isCount)
const isRuns = listOf(tupleOf(isCount, isCount, isCount))
const isNull: Shape = (value) => value === null
const isOrigin = either(isNull, tupleOf(isText, isCount), tupleOf(isText, isCount, isRuns))
const isTitle = has({ name: isText, createdAtMs: isCount, labels: isRecord, group: optional(isText) })
const VOLUME_ID = /^[0-9a-f]{32}$/
const isVolumeId = (value: unknown): value is string => isText(value) && VOLUME_ID.test(value)

const isNewSnapshot = has({ id: isText, title: optional(isTitle) })

const isSnapshotValue = has({
  id: isText, seq: isCount, pinnedBy: either(isNull, isText), sizeBytes: optional(isCount),
  title: optional(isTitle),
})

export const isSnapshot = (value: unknown): value is Snapshot => isSnapshotValue(value)

const CHANGES: Record<string, Shape> = {
  epoch: has({ epochs: listOf(isPair) }),
  resize: has({ sizeBytes: isCount }),
  shrink: has({ sizeBytes: isCount }),
  durability: has({ to: (value) => value === 'durable' || value === 'writeback' }),
  snapshot: isNewSnapshot,
  'snapshot-delete': has({ id: isText }),
  rollback: has({ to: isText, kept: optional(isNewSnapshot) }),
  delete: isRecord,
}
const isChange: Shape = (value) => {
  const operation = isRecord(value) ? value.operation : undefined
  return typeof operation === 'string' && Object.hasOwn(CHANGES, operation) && CHANGES[operation]!(value)
}

const isFence = has({
  brokenGeneration: isCount, incarnations: listOf(isPair), open: optional(listOf(tupleOf(isText, isCount, isCount))),
})
const isConsistent = has({ state: (value) => value === 'consistent', target: optional(isCount) })
const isFilling = has({ state: (value) => value === 'filling', target: isCount, slices: listOf(isPair) })

/** Not of the windows of its sessions: nothing here looks into them. */
const isCopy = has({
  copyId: isText,
  facts: has({
    promise: has({ epoch: isCount, primary: isText }),
    attach: isFence,
    consistency: either(isConsistent, isFilling),
    wholeBoot: optional(isText),
    marks: optional(has({
      ids: listOf(has({ lba: isCount, epoch: isCount, seq: isCount })), isMore: isFlag,
      from: optional(has({ lba: isCount, seq: isCount })),
    })),
  }),
  appliedSeq: isCount, forgottenSeq: isCount, fills: isCount, fork: isCount,
  fillBorn: isCounts, firstFillBorn: optional(isCounts), durable: optional(isCounts), change: optional(isChange),
  pins: optional(listOf(tupleOf(isText, isCount))), baseSeq: optional(isCount),
})

const isDescriptorValue = has({
  format: (value) => value === 1,
  revision: isCount,
  spec: has({ id: isVolumeId, name: isText, sizeBytes: isCount, diskTags: listOf(isText) }),
  epoch: isCount,
  epochs: listOf(isPair),
  slices: listOf(tupleOf(isText, isCount, isRuns)),
  snapshots: listOf(isSnapshotValue),
  leaves: optional(listOf(isPair)),
  rollbacks: listOf(isPair),
  origin: isOrigin,
  deleted: isFlag,
  seq: isCount,
  copy: optional(isCopy),
})

const isSettled = ({ copy, epochs }: VolumeDescriptor): boolean => copy !== undefined || epochs.length > 0

/** A volume of one copy has had an epoch from its first moment on. */
export const isDescriptor = (value: unknown): value is VolumeDescriptor =>
  isDescriptorValue(value) && isSettled(value as VolumeDescriptor)

const isReplicatedValue = has({
  spec: has({ id: isVolumeId, name: isText, sizeBytes: isCount, diskTags: listOf(isText) }),
  epochs: listOf(isPair), snapshots: listOf(isSnapshotValue), rollbacks: listOf(isPair), deleted: isFlag,
  forgottenSeq: isCount,
})

/** What the source of a filling says of that volume. As much as is made room for is a size that a volume may have. */
export function isDescriptorOf(volumeId: string, value: unknown): value is ReplicatedDescriptor {
  if (!isReplicatedValue(value)) return false
  const { spec, snapshots } = value as ReplicatedDescriptor
  const sizes = [spec.sizeBytes, ...snapshots.map(({ sizeBytes = 0 }) => sizeBytes)]
  return spec.id === volumeId && sizes.every((sizeBytes) => sizeBytes <= VOLUME_BYTES_MAX)
}
