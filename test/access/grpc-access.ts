/**
 * Every RPC of the control API and of the cluster store, streams included, asked by everybody. The lists are read from
 * the text of the .proto files, so that a new one is asked too, whatever the code makes of it.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { Client, Metadata, Server, ServerCredentials, ServerInterceptingCall, credentials, status } from '@grpc/grpc-js'
import type { ChannelCredentials, ClientDuplexStream, ServiceDefinition, ServiceError } from '@grpc/grpc-js'
import { CallGuard } from '../../cluster/api/call-guard.ts'
import { API_LIMITS, serveGrpc } from '../../cluster/api/grpc-server.ts'
import type { ServedAt, ServedService } from '../../cluster/api/grpc-server.ts'
import { PROTO_FOLDER, loadServices } from '../../cluster/api/proto.ts'
import { TokenBook } from '../../cluster/api/token-book.ts'
import { RecordStore } from '../../cluster/reconcile/record-store.ts'
import { TokenControl } from '../../cluster/reconcile/token-control.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { openEmbeddedStore } from '../../cluster/store/embedded/embedded-store.ts'
import { serveStore } from '../../cluster/store/embedded/store-server.ts'
import { etcdServices } from '../../cluster/store/etcd-api.ts'
import { drawTokenSecret, hashOfToken, tokenText } from '../../cluster/tls/bearer-token.ts'
import type { BearerToken } from '../../cluster/tls/bearer-token.ts'
import { ROLES } from '../../cluster/tls/identity.ts'
import { listenSecurely } from '../../cluster/tls/secure-listener.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { channelOf, credentialsOf } from './credentials.ts'
import type { TestOwner } from './credentials.ts'
import type { Table } from './table.ts'

interface Rpc {
  file: string
  service: string
  rpc: string
}

/** As the text of the files says, not as anything loads them. */
export function rpcsOf(folder: string): Rpc[] {
  return readdirSync(path.join(PROTO_FOLDER, folder)).flatMap((file) => {
    const text = readFileSync(path.join(PROTO_FOLDER, folder, file), 'utf8')
    return [...text.matchAll(/^service (\w+) \{(.*?)^\}/gms)].flatMap(([, service = '', body = '']) =>
      [...body.matchAll(/^\s*rpc (\w+)/gm)].map(([, rpc = '']) => ({ file: file.replace('.proto', ''), service, rpc })))
  })
}

export const nameOf = ({ service, rpc }: Pick<Rpc, 'service' | 'rpc'>): string => `${service}/${rpc}`

export const API_RPCS = rpcsOf('holdfast/v1')
export const API_DEFINITIONS: Record<string, ServiceDefinition> = Object.assign({}, ...API_RPCS.map(
  ({ file, service }) => loadServices([file], [service])))

interface Asker {
  channel: ChannelCredentials
  address: string
  headers?: string[]
}

/** What a status says of whether he was let in. `nothing`: the connection was closed before anything was asked. */
function wordOf(code: number): string {
  if (code === status.UNAVAILABLE) return 'closed'
  if (code === status.PERMISSION_DENIED || code === status.UNAUTHENTICATED) return status[code]
  // A handler has answered, whatever it makes of an empty request.
  return 'yes'
}

/** @returns by the names of the RPCs what came of it */
async function asksAll(
  rpcs: readonly Rpc[], definitions: Record<string, ServiceDefinition>, { channel, address, headers = [] }: Asker,
): Promise<string[]> {
  const client = new Client(address, channel, { 'grpc.enable_retries': 0, 'grpc.initial_reconnect_backoff_ms': 10 })
  const words: string[] = []
  for (const { service, rpc } of rpcs) {
    const definition = definitions[service]![rpc]!
    const { path: at, requestSerialize, responseDeserialize, requestStream, responseStream } = definition
    const metadata = new Metadata()
    for (const header of headers) metadata.add('authorization', header)
    const options = { deadline: Date.now() + 10_000 }
    words.push(wordOf(await new Promise<number>((resolve) => {
      if (!responseStream) {
        const ended = (error: ServiceError | null) => resolve(error?.code ?? status.OK)
        client.makeUnaryRequest(at, requestSerialize, responseDeserialize, {}, metadata, options, ended)
        return
      }
      const stream = requestStream
        ? client.makeBidiStreamRequest(at, requestSerialize, responseDeserialize, metadata, options)
        : client.makeServerStreamRequest(at, requestSerialize, responseDeserialize, {}, metadata, options)
      if (requestStream) {
        // A watch of all keys: it says that it was created.
        const all = { key: Buffer.of(0), rangeEnd: Buffer.of(0) }
        void (stream as ClientDuplexStream<object, unknown>).write({ createRequest: all })
      }
      stream.on('data', () => {
        resolve(status.OK)
        stream.cancel()
      })
      stream.on('error', () => undefined).on('status', ({ code }) => resolve(code))
    })))
  }
  client.close()
  return words
}

/** `yes`, or what all of them were told; several: each with its number. */
function summary(words: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return counts.size === 1 ? words[0]! : [...counts].map(([word, count]) => `${count} ${word}`).sort().join(', ')
}

function tableOf(
  about: Pick<Table, 'title' | 'words'>, rpcs: readonly Rpc[], asked: ReadonlyArray<[string, string[][]]>,
): Table {
  const rows = new Map(rpcs.map((rpc, index) =>
    [nameOf(rpc), asked.map(([, answers]) => summary(answers.map((words) => words[index]!)))]))
  return { ...about, what: 'RPC', columns: asked.map(([column]) => column), rows }
}

/** A server of all RPCs whose handlers do nothing but say that they were reached. */
function services(reached: string[]): ServedService[] {
  return Object.entries(API_DEFINITIONS).map(([service, definition]): ServedService => {
    const of = (isStream: boolean) => Object.entries(definition).filter(([, rpc]) => rpc.responseStream === isStream)
    return {
      definition,
      calls: Object.fromEntries(of(false).map(([rpc]) => [rpc, async () => {
        reached.push(`${service}/${rpc}`)
        return {}
      }])),
      streams: Object.fromEntries(of(true).map(([rpc]) => [rpc, async function* () {
        reached.push(`${service}/${rpc}`)
        yield {}
      }])),
    }
  })
}

interface Api {
  table: Table
  /** RPCs whose handlers were reached by somebody who was refused, or the reverse. */
  wrong: string[]
}

/** @param plant  a bug: this RPC is not guarded */
export async function askApi(t: TestOwner, plant?: string): Promise<Api> {
  const ca = new TestCa(t)
  const { clusterId } = ca
  const onBug = (error: unknown): never => {
    throw error
  }
  const store = await openEmbeddedStore(temporaryFolder(t))
  const storeServer = await serveStore({ store, listen: { host: '127.0.0.1', port: 0 }, onBug })
  const { connectEtcdStore } = await import('../../cluster/store/etcd-store.ts')
  const client: ClusterStore = connectEtcdStore({ addresses: storeServer.url })
  let wallMs = Date.now()
  const tokens = new TokenBook({
    store: client, clusterId, isStoreReachable: () => true, onProblem: onBug, wallMs: () => wallMs,
  })
  const control = new TokenControl({ records: new RecordStore(client), clusterId, wallMs: () => wallMs })
  const known = async (token: BearerToken, isGood: boolean): Promise<string> => {
    const text = tokenText(token)
    while (tokens.judge(text) instanceof HoldfastError === isGood) await new Promise(setImmediate)
    return `Bearer ${text}`
  }
  const make = async (name: string, role: string, validMs = 3600_000): Promise<BearerToken> => {
    const token = { clusterId, name, secret: drawTokenSecret() }
    await control.create({ name, role, hash: hashOfToken(token.secret), validMs })
    return token
  }
  const reached: string[] = []
  const tls = { folder: ca.folder({ role: 'node', name: 'n1' }), tokens, onRefused: () => undefined }
  const served = services(reached)
  const serve = (at: ServedAt) => plant === undefined ? serveGrpc(at, served, onBug)
    : serveWithHole(tls, served, `/holdfast.v1.${plant}`)
  const server = await serve({ host: '127.0.0.1', port: 0, tls })
  const socketPath = path.join(temporaryFolder(t), 's')
  let uid = 0
  const socket = await serveGrpc({ socketPath, peerUid: () => uid }, served, onBug)
  t.teardown(async () => {
    await Promise.all([server.close(0), socket.close(0)])
    tokens.close()
    client.close()
    await storeServer.close(0)
    await store.close()
  })

  const address = `127.0.0.1:${server.port}`
  const wrong: string[] = []
  const asks = async (who: string, asker: Omit<Asker, 'address'> & { address?: string }): Promise<string[]> => {
    reached.length = 0
    const words = await asksAll(API_RPCS, API_DEFINITIONS, { address, ...asker })
    const allowed = API_RPCS.map(nameOf).filter((_, index) => words[index] === 'yes')
    if (reached.join() !== allowed.join()) wrong.push(`${who}: ${reached.join()} were reached`)
    return words
  }
  const { strangers, roles } = credentialsOf(t, ca, 'n2')
  const nothing = channelOf(strangers['no certificate']!)
  const bad: Record<string, string[]> = {}
  const good = await make('good', 'admin')
  await known(good, true)
  const short = await make('short', 'admin', 1_000)
  await known(short, true)
  const gone = await make('gone', 'admin')
  await known(gone, true)
  wallMs += 1_000
  await control.revoke({ name: 'gone' })
  bad['no token'] = ['Bearer x']
  bad['another secret'] = [`Bearer ${tokenText({ ...good, secret: drawTokenSecret() })}`]
  bad['another cluster'] = [`Bearer ${tokenText({ ...good, clusterId: '0'.repeat(32) })}`]
  bad['expired'] = [await known(short, false)]
  bad['revoked'] = [await known(gone, false)]
  bad['another scheme'] = [`Basic ${tokenText(good)}`]
  const closed: string[][] = [await asks('plain text', { channel: credentials.createInsecure() })]
  closed.push(await asks('a good token in plain text', {
    channel: credentials.createInsecure(), headers: [`Bearer ${tokenText(good)}`],
  }))
  for (const [who, shown] of Object.entries(strangers)) {
    if (who !== 'no certificate') closed.push(await asks(who, { channel: channelOf(shown) }))
  }
  const refused: string[][] = []
  for (const [who, headers] of Object.entries(bad)) {
    refused.push(await asks(`token: ${who}`, { channel: nothing, headers }))
    refused.push(await asks(`token: ${who}, with an admin's certificate`, { channel: channelOf(roles.admin), headers }))
  }
  const columns: Array<[string, string[][]]> = [
    ['plain text; no good certificate', closed],
    ['nothing shown', [await asks('nothing', { channel: nothing })]],
    ['no good token', refused],
  ]
  for (const role of ROLES) {
    const answers = [await asks(role, { channel: channelOf(roles[role]) })]
    if (role !== 'store') {
      const header = await known(await make(role === 'node' ? 'n2' : role, role), true)
      answers.push(await asks(`token of ${role}`, { channel: nothing, headers: [header] }))
    }
    columns.push([role, answers])
  }
  const onSocket = { channel: credentials.createInsecure(), address: `unix:${socketPath}` }
  uid = 4711
  columns.push(['another user of the host', [await asks('another user', onSocket)]])
  uid = 0
  columns.push(['owner, root', [await asks('root', onSocket)]])
  const words = 'Over TLS, a role by certificate and by bearer token, which are told the same; and on the unix socket.'
  return { table: tableOf({ title: 'Control API', words }, API_RPCS, columns), wrong }
}

/** Requests that not everybody who may call their RPC may make. */
const ASKED: ReadonlyArray<[service: string, rpc: string, request: Record<string, unknown>]> = [
  ['VolumeService', 'Delete', { force: true }],
  ['VolumeService', 'Delete', { purge: true }],
  ['VolumeService', 'Delete', { keep: '0' }],
  ['VolumeService', 'Attach', { force: true }],
]

export async function askFields(t: TestOwner): Promise<Api> {
  const ca = new TestCa(t)
  const reached: string[] = []
  const onBug = (error: unknown): never => {
    throw error
  }
  const tls = { folder: ca.folder({ role: 'node', name: 'n1' }), onRefused: () => undefined }
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, services(reached), onBug)
  t.teardown(() => server.close(0))
  const { roles } = credentialsOf(t, ca, 'n2')
  const rows = new Map<string, string[]>()
  const wrong: string[] = []
  for (const [service, rpc, request] of ASKED) {
    const row = `${service}/${rpc} ${Object.keys(request).join()}`
    const cells: string[] = []
    for (const role of ROLES) {
      const client = new Client(`127.0.0.1:${server.port}`, channelOf(roles[role]), { 'grpc.enable_retries': 0 })
      const { path: at, requestSerialize, responseDeserialize } = API_DEFINITIONS[service]![rpc]!
      reached.length = 0
      const cell = wordOf(await new Promise<number>((resolve) => {
        const ended = (error: ServiceError | null) => resolve(error?.code ?? status.OK)
        client.makeUnaryRequest(at, requestSerialize, responseDeserialize, request, ended)
      }))
      client.close()
      if (reached.length > 0 !== (cell === 'yes')) wrong.push(`${row}: ${role}`)
      cells.push(cell)
    }
    rows.set(row, cells)
  }
  const words = 'Answered before a handler sees the request.'
  return { table: { title: 'Fields of requests', words, what: 'RPC and field', columns: [...ROLES], rows }, wrong }
}

/** As `serveGrpc` does it, but for one RPC. */
async function serveWithHole(
  tls: { folder: Parameters<typeof listenSecurely>[0]['folder']; tokens: TokenBook },
  served: readonly ServedService[], hole: string,
) {
  const guard = new CallGuard({ tokens: tls.tokens, requestMs: API_LIMITS.requestMs })
  const server = new Server({
    interceptors: [(method, call) =>
      method.path === hole ? new ServerInterceptingCall(call) : guard.interceptor(method, call)],
  })
  for (const { definition, calls, streams = {} } of served) {
    const unary = Object.entries(calls).map(([rpc, run]) =>
      [rpc, (_: unknown, answer: (error: null, value: unknown) => void) => {
        void run({} as never, undefined as never).then((value) => answer(null, value))
      }])
    type Call = { write(one: unknown): void; end(): void }
    const many = Object.entries(streams).map(([rpc, run]) => [rpc, async (call: Call) => {
      for await (const one of run({} as never, undefined as never)) call.write(one)
      call.end()
    }])
    server.addService(definition, Object.fromEntries([...unary, ...many]) as never)
  }
  const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure())
  const listener = await listenSecurely({
    host: '127.0.0.1', port: 0, folder: tls.folder, protocol: 'h2', onSecure: injectConnection,
    onUnnamed: injectConnection, onRefused: () => undefined,
  })
  return {
    port: listener.port,
    close: async () => {
      const closed = listener.close()
      server.forceShutdown()
      await closed
    },
  }
}

/** The embedded cluster store: whoever is let in may do everything, so it is closed to all others. */
export async function askStore(t: TestOwner): Promise<Table> {
  const ca = new TestCa(t)
  const store = await openEmbeddedStore(temporaryFolder(t))
  const tls = { folder: ca.folder({ role: 'store', name: 'store' }), onRefused: () => undefined }
  const onBug = (error: unknown): never => {
    throw error
  }
  const server = await serveStore({ store, listen: { host: '127.0.0.1', port: 0 }, tls, onBug })
  t.teardown(async () => {
    await server.close(0)
    await store.close()
  })
  const rpcs = rpcsOf('etcd')
  const address = new URL(server.url).host
  const asks = (channel: ChannelCredentials) => asksAll(rpcs, etcdServices(), { channel, address })
  const { strangers, roles } = credentialsOf(t, ca, 'n1')
  const closed = [await asks(credentials.createInsecure())]
  for (const shown of Object.values(strangers)) closed.push(await asks(channelOf(shown)))
  const columns: Array<[string, string[][]]> = [['plain text; no good certificate', closed]]
  for (const role of ROLES) columns.push([role, [await asks(channelOf(roles[role]))]])
  const words = 'Of `holdfast store --tls`. No bearer token is taken there.'
  return tableOf({ title: 'Cluster store', words }, rpcs, columns)
}
