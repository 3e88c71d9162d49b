/** Risk: a controller that cannot do all that it is for stays, does half of it, and nobody starts it again. */
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { holdfast } from '../../cli/run-holdfast.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const HOST = '127.0.0.1'

t.test('a port that is taken ends it, in words', async (t) => {
  const folder = temporaryFolder(t)
  const taken = net.createServer().listen(0, HOST)
  t.teardown(() => taken.close())
  await new Promise((resolve) => taken.once('listening', resolve))
  const { port } = taken.address() as net.AddressInfo
  const kubeconfig = path.join(folder, 'kubeconfig')
  writeFileSync(kubeconfig, JSON.stringify({
    'current-context': 'c', contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }], users: [],
    clusters: [{ name: 'c', cluster: { 'server': `https://${HOST}:1`, 'certificate-authority-data': '' } }],
  }))
  const api = net.createServer().listen(path.join(folder, 'api.sock'))
  t.teardown(() => api.close())
  const { code, stderr } = await holdfast([
    'csi', 'controller', '--csi-endpoint', path.join(folder, 'csi.sock'), '--endpoint', path.join(folder, 'api.sock'),
    '--kubeconfig', kubeconfig, '--extender', `${HOST}:${port}`,
  ])
  t.equal(code, 1)
  t.match(stderr, `${HOST}:${port} (--extender)`)
})
