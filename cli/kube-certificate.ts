/**
 * The TLS folder of a node in a Kubernetes cluster, kept up to date by looking once a minute (csi/kube/SPEC.md C1, C4):
 *
 *   ca.crt of the cluster, a file that others exchange -> taken over, when it vouches for the certificate we have
 *   a third of the certificate's life is over          -> another one is asked for
 *   it is not of the CA that stands first in ca.crt    -> another one is asked for, once for each ca.crt
 *
 * Invariant: ca.crt in the folder vouches for tls.crt beside it. So a ca.crt without the CA of everybody's certificates
 * cannot make a node believe nobody before it has a certificate of the new one itself.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { identityOf, identityUri } from '../cluster/tls/identity.ts'
import type { TlsIdentity } from '../cluster/tls/identity.ts'
import { askForCertificate, authoritiesIn } from '../csi/kube/certificates/certificate-request.ts'
import { makeFolder, replaceFile } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import { clusterOfAuthority } from './ca-folder.ts'

const ANSWER_MS = 120_000
/** Of its life, after which another one is asked for. */
const RENEWED_AFTER = 1 / 3

export interface KubeCertificateOptions {
  client: ApiClient
  identity: TlsIdentity
  /** `ca.crt` of the cluster. */
  authorityFile: string
  /** The folder. */
  out: string
}

export class KubeCertificate {
  readonly #o: KubeCertificateOptions
  /** The ca.crt for which the certificate was asked anew last. */
  #askedFor = ''

  constructor(options: KubeCertificateOptions) {
    this.#o = options
  }

  /**
   * One look at what is there.
   * @returns when the next certificate is to be asked for, in ms since 1970
   * @throws HoldfastError `certificate-refused`, `kube-unreachable`, `tls-files`, `tls-cluster`
   */
  async look(): Promise<number> {
    const { client, identity, out } = this.#o
    const authority = this.#authority()
    const present = this.#present()
    if (present !== undefined && isVouchedFor(present, authority)) takeOver(out, authority)
    const isFormer = present !== undefined && !present.verify(authoritiesIn(authority)[0]!.publicKey)
    const isDue = this.renewAtMs <= Date.now() || (isFormer && this.#askedFor !== authority)
    if (!isDue) return this.renewAtMs
    const { key, certificate } = await askForCertificate({ client, identity, authority, deadlineMs: ANSWER_MS })
    makeFolder(out)
    replaceFile(path.join(out, 'tls.key'), key)
    replaceFile(path.join(out, 'tls.crt'), certificate)
    replaceFile(path.join(out, 'ca.crt'), authority)
    // Signed by the former one all the same: whoever signs was not exchanged yet, and is not asked each minute.
    this.#askedFor = authority
    return this.renewAtMs
  }

  /** 0: now, as there is none for us. */
  get renewAtMs(): number {
    const present = this.#present()
    if (present === undefined) return 0
    const [from, to] = [Date.parse(present.validFrom), Date.parse(present.validTo)]
    return from + (to - from) * RENEWED_AFTER
  }

  /** Whether there is one for us that has not expired. */
  get isGood(): boolean {
    const present = this.#present()
    return present !== undefined && Date.parse(present.validTo) > Date.now()
  }

  /** The one in the folder, if it is for us and has its key. */
  #present(): X509Certificate | undefined {
    const { out, identity } = this.#o
    const file = path.join(out, 'tls.crt')
    if (!existsSync(file)) return undefined
    try {
      const certificate = new X509Certificate(readFileSync(file))
      const who = identityOf(certificate)
      const isOurs = typeof who !== 'string' && identityUri(who) === identityUri(identity)
      const key = createPrivateKey(readFileSync(path.join(out, 'tls.key')))
      return isOurs && certificate.checkPrivateKey(key) ? certificate : undefined
    } catch {
      return undefined
    }
  }

  #authority(): string {
    const { authorityFile, identity } = this.#o
    const text = readAuthorityFile(authorityFile)
    const found = clusterOfAuthority(authorityFile, text)
    if (found === identity.clusterId) return text
    const known = `cluster ${identity.clusterId}`
    throw new HoldfastError('tls-cluster', { dir: authorityFile, found: `cluster ${found}`, known })
  }
}

/** @throws HoldfastError `tls-files` */
export function readAuthorityFile(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new HoldfastError('tls-files', { file, reason: `it cannot be read: ${(error as { code?: string }).code}` })
  }
  try {
    if (authoritiesIn(text).length > 0) return text
  } catch (error) {
    throw new HoldfastError('tls-files', { file, reason: 'it holds no certificate in PEM' }, { cause: error })
  }
  throw new HoldfastError('tls-files', { file, reason: 'it holds no certificate in PEM' })
}

const isVouchedFor = (certificate: X509Certificate, authority: string): boolean =>
  authoritiesIn(authority).some(({ publicKey }) => certificate.verify(publicKey))

function takeOver(out: string, authority: string): void {
  const file = path.join(out, 'ca.crt')
  if (!existsSync(file) || readFileSync(file, 'utf8') !== authority) replaceFile(file, authority)
}
