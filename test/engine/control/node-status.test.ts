/** What a controller takes in of a node's words. Risk: a copy that goes while another one comes is not missed. */
import t from 'tap'
import { SmallCluster } from './small-cluster.ts'

t.test('of all that a node says only what changed is looked at again', async (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  for (const id of ['a', 'b', 'c']) small.volume(id, ['n1', 'n2', 'n3'])
  const { cluster } = small
  const changed = (): string[] => {
    const ids = [...cluster.changed].sort()
    cluster.changed.clear()
    return ids
  }
  changed()
  small.speak('n1')
  t.same(changed(), [], 'it says the same again')
  small.copy('n1', 'b', { isConsistent: false })
  t.same(changed(), ['b'])
  small.copy('n1', 'c', undefined)
  t.same(changed(), ['c'])
  t.notOk(cluster.volumes.get('c')!.reportedOn.has('n1'))

  const copies = [...cluster.nodes.get('n1')!.copies.values()]
  const other = { ...copies.find(({ volumeId }) => volumeId === 'a')!, volumeId: 'c' }
  small.speak('n1', { copies: [...copies.filter(({ volumeId }) => volumeId !== 'a'), other] })
  t.same(changed(), ['a', 'c'], 'one went, another one came')
  t.same([...cluster.nodes.get('n1')!.copies.keys()].sort(), ['b', 'c'])
  t.notOk(cluster.volumes.get('a')!.reportedOn.has('n1'))
  t.ok(cluster.volumes.get('c')!.reportedOn.has('n1'))
})
