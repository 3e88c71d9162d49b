/** The life of a volume under one controller, and what a controller does when nodes die and come back. */
import t from 'tap'
import { BEAT_PREFIX } from '../../../cluster/membership/beat-body.ts'
import { digestOfBeats } from '../../../cluster/membership/beat-list.ts'
import type { NodeCalls } from '../../../cluster/reconcile/node-calls.ts'
import { moveKey, encodeMove } from '../../../cluster/store/volume-moves.ts'
import { encodeNodeWish, nodeWishKey } from '../../../cluster/store/node-wishes.ts'
import { decodeVolume, encodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { listAll } from '../../conformance/cluster-store/calls-suite.ts'
import { ControlCluster } from './control-cluster.ts'

const ID = 'a'.repeat(32)

const isHealthy = (cluster: ControlCluster) => () => cluster.health(ID) === 'healthy'

t.test('a volume is made on three nodes, replaced after a death, and purged', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3', 'n4'])
  await cluster.createVolume(ID, 2)
  await cluster.until('three copies', isHealthy(cluster))
  const first = (await cluster.config(ID))!
  t.equal(Object.keys(first.members).length, 3)
  t.same([...first.inSync].sort(), Object.keys(first.members).sort())
  t.equal(first.minInSync, 2)
  t.ok(first.attach.generation > 0, 'sessions of an open volume are under a generation that is not broken')
  t.equal(cluster.log.filter(({ action }) => action.type === 'create-config').length, 1)

  // The controller goes on, so another node dies.
  const [controller] = cluster.elected()
  const dead = Object.keys(first.members).find((name) => name !== controller!.name)!
  cluster.kill(dead)
  await cluster.until('it is missed', () => cluster.health(ID) === 'degraded')
  await cluster.until('it is no member', async () => (await cluster.config(ID))!.members[dead] === undefined)
  await cluster.until('its copy is replaced', isHealthy(cluster))
  const second = (await cluster.config(ID))!
  t.equal(second.inSync.length, 3)

  await cluster.restart(dead)
  await cluster.until('what it had is erased', () => cluster.node(dead).fake.copies.size === 0)

  const entry = (await cluster.entry(volumeKey(ID)))!
  const record = decodeVolume(ID, entry.value)!
  const trash = { deletedAtAgeMs: 0, keepMs: 0, isPurging: false }
  await cluster.put(volumeKey(ID), encodeVolume({ ...record, trash }))
  await cluster.until('nothing is left', async () => (await cluster.entry(volumeKey(ID))) === undefined)
  t.equal(await cluster.config(ID), undefined)
  for (const { fake } of cluster.nodes.values()) t.equal(fake.copies.size, 0)
})

t.test('a drained node is emptied; copies and leads move as they are told', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  await cluster.createVolume(ID, 1)
  await cluster.until('two copies', isHealthy(cluster))
  const { primary, members } = (await cluster.config(ID))!
  const other = Object.keys(members).find((name) => name !== primary)!
  await cluster.put(moveKey(ID), encodeMove({ what: 'primary', to: other, from: '' }))
  await cluster.until('it leads', async () => (await cluster.config(ID))!.primary === other)
  await cluster.until('the move is over', async () => (await cluster.entry(moveKey(ID))) === undefined)

  await cluster.put(nodeWishKey(other), encodeNodeWish({ isCordoned: false, isDraining: true }))
  await cluster.until('nothing is on it', () => cluster.node(other).fake.copies.size === 0)
  await cluster.until('all is well', isHealthy(cluster))
  const after = (await cluster.config(ID))!
  t.notOk(after.members[other])
  t.equal(after.inSync.length, 2)
})

t.test('a node that dies while a copy is made on it is replaced by another', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3', 'n4'])
  let asked = ''
  cluster.wrapCalls = (calls, _from, to) => ({
    ...calls,
    makeCopy: (order) => {
      // The first other node that is asked dies having made it, and before it can say so.
      if (asked !== '') return calls.makeCopy(order)
      asked = to
      return calls.makeCopy(order).finally(() => cluster.kill(to))
    },
  })
  await cluster.until('one is elected', () => cluster.elected().length === 1)
  await cluster.createVolume(ID, 2)
  await cluster.until('three copies elsewhere', isHealthy(cluster))
  t.notOk((await cluster.config(ID))!.members[asked])
  await cluster.restart(asked)
  await cluster.until('the copy nobody used is erased', () => cluster.node(asked).fake.copies.size === 0)
  t.equal((await cluster.config(ID))!.inSync.length, 3)
})

t.test('each report that is taken is answered with what beats tell, unless they cannot be listed', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2'])
  const answered: string[] = []
  cluster.wrapCalls = (calls: NodeCalls) => ({
    ...calls,
    report: async (report) => {
      const answer = await calls.report(report)
      if (answer.isTaken) answered.push(answer.beats)
      return answer
    },
  })
  await cluster.until('it is told', () => (answered.at(-1) ?? '') !== '')
  const digest = async () => digestOfBeats((await listAll(cluster.store, BEAT_PREFIX)).entries)
  await cluster.round()
  t.equal(answered.at(-1), await digest(), 'of beats that have moved since')
  const former = answered.at(-1)
  await cluster.addNode('n3')
  await cluster.until('it is another one', () => answered.at(-1) !== former)
  t.equal(answered.at(-1), await digest())

  const { controller } = cluster.elected()[0]!.control
  const error = new HoldfastError('shutting-down', {})
  const { beats } = controller['options']
  beats.read = async () => ({ askedAtMs: cluster.nowMs, answer: { ok: false, error } })
  await cluster.until('nothing is said', () => answered.at(-1) === '')
})
