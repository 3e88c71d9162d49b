/**
 * `holdfast dev` as a user meets it: a client writes through one node while the primary on another is killed
 * as a dead host, and notices nothing but a pause; the cluster says what happened and mends itself; Ctrl-C stops all of
 * it, and the same folder resumes with the data. Refusals of folders that were made as something else. A `dev` that is
 * killed, and one that is hurried.
 */
// test-timeout-seconds: 120
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { DevProcess } from '../cli/dev-process.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { randomNumber } from '../cluster/cluster-of-daemons.ts'
import { isAlive } from '../dataplane/node-process.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const NODES = ['n1', 'n2', 'n3']
const SMALL = ['--size', '512Mi', '--no-demo']
const DEMO = ['--volume', 'demo:32Mi']

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

t.test('the primary dies under a client', async (t) => {
  const cwd = temporaryFolder(t)
  const inspect = async (): Promise<Volume> => {
    const { stdout, stderr } = await holdfast(['volume', 'inspect', 'demo', '-o', 'json'], { cwd })
    t.equal(stderr, '', 'any node that is up answers for the volume')
    return JSON.parse(stdout) as Volume
  }
  const until = async (isSo: (volume: Volume) => boolean): Promise<Volume> => {
    for (;;) {
      const volume = await inspect()
      if (isSo(volume)) return volume
      await sleep(200)
    }
  }
  const primaryOf = ({ copies }: Volume) => copies.find(({ role }) => role === 'primary')?.node

  const dev = new DevProcess(t, cwd, [...SMALL, ...DEMO])
  t.ok(await dev.says(/Ctrl-C stops it/), dev.stderr)
  t.match(dev.stdout, /^volume demo: 32 MiB, 0 B used, healthy, copies on n\d.*, n\d.*, n\d/m)
  for (const name of NODES) {
    t.match(dev.stdout, `nbd+unix:///demo?socket=${path.join(cwd, '.holdfast', name, 'nbd.sock')}`)
  }
  const before = await inspect()
  t.equal(before.health, 'healthy', 'ready is said when it is so')
  t.match(before, { replicas: 2, minInSync: 2 })
  t.same(before.copies.map(({ node }) => node).sort(), NODES)
  const victim = primaryOf(before)!
  const user = victim === 'n2' ? 'n3' : 'n2'

  const socketPath = path.join(cwd, '.holdfast', user, 'nbd.sock')
  const client = new StampedClient({ socketPath, exportName: 'demo', random: randomNumber, depth: 8 })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  const moreWrites = async () => {
    const enough = client.counts.writes + 200
    while (client.counts.writes < enough) await sleep(10)
  }
  await moreWrites()
  t.match(await holdfast(['dev', 'kill', victim], { cwd }), { code: 0, stdout: /is down, killed as a dead host/ })
  await moreWrites()
  const without = await until(({ health }) => health === 'degraded')
  t.not(primaryOf(without), victim, 'another copy leads')
  t.ok(without.epoch > before.epoch, `epoch ${without.epoch} after ${before.epoch}`)
  t.match(await holdfast(['dev', 'start', victim], { cwd }), { code: 0, stdout: /is up/ })
  await until(({ health }) => health === 'healthy')
  await client.pause()
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, ${client.counts.reads} reads`)
  t.equal(client.counts.errors, 0, 'no request failed')
  t.equal(client.sessions, 1, 'and no connection was lost')

  const pids = NODES.map((name) => Number(readFileSync(path.join(cwd, '.holdfast', name, 'pid'), 'utf8')))
  t.equal(await dev.interrupt(), 0)
  t.match(dev.stdout, /stopping\nstopped\n$/)
  t.same(pids.filter(isAlive), [], 'no process is left')
  t.same(readdirSync(path.join(cwd, '.holdfast')).sort(), ['cluster.json', 'cluster.key', 'lock', ...NODES, 'store'])

  const other = await holdfast(['dev', '--nodes', '2'], { cwd })
  t.match(other, { code: 2, stderr: /was made with 3 nodes, not with 2 nodes; leave --nodes out to resume it/ })
  const resumed = new DevProcess(t, cwd, SMALL)
  t.ok(await resumed.says(/Ctrl-C stops it/), resumed.stderr)
  t.match(resumed.stdout, /node n3: resuming with its disk of 512 MiB/)
  // The client found the socket again, and takes what it wrote before for true.
  await client.connected()
  await client.verify()
  t.same(client.problems, [], `${client.counts.verifiedBlocks} blocks as they were before`)
  await client.close()
  t.equal(await resumed.interrupt(), 0)
})

t.test('kill -9 of dev, a new one at once, and a second Ctrl-C', async (t) => {
  const cwd = temporaryFolder(t)
  const pidsOf = () => NODES.flatMap((name) => ['pid', 'supervisor.pid'].map((file) =>
    Number(readFileSync(path.join(cwd, '.holdfast', name, file), 'utf8'))))
  const lockedBy = (folder: string) => Number(readFileSync(path.join(cwd, '.holdfast', folder, 'lock'), 'utf8'))
  const first = new DevProcess(t, cwd, [...SMALL, ...DEMO])
  t.ok(await first.says(/Ctrl-C stops it/), first.stderr)
  const former = [...pidsOf(), lockedBy('store')]
  const ports = first.stdout.match(/127\.0\.0\.1:\d+/g)
  process.kill(lockedBy('.'), 'SIGKILL')
  await first.ended()
  const second = new DevProcess(t, cwd, SMALL)
  t.ok(await second.says(/Ctrl-C stops it/), second.stderr)
  t.same(former.filter(isAlive), [], 'nothing of the killed one is left')
  t.same(second.stdout.match(/127\.0\.0\.1:\d+/g), ports, 'nor are its ports')
  t.match(second.stdout, /^volume demo: 32 MiB, .* used, healthy, copies on/m)

  const pids = [...pidsOf(), lockedBy('store')]
  const ended = second.interrupt()
  // A signal that comes within 500 ms is taken for the same Ctrl-C.
  await sleep(600)
  t.equal(await Promise.race([second.interrupt(), ended]), 0)
  t.same(pids.filter(isAlive), [], 'no process is left')
  t.same(readdirSync(path.join(cwd, '.holdfast')).sort(), ['cluster.json', 'cluster.key', 'lock', ...NODES, 'store'])
})
