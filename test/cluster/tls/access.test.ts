/**
 * Every RPC of proto/holdfast/v1, streams included, asked by everybody who is not to be let in: nobody, somebody else's
 * CA, an expired certificate, one for another purpose, another cluster's, and each role without a row. The list of RPCs
 * is read from the files, so that a new one is asked too.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { createSecureContext } from 'node:tls'
import { Client, credentials, status } from '@grpc/grpc-js'
import type { ChannelCredentials, ServiceDefinition, ServiceError } from '@grpc/grpc-js'
import t from 'tap'
import { ACCESS } from '../../../cluster/api/access.ts'
import { serveGrpc } from '../../../cluster/api/grpc-server.ts'
import type { ApiServer, ServedService } from '../../../cluster/api/grpc-server.ts'
import { PROTO_FOLDER, loadServices } from '../../../cluster/api/proto.ts'
import { channelCredentials } from '../../../cluster/tls/grpc-credentials.ts'
import { ROLES } from '../../../cluster/tls/identity.ts'
import { wishForNode } from '../../../cluster/tls/tls-connect.ts'
import type { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { TestCa } from './certificates.ts'
import { issueRaw } from './raw-certificate.ts'

const FOLDER = path.join(PROTO_FOLDER, 'holdfast/v1')

/** As the text of the files says, not as anything loads them. */
const RPCS = readdirSync(FOLDER).flatMap((file) => {
  const text = readFileSync(path.join(FOLDER, file), 'utf8')
  return [...text.matchAll(/^service (\w+) \{(.*?)^\}/gms)].flatMap(([, service = '', body = '']) =>
    [...body.matchAll(/^\s*rpc (\w+)/gm)].map(([, rpc = '']) => ({ file: file.replace('.proto', ''), service, rpc })))
})
const nameOf = ({ service, rpc }: { service: string; rpc: string }) => `${service}/${rpc}`

const DEFINITIONS: Record<string, ServiceDefinition> = Object.assign({}, ...RPCS.map(({ file, service }) =>
  loadServices([file], [service])))

/** Which RPCs reached a handler. */
const reached: string[] = []

async function serve(folder: TlsFolder): Promise<ApiServer> {
  const services = Object.entries(DEFINITIONS).map(([service, definition]): ServedService => {
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
  const tls = { folder, onRefused: () => undefined }
  return serveGrpc({ host: '127.0.0.1', port: 0, tls }, services, (error) => t.fail(String(error)))
}

/** @returns the status of the call */
function ask(client: Client, { service, rpc }: { service: string; rpc: string }): Promise<number> {
  const { path: at, requestSerialize, responseDeserialize, responseStream } = DEFINITIONS[service]![rpc]!
  const options = { deadline: Date.now() + 5000 }
  return new Promise((resolve) => {
    if (responseStream) {
      const stream = client.makeServerStreamRequest(at, requestSerialize, responseDeserialize, {}, options)
      stream.on('data', () => undefined).on('error', () => undefined).on('status', ({ code }) => resolve(code))
    } else {
      client.makeUnaryRequest(at, requestSerialize, responseDeserialize, {}, options, (error: ServiceError | null) =>
        resolve(error?.code ?? status.OK))
    }
  })
}

t.test('each RPC has a row, and each row is an RPC', async (t) => {
  t.ok(RPCS.length >= 48, `${RPCS.length} RPCs`)
  t.ok(RPCS.some(({ service, rpc }) => DEFINITIONS[service]![rpc]!.responseStream), 'streams too')
  t.same(Object.keys(ACCESS).sort(), RPCS.map(nameOf).sort())
  for (const [rpc, roles] of Object.entries(ACCESS)) t.ok(roles.length > 0 && !roles.includes('store'), rpc)
})

t.test('who has no right reaches no handler', async (t) => {
  const ca = new TestCa(t)
  const server = await serve(ca.folder({ role: 'node', name: 'n1' }))
  t.teardown(() => server.close(0))
  const address = `127.0.0.1:${server.port}`
  const everything = async (who: string, tls: ChannelCredentials, expected: (rpc: string) => readonly number[]) => {
    const client = new Client(address, tls, { 'grpc.enable_retries': 0, 'grpc.initial_reconnect_backoff_ms': 20 })
    reached.length = 0
    const allowed: string[] = []
    for (const rpc of RPCS) {
      const code = await ask(client, rpc)
      const may = expected(nameOf(rpc))
      if (!may.includes(code)) t.fail(`${who}: ${nameOf(rpc)} ended with ${code}`)
      if (code === status.OK) allowed.push(nameOf(rpc))
    }
    client.close()
    t.same(reached, allowed, `${who}: handlers of what was allowed, and no others`)
  }
  const unreached = () => [status.UNAVAILABLE]
  const strangers: Record<string, ChannelCredentials> = {
    'plain text': credentials.createInsecure(),
    'no certificate': credentials.createFromSecureContext(
      createSecureContext({ ca: ca.folder({ role: 'node', name: 'n1' }).current.options().ca! }),
      { checkServerIdentity: () => undefined },
    ),
  }
  const shows = { valid: {}, expired: { expired: true }, 'for servers only': { purposes: ['serverAuth'] as const } }
  for (const [which, wish] of Object.entries(shows)) {
    const of = which === 'valid' ? new TestCa(t, ca.clusterId) : ca
    const uri = `holdfast://cluster/${ca.clusterId}/node/n1`
    const { key, certificate } = issueRaw(of.dir, { uri, ...wish })
    const who = which === 'valid' ? 'a CA of the same cluster id that is not ours' : which
    strangers[who] = credentials.createSsl(
      Buffer.from(ca.folder({ role: 'node', name: 'n1' }).current.options().ca as string), Buffer.from(key),
      Buffer.from(certificate), { checkServerIdentity: () => undefined },
    )
  }
  const { key, certificate } = issueRaw(ca.dir, { uri: `holdfast://cluster/${'0'.repeat(32)}/node/n1` })
  strangers['our CA, another cluster'] = credentials.createSsl(
    Buffer.from(ca.folder({ role: 'node', name: 'n1' }).current.options().ca as string), Buffer.from(key),
    Buffer.from(certificate), { checkServerIdentity: () => undefined },
  )
  for (const [who, tls] of Object.entries(strangers)) await everything(who, tls, unreached)
  for (const role of ROLES) {
    const wish = wishForNode(ca.folder({ role, name: role === 'node' ? 'n2' : 'somebody' }), 'n1')
    await everything(role, channelCredentials(wish), (rpc) =>
      [ACCESS[rpc]!.includes(role) ? status.OK : status.PERMISSION_DENIED])
  }
})

t.test('a client of ours talks to the node that is meant, and to no other', async (t) => {
  const ca = new TestCa(t)
  const server = await serve(ca.folder({ role: 'node', name: 'n1' }))
  t.teardown(() => server.close(0))
  const own = ca.folder({ role: 'node', name: 'n2' })
  const status = async (wish: Parameters<typeof channelCredentials>[0]) => {
    const client = new Client(`127.0.0.1:${server.port}`, channelCredentials(wish), { 'grpc.enable_retries': 0 })
    const { path: at, requestSerialize, responseDeserialize } = DEFINITIONS.NodeService!.Status!
    const error = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest(at, requestSerialize, responseDeserialize, {}, { deadline: Date.now() + 3000 }, resolve)
    })
    client.close()
    return error === null ? 'OK' : error.details
  }
  t.equal(await status(wishForNode(own, 'n1')), 'OK')
  t.match(await status(wishForNode(own, 'n3')), /its certificate is for node n1, not for node n3/)
  const other = new TestCa(t)
  t.match(await status(wishForNode(other.folder({ role: 'node', name: 'n2' }), 'n1')), /CA that is not known here/)
})
