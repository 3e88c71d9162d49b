/**
 * What a key server answers, and the file that says where it is. Promises: an answer is a key, a wrapped key or a
 * refusal in words, of one line that is not long; nothing of a file but a key server's address makes requests.
 */
import { assert } from '../../../engine/assert.ts'
import { DATA_KEY_BYTES } from '../../../cluster/keys/data-key.ts'
import { dataKeyIn, transitAnswerOf, wrapIn } from '../../../cluster/keys/transit-answer.ts'
import { kmsConfigOf } from '../../../cluster/keys/kms-config.ts'
import { chosen, oneOf, refusable } from '../target.ts'
import type { Target } from '../target.ts'

const DECODERS = [
  (bytes: Buffer) => {
    const { data, errors } = transitAnswerOf(bytes)
    assert(/^[\x20-\x7e]{0,200}$/.test(errors), 'what is told of it is one line')
    const key = dataKeyIn(data)
    if (key !== undefined) assert(key.reveal().length === DATA_KEY_BYTES, 'a data key has its length')
    key?.erase()
    assert((wrapIn(data)?.length ?? 0) <= 4096, 'a wrapped key is not long')
  },
  (bytes: Buffer) => refusable(() => {
    const { address, mount, key, timeoutMs } = kmsConfigOf('/etc/holdfast/kms.json', bytes)
    const url = new URL(`/v1/${mount}/encrypt/${key}`, address)
    assert(url.origin === address.origin && url.search === '', 'mount and key are of the path alone')
    assert(url.pathname === `/v1/${mount}/encrypt/${key}`, 'and stay there')
    assert(timeoutMs >= 1, 'a question has an end')
  }),
] as const

const config = { type: 'vault-transit', address: 'https://vault:8200', mount: 'a/b', key: 'k', tokenFile: 't' }

export const target: Target = {
  parsers: ['cluster/keys/transit-answer.ts', 'cluster/keys/kms-config.ts'],
  seeds: () => [
    chosen(0, JSON.stringify({ data: { plaintext: Buffer.alloc(DATA_KEY_BYTES, 5).toString('base64') } })),
    chosen(0, JSON.stringify({ data: { ciphertext: `vault:v1:${'A'.repeat(80)}` } })),
    chosen(0, JSON.stringify({ errors: ['permission denied', 'no\nmore'] })),
    chosen(1, JSON.stringify(config)),
    chosen(1, JSON.stringify({
      ...config, address: 'http://127.0.0.1:8200/', namespace: 'n', caFile: 'c', timeoutMs: 9,
    })),
  ],
  words: ['vault:v1:', 'http://', 'https://', '..', '/', '%2e', '@', '"errors":', '"data":'],
  execute: (input) => oneOf(input, DECODERS),
}
