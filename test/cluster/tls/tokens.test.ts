/**
 * Bearer tokens over TLS: who shows a good one has its role and no other; one that is over, revoked, somebody else's or
 * none at all opens nothing, whatever certificate comes with it; a stream under it ends with it; and a cluster has
 * nothing by which a token could be made again.
 */
import { once } from 'node:events'
import { connect, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, Settings } from 'node:http2'
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { status } from '@grpc/grpc-js'
import type { Client, Metadata } from '@grpc/grpc-js'
import t from 'tap'
import type { Test } from 'tap'
import { ACCESS } from '../../../cluster/api/access.ts'
import { GrpcClient } from '../../../cluster/api/grpc-client.ts'
import { API_LIMITS, serveGrpc } from '../../../cluster/api/grpc-server.ts'
import type { ServedService } from '../../../cluster/api/grpc-server.ts'
import { loadServices } from '../../../cluster/api/proto.ts'
import { TokenBook } from '../../../cluster/api/token-book.ts'
import { UnprovedConnections } from '../../../cluster/api/unproved-connections.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { TokenControl } from '../../../cluster/reconcile/token-control.ts'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { TOKEN_PREFIX } from '../../../cluster/store/token-records.ts'
import { drawTokenSecret, hashOfToken, parseToken, tokenText } from '../../../cluster/tls/bearer-token.ts'
import type { BearerToken } from '../../../cluster/tls/bearer-token.ts'
import { secure, wishForCluster, wishForNode } from '../../../cluster/tls/tls-connect.ts'
import { authorityContext } from '../../../cluster/tls/tls-folder.ts'
import { HoldfastError, GRPC_STATUS } from '../../../engine/errors.ts'
import { storeInProcess } from '../store-in-process.ts'
import { TestCa } from './certificates.ts'

const LONG_MS = 3600_000
const SERVICES = loadServices(['node', 'snapshot', 'token'], ['NodeService', 'SnapshotReadService', 'TokenService'])

interface Scene {
  ca: TestCa
  store: ClusterStore
  control: TokenControl
  book: TokenBook
  address: string
  refusals: string[]
  isStoreReachable: boolean
  /** Tokens that were looked at. */
  judged: number
  /** Calls that were begun. */
  begun: number
  /** Of all that stands between a token and its end. */
  wallMs: number
  /** Draws it, and waits until the node knows it. */
  make(name: string, role: string, validMs?: number): Promise<BearerToken>
  client(token: BearerToken | undefined, certificate?: 'admin', at?: string): GrpcClient
}

async function scene(t: Test, limits: Partial<typeof API_LIMITS> = {}): Promise<Scene> {
  const ca = new TestCa(t)
  const { clusterId } = ca
  const store = (await storeInProcess(t)).client()
  const folder = ca.folder({ role: 'node', name: 'n1' })
  const admin = ca.folder({ role: 'admin', name: 'alice' })
  const of: Omit<Scene, 'book' | 'control' | 'address' | 'make' | 'client'> = {
    ca, store, refusals: [], isStoreReachable: true, judged: 0, begun: 0, wallMs: Date.now(),
  }
  const book = new TokenBook({
    store, clusterId, wallMs: () => one.wallMs,
    isStoreReachable: () => {
      one.judged++
      return one.isStoreReachable
    },
    onProblem: ({ message }) => t.comment(message),
  })
  const calls = (service: string): ServedService['calls'] => Object.fromEntries(
    Object.keys(SERVICES[service]!).map((rpc) =>
      [rpc, async (_: never, { role, name, by }) => {
        of.begun++
        return { name: `${role} ${name} ${by}` }
      }]))
  const streams: ServedService['streams'] = {
    async *Diff() {
      of.begun++
      for (;;) {
        yield { offsetBytes: [], lengthBytes: [], kinds: [] }
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    },
  }
  const tls = { folder, tokens: book, onRefused: (_: string, reason: string) => void of.refusals.push(reason), limits }
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, [
    { definition: SERVICES.NodeService!, calls: calls('NodeService') },
    { definition: SERVICES.TokenService!, calls: calls('TokenService') },
    { definition: SERVICES.SnapshotReadService!, calls: {}, streams },
  ], (error) => t.fail(String(error)))
  const control = new TokenControl({ records: new RecordStore(store), clusterId, wallMs: () => one.wallMs })
  const address = `127.0.0.1:${server.port}`
  const clients: GrpcClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await server.close(0)
    book.close()
  })
  const one: Scene = Object.assign(of, {
    book, control, address,
    async make(name: string, role: string, validMs = LONG_MS) {
      const token = { clusterId, name, secret: drawTokenSecret() }
      await control.create({ name, role, hash: hashOfToken(token.secret), validMs })
      while (book.judge(tokenText(token)) instanceof HoldfastError) await new Promise(setImmediate)
      return token
    },
    client(token: BearerToken | undefined, certificate?: 'admin', at = address) {
      const tls = certificate === undefined ? wishForCluster(authorityContext(ca.dir), clusterId) : wishForNode(admin)
      const client = new GrpcClient({ address: at, endpoint: at, source: 'the test', tls, token })
      clients.push(client)
      return client
    },
  })
  return one
}

/** What comes of asking: who it was taken for, or the code of the refusal. */
async function ask(client: GrpcClient, service = 'NodeService', rpc = 'Get'): Promise<string> {
  try {
    return ((await client.call(SERVICES[service]!, rpc, {}, 5_000)) as { name: string }).name
  } catch (error) {
    return (error as HoldfastError).code
  }
}

t.test('a token has the role that it was made with', async (t) => {
  const one = await scene(t)
  for (const role of ['viewer', 'operator', 'admin', 'csi', 'node']) {
    const client = one.client(await one.make(`a-${role}`, role))
    t.equal(await ask(client), `${role} a-${role} token`)
    t.equal(await ask(client, 'TokenService', 'Create'),
      ACCESS['TokenService/Create']!.includes(role as never) ? `${role} a-${role} token` : 'tls-denied')
  }
  await t.rejects(one.make('s', 'store'), { code: 'parameter' })
})

t.test('what is no good token opens nothing', async (t) => {
  const one = await scene(t)
  const good = await one.make('good', 'admin')
  const short = await one.make('short', 'admin', 1_000)
  const gone = await one.make('gone', 'admin')
  t.equal(await ask(one.client(good)), 'admin good token')
  t.equal(await ask(one.client(undefined)), 'tls-denied', 'none')
  const others: Record<string, BearerToken> = {
    'another secret': { ...good, secret: drawTokenSecret() },
    'the secret of another': { ...good, name: 'short' },
    'a name that nobody has': { ...good, name: 'nobody' },
    'another cluster': { ...good, clusterId: '0'.repeat(32) },
  }
  for (const [what, token] of Object.entries(others)) {
    t.equal(await ask(one.client(token)), 'token-refused', what)
    t.equal(await ask(one.client(token, 'admin')), 'token-refused', `${what}, beside the certificate of an admin`)
  }
  const client = one.client(short)
  t.equal(await ask(client), 'admin short token')
  one.wallMs += 1_000
  t.equal(await ask(client), 'token-refused', 'over')
  const second = one.client(gone)
  t.equal(await ask(second), 'admin gone token')
  await one.control.revoke({ name: 'gone' })
  while ((await ask(second)) !== 'token-refused') await new Promise(setImmediate)
  const anew = await one.make('gone', 'viewer')
  t.equal(await ask(one.client(gone)), 'token-refused', 'one of the same name does not bring it back')
  t.equal(await ask(one.client(anew)), 'viewer gone token')
  one.isStoreReachable = false
  t.equal(await ask(one.client(anew)), 'token-unchecked', 'revoked meanwhile, for all this node knows')
  t.equal(await ask(one.client(undefined, 'admin')), 'admin alice certificate')
})

t.test('a stream ends with its token', async (t) => {
  const one = await scene(t)
  const ended = async (token: BearerToken, end: () => unknown): Promise<string> => {
    let parts = 0
    try {
      for await (const _ of one.client(token).stream(SERVICES.SnapshotReadService!, 'Diff', {})) {
        if (++parts === 3) await end()
      }
      return 'it ended by itself'
    } catch (error) {
      return (error as HoldfastError).message
    }
  }
  const first = await one.make('first', 'operator')
  t.match(await ended(first, () => one.control.revoke({ name: 'first' })), /it was revoked/)
  // By a real clock: what waits for the end of a token waits by a timer.
  const second = await one.make('second', 'operator', 1_000)
  const from = Date.now()
  const clock = setInterval(() => (one.wallMs += Date.now() - from), 20)
  t.match(await ended(second, () => undefined), /it was valid until/)
  clearInterval(clock)
})

async function sessionOf(t: Test, { ca, address }: Scene, settings: Settings = {}): Promise<ClientHttp2Session> {
  const [host, port] = address.split(':')
  const socket = net.connect(Number(port), host)
  const secured = await new Promise<TLSSocket>((resolve, reject) =>
    secure(socket, wishForCluster(authorityContext(ca.dir), ca.clusterId), resolve, (why) => reject(new Error(why))))
  const session = connect('http://x', { createConnection: () => secured, settings })
  t.teardown(() => session.destroy())
  return session
}

/** A call whose headers are judged, and of which nothing else is sent yet. */
async function opened(one: Scene, client: GrpcClient, rpc: string) {
  const { channel } = client as unknown as { channel: Client }
  const headers = (client as unknown as { headers(): Metadata }).headers()
  const definition = SERVICES[rpc === 'Diff' ? 'SnapshotReadService' : 'NodeService']![rpc]!
  const before = one.judged
  const { path, requestSerialize, responseDeserialize } = definition
  const call = channel.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, headers)
  const code = new Promise<number>((resolve) => call.on('status', ({ code }) => resolve(code)))
  call.on('error', () => undefined).resume()
  while (one.judged === before) await new Promise(setImmediate)
  return { call, code }
}

t.test('a call that was opened in time does not begin after its token has ended', async (t) => {
  const one = await scene(t)
  const unless: Record<string, (token: BearerToken) => unknown> = {
    'it is over': () => (one.wallMs += LONG_MS),
    'it was revoked': async (token) => {
      await one.control.revoke({ name: token.name })
      while (!(one.book.judge(tokenText(token)) instanceof HoldfastError)) await new Promise(setImmediate)
    },
    'there is another of its name': async ({ name }) => {
      await one.control.revoke({ name })
      await one.make(name, 'admin')
    },
  }
  let number = 0
  for (const [what, end] of Object.entries(unless)) {
    for (const rpc of ['Get', 'Diff']) {
      const token = await one.make(`t${number++}`, 'operator')
      const { call, code } = await opened(one, one.client(token), rpc)
      await end(token)
      const before = one.begun
      call.end({})
      t.equal(await code, status.UNAUTHENTICATED, `${rpc}, ${what}`)
      t.equal(one.begun, before)
    }
  }
  const { call, code } = await opened(one, one.client(await one.make('good', 'operator')), 'Get')
  call.end({})
  t.equal(await code, status.OK)
})

t.test('a request that does not become whole ends, and its stream', async (t) => {
  const one = await scene(t, { requestMs: 200 })
  const token = await one.make('slow', 'operator')
  const session = await sessionOf(t, one)
  const headers = { authorization: `Bearer ${tokenText(token)}`, 'content-type': 'application/grpc', te: 'trailers' }
  const post = (): ClientHttp2Stream => session.request({
    ':method': 'POST', ':path': SERVICES.NodeService!.Get!.path, ...headers,
  })
  const slow = post()
  slow.write(Buffer.from([0, 0, 0, 0, 9, 1]))
  const [answer] = (await once(slow, 'response')) as [IncomingHttpHeaders]
  t.equal(answer['grpc-status'], String(status.DEADLINE_EXCEEDED))
  slow.resume()
  await once(slow, 'close')
  t.equal(one.begun, 0)
  const good = post()
  good.end(Buffer.alloc(5))
  await once(good, 'response')
  t.equal(one.begun, 1, 'the connection stays')
})

t.test('requests of users are small, those of nodes need not be', async (t) => {
  const one = await scene(t)
  const token = await one.make('big', 'node')
  const node = wishForNode(one.ca.folder({ role: 'node', name: 'n2' }))
  const client = new GrpcClient({ address: one.address, endpoint: 'e', source: 's', tls: node })
  t.teardown(() => client.close())
  const send = (by: GrpcClient, sizeBytes: number): Promise<string> =>
    by.call(SERVICES.NodeService!, 'Get', { name: 'x'.repeat(sizeBytes) }, 5_000).then(
      (answer) => (answer as { name: string }).name, (error: HoldfastError) => error.message)
  const [small, large] = [200 * 1024, 4 * 1024 * 1024]
  t.match(await send(client, large), /^node n2/)
  for (const by of [one.client(token), one.client(undefined, 'admin')]) {
    t.match(await send(by, small), /^(node big|admin alice)/)
    t.match(await send(by, large), /larger than/)
  }
  const session = await sessionOf(t, one)
  const [{ maxConcurrentStreams }] = (await once(session, 'remoteSettings')) as [Settings]
  t.equal(maxConcurrentStreams, 100)
})

t.test('while there is no token nobody comes in without a certificate', async (t) => {
  const one = await scene(t)
  t.equal(await ask(one.client(undefined)), 'unreachable')
  t.match(one.refusals.at(-1), /showed no certificate/)
  t.equal(await ask(one.client(undefined, 'admin')), 'admin alice certificate')
})

t.test('connections that prove nothing are few, and are closed', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const accepted = async (): Promise<{ near: net.Socket; far: net.Socket }> => {
    const near = net.connect(port, '127.0.0.1').on('error', () => undefined)
    const [far] = (await once(server, 'connection')) as [net.Socket]
    far.on('error', () => undefined)
    return { near, far }
  }
  const closed: net.Socket[] = []
  const limits = { connectionsMax: 2, proveMs: 50, idleMs: 100 }
  const places = new UnprovedConnections((socket) => void closed.push(socket), limits)
  const [a, b, c] = [await accepted(), await accepted(), await accepted()]
  t.ok(places.add(a.far) && places.add(b.far))
  t.notOk(places.add(c.far), 'no third one')
  const [first, second] = [places.begins(a.far), places.begins(a.far)]
  await once(b.far, 'close')
  t.same(closed, [b.far], 'who proved nothing')
  t.ok(places.add(c.far), 'its place is free')
  places.begins(c.far)
  first()
  await new Promise((resolve) => setTimeout(resolve, 250))
  t.equal(places.size, 2, 'calls go on, however long')
  second()
  await once(a.far, 'close')
  t.same(closed, [b.far], 'who made no call for a while is no stranger')
  c.near.destroy()
  await once(c.far, 'close')
  t.equal(places.size, 0)
})

t.test('a connection is freed some time after its last call with a good token', async (t) => {
  const one = await scene(t, { proveMs: 300, idleMs: 300 })
  const token = await one.make('short', 'viewer')
  const session = await sessionOf(t, one)
  const closed = once(session, 'close')
  const ask = async (): Promise<string> => {
    const call = session.request({
      ':method': 'POST', ':path': SERVICES.NodeService!.Get!.path, 'content-type': 'application/grpc', te: 'trailers',
      authorization: `Bearer ${tokenText(token)}`,
    })
    call.end(Buffer.alloc(5)).resume()
    const trailers = new Promise<IncomingHttpHeaders>((resolve) => call.once('trailers', resolve))
    const [headers] = (await once(call, 'response')) as [IncomingHttpHeaders]
    return String(headers['grpc-status'] ?? (await trailers)['grpc-status'])
  }
  t.equal(await ask(), '0')
  one.wallMs += LONG_MS
  const asking = setInterval(() => void ask().catch(() => undefined), 50)
  await closed
  clearInterval(asking)
  t.same(one.refusals, [])
})

t.test('an answer that is not taken goes, and what he has under way is counted by caller', async (t) => {
  const one = await scene(t, { answerMs: 200, callsMax: 2, proveMs: 300, idleMs: 300 })
  const token = await one.make('lazy', 'operator')
  const headers = {
    ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${tokenText(token)}`,
  }
  const session = await sessionOf(t, one, { initialWindowSize: 0 })
  const untaken = session.request({ ':path': SERVICES.NodeService!.Get!.path, ...headers })
  untaken.on('error', () => undefined).end(Buffer.alloc(5))
  await once(untaken, 'close')
  t.equal(one.begun, 1)
  t.equal(untaken.rstCode, constants.NGHTTP2_CANCEL, 'it was ended, not answered')
  await once(session, 'close')
  const clients = [one.client(token), one.client(token), one.client(token)]
  const streams = clients.slice(0, 2).map((client) => opened(one, client, 'Diff'))
  for (const { call } of await Promise.all(streams)) call.end({})
  t.equal(await ask(clients[2]!), 'caller-busy', 'on another connection too')
  t.equal(await ask(one.client(await one.make('other', 'viewer'))), 'viewer other token')
  for (const { call, code } of await Promise.all(streams)) {
    call.cancel()
    await code
  }
  while ((await ask(clients[2]!)) === 'caller-busy') await new Promise(setImmediate)
  t.equal(await ask(clients[2]!), 'operator lazy token')
})

t.test('who made no call for a while is told so before he is cut', async (t) => {
  const one = await scene(t, { idleMs: 1000 })
  const token = await one.make('idle', 'viewer')
  const session = await sessionOf(t, one)
  const goaway = once(session, 'goaway')
  const call = session.request({
    ':method': 'POST', ':path': SERVICES.NodeService!.Get!.path, 'content-type': 'application/grpc', te: 'trailers',
    authorization: `Bearer ${tokenText(token)}`,
  })
  call.end(Buffer.alloc(5)).resume()
  const [code] = (await goaway) as [number]
  t.equal(code, 0)
})

t.test('a connection whose other end answers nothing any more is freed', async (t) => {
  const one = await scene(t, { keepaliveMs: 150 })
  const token = await one.make('mute', 'viewer')
  const [host, port] = one.address.split(':')
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = `127.0.0.1:${(server.address() as net.AddressInfo).port}`
  const between = once(server, 'connection').then(([socket]) => {
    const near = (socket as net.Socket).on('error', () => undefined)
    const far = net.connect(Number(port), host).on('error', () => undefined)
    near.pipe(far).pipe(near)
    return { near, far }
  })
  const client = one.client(token, undefined, address)
  t.equal(await ask(client), 'viewer mute token')
  const { near, far } = await between
  far.unpipe(near).resume()
  near.unpipe(far)
  await once(far, 'close')
  near.destroy()
})

t.test('a cluster has no secret of a token', async (t) => {
  const one = await scene(t)
  const token = await one.make('known', 'admin')
  const page = await one.store.list({ prefix: '' })
  if (!page.ok) throw page.error
  const dump = page.value.entries.map(({ key, value }) => `${key} ${Buffer.from(value).toString()}`).join('\n')
  t.match(dump, `${TOKEN_PREFIX}known`)
  const secret = Buffer.from(token.secret.reveal())
  for (const form of ['base64url', 'hex', 'base64'] as const) t.notOk(dump.includes(secret.toString(form)), form)
  t.notMatch(JSON.stringify(await one.control.list()), hashOfToken(token.secret), 'and tells not even its hash')
})

t.test('a token is shown to nodes of its cluster, over TLS', async (t) => {
  const one = await scene(t)
  const token = await one.make('mine', 'viewer')
  const other = await scene(t)
  await other.make('theirs', 'viewer')
  const tls = wishForCluster(authorityContext(other.ca.dir), one.ca.clusterId)
  const client = new GrpcClient({ address: other.address, endpoint: 'e', source: 's', tls, token })
  t.equal(await ask(client), 'unreachable', 'the connection ends before anything is said')
  client.close()
  t.throws(() => new GrpcClient({ address: one.address, endpoint: 'e', source: 's', token }), /over TLS only/)
})

t.test('the form of a token', async (t) => {
  const token = { clusterId: 'a'.repeat(32), name: 'ci.build-1', secret: drawTokenSecret() }
  const text = tokenText(token)
  const read = parseToken(text)!
  t.same([read.clusterId, read.name, read.secret.reveal()], [token.clusterId, token.name, token.secret.reveal()])
  t.equal(token.secret.lengthBytes * 8, 256)
  for (const bad of ['', text.slice(1), text.slice(0, -1), `${text}x`, text.toUpperCase(), ` ${text}`]) {
    t.equal(parseToken(bad), undefined)
  }
  t.equal(status.UNAUTHENTICATED, GRPC_STATUS.UNAUTHENTICATED)
})

t.test('what is asked for is judged', async (t) => {
  const { control } = await scene(t)
  const good = { name: 'a', role: 'viewer', hash: 'f'.repeat(64), validMs: LONG_MS }
  const changes = [{ name: '' }, { name: 'A' }, { name: 'a/b' }, { role: 'root' }, { hash: 'secret' }]
  for (const change of [...changes, ...[0, -1, Number.NaN, 1e15].map((validMs) => ({ validMs }))]) {
    await t.rejects(control.create({ ...good, ...change }), { code: 'parameter' })
  }
  await control.create(good)
  await t.rejects(control.create(good), { code: 'token-exists' })
  await t.rejects(control.revoke({ name: 'b' }), { code: 'token-not-found' })
  await t.rejects(control.revoke({ name: '../volumes/x' }), { code: 'token-not-found' })
  await control.revoke({ name: 'a' })
  t.same(await control.list(), { tokens: [] })
})
