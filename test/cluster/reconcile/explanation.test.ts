/**
 * Risk: an explanation that is not what placement does, or leaves out why. Each case asks placement itself as well: the
 * node that an explanation calls the best one is the one that is chosen.
 */
import t from 'tap'
import { explanationOf } from '../../../cluster/reconcile/explanation.ts'
import { setDiskWish, setMove, setNodeWish, setRebuilds } from '../../../engine/control/cluster.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import { placeCopies } from '../../../engine/control/placement.ts'
import { GIB } from '../../../engine/units.ts'
import { NOW, SmallCluster } from '../../engine/control/small-cluster.ts'

const SPARE = 'could take a copy; all that are wished have a place'

function told(small: SmallCluster, id = 'v', nowMs = NOW) {
  planPass(newPlanner(small.cluster), nowMs, '')
  const explanation = explanationOf(small.cluster, small.cluster.volumes.get(id)!, nowMs)
  const reasons = Object.fromEntries(explanation.copies.map((copy) => [copy.node, copy.reasons]))
  const others = Object.fromEntries(explanation.others.map(({ node, why }) => [node, why]))
  return { ...explanation, reasons, others }
}

t.test('zones, and what comes next', (t) => {
  const small = new SmallCluster({ n1: { zone: 'a' }, n2: { zone: 'a' }, n3: { zone: 'b' }, n4: { zone: 'b' } })
  small.volume('w', ['n4'])
  small.volume('v', ['n1', 'n3'])
  const { wished, placed, copies, reasons, others } = told(small)
  t.same([wished, placed], [2, 2])
  t.same(copies.map(({ node, role }) => `${node} ${role}`), ['n1 primary', 'n3 replica'])
  t.same(reasons['n1'], [
    'the best of 3 nodes for it, then n2: they are alike, and one has to be first', 'it lies on /n1 (pool default)',
  ])
  t.equal(reasons['n3']![0], 'the best of 3 nodes for it, then n4: n3 would be 5 % full, n4 10 %')
  t.same(others, { n2: SPARE, n4: SPARE })
  // Without it only nodes of the other copy's zone are left.
  setNodeWish(small.cluster, 'n4', { isCordoned: true, isDraining: false })
  t.equal(told(small).reasons['n3']![0],
    'the best of 2 nodes for it, then n2: no other copy is in zone b, 1 in zone a')
  t.end()
})

t.test('its own copy does not count against a node', (t) => {
  const capacityBytes = 12 * GIB
  const small = new SmallCluster({ n1: { capacityBytes, freeBytes: 3 * GIB }, n2: { capacityBytes } })
  small.volume('v', ['n1'], {}, { sizeBytes: 20 * GIB })
  small.copy('n1', 'v', { usedBytes: 9 * GIB })
  const { reasons, others } = told(small)
  t.equal(reasons['n1']![0], 'the best of 2 nodes for it, then n2: they are alike, and one has to be first')
  t.equal(others['n2'], SPARE)
  const { classes } = small.cluster.nodes.get('n1')!
  t.match(classes, [{ committedBytes: 20 * GIB, freeBytes: 3 * GIB }], 'and nothing of what is known was changed')
  t.end()
})

t.test('the only node that may, one copy a node, and a place that is not the best any more', (t) => {
  const small = new SmallCluster({ n1: { tags: ['ssd'] }, n2: {}, n3: { pool: 'slow' } })
  small.volume('v', ['n1'], {}, { diskTags: ['ssd'] })
  small.volume('w', ['n1', 'n2', 'n3'])
  const { reasons, others } = told(small)
  t.same(reasons['n1'], ['no other node may have it', 'it lies on /n1 (pool default, tag ssd)'])
  const why = 'has no usable disk in pool default with tags ssd'
  t.same(others, { n2: why, n3: why })
  const pair = new SmallCluster({ n1: {}, n2: {} })
  pair.volume('v', ['n1', 'n2'])
  t.equal(told(pair).reasons['n2']![0], 'every other node has a copy, and each has one at most')
  const alone = new SmallCluster({ n1: {} })
  alone.volume('v', ['n1'])
  t.equal(told(alone).reasons['n1']![0], 'there is no other node')
  const moved = new SmallCluster({ n1: {}, n2: {} })
  moved.volume('w', ['n1'], {}, { sizeBytes: 100 * GIB })
  moved.volume('v', ['n1'])
  t.equal(told(moved).reasons['n1']![0], 'it stays; placed now it would go to n2: n2 would be 5 % full, n1 55 %')
  setNodeWish(moved.cluster, 'n1', { isCordoned: true, isDraining: false })
  t.equal(told(moved).reasons['n1']![0], 'it stays; a new one would not come here: n1 is cordoned')
  t.end()
})

t.test('a wanted copy that has no place: each node says why', (t) => {
  const small = new SmallCluster({
    n1: {}, n2: { freeBytes: 5 * GIB }, n3: { capacityBytes: 4 * GIB }, n4: {}, n5: { pool: 'slow' }, n6: {}, n7: {},
  })
  small.volume('v', ['n1', 'n6'], { inSync: ['n1'] }, { replicas: 1 })
  setNodeWish(small.cluster, 'n4', { isCordoned: true, isDraining: false })
  setDiskWish(small.cluster, 'n7.d', { isEvicted: true })
  small.copy('n6', 'v', { failure: 'write failed: EIO', role: 'fenced' })
  const failed = { uuid: 'n6.d', path: '/n6', pool: 'default', tags: [], state: 'failed' as const, reason: 'EIO' }
  small.speak('n6', { disks: [{ ...failed, capacityBytes: 0, freeBytes: 0, reserveBytes: 0, checksumErrors: 0 }] })
  const { wished, placed, next, copies, others } = told(small)
  t.same([wished, placed], [2, 1])
  t.match(next, /^1 more node is needed: /)
  t.match(copies[1], {
    condition: 'n6 failed: write failed: EIO',
    reasons: ['it lies on /n6 (pool default)', 'disk /n6 failed: EIO; replace it'],
  })
  t.same(others, {
    n2: 'would have 5.0 GiB free, less than 10 % of 100.0 GiB',
    n3: 'has promised 0 KiB already, with it more than 200 % of 4.0 GiB',
    n4: 'is cordoned',
    n5: 'has no usable disk in pool default',
    n7: 'has no usable disk in pool default',
  })
  t.end()
})

t.test('what is under way: moves, copies that are made, copies that are no members', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {}, n4: {}, n5: {} })
  small.volume('v', ['n1', 'n2'], {}, { replicas: 2 })
  const { cluster } = small
  t.match(told(small).others, {
    n3: 'would get the next copy',
    n4: 'could take a copy, after n3: they are alike, and one has to be first',
  })
  setRebuilds(cluster, [{ volumeId: 'v', to: 'n3', from: '', why: 'add' }], 't1')
  t.equal(told(small).others['n3'], 'a copy is to be made here because more copies are wished')
  setMove(cluster, 'v', { what: 'copy', to: 'n2', from: 'n1' }, 'm1')
  const { copies, placed } = told(small)
  t.equal(placed, 1)
  t.match(copies, [{ leaving: 'it is moved to n2', reasons: ['it lies on /n1 (pool default)'] }])
  t.equal(copies[1]!.reasons[0], 'an operator moves it here')
  small.copy('n5', 'v', { copyId: 'former', role: 'fenced', failure: 'a disk of the copy failed' })
  t.equal(told(small).others['n5'],
    'has a copy that is no member and failed (a disk of the copy failed); it is being erased')
  small.copy('n1', 'v', { role: 'reconciling' })
  t.match(told(small).others['n5'], /; it stays: its primary on n1 does not serve yet/)
  t.end()
})

t.test('a volume that is being created, and one that nobody wishes', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {} })
  small.record('v', { firstNode: 'n2' }, { replicas: 0 })
  t.match(told(small), { wished: 1, placed: 0, copies: [], others: { n2: 'was asked for a copy' } })
  small.volume('w', ['n1', 'n2'])
  small.cluster.volumes.get('w')!.record = undefined
  t.match(told(small, 'w'), { wished: 0, reasons: { n1: [], n2: [] } })
  t.end()
})

t.test('the best one is the one that placement chooses', (t) => {
  const nodes = { n1: { zone: 'a' }, n2: { zone: 'b' }, n3: { zone: 'b' }, n4: {}, n5: { tags: ['ssd'] } }
  for (let busy = 1; busy < 5; busy++) {
    const small = new SmallCluster(nodes)
    for (let other = 1; other <= busy; other++) small.volume(`f${other}`, [`n${other}`, `n${(other * 2) % 5 + 1}`])
    small.volume('v', ['n1', 'n3'])
    const { cluster } = small
    const { record, usedBytes } = cluster.volumes.get('v')!
    const { others } = told(small)
    for (const name of ['n2', 'n4', 'n5']) t.equal(others[name], SPARE)
    small.record('v', {}, { replicas: 2 })
    const staying = ['n1', 'n3']
    const request = { record: record!, usedBytes, count: 1, staying, taken: new Set(staying) }
    const best = placeCopies(cluster, request, NOW).nodes[0]!
    t.equal(told(small).others[best], 'would get the next copy', best)
  }
  t.end()
})
