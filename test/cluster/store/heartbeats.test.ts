/**
 * Heartbeats: senders through a real store whose connection fails, observers with a clock of the test. What matters is
 * who is called silent: never somebody whose beats could not be seen.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { Entry, Version } from '../../../cluster/store/cluster-store.ts'
import {
  HeartbeatObserver, HeartbeatSender, decodeHeartbeat, encodeHeartbeat,
} from '../../../cluster/store/heartbeats.ts'
import { listAll, read, swap } from '../../conformance/cluster-store/calls-suite.ts'
import { EMBEDDED, ETCD, etcdMissing, startStore } from '../../conformance/cluster-store/store-process.ts'
import type { Kind } from '../../conformance/cluster-store/store-process.ts'
import { TcpProxy } from '../../conformance/cluster-store/tcp-proxy.ts'

for (const kind of [EMBEDDED, ETCD]) {
  const skip = kind === ETCD && etcdMissing()
  const name = `a sender beats, through lost answers and removed keys, and hears of a rival: ${kind.name}`
  t.test(name, { skip }, (t) => senderBeats(t, kind))
}

async function senderBeats(t: Test, kind: Kind): Promise<void> {
  const process = await startStore(t, kind)
  const proxy = await TcpProxy.start(t, process.port)
  const [store, direct] = [process.client({ addresses: proxy.address, timeoutMs: 2000 }), process.client()]
  const sender = new HeartbeatSender(store, 'nodes/n1', 'first')
  const beatThere = async () => decodeHeartbeat((await read(direct, 'nodes/n1'))!.value)
  t.same(await sender.beat('hello', false), { ok: true })
  t.same(await beatThere(), { instance: 'first', beat: 1, body: 'hello' })
  t.same(await sender.beat('again', false), { ok: true })
  proxy.lose('answers')
  const lost = proxy.lost()
  const beat = sender.beat('unanswered', false)
  await lost
  proxy.cut()
  t.match(await beat, { ok: false, error: { code: 'store-unreachable' } })
  t.same(await sender.beat('goes on', false), { ok: true })
  t.same(await beatThere(), { instance: 'first', beat: 4, body: 'goes on' })
  await swap(direct, 'nodes/n1', (await read(direct, 'nodes/n1'))!.version, undefined)
  t.same(await sender.beat('after a removal', false), { ok: true })

  const rival = new HeartbeatSender(direct, 'nodes/n1', 'second')
  t.match(await rival.beat('', false), { ok: false, rival: { instance: 'first', body: 'after a removal' } })
  t.same(await rival.beat('I am its next life', true), { ok: true })
  t.match(await sender.beat('', false), { ok: false, rival: { instance: 'second', body: 'I am its next life' } })
  t.match(await sender.beat('', false), { ok: false, rival: { instance: 'second' } }, 'and does not fight')
  await swap(direct, 'nodes/n1', (await read(direct, 'nodes/n1'))!.version, 'not a heartbeat')
  t.same(await rival.beat('', false), { ok: true }, 'what is no heartbeat is nobody')
  t.equal((await listAll(direct, 'nodes/')).entries.length, 1)
}

t.test('what is not a heartbeat is none', async (t) => {
  const heartbeat = { instance: 'i', beat: 3, body: '{}' }
  t.same(decodeHeartbeat(encodeHeartbeat(heartbeat)), heartbeat)
  for (const text of ['', 'null', '3', '{"instance":"i"}', '{"instance":"i","beat":"3","body":""}', '\xff']) {
    t.equal(decodeHeartbeat(Buffer.from(text)), undefined)
  }
})

const entry = (key: string, version: number): Entry =>
  ({ key, version: String(version) as Version, value: new Uint8Array(0) })

t.test('silence is counted on the clock of who looks, and only while it looks', async (t) => {
  const observer = new HeartbeatObserver(3000)
  const silence = () => Object.fromEntries(observer.silence())
  observer.look([entry('a', 1), entry('b', 1)], 10_000)
  t.same(silence(), { a: 0, b: 0 }, 'who is seen first may have beaten just now')
  observer.look([entry('a', 2), entry('b', 1)], 12_000)
  observer.look([entry('a', 3), entry('b', 1), entry('c', 9)], 14_000)
  t.same(silence(), { a: 0, b: 4000, c: 0 })
  observer.look([entry('a', 3), entry('b', 1), entry('c', 9)], 16_000)
  t.same(silence(), { a: 2000, b: 6000, c: 2000 })
  // The store was not there for an hour, so nobody could beat.
  observer.look([entry('a', 3), entry('b', 1), entry('c', 9)], 3_616_000)
  t.same(silence(), { a: 0, b: 0, c: 0 })
  observer.look([entry('a', 4), entry('c', 9)], 3_618_000)
  t.same(silence(), { a: 0, c: 2000 }, 'who was removed is not counted')
  t.same(silence(), { a: 0, c: 2000 }, 'time alone makes nobody silent')
})
