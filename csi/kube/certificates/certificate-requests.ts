/** Certificate signing requests as the Kubernetes API has them, as far as nodes and their signer need (SPEC.md C1). */
import { recordOf, recordsOf, textOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { isRecord } from '../../../engine/value-shape.ts'

export const SIGNER = 'holdfast.io/node'
export const REQUESTS_PATH = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
/** In `spec.extra`, put there by the API server: the node to which the token of who asked is bound. */
export const NODE_NAME = 'authentication.kubernetes.io/node-name'
/** Nothing but what our certificates are for. */
export const USAGES = ['client auth', 'digital signature', 'server auth'] as const

export interface CertificateRequest {
  name: string
  /** The whole object, to be put again with what is decided. */
  object: ApiObject
  /** Who asked, as the API server says. */
  username: string
  /** Empty: his token is bound to no node, or the API server does not tell. */
  nodeName: string
  /** PEM. */
  request: string
  usages: readonly string[]
  isApproved: boolean
  /** Denied or failed; empty: neither. */
  refusal: string
  /** PEM; empty: not yet. */
  certificate: string
}

/** Undefined: it is none of ours, or cannot be read. */
export function certificateRequestOf(object: unknown): CertificateRequest | undefined {
  if (!isRecord(object) || !isRecord(object.metadata) || !isRecord(object.spec)) return undefined
  const { metadata, spec } = object
  const { conditions: told, certificate } = recordOf(object.status)
  if (spec.signerName !== SIGNER || typeof metadata.name !== 'string') return undefined
  const extra = recordOf(spec.extra)[NODE_NAME]
  const conditions = recordsOf(told)
  const refused = conditions.find(({ type }) => type === 'Denied' || type === 'Failed')
  return {
    name: metadata.name,
    object,
    username: textOf(spec.username),
    nodeName: Array.isArray(extra) && extra.length === 1 ? textOf(extra[0]) : '',
    request: Buffer.from(textOf(spec.request), 'base64').toString('latin1'),
    usages: Array.isArray(spec.usages) ? spec.usages.map(textOf).sort() : [],
    isApproved: conditions.some(({ type }) => type === 'Approved'),
    refusal: refused === undefined ? '' : textOf(refused.message) || 'it was denied',
    certificate: Buffer.from(textOf(certificate), 'base64').toString('latin1'),
  }
}
