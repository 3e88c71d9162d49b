/**
 * Risk: a node is taken away although a volume needs its copy, since another one was counted that lacks something; or
 * nobody ever is, since a volume waits for a copy that no node can take.
 */
import t from 'tap'
import { awaitsCopy } from '../../../engine/control/awaited-copy.ts'
import { setNodeWish } from '../../../engine/control/cluster.ts'
import { copyFacts, standsAlone } from '../../../engine/control/copy-facts.ts'
import type { CopyStatus } from '../../../engine/control/node-status.ts'
import { GIB } from '../../../engine/units.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

const alone = (small: SmallCluster, nowMs = NOW): string[] =>
  copyFacts(small.cluster, small.cluster.volumes.get('v')!, nowMs)
    .filter(standsAlone).map(({ node }) => node)

t.test('a copy with which the volume could go on', (t) => {
  const changes: Array<Partial<CopyStatus> | undefined> = [
    undefined, { role: 'starting' }, { failure: 'a write failed' }, { isConsistent: false }, { lostSlices: 1 },
    { copyId: 'another' },
  ]
  for (const change of changes) {
    const small = new SmallCluster({ n1: {}, n2: {} })
    small.volume('v', ['n1', 'n2'])
    t.same(alone(small), ['n1', 'n2'])
    small.copy('n2', 'v', change)
    t.same(alone(small), ['n1'], JSON.stringify(change))
  }
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('v', ['n1', 'n2', 'n3'], { inSync: ['n1', 'n2'] })
  t.same(alone(small), ['n1', 'n2'], 'not one that is no member of the set')
  small.copy('n2', 'v', { isWhole: false })
  t.same(alone(small), ['n1'], 'that lost what was acknowledged, whichever durability the record says')
  small.copy('n2', 'v', { isWhole: true })
  const laterMs = NOW + small.cluster.options.quietAfterMs + 1
  small.later(laterMs, ['n1'])
  t.same(alone(small, laterMs), ['n2'], 'whose node has said nothing for a moment')
  t.end()
})

t.test('a volume with fewer copies than it is to have', (t) => {
  const of = (small: SmallCluster, nowMs = NOW): boolean =>
    awaitsCopy(small.cluster, small.cluster.volumes.get('v')!, nowMs)
  const small = new SmallCluster({ n1: {}, n2: {}, n3: { capacityBytes: GIB } })
  small.volume('v', ['n1', 'n2'])
  t.equal(of(small), false, 'it has them')
  small.record('v', {}, { replicas: 2 })
  t.equal(of(small), false, 'n3 has no room')
  const roomy = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  roomy.volume('v', ['n1', 'n2'], {}, { replicas: 2 })
  t.equal(of(roomy), true)
  setNodeWish(roomy.cluster, 'n3', { isCordoned: true, isDraining: false })
  t.equal(of(roomy), false)
  setNodeWish(roomy.cluster, 'n3', { isCordoned: false, isDraining: false })
  roomy.speak('n3', { isOpen: false })
  t.equal(of(roomy), true, 'it recovers its disks, and can then')
  roomy.record('v', { allowed: { nodes: ['n1', 'n2'], zones: [] } }, { replicas: 2 })
  t.equal(of(roomy), false, 'it may not have it')
  const downMs = NOW + roomy.cluster.options.downAfterMs + 1
  roomy.record('v', {}, { replicas: 2 })
  roomy.later(downMs, ['n3'])
  t.equal(of(roomy, downMs), false, 'n3 is down')
  t.end()
})
