/**
 * Risk: a data key opens for another volume; a key server that is down, slow, sealed or hostile hangs a command, is
 * believed, or is told of in more than a sentence; a data key or token passes in the clear, or is shown.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { eraseKeys, newDataKey } from '../../../cluster/keys/data-key.ts'
import {
  fileSource, keptKeyOf, newEncryptionBy, openKeys, rekeyBy, rewrapBy,
} from '../../../cluster/keys/key-source.ts'
import type { KeySource } from '../../../cluster/keys/key-source.ts'
import { readKmsConfig } from '../../../cluster/keys/kms-config.ts'
import { makeKeyFile, readKeyFile } from '../../../cluster/keys/user-key.ts'
import { vaultTransit } from '../../../cluster/keys/vault-transit.ts'
import { decodeEncryption } from '../../../cluster/store/volume-records.ts'
import { encryptionOfClone } from '../../../engine/volume/volume-encryption.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { TestCa } from '../tls/certificates.ts'
import { kmsFile } from './kms-file.ts'
import { TOKEN, TransitStandIn } from './transit-stand-in.ts'

const [ID, CLONE] = ['a0'.repeat(16), 'b0'.repeat(16)]
const PLACE = { cipher: 'aes-256-xts', volumeId: ID, keyNumber: 1 } as const

const configFile = (t: Test, address: string, more?: object, token = TOKEN): string => kmsFile(t, address, token, more)

const sourceOf = (t: Test, address: string, more?: object, token?: string): KeySource =>
  vaultTransit(readKmsConfig(configFile(t, address, more, token)))

t.test('a data key opens with its key, at its place, and nowhere else', async (t) => {
  const { address } = await new TransitStandIn(t).start()
  const [source, other] = [sourceOf(t, address), sourceOf(t, address, { key: 'other' })]
  t.equal(source.id, 'vault:transit/k')
  const dataKey = newDataKey()
  const wrapped = await source.wrap(dataKey, PLACE)
  t.same((await source.unwrap(wrapped, PLACE))?.reveal(), dataKey.reveal())
  const refused = { code: 'kms-refused', message: /message authentication failed/ }
  await t.rejects(other.unwrap(wrapped, PLACE), refused, 'another key')
  await t.rejects(source.unwrap(wrapped, { ...PLACE, volumeId: CLONE }), refused, 'another volume')
  await t.rejects(source.unwrap(wrapped, { ...PLACE, keyNumber: 2 }), refused, 'another number')
  await t.rejects(source.unwrap(wrapped, { ...PLACE, cipher: 'aes-256-gcm' }), refused, 'another cipher')
})

t.test('it stands in specs, goes from file to key server and back, and nodes need neither', async (t) => {
  const server = await new TransitStandIn(t).start()
  const source = sourceOf(t, server.address)
  const keyFile = path.join(temporaryFolder(t), 'key')
  makeKeyFile(keyFile)
  const file = fileSource(readKeyFile(keyFile))
  const encryption = encryptionOfClone(await newEncryptionBy('aes-256-gcm', ID, file), CLONE)
  const opened = await openKeys(encryption, file, 'v')
  const there = await rewrapBy(encryption, opened, source, 'v')
  t.same(decodeEncryption(JSON.parse(JSON.stringify(there)), CLONE), there)
  await t.rejects(openKeys(there, file, 'v'), { code: 'key-wrong', message: /under key vault:transit\/k/ })
  const back = await rewrapBy(there, await openKeys(there, source, 'v'), file, 'v')
  t.same((await openKeys(back, file, 'v')).keys[1]!.dataKey.reveal(), opened.keys[0]!.dataKey.reveal())
  const kept = await keptKeyOf(there, source, 'v')
  await server.stop()
  t.same((await openKeys(kept.encryption, fileSource(kept.key), 'v')).keys, opened.keys, 'what a node keeps opens')
  const shown = JSON.stringify([there, kept.encryption])
  t.notOk(shown.includes(Buffer.from(opened.keys[0]!.dataKey.reveal()).toString('base64')))
  eraseKeys(opened)
})

t.test('wraps that do not open to what was wrapped take no other\'s place', async (t) => {
  const server = await new TransitStandIn(t).start()
  const source = sourceOf(t, server.address)
  const encryption = encryptionOfClone(await newEncryptionBy('aes-256-xts', ID, source), CLONE)
  const opened = await openKeys(encryption, source, 'v')
  const rekeyed = await rekeyBy(encryption, opened, source, 'v')
  t.match(rekeyed, { keys: { length: 3 }, writesUnder: 2 })
  t.same((await openKeys(rekeyed, source, 'v')).keys.slice(0, 2), opened.keys)
  t.same(await openKeys(await rewrapBy(rekeyed, await openKeys(rekeyed, source, 'v'), source, 'v'), source, 'v'),
    await openKeys(rekeyed, source, 'v'))
  const wrapsAnother: KeySource = { ...source, wrap: (_, place) => source.wrap(newDataKey(), place) }
  const wrapsElsewhere: KeySource = {
    ...source, wrap: (dataKey, place) => source.wrap(dataKey, { ...place, keyNumber: 7 }),
  }
  const code = /^(?:key-refused|kms-refused)$/
  for (const one of [wrapsAnother, wrapsElsewhere]) {
    await t.rejects(rewrapBy(encryption, opened, one, 'v'), { code })
    await t.rejects(rekeyBy(encryption, opened, one, 'v'), { code })
  }
  eraseKeys(opened)
})

t.test('what may pass is tried again, a few times; what will not is not', async (t) => {
  const server = await new TransitStandIn(t).start()
  const source = sourceOf(t, server.address, { timeoutMs: 300 })
  const dataKey = newDataKey()
  server.answers.push([503, { errors: ['Vault is sealed'] }], 'reset')
  t.match(await source.wrap(dataKey, PLACE), { wrappedBy: 'vault:transit/k' }, 'the third time it answers')
  const cases: Array<[typeof server.answers[0], number, { code: string; message: RegExp }]> = [
    [[503, { errors: ['Vault is sealed'] }], 3, { code: 'kms-refused', message: /503, Vault is sealed; nothing/ }],
    [[429, {}], 3, { code: 'kms-refused', message: /: 429; nothing/ }],
    [[404, { errors: ['no handler\nfor route'] }], 1, { code: 'kms-refused', message: /404, no handler for route/ }],
    [[400, { errors: ['x'.repeat(9999)] }], 1, { code: 'kms-refused', message: /400, x{200}; nothing/ }],
    [[200, { data: { ciphertext: 'vault:v1:?' } }], 1, { code: 'kms-refused', message: /no ciphertext/ }],
    [[200, 'nonsense'], 1, { code: 'kms-refused', message: /no ciphertext/ }],
    ['redirect', 1, { code: 'kms-refused', message: /307/ }],
    ['hang', 3, { code: 'kms-unreachable', message: /asked 3 times/ }],
    ['reset', 3, { code: 'kms-unreachable', message: /asked 3 times: ECONNRESET/ }],
    ['flood', 3, { code: 'kms-unreachable', message: /answer is too long/ }],
  ]
  for (const [answer, tries, error] of cases) {
    server.requests.length = server.answers.length = 0
    for (let i = 0; i < tries; i++) server.answers.push(answer)
    await t.rejects(source.wrap(dataKey, PLACE), error, JSON.stringify(answer).slice(0, 60))
    t.equal(server.requests.length, tries)
    t.ok(server.requests.every((request) => request === 'POST /v1/transit/encrypt/k'), 'asked nothing else')
  }
  const wrapped = await source.wrap(dataKey, PLACE)
  server.answers.push([200, { data: { plaintext: 'AAAA' } }])
  t.equal(await source.unwrap(wrapped, PLACE), undefined, 'that is no data key')
  const other = sourceOf(t, server.address, {}, 'hvs.another')
  const denied = await other.wrap(dataKey, PLACE).catch((error: Error) => error)
  t.match(denied, { code: 'kms-refused', message: /403, permission denied/ })
  t.notOk(`${(denied as Error).message} ${JSON.stringify(denied)}`.includes('hvs.'), 'no token is shown')
  await server.stop()
  await t.rejects(source.wrap(dataKey, PLACE), { code: 'kms-unreachable', message: /ECONNREFUSED/ })
})

t.test('over TLS: by who is trusted, under the name that was asked', async (t) => {
  const [ca, stranger] = [new TestCa(t), new TestCa(t)]
  const server = await new TransitStandIn(t, ca.issue({ role: 'node', name: 'kms' })).start()
  const dataKey = newDataKey()
  const caFile = path.join(ca.dir, 'ca.crt')
  t.match(await sourceOf(t, server.address, { caFile }).wrap(dataKey, PLACE), { wrappedBy: 'vault:transit/k' })
  const other = sourceOf(t, server.address, { caFile: path.join(stranger.dir, 'ca.crt') })
  await t.rejects(other.wrap(dataKey, PLACE), { code: 'kms-unreachable', message: /SIGNATURE|SELF_SIGNED|UNABLE/ })
  await t.rejects(sourceOf(t, server.address).wrap(dataKey, PLACE), { code: 'kms-unreachable' }, 'nobody vouches')
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  t.teardown(() => delete process.env.NODE_TLS_REJECT_UNAUTHORIZED)
  await t.rejects(other.wrap(dataKey, PLACE), { code: 'kms-unreachable' }, 'whatever the environment says')
  delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
  const named = sourceOf(t, server.address.replace('127.0.0.1', 'localhost'), { caFile })
  await t.rejects(named.wrap(dataKey, PLACE), { code: 'kms-unreachable', message: /ALTNAME/ })
})

t.test('a file that says less, more or something else is refused in words', async (t) => {
  const right = 'https://kms.example:8200'
  t.match(readKmsConfig(configFile(t, right)), { mount: 'transit', key: 'k', timeoutMs: 5000 })
  const cases: Array<[string, object, RegExp]> = [
    ['http://kms.example:8200', {}, /is http, which is for this machine only/],
    ['https://u:p@kms.example', {}, /more than a host and a port/],
    ['kms.example', {}, /no URL/],
    ['file:///etc/passwd', {}, /no URL/],
    [right, { type: 'cloud' }, /its type is not vault-transit/],
    [right, { key: undefined }, /key is missing/],
    [right, { key: '../../sys/seal' }, /names of letters/],
    [right, { mount: 'a/../sys' }, /names of letters/],
    [right, { tokn: 'x' }, /nothing is called tokn/],
    [right, { timeoutMs: 0 }, /timeoutMs is 1 to/],
  ]
  for (const [address, more, message] of cases) {
    t.throws(() => readKmsConfig(configFile(t, address, more)), { code: 'kms-config', message }, String(message))
  }
  const token = path.join(temporaryFolder(t), 'token')
  writeFileSync(token, TOKEN)
  const message = /key server: it is no JSON; see/
  t.throws(() => readKmsConfig(token), { code: 'kms-config', message }, 'a token that is named instead is not shown')
  t.throws(() => readKmsConfig('/dev/null'), { code: 'kms-config' })
  t.throws(() => readKmsConfig(path.join(temporaryFolder(t), 'none')), { code: 'kms-config', message: /ENOENT/ })
  t.throws(() => sourceOf(t, right, { tokenFile: 'none' }), { code: 'kms-config', message: /ENOENT/ })
  t.throws(() => sourceOf(t, right, {}, ''), { code: 'kms-config', message: /no token/ })
  t.throws(() => sourceOf(t, right, { caFile: 'none' }), { code: 'kms-config', message: /ENOENT/ })
})
