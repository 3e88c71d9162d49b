/** Risk: a node tells of requests that wait what is not so, or a copy that is not taken in does not say why. */
import t from 'tap'
import { heldRequests, joiningWords } from '../../../dataplane/copy/copy-report.ts'
import type { RequestId } from '../../../engine/replication/record.ts'
import { Copies } from '../../engine/replication/copies.ts'

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

t.test('a copy that is out of its set says what it waits for', (t) => {
  const copies = new Copies({ nodes: 3, members: ['n1', 'n2'] })
  const words = (): string => joiningWords(copies.node('n3').state, copies.nowMs)
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'starting'
  copies.isolate('n3')
  copies.run(500)
  t.equal(words(), 'asks n1 to be filled')
  copies.open()
  for (let i = 0; i < 20; i++) copies.write(i, i)
  copies.cut.clear()
  copies.run(500)
  t.equal(words(), 'makes room for its filling')
  copies.isStalled = ({ state }) => state.fillTarget?.phase === 'filling'
  copies.run(500)
  t.equal(words(), 'is being filled, at most 256 KiB and 0 record(s) are left')
  for (let i = 0; i < 5; i++) copies.write(i, i)
  copies.run(500)
  t.equal(words(), 'is being filled, at most 256 KiB and 5 record(s) are left')
  copies.isolate('n3')
  copies.run(4000)
  t.equal(words(), 'has heard nothing of its filling by n1 for 5 s')
  copies.isStalled = () => false
  copies.storeIsOut = true
  copies.cut.clear()
  copies.run(4000)
  t.equal(words(), 'was filled, asks n1 to take it in, and is 0 record(s) behind')
  copies.storeIsOut = false
  copies.run(2000)
  t.equal(words(), '')
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  t.end()
})
