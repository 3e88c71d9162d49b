/** Risk: what a volume lacks is not seen, not begun, begun twice or in the wrong order; what is too much stays. */
import t from 'tap'
import type { Action } from '../../../engine/control/actions.ts'
import { setConfig, setMove, setNodeWish, setRebuilds, setVolume } from '../../../engine/control/cluster.ts'
import { newPlanner, notGivenOut, planPass } from '../../../engine/control/plan.ts'
import type { Planner } from '../../../engine/control/plan.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { GIB } from '../../../engine/units.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

const five = () => new SmallCluster({ n1: {}, n2: {}, n3: {}, n4: {}, n5: {} })
const DRAINING = { isCordoned: false, isDraining: true }

/** A pass without the clock of the cluster. */
function pass(planner: Planner, nowMs = NOW): Action[] {
  return planPass(planner, nowMs, 'nonce').filter(({ type }) => type !== 'change-age')
}

const entries = (actions: Action[]) =>
  actions.flatMap((action) => (action.type === 'change-rebuilds' ? action.rebuilds : []))

function configOf(action: Action | undefined): VolumeConfig {
  if (action?.type !== 'change-config') throw new Error('no change of a configuration')
  return action.config
}

t.test('nothing is done to what is as it was wished, and little is looked at', (t) => {
  const small = five()
  small.volume('v', ['n1', 'n2', 'n3'])
  const planner = newPlanner(small.cluster)
  t.same(pass(planner), [])
  t.equal(small.cluster.open.size, 0)
  t.equal(small.cluster.changed.size, 0)
  t.same(small.cluster.volumes.get('v')!.verdict, { health: 'healthy', healthReason: '', next: '' })
  t.end()
})

t.test('R5: what could not be sent is planned again at once, what was sent is not', (t) => {
  const small = five()
  small.record('v')
  const planner = newPlanner(small.cluster)
  const made = pass(planner)
  t.same(made.map(({ type }) => type), ['make-copy', 'make-copy', 'make-copy'])
  t.same(pass(planner, NOW + 1000), [])
  notGivenOut(small.cluster, made[1]!)
  t.same(pass(planner, NOW + 2000), [made[1]])
  t.end()
})

t.test('V1: first copies of a clone are made where its origin is in sync, and the rest is filled', (t) => {
  const small = five()
  small.volume('v', ['n2', 'n4', 'n5'], { inSync: ['n2', 'n4'] })
  const origin = { volumeId: 'v', snapshotId: 's', seq: 70, epoch: 6 }
  small.record('c', { origin }, { replicas: 2 })
  const planner = newPlanner(small.cluster)
  const ofClone = (actions: Action[]) => actions.filter((action) => 'volumeId' in action && action.volumeId === 'c')
  const made = ofClone(pass(planner))
  t.same(made.map((action) => ('node' in action ? action.node : action.type)), ['n2', 'n4'])
  small.copy('n2', 'c', { role: 'out', isVirgin: true, epoch: 0, seq: 70 })
  small.copy('n4', 'c', { role: 'out', isVirgin: true, epoch: 0, seq: 0 })
  t.same(ofClone(pass(planner, NOW + 100)), [], 'an empty one is none of the first set')
  small.copy('n4', 'c', { role: 'out', isVirgin: true, epoch: 0, seq: 70 })
  const [create] = ofClone(pass(planner, NOW + 2000))
  t.match(create, { type: 'create-config', config: { epoch: 7, inSync: ['n2', 'n4'], minInSync: 2 } })
  t.end()
})

t.test('V1: made everywhere, then one configuration', (t) => {
  const small = five()
  small.record('v')
  const planner = newPlanner(small.cluster)
  t.same(pass(planner).map((action) => ('node' in action ? `${action.type} ${action.node}` : action.type)), [
    'make-copy n1', 'make-copy n2', 'make-copy n3',
  ])
  t.same(pass(planner, NOW + 1000), [], 'R5: they were asked')
  for (const node of ['n1', 'n2', 'n3']) small.copy(node, 'v', { role: 'out', isVirgin: true, epoch: 0 })
  const [create] = pass(planner, NOW + 2000)
  t.match(create, {
    type: 'create-config',
    config: { epoch: 1, primary: 'n1', inSync: ['n1', 'n2', 'n3'], minInSync: 2, nonce: 'nonce' },
  })
  small.copy('n5', 'v', { isVirgin: false })
  small.cluster.volumes.get('v')!.asked.clear()
  t.same(pass(planner, NOW + 3000), [], 'never beside a copy that was used')
  const { next } = small.cluster.volumes.get('v')!.verdict!
  t.match(next, /in use, and no configuration is known; if that stays so .*`holdfast store rebuild/)
  t.end()
})

t.test('V1: too few nodes', (t) => {
  const small = new SmallCluster({ n1: {} })
  const record = small.record('v')
  const planner = newPlanner(small.cluster)
  t.same(pass(planner), [])
  t.match(small.cluster.volumes.get('v')!.verdict, { next: '2 more nodes are needed, and there is no other' })
  setVolume(small.cluster, 'v', { ...record, allowDegraded: true }, 'r2')
  t.match(pass(planner), [{ type: 'make-copy', node: 'n1' }])
  t.end()
})

t.test('V2: away is waited for, failed is not, and at risk is at once', (t) => {
  const small = five()
  small.volume('v', ['n1', 'n2', 'n3'])
  small.volume('w', ['n1', 'n2'])
  const planner = newPlanner(small.cluster)
  pass(planner)
  const later = NOW + 60_000
  small.later(later, ['n2'])
  small.copy('n1', 'v', { epoch: 2 }, later)
  small.copy('n1', 'w', { epoch: 2 }, later)
  for (const id of ['v', 'w']) {
    const { config } = small.cluster.volumes.get(id)!
    const inSync = config!.inSync.filter((node) => node !== 'n2')
    setConfig(small.cluster, id, { ...config!, epoch: 2, inSync }, `${id}2`)
  }
  t.match(entries(pass(planner, later)), [{ volumeId: 'w', to: 'n4', why: 'replace' }], 'only w is at risk')
  const long = NOW + 400_000
  small.later(long, ['n2'])
  const both = entries(pass(planner, long))
  t.match(both.map(({ volumeId }) => volumeId), ['w', 'v'], 'B2: in that order')
  small.copy('n3', 'v', { failure: 'a write failed' }, long)
  small.cluster.rebuilds = []
  t.equal(entries(pass(planner, long)).filter(({ volumeId }) => volumeId === 'v').length, 1, 'now at risk as well')
  t.end()
})

t.test('B1: make-copy and the new member only from the table, and no more than it may have', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} }, { rebuildsMax: 3, rebuildsPerNode: 2 })
  for (const id of ['a', 'b', 'c', 'd']) small.volume(id, [id < 'c' ? 'n1' : 'n2'], {}, { replicas: 1 })
  const planner = newPlanner(small.cluster)
  const table = entries(pass(planner))
  t.same(table.map(({ volumeId }) => volumeId), ['a', 'b', 'c'])
  t.match(small.cluster.volumes.get('d')!.verdict, { next: 'a copy waits for its turn: 3 are filled at a time' })
  setRebuilds(small.cluster, table, 't1')
  const orders = pass(planner).filter(({ type }) => type === 'make-copy')
  t.equal(orders.length, 3)
  const { to } = table[0]!
  small.copy(to, 'a', { copyId: 'a.new', role: 'out', isVirgin: true, epoch: 0 })
  t.match(pass(planner), [{
    type: 'change-config', volumeId: 'a', version: 'c.a',
    config: { epoch: 1, inSync: ['n1'], members: { [to]: { copyId: 'a.new', state: 'catching-up' } } },
  }])
  t.end()
})

t.test('R7: of a volume that was forgotten between two looks at all of them no entry of the table stays', (t) => {
  const small = five()
  const { cluster } = small
  small.volume('v', ['n1', 'n2'], {}, { replicas: 2 })
  const planner = newPlanner(cluster)
  const table = entries(pass(planner))
  t.match(table, [{ volumeId: 'v' }])
  setRebuilds(cluster, table, 't1')
  pass(planner)
  // So many that all are looked at once a second.
  for (let i = 0; i < 10_000; i++) cluster.open.add(`open${i}`)
  setVolume(cluster, 'v', undefined, 'r2')
  setConfig(cluster, 'v', undefined, 'c2')
  for (const node of ['n1', 'n2']) small.copy(node, 'v', undefined)
  t.same(pass(planner, NOW + 100), [])
  t.notOk(cluster.volumes.has('v'))
  const [change] = pass(planner, NOW + 2000)
  t.match(change, { type: 'change-rebuilds', rebuilds: [] })
  setRebuilds(cluster, entries([change!]), 't2')
  t.same(pass(planner, NOW + 4000), [])
  t.end()
})

t.test('V3, V4: a drain adds, hands over, evicts, removes, erases, and every step waits for the one before', (t) => {
  const small = five()
  small.volume('v', ['n1', 'n2', 'n3'])
  const { cluster } = small
  const planner = newPlanner(cluster)
  setNodeWish(cluster, 'n1', DRAINING)
  const first = pass(planner)
  t.match(entries(first), [{ volumeId: 'v', to: 'n4', why: 'drain' }])
  t.match(first.filter(({ type }) => type === 'hand-over'), [{ node: 'n1', to: 'n2' }])
  setRebuilds(cluster, entries(first), 't1')
  const members = {
    n1: { copyId: 'v.n1', state: 'in-sync' as const }, n2: { copyId: 'v.n2', state: 'in-sync' as const },
    n3: { copyId: 'v.n3', state: 'in-sync' as const }, n4: { copyId: 'v.n4', state: 'in-sync' as const },
  }
  small.copy('n1', 'v', { role: 'replica', epoch: 3 })
  small.copy('n2', 'v', { role: 'primary', epoch: 3 })
  small.copy('n4', 'v', { role: 'replica', epoch: 3 })
  const inSync = ['n1', 'n2', 'n3', 'n4']
  const config = { ...cluster.volumes.get('v')!.config!, epoch: 3, primary: 'n2', inSync, members }
  setConfig(cluster, 'v', config, 'c3')
  const [evict] = pass(planner).filter(({ type }) => type === 'change-config')
  const without = { epoch: 4, inSync: ['n2', 'n3', 'n4'], members: { n1: { state: 'failed' } } }
  t.match(evict, { version: 'c3', config: without })
  setConfig(cluster, 'v', configOf(evict), 'c4')
  t.same(pass(planner).filter(({ type }) => type === 'change-config'), [], 'the primary is not in that epoch yet')
  small.copy('n2', 'v', { epoch: 4 })
  const [remove] = pass(planner).filter(({ type }) => type === 'change-config')
  t.match(remove, { version: 'c4', config: { epoch: 4, inSync: ['n2', 'n3', 'n4'] } })
  t.equal(configOf(remove).members.n1, undefined)
  setConfig(cluster, 'v', configOf(remove), 'c5')
  t.match(pass(planner).filter(({ type }) => type === 'erase-copy'), [{ node: 'n1', copyId: 'v.n1', epoch: 4 }])
  t.end()
})

t.test('V6: a drain that cannot go on says why', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {} })
  small.volume('v', ['n1', 'n2'])
  setNodeWish(small.cluster, 'n2', DRAINING)
  t.same(pass(newPlanner(small.cluster)), [])
  const next = '1 more node is needed: n1 has a copy of it; n2 has a copy of it'
  t.match(small.cluster.volumes.get('v')!.verdict, { health: 'healthy', next })
  t.end()
})

t.test('V3: fewer copies wished: not the primary, and who shares a zone first', (t) => {
  const small = new SmallCluster({ n1: { zone: 'a' }, n2: { zone: 'b' }, n3: { zone: 'a' } })
  small.volume('v', ['n1', 'n2', 'n3'], {}, { replicas: 1 })
  const planner = newPlanner(small.cluster)
  t.match(pass(planner), [{ type: 'change-config', config: { minInSync: 1 }, why: '1 is wished as minInSync' }])
  setConfig(small.cluster, 'v', { ...small.cluster.volumes.get('v')!.config!, minInSync: 1 }, 'c2')
  t.match(pass(planner), [{ type: 'change-config', config: { inSync: ['n1', 'n2'] }, why: 'it is one too many' }])
  t.end()
})

t.test('V5: minInSync is raised when one more is there', (t) => {
  const small = five()
  small.volume('v', ['n1', 'n2'], { minInSync: 1 }, { replicas: 2 })
  const planner = newPlanner(small.cluster)
  t.notOk(pass(planner).some(({ type }) => type === 'change-config'))
  small.volume('v', ['n1', 'n2', 'n3'], { minInSync: 1 })
  t.match(pass(planner)[0], { type: 'change-config', config: { minInSync: 2 } })
  t.end()
})

t.test('V7: a move adds first, then lets go; of the only copy the lead moves first', (t) => {
  const small = five()
  small.volume('v', ['n1'])
  const { cluster } = small
  const planner = newPlanner(cluster)
  setMove(cluster, 'v', { what: 'copy', to: 'n3', from: '' }, 'm1')
  t.match(entries(pass(planner)), [{ to: 'n3', why: 'move' }])
  small.volume('v', ['n1', 'n3'], {}, { replicas: 0 })
  t.match(pass(planner), [{ type: 'hand-over', node: 'n1', to: 'n3' }])
  small.copy('n1', 'v', { role: 'replica' })
  small.copy('n3', 'v', { role: 'primary', epoch: 2 })
  setConfig(cluster, 'v', { ...cluster.volumes.get('v')!.config!, primary: 'n3', epoch: 2 }, 'c2')
  t.match(pass(planner), [{ type: 'change-config', config: { inSync: ['n3'] } }])
  small.volume('v', ['n3'])
  small.copy('n1', 'v', undefined)
  t.match(pass(planner), [{ type: 'change-volume', record: { moved: { from: '', to: 'n3' } } }], 'it is noted')
  small.record('v', { moved: { from: '', to: 'n3' } }, { replicas: 0 })
  t.match(pass(planner), [{ type: 'delete-move', version: 'm1' }])
  setMove(cluster, 'v', { what: 'copy', to: 'n9', from: '' }, 'm2')
  t.same(pass(planner), [])
  t.match(cluster.volumes.get('v')!.verdict, { next: 'it cannot move: n9 is no node of this cluster' })
  setMove(cluster, 'v', { what: 'primary', to: 'n3', from: '' }, 'm3')
  t.match(pass(planner), [{ type: 'delete-move', version: 'm3' }], 'it leads')
  t.end()
})

t.test('V7: rebalancing only when nothing else is to be done, and not back', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  for (const id of ['a', 'b', 'c', 'd']) small.volume(id, ['n1', 'n2'], {}, { sizeBytes: 20 * GIB })
  const planner = newPlanner(small.cluster)
  const [entry] = entries(pass(planner))
  t.match(entry, { to: 'n3', from: 'n2', why: 'rebalance' })
  small.record('e', {}, { replicas: 0 })
  const busy = five()
  for (const id of ['a', 'b', 'c', 'd']) busy.volume(id, ['n1', 'n2'], {}, { sizeBytes: 20 * GIB })
  busy.volume('e', ['n1'], {}, { replicas: 1 })
  t.match(entries(pass(newPlanner(busy.cluster))), [{ volumeId: 'e', why: 'add' }])
  t.end()
})

t.test('V7: what a user moved is not rebalanced, neither on nor back', (t) => {
  const rebalanced = (moved?: VolumeRecord['moved']) => {
    const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
    for (const id of ['a', 'b', 'c', 'd']) {
      small.volume(id, ['n1', 'n2'], {}, { sizeBytes: 20 * GIB })
      if (moved !== undefined) small.record(id, { moved }, { sizeBytes: 20 * GIB, replicas: 1 })
    }
    return entries(pass(newPlanner(small.cluster)))
  }
  t.match(rebalanced(), [{ to: 'n3', from: 'n2' }])
  t.same(rebalanced({ from: '', to: 'n2' }), [])
  t.same(rebalanced({ from: 'n3', to: 'n1' }), [])
  t.match(rebalanced({ from: 'n4', to: 'n1' }), [{ to: 'n3', from: 'n2' }])
  t.end()
})

t.test('V7: what would only turn two nodes round stays', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('a', ['n1', 'n2'], {}, { sizeBytes: 60 * GIB })
  t.same(entries(pass(newPlanner(small.cluster))), [], 'n3 would be as full as n2 is')
  t.end()
})

t.test('B3: an entry whose copy failed before it was a member is over', (t) => {
  const small = five()
  small.volume('v', ['n1'], {}, { replicas: 1 })
  const planner = newPlanner(small.cluster)
  setRebuilds(small.cluster, [{ volumeId: 'v', to: 'n2', from: '', why: 'add' }], 't1')
  small.copy('n2', 'v', { role: 'fenced', isVirgin: true, failure: 'a write failed' })
  const actions = pass(planner)
  t.match(entries(actions), [{ volumeId: 'v', to: 'n3' }], 'another one instead')
  t.match(actions.filter(({ type }) => type === 'erase-copy'), [{ node: 'n2' }])
  t.end()
})

t.test('R6: a new controller waits until all have spoken', (t) => {
  const small = five()
  small.record('v')
  small.cluster.startedAtMs = NOW - 9000
  small.cluster.nodes.get('n5')!.said = undefined
  const planner = newPlanner(small.cluster)
  t.same(pass(planner), [])
  t.match(small.cluster.volumes.get('v')!.verdict, { next: 'nodes have not told yet what they have' })
  t.equal(pass(planner, NOW + 1_500).length, 3, 'not for ever')
  t.end()
})

t.test('R7: a change does not cost a look at all that time may change, and what is lacking is still begun', (t) => {
  const small = five()
  const ids = Array.from({ length: 300 }, (_, i) => `v${String(i).padStart(3, '0')}`)
  for (const id of ids) small.volume(id, ['n1', 'n2', 'n3'], { inSync: ['n1', 'n2'] }, { sizeBytes: 1 })
  const planner = newPlanner(small.cluster)
  const silentMs = 30_000
  pass(planner)
  small.later(NOW + silentMs, ['n3'])
  pass(planner, NOW + silentMs)
  const { cluster } = small
  t.equal(cluster.open.size, 300, 'each lacks the copy of a node that is down')
  const verdicts = (): unknown[] => ids.map((id) => cluster.volumes.get(id)!.verdict)
  const before = verdicts()
  setConfig(cluster, ids[7]!, { ...cluster.volumes.get(ids[7]!)!.config!, nonce: 'other' }, 'c2')
  pass(planner, NOW + silentMs + 10)
  t.same(verdicts().flatMap((verdict, i) => (verdict === before[i] ? [] : [i])), [7], 'only what changed')

  // Its time is over, and no pass that is too early begins anything.
  const overMs = NOW + 400_000
  small.later(overMs, ['n3'])
  t.equal(entries(pass(planner, overMs)).length, 2, 'one node leads them, and fills two at a time')
  cluster.changed.add(ids[9]!)
  t.same(entries(pass(planner, overMs + 10)), [])
  t.equal(entries(pass(planner, overMs + 1000)).length, 2, 'planned anew, since nobody stored it')
  t.end()
})
