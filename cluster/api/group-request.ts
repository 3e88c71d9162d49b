/** What is asked of group snapshots, checked before anything is read; the rest as of snapshots. */
import { HoldfastError } from '../../engine/errors.ts'
import { shown } from './names.ts'

export const GROUP_VOLUMES_MAX = 32
export const GROUP_PAGE_MAX = 200

export function checkGroupVolumes(volumes: readonly string[]): void {
  const refuse = (value: string): never => {
    const allowed = `1 to ${GROUP_VOLUMES_MAX} names of volumes, each once`
    throw new HoldfastError('parameter', { parameter: 'group', value: shown(value), allowed })
  }
  if (volumes.length === 0 || volumes.length > GROUP_VOLUMES_MAX) refuse(`${volumes.length} volumes`)
  const twice = volumes.find((name, i) => volumes.indexOf(name) < i)
  if (twice !== undefined) refuse(twice)
}

/** How many to a page. */
export function checkGroupPage(limit: number): number {
  if (limit === 0) return GROUP_PAGE_MAX
  if (Number.isInteger(limit) && limit > 0 && limit <= GROUP_PAGE_MAX) return limit
  throw new HoldfastError('parameter', { parameter: 'limit', value: String(limit), allowed: `1 to ${GROUP_PAGE_MAX}` })
}
