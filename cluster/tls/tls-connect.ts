/**
 * The asking side of TLS, over a socket that is connected: who answers has a certificate of our CA and is who was
 * meant, before anything is said to him.
 */
import net from 'node:net'
import type { Socket } from 'node:net'
import { checkServerIdentity, connect } from 'node:tls'
import type { SecureContext, TLSSocket } from 'node:tls'
import { identityName, identityOf } from './identity.ts'
import type { TlsIdentity } from './identity.ts'
import { reasonOf } from './tls-accept.ts'
import { notOfCluster } from './tls-folder.ts'
import type { TlsFolder } from './tls-folder.ts'

export interface SecureWish {
  /** What is shown and who is believed, of a connection that begins now. */
  folder: { readonly current: { readonly context: SecureContext } }
  /** ALPN. */
  protocol: string
  /** The certificate has to be for that host too; unset: addresses change, who it is says the identity. */
  host?: string
  /** @param identity  a sentence: nobody of a cluster. @returns why that is not who was meant */
  judge(identity: TlsIdentity | string): string | undefined
  /** Why it came to nothing; a transport in between may tell less. */
  onFailed?(why: string): void
}

/** Frames, or gRPC (`h2`), with a node of our cluster. @param node  which one; unset: any */
export const wishForNode = (folder: TlsFolder, node?: string, protocol = 'h2'): SecureWish => ({
  folder,
  protocol,
  judge: (identity) => notOfCluster(folder, identity) ?? notThatNode(identity as TlsIdentity, node),
})

/** gRPC with any node of that cluster, which sees no certificate of ours. @param context  whom we believe */
export const wishForCluster = (context: SecureContext, clusterId: string): SecureWish => ({
  folder: { current: { context } },
  protocol: 'h2',
  judge: (identity) => {
    if (typeof identity === 'string') return identity
    if (identity.clusterId !== clusterId) return `its certificate is for cluster ${identity.clusterId}`
    return notThatNode(identity, undefined)
  },
})

/**
 * A cluster store: known by its host, and where our own CA signed for it also as that of our cluster; so no node can
 * take its place with a certificate of its own.
 * @param isOurCa  the folder is that of this process, not one for the store alone
 */
export const wishForStore = (folder: TlsFolder, isOurCa: boolean, host: string): SecureWish => ({
  folder,
  protocol: 'h2',
  host,
  judge: (identity) => {
    if (!isOurCa) return undefined
    const problem = notOfCluster(folder, identity)
    if (problem !== undefined) return problem
    return (identity as TlsIdentity).role === 'store' ? undefined : notFor(identity as TlsIdentity, 'a cluster store')
  },
})

const notFor = (identity: TlsIdentity, whom: string): string =>
  `its certificate is for ${identityName(identity)}, not for ${whom}`

function notThatNode(identity: TlsIdentity, node: string | undefined): string | undefined {
  if (identity.role === 'node' && (node === undefined || identity.name === node)) return undefined
  return notFor(identity, node === undefined ? 'a node' : `node ${node}`)
}

/** Calls one of both, once; the socket is destroyed when it fails. @returns the socket, e.g. to give up */
export function secure(
  socket: Socket,
  wish: SecureWish,
  done: (secured: TLSSocket) => void,
  failed: (why: string) => void,
): TLSSocket {
  const { folder, protocol, host } = wish
  let isOver = false
  const { context } = folder.current
  const secured = connect({
    socket,
    secureContext: context,
    ALPNProtocols: [protocol],
    rejectUnauthorized: true,
    checkServerIdentity: (_, certificate) => (host === undefined ? undefined : checkServerIdentity(host, certificate)),
    ...(host === undefined || net.isIP(host) !== 0 ? {} : { servername: host }),
  })
  const end = (why: string): void => {
    secured.destroy()
    if (isOver) return
    isOver = true
    wish.onFailed?.(why)
    failed(why)
  }
  secured.on('error', (error: NodeJS.ErrnoException) => end(reasonOf(error)))
  secured.once('close', () => end('it closed the connection during the handshake'))
  secured.once('secureConnect', () => {
    if (isOver) return
    if (!secured.authorized) return end(String(secured.authorizationError))
    if (secured.alpnProtocol !== protocol) return end(`it does not speak ${protocol}`)
    const problem = wish.judge(identityOf(secured.getPeerX509Certificate()))
    if (problem !== undefined) return end(problem)
    isOver = true
    done(secured)
  })
  return secured
}
