/**
 * Everything there is to ask for (each RPC of API and store, each message of peers, each option of NBD, each path of
 * HTTP), asked by everybody. Risk: something new is open to whom it should not be, or was never thought of.
 */
// test-timeout-seconds: 240
import { readFileSync } from 'node:fs'
import { Client, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import t from 'tap'
import { ACCESS, WITHOUT } from '../../cluster/api/access.ts'
import { serveGrpc } from '../../cluster/api/grpc-server.ts'
import { channelCredentials } from '../../cluster/tls/grpc-credentials.ts'
import { ROLES } from '../../cluster/tls/identity.ts'
import { wishForNode } from '../../cluster/tls/tls-connect.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { ACCESS_PAGE, pageOf } from './access-page.ts'
import { API_DEFINITIONS, API_RPCS, askApi, askFields, askStore, nameOf } from './grpc-access.ts'
import { askExtender, askHttp, askNbd } from './open-access.ts'
import { MESSAGES, askPeer } from './peer-access.ts'
import { linesOf } from './table.ts'
import type { Table } from './table.ts'

/** Cells of those who are to be refused, each with what it should say; the rest of the columns is roles. */
function wrongCells({ columns, rows }: Table, expected: Record<string, RegExp>): string[] {
  return [...rows].flatMap(([name, cells]) => cells.flatMap((cell, index) => {
    const column = columns[index]!
    return expected[column] === undefined || expected[column].test(cell) ? [] : [`${name}, ${column}: ${cell}`]
  }))
}

const STRANGERS = {
  'plain text; no good certificate': /^closed$/,
  'nothing shown': /^PERMISSION_DENIED$/,
  'no good token': /^UNAUTHENTICATED$/,
  'another user of the host': /^closed$/,
  store: /^PERMISSION_DENIED$/,
}

/** Of a role: what the table of rights says, and nothing else. */
function wrongRights({ columns, rows }: Table): string[] {
  return [...rows].flatMap(([rpc, cells]) => ROLES.flatMap((role) => {
    const may = ACCESS[rpc]?.includes(role) === true ? 'yes' : 'PERMISSION_DENIED'
    const cell = cells[columns.indexOf(role)]
    return cell === may ? [] : [`${rpc}, ${role}: ${cell}`]
  }))
}

t.test('each RPC has a row, and each row is an RPC', async (t) => {
  t.ok(API_RPCS.length >= 54, `${API_RPCS.length} RPCs`)
  t.ok(API_RPCS.some(({ service, rpc }) => API_DEFINITIONS[service]![rpc]!.responseStream), 'streams too')
  t.same(Object.keys(ACCESS).sort(), API_RPCS.map(nameOf).sort())
  for (const [rpc, roles] of Object.entries(ACCESS)) t.ok(roles.length > 0 && !roles.includes('store'), rpc)
})

t.test('who has no right reaches nothing', async (t) => {
  const api = await askApi(t)
  t.same(api.wrong, [], 'handlers of what was allowed were reached, and no others')
  t.same([...wrongCells(api.table, STRANGERS), ...wrongRights(api.table)], [])
  const { columns, rows } = api.table
  for (const [rpc, cells] of rows) {
    t.equal(cells[columns.indexOf('owner, root')], cells[columns.indexOf('admin')], `${rpc}: the owner is an admin`)
  }
  const fields = await askFields(t)
  t.same(fields.wrong, [])
  t.same(wrongCells(fields.table, { csi: /^PERMISSION_DENIED$/, admin: /^yes$/, node: /^yes$/ }), [])
  const asked = Object.entries(WITHOUT).flatMap(([rpc, { fields: names }]) => names.map((name) => `${rpc} ${name}`))
  t.same([...fields.table.rows.keys()].sort(), asked.sort(), 'each field that somebody may not set')
  const store = await askStore(t)
  const closed = Object.fromEntries(['plain text; no good certificate', 'viewer', 'operator', 'csi', 'store'].map(
    (who) => [who, /^closed$/]))
  t.same(wrongCells(store, { ...closed, admin: /^yes$/, node: /^yes$/ }), [])
  const peer = await askPeer(t)
  t.ok(MESSAGES.length >= 40, `${MESSAGES.length} messages`)
  for (const column of peer.columns.slice(0, 4)) t.same(wrongCells(peer, { [column]: /^closed$/ }), [])
  for (const [message, cells] of peer.rows) {
    const [supervisor, node] = cells.slice(4)
    t.equal(supervisor, message === 'ended' ? 'yes' : 'closed', `${message} of a supervisor`)
    if (!message.startsWith('ended')) t.equal(node, 'yes', `${message} of a node`)
  }
  const nbd = await askNbd(t)
  t.same(wrongCells(nbd, {
    'before TLS': /^(TLS_REQD|closed|yes \(it is for that\))$/, 'no good certificate': /^closed$/,
    viewer: /^closed$/, operator: /^closed$/, store: /^closed$/,
  }), [])
  const http = await askHttp(t)
  t.same(wrongCells(http, { POST: /^40[45]$/, PUT: /^40[45]$/, DELETE: /^40[45]$/, GET: /^(open|404)$/ }), [])
  const extender = await askExtender(t)
  t.same([...extender.rows.keys()], ['/filter', '/prioritize', '/healthz', '/anything-else'])

  const tables = [api.table, fields.table, store, peer, nbd, http, extender]
  for (const line of tables.flatMap(linesOf)) t.comment(line)
  t.equal(readFileSync(ACCESS_PAGE, 'utf8'), pageOf(tables), 'docs/access.md says the same: see access-page.ts')
})

t.test('an RPC that is not guarded is found, one with a stream too', async (t) => {
  for (const plant of ['VolumeService/Purge', 'SnapshotReadService/Diff']) {
    const { table } = await askApi(t, plant)
    const found = [...wrongCells(table, STRANGERS), ...wrongRights(table)]
    t.ok(found.length > 0 && found.every((one) => one.startsWith(`${plant}, `)), found.join('\n'))
  }
})

t.test('a right that somebody gains is found', async (t) => {
  const page = readFileSync(ACCESS_PAGE, 'utf8')
  const line = page.split('\n').find((one) => one.startsWith('| `VolumeService/Purge` |'))!
  const no = 'PERMISSION_DENIED'
  t.match(line, `| ${[no, no, 'yes', no, 'yes', no].join(' | ')} |`, 'viewer, operator, admin, csi, node, store')
})

t.test('a client of ours talks to the node that is meant, and to no other', async (t) => {
  const ca = new TestCa(t)
  const folder = ca.folder({ role: 'node', name: 'n1' })
  const services = [{ definition: API_DEFINITIONS.NodeService!, calls: { Status: async () => ({}) } }]
  const tls = { folder, onRefused: () => undefined }
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, services, (error) => t.fail(String(error)))
  t.teardown(() => server.close(0))
  const own = ca.folder({ role: 'node', name: 'n2' })
  const outcome = async (wish: Parameters<typeof channelCredentials>[0]) => {
    const client = new Client(`127.0.0.1:${server.port}`, channelCredentials(wish), { 'grpc.enable_retries': 0 })
    const { path: at, requestSerialize, responseDeserialize } = API_DEFINITIONS.NodeService!.Status!
    const error = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest(at, requestSerialize, responseDeserialize, {}, { deadline: Date.now() + 3000 }, resolve)
    })
    client.close()
    return error === null ? status[status.OK] : error.details
  }
  t.equal(await outcome(wishForNode(own, 'n1')), 'OK')
  t.match(await outcome(wishForNode(own, 'n3')), /its certificate is for node n1, not for node n3/)
  const other = new TestCa(t)
  t.match(await outcome(wishForNode(other.folder({ role: 'node', name: 'n2' }), 'n1')), /CA that is not known here/)
})
