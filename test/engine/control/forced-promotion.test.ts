/** Risk: a copy is made to lead that must not, or the operator is not told what it costs (SPEC.md section 11). */
import t from 'tap'
import { copyFacts } from '../../../engine/control/copy-facts.ts'
import { judgeForcedPromotion } from '../../../engine/control/forced-promotion.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import { healthOf } from '../../../engine/control/health.ts'
import type { CopyStatus } from '../../../engine/control/node-status.ts'
import type { NodeId } from '../../../engine/replication/configuration.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { NOW, SmallCluster } from './small-cluster.ts'

const LATER = NOW + 60_000

/** n1 leads and n2 is in sync unless said otherwise, n3 is not; n1 is dead. */
function cluster({ inSync = ['n1'], n2 = {}, spec = {} }: {
  inSync?: NodeId[]
  n2?: Partial<CopyStatus>
  spec?: Partial<VolumeSpec>
} = {}): SmallCluster {
  const small = new SmallCluster({ n1: {}, n2: {}, n3: {} })
  const minInSync = 1
  small.volume('v', ['n1', 'n2', 'n3'], { inSync, minInSync }, spec)
  small.copy('n1', 'v', { seq: 120, commitSeq: 110 })
  small.later(LATER, ['n1'])
  for (const node of ['n2', 'n3']) {
    small.copy(node, 'v', { hearsPrimary: false, seq: 100, commitSeq: 90, ...(node === 'n2' ? n2 : {}) }, LATER)
  }
  return small
}

function judge(small: SmallCluster, to: NodeId, nowMs = LATER) {
  const volume = small.cluster.volumes.get('v')!
  volume.verdict = { ...healthOf(volume, copyFacts(small.cluster, volume, nowMs)), next: '' }
  return judgeForcedPromotion(small.cluster, volume, to, nowMs)
}

t.test('W1: who may not lead', (t) => {
  const refused = (small: SmallCluster, to: NodeId, why: RegExp, nowMs = LATER) =>
    t.match(judge(small, to, nowMs), { isPossible: false, why }, String(why))
  const served = cluster()
  served.later(LATER)
  refused(served, 'n2', /n1 leads it and serves/)
  served.copy('n1', 'v', { held: 'the pool is full' }, LATER)
  refused(served, 'n2', /n1 leads it, and waits: the pool is full/)
  refused(cluster(), 'n4', /n4 has no copy/)
  refused(cluster(), 'n1', /n1 has been silent for 60 s/)
  refused(cluster({ n2: { failure: 'a sync failed' } }), 'n2', /n2 failed: a sync failed/)
  refused(cluster({ n2: { isConsistent: false } }), 'n2', /no state the volume was ever in/)
  refused(cluster({ n2: { role: 'starting' } }), 'n2', /n2 is starting/)
  refused(cluster({ n2: { copyId: 'another' } }), 'n2', /n2 does not have its copy any more/)
  const { freshMs } = cluster().cluster.options
  refused(cluster(), 'n2', /n2 has not been heard just now/, LATER + freshMs + 1)
  t.end()
})

t.test('a volume whose only copy in sync is away says that there is a way', (t) => {
  const small = cluster()
  judge(small, 'n2')
  const { health, healthReason } = small.cluster.volumes.get('v')!.verdict!
  t.same({ health, healthReason }, {
    health: 'suspended',
    healthReason: 'its primary is not there: n1 has been silent for 60 s; no other copy has all of it',
  })
  planPass(newPlanner(small.cluster), LATER, 'nonce')
  t.match(small.cluster.volumes.get('v')!.verdict, { next: /^bring n1 back; .*promote --force/ })
  t.end()
})

t.test('W2: what it costs is said', (t) => {
  t.same(judge(cluster(), 'n2'), {
    isPossible: true,
    costs: [
      'n2 is not in sync: what was acknowledged since it left the set is lost',
      'other nodes told of at least 20 change(s) that it did not know of',
      'n1 may only be cut off and still serve: stop it first, what it takes from now on is lost',
      'what n1, n3 has is replaced by what n2 has',
      'who uses the volume gets errors until it connects anew: check it before that',
    ],
    endsSessions: true,
  })
  const inSync = ['n1', 'n2']
  const has = (small: SmallCluster, cost: string) => {
    const judged = judge(small, 'n2')
    t.ok(judged.isPossible && judged.costs.includes(cost), cost)
  }
  has(cluster({ inSync }), 'n2 is in sync, and has all that was acknowledged before now')
  const spec = { durability: 'writeback' as const }
  has(cluster({ inSync, spec, n2: { isWhole: false } }),
    'n2 lost its power: what was acknowledged and not flushed may be lost')
  const ends = (small: SmallCluster) => t.match(judge(small, 'n2'), { endsSessions: true })
  const goesOn = (small: SmallCluster) => t.match(judge(small, 'n2'), { endsSessions: false })
  goesOn(cluster({ inSync }))
  ends(cluster({ spec }))
  goesOn(cluster({ spec, n2: { isWhole: false } }))
  has(cluster({ inSync, n2: { lostSlices: 2 } }), '2 slice(s) of it went with a disk, and cannot be read any more')
  t.end()
})
