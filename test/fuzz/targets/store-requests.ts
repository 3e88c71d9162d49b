/**
 * Requests to the embedded cluster store as gRPC brings them: bytes into messages, messages into what the store does.
 * Promises: a request is answered or refused with a status; nothing else is thrown; the history stays whole.
 */
import { assert } from '../../../engine/assert.ts'
import type { EmbeddedStore } from '../../../cluster/store/embedded/embedded-store.ts'
import { KeyHistory } from '../../../cluster/store/embedded/key-history.ts'
import type { KeyRecord } from '../../../cluster/store/embedded/key-history.ts'
import { KvService } from '../../../cluster/store/embedded/kv-service.ts'
import { Refusal } from '../../../cluster/store/embedded/refusals.ts'
import { etcdServices, revisionOf } from '../../../cluster/store/etcd-api.ts'
import { chosen } from '../target.ts'
import type { Target } from '../target.ts'

type Header = ConstructorParameters<typeof KvService>[1]

const { KV, Watch } = etcdServices()
const METHODS = ['Range', 'Put', 'DeleteRange', 'Txn'] as const
const header: Header = (revision) => ({ clusterId: '1', memberId: '1', revision: String(revision), raftTerm: '1' })
const key = Buffer.from('volumes/1')
const value = Buffer.from('{}')

function service(): KvService {
  const history = new KeyHistory()
  history.put('volumes/1', Buffer.from('a'))
  history.put('volumes/2', Buffer.from('b'))
  history.put('volumes/1', Buffer.from('c'))
  history.delete('volumes/2')
  const store = {
    history,
    waitingBytes: 0,
    get committedRevision() {
      return history.newestRevision
    },
    change: <T>(_bytes: number, apply: (history: KeyHistory) => { record: KeyRecord | undefined; answer: T }): T =>
      apply(history).answer,
  }
  return new KvService(store as unknown as EmbeddedStore, header)
}

const encoded = (method: (typeof METHODS)[number], request: object): Uint8Array => KV[method]!.requestSerialize(request)
const compare = { result: 'EQUAL', target: 'MOD', key, modRevision: '4' }

export const target: Target = {
  parsers: [
    'cluster/store/embedded/kv-service.ts', 'cluster/store/embedded/key-history.ts',
    'cluster/store/embedded/refusals.ts', 'cluster/store/etcd-api.ts',
  ],
  seeds: () => [
    chosen(0, encoded('Range', { key, rangeEnd: Buffer.from('volumes0'), limit: '1' })),
    chosen(0, encoded('Range', { key: Buffer.of(0), rangeEnd: Buffer.of(0), revision: '3', countOnly: true })),
    chosen(0, encoded('Range', { key, keysOnly: true, serializable: true })),
    chosen(1, encoded('Put', { key, value })),
    chosen(2, encoded('DeleteRange', { key })),
    chosen(3, encoded('Txn', {
      compare: [compare], success: [{ requestPut: { key, value } }], failure: [{ requestRange: { key } }],
    })),
    chosen(3, encoded('Txn', {
      compare: [{ ...compare, target: 'CREATE', createRevision: '0' }], success: [{ requestDeleteRange: { key } }],
    })),
    chosen(4, Watch['Watch']!.requestSerialize({ createRequest: { key, rangeEnd: value, startRevision: '2' } })),
  ],
  words: ['volumes/', 'volumes/1', '\0'],
  execute(input) {
    if (input.length === 0) return
    const at = input[0]! % (METHODS.length + 1)
    const bytes = Buffer.from(input.buffer, input.byteOffset + 1, input.length - 1)
    const method = METHODS[at]
    const request = decoded(() => (method === undefined ? Watch['Watch']! : KV[method]!).requestDeserialize(bytes))
    if (request === undefined) return
    const kv = service()
    try {
      switch (method) {
        case 'Range': {
          const { kvs, count } = kv.range(request as Parameters<KvService['range']>[0])
          return assert(kvs.length <= Number(count), 'no more is told than there is')
        }
        case 'Put': return void kv.put(request as Parameters<KvService['put']>[0])
        case 'DeleteRange': return void kv.deleteRange(request as Parameters<KvService['deleteRange']>[0])
        case 'Txn': return void kv.txn(request as Parameters<KvService['txn']>[0])
        default: {
          const { createRequest } = request as { createRequest?: { startRevision: string } }
          if (createRequest !== undefined) revisionOf(createRequest.startRevision)
        }
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
    }
  },
}

/** What is no message at all, the library refuses. */
function decoded(run: () => unknown): unknown {
  try {
    return run()
  } catch {
    return undefined
  }
}
