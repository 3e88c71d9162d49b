/** What is asked of snapshots, checked before anything is read (K1 of the control path). */
import { HoldfastError } from '../../engine/errors.ts'
import { isId, isName, shown } from './names.ts'

export const SNAPSHOT_PAGE_MAX = 1000
const LABELS_MAX = 8
export const LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/
const LABEL_VALUE = /^[A-Za-z0-9._/-]{0,63}$/
/** Retention goes by one of them. */
export const OWN_LABELS = 'holdfast.io/'

export function checkSnapshotName(name: string): void {
  if (!isName(name) || isId(name)) throw new HoldfastError('snapshot-name', { snapshot: shown(name) })
}

const refuse = (parameter: string, value: string, allowed: string): never => {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

/** They are kept on every copy, with every other change of the volume: few and short. */
export function checkLabels(labels: Record<string, string>): void {
  const entries = Object.entries(labels)
  if (entries.length > LABELS_MAX) refuse('labels', String(entries.length), `${LABELS_MAX} at most`)
  for (const [key, value] of entries) {
    if (!LABEL_KEY.test(key)) refuse('label', key, 'a key of 1 to 63 letters, digits and ._/-, a letter or digit first')
    if (!LABEL_VALUE.test(value)) refuse(`label ${key}`, value, 'a value of at most 63 letters, digits and ._/-')
  }
}

/** Of those that a user gives to a new one. */
export function checkNewLabels(labels: Record<string, string>): void {
  checkLabels(labels)
  for (const key of Object.keys(labels)) {
    if (key.startsWith(OWN_LABELS)) refuse('label', key, `other keys: ${OWN_LABELS} is for those that Holdfast gives`)
  }
}

export function checkSnapshotId(id: string): void {
  if (!isId(id)) refuse('id', id, '32 lower-case hex digits')
}

/** How many to a page. */
export function checkPage(limit: number): number {
  if (limit === 0) return SNAPSHOT_PAGE_MAX
  const isCount = Number.isInteger(limit) && limit > 0 && limit <= SNAPSHOT_PAGE_MAX
  return isCount ? limit : refuse('limit', String(limit), `1 to ${SNAPSHOT_PAGE_MAX}`)
}

interface Place {
  seq: number
  id: string
}

export const pageToken = ({ seq, id }: Place): string => `${seq}.${id}`

/** The same in a list of all volumes. */
export function checkAllToken(token: string): Place & { volumeId: string } {
  if (token === '') return { volumeId: '', seq: 0, id: '' }
  const volumeId = token.slice(0, 32)
  if (!isId(volumeId) || token[32] !== '.') return refuse('after', token, '`next` of the page before')
  return { volumeId, ...checkPageToken(token.slice(33)) }
}

/** Where the page begins. */
export function checkPageToken(token: string): Place {
  if (token === '') return { seq: 0, id: '' }
  const match = /^(\d{1,15})\.(.{1,64})$/.exec(token)
  if (match === null) return refuse('after', token, '`next` of the page before')
  return { seq: Number(match[1]), id: match[2]! }
}
