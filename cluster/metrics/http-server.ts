/**
 * Metrics and health over HTTP, read only:
 *
 *   GET /metrics   what a table of metrics says, in Prometheus' text format
 *   GET /healthz   200 while the daemon is alive, else 503: start it again
 *   GET /readyz    200 while it serves, else 503; both with a line for each check
 *
 * It knows neither authentication nor TLS, so it listens where it was told to and nowhere else. Scrapes that come while
 * one is under way share its page; connections are few and end when they are slow, so nobody can make it hold memory.
 */
import http from 'node:http'
import type net from 'node:net'
import { HoldfastError } from '../../engine/errors.ts'
import type { Metric } from './metric-table.ts'
import { MetricsPage } from './registry.ts'

const CONNECTIONS_MAX = 32
const REQUEST_MS = 10_000
const IDLE_MS = 15_000

export interface Check {
  name: string
  ok: boolean
  words: string
}

export interface MetricsSource<Figures> {
  table: ReadonlyArray<Metric<Figures>>
  /** Rejects with a HoldfastError when they cannot be had. */
  figures(): Promise<Figures>
  live(): Promise<Check[]>
  ready(): Promise<Check[]>
}

export interface MetricsServer {
  /** Where it listens; of port 0 the one it got. */
  port: number
  close(): void
}

interface Answer {
  status: number
  contentType: string
  body: string
}

const TEXT = 'text/plain; charset=utf-8'

/** @throws HoldfastError `port-busy`, `listen` */
export async function serveMetrics<Figures>(
  { host, port }: { host: string; port: number },
  source: MetricsSource<Figures>,
  onBug: (error: unknown) => void,
): Promise<MetricsServer> {
  const page = new MetricsPage(source.table)
  let underWay: Promise<string> | undefined
  const metrics = async (): Promise<Answer> => {
    underWay ??= source.figures().then((figures) => page.of(figures)).finally(() => (underWay = undefined))
    return { status: 200, contentType: page.contentType, body: await underWay }
  }
  const routes: Record<string, () => Promise<Answer>> = {
    '/metrics': metrics,
    '/healthz': async () => checked(await source.live()),
    '/readyz': async () => checked(await source.ready()),
  }
  const server = http.createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    answerTo(request, routes).then((answer) => send(request, response, answer), onBug)
  })
  server.maxConnections = CONNECTIONS_MAX
  server.keepAliveTimeout = IDLE_MS
  await listening(server, host, port)
  return {
    port: (server.address() as net.AddressInfo).port,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

function listening(server: http.Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ code = '', message }: NodeJS.ErrnoException) => {
      const where = `${host}:${port} (--listen-metrics)`
      reject(code === 'EADDRINUSE'
        ? new HoldfastError('port-busy', { port: where })
        : new HoldfastError('listen', { endpoint: where, reason: message }))
    })
    server.listen(port, host, resolve)
  })
}

async function answerTo(
  { method, url = '' }: http.IncomingMessage,
  routes: Record<string, () => Promise<Answer>>,
): Promise<Answer> {
  const path = url.split('?')[0]!
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  if (route === undefined) {
    return { status: 404, contentType: TEXT, body: `there is ${Object.keys(routes).join(', ')}\n` }
  }
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, contentType: TEXT, body: 'only GET and HEAD\n' }
  try {
    return await route()
  } catch (error) {
    if (error instanceof HoldfastError) return { status: 503, contentType: TEXT, body: `${error.message}\n` }
    throw error
  }
}

function checked(checks: readonly Check[]): Answer {
  const lines = checks.map(({ name, ok, words }) => `${ok ? 'ok' : 'NOT OK'} ${name}: ${words}\n`)
  return { status: checks.every(({ ok }) => ok) ? 200 : 503, contentType: TEXT, body: lines.join('') }
}

function send({ method }: http.IncomingMessage, response: http.ServerResponse, answer: Answer): void {
  const { status, contentType, body } = answer
  const headers: http.OutgoingHttpHeaders = { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }
  if (status === 405) headers.allow = 'GET, HEAD'
  response.writeHead(status, headers)
  response.end(method === 'HEAD' ? undefined : body)
}
