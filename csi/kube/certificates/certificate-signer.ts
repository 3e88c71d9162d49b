/**
 * Signs the certificates of nodes (SPEC.md C1 to C3): a request is judged by what the API server says of who asked, and
 * by nothing that he says himself. One that fits is approved and signed, any other one of our signer denied.
 *
 *   list of our signer's requests -> neither certificate nor refusal yet -> judged -> approval put -> certificate put
 *                                                                        `-> denial put, with why
 *
 * Each step is a PUT on what was read: of two that sign at once one is told of a conflict, and looks again.
 */
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { listPages } from '../../../cluster/kubernetes/api-list.ts'
import { recordOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { certify } from '../../../cluster/tls/certificate.ts'
import type { Issuer } from '../../../cluster/tls/certificate.ts'
import { identityUri } from '../../../cluster/tls/identity.ts'
import type { TlsIdentity } from '../../../cluster/tls/identity.ts'
import { keyOfSigningRequest } from '../../../cluster/tls/signing-request.ts'
import { certificateRequestOf, REQUESTS_PATH, SIGNER, USAGES } from './certificate-requests.ts'
import type { CertificateRequest } from './certificate-requests.ts'
import { nodeNameOf } from '../node-name.ts'

const VALID_MS = 30 * 24 * 3600_000
/** Of the controller: there is one at a time. */
export const CSI_NAME = 'controller'

export interface SignerOptions {
  client: ApiClient
  issuer: Issuer
  clusterId: string
  /** `system:serviceaccount:NAMESPACE:NAME` -> what its pods are. */
  accounts: ReadonlyMap<string, 'node' | 'csi'>
  nowMs(): number
  log(line: string): void
}

/** Looks at all requests once. @returns how many were signed or denied */
export async function signRequests(options: SignerOptions): Promise<number> {
  let decided = 0
  const query = { fieldSelector: `spec.signerName=${SIGNER}` }
  for await (const page of listPages(options.client, { path: REQUESTS_PATH, query })) {
    if (!page.ok) {
      options.log(`requests for certificates cannot be read: ${page.failure.reason}`)
      return decided
    }
    for (const item of page.items) {
      const request = certificateRequestOf(item)
      if (request === undefined || request.refusal !== '' || request.certificate !== '') continue
      if (await decide(options, request)) decided++
    }
  }
  return decided
}

async function decide(options: SignerOptions, request: CertificateRequest): Promise<boolean> {
  const { clusterId, issuer, log } = options
  const why = whyDenied(options, request)
  const role = options.accounts.get(request.username) ?? 'node'
  const identity: TlsIdentity = { clusterId, role, name: role === 'node' ? nodeNameOf(request.nodeName) : CSI_NAME }
  const who = `${role} ${identity.name}`
  const key = why === undefined ? keyOfSigningRequest(request.request, identity) : undefined
  if (key === undefined) {
    const reason = why ?? `it is not the request of ${who} as holdfast ca request makes it`
    // What somebody approved is not denied any more, but it is not signed either.
    const put = request.isApproved ? false : await approval(options, request, 'Denied', reason)
    if (put !== false) log(`${request.name} of ${request.username} is denied: ${reason}`)
    return put !== false
  }
  const approved = request.isApproved ? request.object
    : await approval(options, request, 'Approved', `${who} asked for itself`)
  if (approved === false) return false
  const nowMs = options.nowMs()
  const leftMs = Date.parse(issuer.certificate.validTo) - nowMs
  const certificate = certify({
    commonName: identity.name, nowMs, validMs: Math.min(VALID_MS, leftMs), names: { uri: identityUri(identity) },
    purposes: role === 'node' ? ['serverAuth', 'clientAuth'] : ['clientAuth'],
  }, key, issuer)
  const signed = { ...recordOf(approved.status), certificate: Buffer.from(certificate).toString('base64') }
  const body = { ...approved, status: signed }
  const path = `${REQUESTS_PATH}/${segment(request.name)}/status`
  const put = await options.client.call({ method: 'PUT', path, body })
  if (put.ok) log(`${request.name}: a certificate for ${who}`)
  else log(`${request.name}: its certificate was not put: ${put.failure.reason}`)
  return put.ok
}

/** C2: as far as it is seen without the request itself. */
function whyDenied({ accounts }: SignerOptions, request: CertificateRequest): string | undefined {
  const { username, nodeName, usages } = request
  if (!accounts.has(username)) return `it was asked for by ${username}, and not by ${[...accounts.keys()].join(' or ')}`
  if (nodeName === '') {
    return 'the token of who asked is bound to no node (Kubernetes tells it from 1.32 on): issue certificates yourself'
  }
  return usages.join() === [...USAGES].sort().join() ? undefined : `its usages are not ${USAGES.join(', ')}`
}

/** @returns the object as it is then; false: it was not put */
async function approval(
  { client, log }: SignerOptions, { name, object }: CertificateRequest, type: 'Approved' | 'Denied', message: string,
): Promise<ApiObject | false> {
  const status = recordOf(object.status)
  const before = Array.isArray(status.conditions) ? status.conditions : []
  const condition = { type, status: 'True', reason: 'Holdfast', message }
  const body = { ...object, status: { ...status, conditions: [...before, condition] } }
  const answer = await client.call({ method: 'PUT', path: `${REQUESTS_PATH}/${segment(name)}/approval`, body })
  if (answer.ok) return answer.body
  log(`${name}: it was not ${type.toLowerCase()}: ${answer.failure.reason}`)
  return false
}
