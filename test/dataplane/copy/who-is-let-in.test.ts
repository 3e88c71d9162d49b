/** Risk: a node that was removed goes on, or grows, under numbers of workers of which it never told. */
import t from 'tap'
import { clock } from '../../../dataplane/clock.ts'
import { reportEnded } from '../../../dataplane/peer/supervisor-report.ts'
import { RawPeer } from '../peer/raw-peer.ts'
import { Worker } from '../peer/workers.ts'
import { CLUSTER, hex, startHosts, until } from './hosts.ts'
import { MemoryConfigs } from './memory-configs.ts'

t.test('a worker of whose number its node has not told is refused, and let in when it has', async (t) => {
  const [n2] = await startHosts(t, ['n2'], new MemoryConfigs())
  const meet = (workers: number) => n2!.worker.setPeers(Array.from({ length: workers }, (_, worker) => ({
    node: 'n3', worker,
  })))
  meet(1)
  for (const worker of [1, 777, 65_535]) {
    const raw = await RawPeer.meet(n2!.endpoint, { worker })
    t.equal(raw.answer?.answer, 'unknown')
    await raw.ended()
  }
  t.match(n2!.events.at(-1)!.fields.reason, /has not told of a worker of that number/)

  // Its daemon was restarted with more workers, of which one dials before anybody knows.
  const second = await Worker.start(t, { node: 'n3', worker: 1 })
  second.transport.setPeers([{ node: 'n2', worker: 0, endpoint: n2!.endpoint }])
  await until(() => second.events.length > 0)
  meet(2)
  await until(() => second.transport.instanceOf({ node: 'n2', worker: 0 }, 'data') !== undefined)
  meet(1)
  await until(() => n2!.worker.transport.connections === 0)
})

t.test('a node that was removed is cut off, under whatever number and role it came', async (t) => {
  const [n2] = await startHosts(t, ['n2'], new MemoryConfigs())
  const all = [0, 1].map((worker) => ({ node: 'n3', worker }))
  n2!.worker.setPeers([...all, { node: 'n4', worker: 0 }])
  const raws: RawPeer[] = []
  for (const wrong of [{ worker: 0 }, { worker: 1 }, { worker: 9, role: 'supervisor', lane: 'urgent' }] as const) {
    const raw = await RawPeer.meet(n2!.endpoint, { instance: 'ab'.repeat(16), ...wrong })
    t.equal(raw.answer?.answer, 'accepted')
    raw.socket.write(raw.frame({}))
    raws.push(raw)
  }
  // One that has not said anything yet would be as much in as the others a moment later.
  raws.push(await RawPeer.meet(n2!.endpoint, { worker: 1, instance: 'ab'.repeat(16) }))
  const other = await RawPeer.meet(n2!.endpoint, { node: 'n4' })
  other.socket.write(other.frame({}))
  t.equal(n2!.worker.transport.connections, 5)
  n2!.worker.setPeers([{ node: 'n4', worker: 0 }])
  for (const raw of raws) await raw.ended()
  t.equal(n2!.worker.transport.connections, 1, 'who is still a node stays')
  other.socket.destroy()
  const self = { clusterId: CLUSTER, node: 'n3', instance: hex(), worker: 0, role: 'supervisor' as const }
  const to = { node: 'n2', worker: 0, endpoint: n2!.endpoint }
  t.equal(await reportEnded({ self, to, ended: hex(), clock, deadlineMs: 5000 }), false)
})
