/**
 * What Kubernetes' names and ids are here (SPEC.md section 2). The same name leads to the same volume and to the same
 * snapshot id without a list, so that a repeated call finds what the first one made.
 */
import { createHash } from 'node:crypto'
import { isName } from '../cluster/api/names.ts'
import { invalid } from './refusal.ts'

export const CSI_NAME_BYTES_MAX = 128
/** The CSI name as it was given, on a volume. */
export const NAME_LABEL = 'csi-name'
/** On a volume: `requestDigest` of what it was made for. */
export const REQUEST_LABEL = 'csi-request'

/** On a volume: `requestDigest` of what its VolumeAttributesClass said when it was made. */
export const ATTRIBUTES_LABEL = 'csi-attributes'

const ID = /^[0-9a-f]{32}$/
const digest = (...parts: string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)

/** Anything else is foreign: no volume of ours was ever called so. */
export const isVolumeId = (text: string): boolean => ID.test(text)

/** @throws CsiRefusal INVALID_ARGUMENT */
export function checkCsiName(name: string, of: string): void {
  if (name === '') throw invalid(`the name of the ${of} is missing`)
  const bytes = Buffer.byteLength(name)
  if (bytes <= CSI_NAME_BYTES_MAX) return
  throw invalid(`the name of the ${of} has ${bytes} bytes: give one of at most ${CSI_NAME_BYTES_MAX}`)
}

/** Of a volume, snapshot or group. What looks like an id is no name of ours; what we make of others has a prefix. */
export const ourName = (csiName: string): string =>
  isName(csiName) && !ID.test(csiName) && !/^csi-[0-9a-f]{32}$/.test(csiName) ? csiName : `csi-${digest(csiName)}`

/** @param name  `ourName`, or names of all volumes of a group */
export const snapshotIdOf = (volumeId: string, name: string): string => digest('snapshot', volumeId, name)
export const groupIdOf = (name: string, volumeIds: readonly string[]): string =>
  digest('group', name, ...[...volumeIds].sort())

export interface SnapshotHandle {
  volumeId: string
  snapshotId: string
}

export const snapshotHandle = ({ volumeId, snapshotId }: SnapshotHandle): string => `${volumeId}.${snapshotId}`

/** Undefined: it is foreign. */
export function parseSnapshotHandle(text: string): SnapshotHandle | undefined {
  const [volumeId = '', snapshotId = '', ...rest] = text.split('.')
  return rest.length === 0 && ID.test(volumeId) && ID.test(snapshotId) ? { volumeId, snapshotId } : undefined
}

export interface GroupHandle {
  name: string
  id: string
}

export const groupHandle = ({ name, id }: GroupHandle): string => `${name}.${id}`

/** Undefined: it is foreign. */
export function parseGroupHandle(text: string): GroupHandle | undefined {
  const [name = '', id = '', ...rest] = text.split('.')
  return rest.length === 0 && isName(name) && ID.test(id) ? { name, id } : undefined
}

/** Of what decides for good how a volume is made; equal requests have equal digests in any order of keys. */
export const requestDigest = (parameters: Readonly<Record<string, string>>, source: string): string =>
  digest(source, ...Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)).flat())
