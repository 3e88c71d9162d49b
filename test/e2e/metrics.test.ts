/**
 * Metrics as Prometheus gets them, from nodes that run: what docs/metrics.md lists is what is exported, both ways;
 * counts are those of the requests that were made; a volume that lost its primary says so (held seconds, the in-sync
 * count, epochs). Health while a node waits for its store, serves, and goes on without it. A port that is in use.
 */
// test-timeout-seconds: 120
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { FLUSH, NbdConnection, READ, TRIM, WRITE } from '../../cli/load/nbd-connection.ts'
import type { Request } from '../../cli/load/nbd-connection.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { Scrape } from './scrape.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function get(port: number, url: string): Promise<{ status: number; body: string }> {
  const request = http.get({ host: '127.0.0.1', port, path: url, agent: false })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let body = ''
  for await (const chunk of response.setEncoding('utf8')) body += chunk as string
  return { status: response.statusCode!, body }
}

/** One that nobody has at the moment: asked for, and given back. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  await once(server.close(), 'close')
  return port
}

/** A node serves before it has heard of every volume. */
async function opened(socketPath: string): Promise<NbdConnection> {
  for (;;) {
    const connection = await NbdConnection.open(socketPath, 'data', true)
    if (connection !== undefined) return connection
    await sleep(50)
  }
}

/** Metric -> type and labels, of the rows of the document. */
function documented(): Map<string, { type: string; labels: string[] }> {
  const text = readFileSync(path.resolve(import.meta.dirname, '../../docs/metrics.md'), 'utf8')
  const [ofNodes = ''] = text.split('## Of the controller')
  const rows = ofNodes.matchAll(/^\| `(holdfast_\w+)` \| (\w+) \| ([^|]*) \| [^|]+ \| [^|]+ \|$/gm)
  return new Map([...rows].map(([, name, type, labels]) => [
    name!, { type: type!, labels: labels === '-' ? [] : labels!.split(', ').sort() },
  ]))
}

class MeasuredCluster {
  readonly cluster: ClusterOfDaemons
  readonly ports: Map<string, number>

  private constructor(cluster: ClusterOfDaemons, ports: Map<string, number>) {
    this.cluster = cluster
    this.ports = ports
  }

  static async make(t: Test): Promise<MeasuredCluster> {
    const ports = new Map<string, number>()
    for (const name of ['n1', 'n2', 'n3']) ports.set(name, await freePort())
    const setUp = (name: string) => ({ change: { listenMetrics: { host: '127.0.0.1', port: ports.get(name)! } } })
    return new MeasuredCluster(await ClusterOfDaemons.make(t, { setUp }), ports)
  }

  async scrape(name: string): Promise<Scrape> {
    const { status, body } = await get(this.ports.get(name)!, '/metrics')
    if (status !== 200) throw new Error(`${name}: ${status} ${body}`)
    return new Scrape(body)
  }

  async until(name: string, isSo: (scrape: Scrape) => boolean): Promise<Scrape> {
    for (;;) {
      const scrape = await this.scrape(name)
      if (isSo(scrape)) return scrape
      await sleep(50)
    }
  }
}

t.test('three nodes, one of which is lost', async (t) => {
  const measured = await MeasuredCluster.make(t)
  const { cluster } = measured
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  await cluster.whole(id)
  const volume = { volume: 'data', volume_id: id }
  const user = 'n2'
  const connection = await opened(cluster.node(user).paths.nbd)
  t.teardown(() => connection.disconnect())
  const ask = async (request: Request, count = 1): Promise<void> => {
    const requests = Array.from({ length: count }, (_, i) => ({ ...request, offset: i * 8192 }))
    for (const answer of await Promise.all(requests.map((one) => connection.ask(one)))) t.match(answer, { errno: 0 })
  }
  /** 55 requests, 43 of which become records. */
  const work = async (): Promise<void> => {
    await ask({ type: WRITE, data: Buffer.alloc(8192, 7) }, 40)
    await ask({ type: READ, length: 4096 }, 10)
    await ask({ type: TRIM, length: 4096 }, 3)
    await ask({ type: FLUSH })
    await ask({ type: FLUSH })
  }
  /** Nobody leads before the first session, or for long when the machine stands still. */
  const leaderOf = async (): Promise<{ leader: string; scrape: Scrape }> => {
    for (;;) {
      for (const { name } of cluster.nodes) {
        if (!cluster.node(name).isUp) continue
        const scrape = await measured.scrape(name)
        if (scrape.value('holdfast_copy_leads', volume) === 1) return { leader: name, scrape }
      }
      await sleep(50)
    }
  }
  await work()

  await t.test('what is exported is what is documented', async (t) => {
    const scrapes = await Promise.all(cluster.nodes.map(({ name }) => measured.scrape(name)))
    const found = new Map(scrapes.flatMap(({ metrics }) => [...metrics]))
    for (const { metrics } of scrapes)
      for (const [name, { labels }] of metrics) if (labels.length > 0) found.set(name, metrics.get(name)!)
    const documents = documented()
    t.ok(documents.size > 20)
    t.same([...found.keys()].sort(), [...documents.keys()].sort())
    for (const [name, facts] of documents) t.same(found.get(name), facts, name)
  })

  await t.test('counts are those of the requests', async (t) => {
    const reply = { ...volume, phase: 'reply' }
    const replies = (scrape: Scrape) => scrape.value('holdfast_volume_phase_seconds_count', reply)!
    // A machine that stands still for longer than a lease changes the leader, and its copy counts from there on.
    for (;;) {
      const before = await measured.until(user, (scrape) => replies(scrape) % 55 === 0)
      const { leader, scrape: ledBefore } = await leaderOf()
      await work()
      t.match(await connection.ask({ type: READ, offset: 16 * MIB, length: 4096 }), { errno: 22 }, 'answered before')
      // The client has a reply before the worker is told that the kernel took it.
      const after = await measured.until(user, (scrape) => replies(scrape) - replies(before) === 55)
      const { leader: leaderAfter, scrape: ledAfter } = await leaderOf()
      const epoch = (scrape: Scrape) => scrape.value('holdfast_copy_epoch', volume)
      if (leader !== leaderAfter || epoch(ledBefore) !== epoch(ledAfter)) continue

      const of = (name: string, operation: string) => {
        const labels = { ...volume, operation }
        return after.value(name, labels)! - before.value(name, labels)!
      }
      const operations = ['read', 'write', 'flush', 'trim']
      t.same(operations.map((one) => of('holdfast_volume_requests_total', one)), [10, 40, 2, 3])
      t.same(operations.map((one) => of('holdfast_volume_request_seconds_count', one)), [10, 40, 2, 3])
      t.same(operations.map((one) => of('holdfast_volume_request_bytes_total', one)),
        [10 * 4096, 40 * 8192, 0, 3 * 4096])
      t.same(operations.map((one) => of('holdfast_volume_request_errors_total', one)), [0, 0, 0, 0])
      const phase = (from: Scrape, to: Scrape, name: string) => {
        const [then = 0, now = 0] = [from, to].map((scrape) =>
          scrape.value('holdfast_volume_phase_seconds_count', { ...volume, phase: name }))
        return now - then
      }
      t.equal(phase(before, after, 'admit'), 55)
      for (const name of ['append', 'replicate', 'commit']) {
        t.equal(phase(ledBefore, ledAfter, name), 43, `${name}: writes and trims`)
      }
      t.equal(after.value('holdfast_volume_unanswered_requests', volume), 0)
      const sum = of('holdfast_volume_request_seconds_sum', 'write')
      t.ok(sum > 0, `${sum} s for 40 writes`)
      t.equal(ledAfter.value('holdfast_volume_in_sync_copies', volume), 3)
      t.equal(ledAfter.value('holdfast_volume_copies', volume), 3)
      t.ok(after.sum('holdfast_disk_fsync_seconds_count') > 0)
      t.ok(after.sum('holdfast_disk_free_bytes') < after.sum('holdfast_disk_capacity_bytes'))
      t.equal(after.sum('holdfast_disk_online'), 1)
      const follower = await measured.scrape(cluster.nodes.find(({ name }) => name !== leader)!.name)
      t.equal(follower.value('holdfast_volume_in_sync_copies', volume), undefined, 'only who leads tells')
      return
    }
  })

  await t.test('the primary is lost while a client writes', async (t) => {
    if ((await leaderOf()).leader === user) {
      // The client's node stays: another one takes the lead first.
      const to = 'n1'
      await holdfast(['volume', 'promote', 'data', '--to', to, '--endpoint', cluster.node(user).paths.api])
      await measured.until(to, (scrape) => scrape.value('holdfast_copy_leads', volume) === 1)
    }
    await cluster.whole(id)
    const { leader: victim } = await leaderOf()
    t.not(victim, user)
    const before = await measured.scrape(user)
    const counted = (name: string, scrape: Scrape) => scrape.value(name, volume)! - before.value(name, volume)!
    await cluster.node(victim).killNode()
    const write = connection.ask({ type: WRITE, offset: 0, data: Buffer.alloc(4096, 9) })
    const waiting = await measured.until(user, (scrape) =>
      scrape.value('holdfast_volume_oldest_request_seconds', volume)! > 1)
    t.equal(waiting.value('holdfast_volume_unanswered_requests', volume), 1)
    t.match(await write, { errno: 0 }, 'it is held, and answered')
    const after = await measured.scrape(user)
    t.ok(counted('holdfast_volume_held_seconds_total', after) > 0)
    t.equal(after.value('holdfast_volume_unanswered_requests', volume), 0)
    t.ok(counted('holdfast_copy_epoch', after) > 0)
    t.ok(counted('holdfast_copy_epoch_changes_total', after) > 0)
    for (;;) {
      const { scrape, leader } = await leaderOf()
      t.not(leader, victim)
      if (scrape.value('holdfast_volume_in_sync_copies', volume) === 2) break
      await sleep(50)
    }
    await cluster.node(victim).start()
    while ((await leaderOf()).scrape.value('holdfast_volume_in_sync_copies', volume) !== 3) await sleep(50)
    t.match(await get(measured.ports.get(victim)!, '/readyz'), { status: 200 })
  })

  await t.test('the store is lost', async (t) => {
    await cluster.storeProcess.kill()
    await measured.until(user, (scrape) => scrape.value('holdfast_store_reachable', {}) === 0)
    const port = measured.ports.get(user)!
    t.match(await get(port, '/readyz'), { status: 200, body: /ok cluster store: it was reached, and does not answer/ })
    t.match(await get(port, '/healthz'), { status: 200, body: 'ok data worker 0: it answers\n' })
    await cluster.storeProcess.start()
    await measured.until(user, (scrape) => scrape.value('holdfast_store_reachable', {}) === 1)
  })
})

t.test('a node that waits for its store is alive and not ready', async (t) => {
  const [port, storePort] = [await freePort(), await freePort()]
  const words = ['--listen-metrics', String(port), '--no-tls', '--store', `http://127.0.0.1:${storePort}`]
  const node = new NodeProcess(t, temporaryFolder(t), words)
  for (;;) {
    const answer = await get(port, '/readyz').catch(() => undefined)
    if (answer !== undefined) {
      t.equal(answer.status, 503)
      t.match(answer.body, `NOT OK cluster store: waiting for http://127.0.0.1:${storePort}`)
      break
    }
    await sleep(50)
  }
  t.match(await get(port, '/healthz'), { status: 200, body: 'ok daemon: it is starting\n' })
  const scrape = new Scrape((await get(port, '/metrics')).body)
  t.equal(scrape.value('holdfast_store_reachable', {}), 0)
  node.kill('SIGTERM')
  await node.ended()
})

t.test('a node by itself, and another one on its port', async (t) => {
  const port = await freePort()
  const words = ['--listen-metrics', `127.0.0.1:${port}`]
  const node = new NodeProcess(t, temporaryFolder(t), words)
  t.match(await node.ready(), { metrics: { host: '127.0.0.1', port } }, node.stderr)
  t.match(await get(port, '/readyz'), { status: 200, body: 'ok disks: 1 of 1 work\nok clients: they are let in\n' })
  t.match(await get(port, '/metric'), { status: 404, body: 'there is /metrics, /healthz, /readyz\n' })
  const rival = new NodeProcess(t, temporaryFolder(t), words)
  t.equal(await rival.ready(), undefined)
  t.equal((await rival.ended()).code, 1)
  t.match(rival.stderr, `port 127.0.0.1:${port} (--listen-metrics) is in use; stop its user, or choose another port`)
  node.kill('SIGTERM')
  t.equal((await node.ended()).code, 0)
})
