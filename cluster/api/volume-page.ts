/** Pages of volumes, in order of their ids: what is made or deleted meanwhile moves nothing else into another page. */
import { HoldfastError } from '../../engine/errors.ts'
import type { ControlApi } from './definition.ts'
import type { Volume } from './volume-messages.ts'
import { isId, shown } from './names.ts'

export const VOLUME_PAGE_MAX = 1000

/** Of a list: `limit` 0: all that there are. */
export interface VolumePage {
  limit?: number
  /** `next` of the page before; empty: from the first on. */
  after?: string
}

const refuse = (parameter: string, value: string, allowed: string): never => {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

/** @returns the ids of the page, and where the next one begins: empty: nowhere. @throws HoldfastError `parameter` */
export function pageOfIds(
  ids: Iterable<string>, { limit = 0, after = '' }: VolumePage,
): { ids: string[]; next: string } {
  const isCount = Number.isInteger(limit) && limit >= 0 && limit <= VOLUME_PAGE_MAX
  if (!isCount) refuse('limit', String(limit), `0 (all) or 1 to ${VOLUME_PAGE_MAX}`)
  if (after !== '' && !isId(after)) refuse('after', after, '`next` of the page before')
  const behind: string[] = []
  for (const id of ids) if (id > after) behind.push(id)
  behind.sort()
  if (limit === 0 || behind.length <= limit) return { ids: behind, next: '' }
  const page = behind.slice(0, limit)
  return { ids: page, next: page.at(-1)! }
}

/** All of them, page by page, in order of their names. */
export async function allVolumes(api: Pick<ControlApi, 'listVolumes'>, isInTrash = false): Promise<Volume[]> {
  const found: Volume[] = []
  let after = ''
  do {
    const page = await api.listVolumes({ isInTrash, limit: VOLUME_PAGE_MAX, after })
    found.push(...page.volumes)
    after = page.next
  } while (after !== '')
  return found.sort((a, b) => (a.name < b.name ? -1 : 1))
}
