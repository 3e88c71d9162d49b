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

t.test('what is free changes with each report, and the copies of the node are not counted anew for it', async (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('a', ['n1', 'n2', 'n3'])
  const node = small.cluster.nodes.get('n1')!
  const { classes, said } = node
  const [committedBytes, [disk]] = [classes[0]!.committedBytes, said!.disks]
  t.ok(committedBytes > 0)
  small.speak('n1', { disks: [{ ...disk!, freeBytes: disk!.freeBytes - 4096 }] })
  t.equal(node.classes, classes, 'they are those that were counted')
  t.match(classes, [{ committedBytes, freeBytes: disk!.freeBytes - 4096 }])
  const other = { ...disk!, uuid: 'n1.e', freeBytes: 7 * 4096, tags: ['ssd'] }
  small.speak('n1', { disks: [disk!, other] })
  t.not(node.classes, classes, 'another disk changes where they lie')
  t.equal(node.classes.reduce((sum, one) => sum + one.committedBytes, 0), committedBytes)
  small.speak('n1', { disks: [disk!, { ...other, freeBytes: 6 * 4096 }] })
  t.match(node.classes, [{ freeBytes: disk!.freeBytes }, { freeBytes: 6 * 4096 }], 'each its own')
})
