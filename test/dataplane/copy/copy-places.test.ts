/** Which worker of a node is spoken to, and whose beacons count, while nodes come, go and change their workers. */
import t from 'tap'
import { CopyPlaces } from '../../../dataplane/copy/copy-places.ts'

const [V, W] = ['a'.repeat(32), 'b'.repeat(32)]
const workers = (node: string, count: number) => Array.from({ length: count }, (_, worker) => ({ node, worker }))

t.test('all workers are spoken to until the copy has spoken, and again when another instance is there', async (t) => {
  const places = new CopyPlaces()
  let changes = 0
  places.onChanged = () => void changes++
  t.same(places.workersOf('n2', V), [0], 'one that has told nothing has one')
  places.setPeers(workers('n2', 3))
  t.same(places.workersOf('n2', V), [0, 1, 2])
  t.equal(changes, 1)
  places.setPeers(workers('n2', 3))
  t.equal(changes, 1, 'nothing is new')

  places.connected('n2', 'i1')
  places.heard(V, { node: 'n2', worker: 2, instance: 'i1' })
  t.same(places.workersOf('n2', V), [2])
  t.same(places.workersOf('n2', W), [0, 1, 2], 'of another volume nothing is known')
  t.equal(changes, 3)
  places.heard(V, { node: 'n2', worker: 2, instance: 'i1' })
  t.equal(changes, 3)

  places.connected('n2', 'i2')
  t.same(places.workersOf('n2', V), [0, 1, 2], 'its daemon started again, perhaps with other workers')
  places.setPeers(workers('n2', 2))
  t.same([...places.everyWorkerOf('n2', V)], [0, 1, 2], 'what must not be missed is told where it was, too')
  places.heard(V, { node: 'n2', worker: 1, instance: 'i2' })
  t.same(places.workersOf('n2', V), [1])
  places.forget(V)
  t.same(places.workersOf('n2', V), [0, 1])
})

t.test('a beacon binds who may be meant, and an acknowledgement counts for who was heard from there', async (t) => {
  const places = new CopyPlaces()
  places.setPeers(workers('n2', 2))
  const from = (worker: number, instance: string) => ({ node: 'n2', worker, instance })
  t.notOk(places.isElsewhere(V, from(0, 'i1')), 'who knows nothing is bound by all')
  t.notOk(places.isAt(V, from(0, 'i1')), 'and holds nobody to anything')
  places.heard(V, from(1, 'i1'))
  t.ok(places.isElsewhere(V, from(0, 'i1')))
  t.notOk(places.isElsewhere(V, from(1, 'i1')))
  t.notOk(places.isElsewhere(V, from(0, 'i2')), 'another instance may have it there')
  t.ok(places.isAt(V, from(1, 'i1')))
  t.notOk(places.isAt(V, from(0, 'i1')))
})
