/** Risk: a worker tells of a copy what was so before its last step, or that it hears who is silent by now. */
import t from 'tap'
import { LOOK_EVERY_MS, StatusLooks } from '../../../dataplane/copy/status-looks.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'
import type { Host } from './hosts.ts'
import { MemoryConfigs } from './memory-configs.ts'

t.test('a copy that was stepped is looked at, others once a second, and time is never forgotten', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const spec = specOf({ replicas: 1 })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, { n1: ids[0]!, n2: ids[1]! }))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  const [n1, n2] = hosts as [Host, Host]
  await until(() => n1.role(spec.id) === 'primary')
  const device = n1.attach(spec)
  t.equal(await device.write(0, Buffer.alloc(BLOCK_BYTES, 7)), 0)

  const copy = n2.worker.copies.copy(spec.id)!
  await until(() => copy.state.role === 'replica' && copy.state.isFollowing)
  const looks = new StatusLooks()
  let scrubs = 0
  const look = (nowMs: number) => looks.look([copy], () => void scrubs++, nowMs)[0]!
  /** Nothing steps it in between: all of this is one turn of the event loop. */
  const heardAtMs = copy.state.grace.boundUntilMs - copy.state.options.graceMs
  const nowMs = heardAtMs - 2 * LOOK_EVERY_MS
  const first = look(nowMs)
  t.match(first, { role: 'replica', hearsPrimary: true })
  t.equal(look(nowMs + 1), first, 'the same object')
  t.equal(scrubs, 1, 'it was not looked at')
  t.equal(look(nowMs + LOOK_EVERY_MS), first, 'looked at, and equal')
  t.equal(scrubs, 2)
  copy.steps++
  t.equal(look(nowMs + LOOK_EVERY_MS + 1), first, 'stepped, and equal')
  t.equal(scrubs, 3)
  const { leaseMs } = copy.state.options
  const silent = new StatusLooks()
  const before = silent.look([copy], () => undefined, heardAtMs + leaseMs)[0]!
  const after = silent.look([copy], () => undefined, heardAtMs + leaseMs + 1)[0]!
  t.same([before.hearsPrimary, after.hearsPrimary], [true, false], 'its lease is over, and no step says so')

  const { steps } = copy
  t.equal(await device.write(BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, 8)), 0)
  await until(() => copy.steps > steps && copy.state.log.tail > first.seq)
  t.ok(look(nowMs + LOOK_EVERY_MS + 2).seq > first.seq, 'what a step decided is told at once')
})
