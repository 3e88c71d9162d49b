/**
 * What a stranger finds who speaks TLS at one of our ports: 1.3 and nothing older, no session that could be resumed
 * without its certificate, no other protocol; and files that do not fit, or a key that shows up where it is printed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { connect } from 'node:tls'
import { inspect } from 'node:util'
import t from 'tap'
import { listenSecurely } from '../../../cluster/tls/secure-listener.ts'
import { TlsAcceptor } from '../../../cluster/tls/tls-accept.ts'
import { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { TestCa } from './certificates.ts'
import { issueRaw } from './raw-certificate.ts'

async function serve(t: { teardown(end: () => unknown): void }, folder: TlsFolder) {
  const refused: string[] = []
  const seen: string[] = []
  const listener = await listenSecurely({
    host: '127.0.0.1', port: 0, folder, protocol: 'h2',
    onSecure: (socket, { role, name }) => {
      seen.push(`${role} ${name} ${socket.getProtocol()} ${socket.isSessionReused() ? 'resumed' : 'whole'}`)
      socket.end('hello')
    },
    onRefused: (_, reason) => refused.push(reason),
  })
  t.teardown(() => listener.close())
  return { port: listener.port, refused, seen }
}

t.test('TLS 1.3, and every connection shows its certificate', async (t) => {
  const ca = new TestCa(t)
  const { port, refused, seen } = await serve(t, ca.folder({ role: 'node', name: 'n1' }))
  const client = ca.folder({ role: 'admin', name: 'alice' }).dir
  const dir = temporaryFolder(t)
  const session = path.join(dir, 'session')
  const ask = (...words: string[]) => new Promise<string>((resolve) => {
    const at = ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', path.join(client, 'ca.crt')]
    const own = ['-cert', path.join(client, 'tls.crt'), '-key', path.join(client, 'tls.key'), '-alpn', 'h2']
    const child = spawn('openssl', [...at, ...own, ...words], { stdio: ['pipe', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
    child.on('close', () => resolve(said))
  })
  t.match(await ask('-sess_out', session), /TLSv1\.3/)
  await ask('-sess_in', session)
  t.same(seen, ['admin alice TLSv1.3 whole', 'admin alice TLSv1.3 whole'], 'nothing is resumed')
  t.match(await ask('-tls1_2'), /alert|error/)
  t.equal(seen.length, 2)
  t.match(refused.join(), /no TLS 1\.3/)
})

t.test('what is no handshake is closed, and named', async (t) => {
  const ca = new TestCa(t)
  const { port, refused, seen } = await serve(t, ca.folder({ role: 'node', name: 'n1' }))
  for (const bytes of ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\0'.repeat(100)]) {
    const socket = net.connect(port, '127.0.0.1')
    socket.on('error', () => undefined).resume()
    socket.write(bytes)
    await once(socket, 'close')
  }
  t.equal(refused.length, 3, refused.join())
  t.same(seen, [])
})

t.test('one port of a client at two of our addresses: each comes out with what it was accepted with', async (t) => {
  const ca = new TestCa(t)
  const found: string[] = []
  const acceptor = new TlsAcceptor<string | undefined>({
    folder: ca.folder({ role: 'node', name: 'n1' }),
    protocol: undefined, handshakeMs: 5000, handshakesMax: 8,
    onSecure: (socket, _, context) => {
      found.push(`${socket.localAddress} ${context}`)
      socket.end()
    },
    onRefused: (address, reason) => t.fail(`${address} ${reason}`),
  })
  const server = net.createServer((socket) => acceptor.accept(socket, socket.localAddress))
  t.teardown(() => server.close())
  await once(server.listen(0, '0.0.0.0'), 'listening')
  const { port } = server.address() as net.AddressInfo
  const first = net.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.1' })
  await once(first, 'connect')
  const second = net.connect({ port, host: '127.0.0.2', localAddress: '127.0.0.1', localPort: first.localPort! })
  await once(second, 'connect')
  while (acceptor.arriving < 2) await new Promise(setImmediate)
  const options = ca.folder({ role: 'admin', name: 'alice' }).current.options()
  // Whoever came last is through first.
  for (const socket of [second, first]) {
    await once(connect({ ...options, socket, checkServerIdentity: () => undefined }).resume(), 'close')
  }
  t.same(found, ['127.0.0.2 127.0.0.2', '127.0.0.1 127.0.0.1'])
  t.equal(acceptor.arriving, 0)
})

t.test('a folder whose files do not fit each other is refused in a sentence', async (t) => {
  const ca = new TestCa(t)
  const folder = (change: (dir: string) => void): string => {
    const dir = ca.issue({ role: 'node', name: 'n1', out: temporaryFolder(t) })
    change(dir)
    return dir
  }
  const put = (name: string, text: string) => (dir: string) => writeFileSync(path.join(dir, name), text)
  const uri = `holdfast://cluster/${ca.clusterId}/node/n1`
  const expired = issueRaw(ca.dir, { uri, expired: true })
  const cases: Array<[string, RegExp]> = [
    [folder((dir) => rmSync(path.join(dir, 'tls.key'))), /tls\.key cannot be used for TLS: it is not there/],
    [folder(put('tls.key', 'x')), /tls\.key .*: it holds no private key in PEM/],
    [folder(put('tls.crt', 'x')), /tls\.crt .*: it holds no certificate in PEM/],
    [folder(put('tls.key', issueRaw(ca.dir, { uri }).key)), /it is not the key of tls\.crt/],
    [folder((dir) => put('ca.crt', readFileSync(path.join(dir, 'tls.crt'), 'utf8'))(dir)), /not that of a CA/],
    [folder((dir) => [put('tls.key', expired.key), put('tls.crt', expired.certificate)].map((one) => one(dir))),
      /it was valid until/],
  ]
  for (const [dir, message] of cases) t.throws(() => new TlsFolder(dir), { code: 'tls-files', message })
})

t.test('a key is not printed', async (t) => {
  const ca = new TestCa(t)
  const folder = ca.folder({ role: 'node', name: 'n1' })
  const body = readFileSync(path.join(folder.dir, 'tls.key'), 'utf8').split('\n')[1]!
  const { current } = folder
  t.ok(String(current.options().key).includes(body), 'it is in there')
  const shown = inspect(current, { depth: 9, showHidden: true })
  const printed = [shown, inspect(folder, { depth: 9 }), JSON.stringify(current)]
  for (const text of printed) t.notOk(text.includes(body))
})
