/**
 * What a cluster store answers, as gRPC brings it. Promises: every question has an answer or an error in words, a watch
 * tells changes or why it ends; nothing is thrown, whatever is left out of what it says.
 */
import { EventEmitter } from 'node:events'
import { assert } from '../../../engine/assert.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import type { ClusterStore, Position, Version, WatchEvent } from '../../../cluster/store/cluster-store.ts'
import { isCertainlyNotApplied, isCompacted, isRefusal, reasonOf } from '../../../cluster/store/etcd-answers.ts'
import { etcdServices } from '../../../cluster/store/etcd-api.ts'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import type { Answered, Endpoint } from '../../../cluster/store/endpoint-set.ts'
import { StoreIdentity } from '../../../cluster/store/store-identity.ts'
import { aTurn } from '../fake-socket.ts'
import { chosen } from '../target.ts'
import type { Target } from '../target.ts'

const { KV, Watch } = etcdServices()
/** Less than a pause before another try. */
const TIMEOUT_MS = 40
const INTERNAL = 13

/** As the library tells it: a message, or an error of its own. */
function answered(rpc: 'Range' | 'Txn', bytes: Buffer): Answered<unknown> {
  try {
    return { ok: true, response: KV[rpc]!.responseDeserialize(bytes) }
  } catch (error) {
    return { ok: false, error: { code: INTERNAL, details: String(error) } }
  }
}

class FakeEndpoint {
  readonly url = 'http://store:1'
  readonly stream = Object.assign(new EventEmitter(), { write: () => true, cancel: () => this.stream.emit('status') })
  answer: Answered<unknown> = { ok: false, error: { code: INTERNAL, details: '' } }

  call(): Promise<Answered<unknown>> {
    return Promise.resolve(this.answer)
  }

  watch(): EventEmitter {
    return this.stream
  }

  unreachable(reason: string): HoldfastError {
    return new HoldfastError('store-unreachable', { endpoints: this.url, reason })
  }
}

const store: ClusterStore = connectEtcdStore({ addresses: 'http://127.0.0.1:1', timeoutMs: TIMEOUT_MS })

/** The store as it is, but for its connections. */
function over(endpoint: FakeEndpoint, known: boolean): void {
  Object.assign(store, {
    identity: new StoreIdentity(known ? { clusterId: '7', revision: 5 } : undefined),
    endpoints: {
      ready: () => Promise.resolve(endpoint as unknown as Endpoint),
      failed: () => undefined, shareMs: (ms: number) => ms, close: () => undefined,
    },
  })
}

async function watched(endpoint: FakeEndpoint, bytes: Buffer): Promise<void> {
  let response: unknown
  try {
    response = Watch.Watch!.responseDeserialize(bytes)
  } catch {
    return
  }
  const told: WatchEvent[] = []
  const watch = store.watch({ prefix: 'a', after: '3' as Position }, (event) => told.push(event))
  for (let i = 0; i < 4; i++) await Promise.resolve()
  endpoint.stream.emit('data', response)
  endpoint.stream.emit('data', response)
  watch.close()
  await aTurn()
  for (const event of told) if (event.type === 'changed') assert(event.changes.length > 0, 'a change is one')
}

const header = { clusterId: '7', memberId: '1', revision: '9', raftTerm: '1' }
const kv = { key: Buffer.from('/holdfast/a'), value: Buffer.from('x'), modRevision: '9', version: '1', lease: '0' }
const encoded = (rpc: 'Range' | 'Txn', message: object): Uint8Array => KV[rpc]!.responseSerialize(message)
const event = (message: object): Uint8Array => Watch.Watch!.responseSerialize(message)

export const target: Target = {
  parsers: [
    'cluster/store/etcd-store.ts', 'cluster/store/etcd-answers.ts', 'cluster/store/etcd-watch.ts',
    'cluster/store/store-identity.ts', 'cluster/store/etcd-api.ts',
  ],
  seeds: () => [
    chosen(0, encoded('Range', { header, kvs: [kv], count: '1' })),
    chosen(1, encoded('Range', { header, kvs: [kv], more: true, count: '3' })),
    chosen(2, encoded('Txn', { header, succeeded: true, responses: [{ responsePut: { header } }] })),
    chosen(2, encoded('Txn', { header, responses: [{ responseRange: { header, kvs: [kv] } }] })),
    chosen(3, event({ header, events: [{ type: 'PUT', kv }, { type: 'DELETE', kv }] })),
    chosen(3, event({ header, created: true })), chosen(3, event({ header, canceled: true, compactRevision: '5' })),
    chosen(4, '\x03etcdserver: key is not provided'),
    chosen(4, '\x0betcdserver: mvcc: required revision has been compacted'), chosen(4, '\x0econnect ECONNREFUSED'),
    ...[0, 1, 2, 3].flatMap((which) => [chosen(which, ''), chosen(5 + which, '')]),
  ],
  words: ['etcdserver: ', 'permission denied', '/holdfast/'],
  async execute(input) {
    if (input.length === 0) return
    const bytes = Buffer.from(input.subarray(1))
    const endpoint = new FakeEndpoint()
    over(endpoint, input[0]! % 10 >= 5)
    switch (input[0]! % 5) {
      case 0: {
        endpoint.answer = answered('Range', bytes)
        const got = await store.get('a')
        return assert(got.ok || got.error instanceof HoldfastError, 'a value, or why not')
      }
      case 1: {
        endpoint.answer = answered('Range', bytes)
        const page = await store.list({ prefix: 'a' })
        if (page.ok && page.value.next !== undefined) await store.list({ prefix: 'a', after: page.value.next })
        return
      }
      case 2: {
        endpoint.answer = answered('Txn', bytes)
        const { outcome } = await store.compareAndSwap({ key: 'a', version: '4' as Version, value: Buffer.of(1) })
        // Refused, where the process stood still for so long that nothing was sent.
        const isKnown = outcome === 'won' || outcome === 'lost'
        return assert(endpoint.answer.ok || !isKnown, 'what is not known is not told as known')
      }
      case 3: return watched(endpoint, bytes)
      default: {
        const error = { code: bytes[0] ?? 0, details: bytes.subarray(1).toString() }
        assert(!isCertainlyNotApplied(error) || isRefusal(error), 'who refuses is asked no more')
        assert(reasonOf(error) !== '' && !(isCompacted(error) && isCertainlyNotApplied(error)), 'it has a reason')
      }
    }
  },
}
