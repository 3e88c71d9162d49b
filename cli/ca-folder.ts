/**
 * The CA of a cluster in a folder, for whoever keeps it (not on a node):
 *
 *   DIR/ca.crt   what everybody believes          DIR/ca.key   who has it can be anybody
 *   DIR/<name>/{ca.crt, tls.crt, tls.key}         what was issued: a TLS folder (tls-folder.ts), to be taken there
 *
 * All of mode 0600. The id of the cluster stands in the CA's own certificate and in all that it signs, so a certificate
 * of another cluster is refused even where one CA was copied for two.
 */
import { X509Certificate, createHash, createPrivateKey, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { issueCertificate, makeAuthority } from '../cluster/tls/certificate.ts'
import type { Issuer, KeyPurpose } from '../cluster/tls/certificate.ts'
import { identityUri } from '../cluster/tls/identity.ts'
import type { Role } from '../cluster/tls/identity.ts'
import { makeFolder, replaceFile } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'

const DAY_MS = 24 * 3600_000
const AUTHORITY_URI = /(?:^|, )URI:holdfast:\/\/cluster\/([0-9a-f]{32})(?:,|$)/

/** Nodes are asked and ask; etcd also dials itself; the others only ask. */
const PURPOSES: Record<Role, readonly KeyPurpose[]> = {
  node: ['serverAuth', 'clientAuth'],
  store: ['serverAuth', 'clientAuth'],
  viewer: ['clientAuth'],
  operator: ['clientAuth'],
  admin: ['clientAuth'],
  csi: ['clientAuth'],
}

export interface Authority {
  clusterId: string
  expiresAtMs: number
}

export interface IssueWish {
  role: Role
  name: string
  dns: readonly string[]
  ip: readonly string[]
  days: number
  /** Valid from now on; else from five minutes before, for clocks that differ. */
  fromNow?: boolean
  /** The folder to make. */
  out: string
}

/** @throws HoldfastError `file-exists` rather than replace a CA */
export function initAuthority(
  dir: string, { clusterId = randomBytes(16).toString('hex'), days }: { clusterId?: string | undefined; days: number },
): Authority {
  const nowMs = Date.now()
  const validMs = days * DAY_MS
  const uri = `holdfast://cluster/${clusterId}`
  const made = makeAuthority({ commonName: `holdfast ${clusterId}`, uri, nowMs, validMs })
  makeFolder(dir)
  // The key first: a certificate without it would be believed and could sign nothing.
  create(path.join(dir, 'ca.key'), made.key)
  create(path.join(dir, 'ca.crt'), made.certificate)
  return { clusterId, expiresAtMs: nowMs + validMs }
}

/** Replaces what was issued to that folder before, for the same name and role. @returns when it expires */
export function issue(dir: string, wish: IssueWish): Authority & { uri: string } {
  const { clusterId, issuer } = readAuthority(dir)
  const { role, name, dns, ip, days, fromNow = false, out } = wish
  const nowMs = Date.now()
  const expiresAtMs = nowMs + days * DAY_MS
  const most = Date.parse(issuer.certificate.validTo)
  if (expiresAtMs > most) {
    const left = Math.floor((most - nowMs) / DAY_MS)
    throw new HoldfastError('parameter', { parameter: 'days', value: days, allowed: `as long as its CA: ${left}` })
  }
  const uri = identityUri({ clusterId, role, name })
  const made = issueCertificate({
    commonName: name, nowMs, validMs: days * DAY_MS, fromNow, names: { uri, dns, ip }, purposes: PURPOSES[role],
  }, issuer)
  makeFolder(out)
  refuseAnother(out, uri)
  replaceFile(path.join(out, 'tls.key'), made.key)
  replaceFile(path.join(out, 'tls.crt'), made.certificate)
  replaceFile(path.join(out, 'ca.crt'), readFileSync(path.join(dir, 'ca.crt'), 'utf8'))
  return { clusterId, expiresAtMs, uri }
}

/** @throws HoldfastError `tls-files` */
export function readAuthority(dir: string): { clusterId: string; issuer: Issuer } {
  const [file, keyFile] = [path.join(dir, 'ca.crt'), path.join(dir, 'ca.key')]
  const bad = (where: string, reason: string, cause?: unknown) =>
    new HoldfastError('tls-files', { file: where, reason }, { cause })
  let issuer: Issuer
  try {
    issuer = {
      certificate: new X509Certificate(readFileSync(file)),
      key: createPrivateKey(readFileSync(keyFile)),
    }
  } catch (error) {
    const { code = '' } = error as { code?: string }
    throw bad(existsSync(file) ? keyFile : file, `it cannot be read: ${code}`, error)
  }
  const { certificate, key } = issuer
  const clusterId = clusterIn(file, certificate)
  if (!certificate.checkPrivateKey(key)) throw bad(keyFile, 'it is not the key of ca.crt')
  return { clusterId, issuer }
}

/**
 * The CA as it is in the folder now, for who goes on for long: its files may be exchanged, for a new CA of the same
 * cluster. Ones that cannot be used, or are of another cluster, are told once, and the CA of before signs on.
 */
export class CurrentAuthority {
  readonly clusterId: string
  readonly #dir: string
  readonly #log: (line: string) => void
  #issuer: Issuer
  #digest: string
  #told = ''

  /** @throws HoldfastError `tls-files` */
  constructor(dir: string, log: (line: string) => void) {
    this.#dir = dir
    this.#log = log
    this.#digest = this.#read()
    const { clusterId, issuer } = readAuthority(dir)
    this.clusterId = clusterId
    this.#issuer = issuer
  }

  /** Two small files are read. */
  get issuer(): Issuer {
    const digest = this.#read()
    if (digest === this.#digest) return this.#issuer
    try {
      const { clusterId, issuer } = readAuthority(this.#dir)
      if (clusterId !== this.clusterId) {
        const [found, known] = [`cluster ${clusterId}`, `cluster ${this.clusterId}`]
        throw new HoldfastError('tls-cluster', { dir: this.#dir, found, known })
      }
      this.#issuer = issuer
      this.#digest = digest
      this.#told = ''
      this.#log(`another CA signs from now on, valid until ${issuer.certificate.validTo}`)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      if (this.#told !== error.message) this.#log(error.message)
      this.#told = error.message
    }
    return this.#issuer
  }

  /** A digest of both files, as far as they can be read now. */
  #read(): string {
    const digest = createHash('sha256')
    for (const name of ['ca.crt', 'ca.key']) {
      try {
        digest.update(readFileSync(path.join(this.#dir, name)))
      } catch {
        digest.update('none')
      }
    }
    return digest.digest('hex')
  }
}

/** Of the CA's certificate alone. @throws HoldfastError `tls-files` */
export function clusterOfAuthority(file: string, pem: string): string {
  try {
    return clusterIn(file, new X509Certificate(pem))
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    throw new HoldfastError('tls-files', { file, reason: 'it is no certificate' }, { cause: error })
  }
}

function clusterIn(file: string, { subjectAltName = '' }: X509Certificate): string {
  const clusterId = AUTHORITY_URI.exec(subjectAltName)?.[1]
  if (clusterId !== undefined) return clusterId
  throw new HoldfastError('tls-files', { file, reason: 'it was not made by `holdfast ca init`' })
}

/** A folder that is somebody else's would lose its key. */
function refuseAnother(out: string, uri: string): void {
  const file = path.join(out, 'tls.crt')
  if (!existsSync(file)) return
  const names = new X509Certificate(readFileSync(file)).subjectAltName ?? ''
  if (!names.split(', ').includes(`URI:${uri}`)) throw new HoldfastError('file-exists', { path: file })
}

function create(file: string, text: string): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new HoldfastError('file-exists', { path: file }, { cause: error })
    throw new HoldfastError('image-write', { path: file, reason: code }, { cause: error })
  }
}
