/**
 * S1: a compare-and-swap is sent at most once, whatever the connection does. The server here is HTTP/2 without gRPC: it
 * counts the transactions that reach it and ends them in each way that makes a gRPC library think of trying again.
 */
import { once } from 'node:events'
import http2 from 'node:http2'
import t from 'tap'
import type { Test } from 'tap'
import { Client, credentials } from '@grpc/grpc-js'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { etcdServices } from '../../../cluster/store/etcd-api.ts'
import type { KeyValue } from '../../../cluster/store/etcd-api.ts'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import { bytes } from './raw-etcd.ts'
import { HOST, freePort } from './store-process.ts'

type Ending = (stream: http2.ServerHttp2Stream) => void

const HEADERS = { ':status': 200, 'content-type': 'application/grpc+proto' }
const answer = (stream: http2.ServerHttp2Stream, message: Buffer, trailers: Record<string, string>) => {
  stream.respond(HEADERS, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  stream.end(Buffer.concat([prefix, message]))
}

interface CountingServer {
  port: number
  transactions: () => number
  /** What reads find. */
  kept: KeyValue[]
}

/** Reads are answered, transactions are counted and ended. */
async function countingServer(t: Test, end: Ending): Promise<CountingServer> {
  const port = freePort()
  let transactions = 0
  const server = http2.createServer()
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    session.on('error', () => undefined)
    session.on('close', () => sessions.delete(session))
  })
  const kept: KeyValue[] = []
  const header = { clusterId: '5', memberId: '6', revision: '1' }
  const range = () => etcdServices().KV.Range!.responseSerialize({ header, kvs: kept, count: String(kept.length) })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    stream.resume()
    // After the whole request came: it could have been applied.
    stream.on('end', () => {
      if (headers[':path'] === '/etcdserverpb.KV/Range') return answer(stream, range(), { 'grpc-status': '0' })
      transactions++
      end(stream)
    })
  })
  server.listen(port, HOST)
  await once(server, 'listening')
  t.teardown(async () => {
    for (const session of sessions) session.destroy()
    server.close()
    await once(server, 'close')
  })
  return { port, transactions: () => transactions, kept }
}

const { NGHTTP2_REFUSED_STREAM, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_ENHANCE_YOUR_CALM } = http2.constants

const ENDINGS: Record<string, Ending> = {
  'refused stream': (stream) => stream.close(NGHTTP2_REFUSED_STREAM),
  'canceled stream': (stream) => stream.close(NGHTTP2_CANCEL),
  'broken stream': (stream) => stream.close(NGHTTP2_INTERNAL_ERROR),
  'stream of one who asks too much': (stream) => stream.close(NGHTTP2_ENHANCE_YOUR_CALM),
  'goaway that knows of no stream': (stream) => {
    stream.session!.goaway(0, 0)
    stream.session!.destroy()
  },
  'lost connection': (stream) => stream.session!.destroy(),
  'UNAVAILABLE': (stream) => answer(stream, Buffer.alloc(0), { 'grpc-status': '14', 'grpc-message': 'later' }),
  'UNAVAILABLE, try again at once': (stream) => {
    stream.respond({ ...HEADERS, 'grpc-status': '14', 'grpc-retry-pushback-ms': '0' }, { endStream: true })
  },
  'an answer that is no message': (stream) => answer(stream, Buffer.from([0xff, 0xff, 0xff]), { 'grpc-status': '0' }),
  'an answer without a message': (stream) => stream.respond({ ...HEADERS, 'grpc-status': '0' }, { endStream: true }),
  'an answer of another store': (stream) => {
    const response = { header: { clusterId: '7', memberId: '8', revision: '9' }, succeeded: true, responses: [] }
    answer(stream, etcdServices().KV.Txn!.responseSerialize(response), { 'grpc-status': '0' })
  },
  'a refusal in words of nobody': (stream) => {
    stream.respond({ ...HEADERS, 'grpc-status': '8', 'grpc-message': 'out of something' }, { endStream: true })
  },
}

for (const [name, end] of Object.entries(ENDINGS)) {
  t.test(`unknown, and sent once: ${name}`, async (t) => {
    const { port, transactions } = await countingServer(t, end)
    const store = connectEtcdStore({ addresses: `http://${HOST}:${port}`, timeoutMs: 2000 })
    t.teardown(() => store.close())
    t.match(await store.compareAndSwap({ key: 'k', version: undefined, value: bytes('1') }), { outcome: 'unknown' })
    t.match(await store.get('k'), { ok: true }, 'reads go on')
    t.equal(transactions(), 1)
  })
}

const sayFull = (sentence: string): Ending => (stream) => {
  stream.respond({ ...HEADERS, 'grpc-status': '8', 'grpc-message': sentence }, { endStream: true })
}

for (const sentence of ['etcdserver: too many requests', 'holdfast store: it is full']) {
  t.test(`what is said before anything is applied is a refusal: ${sentence}`, async (t) => {
    const { port } = await countingServer(t, sayFull(sentence))
    const store = connectEtcdStore({ addresses: `http://${HOST}:${port}` })
    t.teardown(() => store.close())
    const cas = await store.compareAndSwap({ key: 'k', version: undefined, value: bytes('1') })
    t.match(cas, { outcome: 'refused', error: { code: 'store-refused', message: new RegExp(sentence) } })
  })
}

// etcd says it before it proposes, and also behind the transaction that it has just applied.
t.test('of an etcd without room it is looked whether it took the transaction', async (t) => {
  const end = sayFull('etcdserver: mvcc: database space exceeded')
  const { port, transactions, kept } = await countingServer(t, end)
  const store = connectEtcdStore({ addresses: `http://${HOST}:${port}`, root: '' })
  t.teardown(() => store.close())
  kept.push({ key: bytes('k'), value: bytes('1'), modRevision: '1', createRevision: '1', version: '1', lease: '0' })
  const cas = await store.compareAndSwap({ key: 'k', version: undefined, value: bytes('1') })
  t.match(cas, { outcome: 'unknown', error: { message: /database space exceeded/ } })
  const records = new RecordStore(store)
  t.equal(await records.put('k', undefined, bytes('1')), true, 'it is there')
  t.equal(await records.put('k', undefined, bytes('2')), false, 'another one is there')
  kept.pop()
  await t.rejects(records.put('k', undefined, bytes('1')), { code: 'store-outcome' })
  t.equal(transactions(), 4)
})

t.test('the library as it comes would have sent it twice', async (t) => {
  const { port, transactions } = await countingServer(t, ENDINGS['refused stream']!)
  const client = new Client(`${HOST}:${port}`, credentials.createInsecure())
  t.teardown(() => client.close())
  const { path, requestSerialize, responseDeserialize } = etcdServices().KV.Txn!
  await new Promise((resolve) => client.makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, resolve))
  t.equal(transactions(), 2)
})
