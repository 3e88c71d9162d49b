/** What commands of snapshots and groups read and write alike: labels, and the time of creation. */
import { formatTime } from '../cluster/api/amounts.ts'
import type { Snapshot } from '../cluster/api/snapshot-messages.ts'
import { usageError } from './arguments.ts'

/** `--label K=V`, any number of them. */
export function labelsOf(texts: readonly string[]): Record<string, string> {
  const labels = new Map<string, string>()
  for (const text of texts) {
    const equals = text.indexOf('=')
    if (equals <= 0) throw usageError(`--label ${text} is not K=V`, 'e.g. --label app=db')
    const key = text.slice(0, equals)
    if (labels.has(key)) throw usageError(`label ${key} is given twice`, 'give it once')
    labels.set(key, text.slice(equals + 1))
  }
  return Object.fromEntries(labels)
}

export const timeOf = ({ createdAtMs }: Pick<Snapshot, 'createdAtMs'>): string =>
  createdAtMs === 0 ? 'not known' : formatTime(createdAtMs)

export const labelsText = ({ labels }: { labels: Record<string, string> }): string =>
  Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(',')
