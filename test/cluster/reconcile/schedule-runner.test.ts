/**
 * Snapshots by a schedule, on nodes without bytes: one a time whoever decides and dies, one after an outage, retention
 * that touches nothing that hands made, and failures that are told.
 */
import t from 'tap'
import { ScheduleRunner } from '../../../cluster/reconcile/schedule-runner.ts'
import { DESCRIPTIONS_BYTES_MAX } from '../../../cluster/reconcile/snapshot-control.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { answerLost, fate, ID, named, orderLost, request, servedVolume } from './snapshot-world.ts'
import type { SnapshotWorld } from './snapshot-world.ts'

const MINUTE_MS = 60_000
const EVERY = 'every 1m keep-last 3'

const set = (world: SnapshotWorld, schedule: string) =>
  world.cluster.answered(world.elected.volumes.setSnapshotSchedule({ volume: 'v-aaaa', schedule }))

/** A few rounds after each minute, until what was begun then has ended. */
async function pass({ cluster }: SnapshotWorld, minutes: number): Promise<void> {
  for (let minute = 0; minute <= minutes; minute++) {
    if (minute > 0) cluster.wallMs += MINUTE_MS
    for (let round = 0; round < 4; round++) await cluster.round()
    const isBusy = () => cluster.elected().some(({ volumes }) => volumes.schedules.isBusy)
    await cluster.until('what was begun has ended', () => !isBusy())
    await cluster.round()
  }
}

const names = ({ volume }: SnapshotWorld): string[] => volume.snapshots.map(({ title }) => title!.name)
const at = (...times: string[]): string[] => times.map((time) => `scheduled-20261130-${time}00`)

t.test('at once, then at each time; so many are kept, and what hands made is not touched', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected } = world
  await world.create(request('by-hand', 1))
  const volume = await set(world, EVERY)
  t.equal(volume.snapshotSchedule, EVERY)
  await cluster.until('the first one is made', () => world.volume.snapshots.length === 2)
  t.same(names(world), ['by-hand', ...at('1400')])
  await pass(world, 2)
  t.same(names(world), ['by-hand', ...at('1400', '1401', '1402')])
  await pass(world, 3)
  t.same(names(world), ['by-hand', ...at('1403', '1404', '1405')])
  const { labels, createdAtMs } = await cluster.answered(elected.volumes.getSnapshot(named(at('1404')[0]!)))
  t.equal(labels['holdfast.io/scheduled-at-ms'], String(Date.UTC(2026, 10, 30, 14, 4)))
  t.ok(createdAtMs >= Date.UTC(2026, 10, 30, 14, 4))
  t.match(await elected.volumes.status(), { problems: [], snapshots: 4 })
  t.match(await elected.volumes.getVolume({ name: 'v-aaaa' }), { snapshots: 4, newestSnapshot: at('1405')[0] })
  t.equal((await set(world, 'none')).snapshotSchedule, '')
  await pass(world, 3)
  t.equal(names(world).length, 4, 'nothing is made or deleted without one')
})

t.test('after an outage exactly one is made, of the newest time, then it goes on', async (t) => {
  const world = await servedVolume(t)
  const { cluster } = world
  await set(world, EVERY)
  await pass(world, 1)
  t.same(names(world), at('1400', '1401'))
  cluster.wallMs += 600 * MINUTE_MS
  await pass(world, 0)
  t.same(names(world), [...at('1400', '1401'), 'scheduled-20261201-000100'])
  await pass(world, 1)
  t.equal(names(world).at(-1), 'scheduled-20261201-000200')
})

t.test('answers and orders are lost, the elected one dies behind its order: never two of a time', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected, primary } = world
  fate(primary, answerLost)
  await set(world, EVERY)
  await pass(world, 0)
  t.same(names(world), at('1400'))
  fate(primary, orderLost, answerLost)
  await pass(world, 1)
  t.same(names(world), at('1400', '1401'))
  // It orders, and is gone before it hears of it.
  fate(primary, async (order) => {
    await order()
    cluster.kill(elected.name)
    return new Promise(() => undefined)
  })
  await cluster.until('it ordered', () => !elected.isRunning)
  await cluster.until('another one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  await pass(world, 2)
  const made = names(world)
  t.equal(new Set(made).size, made.length)
  t.same(made, made.toSorted())
  t.ok(made.includes(at('1402')[0]!) || made.includes(at('1403')[0]!))
})

t.test('two that believe to be elected make one', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected } = world
  await set(world, EVERY)
  await pass(world, 0)
  cluster.stall(elected.name)
  await cluster.until('another one is elected', () =>
    cluster.elected().some(({ control }) => control.controller.term() !== undefined))
  const [other] = cluster.elected()
  await pass(world, 1)
  // What stood still goes on with what it believed, at the next time.
  elected.stalledAtMs = undefined
  cluster.wallMs += MINUTE_MS
  elected.volumes.schedules.turn()
  other!.volumes.schedules.turn()
  await pass(world, 0)
  const made = names(world)
  t.equal(new Set(made).size, made.length, made.join(', '))
})

t.test('one that was deleted by hand does not come back in its time', async (t) => {
  const world = await servedVolume(t)
  await set(world, EVERY)
  await pass(world, 0)
  await world.cluster.answered(world.elected.volumes.deleteSnapshot({ ...named(at('1400')[0]!), id: '' }))
  await pass(world, 0)
  t.same(names(world), [])
  await pass(world, 1)
  t.same(names(world), at('1401'))
})

t.test('a hand has taken the name: told, and the next time is another one', async (t) => {
  const world = await servedVolume(t)
  const { elected } = world
  await world.create(request(at('1400')[0]!, 1))
  await set(world, EVERY)
  await pass(world, 0)
  const { problems } = await elected.volumes.status()
  const why = /^the one of 2026-11-30 14:00 UTC is not made: volume v-aaaa has a snapshot \S+ already/
  t.match(problems, [{ what: 'scheduled snapshots of volume v-aaaa', why }])
  await pass(world, 1)
  t.same(names(world), at('1400', '1401'))
  t.same((await elected.volumes.status()).problems, [])
})

t.test('no room for another description: what is too old goes first', async (t) => {
  const world = await servedVolume(t)
  const { elected, volume } = world
  await set(world, EVERY)
  await pass(world, 2)
  const labels = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`k${i}`.padEnd(60, 'x'), 'y'.repeat(63)]))
  const title = { name: 'large', createdAtMs: 1, labels }
  const one = JSON.stringify(title).length
  const many = Array.from({ length: Math.ceil(DESCRIPTIONS_BYTES_MAX / one) }, (_, i) =>
    ({ id: `${i}`.padStart(32, '0'), seq: 1, pinnedBy: null, sizeBytes: 1, title: { ...title, name: `large-${i}` } }))
  volume.snapshots = [...volume.snapshots, ...many]
  await set(world, 'every 1m keep-last 1')
  await pass(world, 1)
  const scheduled = names(world).filter((name) => name.startsWith('scheduled'))
  t.same(scheduled, at('1402'), 'old ones are deleted although none was made')
  const { problems } = await elected.volumes.status()
  t.match(problems, [{ why: /of 2026-11-30 14:03 UTC is not made: volume v-aaaa has \d+ snapshots, .* no room/ }])
  volume.snapshots = volume.snapshots.filter(({ title }) => title!.name.startsWith('scheduled'))
  await pass(world, 1)
  t.same((await elected.volumes.status()).problems, [])
  t.equal(names(world).length, 1)
})

t.test('a volume that nobody leads: told, and made when somebody does', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected, primary } = world
  await set(world, EVERY)
  await pass(world, 0)
  const leads = primary.fake.snapshots.bind(primary.fake)
  primary.fake.snapshots = async () => {
    throw new HoldfastError('copy-refused', { node: primary.name, volume: ID, reason: 'its last change is not stored' })
  }
  await pass(world, 1)
  const { problems } = await elected.volumes.status()
  t.match(problems, [{ why: /14:01 UTC is not made: volume v-aaaa has no primary that would do it: its last change/ }])
  primary.fake.snapshots = leads
  await pass(world, 1)
  await cluster.until('it is made', () => names(world).length > 1)
  t.same((await elected.volumes.status()).problems, [])
})

t.test('in the trash a volume gets none, and one when it is back', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected } = world
  await set(world, EVERY)
  await pass(world, 0)
  await cluster.answered(elected.volumes.deleteVolume({ name: 'v-aaaa', force: false }))
  await pass(world, 2)
  t.same(names(world), at('1400'))
  await cluster.answered(elected.volumes.restoreVolume({ name: 'v-aaaa' }))
  await pass(world, 0)
  t.equal(names(world).length, 2)
})

t.test('volumes of which none can be made hold up nobody else, and are told in few lines', async (t) => {
  const volumes = new Map<string, object>()
  const stuck = new Set<string>()
  for (let i = 0; i < 40; i++) {
    const id = `v${i}`
    if (i < 30) stuck.add(id)
    const snapshotSchedule = { everyMs: MINUTE_MS, keep: { last: 1, hourly: 0, daily: 0, weekly: 0 } }
    const record = { spec: { id, name: id }, trash: null, snapshotSchedule }
    volumes.set(id, { id, config: { primary: 'n1' }, record })
  }
  const copies = new Map([...volumes.keys()].map((id) => [id, { role: 'primary', newestScheduledAtMs: 0 }]))
  const cluster = { volumes, nodes: new Map([['n1', { copies }]]), startedAtMs: 0 }
  const term = { cluster }
  let nowMs = 10_000
  const made: string[] = []
  const snapshots = {
    make: async ({ spec }: { spec: { name: string } }) => {
      await new Promise(setImmediate)
      if (stuck.has(spec.name)) throw new HoldfastError('volume-unled', { name: spec.name, reason: 'planted' })
      made.push(spec.name)
    },
    all: async () => [],
  }
  const runner = new ScheduleRunner({
    controller: { term: () => term }, snapshots, nowMs: () => nowMs, wallMs: () => 5 * MINUTE_MS,
    onBug: (error: unknown) => t.fail(String(error)),
  } as unknown as ConstructorParameters<typeof ScheduleRunner>[0])
  for (let turn = 0; turn < 12; turn++) {
    runner.turn()
    while (runner.isBusy) await new Promise(setImmediate)
    nowMs += 5000
  }
  t.equal(new Set(made).size, 10)
  t.equal(made.length, 10, 'once each')
  const problems = runner.problems()
  t.equal(problems.length, 9)
  t.match(problems.at(-1), { what: 'scheduled snapshots of 22 more volume(s)' })
})

t.test('labels of a schedule are no user\'s', async (t) => {
  const world = await servedVolume(t)
  const labels = { 'holdfast.io/scheduled-at-ms': '1' }
  await t.rejects(world.create(request('mine', 1, labels)), { code: 'parameter' })
})
