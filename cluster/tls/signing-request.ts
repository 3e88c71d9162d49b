/**
 * Certificate signing requests (PKCS #10, RFC 2986) of nodes: a key on P-256, the name as subject, the identity as the
 * one alternative name. What a stranger sent is not parsed here: whoever signs knows whom he would sign for, so he
 * writes the request that this one would have made with the key that is in there, and compares every byte.
 */
import { createPublicKey, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { alternativeNames, ALGORITHM, armoured, nameOf, newKey, pemOf, spkiOf } from './certificate.ts'
import { bitString, explicit, integer, oid, sequence, set } from './der.ts'
import { identityUri } from './identity.ts'
import type { TlsIdentity } from './identity.ts'

const EXTENSION_REQUEST = '1.2.840.113549.1.9.14'
const WHAT = 'CERTIFICATE REQUEST'
/** Before the point of a public key on P-256. */
const SPKI_BYTES = 91
const BIT_STRING_HEAD_BYTES = 3
/** With the longest name it has less than 400. */
const BYTES_MAX = 1024

export interface SigningRequest {
  /** PEM, PKCS #8. */
  key: string
  /** PEM. */
  request: string
}

export function makeSigningRequest(identity: TlsIdentity): SigningRequest {
  const key = newKey()
  const body = bodyOf(identity, spkiOf(key))
  const request = sequence(body, ALGORITHM, bitString(sign('sha256', body, key)))
  return { key: pemOf(key), request: armoured(WHAT, request) }
}

/** The public key of a request as `makeSigningRequest` makes it for that identity; undefined: it is anything else. */
export function keyOfSigningRequest(pem: string, identity: TlsIdentity): KeyObject | undefined {
  const base64 = pem.replace(/-----(BEGIN|END) CERTIFICATE REQUEST-----|\s/g, '')
  const der = Buffer.from(base64, 'base64')
  if (der.length === 0 || der.length > BYTES_MAX) return undefined
  if (armoured(WHAT, der) !== pem.replaceAll('\r', '')) return undefined
  const empty = bodyOf(identity, Buffer.alloc(SPKI_BYTES))
  const spkiAt = empty.indexOf(Buffer.alloc(SPKI_BYTES))
  // The outermost length takes 2 or 3 bytes, as the signature is short or long.
  for (const headBytes of [3, 4]) {
    const spki = der.subarray(headBytes + spkiAt, headBytes + spkiAt + SPKI_BYTES)
    const signature = der.subarray(headBytes + empty.length + ALGORITHM.length + BIT_STRING_HEAD_BYTES)
    if (spki.length < SPKI_BYTES || signature.length === 0) continue
    const body = bodyOf(identity, spki)
    if (!sequence(body, ALGORITHM, bitString(signature)).equals(der)) continue
    const key = publicKeyOf(spki)
    return key !== undefined && verify('sha256', body, key, signature) ? key : undefined
  }
  return undefined
}

function bodyOf(identity: TlsIdentity, spki: Uint8Array): Buffer {
  const extensions = sequence(alternativeNames({ uri: identityUri(identity) }))
  return sequence(
    integer(Buffer.of(0)),
    nameOf(identity.name),
    spki,
    explicit(0, sequence(oid(EXTENSION_REQUEST), set(extensions))),
  )
}

function publicKeyOf(spki: Buffer): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? key : undefined
  } catch {
    return undefined
  }
}
