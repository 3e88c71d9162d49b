/**
 * A list of a Kubernetes API, page by page, all pages as of one moment. Bounded: the objects of a page, and with them
 * the bytes of an answer; who keeps all of them is bounded by nothing.
 */
import type { ApiCall, ApiClient, ApiFailure } from './api-client.ts'
import { recordsOf, recordOf, textOf, versionOf } from './api-objects.ts'
import type { ApiObject } from './api-objects.ts'

const PAGE = 500

/** `version`: resourceVersion of the whole list. */
export type ListPage = { ok: true; items: ApiObject[]; version: string } | { ok: false; failure: ApiFailure }

/**
 * @param list  `deadlineMs`: of each page
 * @returns pages up to the last one, or to one that is not to be had: then those before it were not all
 */
export async function* listPages(
  client: Pick<ApiClient, 'call'>, { query = {}, ...list }: Pick<ApiCall, 'path' | 'query' | 'deadlineMs'>,
): AsyncGenerator<ListPage> {
  let next = ''
  do {
    const from = next === '' ? {} : { continue: next }
    const answer = await client.call({ ...list, method: 'GET', query: { ...query, limit: String(PAGE), ...from } })
    if (!answer.ok) return yield answer
    const { items, metadata } = answer.body
    yield { ok: true, items: recordsOf(items), version: versionOf(answer.body) }
    next = textOf(recordOf(metadata).continue)
  } while (next !== '')
}
