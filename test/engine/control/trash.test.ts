/** Risk: a deleted volume is gone too early, half, or never. */
import t from 'tap'
import type { Action } from '../../../engine/control/actions.ts'
import { setAge, setConfig, setNode, setVolume } from '../../../engine/control/cluster.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import { statusPage } from '../../../engine/control/status-page.ts'
import { ageNow, trashHint } from '../../../engine/control/trash.ts'
import { deleted, keptForMs, purged, restored } from '../../../engine/control/volume-record.ts'
import { GIB } from '../../../engine/units.ts'
import { NOW, recordOf, SmallCluster } from './small-cluster.ts'

t.test('T1: in, out, and no way back', (t) => {
  const record = recordOf('v')
  const gone = deleted(record, 5)!
  t.same(gone.trash, { deletedAtAgeMs: 5, keepMs: 3_600_000, isPurging: false })
  t.equal(deleted(gone, 6), undefined)
  t.same(restored(gone), record)
  t.equal(restored(record), undefined)
  t.equal(purged(record), undefined)
  t.equal(restored(purged(gone)!), undefined)
  t.equal(purged(purged(gone)!), undefined)
  t.end()
})

t.test('T2: a minute more than it was kept for, by the age of the cluster', (t) => {
  t.equal(keptForMs({ deletedAtAgeMs: 1000, keepMs: 5000, isPurging: false }, 1000), 65_000)
  t.equal(keptForMs({ deletedAtAgeMs: 1000, keepMs: 0, isPurging: false }, 1000), 0)
  const { cluster } = new SmallCluster({ n1: {} })
  setAge(cluster, 7000, 'a1', NOW)
  t.equal(ageNow(cluster, NOW + 30_000), 37_000)
  t.equal(ageNow(cluster, NOW + 3_600_000), 67_000, 'one step at most')
  setAge(cluster, 7000, 'a1', NOW + 10_000)
  t.equal(ageNow(cluster, NOW + 30_000), 37_000, 'the same value is not seen anew')
  t.end()
})

t.test('T3: purged when it is time and nobody holds it, then erased, forgotten, forgotten', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {} })
  small.volume('v', ['n1', 'n2'])
  const { cluster } = small
  const planner = newPlanner(cluster)
  const pass = () => planPass(planner, NOW, '').filter(({ type }: Action) => type !== 'change-age')
  const record = deleted(cluster.volumes.get('v')!.record!, 0, 1000)!
  setVolume(cluster, 'v', record, 'r2')
  t.same(pass(), [])
  t.match(cluster.volumes.get('v')!.verdict?.next, /^it is in the trash, and purged in 61 s; `holdfast volume restore`/)
  setAge(cluster, 61_000, 'a1', NOW)
  const { config } = cluster.volumes.get('v')!
  setConfig(cluster, 'v', { ...config!, attach: { generation: 1, mode: 'single', holders: { n1: 1 } } }, 'c2')
  t.same(pass(), [])
  t.match(cluster.volumes.get('v')!.verdict, { next: 'it is in the trash, and purged when n1 let it go' })
  setConfig(cluster, 'v', config, 'c3')
  t.match(pass(), [{ type: 'change-volume', version: 'r2', record: { trash: { isPurging: true } } }])
  setVolume(cluster, 'v', purged(record), 'r3')
  t.match(pass(), [{ type: 'erase-copy', node: 'n1', epoch: 0 }, { type: 'erase-copy', node: 'n2', epoch: 0 }])
  small.copy('n1', 'v', undefined)
  cluster.nodes.get('n2')!.heardAtMs = NOW - 60_000
  t.same(pass(), [])
  t.match(cluster.volumes.get('v')!.verdict, { next: 'n2 may still have a copy, and is away' })
  setNode(cluster, 'n2', undefined, NOW)
  t.match(pass(), [{ type: 'delete-config', version: 'c3' }], 'a node that was removed is not waited for')
  setConfig(cluster, 'v', undefined, '')
  t.match(pass(), [{ type: 'delete-volume', version: 'r3' }])
  setVolume(cluster, 'v', undefined, '')
  small.copy('n2', 'v', undefined)
  t.same(pass(), [])
  t.equal(cluster.volumes.size, 0)
  t.end()
})

t.test('T5: a configuration that came late goes, one with a copy stays', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {} })
  small.volume('v', ['n1', 'n2'])
  setVolume(small.cluster, 'v', undefined, '')
  const planner = newPlanner(small.cluster)
  t.same(planPass(planner, NOW, '').filter(({ type }) => type === 'delete-config'), [])
  small.copy('n1', 'v', undefined)
  t.same(planPass(planner, NOW, '').filter(({ type }) => type === 'delete-config'), [])
  small.copy('n2', 'v', undefined)
  t.match(planPass(planner, NOW, '').filter(({ type }) => type === 'delete-config'), [{ version: 'c.v' }])
  t.end()
})

t.test('T4: a volume that waits for room is told what gives room, not that a node is lacking', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  const { cluster } = small
  small.volume('v', ['n1', 'n2'])
  small.volume('old', ['n1', 'n2'])
  small.copy('n1', 'old', { usedBytes: 3 * GIB })
  const planner = newPlanner(cluster)
  const next = () => {
    planPass(planner, NOW, '')
    return cluster.volumes.get('v')!.verdict
  }
  setNode(cluster, 'n3', undefined, NOW)
  small.copy('n1', 'v', { held: 'the pool has no room for what is to be stored', isPoolFull: true, heldRequests: 3 })
  small.copy('n2', 'v', { failure: 'EIO' })
  const room = 'n1 has no room in pool default: delete or trim data, or add a disk there (`holdfast disk add`)'
  t.match(next(), { health: 'suspended', next: room })
  setVolume(cluster, 'old', deleted(cluster.volumes.get('old')!.record!, 0), 'r2')
  small.copy('n1', 'v', { usedBytes: GIB })
  const hint = 'the trash holds 6.0 GiB of it in 1 volume(s): `holdfast volume purge` frees them now'
  t.match(next(), { next: `${room}; ${hint}` })
  const { problems } = statusPage(cluster, NOW)
  t.match(problems.find(({ what }) => what === 'volume v'), { next: `${room}; ${hint}` })
  small.copy('n1', 'v', { held: '', isPoolFull: false, heldRequests: 0 })
  t.notMatch(next()?.next, /no room/)
  t.end()
})

t.test('T4: what the trash holds of a pool', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {} })
  small.volume('v', ['n1', 'n2'])
  t.equal(trashHint(small.cluster, 'default'), '')
  small.copy('n1', 'v', { usedBytes: 3 * GIB })
  setVolume(small.cluster, 'v', deleted(small.cluster.volumes.get('v')!.record!, 0), 'r2')
  const hint = 'the trash holds 6.0 GiB of it in 1 volume(s): `holdfast volume purge` frees them now'
  t.equal(trashHint(small.cluster, 'default'), hint)
  t.equal(trashHint(small.cluster, 'other'), '')
  t.end()
})
