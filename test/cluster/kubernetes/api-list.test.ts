/** Risk: of a list of many objects some are left out, or a list that broke off is taken for the whole. */
import t from 'tap'
import type { ApiAnswer, ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { listPages } from '../../../cluster/kubernetes/api-list.ts'

async function listed(answers: ApiAnswer[]) {
  const asked: ApiCall[] = []
  const client = {
    call: async (call: ApiCall): Promise<ApiAnswer> => {
      asked.push(call)
      return answers[asked.length - 1]!
    },
  }
  const pages = []
  const list = { path: '/api/v1/nodes', query: { labelSelector: 'a=b' }, deadlineMs: 7 }
  for await (const page of listPages(client, list)) pages.push(page)
  return { asked, pages }
}

const page = (names: unknown[], token?: string): ApiAnswer =>
  ({ ok: true, body: { items: names, metadata: { resourceVersion: '9', continue: token } } })
const [a, b] = [{ metadata: { name: 'a' } }, { metadata: { name: 'b' } }]

t.test('page after page, each with what was asked for', async (t) => {
  const { asked, pages } = await listed([page([a, 'no object'], 'more'), page([b], '')])
  t.same(pages, [{ ok: true, items: [a], version: '9' }, { ok: true, items: [b], version: '9' }])
  t.match(asked, [
    { method: 'GET', path: '/api/v1/nodes', query: { labelSelector: 'a=b', limit: '500' }, deadlineMs: 7 },
    { query: { labelSelector: 'a=b', limit: '500', continue: 'more' }, deadlineMs: 7 },
  ])
  t.notOk('continue' in asked[0]!.query!)
})

t.test('one that is not to be had is told, and is the last', async (t) => {
  const failure = { status: 410, isUnknown: false, reason: 'too old' }
  const { asked, pages } = await listed([page([a], 'more'), { ok: false, failure }])
  t.same(pages.at(-1), { ok: false, failure })
  t.same([asked.length, pages.length], [2, 2])
  t.same((await listed([{ ok: true, body: {} }])).pages, [{ ok: true, items: [], version: '' }])
})
