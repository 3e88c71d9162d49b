/** Lists in pages, in the order of ids: a token is the id after which the next page begins. */
import { aborted, invalid } from '../refusal.ts'

export const PAGE_MAX = 100

export interface Page<T> {
  entries: T[]
  /** Empty: these were the last. */
  nextToken: string
}

/** How many to a page. @throws CsiRefusal INVALID_ARGUMENT */
export function pageLength(maxEntries: number): number {
  if (maxEntries < 0) throw invalid(`${maxEntries} entries at most are no page`)
  return maxEntries === 0 ? PAGE_MAX : Math.min(maxEntries, PAGE_MAX)
}

/** @throws CsiRefusal ABORTED: the standard's word for begin anew */
export function checkToken(token: string, isOne: (token: string) => boolean): void {
  if (token === '' || isOne(token)) return
  throw aborted('the starting token is none that was given here: list from the start')
}
