/** The certificates of a node: those of its folder, which have to say that it is the node that it is told to be. */
import { identityName } from '../cluster/tls/identity.ts'
import { StoreTls } from '../cluster/tls/store-tls.ts'
import { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'

/** Undefined: it talks in plain text. @throws HoldfastError `tls-files`, `tls-cluster` */
export function openNodeTls(dir: string | undefined, node: string, log: LogPort): TlsFolder | undefined {
  if (dir === undefined) return undefined
  const folder = new TlsFolder(dir)
  const { identity } = folder
  if (identity.role !== 'node' || identity.name !== node) {
    throw new HoldfastError('tls-cluster', { dir: folder.dir, found: identityName(identity), known: `node ${node}` })
  }
  folder.onProblem = ({ message }) => log.event('warn', 'new certificates cannot be used', { reason: message })
  return folder
}

/** Of a cluster that names another id than the certificate does. @throws HoldfastError `tls-cluster` */
export function checkTlsCluster(tls: TlsFolder | undefined, clusterId: string): void {
  if (tls === undefined || tls.identity.clusterId === clusterId) return
  const found = `cluster ${tls.identity.clusterId}`
  throw new HoldfastError('tls-cluster', { dir: tls.dir, found, known: `cluster ${clusterId}` })
}

export const storeTlsOf = (tls: TlsFolder | undefined): StoreTls | undefined => tls && new StoreTls(tls)
