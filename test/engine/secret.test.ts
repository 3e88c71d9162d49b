/** Risk: a key ends up in a log line, an error, JSON or a failed assertion, by one of the ways values become text. */
import { inspect } from 'node:util'
import t from 'tap'
import { Secret } from '../../engine/secret.ts'

t.test('however it is printed, nothing of it shows', async (t) => {
  const secret = new Secret(Buffer.from('canary-canary-canary-canary-1234'))
  const holder = { name: 'key', secret }
  const texts = [
    String(secret), `${secret}`, JSON.stringify(secret), JSON.stringify(holder), inspect(secret),
    inspect(holder, { showHidden: true, depth: 9 }), inspect([new Map([[secret, secret]])]),
    JSON.stringify(structuredClone({ ...secret })), new Error('x', { cause: secret }).cause!.toString(),
    Object.entries(secret).join(), JSON.stringify(Object.getOwnPropertyNames(secret)),
  ]
  for (const text of texts) t.notMatch(text, /canary|99|63616e/, text)
  t.equal(`${secret}`, '[redacted]')
  t.equal(JSON.stringify(holder), '{"name":"key","secret":"[redacted]"}')
})

t.test('it is zeroed where it lies', async (t) => {
  const bytes = Buffer.from('canary')
  const secret = new Secret(bytes)
  t.equal(secret.reveal(), bytes)
  t.equal(secret.lengthBytes, 6)
  secret.erase()
  t.same([...bytes], [0, 0, 0, 0, 0, 0])
})
