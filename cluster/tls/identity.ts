/**
 * Who somebody is, as the certificate says that a cluster's CA signed for him: one URI among its alternative names,
 *
 *   holdfast://cluster/<cluster id>/<role>/<name>          e.g. holdfast://cluster/0b9f…/node/n1
 *
 * Invariant: nothing else of a certificate names anybody. A common name, a DNS name or an address is for people and for
 * tools that look at hosts.
 */
import type { X509Certificate } from 'node:crypto'

/** node: a daemon and its supervisor. store: the cluster store. The rest asks the control API. */
export const ROLES = ['viewer', 'operator', 'admin', 'csi', 'node', 'store'] as const

export type Role = (typeof ROLES)[number]

export interface TlsIdentity {
  clusterId: string
  role: Role
  name: string
}

const URI = /^holdfast:\/\/cluster\/([0-9a-f]{32})\/([a-z]+)\/([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)$/

export const CLUSTER_ID = /^[0-9a-f]{32}$/
/** Of the name in a certificate. */
export const IDENTITY_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/

export const identityUri = ({ clusterId, role, name }: TlsIdentity): string =>
  `holdfast://cluster/${clusterId}/${role}/${name}`

/** For a person: `node n1`, `admin alice`. */
export const identityName = ({ role, name }: TlsIdentity): string => `${role} ${name}`

/** @returns why it names nobody, as words for a log */
export function identityOf(certificate: X509Certificate | undefined): TlsIdentity | string {
  const names = certificate?.subjectAltName
  if (names === undefined) return 'its certificate has no alternative names'
  // Node puts a name in quotes that could be taken for several: none of ours needs any.
  if (names.includes('"')) return 'its certificate has a name that needs quotes'
  const uris = names.split(', ').filter((name) => name.startsWith('URI:holdfast:')).map((name) => name.slice(4))
  if (uris.length !== 1) return `its certificate has ${uris.length} names of the form holdfast://cluster/...`
  const [, clusterId, role, name] = URI.exec(uris[0]!) ?? []
  const known = ROLES.find((one) => one === role)
  if (known === undefined) return 'its certificate names a role that is not known'
  return { clusterId: clusterId!, role: known, name: name! }
}
