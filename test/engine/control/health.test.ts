/** Risk: a volume that looks better than it is, or worse because the controller does not see a node. */
import t from 'tap'
import { setConfig } from '../../../engine/control/cluster.ts'
import { conditionOf, copyFacts } from '../../../engine/control/copy-facts.ts'
import { healthOf } from '../../../engine/control/health.ts'
import { MIB } from '../../../engine/units.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

function healthAt(small: SmallCluster, nowMs = NOW) {
  const volume = small.cluster.volumes.get('v')!
  return healthOf(volume, volume.config === undefined ? [] : copyFacts(small.cluster, volume, nowMs))
}

const three = () => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('v', ['n1', 'n2', 'n3'])
  return small
}

t.test('H1: the worst that applies', (t) => {
  const small = three()
  t.same(healthAt(small), { health: 'healthy', healthReason: '' })
  small.copy('n3', 'v', { failure: 'a write failed' })
  t.same(healthAt(small), { health: 'degraded', healthReason: '2 of 3 copies are in sync: n3 failed: a write failed' })
  small.copy('n2', 'v', undefined)
  const why = '1 of 3 copies is in sync: n2 does not have its copy any more, n3 failed: a write failed'
  t.same(healthAt(small), { health: 'at-risk', healthReason: why })
  small.copy('n1', 'v', { held: 'the pool is full' })
  t.same(healthAt(small), { health: 'suspended', healthReason: 'the pool is full' })
  small.copy('n1', 'v', { failure: 'a sync failed' })
  t.equal(healthAt(small).health, 'faulted')
  t.match(healthAt(small).healthReason, /^no copy has all of it: n1 failed: a sync failed, n2 does not have/)
  t.end()
})

t.test('N5: a copy that starts counts while the primary serves with it', (t) => {
  const small = three()
  small.copy('n2', 'v', { role: 'starting' })
  small.copy('n3', 'v', { role: 'starting' })
  t.same(healthAt(small), { health: 'healthy', healthReason: '' })
  const volume = small.cluster.volumes.get('v')!
  t.same(copyFacts(small.cluster, volume, NOW).map(conditionOf), [
    'n1 is in sync', 'n2 is in sync, and may not lead yet', 'n3 is in sync, and may not lead yet',
  ])
  small.copy('n1', 'v', { role: 'reconciling' })
  t.equal(healthAt(small).health, 'suspended', 'nobody vouches for them')
  small.copy('n1', 'v', { role: 'primary' })
  setConfig(small.cluster, 'v', { ...volume.config!, epoch: 2 }, 'c2')
  const why = '1 of 3 copies is in sync: n2 is starting its copy, n3 is starting its copy'
  t.same(healthAt(small), { health: 'at-risk', healthReason: why }, 'of another epoch it says nothing')
  t.end()
})

t.test('N6: a primary that its replicas do not hear does not serve, although its node is not down yet', (t) => {
  const small = three()
  const gone = { hearsPrimary: false }
  small.copy('n2', 'v', gone, NOW + 1000)
  small.copy('n3', 'v', gone, NOW + 1000)
  t.equal(healthAt(small, NOW + 1000).health, 'healthy', 'it may have spoken as late as they')
  small.later(NOW + 3000, ['n1'])
  const why = 'its primary on n1 has been silent for 3 s; another copy takes over as soon as it may'
  t.same(healthAt(small, NOW + 3000), { health: 'suspended', healthReason: why })
  small.copy('n3', 'v', { hearsPrimary: true }, NOW + 3000)
  t.equal(healthAt(small, NOW + 3000).health, 'healthy', 'one of them hears it')
  t.end()
})

t.test('N7: of a copy that is out of the set nothing is said that its node did not say since', (t) => {
  const small = three()
  const volume = small.cluster.volumes.get('v')!
  setConfig(small.cluster, 'v', { ...volume.config!, epoch: 2, inSync: ['n1', 'n2'] }, 'c2')
  small.copy('n1', 'v', { epoch: 2 }, NOW + 1000)
  small.copy('n2', 'v', { epoch: 2 }, NOW + 1000)
  const told = '2 of 3 copies are in sync: '
  t.equal(healthAt(small, NOW + 1000).healthReason, `${told}n3 was taken out of the set, and has not spoken since`)
  t.equal(healthAt(small, NOW + 4000).healthReason, `${told}n3 has been silent for 4 s`)
  small.copy('n3', 'v', { role: 'out', epoch: 2 }, NOW + 4000)
  t.equal(healthAt(small, NOW + 4000).healthReason, `${told}n3 catches up`)
  small.copy('n3', 'v', { lagBytes: 2 * MIB }, NOW + 4000)
  t.equal(healthAt(small, NOW + 4000).healthReason, `${told}n3 is being filled, at most 2 MiB are left`)
  small.copy('n3', 'v', { joining: 'asks n1 to be filled' }, NOW + 4000)
  t.equal(healthAt(small, NOW + 4000).healthReason, `${told}n3 asks n1 to be filled`)
  t.end()
})

t.test('one copy that is there is healthy when no more were wished', (t) => {
  const small = new SmallCluster({ n1: {} })
  small.volume('v', ['n1'])
  t.equal(healthAt(small).health, 'healthy')
  small.record('v', {}, { replicas: 1 })
  t.same(healthAt(small), { health: 'at-risk', healthReason: '1 of 2 copies is in sync; more have not been placed' })
  small.copy('n1', 'v', { lostSlices: 3 })
  t.same(healthAt(small), { health: 'faulted', healthReason: 'no copy has all of it: n1 lost 3 slice(s) with a disk' })
  t.end()
})

t.test('a primary that does not serve', (t) => {
  const small = three()
  small.copy('n1', 'v', { role: 'reconciling' })
  t.match(healthAt(small).healthReason, /brings the other copies in line/)
  small.copy('n1', 'v', { role: 'starting' })
  t.equal(healthAt(small).health, 'suspended')
  small.later(NOW + 60_000, ['n1'])
  small.copy('n2', 'v', { hearsPrimary: false }, NOW + 60_000)
  small.copy('n3', 'v', { hearsPrimary: false }, NOW + 60_000)
  t.match(healthAt(small, NOW + 60_000), { health: 'suspended', healthReason: /n1 has been silent for 60 s; another/ })
  t.end()
})

t.test('H2, N5: what the controller does not see is no failure', (t) => {
  const small = three()
  small.later(NOW + 60_000, ['n1'])
  t.equal(healthAt(small, NOW + 60_000).health, 'healthy', 'its replicas hear the primary')
  const other = three()
  other.later(NOW + 60_000, ['n2', 'n3'])
  t.equal(healthAt(other, NOW + 60_000).health, 'healthy', 'the primary needs their acknowledgement')
  other.copy('n1', 'v', { held: 'it waits for n2' }, NOW + 60_000)
  t.equal(healthAt(other, NOW + 60_000).health, 'suspended')
  const last = three()
  setConfig(last.cluster, 'v', { ...last.cluster.volumes.get('v')!.config!, epoch: 2 }, 'c2')
  last.later(NOW + 60_000, ['n2', 'n3'])
  t.equal(healthAt(last, NOW + 60_000).health, 'at-risk', 'of another epoch it says nothing')
  t.end()
})

t.test('a new volume', (t) => {
  const small = new SmallCluster({ n1: {} })
  small.record('v')
  t.same(healthAt(small), { health: 'suspended', healthReason: 'it is being created' })
  t.end()
})
