/** Calls and watches of a Kubernetes API: what came of them is told as it was, whatever the other side does. */
import { writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import path from 'node:path'
import t from 'tap'
import { accessOfKubeconfig, accessOfPod } from '../../../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiAnswer } from '../../../cluster/kubernetes/api-client.ts'
import { watchApi } from '../../../cluster/kubernetes/api-watch.ts'
import type { ApiEvent, WatchEnd } from '../../../cluster/kubernetes/api-watch.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { standIn } from './stand-in.ts'

const answer = (response: ServerResponse, status: number, body: object): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

const failureOf = (found: ApiAnswer) => (found.ok ? undefined : found.failure)

t.test('a call: what is sent, what is answered, what is refused', async (t) => {
  const seen: unknown[] = []
  const { client } = await standIn(t, (request, response) => {
    let text = ''
    request.on('data', (piece: Buffer) => (text += piece.toString()))
    request.on('end', () => {
      const { authorization, 'content-type': type } = request.headers
      seen.push([request.method, request.url, authorization, type, text])
      if (request.method === 'GET') answer(response, 200, { kind: 'Thing' })
      else answer(response, Number(request.url!.slice(-3)), { message: 'no\nway' })
    })
  })
  t.same(await client.call({ method: 'GET', path: '/a', query: { limit: '2' } }), { ok: true, body: { kind: 'Thing' } })
  t.same(seen[0], ['GET', '/a?limit=2', 'Bearer t0ken', undefined, ''])
  const refused = await client.call({ method: 'PATCH', path: '/x/409', body: { a: 1 } })
  t.same(failureOf(refused), { status: 409, isUnknown: false, reason: 'no way' })
  t.same(seen[1], ['PATCH', '/x/409', 'Bearer t0ken', 'application/merge-patch+json', '{"a":1}'])
  t.same(failureOf(await client.call({ method: 'PUT', path: '/x/500', body: {} })), {
    status: 500, isUnknown: true, reason: 'no way',
  }, 'a server that failed may have done it')
})

t.test('no answer: not sent, or unknown', async (t) => {
  const { client, server, port } = await standIn(t, (request, response) => {
    if (request.url === '/cut') request.socket.destroy()
    else if (request.url === '/half') response.writeHead(200, { 'content-length': '100' }).end('{')
    else if (request.url === '/text') response.writeHead(200).end('no JSON')
  })
  const post = (path: string, deadlineMs = 5000) => client.call({ method: 'POST', path, body: {}, deadlineMs })
  t.match(failureOf(await post('/cut')), { status: 0, isUnknown: true })
  t.match(failureOf(await post('/silent', 200)), { status: 0, isUnknown: true, reason: 'it did not answer in time' })
  t.match(failureOf(await post('/half')), { status: 200, isUnknown: true })
  t.match(failureOf(await post('/text')), { status: 200, isUnknown: true })
  t.match(failureOf(await client.call({ method: 'GET', path: '/cut' })), { isUnknown: false }, 'a read changes nothing')
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  t.match(failureOf(await post('/cut')), { status: 0, isUnknown: false, reason: /ECONNREFUSED/ }, 'nothing was sent')
  t.ok(port > 0)
})

t.test('a server of another CA is sent nothing', async (t) => {
  const asked: unknown[] = []
  const { kubeconfig } = await standIn(t, (_, response) => answer(response, 200, {}))
  const other = await standIn(t, (request, response) => {
    asked.push(request.url)
    answer(response, 200, {})
  })
  const access = accessOfKubeconfig(kubeconfig)
  const client = new ApiClient({ ...access, server: new URL(`https://127.0.0.1:${other.port}`) })
  t.teardown(() => client.close())
  t.match(failureOf(await client.call({ method: 'POST', path: '/', body: {} })), { status: 0, isUnknown: false })
  t.same(asked, [])
})

t.test('a watch: events in order, its end, and nothing after it is closed', async (t) => {
  const one = JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'ä' } } })
  const gone = JSON.stringify({ type: 'ERROR', object: { code: 410 } })
  const asked: string[] = []
  const { client } = await standIn(t, (request, response) => {
    asked.push(request.url!)
    if (request.url!.startsWith('/410')) return answer(response, 410, {})
    const last = request.url!.startsWith('/end') ? [] : [gone]
    const lines = [one, JSON.stringify({ type: 'BOOKMARK', object: {} }), ...last]
    const bytes = Buffer.from(`${lines.join('\n')}\n`)
    const withinLetter = bytes.indexOf(0xc3) + 1
    response.writeHead(200).write(bytes.subarray(0, withinLetter), () => response.end(bytes.subarray(withinLetter)))
  })
  const run = (path: string) => new Promise<{ events: ApiEvent[]; end: WatchEnd }>((resolve) => {
    const events: ApiEvent[] = []
    const onEvent = (event: ApiEvent) => events.push(event)
    watchApi(client, { path, resourceVersion: '7', onEvent, onEnd: (end) => resolve({ events, end }) })
  })
  const told = await run('/things')
  t.same(told.events.map(({ type }) => type), ['ADDED', 'BOOKMARK'])
  t.same(told.events[0]!.object, { metadata: { name: 'ä' } })
  t.equal(told.end, 'gone')
  t.match(asked[0], /watch=true&allowWatchBookmarks=true.*resourceVersion=7/)
  t.same((await run('/end')).end, { reason: 'it was closed' })
  t.equal((await run('/410')).end, 'gone')
  const close = watchApi(client, {
    path: '/things', resourceVersion: '7', onEvent: () => t.fail('closed'), onEnd: () => t.fail('closed'),
  })
  close()
  await run('/things')
})

t.test('however many watches there are, calls have connections', async (t) => {
  const { client } = await standIn(t, (request, response) => {
    if (request.url!.includes('watch=true')) response.writeHead(200).write('\n')
    else answer(response, 200, {})
  })
  const watches = Array.from({ length: 40 }, () =>
    watchApi(client, { path: '/things', resourceVersion: '1', onEvent: () => {}, onEnd: () => {} }))
  for (let i = 0; i < 5; i++) t.equal((await client.call({ method: 'GET', path: '/' })).ok, true)
  for (const close of watches) close()
})

t.test('who we are: as a pod, and as a kubeconfig says', async (t) => {
  const folder = temporaryFolder(t)
  for (const [name, text] of [['token', 'abc\n'], ['ca.crt', 'CA'], ['namespace', 'storage']] as const) {
    writeFileSync(path.join(folder, name), text)
  }
  const pod = accessOfPod({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }, folder)
  t.equal(pod.server.href, 'https://[fd00::1]/')
  t.equal(pod.namespace, 'storage')
  t.equal(Buffer.from(pod.token()!.reveal()).toString(), 'abc\n')
  t.equal(JSON.stringify(pod.token()), '"[redacted]"')
  const refused = (text: string): string => {
    const file = path.join(folder, 'config')
    writeFileSync(file, text)
    try {
      accessOfKubeconfig(file)
    } catch (error) {
      if (error instanceof HoldfastError) return error.message
    }
    return 'it was taken'
  }
  t.match(refused('{'), /no YAML/)
  t.match(refused('{}'), /no current context/)
  const context = 'current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n'
  t.match(refused(`${context}clusters: [{name: c, cluster: {server: "http://x"}}]`), /no https server/)
  const secure = `${context}clusters: [{name: c, cluster: {server: "https://x"}}]\n`
  t.match(refused(`${secure}users: [{name: u, user: {exec: {command: rm}}}]`), /a command would be run/)
  t.match(refused(secure), /no certificate authority/)
  t.throws(() => accessOfPod({}, folder), /this is no pod/)
})
