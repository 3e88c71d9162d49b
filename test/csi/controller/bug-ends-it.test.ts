/** Risk: a bug ends failover and not the process, which goes on without it, is ready, and is never started again. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { standIn } from '../../cluster/kubernetes/stand-in.ts'
import { MAIN } from '../../cli/run-holdfast.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const FAILOVER = path.resolve(import.meta.dirname, '../../../csi/kube/failover/failover.ts')

/** Leases may be taken by whoever asks first; nothing else is there. */
function leases(request: IncomingMessage, response: ServerResponse): void {
  let text = ''
  request.on('data', (part: Buffer) => (text += part)).on('end', () => {
    const isTaken = request.method === 'POST' || request.method === 'PUT'
    const lease = isTaken ? JSON.parse(text) as { metadata: object } : undefined
    response.writeHead(isTaken ? 201 : 404, { 'content-type': 'application/json' })
    response.end(JSON.stringify(isTaken ? { ...lease, metadata: { ...lease!.metadata, resourceVersion: '1' } } : {}))
  })
}

t.test('a bug of failover ends the process, in words', async (t) => {
  const folder = temporaryFolder(t)
  const { kubeconfig } = await standIn(t, leases)
  const api = net.createServer().listen(path.join(folder, 'api.sock'))
  t.teardown(() => api.close())
  const bug = path.join(folder, 'bug.mjs')
  writeFileSync(bug, [
    `import { Failover } from ${JSON.stringify(pathToFileURL(FAILOVER))}`,
    'Failover.prototype.turn = async () => { throw new TypeError("planted") }',
  ].join('\n'))
  const at = (name: string): string => path.join(folder, name)
  const words = [
    MAIN, 'csi', 'controller', '--csi-endpoint', at('csi.sock'), '--endpoint', at('api.sock'),
    '--kubeconfig', kubeconfig, '--failover', '--extender', '127.0.0.1:0', '--listen-metrics', '127.0.0.1:0',
  ]
  const env = { PATH: process.env.PATH ?? '', NODE_OPTIONS: `--import=${pathToFileURL(bug)}` }
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe'], env })
  t.teardown(() => child.kill('SIGKILL'))
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  await once(child, 'close', { signal: AbortSignal.timeout(20_000) })
  t.equal(child.exitCode, 1)
  t.match(stderr, /leads by Lease holdfast-failover/)
  t.match(stderr, /TypeError: planted\n\s+at /, 'the log has the whole of it')
})
