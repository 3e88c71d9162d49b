/** A request for a certificate: OpenSSL reads it, and whoever signs takes it for the one identity and no byte else. */
import { spawnSync } from 'node:child_process'
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import t from 'tap'
import { armoured } from '../../../cluster/tls/certificate.ts'
import { bitString, sequence } from '../../../cluster/tls/der.ts'
import type { TlsIdentity } from '../../../cluster/tls/identity.ts'
import { keyOfSigningRequest, makeSigningRequest } from '../../../cluster/tls/signing-request.ts'

const IDENTITY: TlsIdentity = { clusterId: '0b'.repeat(16), role: 'node', name: 'n1' }
const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64')

t.test('OpenSSL reads what is written', async (t) => {
  const { request } = makeSigningRequest(IDENTITY)
  const { status, stdout } = spawnSync('openssl', ['req', '-verify', '-noout', '-text'], { input: request })
  t.equal(status, 0)
  const text = stdout.toString()
  t.match(text, /Subject: CN ?= ?n1/)
  t.match(text, new RegExp(`URI:holdfast://cluster/${IDENTITY.clusterId}/node/n1`))
})

t.test('a hundred requests are taken, whatever the length of the signature', async (t) => {
  for (let i = 0; i < 100; i++) {
    const { key, request } = makeSigningRequest(IDENTITY)
    const found = keyOfSigningRequest(request, IDENTITY)
    const own = createPublicKey(createPrivateKey(key))
    if (found?.equals(own) !== true) t.fail(request)
  }
  t.pass('with the key that is in them')
})

t.test('for another identity, and with any other byte, it is nothing', async (t) => {
  const { request } = makeSigningRequest(IDENTITY)
  for (const other of [{ name: 'n2' }, { role: 'admin' as const }, { clusterId: '0c'.repeat(16) }]) {
    t.equal(keyOfSigningRequest(request, { ...IDENTITY, ...other }), undefined)
  }
  const der = derOf(request)
  for (let at = 0; at < der.length; at++) {
    const changed = Buffer.from(der)
    changed[at]! ^= 1
    if (keyOfSigningRequest(armoured('CERTIFICATE REQUEST', changed), IDENTITY) !== undefined) t.fail(`byte ${at}`)
  }
  for (let length = 0; length < der.length; length++) {
    const cut = length === 0 ? '' : armoured('CERTIFICATE REQUEST', der.subarray(0, length))
    if (keyOfSigningRequest(cut, IDENTITY) !== undefined) t.fail(`${length} bytes`)
  }
  const longer = armoured('CERTIFICATE REQUEST', Buffer.concat([der, Buffer.of(0)]))
  t.equal(keyOfSigningRequest(longer, IDENTITY), undefined)
  t.equal(keyOfSigningRequest(`${request}\n${request}`, IDENTITY), undefined)
  t.equal(keyOfSigningRequest('no PEM', IDENTITY), undefined)
  const huge = armoured('CERTIFICATE REQUEST', Buffer.concat([der, Buffer.alloc(70_000)]))
  t.equal(keyOfSigningRequest(huge, IDENTITY), undefined)
})

t.test('who has not the key of the request gets nothing', async (t) => {
  const der = derOf(makeSigningRequest(IDENTITY).request)
  const headBytes = der[1] === 0x81 ? 3 : 4
  // The body has a length of two bytes, the algorithm behind it has twelve.
  const bodyBytes = der[headBytes + 1] === 0x81 ? der[headBytes + 2]! + 3 : der.readUInt16BE(headBytes + 2) + 4
  const body = der.subarray(headBytes, headBytes + bodyBytes)
  const algorithm = der.subarray(headBytes + bodyBytes, headBytes + bodyBytes + 12)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const forged = sequence(body, algorithm, bitString(sign('sha256', body, privateKey)))
  t.equal(keyOfSigningRequest(armoured('CERTIFICATE REQUEST', forged), IDENTITY), undefined)
})
