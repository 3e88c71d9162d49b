/**
 * What is left when the controller, a primary or an answer is lost between any two steps of a group snapshot
 * (GROUPS.md sections 4 and 5): a request that is asked again is done once, or nothing is left of it.
 */
// test-timeout-seconds: 300
import { mock } from 'node:test'
import t from 'tap'
import { HoldfastError } from '../../../engine/errors.ts'
import { A, B, groupRequest, groupWorld, never } from './group-world.ts'
import type { Event, GroupWorld } from './group-world.ts'
import type { GroupRecord } from '../../../engine/control/snapshot-group.ts'
import { drawn, lost } from './snapshot-world.ts'

t.setTimeout(290_000)

/** The nth order of the attempt, counted from 1: two HOLDs, then two TAKEs. */
const atOrder = (n: number, event: Event): Event => {
  let orders = 0
  return (step) => (++orders === n ? event(step) : step.go())
}

/** Its two seconds are over. */
function holdsEnd({ volumes: { a, b } }: GroupWorld): void {
  for (const volume of [a, b]) volume.hold = undefined
}

async function askAgain(world: GroupWorld): Promise<void> {
  const { cluster, elected } = world
  await cluster.until('another one is elected', () => elected() !== undefined)
  world.meets(({ go }) => go())
  await world.create(groupRequest('one', 1))
}

for (const [order, when] of [[1, 'before'], [1, 'behind'], [2, 'behind'], [3, 'behind'], [4, 'behind']] as const) {
  t.test(`the controller dies ${when} order ${order}`, async (t) => {
    const world = await groupWorld(t)
    const { cluster, elected, meets, snapshots, records, atRest } = world
    const { name, volumes } = elected()
    let isDead = false
    meets(atOrder(order, async ({ go }) => {
      if (when === 'behind') await go()
      cluster.kill(name)
      isDead = true
      return never()
    }))
    volumes.createGroup(groupRequest('one', 1)).catch(() => undefined)
    await cluster.until('it dies', () => isDead)
    holdsEnd(world)
    t.match(await records(), [{ name: 'one', state: 'taking' }])
    await askAgain(world)
    t.match(await records(), [{ name: 'one', id: drawn(1), state: 'made' }])
    t.same(snapshots(), [['one'], ['one']])
    await atRest(t)
  })
}

t.test('the controller dies, and nobody asks again: nothing is left', async (t) => {
  const world = await groupWorld(t)
  const { cluster, elected, meets, snapshots, records, atRest, volumes } = world
  const { name, volumes: api } = elected()
  let isDead = false
  meets(atOrder(4, async () => {
    cluster.kill(name)
    isDead = true
    return never()
  }))
  api.createGroup(groupRequest('one', 1)).catch(() => undefined)
  await cluster.until('it dies', () => isDead && volumes.a.snapshots.length + volumes.b.snapshots.length > 0)
  holdsEnd(world)
  meets(({ go }) => go())
  await cluster.until('it is cleared away', async () => (await records()).length === 0)
  t.same(snapshots(), [[], []])
  await atRest(t)
})

t.test('attacks 1 and 2: a controller that was paused goes on when another one has undone it', async (t) => {
  for (const order of [1, 2, 3, 4]) {
    const world = await groupWorld(t)
    const { cluster, elected, meets, snapshots, records, atRest, volumes } = world
    const { name, volumes: api } = elected()
    let goOn: (() => void) | undefined
    meets(atOrder(order, async ({ go }) => {
      cluster.stall(name)
      await new Promise<void>((resolve) => (goOn = resolve))
      return go()
    }))
    // Who is paused does not see his time pass, however busy the machine is that runs this.
    mock.timers.enable({ apis: ['setTimeout'] })
    const asked = api.createGroup(groupRequest('one', 1)).catch(({ code }) => code)
    await cluster.until('it is paused', () => goOn !== undefined)
    holdsEnd(world)
    const [{ snapshotId }] = (await records()) as [GroupRecord]
    await cluster.until('it is cleared away', async () => (await records()).length === 0)
    t.same(snapshots(), [[], []])
    const all = () => [...volumes.a.changes, ...volumes.b.changes]
    const taken = () => all().filter((one) => one.operation === 'snapshot' && one.id === snapshotId).length
    const before = taken()
    goOn!()
    cluster.goOn(name)
    mock.timers.reset()
    t.equal(await cluster.answered(asked), 'change-outcome')
    await atRest(t)
    t.same([await records(), snapshots()], [[], [[], []]], `order ${order}`)
    t.equal(taken(), before, 'nothing of the first was taken any more')
  }
})

for (const [what, order] of [['between HOLD and TAKE', 3], ['behind its TAKE', 4]] as const) {
  t.test(`attacks 5 and 6: a primary dies ${what}`, async (t) => {
    const { cluster, create, meets, snapshots, records, atRest } = await groupWorld(t)
    meets(atOrder(order, async ({ volumeId, go }) => {
      if (order === 4) await go()
      cluster.kill((await cluster.config(volumeId))!.primary)
      throw lost()
    }))
    await create(groupRequest('one', 1))
    t.match(await records(), [{ state: 'made' }])
    t.same(snapshots(), [['one'], ['one']])
    await atRest(t)
  })
}

t.test('attack 7: a TAKE whose answer is lost was one, and is not taken twice', async (t) => {
  const { create, meets, volumes, atRest } = await groupWorld(t)
  meets(async ({ call, go }) => {
    const answer = await go()
    if (call === 'take') throw lost()
    return answer
  })
  t.match(await create(groupRequest('one', 1)), { state: 'made', members: [{ volumeId: A }, { volumeId: B }] })
  t.same([volumes.a.changes.length, volumes.b.changes.length], [1, 1])
  await atRest(t)
})

t.test('attack 7: what is not known of the last attempt is not called refused', async (t) => {
  const { cluster, create, meets, leads, records, snapshots, atRest } = await groupWorld(t)
  const fakes = Object.values(leads).map((name) => cluster.node(name).fake)
  const tell = fakes.map((fake) => fake.snapshots.bind(fake))
  let isDeaf = false
  fakes.forEach((fake, i) => (fake.snapshots = (query) => (isDeaf ? Promise.reject(lost()) : tell[i]!(query))))
  let takes = 0
  meets(async ({ call, go }) => {
    if (call !== 'take') return go()
    if (++takes <= 6) throw new HoldfastError('copy-refused', { node: 'n', volume: 'v', reason: 'its hold is over' })
    await go()
    isDeaf = true
    throw lost()
  })
  const message = /whether group snapshot one of volume v-aaaa, v-bbbb was done is not known/
  await t.rejects(create(groupRequest('one', 1)), { code: 'change-outcome', message })
  t.equal(takes, 8, 'the fourth attempt')
  t.match(await records(), [{ state: 'taking' }])
  isDeaf = false
  await atRest(t)
  t.match(await records(), [{ state: 'made' }])
  t.same(snapshots(), [['one'], ['one']])
})

t.test('attack 1: a TAKE that is delayed beyond the undoing is refused', async (t) => {
  const { create, meets, snapshots, atRest } = await groupWorld(t)
  const late: Array<() => Promise<unknown>> = []
  meets(async ({ call, volumeId, go }) => {
    if (call !== 'take' || volumeId !== B || late.length > 0) return go()
    late.push(go)
    throw lost()
  })
  await create(groupRequest('one', 1))
  await atRest(t)
  await t.rejects(late[0]!(), { code: 'change-superseded' })
  t.same(snapshots(), [['one'], ['one']])
})

t.test('attacks 16 and 17: of two at once that share their volumes both are made, or one is refused', async (t) => {
  const { cluster, elected, snapshots, atRest } = await groupWorld(t)
  const api = elected().volumes
  const both = [groupRequest('one', 1), groupRequest('two', 2, { volumes: ['v-bbbb', 'v-aaaa'] })]
  const asked = both.map((request) => cluster.answered(api.createGroup(request)))
  const ends = await Promise.all(asked.map((one) => one.catch((error) => error)))
  const made = ends.flatMap((end) => (end.state === 'made' ? [end.name] : []))
  t.ok(made.length > 0, made.join())
  for (const end of ends) if (end.state !== 'made') t.equal(end.code, 'group-not-made')
  await atRest(t)
  for (const names of snapshots()) t.same(names.sort(), made)
})
