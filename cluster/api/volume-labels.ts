/**
 * Labels of a volume: what its makers say of it, and Holdfast shows (`csi-name`, `csi-pvc`, `csi-pvc-namespace`,
 * `csi-pv`, `csi-pod` are given by Kubernetes' side). They stand in the volume's record, of which every copy keeps a
 * note, so they are few and short. Names of Kubernetes fit: its objects' have 253 bytes at most, CSI's 128.
 */
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { shown } from './names.ts'
import { LABEL_KEY, OWN_LABELS } from './snapshot-request.ts'

export const LABELS_MAX = 16
export const LABEL_VALUE_BYTES_MAX = 253
/** Any text without control characters. */
const LABEL_VALUE = /^\P{Cc}*$/u

const refuse = (parameter: string, value: string, allowed: string): never => {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

/** @returns undefined: there are none. @throws HoldfastError `parameter` */
export function checkVolumeLabels(labels: Record<string, string> = {}): Record<string, string> | undefined {
  const entries = Object.entries(labels)
  if (entries.length > LABELS_MAX) refuse('labels', String(entries.length), `${LABELS_MAX} at most`)
  for (const [key, value] of entries) {
    if (!LABEL_KEY.test(key)) refuse('label', key, 'a key of 1 to 63 letters, digits and ._/-, a letter or digit first')
    if (key.startsWith(OWN_LABELS)) refuse('label', key, `other keys: ${OWN_LABELS} is for those that Holdfast gives`)
    const fits = Buffer.byteLength(value) <= LABEL_VALUE_BYTES_MAX && LABEL_VALUE.test(value)
    if (!fits) refuse(`label ${key}`, value, `text of at most ${LABEL_VALUE_BYTES_MAX} bytes on one line`)
  }
  return entries.length === 0 ? undefined : Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Of a volume that is there: these are set, those with an empty value taken out. @throws HoldfastError `parameter` */
export function withLabels(record: VolumeRecord, changes: Readonly<Record<string, string>> = {}): VolumeRecord {
  if (Object.keys(changes).length === 0) return record
  const { labels: former, ...rest } = record
  checkVolumeLabels(changes)
  const isOut = ([key, value]: [string, string]): boolean => value === '' && Object.hasOwn(changes, key)
  const kept = Object.entries({ ...former, ...changes }).filter((entry) => !isOut(entry))
  const labels = checkVolumeLabels(Object.fromEntries(kept))
  return labels === undefined ? rest : { ...rest, labels }
}
