/** Risk: copies that one fault takes together, or on a node that should get none; a refusal that does not say why. */
import t from 'tap'
import { heard, setDiskWish, setNode, setNodeStatus, setNodeWish } from '../../../engine/control/cluster.ts'
import { placeCopies } from '../../../engine/control/placement.ts'
import { GIB } from '../../../engine/units.ts'
import { NOW, recordOf, SmallCluster } from './small-cluster.ts'
import type { SmallNode } from './small-cluster.ts'

function place(
  small: SmallCluster,
  count: number,
  options: { staying?: string[]; taken?: string[]; record?: ReturnType<typeof recordOf>; busy?: string[] } = {},
) {
  const { staying = [], taken = staying, record = recordOf('v'), busy = [] } = options
  const isBusy = (node: string) => busy.includes(node)
  const request = { record, usedBytes: 0, count, staying, taken: new Set(taken), isBusy }
  return placeCopies(small.cluster, request, NOW)
}

const zoned: Record<string, SmallNode> = { n1: { zone: 'a' }, n2: { zone: 'a' }, n3: { zone: 'b' }, n4: { zone: 'b' } }

t.test('P2: zones first, then fullness, then names', (t) => {
  t.same(place(new SmallCluster(zoned), 2).nodes, ['n1', 'n3'])
  t.same(place(new SmallCluster(zoned), 4).nodes, ['n1', 'n3', 'n2', 'n4'], 'zones are shared when they must be')
  t.same(place(new SmallCluster(zoned), 1, { staying: ['n1'] }).nodes, ['n3'])
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('w', ['n1', 'n2'])
  t.same(place(small, 3).nodes, ['n3', 'n1', 'n2'], 'the least full one first')
  t.same(place(new SmallCluster(zoned), 1, { staying: ['n1'], busy: ['n3'] }).nodes, ['n4'], 'who is not busy')
  const busy = ['n3', 'n4']
  t.same(place(new SmallCluster(zoned), 1, { staying: ['n1'], busy }).nodes, ['n3'], 'no worse zone for it')
  t.end()
})

t.test('P3: the first node gets the first copy, whatever its fullness', (t) => {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  small.volume('w', ['n3', 'n2'])
  t.same(place(small, 2, { record: recordOf('v', { firstNode: 'n3' }) }).nodes, ['n3', 'n1'])
  t.same(place(small, 1, { record: recordOf('v', { firstNode: 'n9' }) }).nodes, ['n1'], 'as if it were not named')
  t.end()
})

t.test('P1, N3: who is out, and why', (t) => {
  const small = new SmallCluster({
    n1: {}, n2: {}, n3: {}, n4: { pool: 'other' }, n5: { tags: ['hdd'] }, n6: { freeBytes: 5 * GIB }, n7: {}, n8: {},
    n9: { capacityBytes: 4 * GIB },
  })
  const { cluster } = small
  setNodeWish(cluster, 'n1', { isCordoned: true, isDraining: false })
  setNodeWish(cluster, 'n2', { isCordoned: false, isDraining: true })
  small.speak('n3', { isOpen: false })
  cluster.nodes.get('n7')!.heardAtMs = NOW - 8_000
  setDiskWish(cluster, 'n8.d', { isEvicted: true })
  const record = recordOf('v', {}, { diskTags: ['hdd'] })
  const { nodes, why, excluded } = place(small, 2, { record: recordOf('v'), taken: ['n5'] })
  t.same(nodes, [])
  t.same(Object.fromEntries(excluded), {
    n1: 'is cordoned',
    n2: 'is being drained',
    n3: 'is recovering its disks',
    n4: 'has no usable disk in pool default',
    n5: 'has a copy of it',
    n6: 'would have 5.0 GiB free, less than 10 % of 100.0 GiB',
    n7: 'is suspect: silent for 8 s',
    n8: 'has no usable disk in pool default',
    n9: 'has promised 0 KiB already, with it more than 200 % of 4.0 GiB',
  })
  t.match(why, /^2 more nodes are needed: n1 is cordoned; n2 is being drained; .*; and 3 more of 9 nodes$/)
  t.same(place(small, 1, { record }).nodes, ['n5'], 'tags')
  cluster.nodes.get('n7')!.heardAtMs = NOW
  cluster.nodes.get('n7')!.backAtMs = NOW - 9_000
  t.equal(place(small, 1).excluded.get('n7'), 'came back 9 s ago')
  t.end()
})

t.test('N3: a node that was not there before did not come back', (t) => {
  const whyNot = (registeredAtMs: number, toldAtMs: number, isBeatFirst = false): string | undefined => {
    const small = new SmallCluster({ n1: {} })
    const { cluster } = small
    if (isBeatFirst) heard(cluster, 'n2', toldAtMs - 1)
    const record = (): void => setNode(cluster, 'n2', { name: 'n2', zone: '' }, registeredAtMs)
    if (registeredAtMs <= toldAtMs) record()
    const { instance, isOpen, disks } = cluster.nodes.get('n1')!.said!
    setNodeStatus(cluster, { node: 'n2', instance, isOpen, disks, copies: [] }, toldAtMs)
    if (registeredAtMs > toldAtMs) record()
    return place(small, 3).excluded.get('n2')
  }
  t.equal(whyNot(NOW - 4_000, NOW), undefined)
  t.equal(whyNot(NOW, NOW - 1_000), undefined, 'it told before its record was read')
  t.equal(whyNot(NOW, NOW - 1_000, true), undefined, 'its heart beat before')
  t.equal(whyNot(NOW - 9_000, NOW), 'came back 0 s ago', 'silent for long since it registered')
  t.end()
})
