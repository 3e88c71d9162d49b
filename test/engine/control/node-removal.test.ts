/** Risk: a node is taken out of the cluster with the last copy of something, or one that runs. */
import t from 'tap'
import { whyNodeStays } from '../../../engine/control/node-removal.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

const LATER = NOW + 120_000

t.test('N8: who runs, or has the last copy, stays', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('v', ['n1', 'n2'])
  small.volume('w', ['n1'])
  small.volume('x', ['n2', 'n1'], { inSync: ['n2'] }, { durability: 'writeback' })
  const stays = (name: string) => whyNodeStays(small.cluster, name, LATER)
  t.equal(whyNodeStays(small.cluster, 'n1', NOW), 'n1 is not down: stop it first')
  small.later(LATER, ['n1'])
  t.equal(stays('n1'), 'no other node is seen to have a copy in sync of volume w')
  small.copy('n2', 'x', { isWhole: false }, LATER)
  t.equal(stays('n1'), 'no other node is seen to have a copy in sync of volumes w, x')
  small.later(LATER + 120_000, ['n1', 'n2'])
  const later = (name: string) => whyNodeStays(small.cluster, name, LATER + 120_000)
  t.match(later('n2'), /of volumes v, x$/, 'who could take over is down as well')
  t.match(later('n1'), /of volumes v, w, x$/)
  t.end()
})

t.test('N8: who holds a volume stays: another node may get its name', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {} })
  small.volume('v', ['n2'], { attach: { generation: 3, mode: 'single', holders: { n1: 3 } } })
  small.later(LATER, ['n1'])
  t.equal(whyNodeStays(small.cluster, 'n1', LATER), 'it holds volume v: `holdfast volume detach NAME --from n1` first')
  small.volume('v', ['n2'], { attach: { generation: 4, mode: 'single', holders: { n2: 4 } } })
  t.equal(whyNodeStays(small.cluster, 'n1', LATER), undefined)
  t.end()
})

t.test('N8: a node whose copies are elsewhere goes', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('v', ['n2', 'n1'])
  small.volume('y', ['n2', 'n3'])
  small.later(LATER, ['n1'])
  t.equal(whyNodeStays(small.cluster, 'n1', LATER), undefined)
  t.end()
})
