/**
 * A node asks for its certificate (SPEC.md C1): the key is made here and stays here, the request is put where the API
 * server writes down who asked, and what comes back is looked at before it takes the place of anything.
 */
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { identityOf, identityUri } from '../../../cluster/tls/identity.ts'
import type { TlsIdentity } from '../../../cluster/tls/identity.ts'
import { makeSigningRequest } from '../../../cluster/tls/signing-request.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { certificateRequestOf, REQUESTS_PATH, SIGNER, USAGES } from './certificate-requests.ts'

const LOOK_EVERY_MS = 500

export interface AskOptions {
  client: ApiClient
  identity: TlsIdentity
  /** PEM: who has to have signed it. */
  authority: string
  /** For all of it. */
  deadlineMs: number
}

/** @throws HoldfastError `kube-unreachable`, `certificate-refused` */
export async function askForCertificate(
  { client, identity, authority, deadlineMs }: AskOptions,
): Promise<{ key: string; certificate: string }> {
  const untilMs = performance.now() + deadlineMs
  const { key, request } = makeSigningRequest(identity)
  const name = `holdfast-${identity.name}-${randomBytes(4).toString('hex')}`
  const put = await client.call({
    method: 'POST', path: REQUESTS_PATH,
    body: {
      apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest', metadata: { name },
      spec: { signerName: SIGNER, usages: USAGES, request: Buffer.from(request).toString('base64') },
    },
  })
  // One that was put without an answer is signed for nobody; the next try makes another.
  const refused = (reason: string) =>
    new HoldfastError('certificate-refused', { node: identity.name, request: name, reason })
  if (!put.ok) {
    const { status, reason } = put.failure
    if (status >= 400 && status < 500) throw refused(reason)
    throw new HoldfastError('kube-unreachable', { server: client.access.server.origin, reason })
  }
  while (performance.now() < untilMs) {
    const answer = await client.call({ method: 'GET', path: `${REQUESTS_PATH}/${segment(name)}` })
    const found = answer.ok ? certificateRequestOf(answer.body) : undefined
    if (found !== undefined && found.refusal !== '') throw refused(found.refusal)
    if (found !== undefined && found.certificate !== '') {
      const why = whyNotOurs(found.certificate, { key, identity, authority })
      if (why !== undefined) throw refused(why)
      return { key, certificate: found.certificate }
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
  throw refused(`nobody signed it in ${Math.round(deadlineMs / 1000)} s (\`holdfast ca sign\` does)`)
}

/** While one CA takes over from another, both are believed; the first is the one that signs. */
export const authoritiesIn = (pem: string): X509Certificate[] =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((one) => new X509Certificate(one))

/** Undefined: it is for us, and by whom everybody here believes. */
function whyNotOurs(
  pem: string, { key, identity, authority }: Pick<AskOptions, 'identity' | 'authority'> & { key: string },
): string | undefined {
  try {
    const certificate = new X509Certificate(pem)
    const who = identityOf(certificate)
    if (typeof who === 'string') return who
    if (identityUri(who) !== identityUri(identity)) return 'what came back is for somebody else'
    if (!certificate.checkPrivateKey(createPrivateKey(key))) return 'what came back is for another key'
    const isTheirs = authoritiesIn(authority).some(({ publicKey }) => certificate.verify(publicKey))
    return isTheirs ? undefined : 'another CA signed it'
  } catch {
    return 'what came back is no certificate'
  }
}
