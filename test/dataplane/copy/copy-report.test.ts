/** Risk: a node tells of requests that wait what is not so. */
import t from 'tap'
import { heldRequests } from '../../../dataplane/copy/copy-report.ts'
import type { RequestId } from '../../../engine/replication/record.ts'

const part = (request: number, part: number, generation = 1): RequestId =>
  ({ generation, incarnation: 7, request, part, parts: 2 })

t.test('requests are counted, not their parts, wherever these are held', (t) => {
  const held = [part(1, 0), part(3, 1), part(4, 0), part(4, 1)].map((id) => ({ id }))
  const primary = { held, heldHead: 1 } as never
  const store = { heldRequests: () => [part(2, 0), part(2, 1), part(3, 0), part(2, 0, 2)] } as never
  t.equal(heldRequests(primary, undefined), 2)
  t.equal(heldRequests(undefined, store), 3)
  t.equal(heldRequests(primary, store), 4, 'of 3 one part is here and one there')
  t.equal(heldRequests(undefined, undefined), 0)
  t.end()
})
