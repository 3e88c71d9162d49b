/** Risk: what a copy says to a frontend of another node, and no copy takes, does not come to it. */
import t from 'tap'
import { MemoryConfigs } from '../copy/memory-configs.ts'
import { configOf, hex, specOf, startHosts, until } from '../copy/hosts.ts'

t.test('that the pool is full is heard by the frontend of another node', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const [n1, n2] = hosts as [typeof hosts[0], typeof hosts[0]]
  const spec = specOf()
  const copyIds = hosts.map(() => hex())
  configs.put(configOf(spec.id, { n1: copyIds[0]!, n2: copyIds[1]! }))
  await Promise.all(hosts.map((host, i) => host.create(spec, copyIds[i]!)))
  await until(() => n1.role(spec.id) === 'primary')
  const session = { generation: 1, incarnation: 77 }
  const device = n2.attach(spec, session)
  t.equal(await device.write(0, Buffer.alloc(4096, 1)), 0)
  const { epoch } = n1.worker.copies.copy(spec.id)!.state.primary!
  n1.worker.copies.sendToFrontend({ node: 'n2', worker: 0 }, spec.id, { type: 'held', session, epoch })
  const { state } = n2.worker.frontends.frontend(spec.id)!
  await until(() => state.fullUntilMs > 0)
})
