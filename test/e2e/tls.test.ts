/**
 * `holdfast dev --tls`: three nodes, their store and the control API over TLS in real processes. A node that leads is
 * killed under a checked load; who has the wrong certificate, or none, is refused in a sentence; certificates that are
 * replaced while all runs are used; the same folder resumes.
 */
// test-timeout-seconds: 240
import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { issue } from '../../cli/ca-folder.ts'
import type { Node } from '../../cluster/api/node-messages.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { DevProcess } from '../cli/dev-process.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { missing } from '../conformance/nbd/nbd-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const SMALL = ['--tls', '--size', '512Mi', '--volume', 'demo:32Mi']

t.test('a cluster over TLS', async (t) => {
  const cwd = temporaryFolder(t)
  const dev = new DevProcess(t, cwd, SMALL)
  t.ok(await dev.says(/Ctrl-C stops it/), dev.stderr)
  const told = dev.stdout.matchAll(/^ {2}control {4}--endpoint (\S+) --tls (\S+)/gm)
  const apis = [...told].map(([, at, dir]) => ({ at, dir }))
  t.equal(apis.length, 3)
  const { at, dir: admin } = apis[1]!
  const ca = path.resolve(admin!, '..')
  const as = (dir: string, ...words: string[]) => holdfast([...words, '--endpoint', at!, '--tls', dir], { cwd })

  const { code, stdout, stderr } = await as(admin!, 'node', 'ls', '-o', 'json')
  t.equal(code, 0, stderr)
  t.same((JSON.parse(stdout) as Node[]).map(({ name, state }) => `${name} ${state}`), ['n1 up', 'n2 up', 'n3 up'])

  await t.test('who may do what', async (t) => {
    const role = (role: 'viewer' | 'operator') => {
      const out = path.join(ca, role)
      issue(ca, { role, name: role, dns: [], ip: [], days: 1, out })
      return out
    }
    const [viewer, operator] = [role('viewer'), role('operator')]
    t.equal((await as(viewer, 'volume', 'ls')).code, 0)
    const made = await as(viewer, 'volume', 'create', 'mine', '--size', '8Mi')
    t.same([made.code, made.stdout], [1, ''])
    t.match(made.stderr, /viewer viewer may not do VolumeService\/Create.*roles: operator, admin, csi, node/)
    t.equal((await as(operator, 'volume', 'create', 'mine', '--size', '8Mi')).code, 0)
    const kept = await as(operator, 'volume', 'delete', 'mine')
    t.match(kept.stderr, /operator operator may not do VolumeService\/Delete/)
    t.equal((await as(admin!, 'volume', 'delete', 'mine', '--purge')).code, 0, 'through a node that may not be elected')
    const eve = new TestCa(t).issue({ role: 'admin', name: 'eve' })
    t.match((await as(eve, 'volume', 'ls')).stderr, /CA that is not known here/)
    t.match((await holdfast(['volume', 'ls', '--endpoint', at!], { cwd })).stderr, /answers over TLS only/)
  })

  await t.test('bearer tokens', async (t) => {
    const file = path.join(cwd, 'ci.token')
    const made = await as(admin!, 'token', 'create', 'ci', '--role', 'operator', '--expires', '1h', '--out', file)
    t.equal(made.code, 0, made.stderr)
    t.equal(statSync(file).mode & 0o777, 0o600)
    const authority = temporaryFolder(t)
    cpSync(path.join(ca, 'ca.crt'), path.join(authority, 'ca.crt'))
    // Each node, since a token is the cluster's; from a flag or the environment, never from the words of a command.
    const env = { HOLDFAST_TOKEN_FILE: file, HOLDFAST_TLS: authority }
    for (const { at } of apis) {
      const found = await holdfast(['volume', 'ls', '--endpoint', at!], { cwd, env })
      t.match([found.code, found.stdout], [0, /demo/], found.stderr)
    }
    const by = (...words: string[]) => as(authority, ...words, '--token-file', file)
    t.match((await by('volume', 'delete', 'demo')).stderr, /operator ci may not do VolumeService\/Delete/)
    t.match((await by('token', 'ls')).stderr, /operator ci may not do TokenService\/List/)
    t.match((await as(admin!, 'token', 'ls')).stdout, /^ci +operator +\d+s +until /m)
    t.equal((await as(admin!, 'token', 'create', 'other', '--role', 'viewer')).code, 0)
    t.equal((await as(admin!, 'token', 'revoke', 'ci')).code, 0)
    const gone = await by('volume', 'ls')
    t.match([gone.code, gone.stderr], [1, /token is not taken: it is not known, or was revoked/])
    const audit = readFileSync(path.join(cwd, '.holdfast/n2/audit.log'), 'utf8')
    const creation = { rpc: 'TokenService/Create', role: 'admin', by: 'certificate', request: { name: 'ci' } }
    const entries = audit.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)
    t.match(entries.find(({ rpc }) => rpc === creation.rpc), { node: 'n2', stage: 'asked', ...creation })
    const denied = entries.find(({ stage, rpc }) => stage === 'denied' && rpc === 'VolumeService/Delete')
    t.match(denied, { role: 'operator', by: /certificate|token/ })
    const secret = readFileSync(file, 'utf8').trim().slice(-43)
    const seen = spawnSync('grep', ['-rlF', secret, path.join(cwd, '.holdfast')], { encoding: 'utf8' })
    t.equal(seen.stdout, '', 'no file of a node or of the store has it')
    const socket = path.join(cwd, '.holdfast/n2/api.sock')
    t.equal((await holdfast(['token', 'revoke', 'other', '--endpoint', socket], { cwd })).code, 0)
    t.match(readFileSync(path.join(cwd, '.holdfast/n2/audit.log'), 'utf8'), `"by":"socket","uid":${process.getuid!()}`)
  })

  await t.test('somebody in plain text hears nothing', async (t) => {
    const [host, port] = at!.split(':')
    const socket = net.connect(Number(port), host)
    let heard = 0
    socket.on('data', (bytes) => (heard += bytes.length)).on('error', () => undefined)
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0')
    await new Promise((resolve) => socket.on('close', resolve))
    t.ok(heard <= 7, `an alert at most: ${heard} bytes`)
  })

  await t.test('NBD over TLS through a node of a cluster', { skip: missing('nbdinfo', 'nbdcopy') }, async (t) => {
    const names = { 'ca.crt': 'ca-cert.pem', 'tls.crt': 'client-cert.pem', 'tls.key': 'client-key.pem' }
    const certificates = temporaryFolder(t)
    for (const [from, to] of Object.entries(names)) cpSync(path.join(admin!, from), path.join(certificates, to))
    const told = dev.stdout.matchAll(/ (nbds:\S+demo)$/gm)
    const uris = [...told].map(([, uri]) => `${uri}?tls-certificates=${certificates}`)
    t.equal(uris.length, 3)
    const image = path.join(certificates, 'image')
    writeFileSync(image, Buffer.alloc(32 << 20, 'written through one node, read through another. '))
    const copied = spawnSync('nbdcopy', [image, uris[1]!], { encoding: 'utf8' })
    t.equal(copied.status, 0, copied.stderr)
    const back = path.join(certificates, 'back')
    t.equal(spawnSync('nbdcopy', [uris[2]!, back]).status, 0)
    t.ok(readFileSync(back).equals(readFileSync(image)))
    t.not(spawnSync('nbdinfo', [uris[0]!.replace('nbds:', 'nbd:')]).status, 0, 'not in plain text')
  })

  await t.test('the node that leads is killed, with certificates replaced meanwhile', async (t) => {
    for (const name of ['n1', 'n2', 'n3']) {
      const folder = { dns: ['localhost'], ip: ['127.0.0.1'], days: 2, out: path.join(ca, name) }
      issue(ca, { role: 'node', name, ...folder })
    }
    const { code, stdout, stderr } = await holdfast(['demo', 'failover', '-o', 'json'], { cwd, timeoutMs: 120_000 })
    t.equal(code, 0, stderr)
    t.match(JSON.parse(stdout), { errors: 0, wrong: [], reconnects: 0 })
  })

  await t.test('it resumes', async (t) => {
    await dev.interrupt()
    const again = new DevProcess(t, cwd, [])
    t.ok(await again.says(/Ctrl-C stops it/), again.stderr)
    const found = await holdfast(['volume', 'inspect', 'demo', '-o', 'json'], { cwd })
    t.match(JSON.parse(found.stdout) as Volume, { name: 'demo', replicas: 2 })
    t.match(again.stdout, /^ {2}control {4}--endpoint/m)
    await again.interrupt()
  })
})
