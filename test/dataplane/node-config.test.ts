/** What a node is told: disk words, addresses, the JSON file, and flags over it. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { defaultWorkers, nodeConfigOf, parseDiskOption, parseTcpAddress } from '../../dataplane/node-config.ts'
import { temporaryFolder } from '../temporary-folder.ts'

t.test('disks', async (t) => {
  t.same(parseDiskOption('path=/dev/sdb'), { path: '/dev/sdb', sizeBytes: undefined, pool: 'default', tags: [] })
  t.same(parseDiskOption('path=d,size=4Gi,pool=fast,tags=ssd+nvme', '/base'), {
    path: '/base/d', sizeBytes: 2 ** 32, pool: 'fast', tags: ['nvme', 'ssd'],
  })
  t.equal(parseDiskOption('path=/a,b c,size=1Gi').path, '/a,b c')
  t.throws(() => parseDiskOption('/dev/sdb'), { code: 'usage', message: /e\.g\. --disk path=/ })
  t.throws(() => parseDiskOption('path=/a,sise=1'), { code: 'usage', message: /did you mean size=\?/ })
  t.throws(() => parseDiskOption('path=/a,path=/b'), { code: 'usage', message: /twice/ })
  t.throws(() => parseDiskOption('path='), { code: 'usage', message: /names no path/ })
  for (const size of ['0', '-1', 'x']) t.throws(() => parseDiskOption(`path=/a,size=${size}`), { code: 'parameter' })
  t.throws(() => parseDiskOption('path=/a,pool=A'), { code: 'parameter' })
})

t.test('addresses', async (t) => {
  t.same(parseTcpAddress('10809'), { host: '127.0.0.1', port: 10809 })
  t.same(parseTcpAddress('0.0.0.0:0'), { host: '0.0.0.0', port: 0 })
  t.same(parseTcpAddress('[::1]:7'), { host: '::1', port: 7 })
  for (const text of ['', ':7', 'x', '::1:7', 'a:65536', 'a:-1', 'a:1:2']) {
    t.throws(() => parseTcpAddress(text), { code: 'parameter' }, text)
  }
})

t.test('workers follow the cores', async (t) => {
  t.same([1, 2, 4, 5, 8, 64, 256].map(defaultWorkers), [1, 1, 1, 2, 4, 32, 64])
})

t.test('a node of a cluster', async (t) => {
  const flags = { name: 'n1', dir: '/d', store: 'http://127.0.0.1:2379', 'no-tls': true }
  const free = { host: '127.0.0.1', port: 0 }
  t.match(nodeConfigOf(flags), { workers: 1, cluster: { store: flags.store, listenPeer: free, listenApi: free } })
  t.match(nodeConfigOf({ ...flags, 'listen-peer': '127.0.0.2:7', 'listen-api': 'localhost:8' }), {
    cluster: { listenPeer: { host: '127.0.0.2', port: 7 }, listenApi: { host: 'localhost', port: 8 } },
  })
  t.match(nodeConfigOf({ ...flags, 'listen-api': '[::1]:7' }), { cluster: { listenApi: { host: '::1', port: 7 } } })
  const open = [
    ['listen-peer', '0.0.0.0:7'], ['listen-api', '10.0.0.1:7'], ['listen-tcp', '10.0.0.1:7'],
    ['store', 'http://10.0.0.1:2379'], ['store', 'http://127.0.0.1:2379,http://etcd.example.org:2379'],
  ] as const
  for (const [key, text] of open) {
    const refused = { code: 'plain-text', message: new RegExp(`^--${key} .*is open to other hosts`) }
    t.throws(() => nodeConfigOf({ ...flags, [key]: text }), refused)
  }
  t.equal(nodeConfigOf({ ...flags, workers: '16' }).workers, 16)
  t.throws(() => nodeConfigOf({ ...flags, workers: '17' }), { code: 'parameter', message: /1 to 16/ })
  t.throws(() => nodeConfigOf({ name: 'n1', dir: '/d', 'listen-peer': '7' }), {
    code: 'usage', message: /--listen-peer is for nodes of a cluster; name the cluster store too/,
  })
  t.notOk(Object.hasOwn(nodeConfigOf({ name: 'n1', dir: '/d' }), 'cluster'))
})

t.test('TLS, or plain text where it is asked for', async (t) => {
  const flags = { name: 'n1', dir: '/d', store: 'https://etcd.example.org:2379' }
  const silent = { code: 'usage', message: /how this node talks to the others is not said; add --tls DIR/ }
  t.throws(() => nodeConfigOf(flags), silent)
  t.throws(() => nodeConfigOf({ ...flags, tls: '/t', 'no-tls': true }), { code: 'usage', message: /contradict/ })
  const alone = { code: 'usage', message: /nodes of a cluster/ }
  t.throws(() => nodeConfigOf({ name: 'n1', dir: '/d', 'no-tls': true }), alone)
  const open = nodeConfigOf({ ...flags, tls: '/t', 'listen-peer': '10.0.0.1:7' })
  t.match(open, { tls: '/t', cluster: { listenPeer: { host: '10.0.0.1', port: 7 } } })
  const anywhere = { code: 'parameter', message: /the address at which other nodes reach this one/ }
  t.throws(() => nodeConfigOf({ ...flags, tls: '/t', 'listen-peer': '0.0.0.0:7' }), anywhere)
  const store = 'http://10.0.0.1:2379'
  t.throws(() => nodeConfigOf({ ...flags, tls: '/t', store }), { code: 'plain-text' }, 'also not to the store')
  for (const nowhere of ['http://[::::]:1', 'http://999.1.1.1:1', 'http://a%zz:1', 'http://a\0:1'])
    t.throws(() => nodeConfigOf({ ...flags, tls: '/t', store: nowhere }), { code: 'store-address' }, nowhere)
})

t.test('zones are names', async (t) => {
  const flags = { name: 'n1', dir: '/d' }
  t.equal(nodeConfigOf({ ...flags, zone: 'rack-7' }).zone, 'rack-7')
  t.equal(nodeConfigOf({ ...flags, zone: '' }).zone, '', 'none')
  for (const zone of ['what ever/ZONE!!', 'A', 'a b', 'a'.repeat(64)]) {
    t.throws(() => nodeConfigOf({ ...flags, zone }), { code: 'parameter', message: /^zone = .*allowed: 1 to 63/ }, zone)
  }
  const cluster = { store: 'http://127.0.0.1:2379', 'no-tls': true }
  t.notOk(Object.hasOwn(nodeConfigOf({ ...flags, zone: 'a', ...cluster, 'new-zone': false }), 'isFirstInZone'))
  t.equal(nodeConfigOf({ ...flags, zone: 'a', ...cluster, 'new-zone': true }).isFirstInZone, true)
  for (const other of [{ zone: 'a' }, cluster]) {
    const refused = { code: 'usage', message: /^--new-zone is for a node of a cluster that names its zone; add/ }
    t.throws(() => nodeConfigOf({ ...flags, ...other, 'new-zone': true }), refused)
  }
})

t.test('the file, and flags over it', async (t) => {
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'node.json')
  const write = (content: unknown) => {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  }
  const disks = [{ path: 'disk0', size: '1Gi', tags: ['b', 'a'] }]
  write({ name: 'n1', dir, zone: 'a', disks, workers: 2, 'listen-tcp': '7' })
  t.same(nodeConfigOf({ config: file }), {
    name: 'n1', dir, zone: 'a', workers: 2, listenTcp: { host: '127.0.0.1', port: 7 },
    disks: [{ path: path.join(dir, 'disk0'), sizeBytes: 2 ** 30, pool: 'default', tags: ['a', 'b'] }],
  })
  t.match(nodeConfigOf({ config: file, name: 'n2', disk: ['path=/x'] }), { name: 'n2', disks: [{}, { path: '/x' }] })
  for (const [content, message] of [
    ['{', /cannot be read/], ['[]', /no JSON object/], [{ nam: 'x' }, /did you mean name\?/],
    [{ name: 'a', dir, disks: {} }, /no list/], [{ name: 'a', dir, disks: [1] }, /no object/],
    [{ name: 'a', dir, disks: [{ path: 'x', sizes: 1 }] }, /unknown key/], [{ name: {}, dir }, /no text/],
    [{ name: 'a', dir, 'new-zone': 'b' }, /neither true nor false/],
  ] as const) {
    write(content)
    t.throws(() => nodeConfigOf({ config: file }), { code: 'usage', message })
  }
})
