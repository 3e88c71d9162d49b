/**
 * A node that was removed from the cluster: what proved to be it until then opens neither the store nor the API any
 * more, at once and for what stands too; a certificate made since does, under the same name.
 */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Client, Metadata, status } from '@grpc/grpc-js'
import t from 'tap'
import type { Test } from 'tap'
import { GrpcClient } from '../../../cluster/api/grpc-client.ts'
import { serveGrpc } from '../../../cluster/api/grpc-server.ts'
import { loadServices } from '../../../cluster/api/proto.ts'
import { RemovedList } from '../../../cluster/api/removed-list.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import type { ClusterStore, CompareAndSwap } from '../../../cluster/store/cluster-store.ts'
import { openEmbeddedStore } from '../../../cluster/store/embedded/embedded-store.ts'
import { serveStore } from '../../../cluster/store/embedded/store-server.ts'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import { encodeNode, nodeKey } from '../../../cluster/store/node-records.ts'
import { decodeRemoved, encodeRemoved, removedKey, whyRemoved } from '../../../cluster/store/removed-nodes.ts'
import { StoreTls } from '../../../cluster/tls/store-tls.ts'
import { channelCredentials } from '../../../cluster/tls/grpc-credentials.ts'
import { wishForNode } from '../../../cluster/tls/tls-connect.ts'
import { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { EndedReports } from '../../../dataplane/ended-reports.ts'
import type { HoldfastError } from '../../../engine/errors.ts'
import { holdfast } from '../../cli/run-holdfast.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { storeInProcess } from '../store-in-process.ts'
import { TestCa } from './certificates.ts'
import { issueRaw } from './raw-certificate.ts'

const SERVICES = loadServices(['node', 'snapshot'], ['NodeService', 'SnapshotReadService'])

const remove = async (store: ClusterStore, name: string, removedAtMs = Date.now()): Promise<void> => {
  const key = removedKey(name)
  const won = await store.compareAndSwap({ key, version: undefined, value: encodeRemoved({ name, removedAtMs }) })
  if (won.outcome !== 'won') throw new Error(won.outcome)
}

/** Times in certificates are of whole seconds. */
const nextSecond = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1_100 - (Date.now() % 1_000)))

async function secureStore(t: Test, ca: TestCa) {
  const store = await openEmbeddedStore(temporaryFolder(t))
  const refusals: string[] = []
  const tls = {
    folder: ca.folder({ role: 'store', name: 'store' }), onRefused: (_: string, why: string) => void refusals.push(why),
  }
  const onBug = (error: unknown) => t.fail(String(error))
  const server = await serveStore({ store, listen: { host: '127.0.0.1', port: 0 }, tls, onBug })
  t.teardown(async () => {
    await server.close(0)
    await store.close()
  })
  const client = (dir: string) => {
    const one = connectEtcdStore({ addresses: server.url, tls: new StoreTls(new TlsFolder(dir)), timeoutMs: 2_000 })
    t.teardown(() => one.close())
    return one
  }
  return { client, refusals }
}

t.test('the cluster store', async (t) => {
  const ca = new TestCa(t)
  const { client, refusals } = await secureStore(t, ca)
  const admin = client(ca.issue({ role: 'admin', name: 'n3' }))
  const [gone, other] = [client(ca.issue({ role: 'node', name: 'n3' })), client(ca.issue({ role: 'node', name: 'n2' }))]
  for (const store of [gone, other]) t.ok((await store.get('a')).ok)
  const listed = await gone.list({ prefix: '' })
  if (!listed.ok) throw listed.error
  const heard: string[] = []
  gone.watch({ prefix: 'secret/', after: listed.value.position }, (event) => heard.push(event.type))
  await remove(admin, 'n3')
  t.notOk((await gone.get('a')).ok, 'what stands is closed')
  t.match(refusals.at(-1), /node n3 was removed from the cluster at .* it needs a newer one/)
  await other.compareAndSwap({ key: 'secret/a', version: undefined, value: Buffer.from('x') })
  t.ok((await other.get('a')).ok && (await admin.get('a')).ok, 'others stay, a user of that name too')
  t.same(heard, [], 'its watch heard nothing more')
  t.notOk((await client(ca.issue({ role: 'node', name: 'n3' })).get('a')).ok, 'a new one that is valid from before')
  await nextSecond()
  const since = ca.issue({ role: 'node', name: 'n3', fromNow: true })
  t.ok((await client(since).get('a')).ok, 'one that was made since')
})

/** The list as a node has it that has read it once. */
async function listed(t: Test, store: ClusterStore): Promise<RemovedList> {
  const removed = new RemovedList({ store, onProblem: ({ message }) => t.comment(message) })
  while (removed.judge('n9', Date.now())?.code === 'node-unchecked') await new Promise(setImmediate)
  return removed
}

t.test('before the list was read no node is let in, others are', async (t) => {
  const ca = new TestCa(t)
  const real = (await storeInProcess(t)).client()
  await remove(real, 'n3')
  let answer = (): void => undefined
  const silent = new Promise<void>((resolve) => (answer = resolve))
  const store: ClusterStore = {
    get: (key) => real.get(key), compareAndSwap: (change) => real.compareAndSwap(change),
    list: async (range) => {
      await silent
      return real.list(range)
    },
    watch: (range, listener) => real.watch(range, listener), known: () => real.known(), close: () => undefined,
  }
  const removed = new RemovedList({ store, onProblem: ({ message }) => t.comment(message) })
  const tls = { folder: ca.folder({ role: 'node', name: 'n1' }), removed, onRefused: () => undefined }
  const services = [{ definition: SERVICES.NodeService!, calls: { Get: async () => ({ name: 'yes' }) } }]
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, services, (error) => t.fail(String(error)))
  t.teardown(async () => {
    await server.close(0)
    removed.close()
  })
  const address = `127.0.0.1:${server.port}`
  const clients = (['node n3', 'node n2', 'admin n3', 'csi n3'] as const).map((who) => {
    const [role, name] = who.split(' ') as ['node' | 'admin' | 'csi', string]
    const tls = wishForNode(new TlsFolder(ca.issue({ role, name })), 'n1')
    const one = new GrpcClient({ address, endpoint: 'e', source: 's', tls })
    t.teardown(() => one.close())
    return one
  })
  const ask = (one: GrpcClient): Promise<string> => one.call(SERVICES.NodeService!, 'Get', {}, 5_000).then(
    () => 'yes', (error: HoldfastError) => error.code)
  t.same(await Promise.all(clients.map(ask)), ['node-unchecked', 'node-unchecked', 'yes', 'yes'])
  answer()
  while (removed.judge('n9', Date.now()) !== undefined) await new Promise(setImmediate)
  t.same(await Promise.all(clients.map(ask)), ['node-removed', 'yes', 'yes', 'yes'])
})

t.test('the control API', async (t) => {
  const ca = new TestCa(t)
  const store = (await storeInProcess(t)).client()
  const removed = await listed(t, store)
  const tls = { folder: ca.folder({ role: 'node', name: 'n1' }), removed, onRefused: () => undefined }
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, [
    { definition: SERVICES.NodeService!, calls: { Get: async () => ({ name: 'yes' }) } },
    {
      definition: SERVICES.SnapshotReadService!,
      calls: {},
      streams: {
        async *Diff() {
          for (;;) {
            yield { offsetBytes: [], lengthBytes: [], kinds: [] }
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
        },
      },
    },
  ], (error) => t.fail(String(error)))
  t.teardown(async () => {
    await server.close(0)
    removed.close()
  })
  const client = (dir: string): GrpcClient => {
    const address = `127.0.0.1:${server.port}`
    const one = new GrpcClient({ address, endpoint: 'e', source: 's', tls: wishForNode(new TlsFolder(dir)) })
    t.teardown(() => one.close())
    return one
  }
  const ask = (one: GrpcClient): Promise<string> => one.call(SERVICES.NodeService!, 'Get', {}, 5_000).then(
    () => 'yes', (error: HoldfastError) => error.code)
  const [gone, user] = [client(ca.issue({ role: 'node', name: 'n3' })), client(ca.issue({ role: 'admin', name: 'n3' }))]
  t.same([await ask(gone), await ask(user)], ['yes', 'yes'])
  let parts = 0
  const stream = async (): Promise<string> => {
    try {
      for await (const _ of gone.stream(SERVICES.SnapshotReadService!, 'Diff', {})) {
        if (++parts === 3) await remove(store, 'n3')
      }
      return 'it ended by itself'
    } catch (error) {
      return (error as HoldfastError).code
    }
  }
  t.equal(await stream(), 'node-removed')
  t.same([await ask(gone), await ask(user)], ['node-removed', 'yes'])
  t.equal(await ask(client(ca.issue({ role: 'node', name: 'n2' }))), 'yes')
  await nextSecond()
  t.equal(await ask(client(ca.issue({ role: 'node', name: 'n3', fromNow: true }))), 'yes')
})

t.test('a call that a node opened does not begin after it was removed', async (t) => {
  const ca = new TestCa(t)
  const store = (await storeInProcess(t)).client()
  const removed = await listed(t, store)
  const [judge, judged] = [removed.judge.bind(removed), [] as unknown[]]
  removed.judge = (...of) => {
    judged.push(of)
    return judge(...of)
  }
  let begun = 0
  const calls = { Get: async () => ({ name: String(++begun) }) }
  const tls = { folder: ca.folder({ role: 'node', name: 'n1' }), removed, onRefused: () => undefined }
  const services = [{ definition: SERVICES.NodeService!, calls }]
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, tls }, services, (error) => t.fail(String(error)))
  const wish = wishForNode(new TlsFolder(ca.issue({ role: 'node', name: 'n3' })))
  const client = new Client(`127.0.0.1:${server.port}`, channelCredentials(wish))
  t.teardown(async () => {
    client.close()
    await server.close(0)
    removed.close()
  })
  const { path, requestSerialize, responseDeserialize } = SERVICES.NodeService!.Get!
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata())
  const ended = new Promise<number>((resolve) => call.on('status', ({ code }) => resolve(code)))
  call.on('error', () => undefined).resume()
  while (judged.length === 0) await new Promise(setImmediate)
  await remove(store, 'n3')
  while (judge('n3', 0) === undefined) await new Promise(setImmediate)
  call.end({})
  t.equal(await ended, status.PERMISSION_DENIED)
  t.equal(begun, 0)
})

t.test('it is worth nothing before it is no node any more', async (t) => {
  const store = (await storeInProcess(t)).client()
  await store.compareAndSwap({
    key: nodeKey('n3'), version: undefined, value: encodeNode({ name: 'n3', nodeId: 'x', zone: '' }),
  })
  const written: string[] = []
  const seen: ClusterStore = {
    get: (key) => store.get(key), list: (range) => store.list(range),
    compareAndSwap: (change: CompareAndSwap) => {
      written.push(change.key)
      return store.compareAndSwap(change)
    },
    watch: (range, listener) => store.watch(range, listener), known: () => store.known(), close: () => undefined,
  }
  const wishes = new VolumeWishes(new RecordStore(seen))
  await wishes.removeNode('n3', 1_000)
  t.same(written, ['removed-nodes/n3', 'nodes/n3'])
  const found = await store.get(removedKey('n3'))
  t.same(found.ok && decodeRemoved('n3', found.value!.value), { name: 'n3', removedAtMs: 1_000 })
  t.ok(whyRemoved({ name: 'n3', removedAtMs: 1_000 }, 1_000) !== undefined && whyRemoved(undefined, 0) === undefined)
  t.equal(whyRemoved({ name: 'n3', removedAtMs: 1_000 }, 2_000), undefined)
  for (const bad of ['{}', '{"name":"n3","removedAtMs":-1}', '{"name":"n4","removedAtMs":1}', 'x']) {
    t.equal(decodeRemoved('n3', Buffer.from(bad)), undefined)
  }
})

t.test('a store whose certificate names nobody does not start', async (t) => {
  const ca = new TestCa(t)
  const dir = temporaryFolder(t)
  const tls = path.join(dir, 'tls')
  mkdirSync(tls)
  const { key, certificate } = issueRaw(ca.dir, { ip: ['127.0.0.1'] })
  writeFileSync(path.join(tls, 'tls.key'), key)
  writeFileSync(path.join(tls, 'tls.crt'), certificate)
  cpSync(path.join(ca.dir, 'ca.crt'), path.join(tls, 'ca.crt'))
  const words = ['store', '--dir', path.join(dir, 'store'), '--listen', '127.0.0.1:0', '--tls', tls]
  const { code, stderr } = await holdfast(words)
  t.match([code, stderr], [1, /tls\.crt cannot be used for TLS: its certificate has 0 names of the form/])
})

t.test('a supervisor whose certificates cannot be used goes on', async (t) => {
  const rejected: unknown[] = []
  const onRejected = (error: unknown): void => void rejected.push(error)
  process.on('unhandledRejection', onRejected)
  t.teardown(() => process.off('unhandledRejection', onRejected))
  const reports = new EndedReports('n1', path.join(temporaryFolder(t), 'none'))
  const endpoint = { host: '127.0.0.1', port: 1 }
  reports.know({ clusterId: 'c', instance: 'i', peers: [{ node: 'n2', worker: 0, endpoint }] } as never)
  await new Promise(setImmediate)
  await reports.reaped()
  t.same(rejected, [])
})
