/**
 * `holdfast store` as an operator meets it: one line when it serves, one sentence when it cannot, a quick end, and
 * nothing answered that is not on the disk. What others type at it (etcdctl, strangers) does no harm.
 */
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { holdfast } from '../../cli/run-holdfast.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { read, swap, textOf } from './calls-suite.ts'
import { RawEtcd, bytes } from './raw-etcd.ts'
import { EMBEDDED, HOST, StoreProcess, freePort, startStore } from './store-process.ts'
import type { Kind } from './store-process.ts'
import { Told } from './watch-suite.ts'

const isThere = (tool: string): boolean => spawnSync(tool, ['-V']).error === undefined

t.test('one line, and a quick clean end with clients on it', async (t) => {
  const process = await startStore(t, EMBEDDED)
  t.equal(process.output, `holdfast store ready ${process.address}\n`)
  const store = process.client()
  await swap(store, 'k', undefined, '1')
  const told = new Told(t, store, 'k', String(store.known()!.revision) as never)
  await swap(store, 'k2', undefined, '1')
  await told.until('k2=1')
  const { code, ms } = await process.stop()
  t.equal(code, 0)
  t.ok(ms < 2000, `${Math.round(ms)} ms`)
  t.equal(process.output, `holdfast store ready ${process.address}\n`)
})

t.test('what cannot work is one sentence, and changes nothing', async (t) => {
  const process = await startStore(t, EMBEDDED)
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'file')
  fs.writeFileSync(file, '')
  const newer = path.join(dir, 'newer')
  fs.mkdirSync(newer)
  fs.writeFileSync(path.join(newer, 'store.json'), '{"format": 9}')
  const listen = ['--listen', `${HOST}:${freePort()}`]
  const empty = path.join(dir, 'empty')
  const table: Array<[words: string[], code: number, stderr: RegExp]> = [
    [[], 2, /--dir is missing; `holdfast help store` shows how/],
    [['--dir', process.dir, ...listen], 1, new RegExp(`${process.dir} is in use by process ${process.pid};`)],
    [['--dir', empty, '--listen', process.address.slice(7)], 1, new RegExp(`port ${process.port} is in use; `)],
    [['--dir', empty, '--listen', '203.0.113.1:2379'], 2, /--listen is open to other hosts, and there is no TLS/],
    [['--dir', empty, '--listen', 'localhost'], 2, /"localhost" is no address to listen on; give HOST:PORT/],
    [['--dir', empty, '--listen', 'http://[::1]:80'], 2, /no address to listen on/],
    [['--dir', empty, '--listen', '127.0.0.1:65536'], 2, /no address to listen on/],
    [['--dir', file, ...listen], 1, /folder .*file cannot be used: there is a file of that name/],
    [['--dir', '/sys/none', ...listen], 1, /folder \/sys\/none cannot be used: permission denied/],
    [['--dir', newer, ...listen], 1, /format version 9, this Holdfast knows 1; nothing was touched/],
    [['--dir', dir, ...listen], 1, /something that is not a cluster store \(.*\); it was not touched/],
  ]
  for (const [words, code, stderr] of table) {
    const outcome = await holdfast(['store', ...words])
    t.match(outcome, { code, stdout: '', stderr }, words.join(' '))
    t.equal(outcome.stderr.trim().split('\n').length, 1, 'one line')
  }
  t.same(fs.readdirSync(newer), ['store.json'])
  t.same(fs.readdirSync(dir).sort(), ['empty', 'file', 'newer'])
  t.match(await holdfast(['help', 'store']), { code: 0, stdout: /--listen HOST:PORT.*loopback only with --tls/s })
})

const noStrace = !isThere('strace') && 'strace is not installed'

t.test('answered is synced, and a disk that fails a sync ends it unanswered', { skip: noStrace }, async (t) => {
  const trace = path.join(temporaryFolder(t), 'trace')
  const traced = (...words: string[]): Kind => ({
    ...EMBEDDED,
    // -D: the tracer is the child, so that signals meet the store.
    command: (dir, port) => [
      'strace', '-D', '-f', '-o', trace, '-e', 'trace=fdatasync', ...words, ...EMBEDDED.command(dir, port),
    ],
  })
  const done = /fdatasync\(.*\) += 0|fdatasync resumed.*= 0/g
  const syncs = () => fs.readFileSync(trace, 'utf8').match(done)?.length ?? 0
  const process = await startStore(t, traced())
  const store = process.client()
  await read(store, 'k')
  const before = syncs()
  for (let i = 0, version = undefined; i < 20; i++) {
    version = await swap(store, 'k', version, String(i))
    t.ok(syncs() >= before + i + 1, 'each answer waits for a sync of its own')
  }
  await Promise.all(Array.from({ length: 50 }, (_, i) => swap(store, `many/${i}`, undefined, '1')))
  t.ok(syncs() < before + 20 + 25, 'those that come together share one')
  await process.stop()

  const failing = new StoreProcess(t, traced('-e', `inject=fdatasync:error=EIO:when=${syncs() + 1}+`))
  await failing.start().catch(() => t.pass('or it does not start'))
  const client = failing.client({ timeoutMs: 3000 })
  const outcomes = []
  for (let i = 0; i < 200 && (outcomes.at(-1)?.outcome ?? 'won') === 'won'; i++) {
    outcomes.push(await client.compareAndSwap({ key: `f/${i}`, version: undefined, value: bytes(String(i)) }))
  }
  t.match(outcomes.at(-1)!.outcome, /unknown|refused/)
  t.equal(await failing.ended(), 1)
  t.match(failing.output, /holdfast: the cluster store in .* could not write: .*; see to the disk/)
  t.notMatch(failing.output, / at .*\.ts:/)
  const again = new StoreProcess(t, { ...EMBEDDED, command: (_, port) => EMBEDDED.command(failing.dir, port) })
  await again.start()
  for (const [i, { outcome }] of outcomes.entries()) {
    if (outcome === 'won') t.equal(textOf(await read(again.client(), `f/${i}`)), String(i))
  }
})

t.test('etcdctl works with it', { skip: !isThere('etcdctl') && 'etcdctl is not installed' }, async (t) => {
  const { address } = await startStore(t, EMBEDDED)
  const endpoint = address.replace('http://', '')
  const etcdctl = (words: string[], input = '') => new Promise<string>((resolve) => {
    const env = { ETCDCTL_API: '3', PATH: process.env.PATH }
    const child = execFile('etcdctl', ['--endpoints', endpoint, ...words], { env }, (error, stdout, stderr) =>
      resolve(error === null ? stdout.trim() : stderr))
    // Most commands end without having read anything.
    child.stdin!.on('error', () => undefined).end(input)
  })
  t.equal(await etcdctl(['put', 'a', '1']), 'OK')
  t.equal(await etcdctl(['get', '--prefix', '']), 'a\n1')
  t.equal(await etcdctl(['txn'], 'mod("a") = "2"\n\nput a 2\n\nget a\n\n'), 'SUCCESS\n\nOK')
  t.equal(await etcdctl(['txn'], 'mod("a") = "2"\n\nput a 3\n\nget a\n\n'), 'FAILURE\n\na\n2')
  t.equal(await etcdctl(['del', 'a']), '1')
  t.equal(await etcdctl(['compaction', '3']), 'compacted revision 3')
  t.match(await etcdctl(['get', 'a', '--rev=2']), /required revision has been compacted/)
  t.match(await etcdctl(['endpoint', 'status']), /3\.4\.0/)
  t.match(await etcdctl(['endpoint', 'health']), /^$|is healthy/)
  t.match(await etcdctl(['member', 'list']), /started, holdfast/)
  t.match(await etcdctl(['lease', 'grant', '10']), /Unimplemented/)
  t.match(await etcdctl(['put', 'a', '1', '--prev-kv']), /prev_kv is not served/)
  t.match(await etcdctl(['del', '--prefix', 'a']), /a deletion of more than one key is not served/)
  t.match(await etcdctl(['put', 'a', 'x'.repeat(70_000)]), /request is too large/)
})

t.test('strangers and oversized requests do no harm', async (t) => {
  const process = await startStore(t, EMBEDDED)
  const raw = new RawEtcd(t, process.address)
  for (const words of ['GET / HTTP/1.1\r\n\r\n', '\xff'.repeat(5000), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff']) {
    const socket = net.connect(process.port, HOST)
    socket.on('error', () => undefined)
    socket.end(words, 'latin1')
    socket.resume()
    await once(socket, 'close')
  }
  const put = (key: Buffer, value: Buffer) => raw.call('KV', 'Put', { key, value })
  t.match(await put(bytes('k'), Buffer.alloc(65_537)), { code: 3, details: 'etcdserver: request is too large' })
  t.match(await put(Buffer.alloc(1025, 'k'), bytes('')), { code: 3, details: 'etcdserver: request is too large' })
  t.match(await put(bytes('k'), Buffer.alloc(2 ** 20)), { code: 8 })
  t.match(await put(bytes(''), bytes('')), { code: 3, details: 'etcdserver: key is not provided' })
  const watches = raw.watches(t)
  watches.send({ createRequest: { key: bytes('k'), prevKv: true } })
  t.match(await watches.next(), { created: true, canceled: true, watchId: '-1', cancelReason: /prev_kv is not served/ })
  watches.send({})
  watches.send({ cancelRequest: { watchId: '99' } })
  watches.send({ createRequest: { key: bytes('k'), watchId: '-1' } })
  t.match(await watches.next(), { created: true, canceled: true, cancelReason: /a watch id below 0/ })
  const [largest, least] = ['9223372036854775807', '-9223372036854775808']
  watches.send({ createRequest: { key: bytes('k'), startRevision: largest } })
  t.match(await watches.next(), { created: true, canceled: false })
  watches.send({ createRequest: { key: bytes('k'), startRevision: least } })
  t.match(await watches.next(), { created: true, canceled: true })
  const future = { code: 11, details: /future revision/ }
  t.match(await raw.call('KV', 'Range', { key: bytes('k'), revision: largest }), future)
  t.match(await raw.call('KV', 'Range', { key: bytes('k'), revision: least, limit: least }), { count: '0' })
  t.match(await raw.call('KV', 'Compact', { revision: largest }), future)
  t.match(await raw.call('KV', 'Compact', { revision: least }), { code: 11, details: /has been compacted/ })
  const txn = (request: object) => raw.call('KV', 'Txn', request)
  const compare = [{ key: bytes('k'), target: 'MOD', modRevision: '0' }]
  const change = { requestPut: { key: bytes('k'), value: bytes('1') } }
  for (const request of [
    {}, { success: [change] }, { compare }, { compare: [...compare, ...compare], success: [change] },
    { compare, success: [change, change] }, { compare, success: [{ requestRange: { key: bytes('k') } }] },
    { compare, success: [{}] }, { compare, success: [change], failure: [{}] },
    { compare, success: [{ requestPut: { key: bytes('j') } }] }, { compare, success: [change], failure: [change] },
    { compare: [{ ...compare[0], result: 'GREATER' }], success: [change] },
    { compare: [{ key: bytes('k'), target: 'VALUE', value: bytes('1') }], success: [change] },
  ]) t.match(await txn(request), { code: 12, details: /is not served; it serves what Holdfast needs of etcd/ })
  t.match(await raw.call('KV', 'Range', { key: bytes('k') }), { kvs: [], header: { revision: '1' } }, 'unchanged')
  t.match(await txn({ compare, success: [change] }), { succeeded: true })
})
