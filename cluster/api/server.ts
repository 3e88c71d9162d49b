/** The control API (definition.ts) as a service of a gRPC server, and alone on a unix socket. */
import { HoldfastError } from '../../engine/errors.ts'
import type { Caller } from './access.ts'
import type { AuditTrail } from './audit-trail.ts'
import { METHODS, METHOD_NAMES, services } from './definition.ts'
import type { ControlApi } from './definition.ts'
import { serveGrpc } from './grpc-server.ts'
import type { ApiServer, ServedService, ServedToOwner } from './grpc-server.ts'
import { snapshotReadService } from './snapshot-diff.ts'
import type { DiffSnapshots } from './snapshot-diff.ts'

export type { ApiServer } from './grpc-server.ts'

/** @param of  who answers that caller */
export function controlServices(of: (caller: Caller) => ControlApi): ServedService[] {
  return Object.entries(services()).map(([name, definition]) => {
    const calls: ServedService['calls'] = {}
    for (const method of METHOD_NAMES) {
      const [service, rpc] = METHODS[method]
      if (service === name) calls[rpc] = (request: never, caller) => of(caller)[method](request)
    }
    return { definition, calls }
  })
}

/** Serve `api` at `socketPath`, replacing a socket a dead process left there (the caller holds the folder's lock). */
export function serveControlApi(options: {
  socketPath: string
  api: ControlApi
  /** Of a node of a cluster. */
  diff?: DiffSnapshots
  peerUid?: ServedToOwner['peerUid']
  audit?: AuditTrail
  onBug: (error: unknown) => void
}): Promise<ApiServer> {
  const { socketPath, api, diff = noSnapshots, peerUid, audit, onBug } = options
  const services = [...controlServices(() => api), snapshotReadService(diff)]
  return serveGrpc({ socketPath, peerUid }, services, onBug, audit)
}

async function* noSnapshots(): AsyncGenerator<never> {
  const instead = 'snapshots are for volumes of a cluster in this version: a node with `--store` is in one'
  throw new HoldfastError('not-supported', { what: 'a snapshot on a node without a cluster', instead })
}
