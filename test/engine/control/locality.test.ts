/** Risk: a copy follows nobody, or nobody's wish; what goes instead is the wrong one, or goes too early. */
import t from 'tap'
import type { Action } from '../../../engine/control/actions.ts'
import { isLocal } from '../../../engine/control/attach-wish.ts'
import { setMove, setNodeWish, setRebuilds } from '../../../engine/control/cluster.ts'
import { usedAt } from '../../../engine/control/locality.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { Attach, NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import { GIB } from '../../../engine/units.ts'
import { NOW, SmallCluster } from './small-cluster.ts'
import type { SmallNode } from './small-cluster.ts'

const at = (...nodes: NodeId[]): Attach => ({
  generation: 7, mode: 'single', holders: Object.fromEntries(nodes.map((node, index) => [node, 7 - index])),
})

class Near {
  readonly small: SmallCluster
  readonly plan: (nowMs?: number) => Action[]

  constructor(nodes: Record<NodeId, SmallNode>) {
    this.small = new SmallCluster(nodes)
    const planner = newPlanner(this.small.cluster)
    this.plan = (nowMs = NOW) => planPass(planner, nowMs, 'nonce').filter(({ type }) => type !== 'change-age')
  }

  volume(nodes: NodeId[], change: Partial<VolumeConfig>, record: Partial<VolumeRecord> = {}, replicas = 1): this {
    this.small.volume('v', nodes, { minInSync: 1, ...change }, { replicas })
    this.small.record('v', { dataLocality: 'best-effort', minInSync: 1, ...record }, { replicas })
    return this
  }

  get next(): string {
    return this.small.cluster.volumes.get('v')!.verdict!.next
  }
}

const entries = (actions: Action[]) =>
  actions.flatMap((action) => (action.type === 'change-rebuilds' ? action.rebuilds : []))

const FOUR = { n1: {}, n2: {}, n3: {}, n4: {} }

t.test('U1: where it is used', (t) => {
  const used = (attach: Attach, record: Partial<VolumeRecord> = {}) => {
    const near = new Near(FOUR).volume(['n1', 'n2'], { attach }, record)
    return usedAt(near.small.cluster.volumes.get('v')!)
  }
  t.equal(used(at('n4')), 'n4')
  t.equal(used(at('n4'), { dataLocality: 'strict' }), 'n4')
  t.equal(used(at()), undefined)
  t.equal(used({ ...at('n3', 'n4'), mode: 'shared' }), undefined)
  t.equal(used({ ...at('n4'), mode: 'read-only' }), undefined)
  t.equal(used(at('n4'), { trash: { deletedAtAgeMs: 0, keepMs: 1, isPurging: false } }), undefined)
  t.equal(used(at('n4'), { moved: { from: 'n4', to: 'n1' } }), undefined, 'an operator took it away from there')
  t.equal(used(at('n4'), { moved: { from: 'n1', to: 'n4' } }), 'n4')
  const small = new SmallCluster(FOUR)
  small.volume('v', ['n1', 'n2'], { attach: at('n4') })
  t.equal(usedAt(small.cluster.volumes.get('v')!), undefined, 'disabled')
  t.end()
})

t.test('U2 to U4: it is made there, the lead goes there, the other one goes', (t) => {
  const near = new Near(FOUR).volume(['n1', 'n2'], { attach: at('n4') })
  const { small, plan } = near
  t.match(entries(plan()), [{ volumeId: 'v', to: 'n4', from: '', why: 'move' }])
  setRebuilds(small.cluster, [{ volumeId: 'v', to: 'n4', from: '', why: 'move' }], 't1')
  t.match(plan(), [{ type: 'make-copy', node: 'n4' }])
  near.volume(['n1', 'n2', 'n4'], { attach: at('n4') })
  const [handOver] = plan().filter(({ type }) => type === 'hand-over' || type === 'change-config')
  t.match(handOver, { type: 'hand-over', node: 'n1', to: 'n4' }, 'nothing goes before')
  setRebuilds(small.cluster, [], 't2')
  near.volume(['n4', 'n1', 'n2'], { attach: at('n4'), primary: 'n4' })
  t.match(plan().filter(({ type }) => type === 'change-config'), [{ config: { inSync: ['n4', 'n2'] } }])
  near.volume(['n4', 'n2'], { attach: at('n4') })
  small.copy('n1', 'v', undefined)
  t.same(plan(), [])
  t.equal(small.cluster.open.size, 0, 'it is at rest')
  t.end()
})

t.test('U2: of the only copy too', (t) => {
  const near = new Near(FOUR).volume(['n1'], { attach: at('n4') }, {}, 0)
  t.match(entries(near.plan()), [{ to: 'n4' }])
  near.volume(['n1', 'n4'], { attach: at('n4') }, {}, 0)
  t.match(near.plan(), [{ type: 'hand-over', node: 'n1', to: 'n4' }])
  t.end()
})

t.test('U1: the only copy that an operator moves stays where it went', (t) => {
  const near = new Near(FOUR).volume(['n1', 'n3'], { attach: at('n1') }, {}, 0)
  const { cluster } = near.small
  const move = { what: 'copy', to: 'n3', from: '' } as const
  setMove(cluster, 'v', move, 'm1')
  t.match(near.plan(), [{ type: 'hand-over', node: 'n1', to: 'n3' }], 'the lead does not go to the user')
  near.volume(['n3'], { attach: at('n1') }, {}, 0)
  near.small.copy('n1', 'v', undefined)
  const [noted] = near.plan()
  t.match(noted, { type: 'change-volume', record: { moved: { from: 'n1', to: 'n3' } } })
  near.volume(['n3'], { attach: at('n1') }, { moved: { from: 'n1', to: 'n3' } }, 0)
  t.match(near.plan(), [{ type: 'delete-move' }], 'once')
  setMove(cluster, 'v', undefined, '')
  t.same(near.plan(), [], 'it does not follow back')
  t.end()
})

t.test('U2: an operator wants the lead of the only copy elsewhere', (t) => {
  const near = new Near(FOUR).volume(['n1'], { attach: at('n3') }, {}, 0)
  setMove(near.small.cluster, 'v', { what: 'primary', to: 'n2', from: '' }, 'm1')
  t.same(near.plan(), [])
  near.volume(['n1', 'n3'], { attach: at('n3') }, {}, 0)
  t.same(near.plan(), [], 'wished too late: neither goes')
  t.end()
})

t.test('U3: an operator moves another one: the lead goes to the user, who keeps his', (t) => {
  const near = new Near(FOUR).volume(['n1', 'n2', 'n3'], { attach: at('n2') })
  setMove(near.small.cluster, 'v', { what: 'copy', to: 'n3', from: '' }, 'm1')
  t.match(near.plan(), [{ type: 'hand-over', node: 'n1', to: 'n2' }])
  t.end()
})

t.test('U4: who shares a zone goes, then who is far', (t) => {
  const zones = (...names: string[]) => Object.fromEntries(names.map((zone, index) => [`n${index + 1}`, { zone }]))
  const goes = (nodes: Record<NodeId, SmallNode>, members: NodeId[], record: Partial<VolumeRecord> = {}) => {
    const near = new Near(nodes).volume(members, { attach: at(members[0]!) }, record, members.length - 2)
    const [change] = near.plan().filter(({ type }) => type === 'change-config')
    if (change?.type !== 'change-config') return undefined
    return members.find((node) => !change.config.inSync.includes(node))
  }
  t.equal(goes(zones('a', 'b', 'a'), ['n1', 'n2', 'n3']), 'n3', 'it shares the zone of the user')
  t.equal(goes(zones('a', 'b', 'a'), ['n1', 'n2', 'n3'], { firstNode: 'n3' }), 'n3')
  t.equal(goes(zones('a', 'b', 'c', 'b'), ['n1', 'n2', 'n3', 'n4']), 'n2')
  t.equal(goes(zones('a', 'b', 'c'), ['n1', 'n2', 'n3'], { moved: { from: '', to: 'n2' } }), 'n3', 'one was put there')
  t.end()
})

t.test('U2: it waits for nothing, and nothing for it', (t) => {
  const full = { n1: {}, n2: {}, n3: {}, n4: { capacityBytes: 4 * GIB } }
  const near = new Near(full).volume(['n1', 'n2'], { attach: at('n4') })
  t.same(near.plan(), [])
  t.match(near.next, /no copy goes to where it is used: n4 has promised/)
  const noDisk = new Near({ ...FOUR, n4: { pool: 'other' } }).volume(['n1', 'n2'], { attach: at('n4') })
  t.same(noDisk.plan(), [])
  t.equal(noDisk.next, 'no copy goes to where it is used: n4 has no usable disk in pool default')
  t.ok(noDisk.small.cluster.open.has('v'), 'it is looked at again')
  for (const id of ['a', 'b', 'c', 'd']) noDisk.small.volume(id, ['n1', 'n2'], {}, { sizeBytes: 20 * GIB })
  t.match(entries(noDisk.plan()), [{ why: 'rebalance' }])
  const unknown = new Near(FOUR).volume(['n1', 'n2'], { attach: at('n9') })
  t.same(unknown.plan(), [])
  t.match(unknown.next, /n9 is no node of this cluster/)
  t.end()
})

t.test('U2: an operator is first, and what is lacking', (t) => {
  const moved = new Near(FOUR).volume(['n1', 'n2'], { attach: at('n4') })
  setMove(moved.small.cluster, 'v', { what: 'copy', to: 'n3', from: 'n2' }, 'm1')
  t.match(entries(moved.plan()), [{ to: 'n3' }])
  const zoned = { n1: { zone: 'a' }, n2: { zone: 'b' }, n3: { zone: 'b' }, n4: { zone: 'a' } }
  const lacking = (user: NodeId) => entries(new Near(zoned).volume(['n1'], { attach: at(user) }).plan())
  t.match(lacking('n3'), [{ to: 'n3', why: 'add' }], 'rather than on n2')
  t.match(lacking('n4'), [{ to: 'n2', why: 'add' }], 'spreading comes first')
  t.end()
})

t.test('U5: the user moves on, or the pool is full', (t) => {
  const filling = (user: NodeId, copy = {}) => {
    const near = new Near(FOUR)
    const members = {
      n1: { copyId: 'v.n1', state: 'in-sync' as const }, n2: { copyId: 'v.n2', state: 'in-sync' as const },
      n4: { copyId: 'v.n4', state: 'catching-up' as const },
    }
    near.volume(['n1', 'n2'], { members, inSync: ['n1', 'n2'], attach: at(user) })
    near.small.copy('n4', 'v', { isConsistent: false, ...copy })
    setRebuilds(near.small.cluster, [{ volumeId: 'v', to: 'n4', from: '', why: 'move' }], 't1')
    return near
  }
  t.same(filling('n4').plan(), [], 'it is being filled')
  const gone = filling('n3').plan()
  t.same(entries(gone), [])
  t.match(gone.filter(({ type }) => type === 'change-rebuilds'), [{ rebuilds: [] }], 'its place in the budget is free')
  const [change] = gone.filter(({ type }) => type === 'change-config')
  t.ok(change?.type === 'change-config' && change.config.members.n4 === undefined, 'and its copy goes')

  const full = filling('n4', { isPoolFull: true })
  t.match(full.plan().filter(({ type }) => type === 'change-rebuilds'), [{ rebuilds: [] }])
  setRebuilds(full.small.cluster, [], 't2')
  full.volume(['n1', 'n2'], { attach: at('n4') })
  full.small.copy('n4', 'v', undefined)
  t.same(full.plan(), [], 'not again at once')
  t.match(full.next, /could not be filled where it is used, on n4/)
  const laterMs = NOW + full.small.cluster.options.replaceAfterMs
  full.small.later(laterMs)
  t.match(entries(full.plan(laterMs)), [{ to: 'n4' }])
  t.end()
})

t.test('U6: it is not rebalanced away from its user', (t) => {
  const rebalanced = (attach: Attach) => {
    const near = new Near({ n1: {}, n2: {}, n3: {} })
    for (const id of ['a', 'b', 'c', 'd']) {
      near.small.volume(id, ['n1', 'n2'], { attach }, { sizeBytes: 20 * GIB })
      near.small.record(id, { dataLocality: 'best-effort' }, { sizeBytes: 20 * GIB, replicas: 1 })
    }
    return entries(near.plan())
  }
  t.match(rebalanced(at()), [{ to: 'n3', from: 'n2' }])
  t.same(rebalanced(at('n2')), [])
  t.end()
})

t.test('U3: a drained user gets neither copy nor lead', (t) => {
  const near = new Near(FOUR).volume(['n1', 'n2', 'n4'], { attach: at('n4') })
  setNodeWish(near.small.cluster, 'n4', { isCordoned: false, isDraining: true })
  t.same(near.plan().map(({ type }) => type), ['change-config'])
  t.end()
})

t.test('A6: the lead follows nobody who has gone', (t) => {
  const near = new Near(FOUR).volume(['n1', 'n2'], { attach: at('n4') }, {}, 1)
  setMove(near.small.cluster, 'v', { what: 'primary', to: 'n2', from: '', isFollowing: true }, 'm1')
  const [ended] = near.plan().filter(({ type }) => type === 'delete-move')
  t.match(ended, { version: 'm1', why: 'whom it follows has gone' })
  setMove(near.small.cluster, 'v', { what: 'primary', to: 'n2', from: '' }, 'm2')
  t.notOk(near.plan().some(({ type }) => type === 'delete-move'), 'an operator follows nobody')
  t.end()
})

t.test('U7: where a copy is, or comes back', (t) => {
  const near = new Near(FOUR).volume(['n1', 'n2'], {})
  const config = near.small.cluster.volumes.get('v')!.config!
  t.same(['n1', 'n2', 'n3'].map((node) => isLocal(config, node)), [true, true, false])
  const as = (state: 'failed' | 'catching-up'): VolumeConfig =>
    ({ ...config, inSync: ['n1'], members: { ...config.members, n2: { copyId: 'x', state } } })
  t.notOk(isLocal(as('failed'), 'n2'))
  t.ok(isLocal(as('catching-up'), 'n2'))
  t.end()
})
