/**
 * X.509 v3 certificates (RFC 5280) of a cluster's own CA: ECDSA on P-256 with SHA-256, which every TLS library has that
 * a node, etcd, qemu or nbdkit is linked with.
 *
 * Invariant: what is returned was read back by OpenSSL and is signed by its issuer.
 */
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { assert } from '../../engine/assert.ts'
import {
  bitString, boolean, explicit, implicit, integer, ipBytes, octetString, oid, sequence, set, time, utf8,
} from './der.ts'

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  alternativeNames: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const

/** Bits of keyUsage: the first of its byte is the highest. */
const DIGITAL_SIGNATURE = { bits: Buffer.of(0x80), unused: 7 }
const CERT_AND_CRL_SIGN = { bits: Buffer.of(0x06), unused: 1 }
const NAME = { dns: 2, uri: 6, ip: 7 }
const POINT_BYTES = 65
const SERIAL_BYTES = 16
/** Clocks of hosts differ: valid from a little before it was made. */
const SKEW_MS = 5 * 60_000

export type KeyPurpose = 'serverAuth' | 'clientAuth'

export interface AlternativeNames {
  uri?: string
  dns?: readonly string[]
  ip?: readonly string[]
}

export interface Issuer {
  certificate: X509Certificate
  key: KeyObject
}

export interface KeyAndCertificate {
  /** PEM, PKCS #8. */
  key: string
  /** PEM. */
  certificate: string
}

interface Wish {
  commonName: string
  nowMs: number
  validMs: number
  /** Valid from now on, and not a little before. */
  fromNow?: boolean
}

export const ALGORITHM = sequence(oid(OID.ecdsaWithSha256))
export const nameOf = (commonName: string): Buffer => sequence(set(sequence(oid(OID.commonName), utf8(commonName))))

function extension(id: string, isCritical: boolean, content: Uint8Array): Buffer {
  return sequence(oid(id), ...(isCritical ? [boolean(true)] : []), octetString(content))
}

/** SHA-1 of the point, the usual name of a key (RFC 5280 4.2.1.2); it secures nothing. */
const keyIdOf = (spki: Uint8Array): Buffer =>
  createHash('sha1').update(spki.subarray(spki.length - POINT_BYTES)).digest()

export const spkiOfPublic = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })
export const spkiOf = (key: KeyObject): Buffer => spkiOfPublic(createPublicKey(key))

function serial(): Buffer {
  const bytes = randomBytes(SERIAL_BYTES)
  // Positive, and as long as all the others.
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes
}

function signed(
  { commonName, nowMs, validMs, fromNow = false }: Wish,
  publicKey: Uint8Array,
  by: { commonName: string; key: KeyObject },
  extensions: readonly Buffer[],
): string {
  const issuerKeyId = extension(OID.authorityKeyId, false, sequence(implicit(0, keyIdOf(spkiOf(by.key)))))
  const body = sequence(
    explicit(0, integer(Buffer.of(2))),
    integer(serial()),
    ALGORITHM,
    nameOf(by.commonName),
    sequence(time(new Date(nowMs - (fromNow ? 0 : SKEW_MS))), time(new Date(nowMs + validMs))),
    nameOf(commonName),
    publicKey,
    explicit(3, sequence(
      extension(OID.subjectKeyId, false, octetString(keyIdOf(publicKey))), issuerKeyId, ...extensions,
    )),
  )
  return armoured('CERTIFICATE', sequence(body, ALGORITHM, bitString(sign('sha256', body, by.key))))
}

/** PEM. */
export function armoured(what: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g)!.join('\n')
  return `-----BEGIN ${what}-----\n${lines}\n-----END ${what}-----\n`
}

export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

export const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string

/** A CA that signs itself, and may sign no other CA. */
export function makeAuthority(wish: Wish & { uri: string }): KeyAndCertificate {
  const key = newKey()
  const certificate = signed(wish, spkiOf(key), { commonName: wish.commonName, key }, [
    // A CA, of certificates that are none.
    extension(OID.basicConstraints, true, sequence(boolean(true), integer(Buffer.of(0)))),
    extension(OID.keyUsage, true, bitString(CERT_AND_CRL_SIGN.bits, CERT_AND_CRL_SIGN.unused)),
    extension(OID.alternativeNames, false, sequence(implicit(NAME.uri, Buffer.from(wish.uri)))),
  ])
  assertIssued(certificate, { certificate: new X509Certificate(certificate), key })
  return { key: pemOf(key), certificate }
}

export type IssueWish = Wish & { names: AlternativeNames; purposes: readonly KeyPurpose[] }

/** A key, and what `issuer` says of it. */
export function issueCertificate(wish: IssueWish, issuer: Issuer): KeyAndCertificate {
  const key = newKey()
  return { key: pemOf(key), certificate: certify(wish, key, issuer) }
}

/** What `issuer` says of a key on P-256 that somebody else has. @param key  or its public half. @returns PEM */
export function certify(wish: IssueWish, key: KeyObject, issuer: Issuer): string {
  const { names, purposes } = wish
  const by = { commonName: commonNameOf(issuer.certificate), key: issuer.key }
  const certificate = signed(wish, key.type === 'public' ? spkiOfPublic(key) : spkiOf(key), by, [
    extension(OID.basicConstraints, true, sequence()),
    extension(OID.keyUsage, true, bitString(DIGITAL_SIGNATURE.bits, DIGITAL_SIGNATURE.unused)),
    extension(OID.extendedKeyUsage, false, sequence(...purposes.map((purpose) => oid(OID[purpose])))),
    alternativeNames(names),
  ])
  assertIssued(certificate, issuer)
  return certificate
}

export function alternativeNames({ uri, dns = [], ip = [] }: AlternativeNames): Buffer {
  return extension(OID.alternativeNames, false, sequence(
    ...(uri === undefined ? [] : [implicit(NAME.uri, Buffer.from(uri))]),
    ...dns.map((name) => implicit(NAME.dns, Buffer.from(name))),
    ...ip.map((address) => implicit(NAME.ip, ipBytes(address))),
  ))
}

/** Of a certificate of ours: its subject has nothing else. */
const commonNameOf = (certificate: X509Certificate): string => certificate.subject.replace(/^CN=/, '')

function assertIssued(pem: string, { certificate: issuer }: Issuer): void {
  const certificate = new X509Certificate(pem)
  assert(certificate.verify(issuer.publicKey) && certificate.checkIssued(issuer), 'it is signed by its issuer')
}
