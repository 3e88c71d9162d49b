/** Risk: a scheduler that sends a user where his volume cannot be made; copies outside of what is allowed. */
import t from 'tap'
import { capacityFor } from '../../../engine/control/capacity.ts'
import { setNodeWish } from '../../../engine/control/cluster.ts'
import { firstNodeOf } from '../../../engine/control/creation.ts'
import { whyNeverCreated } from '../../../engine/control/creation-refusal.ts'
import { placeCopies } from '../../../engine/control/placement.ts'
import { GIB, MIB } from '../../../engine/units.ts'
import { NOW, recordOf, SmallCluster } from './small-cluster.ts'

const ANYWHERE = { node: '', zone: '' }

t.test('P6: what is the largest is made, and what is a MiB larger is not', async (t) => {
  const small = new SmallCluster({
    n1: { capacityBytes: 10 * GIB, zone: 'a' }, n2: { capacityBytes: 30 * GIB, zone: 'a' },
    n3: { capacityBytes: 20 * GIB, zone: 'b' }, n4: { pool: 'other' },
  })
  small.volume('w', ['n2', 'n3'], {}, { sizeBytes: 3 * GIB + MIB })
  for (const replicas of [0, 1, 2]) {
    const { largestBytes } = capacityFor(small.cluster, recordOf('v', {}, { replicas }), ANYWHERE, NOW)
    const made = (sizeBytes: number) => {
      const record = recordOf('v', {}, { replicas, sizeBytes })
      const request = { record, usedBytes: 0, count: replicas + 1, staying: [], taken: new Set<string>() }
      return placeCopies(small.cluster, request, NOW).nodes.length === replicas + 1
    }
    t.ok(largestBytes > 0 && made(largestBytes), `${replicas} replicas`)
    t.notOk(made(largestBytes + MIB), `${replicas} replicas, a MiB more`)
  }
  t.equal(capacityFor(small.cluster, recordOf('v', {}, { replicas: 3 }), ANYWHERE, NOW).largestBytes, 0)
  const degraded = recordOf('v', { allowDegraded: true }, { replicas: 3 })
  t.equal(capacityFor(small.cluster, degraded, ANYWHERE, NOW).largestBytes, 57 * GIB - MIB, 'one copy is enough')
})

t.test('P6: a segment bounds what is local, and what is the largest only where data has to be local', async (t) => {
  const [n1, n2] = [{ capacityBytes: 10 * GIB, zone: 'a' }, { capacityBytes: 30 * GIB, zone: 'b' }]
  const small = new SmallCluster({ n1, n2, n3: { pool: 'x' } })
  const askEach = (segment: Partial<typeof ANYWHERE>, change = {}) =>
    capacityFor(small.cluster, recordOf('v', change, { replicas: 0 }), { ...ANYWHERE, ...segment }, NOW)
  const ask = (segment: Partial<typeof ANYWHERE>, change = {}) => {
    const { nodes: _, ...answer } = askEach(segment, change)
    return answer
  }
  t.same(askEach({}).nodes, [
    { node: 'n1', localBytes: 20 * GIB, freeBytes: 10 * GIB },
    { node: 'n2', localBytes: 60 * GIB, freeBytes: 30 * GIB }, { node: 'n3', localBytes: 0, freeBytes: 0 },
  ])
  t.same(askEach({ zone: 'b' }).nodes.map(({ node }) => node), ['n2'])
  t.same(ask({}), { largestBytes: 60 * GIB, localBytes: 60 * GIB, freeBytes: 40 * GIB })
  t.same(ask({ node: 'n1' }), { largestBytes: 60 * GIB, localBytes: 20 * GIB, freeBytes: 10 * GIB })
  t.same(ask({ zone: 'a' }), { largestBytes: 60 * GIB, localBytes: 20 * GIB, freeBytes: 10 * GIB })
  t.same(ask({ node: 'n3' }), { largestBytes: 60 * GIB, localBytes: 0, freeBytes: 0 }, 'a node without such disks')
  t.same(ask({ zone: 'c' }), { largestBytes: 60 * GIB, localBytes: 0, freeBytes: 0 })
  const dataLocality = 'strict'
  t.equal(ask({ node: 'n1' }, { dataLocality }).largestBytes, 20 * GIB)
  t.equal(ask({ node: 'n3' }, { dataLocality }).largestBytes, 0)
  t.equal(ask({}, { dataLocality }).largestBytes, 60 * GIB)
  setNodeWish(small.cluster, 'n2', { isCordoned: true, isDraining: false })
  t.same(ask({}), { largestBytes: 20 * GIB, localBytes: 20 * GIB, freeBytes: 10 * GIB }, 'who takes no copies')
  small.speak('n1', { disks: [] })
  t.same(ask({}), { largestBytes: 0, localBytes: 0, freeBytes: 0 })
  const full = new SmallCluster({ n1: { capacityBytes: 100 * GIB, freeBytes: 5 * GIB } })
  const none = capacityFor(full.cluster, recordOf('v', {}, { replicas: 0 }), ANYWHERE, NOW)
  t.match(none, { largestBytes: 0, localBytes: 0, freeBytes: 0 }, 'below what is kept free')
})

t.test('P7: copies lie where they are allowed to, and of preferred nodes the first that can leads', async (t) => {
  const small = new SmallCluster({ n1: { zone: 'a' }, n2: { zone: 'a' }, n3: { zone: 'b' }, n4: {} })
  const place = (allowed: { nodes: string[]; zones: string[] }, count: number) => {
    const record = recordOf('v', { allowed })
    return placeCopies(small.cluster, { record, usedBytes: 0, count, staying: [], taken: new Set() }, NOW)
  }
  t.same(place({ nodes: [], zones: ['a'] }, 2).nodes, ['n1', 'n2'])
  t.same(place({ nodes: ['n4'], zones: ['b'] }, 2).nodes, ['n3', 'n4'], 'both count')
  const { nodes, why } = place({ nodes: ['n4', 'n9'], zones: [] }, 2)
  t.same(nodes, ['n4'])
  t.match(why, /n1 is not in node n4, node n9, where its copies may be/)
  const record = recordOf('v', { allowed: { nodes: [], zones: ['a'] } }, { replicas: 2 })
  t.match(whyNeverCreated(small.cluster, record)?.why, /1 more node is needed: n3 is not in zone a/)
  t.equal(whyNeverCreated(small.cluster, { ...record, allowDegraded: true }), undefined)
  t.equal(capacityFor(small.cluster, record, ANYWHERE, NOW).largestBytes, 0)

  const first = (preferred: string[], change = {}) => firstNodeOf(small.cluster, recordOf('v', change), preferred, NOW)
  t.equal(first(['n9', 'n3', 'n1']), 'n3', 'an unknown one is passed over')
  t.equal(first(['n3', 'n1'], { allowed: { nodes: [], zones: ['a'] } }), 'n1')
  small.speak('n3', { disks: [] })
  t.equal(first(['n3', 'n2', 'n1']), 'n2', 'one that cannot is')
  t.equal(first(['n3']), '')
  t.equal(first([]), '')
})
