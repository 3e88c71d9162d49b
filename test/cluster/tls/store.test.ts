/** The cluster store over TLS, the embedded one and a real etcd: who is let in, and whom a node believes. */
import { cpSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { StoreAnswer } from '../../../cluster/store/cluster-store.ts'
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import { StoreTls } from '../../../cluster/tls/store-tls.ts'
import { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import {
  EMBEDDED, ETCD, HOST, StoreProcess, etcdMissing, freePort,
} from '../../conformance/cluster-store/store-process.ts'
import type { Kind } from '../../conformance/cluster-store/store-process.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { TestCa } from './certificates.ts'

const KINDS: ReadonlyArray<(folder: string) => Kind> = [
  (folder) => ({ ...EMBEDDED, command: (dir, port, host) => [...EMBEDDED.command(dir, port, host), '--tls', folder] }),
  (folder) => ({
    ...ETCD,
    command: (dir, port, host) => [
      ...ETCD.command(dir, port, host).map((word) => word.replace(/(client-urls=)http:/, '$1https:')),
      `--cert-file=${folder}/tls.crt`, `--key-file=${folder}/tls.key`, `--trusted-ca-file=${folder}/ca.crt`,
      '--client-cert-auth',
    ],
  }),
]

/** What a read ends with: `ok`, or the sentence. */
async function read(t: Test, addresses: string, tls: StoreTls | undefined): Promise<string> {
  const store = connectEtcdStore({ addresses, root: '/test/', timeoutMs: 1500, tls })
  t.teardown(() => store.close())
  const answer: StoreAnswer<unknown> = await store.get('a')
  store.close()
  return answer.ok ? 'ok' : `${answer.error.code}: ${answer.error.message}`
}

async function serve(t: Test, kind: Kind): Promise<StoreProcess> {
  const store = new StoreProcess(t, kind, freePort())
  await store.start()
  return store
}

// Who is not let in tries until its time is over, so all of them do it at once.
t.jobs = 5
const buffered = true

for (const [index, kindOf] of KINDS.entries()) {
  const { name } = kindOf('')
  const skip = index === 1 && etcdMissing()
  t.test(name, { skip, buffered }, async (t) => {
    const ca = new TestCa(t)
    const certificate = ca.issue({ role: 'store', name: 'store', ip: [HOST] })
    const process = await serve(t, kindOf(certificate))
    const address = process.address.replace('http:', 'https:')
    const node = new StoreTls(ca.folder({ role: 'node', name: 'n1' }))
    const store = connectEtcdStore({ addresses: address, root: '/test/', tls: node })
    t.teardown(() => store.close())
    const value = Buffer.from('v')
    const made = await store.compareAndSwap({ key: 'a', version: undefined, value })
    t.equal(made.outcome, 'won')
    const heard: string[] = []
    const listed = await store.list({ prefix: '' })
    if (!listed.ok) throw listed.error
    const told = new Promise<void>((resolve) => {
      store.watch({ prefix: '', after: listed.value.position }, (event) => {
        heard.push(event.type)
        resolve()
      })
    })
    await store.compareAndSwap({ key: 'b', version: undefined, value })
    await told
    t.not(heard[0], 'failed', 'watches too')

    t.match(await read(t, process.address, undefined), /^store-unreachable/, 'plain text')
    await t.rejects(read(t, address, undefined), { code: 'store-needs-tls' })
    const other = new TestCa(t, ca.clusterId)
    const others = new StoreTls(other.folder({ role: 'node', name: 'n1' }))
    t.match(await read(t, address, others), /CA that is not known here/, 'it is not believed')
    const trusting = temporaryFolder(t)
    cpSync(others.folder.dir, trusting, { recursive: true })
    cpSync(path.join(ca.dir, 'ca.crt'), path.join(trusting, 'ca.crt'))
    const half = new StoreTls(new TlsFolder(trusting))
    t.match(await read(t, address, half), /^store-unreachable/, 'it believes nobody else')
    if (index === 0) {
      const viewer = new StoreTls(ca.folder({ role: 'viewer', name: 'v' }))
      t.match(await read(t, address, viewer), /^store-unreachable/, 'a viewer has nothing to do with it')
      const admin = new StoreTls(ca.folder({ role: 'admin', name: 'a' }))
      t.equal(await read(t, address, admin), 'ok', 'an admin rebuilds it')
    }
  })

  t.test(`${name}: whom a node takes for its store`, { skip, buffered }, async (t) => {
    const ca = new TestCa(t)
    const node = ca.folder({ role: 'node', name: 'n1' })
    const asNode = await serve(t, kindOf(ca.issue({ role: 'node', name: 'n2', ip: [HOST] })))
    const https = (process: StoreProcess) => process.address.replace('http:', 'https:')
    t.match(await read(t, https(asNode), new StoreTls(node)), /for node n2, not for a cluster store/)
    await asNode.kill()
    const elsewhere = await serve(t, kindOf(ca.issue({ role: 'store', name: 'store', ip: ['127.9.9.9'] })))
    t.match(await read(t, https(elsewhere), new StoreTls(node)), /is for another host/)
    await elsewhere.kill()
    // A store of another CA, that the node has a folder for.
    const theirs = new TestCa(t)
    const apart = await serve(t, kindOf(theirs.issue({ role: 'store', name: 'etcd', ip: [HOST] })))
    t.match(await read(t, https(apart), new StoreTls(node)), /^store-unreachable/)
    cpSync(theirs.issue({ role: 'node', name: 'n1' }), path.join(node.dir, 'store'), { recursive: true })
    t.equal(await read(t, https(apart), new StoreTls(node)), 'ok')
  })
}

t.test('files that are replaced are used by the next connection', { buffered }, async (t) => {
  const ca = new TestCa(t)
  const dir = ca.issue({ role: 'store', name: 'store', ip: [HOST] })
  const process = await serve(t, KINDS[0]!(dir))
  const address = process.address.replace('http:', 'https:')
  const own = new TlsFolder(ca.issue({ role: 'node', name: 'n1' }))
  t.equal(await read(t, address, new StoreTls(own)), 'ok')
  const before = own.current
  ca.issue({ role: 'store', name: 'store', ip: ['127.9.9.9'] })
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.not(await read(t, address, new StoreTls(own)), 'ok', 'the new certificate, which is for another address')
  t.equal(own.current, before, 'ours is as it was')
  ca.issue({ role: 'node', name: 'n1' })
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.not(own.current, before, 'and is replaced as well')
})
