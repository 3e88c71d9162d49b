/**
 * `holdfast dev --nodes 1` as a user meets it: ready with a URI that works, kill, stop and start of its node, a folder
 * in use, Ctrl-C, and the same folder resumed. Nothing stays running and nothing is written outside the folder.
 */
// test-slow: starts real nodes, or a store
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { isAlive, processGone } from '../dataplane/node-process.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DevProcess } from './dev-process.ts'
import { holdfast, MAIN } from './run-holdfast.ts'

const SMALL = ['--size', '512Mi', '--nodes', '1']

const pidOf = (dir: string, file: string) => Number(readFileSync(path.join(dir, '.holdfast/n1', file), 'utf8'))

t.test('ready, used, killed, started, stopped, resumed', async (t) => {
  const cwd = temporaryFolder(t)
  const dev = new DevProcess(t, cwd, [...SMALL, '--volume', 'data:64Mi:0'])
  t.ok(await dev.says(/Ctrl-C stops it/), dev.stderr)
  t.match(dev.stdout, /^holdfast ready$/m)
  const socket = path.join(cwd, '.holdfast/n1/nbd.sock')
  t.match(dev.stdout, `nbd+unix:///demo?socket=${socket}`)
  t.match(dev.stdout, /nbd:\/\/127\.0\.0\.1:\d+\/demo/)
  t.same(readdirSync(cwd), ['.holdfast'])
  const client = await RawClient.open(socket, { name: 'demo' })
  client.close()

  const inspected = await holdfast(['volume', 'inspect', 'demo', '-o', 'json'], { cwd })
  t.match(JSON.parse(inspected.stdout), {
    name: 'demo', sizeBytes: 2 ** 30, replicas: 0, durability: 'durable', encryption: false, health: 'healthy',
    copies: [{ node: 'n1', role: 'primary', state: 'in-sync', lagBytes: 0 }],
    nbd: [`nbd+unix:///demo?socket=${socket}`, /^nbd:\/\/127\.0\.0\.1:/],
  })
  t.match((await holdfast(['volume', 'ls'], { cwd })).stdout, /^data +64 MiB/m)
  t.match((await holdfast(['status'], { cwd })).stdout, /^healthy: 2 of 2 volumes healthy/)
  const limit = 'one node: while it is down nothing is served, and what is on its disks is nowhere else'
  t.match(dev.stdout, `\n  ${limit}\n`)
  t.match((await holdfast(['status'], { cwd })).stdout, `\nit cannot promise more: ${limit}\n`)
  const hint = /its only copy is on n1: it is not served while that node is down, and lost with its disks/
  t.match((await holdfast(['volume', 'create', 'more', '--size', '16Mi'], { cwd })).stdout, hint)
  t.match((await holdfast(['node', 'ls'], { cwd })).stdout, /^n1 +up /m)
  t.match((await holdfast(['dev'], { cwd })).stderr, /\.holdfast is in use by process \d+; stop that process/)

  const pids = [pidOf(cwd, 'pid'), pidOf(cwd, 'supervisor.pid')]
  t.match(await holdfast(['dev', 'kill', 'n1'], { cwd }), { code: 0, stdout: /n1 is down/ })
  await Promise.all(pids.map(processGone))
  t.match(await holdfast(['volume', 'ls'], { cwd }), { code: 1, stderr: /nothing listens there any more/ })
  t.match(await holdfast(['dev', 'kill', 'n7'], { cwd }), { code: 1, stderr: /there is no node "n7"/ })
  t.match(await holdfast(['dev', 'start', 'n1'], { cwd }), { code: 0, stdout: /n1 is up/ })
  t.match((await holdfast(['volume', 'ls', '-o', 'json'], { cwd })).stdout, /"name": "demo"/)
  t.match(await holdfast(['dev', 'stop', 'n1'], { cwd }), { code: 0, stdout: /stopped cleanly/ })
  t.match(await holdfast(['dev', 'start', 'n1'], { cwd }), { code: 0 })

  const last = [pidOf(cwd, 'pid'), pidOf(cwd, 'supervisor.pid')]
  t.equal(await dev.interrupt(), 0)
  t.match(dev.stdout, /stopping\nstopped\n$/)
  t.same(last.filter(isAlive), [], 'no process is left')
  t.same(readdirSync(path.join(cwd, '.holdfast')), ['lock', 'n1'])

  const resumed = new DevProcess(t, cwd)
  t.ok(await resumed.says(/Ctrl-C stops it/), resumed.stderr)
  t.match(resumed.stdout, /was made with one node and resumes as that; another folder \(--dir\) gets three/)
  t.match(resumed.stdout, /resuming with its disk of 512 MiB/)
  t.match(resumed.stdout, /volume data: 64 MiB/)
  t.equal(await resumed.interrupt(), 0)
})

t.test('a start that waits for the cluster store says so, and ends when that is there', async (t) => {
  const cwd = temporaryFolder(t)
  const dev = new DevProcess(t, cwd, ['--size', '512Mi', '--nodes', '2', '--no-demo'])
  t.ok(await dev.says(/Ctrl-C stops it/), dev.stderr)
  for (const name of ['n2', 'store']) t.match(await holdfast(['dev', 'kill', name], { cwd }), { code: 0 })
  const start = spawn(process.execPath, [MAIN, 'dev', 'start', 'n2'], { cwd })
  t.teardown(() => start.kill('SIGKILL'))
  const ended = once(start, 'close')
  let said = ''
  for (const stream of [start.stdout, start.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (said += text))
  while (!/n2 waits for its cluster store/.test(said) && start.exitCode === null) await once(start.stdout, 'data')
  t.match(await holdfast(['dev', 'start', 'store'], { cwd }), { code: 0 })
  t.same((await ended)[0], 0, said)
  t.match(said, /^n2 is starting[^]*node n2 waits for its cluster store: [^]*node n2 is up/)
  t.equal(await dev.interrupt(), 0)
})

t.test('a start that waits for a cluster that its store does not know says so', async (t) => {
  const cwd = temporaryFolder(t)
  const dev = new DevProcess(t, cwd, ['--size', '512Mi', '--nodes', '2', '--no-demo'])
  t.ok(await dev.says(/Ctrl-C stops it/), dev.stderr)
  for (const name of ['n2', 'store']) t.match(await holdfast(['dev', 'kill', name], { cwd }), { code: 0 })
  rmSync(path.join(cwd, '.holdfast/store'), { recursive: true })
  t.match(await holdfast(['dev', 'start', 'store'], { cwd }), { code: 0 })
  const start = spawn(process.execPath, [MAIN, 'dev', 'start', 'n2'], { cwd })
  t.teardown(() => start.kill('SIGKILL'))
  const ended = once(start, 'close')
  let said = ''
  start.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  while (!/n2 waits: /.test(said) && start.exitCode === null) await once(start.stdout, 'data')
  t.match(said, /node n2 waits: the cluster store at \S+ is empty, .* `holdfast store rebuild --from-nodes /)
  t.equal(await dev.interrupt(), 0)
  t.same((await ended)[0], 1, 'it does not come up any more')
})

t.test('kill -9 of dev itself leaves no node behind', async (t) => {
  const cwd = temporaryFolder(t)
  const dev = new DevProcess(t, cwd, [...SMALL, '--no-demo', '-o', 'json'])
  t.ok(await dev.says(/\n}\n$/), dev.stderr)
  const { ready, dir, nodes, volumes } = JSON.parse(dev.stdout) as Record<string, unknown>
  t.match({ ready, dir, nodes, volumes }, {
    ready: true, dir: path.join(cwd, '.holdfast'), volumes: [], nodes: [{ name: 'n1', pid: Number }],
  })
  const pids = [pidOf(cwd, 'pid'), pidOf(cwd, 'supervisor.pid')]
  process.kill(Number(readFileSync(path.join(cwd, '.holdfast/lock'), 'utf8')), 'SIGKILL')
  await dev.ended()
  await Promise.all(pids.map(processGone))
})
