/** Risk: what is kept of objects is not what they are: pages that are left out, changes that are missed. */
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { ApiMirror } from '../../../cluster/kubernetes/api-mirror.ts'
import { until } from '../../e2e/until.ts'
import { standIn } from './stand-in.ts'

const object = (name: string, version: number, word: string): object =>
  ({ metadata: { name, resourceVersion: String(version) }, word })

t.test('a list, its pages, and what changes', async (t) => {
  const watches: Array<{ from: string; tell(type: string, body: object): void; end(): void }> = []
  let [lists, third] = [0, 'c']
  const { client } = await standIn(t, (request, response: ServerResponse) => {
    const query = new URL(request.url!, 'https://x').searchParams
    if (query.get('watch') === 'true') {
      response.writeHead(200).flushHeaders()
      watches.push({
        from: query.get('resourceVersion')!,
        tell: (type, body) => void response.write(`${JSON.stringify({ type, object: body })}\n`),
        end: () => void response.end(),
      })
      return
    }
    const isFirst = !query.has('continue')
    if (isFirst) lists++
    const items = isFirst ? [object('a', 1, 'x'), object('b', 2, 'left out')] : [object(third, 3, 'z')]
    response.end(JSON.stringify({ items, metadata: { resourceVersion: '9', ...(isFirst && { continue: 'more' }) } }))
  })
  const mirror = new ApiMirror({
    client, path: '/things', project: ({ word }, version) => (word === 'left out' ? undefined : `${version} ${word}`),
  })
  t.teardown(() => mirror.close())
  t.equal(mirror.entries, undefined, 'nothing is told before the last page')
  const is = (wanted: Record<string, string>): Promise<unknown> => until(
    async () => JSON.stringify(Object.fromEntries([...mirror.entries ?? []].sort())),
    (found) => found === JSON.stringify(wanted))
  await is({ a: '1 x', c: '3 z' })
  await until(async () => watches.length, (count) => count === 1)
  t.equal(watches[0]!.from, '9')
  watches[0]!.tell('MODIFIED', object('a', 10, 'y'))
  watches[0]!.tell('ADDED', object('d', 11, 'n'))
  watches[0]!.tell('DELETED', object('c', 12, 'z'))
  watches[0]!.tell('BOOKMARK', object('', 15, ''))
  await is({ a: '10 y', d: '11 n' })
  watches[0]!.end()
  await until(async () => watches.length, (count) => count === 2)
  t.equal(watches[1]!.from, '15', 'it goes on where it was')
  watches[1]!.tell('MODIFIED', object('d', 16, 'left out'))
  await is({ a: '10 y' })
  third = 'e'
  watches[1]!.tell('ERROR', { code: 410 })
  await is({ a: '1 x', e: '3 z' })
  t.equal(lists, 2, 'what is not kept any more is listed again')
})
