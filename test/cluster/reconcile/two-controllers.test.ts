/**
 * Two nodes that believe they are elected at the same time, and one that stood still with an action under way: whatever
 * they plan, the store and the nodes let one of them through (engine/control/SPEC.md R2 to R4).
 */
import t from 'tap'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { REBUILDS_KEY } from '../../../cluster/store/rebuild-records.ts'
import { CONFIG_PREFIX } from '../../../cluster/store/volume-configs.ts'
import { ControlCluster } from './control-cluster.ts'
import type { TestNode } from './control-cluster.ts'

const ID = 'a'.repeat(32)
const IDS = ['b', 'c', 'd'].map((digit) => digit.repeat(32))

/** A point that is passed when the test says so. */
class Gate {
  isReached = false
  open = () => {}
  private readonly opened = new Promise<void>((resolve) => (this.open = resolve))

  pass(): Promise<void> {
    this.isReached = true
    return this.opened
  }
}

async function electedNode(cluster: ControlCluster): Promise<TestNode> {
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  return cluster.elected()[0]!
}

t.test('two plan the same volumes; each is made once', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3', 'n4'])
  const first = await electedNode(cluster)
  cluster.stall(first.name)
  await cluster.until('another one is elected', () => cluster.elected().length === 1)
  t.ok(first.control.election.isElected(), 'the one that stood still believes it is')
  const second = await electedNode(cluster)
  t.not(second.name, first.name)
  for (const id of IDS) await cluster.createVolume(id, 2)
  await cluster.until('all are healthy', async () => {
    await first.control.agentTurn()
    await Promise.all([first.control.controller.turn(), second.control.controller.turn()])
    await first.control.controller.settled()
    return IDS.every((id) => second.control.controller.term()?.cluster.volumes.get(id)?.verdict?.health === 'healthy')
  })
  for (const id of IDS) {
    const made = cluster.log.filter(({ action, end }) =>
      action.type === 'create-config' && action.volumeId === id && end.outcome === 'done')
    t.equal(made.length, 1, 'one configuration was written')
    const { members, inSync } = (await cluster.config(id))!
    t.equal(Object.keys(members).length, 3)
    t.equal(inSync.length, 3)
    for (const [name, { copyId }] of Object.entries(members)) {
      t.equal(cluster.node(name).fake.copies.get(id)?.copyId, copyId, 'the copies are those that were made')
    }
  }
  cluster.goOn(first.name)
  await cluster.until('what only one of them wanted is gone', () => {
    const copies = [...cluster.nodes.values()].reduce((sum, { fake }) => sum + fake.copies.size, 0)
    return copies === 3 * IDS.length
  })
  await cluster.until('it sees that it is not elected any more', () => cluster.elected().length === 1)
  await cluster.round()
  t.equal(first.control.controller.term(), undefined)
})

t.test('a controller that stood still with a change under way has lost it', async (t) => {
  const cluster = await ControlCluster.start(t, [])
  const gate = new Gate()
  t.teardown(() => gate.open())
  let held = ''
  cluster.wrapStore = (store, name): ClusterStore => ({
    get: (key) => store.get(key),
    list: (options) => store.list(options),
    watch: (options, listener) => store.watch(options, listener),
    known: () => store.known(),
    close: () => store.close(),
    async compareAndSwap(change) {
      if (held === name && (change.key.startsWith(CONFIG_PREFIX) || change.key === REBUILDS_KEY)) await gate.pass()
      return store.compareAndSwap(change)
    },
  })
  for (const name of ['n1', 'n2', 'n3', 'n4']) await cluster.addNode(name)
  const first = await electedNode(cluster)
  await cluster.createVolume(ID, 2)
  await cluster.until('three copies', () => cluster.health(ID) === 'healthy')
  const { members } = (await cluster.config(ID))!
  const dead = Object.keys(members).find((name) => name !== first.name)!
  held = first.name
  first.waitsForActions = false
  cluster.kill(dead)
  await cluster.until('a change is under way', () => gate.isReached)
  cluster.stall(first.name)
  await cluster.until('another one replaces the copy', async () => {
    const { inSync } = (await cluster.config(ID))!
    return cluster.elected().length === 1 && inSync.length === 3 && !inSync.includes(dead)
  })
  const before = await cluster.config(ID)
  const logged = cluster.log.length
  gate.open()
  await first.control.controller.settled()
  const late = cluster.log.slice(logged).filter(({ by }) => by === first.name)
  t.ok(late.length > 0, 'what was under way came to its end')
  for (const { action, end } of late) t.equal(end.outcome, 'lost', action.type)
  t.same(await cluster.config(ID), before, 'and changed nothing')
})
