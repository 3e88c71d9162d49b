/** Where the endpoint comes from, what it may name, and what is said when nothing answers there. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { candidateSockets, findEndpoint, namedEndpoint, storeWaitedFor } from '../../cli/endpoint.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const at = (place: string) => ({ place, source: 'from the test' })

function listen(socketPath: string): Promise<net.Server> {
  mkdirSync(path.dirname(socketPath), { recursive: true })
  return new Promise((resolve) => {
    const server = net.createServer((socket) => socket.destroy())
    server.listen(socketPath, () => resolve(server))
  })
}

t.test('precedence', async (t) => {
  t.same(namedEndpoint('/a', { HOLDFAST_ENDPOINT: '/b' }), { place: '/a', source: 'from --endpoint' })
  t.same(namedEndpoint(undefined, { HOLDFAST_ENDPOINT: '/b' }), { place: '/b', source: 'from HOLDFAST_ENDPOINT' })
  t.match(namedEndpoint(undefined, { HOLDFAST_ENDPOINT: '' }), { place: './.holdfast', source: /default/ })
})

t.test('a socket, a node folder, a dev folder, a link to one', async (t) => {
  const dir = temporaryFolder(t)
  const api = path.join(dir, 'n1', 'api.sock')
  const server = await listen(api)
  t.teardown(() => server.close())
  symlinkSync(dir, `${dir}-link`)
  t.teardown(async () => (await import('node:fs')).rmSync(`${dir}-link`))
  for (const place of [api, `unix:${api}`, `unix://${api}`, path.dirname(api), dir]) {
    t.same(candidateSockets(at(place)), [api], place)
  }
  t.same(candidateSockets(at(`${dir}-link`)), [path.join(`${dir}-link`, 'n1', 'api.sock')])
})

t.test('refused places', async (t) => {
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'file')
  writeFileSync(file, '')
  t.throws(() => candidateSockets(at('localhost:9000')), { code: 'not-supported' })
  const none = path.join(dir, 'none')
  t.throws(() => candidateSockets(at(none)), { code: 'unreachable', message: /no such folder or socket/ })
  t.throws(() => candidateSockets(at(dir)), { code: 'unreachable', message: /no node of that folder/ })
  t.throws(() => candidateSockets(at(file)), { code: 'unreachable', message: /neither a socket nor a folder/ })
})

t.test('a node that waits for its cluster is said to, and names the store', async (t) => {
  const dir = temporaryFolder(t)
  t.equal(storeWaitedFor(dir), undefined)
  t.equal(storeWaitedFor(path.join(dir, 'none')), undefined)
  mkdirSync(path.join(dir, 'n1'))
  writeFileSync(path.join(dir, 'n1', 'waiting.json'), '{"store":"http://a:1"}')
  for (const place of [dir, path.join(dir, 'n1')]) {
    t.equal(storeWaitedFor(place), 'http://a:1')
    const message = /its nodes wait for their cluster, which is not in the store at http:\/\/a:1; .*store rebuild/
    await t.rejects(findEndpoint(place), { code: 'cluster-waits', message })
  }
})

t.test('the first node that answers is taken; one left by a dead daemon is named when none does', async (t) => {
  const dir = temporaryFolder(t)
  const dead = path.join(dir, 'n1', 'api.sock')
  const alive = path.join(dir, 'n2', 'api.sock')
  const server = await listen(alive)
  // A second name of a socket survives its server's unlink: what a killed daemon leaves behind.
  const killed = await listen(path.join(dir, 'killed.sock'))
  mkdirSync(path.dirname(dead))
  ;(await import('node:fs')).linkSync(path.join(dir, 'killed.sock'), dead)
  await new Promise((resolve) => killed.close(resolve))
  t.same(await findEndpoint(dir), { socketPath: alive, source: 'from --endpoint' })
  await new Promise((resolve) => server.close(resolve))
  const message = /n1\/api\.sock \(from --endpoint\): nothing listens/
  await t.rejects(findEndpoint(dir, {}), { code: 'unreachable', message })
})
