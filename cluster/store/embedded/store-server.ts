/**
 * The embedded store on the network: the services of proto/etcd over gRPC. Over TLS for nodes and admins of its
 * cluster, in plain text for whoever reaches it. Idle cost: one timer in ten minutes, and pings to clients that have
 * calls.
 */
import { Server, ServerCredentials, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type { ServiceError, handleUnaryCall } from '@grpc/grpc-js'
import { HoldfastError } from '../../../engine/errors.ts'
import { identityName } from '../../tls/identity.ts'
import { addressOf } from '../../tls/tls-accept.ts'
import { listenSecurely } from '../../tls/secure-listener.ts'
import type { SecureListenOptions } from '../../tls/secure-listener.ts'
import { stopServer } from '../../stop-server.ts'
import { etcdServices } from '../etcd-api.ts'
import type { ResponseHeader } from '../etcd-api.ts'
import type { EmbeddedStore } from './embedded-store.ts'
import { ConnectedNodes } from './connected-nodes.ts'
import { KvService } from './kv-service.ts'
import { Refusal, stopped } from './refusals.ts'
import { WatchStream } from './watch-stream.ts'
import type { WatchCall } from './watch-stream.ts'

/** Failures reach us as values; the library's own lines on stderr would be a second voice. */
setLogVerbosity(logVerbosity.NONE)

const REQUEST_BYTES_MAX = 256 * 1024
const STREAMS_MAX = 1000
const PROGRESS_EVERY_MS = 600_000
/** A client whose host is gone frees its streams. */
const KEEPALIVE_MS = 30_000
/** What clients take as the version of an etcd that has all that is served here. */
const API_VERSION = '3.4.0'

export interface StoreServer {
  /** `http://HOST:PORT` or `https://HOST:PORT`, with the port that was chosen when 0 was asked for. */
  url: string
  /** Accept nothing more, end the watches, let calls end for `graceMs`, then drop them. */
  close(graceMs: number): Promise<void>
}

export interface ListenAddress {
  host: string
  port: number
}

/** `HOST:PORT` or `[V6]:PORT`; port 0 lets the kernel choose. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]/]+):(\d{1,5})$/.exec(text)
  const port = Number(match?.[2])
  if (match === null || port > 65535) throw new HoldfastError('store-listen', { address: JSON.stringify(text) })
  return { host: match[1]!, port }
}

/** @throws HoldfastError `port-busy` or `listen` */
export async function serveStore(options: {
  store: EmbeddedStore
  listen: ListenAddress
  /** Unset: plain text. */
  tls?: Pick<SecureListenOptions, 'folder' | 'onRefused'> | undefined
  /** An unexpected failure of ours in a request; its caller heard INTERNAL. */
  onBug: (error: unknown) => void
}): Promise<StoreServer> {
  const { store, listen, tls, onBug } = options
  const [clusterId, memberId] = [String(store.clusterId), String(store.memberId)]
  const header = (revision: number): ResponseHeader =>
    ({ clusterId, memberId, revision: String(revision), raftTerm: '1' })
  const kv = new KvService(store, header)
  const streams = new Map<WatchCall, WatchStream>()
  let isStopping = false

  const unary = <Q, S>(run: (request: Q) => S | Promise<S>): handleUnaryCall<unknown, unknown> => (call, answer) => {
    const answered = new Promise<S>((resolve) => {
      if (isStopping) throw stopped()
      resolve(run(call.request as Q))
    })
    answered.then((response) => answer(null, response), (error: unknown) => {
      if (error instanceof Refusal) return answer({ code: error.code, details: error.message } as ServiceError)
      answer({ code: status.INTERNAL, details: 'holdfast store: it hit a bug of its own' } as ServiceError)
      onBug(error)
    })
  }
  const watch = (call: WatchCall) => {
    if (isStopping) return endStopped(call)
    const stream = new WatchStream(call, store, header)
    streams.set(call, stream)
    call.on('data', (request) => stream.onRequest(request))
    call.on('end', () => call.end())
    for (const end of ['cancelled', 'close', 'error']) call.on(end, () => streams.delete(call))
  }

  const server = new Server({
    'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': STREAMS_MAX,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_MS / 3,
    'grpc.enable_channelz': 0,
  })
  const services = etcdServices()
  server.addService(services.KV, {
    Range: unary(kv.range.bind(kv)),
    Put: unary(kv.put.bind(kv)),
    DeleteRange: unary(kv.deleteRange.bind(kv)),
    Txn: unary(kv.txn.bind(kv)),
    Compact: unary(kv.compact.bind(kv)),
  })
  server.addService(services.Watch, { Watch: watch })
  const members = () => [{ ID: memberId, name: 'holdfast', clientURLs: [url], peerURLs: [] }]
  server.addService(services.Cluster, {
    MemberList: unary(() => ({ header: header(store.committedRevision), members: members() })),
  })
  server.addService(services.Maintenance, { Status: unary(() => statusOf(store, header(store.committedRevision))) })
  const nodes = new ConnectedNodes(store)
  const secured = tls === undefined ? undefined : await bindSecurely(server, listen, tls, nodes)
  const url = secured?.url ?? await bind(server, listen)

  store.onCommitted = () => {
    nodes.look()
    for (const stream of streams.values()) stream.pump()
  }
  const progress = setInterval(() => {
    for (const stream of streams.values()) stream.notifyProgress()
  }, PROGRESS_EVERY_MS)

  return {
    url,
    close: (graceMs) => {
      isStopping = true
      clearInterval(progress)
      for (const call of streams.keys()) endStopped(call)
      void secured?.close()
      return stopServer(server, graceMs)
    },
  }
}

function endStopped(call: WatchCall): void {
  const { code, message } = stopped()
  call.emit('error', { code, details: message })
}

function statusOf(store: EmbeddedStore, header: ResponseHeader): object {
  const { liveBytes, historyBytes } = store.history
  const bytes = String(liveBytes + historyBytes)
  const { memberId, revision, raftTerm } = header
  return {
    header, version: API_VERSION, dbSize: bytes, dbSizeInUse: bytes, leader: memberId, raftTerm,
    raftIndex: revision, raftAppliedIndex: revision, errors: [], isLearner: false,
  }
}

/** Nodes keep the cluster in it; an admin rebuilds it. Nobody else has anything to do with it. */
async function bindSecurely(
  server: Server,
  { host, port }: ListenAddress,
  { folder, onRefused }: Pick<SecureListenOptions, 'folder' | 'onRefused'>,
  nodes: ConnectedNodes,
): Promise<{ url: string; close(): Promise<void> }> {
  const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure())
  const listener = await listenSecurely({
    host: host.replace(/^\[(.*)\]$/, '$1'), port, folder, protocol: 'h2', onRefused,
    onSecure: (socket, identity) => {
      const { role, name } = identity
      const why = role === 'node' ? nodes.add(name, socket)
        : role === 'admin' ? undefined : `${identityName(identity)} has nothing to do with the store`
      if (why === undefined) return injectConnection(socket)
      onRefused(addressOf(socket), why)
      socket.destroy()
    },
  })
  return { url: `https://${host}:${listener.port}`, close: () => listener.close() }
}

function bind(server: Server, { host, port }: ListenAddress): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) return resolve(`http://${host}:${bound}`)
      const reason = error.message
      if (/EADDRINUSE/.test(reason)) return reject(new HoldfastError('port-busy', { port }))
      const code = /\b(E[A-Z]{4,})\b/.exec(reason)?.[1]
      reject(new HoldfastError('listen', { endpoint: `${host}:${port}`, reason: code ?? reason }, { cause: error }))
    })
  })
}
