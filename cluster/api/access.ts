/**
 * Who may call what: one row for each RPC of proto/holdfast/v1, and nobody else may. What has no row nobody may call.
 *
 * viewer    looks
 * operator  runs the cluster: makes volumes and snapshots, moves, drains, repairs; destroys nothing but what schedules
 *           that he sets do not keep of the snapshots that schedules made
 * admin     everything a user can do
 * csi       what Kubernetes asks of volumes: deletes into the trash only, and takes none from who holds it but by
 *           ending his attachment first
 * node      another daemon: reports, orders, and what its own users asked it
 *
 * Over TLS somebody has the role in his certificate, or that of the bearer token he shows (token-book.ts). On a unix
 * socket whoever may open it (its owner) is an admin. Who comes over TCP in plain text (loopback only) is taken for a
 * node, as everybody on that host may be.
 */
import { X509Certificate } from 'node:crypto'
import type { ServerUnaryCall } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { identityOf } from '../tls/identity.ts'
import type { Role } from '../tls/identity.ts'

/** Who calls. */
export interface Caller {
  role: Role
  /** Of the certificate, or of the token. */
  name: string
  /** What proves it. */
  by: 'certificate' | 'token' | 'socket' | 'loopback'
  /** Of a unix socket: the user of the other process. */
  uid?: number
  /** From when on what proves it is valid, since 1970. */
  issuedAtMs?: number
  /** It has the certificate of a node and is no daemon: what it looks at is passed on to who is elected. */
  isPassedOn?: boolean
}

/**
 * Header of a call that shall be passed on, as those of users are, although it shows the certificate of a node. It says
 * nothing of who calls, and daemons leave it out: what they pass on goes no further.
 */
export const PASS_ON_HEADER = 'holdfast-pass-on'

const LOOKS: readonly Role[] = ['viewer', 'operator', 'admin', 'csi', 'node']
const RUNS: readonly Role[] = ['operator', 'admin', 'node']
const PROVISIONS: readonly Role[] = ['operator', 'admin', 'csi', 'node']
/** Data goes, or is said to be gone. */
const DESTROYS: readonly Role[] = ['admin', 'node']
const DESTROYS_VOLUMES: readonly Role[] = ['admin', 'csi', 'node']
const NODES: readonly Role[] = ['node']
/** On a socket of the host alone, where its owner is an admin. */
const OWNS_HOST: readonly Role[] = ['admin']

export const ACCESS: Readonly<Record<string, readonly Role[]>> = {
  'VolumeService/Create': PROVISIONS,
  'VolumeService/List': LOOKS,
  'VolumeService/Get': LOOKS,
  'VolumeService/Resize': PROVISIONS,
  'VolumeService/Delete': DESTROYS_VOLUMES,
  'VolumeService/Restore': RUNS,
  'VolumeService/Purge': DESTROYS,
  'VolumeService/Modify': PROVISIONS,
  'VolumeService/GetKeys': PROVISIONS,
  // What is no wrap of the data key would be the end of the data.
  'VolumeService/ChangeKeys': DESTROYS,
  'VolumeService/Rekey': RUNS,
  'VolumeService/Move': RUNS,
  'VolumeService/ForcePromotion': DESTROYS,
  'VolumeService/Explain': LOOKS,
  'VolumeService/Attach': PROVISIONS,
  'VolumeService/Detach': PROVISIONS,
  'VolumeService/Scrub': RUNS,
  'VolumeService/Hydrate': RUNS,
  'SnapshotService/Create': PROVISIONS,
  'SnapshotService/List': LOOKS,
  'SnapshotService/Get': LOOKS,
  'SnapshotService/Delete': DESTROYS_VOLUMES,
  'SnapshotService/RollBack': DESTROYS,
  'SnapshotService/SetSchedule': RUNS,
  'SnapshotReadService/Diff': PROVISIONS,
  'GroupService/Create': PROVISIONS,
  'GroupService/List': LOOKS,
  'GroupService/Get': LOOKS,
  'GroupService/Delete': DESTROYS_VOLUMES,
  'DiskService/List': LOOKS,
  // It makes a file as the user of the daemon, or formats a device.
  'DiskService/Add': DESTROYS,
  'DiskService/Adopt': RUNS,
  'DiskService/SetEvicted': RUNS,
  'NodeService/List': LOOKS,
  'NodeService/Get': LOOKS,
  'NodeService/Status': LOOKS,
  'NodeService/Capacity': LOOKS,
  'NodeService/SetWish': RUNS,
  'NodeService/Remove': DESTROYS,
  // Who may make one may become anybody.
  'TokenService/Create': DESTROYS,
  'TokenService/List': DESTROYS,
  'TokenService/Revoke': DESTROYS,
  'KeeperService/Attach': OWNS_HOST,
  'KeeperService/Detach': OWNS_HOST,
  'KeeperService/Resize': OWNS_HOST,
  'KeeperService/List': OWNS_HOST,
  'KeeperService/Note': OWNS_HOST,
  'ClusterService/Report': NODES,
  'ClusterService/MakeCopy': NODES,
  'ClusterService/EraseCopy': NODES,
  'ClusterService/HandOver': NODES,
  'ClusterService/Change': NODES,
  'ClusterService/Hold': NODES,
  'ClusterService/Release': NODES,
  'ClusterService/Snapshots': NODES,
  'ClusterService/AwaitOffer': NODES,
  'ClusterService/Scrub': NODES,
  'ClusterService/Hydrate': NODES,
  'ClusterService/Rekey': NODES,
  'ClusterService/Digest': NODES,
  'ClusterService/Clients': NODES,
}

/** Fields that a role may not set, of RPCs that it may call. */
export const WITHOUT: Readonly<Record<string, { role: Role; fields: readonly string[] }>> = {
  'VolumeService/Delete': { role: 'csi', fields: ['force', 'purge', 'keep'] },
  'VolumeService/Attach': { role: 'csi', fields: ['force'] },
}

const PACKAGE = '/holdfast.v1.'

/** @param path  of an RPC, `/holdfast.v1.VolumeService/List`. @returns what its row is called */
export const rpcOf = (path: string): string => path.startsWith(PACKAGE) ? path.slice(PACKAGE.length) : path

/**
 * Whether it is passed on for who shows the certificate of a node. The elected node hears it from the node that passes
 * it on, so it is what every role may ask: nobody gets an answer by that which he would not get himself.
 */
export const isPassedOn = (rpc: string): boolean => Object.hasOwn(ACCESS, rpc) && ACCESS[rpc] === LOOKS

/** @param path  of the RPC: `/holdfast.v1.VolumeService/List`. @returns why he may not */
export function denied(path: string, caller: Caller | undefined): HoldfastError | undefined {
  const rpc = rpcOf(path)
  const roles = Object.hasOwn(ACCESS, rpc) ? ACCESS[rpc]! : []
  if (caller !== undefined && roles.includes(caller.role)) return undefined
  const who = caller === undefined ? 'who shows neither a certificate nor a token of this cluster'
    : `${caller.role} ${caller.name}`
  return new HoldfastError('tls-denied', { who, rpc, reason: 'that role has no such right', roles: roles.join(', ') })
}

/** @param rpc  as rows are called. @returns why he may not ask that of it */
export function deniedField(rpc: string, request: object, { role, name }: Caller): HoldfastError | undefined {
  const without = Object.hasOwn(WITHOUT, rpc) ? WITHOUT[rpc]! : undefined
  if (without?.role !== role) return undefined
  const field = without.fields.find((one) => Boolean((request as Record<string, unknown>)[one]))
  if (field === undefined) return undefined
  const roles = ACCESS[rpc]!.filter((one) => one !== role).join(', ')
  return new HoldfastError('tls-denied', { who: `${role} ${name}`, rpc, reason: `not with ${field}`, roles })
}

/** Of a call over TLS: the certificate was verified when the connection was made. */
export function callerOf(call: Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>): Caller | undefined {
  const raw = call.getAuthContext().sslPeerCertificate?.raw
  const certificate = raw === undefined ? undefined : new X509Certificate(raw)
  const identity = certificate && identityOf(certificate)
  if (typeof identity !== 'object') return undefined
  const { role, name } = identity
  return { role, name, by: 'certificate', issuedAtMs: Date.parse(certificate!.validFrom) }
}
