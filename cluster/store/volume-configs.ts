/**
 * Where the configuration of a volume stands in the cluster store (SPEC.md 2.1 of engine/replication), and how: one key
 * a volume, its value the configuration as JSON. What is read is looked at before anybody believes it, since a restored
 * backup or a person may have put it there.
 */
import {
  COPY_ID_CHARS_MAX, FORCED_EPOCH_STEP, MEMBERS_MAX, NONCE_CHARS_MAX,
} from '../../engine/replication/configuration.ts'
import type { Attach, Member, VolumeConfig } from '../../engine/replication/configuration.ts'
import { isCount, isRecord } from '../../engine/value-shape.ts'
import { isNode, isVolumeId } from './json-value.ts'

export const CONFIG_PREFIX = 'configs/'

export const configKey = (volumeId: string): string => `${CONFIG_PREFIX}${volumeId}`

/** Undefined: the key is not one of a configuration. */
export const volumeOfKey = (key: string): string | undefined =>
  key.startsWith(CONFIG_PREFIX) ? key.slice(CONFIG_PREFIX.length) : undefined

export const encodeConfig = (config: VolumeConfig): Uint8Array => Buffer.from(JSON.stringify(config))

/** Undefined when it is not the configuration of that volume. */
export function decodeConfig(volumeId: string, value: Uint8Array): VolumeConfig | undefined {
  let found: Partial<VolumeConfig>
  try {
    found = JSON.parse(Buffer.from(value).toString()) as Partial<VolumeConfig>
  } catch {
    return undefined
  }
  if (!isRecord(found) || found.volumeId !== volumeId || !isVolumeId(volumeId)) return undefined
  if (!isShort(found.nonce, NONCE_CHARS_MAX)) return undefined
  const { epoch, primary, inSync, members, minInSync, attach, nonce } = found
  if (!isPositive(epoch) || epoch > EPOCH_MAX || !isPositive(minInSync)) return undefined
  if (!isRecord(members) || !Object.values(members).every(isMember) || !isAttach(attach)) return undefined
  if (Object.keys(members).length > MEMBERS_MAX || !Object.keys(members).every(isNode)) return undefined
  if (typeof primary !== 'string' || !Array.isArray(inSync) || !inSync.includes(primary)) return undefined
  if (new Set(inSync).size !== inSync.length) return undefined
  if (!inSync.every((node) => typeof node === 'string' && Object.hasOwn(members, node))) return undefined
  return { volumeId, epoch, primary, inSync, members: members as Record<string, Member>, minInSync, attach, nonce }
}

const MEMBER_STATES: readonly unknown[] = ['in-sync', 'catching-up', 'failed', 'needs-full'] satisfies Member['state'][]
const ATTACH_MODES: readonly unknown[] = ['single', 'shared', 'read-only', 'open'] satisfies Attach['mode'][]

const isShort = (value: unknown, charsMax: number): value is string =>
  typeof value === 'string' && value.length <= charsMax

/** As wide as an epoch is on disk. */
const POSITIVE_MAX = 2 ** 32 - 1
/** One forced promotion, and whatever its copies change by themselves, lead to no epoch that a disk has no room for. */
const EPOCH_MAX = POSITIVE_MAX - 2 * FORCED_EPOCH_STEP
const isPositive = (value: unknown): value is number => isCount(value) && value >= 1 && value <= POSITIVE_MAX

const isMember = (value: unknown): value is Member =>
  isRecord(value) && isShort(value.copyId, COPY_ID_CHARS_MAX) && MEMBER_STATES.includes(value.state)

function isAttach(value: unknown): value is Attach {
  if (!isRecord(value) || !isCount(value.generation) || !ATTACH_MODES.includes(value.mode)) return false
  if (!isRecord(value.holders) || !Object.keys(value.holders).every(isNode)) return false
  const given = Object.values(value.holders)
  if (!given.every((one) => isCount(one) && one <= (value.generation as number))) return false
  return new Set(given).size === given.length && (value.mode !== 'single' || given.length <= 1)
}
