/** Group snapshots in the cluster store: `snapshot-groups/<name>` (cluster/reconcile/GROUPS.md section 2). */
import type { GroupRecord, GroupState, MemberRecord } from '../../engine/control/snapshot-group.ts'
import { isCount, isRecord, isText } from '../../engine/value-shape.ts'
import { encodeJson, isRecordName, isOneOf, isVolumeId, parseRecord } from './json-value.ts'

export const GROUP_PREFIX = 'snapshot-groups/'

export const groupKey = (name: string): string => `${GROUP_PREFIX}${name}`

export const encodeGroup = (group: GroupRecord): Uint8Array => encodeJson(group)

const STATES: readonly GroupState[] = ['taking', 'made', 'undoing']

/** Undefined when it is not the record of that group. */
export function decodeGroup(name: string, value: Uint8Array): GroupRecord | undefined {
  const found = parseRecord(value)
  if (found === undefined) return undefined
  const { id, state, snapshotId, labels, createdAtMs, members } = found
  if (found.name !== name || !isRecordName(name) || !isVolumeId(id) || !isVolumeId(snapshotId)) return undefined
  if (!isCount(createdAtMs)) return undefined
  if (!isOneOf(state, STATES) || !isRecord(labels) || !Object.values(labels).every(isText)) return undefined
  if (!Array.isArray(members) || members.length === 0 || !members.every(isMember)) return undefined
  return { name, id, state, snapshotId, labels: labels as Record<string, string>, createdAtMs, members }
}

function isMember(value: unknown): value is MemberRecord {
  if (!isRecord(value) || !isVolumeId(value.volumeId) || !isRecord(value.expected)) return false
  const { seq, sizeBytes, expected } = value
  return [seq, sizeBytes, expected.epoch, expected.seq].every(isCount)
}
