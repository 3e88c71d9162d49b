/**
 * NBD over TLS with the clients that people have: libnbd and qemu, on a node by itself. TLS is forced; who has the
 * wrong certificate, or none, gets nothing; what comes back is what was written.
 */
// test-timeout-seconds: 180
import { spawnSync } from 'node:child_process'
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
