/**
 * Risk: pods' I/O waits for the keeper of devices, and that for a control API that is silent. `holdfast csi node` as a
 * process, with an API that is not there, answers without this node, and comes.
 */
// test-timeout-seconds: 120
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { serveGrpc } from '../../../cluster/api/grpc-server.ts'
import type { ApiServer } from '../../../cluster/api/grpc-server.ts'
import { loadServices } from '../../../cluster/api/proto.ts'
import { MAIN } from '../../cli/run-holdfast.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { CsiClient } from '../csi-client.ts'

t.setTimeout(120_000)
const skip = process.getuid!() !== 0 && 'a keeper needs root'

class Host {
  readonly dir: string
  readonly csiSocket: string
  said = ''
  told = ''
  child: ChildProcess | undefined
  readonly #t: Test

  constructor(t: Test, csiSocket = 'csi.sock') {
    this.#t = t
    this.dir = realpathSync(temporaryFolder(t))
    this.csiSocket = path.join(this.dir, csiSocket)
    for (const name of ['n1', 'kubelet']) mkdirSync(path.join(this.dir, name))
    t.teardown(() => this.end('SIGKILL'))
  }

  start(): void {
    const at = (name: string): string => path.join(this.dir, name)
    const words = [
      MAIN, 'csi', 'node', '--csi-endpoint', this.csiSocket, '--endpoint', this.dir, '--state', at('state'),
      '--kubelet-dir', at('kubelet'),
    ]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.told += text))
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.said += text))
    this.child = child
  }

  /** Until it is so, or the process has ended. */
  async until(isSo: () => boolean): Promise<boolean> {
    while (!isSo() && this.child!.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20))
    return isSo()
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null
    child.kill(signal)
    await once(child, 'exit')
    return child.exitCode
  }

  serve(nodes: () => object[]): Promise<ApiServer> {
    const definition = loadServices(['node'], ['NodeService']).NodeService!
    const service = { definition, calls: { List: async () => ({ nodes: nodes() }) } }
    const onBug = (error: unknown): void => void this.#t.fail(String(error))
    return serveGrpc({ socketPath: path.join(this.dir, 'n1/api.sock') }, [service], onBug)
  }

  get keeper(): boolean {
    return existsSync(path.join(this.dir, 'state/keeper.sock'))
  }
}

t.test('the keeper runs first, and what was told last is used', { skip }, async (t) => {
  const host = new Host(t)
  host.start()
  t.ok(await host.until(() => host.keeper), 'the keeper runs without an API')
  t.ok(await host.until(() => host.said.includes('not known yet')), host.said)
  t.notOk(existsSync(host.csiSocket))
  // As from a controller that was elected just now.
  let folder = ''
  const api = await host.serve(() => [{ name: 'n1', id: 'a'.repeat(32), zone: 'z1', folder }])
  t.ok(await host.until(() => host.said.includes('no node of the cluster has')), host.said)
  folder = path.join(host.dir, 'n1')
  t.ok(await host.until(() => host.told.includes('for node n1')), host.said)
  t.equal(await host.end('SIGTERM'), 0)
  await api.close(0)

  host.told = ''
  host.start()
  t.ok(await host.until(() => host.told.includes('for node n1')), host.said)
  const client = new CsiClient(t, host.csiSocket)
  t.match(await client.call('Node', 'NodeGetInfo'), { nodeId: 'n1' })
  t.match(await client.call('Identity', 'Probe'), { ready: { value: true } })
  const gone = { volumeId: 'b'.repeat(32), targetPath: path.join(host.dir, 'kubelet/a') }
  t.same(await client.call('Node', 'NodeUnpublishVolume', gone), {})

  const other = await host.serve(() => [{ name: 'n2', id: 'c'.repeat(32), zone: 'z1', folder }])
  await once(host.child!, 'exit')
  t.equal(host.child!.exitCode, 1)
  t.match(host.said, /this is node n2 now/)
  await other.close(0)
})

t.test('it ends while it waits', { skip }, async (t) => {
  const host = new Host(t)
  host.start()
  t.ok(await host.until(() => host.said.includes('not known yet')), host.said)
  t.equal(await host.end('SIGTERM'), 0)
  t.notOk(host.keeper)
})

t.test('a socket for kubelet that cannot be made ends all of it', { skip }, async (t) => {
  const host = new Host(t, 'no-folder/csi.sock')
  const node = { name: 'n1', id: 'a'.repeat(32), zone: 'z1', folder: path.join(host.dir, 'n1') }
  const api = await host.serve(() => [node])
  t.teardown(() => api.close(0))
  host.start()
  await once(host.child!, 'exit', { signal: AbortSignal.timeout(20_000) })
  t.equal(host.child!.exitCode, 1)
  t.match(host.said, 'no-folder/csi.sock')
  t.match(host.said, 'the keeper of devices runs')
})
