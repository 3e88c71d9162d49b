/**
 * Risk: files that are replaced, well or badly, end the process that shows them, make it somebody else, or are never
 * looked at again.
 */
import { once } from 'node:events'
import { cpSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { connect } from 'node:tls'
import t from 'tap'
import type { Test } from 'tap'
import { identityUri } from '../../../cluster/tls/identity.ts'
import { listenSecurely } from '../../../cluster/tls/secure-listener.ts'
import { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { TestCa } from './certificates.ts'
import { issueRaw } from './raw-certificate.ts'

/** That of node n1, over which time passes when it is told to. */
function watched(t: Test, ca: TestCa) {
  const dir = ca.issue({ role: 'node', name: 'n1', out: path.join(temporaryFolder(t), 'n1') })
  let nowMs = 0
  const folder = new TlsFolder(dir, () => nowMs)
  const problems: string[] = []
  folder.onProblem = ({ code, message }) => problems.push(`${code}: ${message}`)
  const look = () => {
    nowMs += 1000
    return folder.current
  }
  const put = (from: string) => cpSync(from, dir, { recursive: true })
  return { dir, folder, problems, look, put }
}

t.test('a folder that cannot be looked at is told once, and used again when it can', (t) => {
  const ca = new TestCa(t)
  const { dir, folder, problems, look } = watched(t, ca)
  const before = folder.current
  renameSync(dir, `${dir}.away`)
  symlinkSync(dir, dir)
  t.equal(look(), before)
  t.equal(look(), before)
  t.match(problems, [/^tls-files: .*ELOOP/])
  rmSync(dir)
  ca.issue({ role: 'node', name: 'n1', out: dir })
  t.not(look(), before)
  t.equal(problems.length, 1)
  t.end()
})

t.test('a certificate of nobody, of another node or of another cluster is not taken', async (t) => {
  const ca = new TestCa(t)
  const { dir, folder, problems, look, put } = watched(t, ca)
  const before = folder.current
  const listener = await listenSecurely({
    host: '127.0.0.1', port: 0, folder, protocol: 'h2',
    onSecure: (socket, { name }) => socket.end(`hello ${name}`),
    onRefused: (_, reason) => problems.push(reason),
  })
  t.teardown(() => listener.close())
  const alice = ca.folder({ role: 'admin', name: 'alice' }).current.options()
  const hello = async (): Promise<string> => {
    const options = { ...alice, host: '127.0.0.1', port: listener.port, ALPNProtocols: ['h2'] }
    const socket = connect({ ...options, checkServerIdentity: () => undefined })
    let said = ''
    socket.on('data', (bytes) => (said += bytes))
    await once(socket, 'close')
    return said
  }
  const nobody = issueRaw(ca.dir, { dns: ['n1.example'] })
  writeFileSync(path.join(dir, 'tls.key'), nobody.key)
  writeFileSync(path.join(dir, 'tls.crt'), nobody.certificate)
  t.equal(look(), before)
  t.equal(await hello(), 'hello alice')
  put(ca.issue({ role: 'node', name: 'n2' }))
  t.equal(look(), before)
  put(new TestCa(t).issue({ role: 'node', name: 'n1' }))
  t.equal(look(), before)
  t.equal(await hello(), 'hello alice', 'it is of the cluster that it was')
  t.match(problems, [/^tls-files: .*tls\.crt .* 0 names of the form/, /^tls-cluster: .*node\/n2/, /^tls-cluster: /])
  t.equal(problems.length, 3)
  put(ca.issue({ role: 'node', name: 'n1' }))
  t.not(look(), before, 'its own, anew')
  t.equal(identityUri(folder.identity), `holdfast://cluster/${ca.clusterId}/node/n1`)
  t.equal(await hello(), 'hello alice')
})

t.test('what could not be read is tried again, though no file changed since', (t) => {
  const ca = new TestCa(t)
  const { dir, folder, problems, look, put } = watched(t, ca)
  const before = folder.current
  put(ca.issue({ role: 'node', name: 'n1' }))
  const key = path.join(dir, 'tls.key')
  const bytes = readFileSync(key)
  // In place and of one length and time: nothing that is looked at tells one from the other, as with a failed read.
  const write = (text: Uint8Array) => {
    writeFileSync(key, text)
    utimesSync(key, 1_700_000_000, 1_700_000_000)
    return statSync(key, { bigint: true })
  }
  const bad = write(Buffer.alloc(bytes.length, 'x'))
  t.equal(look(), before)
  const good = write(bytes)
  t.same([good.ino, good.mtimeNs, good.size], [bad.ino, bad.mtimeNs, bad.size])
  t.not(look(), before)
  t.equal(problems.length, 1)
  t.end()
})
