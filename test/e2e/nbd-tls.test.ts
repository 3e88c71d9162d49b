/**
 * NBD over TLS with the clients that people have: libnbd and qemu, on a node by itself. TLS is forced; who has the
 * wrong certificate, or none, gets nothing; what comes back is what was written.
 */
// test-timeout-seconds: 180
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { Ready } from '../../dataplane/daemon-start.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { missing } from '../conformance/nbd/nbd-process.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const HOST = '127.0.0.1'
/** What nbdsh is behind its prompt, which starts whatever python3 comes first. */
const PYTHON_NBD = "true && /usr/bin/python3 -c 'import nbd'"

/** The names that libnbd and qemu want. */
function clientFolder(t: Test, folder: string): string {
  const dir = temporaryFolder(t)
  const names = { 'ca.crt': 'ca-cert.pem', 'tls.crt': 'client-cert.pem', 'tls.key': 'client-key.pem' }
  for (const [from, to] of Object.entries(names)) cpSync(path.join(folder, from), path.join(dir, to))
  return dir
}

t.test('libnbd and qemu', { skip: missing('nbdinfo', 'nbdcopy', 'qemu-img', 'nbdsh') }, async (t) => {
  const ca = new TestCa(t)
  const dir = temporaryFolder(t)
  const tls = ca.issue({ role: 'node', name: 'n1', ip: [HOST] })
  const words = ['--listen-tcp', `${HOST}:0`, '--tls', tls, '--workers', '1']
  const node = new NodeProcess(t, dir, [...words, '--disk', `path=${path.join(dir, 'd')},size=512Mi`])
  const ready = (await node.ready()) as Ready | undefined
  t.ok(ready, node.stderr)
  const { port } = ready!.tcp!
  const endpoint = ['--endpoint', path.join(dir, 'n1')]
  t.equal((await holdfast(['volume', 'create', 'v', '--size', '8Mi', ...endpoint])).code, 0)
  t.match((await holdfast(['volume', 'inspect', 'v', ...endpoint])).stdout, new RegExp(`nbds://${HOST}:${port}/v`))

  const run = (command: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 30_000 })
    return { status, stdout, stderr }
  }
  const admin = clientFolder(t, ca.issue({ role: 'admin', name: 'alice' }))
  const uri = (certificates: string, name = 'v') =>
    `nbds://${HOST}:${port}/${name}?tls-certificates=${certificates}`
  const info = run('nbdinfo', uri(admin))
  t.equal(info.status, 0, info.stderr)
  t.match(info.stdout, /export-size: 8388608/)
  t.match(run('nbdinfo', '--list', uri(admin, '')).stdout, /export="v"/)

  const image = path.join(dir, 'image')
  const bytes = Buffer.alloc(8 << 20)
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761) % 2 ** 32, at)
  writeFileSync(image, bytes)
  const into = run('nbdcopy', image, uri(admin))
  t.equal(into.status, 0, into.stderr)
  const out = path.join(dir, 'out')
  t.equal(run('nbdcopy', uri(admin), out).status, 0)
  t.ok(readFileSync(out).equals(bytes), 'it comes back through libnbd')
  const object = `tls-creds-x509,id=t,dir=${admin},endpoint=client`
  const options = `driver=nbd,server.type=inet,server.host=${HOST},server.port=${port},export=v,tls-creds=t`
  const local = `driver=raw,file.filename=${image}`
  const compared = run('qemu-img', 'compare', '--object', object, '--image-opts', options, local)
  t.equal(compared.status, 0, compared.stderr + compared.stdout)

  const plain = run('nbdinfo', `nbd://${HOST}:${port}/v`)
  t.not(plain.status, 0)
  t.match(plain.stderr, /server replied with error to opt_go request: Operation not supported/, 'TLS is required')
  const strangers = {
    viewer: clientFolder(t, ca.issue({ role: 'viewer', name: 'v' })),
    'another CA': clientFolder(t, new TestCa(t, ca.clusterId).issue({ role: 'admin', name: 'eve' })),
  }
  cpSync(path.join(admin, 'ca-cert.pem'), path.join(strangers['another CA'], 'ca-cert.pem'))
  for (const [who, certificates] of Object.entries(strangers)) {
    t.not(run('nbdinfo', uri(certificates)).status, 0, who)
  }
  t.not(run('nbdinfo', uri(admin, 'nothing')).status, 0)

  await t.test('what is injected before TLS reaches nothing', async (t) => {
    const socket = net.connect(port, HOST)
    let heard = Buffer.alloc(0)
    socket.on('data', (chunk) => (heard = Buffer.concat([heard, chunk]))).on('error', () => undefined)
    const starttls = Buffer.from('49484156454f50540000000500000000', 'hex')
    const go = Buffer.from('49484156454f505400000007000000070000000176' + '0000', 'hex')
    socket.write(Buffer.concat([Buffer.from('00000003', 'hex'), starttls, go]))
    await new Promise((resolve) => socket.on('close', resolve))
    t.equal(heard.length, 18, 'the greeting, and no answer')
  })
  const again = run('nbdinfo', '--size', uri(admin))
  t.equal(again.stdout.trim(), '8388608', 'all goes on')
})

t.test('several data workers', { skip: missing('nbdcopy', PYTHON_NBD) }, async (t) => {
  const ca = new TestCa(t)
  const dir = temporaryFolder(t)
  const tls = ca.issue({ role: 'node', name: 'n1', ip: [HOST] })
  const words = ['--listen-tcp', `${HOST}:0`, '--tls', tls, '--workers', '3']
  const node = new NodeProcess(t, dir, [...words, '--disk', `path=${path.join(dir, 'd')},size=1Gi`])
  const ready = (await node.ready()) as Ready | undefined
  t.ok(ready, node.stderr)
  const { port } = ready!.tcp!
  const endpoint = ['--endpoint', path.join(dir, 'n1')]
  const admin = clientFolder(t, ca.issue({ role: 'admin', name: 'alice' }))
  const uri = (name: string) => `nbds://${HOST}:${port}/${name}?tls-certificates=${admin}`
  const names = ['v0', 'v1', 'v2', 'v3']
  for (const name of names) t.equal((await holdfast(['volume', 'create', name, '--size', '8Mi', ...endpoint])).code, 0)
  const run = (command: string, ...args: string[]): Promise<{ status: number | null; text: string }> =>
    new Promise((resolve) => {
      const child = spawn(command, args)
      let text = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (text += String(bytes)))
      child.on('close', (status) => resolve({ status, text }))
    })
  // Each twice, since which worker accepts goes round: that of the volume, and others.
  const outcomes = await Promise.all([...names, ...names].map(async (name, index) => {
    const image = path.join(dir, `image-${index}`)
    const bytes = Buffer.alloc(8 << 20)
    const of = names.indexOf(name)
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761 + of) % 2 ** 32, at)
    writeFileSync(image, bytes)
    const into = await run('nbdcopy', image, uri(name))
    const back = path.join(dir, `back-${index}`)
    const out = await run('nbdcopy', uri(name), back)
    return `${into.status} ${out.status} ${into.text}${out.text} ${readFileSync(back).equals(bytes)}`
  }))
  t.same(outcomes, outcomes.map(() => '0 0  true'))
  const shell = `
import nbd
h = [nbd.NBD() for _ in range(6)]
for i in range(6):
    h[i].set_uri_allow_local_file(True)
    h[i].connect_uri('${uri('v1')}')
for i in range(6):
    h[i].pwrite(bytes([i + 1]) * 4096, 4096 * i, nbd.CMD_FLAG_FUA)
for i in range(6):
    for j in range(6):
        assert h[j].pread(4096, 4096 * i) == bytes([i + 1]) * 4096
h[0].zero(4096, 0); h[1].trim(4096, 4096); h[2].flush()
assert h[3].pread(4096, 0) == bytes(4096)
for i in range(6):
    h[i].shutdown()
print('all six agree')
`
  const six = await run('/usr/bin/python3', '-c', shell)
  t.match(six.text, /all six agree/, 'connections through all workers show one volume')
  const inUse = async () => {
    const { stdout } = await holdfast(['status', '-o', 'json', ...endpoint])
    return (JSON.parse(stdout) as { sessions: number }).sessions
  }
  while ((await inUse()) > 0) await new Promise((resolve) => setTimeout(resolve, 50))
  t.pass('nothing is left of them')
})
