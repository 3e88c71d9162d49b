/**
 * The audit trail: every RPC that only an admin may call is in it, with who, by what, its target and what came of it;
 * no field of it can be a secret; who is denied is there too, and cannot flood it. On a real server, by certificate and
 * by unix socket.
 */
import { statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ACCESS } from '../../../cluster/api/access.ts'
import { AUDITED, AuditTrail } from '../../../cluster/api/audit-trail.ts'
import type { AuditEntry } from '../../../cluster/api/audit-trail.ts'
import { GrpcClient } from '../../../cluster/api/grpc-client.ts'
import { serveGrpc } from '../../../cluster/api/grpc-server.ts'
import { loadServices } from '../../../cluster/api/proto.ts'
import { wishForNode } from '../../../cluster/tls/tls-connect.ts'
import { peerUid } from '../../../cluster/libc.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { TestCa } from '../tls/certificates.ts'

const FILES = ['volume', 'snapshot', 'group', 'disk', 'node', 'token', 'cluster']
const SERVICES = [
  'VolumeService', 'SnapshotService', 'GroupService', 'DiskService', 'NodeService', 'TokenService', 'ClusterService',
]
const DEFINITIONS = loadServices(FILES, SERVICES)

t.test('what an operator may not do is audited', async (t) => {
  const unseen = new Set(['TokenService/List'])
  for (const [rpc, roles] of Object.entries(ACCESS)) {
    // The keeper's are those of a host's own socket.
    if (rpc.startsWith('KeeperService/')) continue
    const isDestructive = roles.includes('admin') && !roles.includes('operator')
    if (isDestructive && !unseen.has(rpc)) t.ok(Object.hasOwn(AUDITED, rpc), rpc)
  }
})

t.test('each row is a unary RPC, with fields that it has and none that is a secret', async (t) => {
  for (const [rpc, { fields, flag }] of Object.entries(AUDITED)) {
    const [service = '', method = ''] = rpc.split('/')
    const definition = DEFINITIONS[service]![method]!
    t.notOk(definition.requestStream || definition.responseStream, rpc)
    const known = Object.keys(definition.requestDeserialize(definition.requestSerialize({})) as object)
    for (const field of flag === undefined ? fields : [...fields, flag]) {
      t.ok(known.includes(field), `${rpc} ${field}`)
      t.notMatch(field, /^(wrapped|formerWrapped|hash|secret|key|token|confirm)$/)
    }
  }
})

interface Heard {
  trail: AuditTrail
  entries: AuditEntry[]
  nowMs: number
}

function heard(): Heard {
  const entries: AuditEntry[] = []
  const trail = new AuditTrail({ write: (entry) => entries.push(entry) }, () => one.nowMs)
  const one: Heard = { entries, nowMs: 0, trail }
  return one
}

const OUTCOMES: Record<string, () => Promise<object>> = {
  good: async () => ({}),
  refused: async () => {
    throw new HoldfastError('volume-not-found', { name: 'refused' })
  },
  broken: async () => {
    throw new Error('of our own')
  },
}

const call = ({ name }: { name: string }) => OUTCOMES[name]!()
const volumes = {
  definition: DEFINITIONS.VolumeService!,
  calls: Object.fromEntries(Object.keys(DEFINITIONS.VolumeService!).map((rpc) =>
    [rpc, call as (request: never) => Promise<object>])),
}

t.test('who, what and what came of it', async (t) => {
  const { trail, entries } = heard()
  const ca = new TestCa(t)
  const tls = { folder: ca.folder({ role: 'node', name: 'n1' }), onRefused: () => undefined }
  const bugs: unknown[] = []
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, [volumes], (error) => bugs.push(error), trail)
  t.teardown(() => server.close(0))
  const as = (role: 'admin' | 'viewer') => {
    const wish = wishForNode(ca.folder({ role, name: 'alice' }))
    const client = new GrpcClient({ address: `127.0.0.1:${server.port}`, endpoint: 'e', source: 's', tls: wish })
    t.teardown(() => client.close())
    return (rpc: string, request: object) => client.call(DEFINITIONS.VolumeService!, rpc, request, 5_000)
  }
  const [admin, viewer] = [as('admin'), as('viewer')]
  await admin('Delete', { name: 'good', force: true, keep: '0' })
  const rpc = 'VolumeService/Delete'
  const by = { role: 'admin', name: 'alice', by: 'certificate', address: /^127\.0\.0\.1:\d+$/, rpc }
  t.match(entries, [
    { stage: 'asked', id: /^[0-9a-f]{16}$/, ...by, request: { name: 'good', force: true, keep: '0' } },
    { stage: 'ended', id: entries[0]!.id, ...by, outcome: 'done', tookMs: Number },
  ])
  entries.length = 0
  await t.rejects(admin('Purge', { name: 'refused' }), { code: 'volume-not-found' })
  t.match(entries[1], { stage: 'ended', outcome: 'failed', code: 'volume-not-found', reason: /no volume refused/ })
  entries.length = 0
  await t.rejects(admin('Delete', { name: 'broken' }))
  t.match([entries[1], bugs.length], [{ outcome: 'failed', code: 'bug' }, 1])
  entries.length = 0
  await admin('ChangeKeys', { name: 'good', wrappedBy: 'k', former: 'CANARY', encryption: 'CANARY' })
  t.match(entries[0], { request: { name: 'good', wrappedBy: 'k' } })
  t.notMatch(JSON.stringify(entries), /CANARY/)
  entries.length = 0
  await admin('Resize', { name: 'good', sizeBytes: 1 })
  await admin('List', { name: 'good' }).catch(() => undefined)
  t.same(entries, [], 'what can be taken back, or only looks')
  await admin('Resize', { name: 'good', sizeBytes: 1, force: true })
  t.match(entries[0], { request: { name: 'good', sizeBytes: 1, force: true } })
  entries.length = 0
  for (let i = 0; i < 5; i++) await t.rejects(viewer('Delete', { name: 'good' }), { code: 'tls-denied' })
  t.match(entries, [{ stage: 'denied', rpc: 'VolumeService/Delete', role: 'viewer', name: 'alice' }])
})

t.test('a unix socket: the user of the other end, who is the owner or root', async (t) => {
  const { trail, entries } = heard()
  const socketPath = path.join(temporaryFolder(t), 's')
  let uid: number | undefined
  const at = { socketPath, peerUid: (fd: number) => uid ?? peerUid(fd) }
  const server = await serveGrpc(at, [volumes], (error) => t.fail(String(error)), trail)
  t.teardown(() => server.close(0))
  t.equal(statSync(socketPath).mode & 0o777, 0o600)
  const ask = async () => {
    const client = new GrpcClient({ address: `unix:${socketPath}`, endpoint: 'e', source: 's' })
    try {
      return await client.call(DEFINITIONS.VolumeService!, 'Delete', { name: 'good' }, 5_000)
    } finally {
      client.close()
    }
  }
  await ask()
  t.match(entries[0], { role: 'admin', name: 'local', by: 'socket', uid: process.geteuid!() })
  t.notOk('address' in entries[0]!)
  for (uid of [4711, -1]) await t.rejects(ask(), { code: 'unreachable' }, `user ${uid}`)
  uid = 0
  await ask()
  t.match(entries.at(-1), { uid: 0 })
})

t.test('what a node orders by which data goes', async (t) => {
  const one = heard()
  const caller = { role: 'node', name: 'n2', by: 'certificate' } as const
  const order = { volumeId: 'v', instance: 'i', snapshotId: 's', toId: 'o', sizeBytes: 4096 }
  const ask = (operation: string, more: object = {}) =>
    one.trail.asked('ClusterService/Change', { ...order, operation, ...more }, caller, {})()
  for (const operation of ['resize', 'snapshot']) ask(operation)
  t.same(one.entries, [])
  for (const operation of ['shrink', 'rollback', 'snapshot-delete']) {
    one.entries.length = 0
    ask(operation)
    const request = { volumeId: 'v', operation, sizeBytes: 4096, snapshotId: 's', toId: 'o' }
    t.match(one.entries, [{ stage: 'asked', name: 'n2', request }, { stage: 'ended', outcome: 'done' }])
  }
  one.entries.length = 0
  for (let i = 0; i < 1_000; i++) ask('snapshot-delete', { snapshotId: `s${i}` })
  t.ok(one.entries.length <= 512, 'a schedule does not flood it')
  one.entries.length = 0
  for (let i = 0; i < 3; i++) ask('rollback')
  t.equal(one.entries.length, 6, 'each of those that nothing but a person orders')
})

t.test('what is done behind a failure of its kind is told', async (t) => {
  const one = heard()
  const ask = (error?: unknown) => one.trail.asked(
    'VolumeService/GetKeys', { name: 'v' }, { role: 'operator', name: 'o1', by: 'token' }, {})(error)
  const refused = new HoldfastError('no-controller', {})
  for (let i = 0; i < 3; i++) ask(refused)
  for (let i = 0; i < 3; i++) ask()
  ask(refused)
  t.match(one.entries, [
    { stage: 'asked' }, { stage: 'ended', outcome: 'failed' }, { stage: 'asked', request: { name: 'v' } },
    { stage: 'ended', outcome: 'done' },
  ])
  t.equal(one.entries.length, 4)
})

t.test('who asks for keys again and again does not flood it', async (t) => {
  const one = heard()
  const ask = (name: string, volume: string) => one.trail.asked(
    'VolumeService/GetKeys', { name: volume }, { role: 'operator', name, by: 'token' }, {})(undefined)
  for (let i = 0; i < 100; i++) ask('o1', 'v')
  t.match(one.entries, [{ stage: 'asked', request: { name: 'v' } }, { stage: 'ended' }])
  ask('o2', 'v')
  t.equal(one.entries.length, 4, 'another caller')
  ask('o1', 'w')
  t.match([one.entries.length, one.entries[4]], [6, { request: { name: 'w' }, untold: 99 }])
  for (let i = 0; i < 1_000; i++) ask('o1', `x${i}`)
  t.equal(one.entries.length, 2 * 257)
  one.nowMs = 3600_000
  ask('o1', 'v')
  t.match(one.entries.at(-2), { request: { name: 'v' }, untold: 1_000 - 254 })
  for (let i = 0; i < 1_000; i++) ask(`c${i}`, 'v')
  t.ok(one.entries.length <= 2 * (258 + 64 + 256))
})

t.test('who is denied does not flood it', async (t) => {
  const one = heard()
  const caller = (name: string) => ({ role: 'viewer', name, by: 'certificate' }) as const
  for (let i = 0; i < 1_000; i++) one.trail.denied('VolumeService/Delete', caller(`v${i}`), {})
  t.equal(one.entries.length, 257, 'those beyond share one kind')
  one.trail.denied('VolumeService/Delete', caller('v1'), {})
  one.trail.denied('VolumeService/Delete', caller('v1'), {})
  one.nowMs = 10_000
  one.trail.denied('VolumeService/Delete', caller('v1'), {})
  one.trail.denied('VolumeService/Delete', caller('v1'), {})
  one.trail.denied('VolumeService/List', caller('v1'), {})
  t.match(one.entries.slice(257), [{ stage: 'denied', name: 'v1', untold: 2 }])
})
