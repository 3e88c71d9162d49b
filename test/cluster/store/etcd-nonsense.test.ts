/** Risk: a server that has the certificate of a cluster store, and does not keep the protocol, ends a daemon. */
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js'
import t from 'tap'
import type { Test } from 'tap'
import type { ClusterStore, Position, Version, WatchEvent } from '../../../cluster/store/cluster-store.ts'
import { etcdServices } from '../../../cluster/store/etcd-api.ts'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'

const HEADER = { clusterId: '7', memberId: '1', revision: '9', raftTerm: '1' }
const KV = { key: Buffer.from('/holdfast/a'), value: Buffer.from('x'), modRevision: '9', version: '1', lease: '0' }

type Watched = ServerDuplexStream<unknown, unknown>

/** A store whose answers are told by the test. */
async function nonsense(
  t: Test,
  { range, first = { header: HEADER }, txn = {}, watch }: {
    range: object; first?: object; txn?: object; watch?: (stream: Watched, number: number) => void
  },
): Promise<ClusterStore> {
  const server = new Server()
  const isFirst = (request: { keysOnly: boolean }): boolean => request.keysOnly
  server.addService(etcdServices().KV, {
    Range: (call: { request: { keysOnly: boolean } }, done: (error: null, answer: object) => void) =>
      done(null, isFirst(call.request) ? { ...first, kvs: [], more: false } : range),
    Txn: (_call: unknown, done: (error: null, answer: object) => void) => done(null, txn),
  })
  let streams = 0
  server.addService(etcdServices().Watch, { Watch: (stream: Watched) => watch?.(stream, ++streams) })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error))
  })
  const store = connectEtcdStore({ addresses: `http://127.0.0.1:${port}`, timeoutMs: 5000 })
  t.teardown(() => {
    store.close()
    server.forceShutdown()
  })
  return store
}

t.test('a page that says there is more, and is empty, is refused', async (t) => {
  const store = await nonsense(t, { range: { header: HEADER, kvs: [], more: true } })
  t.match(await store.list({ prefix: 'a' }), { ok: false, error: { code: 'store-refused' } })
})

t.test('an answer without a header is refused', async (t) => {
  const store = await nonsense(t, { range: { kvs: [KV] } })
  t.match(await store.get('a'), { ok: false, error: { code: 'store-refused' } })
})

t.test('an event of nothing ends its stream, and the next one goes on', async (t) => {
  const told = new Promise<WatchEvent>((resolve, reject) => {
    const watch = (stream: Watched, number: number): void => {
      stream.on('error', () => undefined)
      stream.write({ header: HEADER, created: true })
      stream.write({ header: HEADER, events: number === 1 ? [{ type: 'PUT' }] : [{ type: 'PUT', kv: KV }] })
    }
    nonsense(t, { range: {}, watch }).then(
      (store) => store.watch({ prefix: 'a', after: '8' as Position }, resolve), reject)
  })
  t.match(await told, { type: 'changed', changes: [{ key: 'a', version: '9' }] })
})

t.test('a change that is answered without a header is unknown', async (t) => {
  const store = await nonsense(t, { range: {}, txn: { succeeded: true } })
  const outcome = await store.compareAndSwap({ key: 'a', version: '4' as Version, value: Buffer.of(1) })
  t.match(outcome, { outcome: 'unknown', error: { code: 'store-refused' } })
})

t.test('a store whose first answer has no header is not known by that', async (t) => {
  const store = await nonsense(t, { range: {}, first: {} })
  t.match(await store.get('a'), { ok: false })
  t.equal(store.known(), undefined)
})

t.test('a watch that is told something without a header goes on with the next stream', async (t) => {
  const told = new Promise<WatchEvent>((resolve, reject) => {
    const watch = (stream: Watched, number: number): void => {
      stream.on('error', () => undefined)
      stream.write(number === 1 ? { events: [] } : { header: HEADER, events: [{ type: 'PUT', kv: KV }] })
    }
    nonsense(t, { range: {}, watch }).then(
      (store) => store.watch({ prefix: 'a', after: '8' as Position }, resolve), reject)
  })
  t.match(await told, { type: 'changed', changes: [{ key: 'a', version: '9' }] })
})
