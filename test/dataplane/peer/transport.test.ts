/** Risk: messages get lost without a word, reordered, doubled, or come from somebody else than they say. */
import t from 'tap'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import { reportEnded } from '../../../dataplane/peer/supervisor-report.ts'
import { clock } from '../../../dataplane/clock.ts'
import { blocks } from './any-message.ts'
import { textOf } from './wire.ts'
import { hex, pair, sync, until, Worker, CLUSTER, VOLUME_ID } from './workers.ts'

t.test('messages of both lanes arrive in order, with their sender', async (t) => {
  for (const tcp of [false, true]) {
    const [a, b] = await pair(t, { tcp })
    const append: WireMessage = {
      type: 'append', epoch: 2, previous: { epoch: 1, seq: 4 }, commitSeq: 3,
      records: [{ epoch: 2, seq: 5, request: undefined, kind: 'write', lba: 9, blockCount: 2, payload: blocks(2, 5) }],
    }
    for (let i = 0; i < 500; i++) t.equal(a.send(b, i % 10 === 0 ? append : sync(i)), 'queued')
    a.send(b, { type: 'beacon', number: 1, got: undefined, left: [], commits: [] })
    b.send(a, sync(1))
    await until(() => b.got.length === 501 && a.got.length === 1)
    const data = b.got.filter(({ family }) => family === 'copy')
    t.same(data.map(({ message }) => (message.type === 'sync' ? message.seq : -1)),
      Array.from({ length: 500 }, (_, i) => (i % 10 === 0 ? -1 : i)))
    t.equal(textOf(data[0]!.message), textOf(append))
    t.equal(b.got[0]!.from.instance, a.self.instance)
    t.equal(b.got[0]!.from.node, 'n1')
    t.same(a.events, [])
  }
})

t.test('what the peer would take for no message is not sent, and ends no connection', async (t) => {
  const [a, b] = await pair(t)
  const open = (wanted: string): WireMessage => ({ type: 'snapshot-open', reader: 1, wanted })
  t.equal(a.send(b, open('x'.repeat(65))), 'down')
  t.equal(a.send(b, open('x'.repeat(64))), 'queued')
  a.send(b, sync(1))
  await until(() => b.got.length === 2)
  t.same(b.got.map(({ message }) => message.type), ['snapshot-open', 'sync'])
  t.same([a.downs, b.downs, b.events], [[], [], []])
  const fields = { peer: 'n2', type: 'snapshot-open', volumeId: VOLUME_ID }
  t.match(a.events, [{ level: 'warn', message: 'a message was not sent', fields }])
})

t.test('both dial at once, many times: one connection a lane stays, the same at both ends', async (t) => {
  for (let round = 0; round < 60; round++) {
    const a = await Worker.start(t, { node: 'n1' })
    const b = await Worker.start(t, { node: 'n2' })
    // The higher one does not wait: that is where the race is.
    b.transport.setPeers([a.address])
    await new Promise((resolve) => setTimeout(resolve, round % 6))
    a.transport.setPeers([b.address])
    await until(() => a.isUp(b) && b.isUp(a) && a.transport.connections === 2 && b.transport.connections === 2)
    // What goes over the one that is given up may be lost.
    await until(() => {
      a.send(b, sync(round))
      b.send(a, sync(round))
      return a.got.length > 0 && b.got.length > 0
    })
    t.ok(a.transport.connections === 2 && b.transport.connections === 2)
    await a.stop()
    await b.stop()
    if (a.events.length + b.events.length > 0) t.same([a.events, b.events], [[], []])
  }
  t.pass('60 rounds')
})

t.test('a peer whose address has no port stands in nobody\'s way', async (t) => {
  const [a, b] = await pair(t)
  a.transport.setPeers([b.address, { node: 'n9', worker: 0, endpoint: { host: '127.0.0.1', port: 99_999 } }])
  await until(() => a.events.length > 0)
  t.match(a.events[0], { message: 'peer not reached', fields: { peer: 'n9', reason: 'its address has no port' } })
  t.equal(a.send(b, sync(1)), 'queued')
  await until(() => b.got.length === 1)
})

t.test('a peer that comes back is found, by whoever dials', async (t) => {
  for (const dialler of ['a', 'b'] as const) {
    const a = await Worker.start(t, { node: 'n1' })
    const b = await Worker.start(t, { node: 'n2' })
    const known = (worker: Worker, mayDial: boolean) =>
      mayDial ? worker.address : { node: worker.self.node, worker: 0 }
    a.transport.setPeers([known(b, dialler === 'a')])
    b.transport.setPeers([known(a, dialler === 'b')])
    await until(() => a.isUp(b) && b.isUp(a))
    await b.stop()
    await until(() => !a.isUp(b))
    t.equal(a.send(b, sync(1)), 'down')
    const again = new Worker({ node: 'n2' })
    await again.listener.listenUnix('path' in b.endpoint ? b.endpoint.path : '')
    again.endpoint = b.endpoint
    t.teardown(() => again.stop())
    again.transport.setPeers([known(a, dialler === 'b')])
    await until(() => a.isUp(again) && again.isUp(a))
    t.equal(a.send(again, sync(7)), 'queued')
    await until(() => again.got.length === 1)
    t.ok(a.downs.length >= 2)
  }
})

t.test('a newer instance takes the place of the old one, which is closed', async (t) => {
  const [a, old] = await pair(t)
  const young = await Worker.start(t, { node: 'n2' })
  young.transport.setPeers([a.address])
  await until(() => a.isUp(young))
  t.equal(a.transport.instanceOf(young.self, 'data'), young.self.instance)
  t.ok(a.downs.every((line) => line.endsWith('replaced')))
  await old.stop()
  a.send(young, sync(1))
  await until(() => young.got.length === 1)
  await young.stop()
})

t.test('a connection is proved before it takes a place', async (t) => {
  const [a, b] = await pair(t)
  const { default: net } = await import('node:net')
  const { askingPreface, encodePreface } = await import('../../../dataplane/peer/preface.ts')
  // Somebody who recorded a preface of n2 can repeat it, and no more.
  const self = { clusterId: CLUSTER, node: 'n2', instance: hex(), worker: 0, role: 'worker' as const }
  const options = { node: 'n1', worker: 0, lane: 'data' as const, nonce: hex(), windowBytes: 32 << 20 }
  const socket = net.connect('path' in a.endpoint ? a.endpoint.path : '')
  socket.write(encodePreface(askingPreface(self, options)))
  await new Promise((resolve) => socket.once('data', resolve))
  t.equal(a.transport.connections, 3)
  t.ok(a.isUp(b), 'the live one stays')
  a.send(b, sync(4))
  await until(() => b.got.length === 1)
  socket.destroy()
  await until(() => a.transport.connections === 2)
})

t.test('drain sends what is queued before it ends', async (t) => {
  const [a, b] = await pair(t)
  for (let i = 0; i < 2000; i++) a.send(b, sync(i))
  await a.transport.drain(5000)
  t.equal(b.got.length, 2000)
  t.equal(a.transport.connections, 0)
  t.equal(a.send(b, sync(1)), 'down')
  t.ok(b.downs.includes('n1 data bye'), b.downs.join())
})

t.test('who is no peer any more is cut off', async (t) => {
  let why: string | undefined
  const [a, b] = await pair(t, { a: { rules: { mayConnect: () => why } } })
  b.transport.setPeers([])
  a.transport.setPeers([])
  await until(() => a.transport.connections === 0 && b.transport.connections === 0)
  t.equal(a.send(b, sync(1)), 'down')
  t.equal(a.downs.length, 2, 'and the owner is told')

  // Who was never named came by himself, and stays for as long as the rules let him.
  const c = await Worker.start(t, { node: 'n3' })
  c.transport.setPeers([a.address])
  await until(() => a.isUp(c) && c.isUp(a))
  a.transport.setPeers([])
  t.equal(a.send(c, sync(1)), 'queued')
  await until(() => c.got.length === 1)
  why = 'is no node of this cluster'
  a.transport.setPeers([])
  await until(() => a.transport.connections === 0)
  t.equal(a.send(c, sync(1)), 'down')
})

t.test('a supervisor reports that its daemon was reaped, and hears that it was heard', async (t) => {
  const a = await Worker.start(t, { node: 'n1' })
  const self = { clusterId: CLUSTER, node: 'n2', instance: hex(), worker: 0, role: 'supervisor' as const }
  const ended = hex()
  const to = { node: 'n1', worker: 0, endpoint: a.endpoint }
  t.equal(await reportEnded({ self, to, ended, clock, deadlineMs: 5000 }), true)
  t.same(a.got.map(({ message, from }) => [message, from.node, from.role]), [
    [{ type: 'ended', instance: ended }, 'n2', 'supervisor'],
  ])
  await until(() => a.transport.connections === 0)
  await a.stop()
  t.equal(await reportEnded({ self, to, ended, clock, deadlineMs: 5000 }), false, 'nobody is there')
})

t.test('a worker may not report, a supervisor may not do anything else', async (t) => {
  const [a, b] = await pair(t)
  a.transport.send(b.self, undefined, { type: 'ended', instance: hex() })
  await until(() => b.events.length > 0)
  t.match(b.events[0]!.fields.reason, /reports from supervisors/)
  t.same(b.got, [])
})
