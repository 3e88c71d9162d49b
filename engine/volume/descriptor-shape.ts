/**
 * Whether a value is a volume descriptor, before anything of it is believed: a disk may have been made by somebody
 * whose checksums fit. Form only: what is iterated is a list, what is counted a number. What a later version adds
 * beside it stays, and what an earlier one did not have may be absent.
 */
import type { Snapshot, VolumeDescriptor } from './descriptor.ts'

type Check = (value: unknown) => boolean

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isText: Check = (value) => typeof value === 'string'
const isFlag: Check = (value) => typeof value === 'boolean'
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isCounts: Check = (value) => isRecord(value) && Object.values(value).every(isCount)

const listOf = (of: Check): Check => (value) => Array.isArray(value) && value.every(of)
const tupleOf = (...of: readonly Check[]): Check => (value) =>
  Array.isArray(value) && value.length === of.length && of.every((check, i) => check(value[i]))
const optional = (of: Check): Check => (value) => value === undefined || of(value)
const has = (fields: Record<string, Check>): Check => {
  const checks = Object.entries(fields)
  return (value) => isRecord(value) && checks.every(([name, check]) => check(value[name]))
}

const isPair = tupleOf(isCount, isCount)
const isRuns = listOf(tupleOf(isCount, isCount, isCount))
const isOrigin: Check = (value) =>
  value === null || tupleOf(isText, isCount)(value) || tupleOf(isText, isCount, isRuns)(value)
const isTitle = has({ name: isText, createdAtMs: isCount, labels: isRecord, group: optional(isText) })
const isNewSnapshot = has({ id: isText, title: optional(isTitle) })

const isSnapshotValue = has({
  id: isText, seq: isCount, pinnedBy: (value) => value === null || isText(value), sizeBytes: optional(isCount),
  title: optional(isTitle),
})

export const isSnapshot = (value: unknown): value is Snapshot => isSnapshotValue(value)

const CHANGES: Record<string, Check> = {
  epoch: has({ epochs: listOf(isPair) }),
  resize: has({ sizeBytes: isCount }),
  shrink: has({ sizeBytes: isCount }),
  snapshot: isNewSnapshot,
  'snapshot-delete': has({ id: isText }),
  rollback: has({ to: isText, kept: optional(isNewSnapshot) }),
  delete: isRecord,
}
const isChange: Check = (value) => {
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
    consistency: (value) => isConsistent(value) || isFilling(value),
    wholeBoot: optional(isText),
  }),
  appliedSeq: isCount, forgottenSeq: isCount, fills: isCount, fork: isCount,
  fillBorn: isCounts, firstFillBorn: optional(isCounts), durable: optional(isCounts), change: optional(isChange),
  pins: optional(listOf(tupleOf(isText, isCount))), baseSeq: optional(isCount),
})

const isDescriptorValue = has({
  format: (value) => value === 1,
  revision: isCount,
  spec: has({ id: isText, name: isText, sizeBytes: isCount, diskTags: listOf(isText) }),
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
