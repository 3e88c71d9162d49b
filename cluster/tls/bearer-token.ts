/**
 * A bearer token: who shows it over TLS has the role that the cluster keeps for it. One line of text,
 *
 *   holdfast_<cluster id>_<name>_<secret>          the secret: 32 random bytes as base64url, 43 characters
 *
 * so that a client knows whom it may be shown to, a node which hash it is compared with, and a search for leaked
 * secrets what it looks for.
 *
 * Invariant: a cluster has the hash of the secret and no more. SHA-256 without salt is enough for 256 random bits:
 * nobody has a list of them.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { Secret } from '../../engine/secret.ts'

export interface BearerToken {
  clusterId: string
  name: string
  secret: Secret
}

const SECRET_BYTES = 32
const TOKEN = /^holdfast_([0-9a-f]{32})_([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)_([A-Za-z0-9_-]{43})$/
export const TOKEN_HASH = /^[0-9a-f]{64}$/

export const drawTokenSecret = (): Secret => new Secret(randomBytes(SECRET_BYTES))

/** 64 hex digits. */
export const hashOfToken = (secret: Secret): string => createHash('sha256').update(secret.reveal()).digest('hex')

/** Undefined: it is no token. */
export function parseToken(text: string): BearerToken | undefined {
  const [, clusterId, name, secret] = TOKEN.exec(text) ?? []
  if (secret === undefined) return undefined
  return { clusterId: clusterId!, name: name!, secret: new Secret(Buffer.from(secret, 'base64url')) }
}

/** What its owner shows: for a file of his, or the header of a call. */
export const tokenText = ({ clusterId, name, secret }: BearerToken): string =>
  `holdfast_${clusterId}_${name}_${Buffer.from(secret.reveal()).toString('base64url')}`

/** In a time that says nothing of where they differ. */
export function isTokenOf(hash: string, { secret }: BearerToken): boolean {
  const [expected, shown] = [Buffer.from(hash, 'hex'), Buffer.from(hashOfToken(secret), 'hex')]
  return expected.length === shown.length && timingSafeEqual(expected, shown)
}
