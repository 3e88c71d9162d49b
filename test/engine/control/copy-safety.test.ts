/** Risk: I23. Every way in which a copy must not be taken, one by one. */
import t from 'tap'
import { setConfig } from '../../../engine/control/cluster.ts'
import { copyFacts } from '../../../engine/control/copy-facts.ts'
import { whyNotErase, whyNotEvict, whyNotRemove } from '../../../engine/control/copy-safety.ts'
import { withEvicted, withMinInSync, withNewMember, withoutMember } from '../../../engine/control/member-change.ts'
import { statusPage } from '../../../engine/control/status-page.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

function three(durability: 'durable' | 'writeback' = 'durable') {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {}, n4: {} })
  small.volume('v', ['n1', 'n2', 'n3'], {}, { durability })
  return small
}

function evict(small: SmallCluster, node = 'n3', nowMs = NOW) {
  const volume = small.cluster.volumes.get('v')!
  return whyNotEvict(small.cluster, volume, copyFacts(small.cluster, volume, nowMs), node, nowMs)
}

t.test('E1: while the primary serves under this very epoch, and says so', (t) => {
  t.equal(evict(three()), undefined)
  t.equal(evict(three(), 'n1'), 'n1 leads it')
  for (const role of ['reconciling', 'handing-over', 'starting', 'replica'] as const) {
    const small = three()
    small.copy('n1', 'v', { role })
    t.match(evict(small), 'does not serve yet')
  }
  const old = three()
  old.copy('n1', 'v', { epoch: 7 })
  t.match(evict(old), 'is at epoch 7, not 1')
  const silent = three()
  silent.later(NOW + 6_000, ['n1'])
  t.match(evict(silent, 'n3', NOW + 6_000), 'has not spoken for a while')
  silent.later(NOW + 20_000, ['n1'])
  t.match(evict(silent, 'n3', NOW + 20_000), 'is not heard')
  for (const change of [{ lostSlices: 1 }, { isConsistent: false }, { failure: 'a write failed' }]) {
    const small = three()
    small.copy('n1', 'v', change)
    t.match(evict(small), 'lacks part of its copy')
  }
  const other = three()
  other.copy('n1', 'v', { copyId: 'another' })
  t.match(evict(other), 'is not heard')
  t.end()
})

t.test('E1: not below minInSync', (t) => {
  const small = three()
  setConfig(small.cluster, 'v', { ...small.cluster.volumes.get('v')!.config!, minInSync: 3 }, 'c2')
  t.match(evict(small), '3 copies are required')
  const { config } = small.cluster.volumes.get('v')!
  t.equal(withEvicted(config!, 'n3', ''), undefined)
  t.end()
})

t.test('E1: in writeback somebody whole is left', (t) => {
  const small = three('writeback')
  t.equal(evict(small), undefined)
  small.copy('n1', 'v', { isWhole: false })
  t.equal(evict(small), undefined, 'n2 is')
  small.copy('n2', 'v', { isWhole: false })
  t.match(evict(small), 'has all that it acknowledged')
  small.copy('n3', 'v', { isWhole: false })
  t.equal(evict(small), undefined, 'it is not whole itself')
  small.copy('n1', 'v', { isWhole: false }, NOW + 20_000)
  small.copy('n2', 'v', { isWhole: false }, NOW + 20_000)
  t.match(evict(small, 'n3', NOW + 20_000), 'has all that it acknowledged', 'who is down may be whole')
  t.end()
})

t.test('E2: who is not in the set is removed under the same conditions', (t) => {
  const small = three()
  const evicted = withEvicted(small.cluster.volumes.get('v')!.config!, 'n3', '')!
  t.match(evicted, { epoch: 2, inSync: ['n1', 'n2'], members: { n3: { state: 'failed' } } })
  t.equal(withoutMember(small.cluster.volumes.get('v')!.config!, 'n3', ''), undefined, 'not before')
  setConfig(small.cluster, 'v', evicted, 'c2')
  const remove = () => {
    const volume = small.cluster.volumes.get('v')!
    return whyNotRemove(small.cluster, volume, copyFacts(small.cluster, volume, NOW), 'n3', NOW)
  }
  t.match(remove(), 'is at epoch 1, not 2')
  small.copy('n1', 'v', { epoch: 2 })
  t.equal(remove(), undefined)
  t.same(Object.keys(withoutMember(evicted, 'n3', '')!.members), ['n1', 'n2'])
  t.equal(withoutMember(evicted, 'n3', '')!.epoch, 2)
  t.end()
})

t.test('E3: erased is who is no member, or purged, and of an unknown volume nobody', (t) => {
  const small = three()
  small.copy('n4', 'v', { copyId: 'old' })
  const erase = (copyId: string) => {
    const volume = small.cluster.volumes.get('v')!
    const facts = volume.config === undefined ? [] : copyFacts(small.cluster, volume, NOW)
    return whyNotErase(small.cluster, volume, facts, copyId, NOW)
  }
  t.equal(erase('old'), undefined)
  t.equal(erase('v.n2'), 'it is a member')
  small.copy('n1', 'v', { role: 'reconciling' })
  t.match(erase('old'), 'does not serve yet')
  small.record('v', { trash: { deletedAtAgeMs: 0, keepMs: 0, isPurging: true } })
  t.equal(erase('v.n2'), undefined)
  small.cluster.volumes.get('v')!.record = undefined
  t.equal(erase('old'), 'nothing is known of its volume')
  small.record('v')
  small.cluster.volumes.get('v')!.config = undefined
  t.match(erase('old'), 'has no configuration')
  t.end()
})

t.test('V2, V5: members and minInSync', (t) => {
  const { config } = three().cluster.volumes.get('v')!
  const added = withNewMember(config!, 'n4', { copyId: 'x', isVirgin: true }, '')!
  t.same(added.members.n4, { copyId: 'x', state: 'catching-up' })
  t.equal(withNewMember(config!, 'n4', { copyId: 'x', isVirgin: false }, '')!.members.n4!.state, 'needs-full')
  t.equal(withNewMember(config!, 'n2', { copyId: 'x', isVirgin: true }, ''), undefined)
  t.equal(withMinInSync(config!, 3, '').minInSync, 3)
  t.throws(() => withMinInSync(config!, 4, ''), /V5/)
  t.end()
})

t.test('E5: who is asked for a block stays, in the set or not, until its node is none any more', (t) => {
  const small = three()
  small.copy('n2', 'v', { awaits: ['n3'] })
  t.match(evict(small), 'n3 may have block(s) that n2 cannot read')
  t.equal(evict(small, 'n2'), undefined, 'nobody asks that one')
  small.copy('n1', 'v', { awaits: ['n3'], epoch: 2 })
  setConfig(small.cluster, 'v', withEvicted(small.cluster.volumes.get('v')!.config!, 'n3', '')!, 'c2')
  const remove = () => {
    const volume = small.cluster.volumes.get('v')!
    return whyNotRemove(small.cluster, volume, copyFacts(small.cluster, volume, NOW), 'n3', NOW)
  }
  t.match(remove(), 'n3 may have block(s) that n1 and n2 cannot read')
  t.match(statusPage(small.cluster, NOW).problems.filter(({ why }) => why.includes('damaged')), [], 'it answers soon')
  small.later(NOW + 20_000, ['n3'])
  small.copy('n1', 'v', { awaits: ['n3'], epoch: 2 }, NOW + 20_000)
  const [problem] = statusPage(small.cluster, NOW + 20_000).problems.filter(({ why }) => why.includes('damaged'))
  t.match(problem, { why: /node n3 may have, which is down/, next: /bring n3 back; .*`holdfast node rm n3`/ })
  small.copy('n3', 'v', { failure: 'a write failed' })
  t.equal(remove(), undefined, 'of a copy that failed nothing is read')
  small.copy('n3', 'v', { failure: '' })
  t.match(remove(), 'n3 may have block(s)')
  small.cluster.nodes.get('n3')!.record = undefined
  t.equal(remove(), undefined, 'its node was removed')
  t.end()
})
