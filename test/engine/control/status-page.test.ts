/** Risk: "safe to reboot" that is not; a page that does not say what is wrong, why, and what happens next. */
import t from 'tap'
import { setConfig, setDiskWish, setNodeWish } from '../../../engine/control/cluster.ts'
import { nodeState } from '../../../engine/control/node-state.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import { safeToReboot } from '../../../engine/control/reboot.ts'
import { explain, statusPage } from '../../../engine/control/status-page.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

t.test('S1: safe to reboot', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {}, n4: {} })
  small.volume('a', ['n1', 'n2', 'n3'])
  small.volume('b', ['n1', 'n2'])
  const ask = (name: string, nowMs = NOW) => safeToReboot(small.cluster, name, nowMs)
  t.same(ask('n1'), { safeToReboot: true, because: 'its 2 volume(s) have enough other copies' })
  t.same(ask('n4'), { safeToReboot: true, because: 'it has no copy that is needed' })
  t.same(ask('n4', NOW + 4000), { safeToReboot: false, because: 'it has been silent for 4 s' }, 'not down yet')
  small.copy('n2', 'b', { isConsistent: false })
  t.same(ask('n1'), { safeToReboot: false, because: 'it has the only complete copy of b' })
  t.equal(ask('n2').safeToReboot, true)
  setConfig(small.cluster, 'a', { ...small.cluster.volumes.get('a')!.config!, minInSync: 3 }, 'c2')
  const because = 'it has the only complete copy of b; without it fewer copies than required are left of a'
  t.same(ask('n1'), { safeToReboot: false, because })
  small.later(NOW + 60_000, ['n1'])
  t.same(ask('n1', NOW + 60_000), { safeToReboot: true, because: 'it is down already' })
  t.same(ask('n9'), { safeToReboot: false, because: 'there is no node n9' })
  small.cluster.nodes.get('n4')!.said = undefined
  t.same(ask('n4'), { safeToReboot: false, because: 'it has not told yet what it has' })
  const wholes = new SmallCluster({ n1: {}, n2: {} })
  wholes.volume('w', ['n1', 'n2'], {}, { durability: 'writeback' })
  wholes.copy('n2', 'w', { isWhole: false })
  t.equal(safeToReboot(wholes.cluster, 'n1', NOW).safeToReboot, false, 'in writeback a whole one has to be left')
  t.end()
})

t.test('N1, N2: states of nodes', (t) => {
  const small = new SmallCluster({ n1: {} })
  const node = small.cluster.nodes.get('n1')!
  t.equal(nodeState(node, small.cluster, NOW), 'up')
  setNodeWish(small.cluster, 'n1', { isCordoned: true, isDraining: false })
  t.equal(nodeState(node, small.cluster, NOW), 'cordoned')
  setNodeWish(small.cluster, 'n1', { isCordoned: true, isDraining: true })
  t.equal(nodeState(node, small.cluster, NOW), 'draining')
  t.equal(nodeState(node, small.cluster, NOW + 10_001), 'down')
  t.end()
})

t.test('S2: worst first, with why and what next', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('a', ['n1', 'n2'])
  small.volume('b', ['n1', 'n2'])
  small.volume('c', ['n3'])
  small.copy('n1', 'b', { held: 'pool default is full' })
  const later = NOW + 60_000
  small.later(later, ['n2'])
  small.copy('n1', 'a', { held: 'it waits for n2' }, later)
  setDiskWish(small.cluster, 'n3.d', { isEvicted: true })
  setNodeWish(small.cluster, 'n3', { isCordoned: false, isDraining: true })
  planPass(newPlanner(small.cluster), later, '')
  const page = statusPage(small.cluster, later)
  t.match(page, { health: 'suspended', volumes: 3, volumesHealthy: 1, rebuilds: 0, rebuildsMax: 16 })
  t.same(page.problems.map(({ what, why }) => `${what}: ${why}`), [
    'volume a: suspended: it waits for n2',
    'volume b: suspended: pool default is full',
    'node n2: down: silent for 60 s',
    'node n3: it is being drained',
    'disk /n3.d of node n3: it is being evicted',
  ].map((line) => line.replace('/n3.d', '/n3')))
  t.match(page.problems[3]!.next, /^1 copies are still there: c: /)
  t.same(page.nodes.map(({ name, state, safeToReboot: safe }) => [name, state, safe]), [
    ['n1', 'up', false], ['n2', 'down', true], ['n3', 'draining', false],
  ])
  t.end()
})

t.test('S2: a node that is down or drained, and holds volumes', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  const attach = { generation: 7, mode: 'shared', holders: { n2: 6, n3: 7 } } as const
  small.volume('a', ['n1'], { attach })
  small.volume('b', ['n1'], { attach })
  small.volume('c', ['n1'])
  const nextOf = (name: string, nowMs: number) =>
    statusPage(small.cluster, nowMs).problems.find(({ what }) => what === `node ${name}`)?.next
  setNodeWish(small.cluster, 'n3', { isCordoned: false, isDraining: true })
  t.equal(nextOf('n3', NOW), 'its users still hold a, b: stop them first')
  const later = NOW + 60_000
  small.later(later, ['n2'])
  t.match(nextOf('n2', later), /it holds a, b: `holdfast volume attach NAME --to NODE --force` gives it to/)
  small.volume('a', ['n1'])
  small.volume('b', ['n1'])
  t.equal(nextOf('n2', later), 'nothing waits for it')
  t.equal(nextOf('n3', later), 'it may be switched off')
  t.end()
})

t.test('S2: many volumes are one line', (t) => {
  const small = new SmallCluster({ n1: {} })
  const spec = { replicas: 1, sizeBytes: 2 ** 20 }
  for (let number = 10; number < 40; number++) small.volume(`v${number}`, ['n1'], {}, spec)
  planPass(newPlanner(small.cluster), NOW, '')
  const { problems } = statusPage(small.cluster, NOW)
  t.equal(problems.length, 9)
  t.match(problems[8], { what: '22 more volume(s): v18, v19, v20 and 19 more', why: 'at-risk' })
  t.end()
})

t.test('explain: where, why there, what it waits for', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('v', ['n1', 'n2'], {}, { replicas: 2 })
  setNodeWish(small.cluster, 'n3', { isCordoned: true, isDraining: false })
  planPass(newPlanner(small.cluster), NOW, '')
  const told = explain(small.cluster, small.cluster.volumes.get('v')!, NOW)
  t.match(told, {
    health: 'degraded',
    next: '1 more node is needed: n1 has a copy of it; n2 has a copy of it; n3 is cordoned',
    copies: [{ node: 'n1', condition: 'n1 is in sync' }, { node: 'n2', condition: 'n2 is in sync' }],
    others: [{ node: 'n3', why: 'is cordoned' }],
  })
  t.end()
})
