/** Risk: a pod is kept from nodes where it could run, or sent to one where its volume cannot be had. */
import t from 'tap'
import type { CapacityAnswer } from '../../../cluster/api/node-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { judgeNodes } from '../../../csi/kube/leaving/node-judgement.ts'
import type { Used } from '../../../csi/kube/leaving/node-judgement.ts'
import { nodeNameOf } from '../../../csi/kube/node-name.ts'
import { GIB } from '../../../engine/units.ts'

const LONG = 'worker-1.example.internal'
const NAMES = ['n1', 'n2', 'n3', 'n4', LONG, 'gone', 'elsewhere']
const NODES = [
  { name: 'n1', state: 'up', zone: 'a' }, { name: 'n2', state: 'draining', zone: 'b' },
  { name: 'n3', state: 'cordoned', zone: 'a' }, { name: 'n4', state: 'up', zone: 'c' },
  { name: nodeNameOf(LONG), state: 'up', zone: '' }, { name: 'gone', state: 'down', zone: 'a' },
] as const

const copy = (node: string, role: 'primary' | 'replica', state = 'in-sync') => ({ node, role, state })
const bound = (copies: object[], dataLocality: Volume['dataLocality'] = 'disabled'): Used =>
  ({ kind: 'bound', volume: { name: 'v', copies: copies as Volume['copies'], dataLocality } })
const judged = (...used: Used[]) => Object.fromEntries(judgeNodes(NAMES, NODES, used))

const DOWN = { why: 'Holdfast: its data process there is down', score: 0 }
const NONE = { why: 'Holdfast: no node of it runs there', score: 0 }
const scored = (score: number) => ({ why: undefined, score })

t.test('of a volume that is there', (t) => {
  const copies = [copy('n1', 'primary'), copy(nodeNameOf(LONG), 'replica', 'catching-up')]
  t.same(judged(bound(copies)), {
    n1: scored(10), n2: scored(0), n3: scored(3), n4: scored(0), [LONG]: scored(7), gone: DOWN, elsewhere: NONE,
  })
  const no = { why: 'Holdfast: volume v has data-locality strict and no copy there' }
  t.match(judged(bound(copies, 'strict')), { n1: scored(10), n2: no, n3: no, n4: no, [LONG]: scored(7), gone: DOWN })
  t.match(judged(bound([copy('n1', 'primary'), copy('n2', 'replica', 'failed')], 'strict')), { n1: scored(10), n2: no })
  const zoneless = judged(bound([copy(nodeNameOf(LONG), 'primary')]))
  t.same([zoneless.n1, zoneless[LONG]], [scored(0), scored(10)], 'no zone is none that they share')
  t.match(judged(bound([copy('gone', 'primary')])), { n1: scored(3), gone: DOWN })
  t.end()
})

t.test('of several', (t) => {
  const found = judged(bound([copy('n1', 'primary'), copy('n2', 'replica')]), bound([copy('n2', 'primary')], 'strict'))
  t.same(found.n2, scored(9), '7 and 10')
  t.match(found.n1, { why: /strict/ })
  t.end()
})

t.test('of one that is to be made', (t) => {
  const place = (node: string, localGib: number, freeGib: number) =>
    ({ node, localBytes: localGib * GIB, freeBytes: freeGib * GIB })
  const waiting = (sizeGib: number, isStrict: boolean, capacity: Partial<CapacityAnswer> = {}): Used => ({
    kind: 'waiting', sizeBytes: sizeGib * GIB, isStrict,
    capacity: {
      largestBytes: 40 * GIB, localBytes: 100 * GIB, freeBytes: 0,
      nodes: [place('n1', 100, 50), place('n2', 20, 30), place('n3', 5, 90), place('n4', 0, 0)], ...capacity,
    },
  })
  const kept = { why: undefined, score: 0 }
  t.match(judged(waiting(10, false)), { n1: scored(10), n2: scored(6), n3: kept, n4: kept, gone: DOWN })
  const noRoom = { why: 'Holdfast: no copy of a volume of 10 GiB with data-locality strict can lie there' }
  t.match(judged(waiting(10, true)), { n1: scored(10), n2: scored(6), n3: noRoom, n4: noRoom, elsewhere: NONE })
  const tooLarge = { why: 'Holdfast: no volume of 41 GiB can be made now, the largest has 40 GiB' }
  t.match(judged(waiting(41, false)), { n1: tooLarge, n4: tooLarge })
  t.match(judged(waiting(41, true)), { n1: scored(10), n2: { why: /no copy/ } })
  t.match(judged(waiting(10, true, { nodes: [] })), { n1: kept, n4: kept }, 'who answers tells nothing of each')
  t.end()
})
