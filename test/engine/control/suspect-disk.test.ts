/** A disk that its node calls suspect is emptied as one that is evicted; what scrubs found is told. */
import t from 'tap'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import { statusPage } from '../../../engine/control/status-page.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

const REASON = '128 blocks of it were found damaged'

function suspected(nodes: readonly string[]): SmallCluster {
  const small = new SmallCluster(Object.fromEntries(nodes.map((name) => [name, {}])))
  small.volume('v', ['n1', 'n2', 'n3'])
  planPass(newPlanner(small.cluster), NOW, '')
  const [disk] = small.cluster.nodes.get('n2')!.said!.disks
  small.speak('n2', { disks: [{ ...disk!, state: 'suspect', reason: REASON }] })
  return small
}

t.test('its copy is placed elsewhere, and nothing comes to it', (t) => {
  const small = suspected(['n1', 'n2', 'n3', 'n4'])
  t.same([...small.cluster.changed], ['v'], 'it is looked at again')
  const actions = planPass(newPlanner(small.cluster), NOW, '')
  const rebuilds = actions.flatMap((action) => (action.type === 'change-rebuilds' ? action.rebuilds : []))
  t.match(rebuilds, [{ volumeId: 'v', to: 'n4' }])
  const page = statusPage(small.cluster, NOW)
  t.same(page.problems.map(({ what, why }) => `${what}: ${why}`), [`disk /n2 of node n2: suspect: ${REASON}`])
  t.match(page.problems[0]!.next, '1 copies are still on it')
  t.same(small.cluster.nodes.get('n2')!.classes, [], 'nothing is placed there')
  t.end()
})

t.test('without another place it stays where it is', (t) => {
  const small = suspected(['n1', 'n2', 'n3'])
  planPass(newPlanner(small.cluster), NOW, '')
  const { verdict, config } = small.cluster.volumes.get('v')!
  t.same(config!.inSync, ['n1', 'n2', 'n3'])
  t.match(verdict, { health: 'healthy', next: /^1 more node is needed: / })
  t.end()
})

t.test('what scrubs found is told, and which copies wait for one', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('v', ['n1', 'n2'])
  small.volume('w', ['n2', 'n3'])
  small.copy('n1', 'v', { damagedBlocks: 9, unrepairedBlocks: 2, lostBlocks: 1, isScrubOverdue: true })
  small.copy('n2', 'w', { mapProblems: 3 })
  small.copy('n3', 'w', { unrepairedBlocks: 4, lostBlocks: 4, differences: 5, isScrubOverdue: true })
  planPass(newPlanner(small.cluster), NOW, '')
  t.same(statusPage(small.cluster, NOW).problems.map(({ what, why }) => `${what}: ${why}`), [
    'volume v: 1 block(s) are lost: no copy can read them, and reads of them fail',
    'the copy of volume v on node n1: 2 damaged block(s) could not be repaired',
    'volume w: 4 block(s) are lost: no copy can read them, and reads of them fail',
    'the copy of volume w on node n2: its map and its segments do not agree in 3 place(s)',
    'volume w: its copies differ in 5 version(s), by the comparison of node n3',
    'v on n1, w on n3: not scrubbed for twice as long as is set',
  ])
  t.end()
})
