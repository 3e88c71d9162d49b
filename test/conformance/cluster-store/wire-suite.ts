/**
 * What Holdfast relies on of the etcd v3 API, on the wire, run against etcd and against the embedded store: so the
 * embedded one cannot drift, and what we believe of etcd is what etcd does.
 */
import type { Test } from 'tap'
import { RawEtcd, bytes } from './raw-etcd.ts'
import { startStore } from './store-process.ts'
import type { Kind } from './store-process.ts'

const COMPACTED = 'etcdserver: mvcc: required revision has been compacted'

export async function wireSuite(t: Test, kind: Kind): Promise<void> {
  const store = await startStore(t, kind)
  const raw = new RawEtcd(t, store.address)
  const kv = (rpc: string, request: object) => raw.call('KV', rpc, request)
  const put = async (key: string, value: string): Promise<number> =>
    Number((await kv('Put', { key: bytes(key), value: bytes(value) })).header.revision)
  const range = (request: object) => kv('Range', request)
  const keys = (answer: any): string[] => answer.kvs.map((each: any) => each.key.toString())
  const swap = (key: string, compare: object, success: object, failure: object[] = []) =>
    kv('Txn', { compare: [{ key: bytes(key), ...compare }], success: [success], failure })

  await t.test('a fresh store has revision 1, and says who it is', async (t) => {
    const answer = await range({ key: bytes('nothing') })
    t.match(answer, { header: { revision: '1' }, kvs: [], count: '0', more: false })
    t.not(answer.header.clusterId, '0')
    t.not(answer.header.memberId, '0')
    const status = await raw.call('Maintenance', 'Status', {})
    t.equal(status.header.clusterId, answer.header.clusterId)
    t.equal(status.leader, answer.header.memberId, 'one member leads itself')
    const { members } = await raw.call('Cluster', 'MemberList', {})
    t.match(members, [{ ID: answer.header.memberId, clientURLs: [store.address] }])
  })

  await t.test('revisions and versions of a key', async (t) => {
    const first = await put('k', 'a')
    t.equal(await put('k', 'b'), first + 1)
    t.match((await range({ key: bytes('k') })).kvs, [{
      key: bytes('k'), value: bytes('b'), createRevision: String(first), modRevision: String(first + 1), version: '2',
    }])
    t.match((await range({ key: bytes('k'), revision: String(first) })).kvs, [{ value: bytes('a'), version: '1' }])
    t.match(await kv('DeleteRange', { key: bytes('k') }), { deleted: '1', header: { revision: String(first + 2) } })
    t.match(await kv('DeleteRange', { key: bytes('k') }), { deleted: '0', header: { revision: String(first + 2) } })
    t.match(await range({ key: bytes('k') }), { kvs: [] })
    const again = await put('k', 'c')
    t.match((await range({ key: bytes('k') })).kvs, [{ createRevision: String(again), version: '1' }])
  })

  await t.test('ranges', async (t) => {
    for (const key of ['r/b', 'r/a', 'r/c', 'r/ca', 's']) await put(key, key)
    const prefix = { key: bytes('r/'), rangeEnd: bytes('r0') }
    t.same(keys(await range(prefix)), ['r/a', 'r/b', 'r/c', 'r/ca'])
    const page = await range({ ...prefix, limit: '2' })
    t.match([keys(page), page.more, page.count], [['r/a', 'r/b'], true, '4'])
    const rest = await range({ ...prefix, key: bytes('r/b\0'), limit: '2' })
    t.match([keys(rest), rest.more, rest.count], [['r/c', 'r/ca'], false, '2'])
    t.match((await range({ ...prefix, keysOnly: true, limit: '1' })).kvs, [{ value: bytes('') }])
    t.match(await range({ ...prefix, countOnly: true }), { kvs: [], count: '4', more: false })
    t.same(keys(await range({ key: bytes('r/ca'), rangeEnd: bytes('\0') })), ['r/ca', 's'], 'all from a key on')
    t.same(keys(await range({ key: bytes('r/c'), rangeEnd: bytes('r/b') })), [], 'an end before the beginning')
    t.match(await range({ key: bytes('') }), { code: 3, details: 'etcdserver: key is not provided' })
    const now = Number(page.header.revision)
    const future = { code: 11, details: 'etcdserver: mvcc: required revision is a future revision' }
    t.match(await range({ key: bytes('s'), revision: String(now + 1) }), future)
  })

  await t.test('transactions of one key', async (t) => {
    const make = { requestPut: { key: bytes('t'), value: bytes('1') } }
    const tell = [{ requestRange: { key: bytes('t') } }]
    const absent = { target: 'MOD', modRevision: '0' }
    const made = await swap('t', absent, make, tell)
    const revision: string = made.header.revision
    t.match(made, { succeeded: true, responses: [{ response: 'responsePut', responsePut: { header: { revision } } }] })
    const lost = await swap('t', absent, make, tell)
    t.match(lost, { succeeded: false, header: { revision }, responses: [{ response: 'responseRange' }] })
    t.match(lost.responses[0].responseRange.kvs, [{ value: bytes('1'), modRevision: revision }])
    const twice = { requestPut: { key: bytes('t'), value: bytes('2') } }
    t.match(await swap('t', { target: 'VERSION', version: '2' }, twice), { succeeded: false, responses: [] })
    t.match(await swap('t', { target: 'VERSION', version: '1' }, twice), { succeeded: true })
    t.match(await swap('t', { target: 'CREATE', createRevision: revision }, twice), { succeeded: true })
    const now = (await range({ key: bytes('t') })).kvs[0].modRevision
    const gone = await swap('t', { target: 'MOD', modRevision: now }, { requestDeleteRange: { key: bytes('t') } })
    t.match(gone, { succeeded: true, header: { revision: String(Number(now) + 1) } })
    t.match(gone.responses, [{ responseDeleteRange: { deleted: '1' } }])
  })

  await t.test('watches', async (t) => {
    const watches = raw.watches(t)
    const first = await put('w/a', '1')
    await put('x', 'not watched')
    await kv('DeleteRange', { key: bytes('w/a') })
    watches.send({ createRequest: { key: bytes('w/'), rangeEnd: bytes('w0'), startRevision: String(first) } })
    t.match(await watches.next(), { created: true, canceled: false, watchId: '0', events: [] })
    const past = await watches.events(2)
    const put1 = { key: bytes('w/a'), value: bytes('1'), modRevision: String(first), version: '1' }
    t.match(past, [{ type: 'PUT', kv: put1 },
      { type: 'DELETE', kv: { key: bytes('w/a'), modRevision: String(first + 2), version: '0', createRevision: '0' } }])
    watches.send({ createRequest: { key: bytes('w/b'), watchId: '7', filters: ['NOPUT'] } })
    t.match(await watches.next(), { created: true, watchId: '7' })
    watches.send({ createRequest: { key: bytes('w/b'), watchId: '7' } })
    t.match(await watches.next(), { created: true, canceled: true, watchId: '-1', cancelReason: /duplicate watch ID/ })
    watches.send({ cancelRequest: { watchId: '0' } })
    t.match(await watches.next(), { canceled: true, watchId: '0', compactRevision: '0' })
    await put('w/b', 'filtered')
    const gone = Number((await kv('DeleteRange', { key: bytes('w/b') })).header.revision)
    const response = await watches.next()
    t.match(response, { watchId: '7', header: { revision: String(gone) }, events: [{ type: 'DELETE' }] })
    watches.send({ progressRequest: {} })
    t.match(await watches.next(), { watchId: '-1', events: [], header: { revision: String(gone) } })
    const future = raw.watches(t)
    future.send({ createRequest: { key: bytes('f'), startRevision: String(gone + 2) } })
    t.match(await future.next(), { created: true })
    await put('f', 'too early')
    await put('f', 'told')
    t.match(await future.events(1), [{ kv: { value: bytes('told') } }], 'a watch of the future waits for it')
  })

  await t.test('compaction', async (t) => {
    const first = await put('c', '1')
    const deleted = Number((await kv('DeleteRange', { key: bytes('c') })).header.revision)
    await put('c', '2')
    const last = await put('d', '1')
    t.match(await kv('Compact', { revision: String(last + 1) }), { code: 11, details: /future revision/ })
    const done = await kv('Compact', { revision: String(deleted + 1), physical: true })
    t.match(done, { header: { revision: String(last) } })
    t.match(await kv('Compact', { revision: String(deleted + 1) }), { code: 11, details: COMPACTED })
    t.match(await range({ key: bytes('c'), revision: String(deleted) }), { code: 11, details: COMPACTED })
    t.match((await range({ key: bytes('c'), revision: String(deleted + 1) })).kvs, [{ value: bytes('2') }])
    const watches = raw.watches(t)
    watches.send({ createRequest: { key: bytes('c'), startRevision: String(first) } })
    t.match(await watches.next(), { created: true, canceled: false, watchId: '0' })
    t.match(await watches.next(), { canceled: true, watchId: '0', compactRevision: String(deleted + 1), events: [] })
    watches.send({ createRequest: { key: bytes('c'), startRevision: String(deleted + 1) } })
    const [created, told] = [await watches.next(), await watches.next()]
    const wanted = [{ created: true }, { events: [{ kv: { value: bytes('2') } }] }]
    t.match([created, told], wanted, 'from the compacted one on')
  })
}
