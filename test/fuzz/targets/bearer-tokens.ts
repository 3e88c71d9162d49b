/**
 * What stands in the header of a call by which somebody says who he is, and the records of tokens. Promises: whatever
 * it says, the call goes on with one who was let in, or has one refusal; a token that is not the one of the record
 * lets nobody in; no handler sees the header.
 */
import { Metadata } from '@grpc/grpc-js'
import type { ServerInterceptor } from '@grpc/grpc-js'
import { assert } from '../../../engine/assert.ts'
import { Secret } from '../../../engine/secret.ts'
import { CallGuard } from '../../../cluster/api/call-guard.ts'
import { TokenBook } from '../../../cluster/api/token-book.ts'
import type { ClusterStore, Position, Version } from '../../../cluster/store/cluster-store.ts'
import { decodeToken, encodeToken, tokenKey } from '../../../cluster/store/token-records.ts'
import { hashOfToken, parseToken, tokenText } from '../../../cluster/tls/bearer-token.ts'
import { chosen } from '../target.ts'
import type { Target } from '../target.ts'

const CLUSTER = '11'.repeat(16)
const PATH = '/holdfast.control.v1.VolumeService/List'
const genuine = { clusterId: CLUSTER, name: 'ops', secret: new Secret(new Uint8Array(32).fill(7)) }
const text = tokenText(genuine)
const record = {
  name: 'ops', role: 'admin', hash: hashOfToken(genuine.secret), createdAtMs: 1, expiresAtMs: 2 ** 50,
} as const

/** One record, told at once. */
const store = {
  list: async () => ({
    ok: true,
    value: {
      entries: [{ key: tokenKey('ops'), value: encodeToken(record), version: '1' as Version }],
      position: '1' as Position, next: undefined,
    },
  }),
  watch: () => ({ close: () => undefined }),
} as unknown as ClusterStore

const tokens = new TokenBook({
  store, clusterId: CLUSTER, isStoreReachable: () => true, onProblem: (error) => { throw error },
})
await new Promise((resolve) => setImmediate(resolve))
assert(!tokens.isEmpty, 'the book has its record')
const guard = new CallGuard({ tokens, requestMs: 10_000 })

type Call = Parameters<ServerInterceptor>[1]
type Began = Parameters<Call['start']>[0]

function call(headers: readonly string[]): void {
  let refusals = 0
  let begun: Began | undefined
  const under = {
    start: (listener: Began) => void (begun = listener),
    sendStatus: () => refusals++,
    getConnectionInfo: () => ({ remoteAddress: '127.0.0.1', remotePort: 1 }),
    getAuthContext: () => ({}), getPeer: () => '127.0.0.1:1',
  } as unknown as Call
  let went: Metadata | undefined
  guard.interceptor({ path: PATH } as Parameters<ServerInterceptor>[0], under).start({
    onReceiveMetadata: (metadata) => (went = metadata),
    onReceiveMessage: () => undefined, onReceiveHalfClose: () => undefined, onCancel: () => undefined,
  })
  const metadata = new Metadata()
  for (const header of headers) metadata.add('authorization', header)
  begun!.onReceiveMetadata(metadata)
  assert(refusals === (went === undefined ? 1 : 0), 'a call goes on, or has one refusal')
  if (went !== undefined) {
    assert(went.get('authorization').length === 0, 'no handler sees a token')
    assert(headers.length === 1 && headers[0]!.trim().endsWith(text), 'only who shows the token is let in')
  }
  begun!.onCancel()
}

export const target: Target = {
  parsers: [
    'cluster/tls/bearer-token.ts', 'cluster/api/token-book.ts', 'cluster/api/call-guard.ts',
    'cluster/store/token-records.ts',
  ],
  seeds: () => [
    chosen(0, `Bearer ${text}`), chosen(0, `bearer ${text.replace('ops', 'dev')}`), chosen(0, `Basic ${text}`),
    chosen(0, `Bearer ${text}\nBearer ${text}`), chosen(1, text), chosen(2, Buffer.from(encodeToken(record))),
  ],
  words: ['Bearer ', 'holdfast_', CLUSTER, '_ops_', '\n', text, 'admin', 'node', '"'],
  execute(input) {
    if (input.length === 0) return
    const rest = Buffer.from(input.buffer, input.byteOffset + 1, input.length - 1)
    switch (input[0]! % 3) {
      // A header has no other bytes: HTTP/2 refuses them.
      case 0: return call(rest.toString('latin1').split('\n').map((line) => line.replace(/[^\x20-\x7e]/g, '')))
      case 1: {
        const said = rest.toString()
        const token = parseToken(said)
        const isSame = token === undefined || parseToken(tokenText(token))?.name === token.name
        return assert(isSame, 'a token is read as it is written')
      }
      default: {
        const found = decodeToken('ops', rest)
        if (found === undefined) return
        const again = decodeToken('ops', encodeToken(found))
        assert(JSON.stringify(again) === JSON.stringify(found), 'what is read can be written and read')
      }
    }
  },
}
