/** What somebody may show who is not to be let in, and who is: certificates of all kinds, for gRPC and for raw TLS. */
import { createSecureContext } from 'node:tls'
import { credentials } from '@grpc/grpc-js'
import type { ChannelCredentials } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { ROLES } from '../../cluster/tls/identity.ts'
import type { Role } from '../../cluster/tls/identity.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { issueRaw } from '../cluster/tls/raw-certificate.ts'

export type TestOwner = Pick<Test, 'teardown'>

/** For `tls.connect`. */
export interface Shown {
  ca: string
  key?: string
  cert?: string
}

export interface Credentials {
  /** Nothing at all, not even TLS, is `plain text`. */
  strangers: Record<string, Shown>
  roles: Record<Role, Shown>
}

/** @param name  of whom the certificates are; a node of that name exists where they are shown */
export function credentialsOf(t: TestOwner, ca: TestCa, name: string): Credentials {
  const believed = ca.folder({ role: 'node', name: 'n1' }).current.options().ca as string
  const uri = `holdfast://cluster/${ca.clusterId}/node/${name}`
  const raw = (of: TestCa, wish: Parameters<typeof issueRaw>[1]): Shown => {
    const { key, certificate } = issueRaw(of.dir, wish)
    return { ca: believed, key, cert: certificate }
  }
  const roles = Object.fromEntries(ROLES.map((role) => {
    const { key, cert } = ca.folder({ role, name: role === 'node' ? name : 'somebody' }).current.options()
    return [role, { ca: believed, key: String(key), cert: String(cert) }]
  })) as Record<Role, Shown>
  return {
    strangers: {
      'no certificate': { ca: believed },
      'another CA, our cluster id': raw(new TestCa(t, ca.clusterId), { uri }),
      expired: raw(ca, { uri, expired: true }),
      'for servers only': raw(ca, { uri, purposes: ['serverAuth'] }),
      'our CA, another cluster': raw(ca, { uri: `holdfast://cluster/${'0'.repeat(32)}/node/${name}` }),
      'our CA, nobody': raw(ca, { dns: [name] }),
    },
    roles,
  }
}

/** Whoever answers is believed: it is not he who is tested. */
export function channelOf({ ca, key, cert }: Shown): ChannelCredentials {
  const checkServerIdentity = () => undefined
  const options = { checkServerIdentity }
  if (key === undefined) return credentials.createFromSecureContext(createSecureContext({ ca }), options)
  return credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert!), options)
}
