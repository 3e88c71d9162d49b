/**
 * The HTTP side of scheduling (SPEC.md L2, L7): Kubernetes' `extender/v1`.
 *
 *   POST /filter       {Pod, NodeNames | Nodes} -> {NodeNames | Nodes, FailedNodes, FailedAndUnresolvableNodes, Error}
 *   POST /prioritize   the same                 -> [{Host, Score}]
 *   GET  /healthz      200
 *
 * Invariant: an answer names every node that was asked about, as good or as failed, so that a scheduler never loses one
 * by an error of ours; and no request, whatever it is, ends the process or is held in memory beyond its bound.
 */
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import { HoldfastError } from '../../../engine/errors.ts'
import { isRecord, isText } from '../../../engine/value-shape.ts'
import { hostAndPort } from '../../../cluster/tls/loopback.ts'
import type { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { podClaims } from '../pod-claims.ts'
import type { PodClaims } from '../pod-claims.ts'
import type { Judged } from '../leaving/node-judgement.ts'

export const BODY_BYTES_MAX = 4 * 1024 * 1024
const CONNECTIONS_MAX = 64
const UNDER_WAY_MAX = 8
/** Of which the body is on its way: who sends slowly makes room for who comes. */
const HALF_READ_MAX = 16
const BODY_MS = 2_000
const REQUEST_MS = 10_000
const IDLE_MS = 60_000
const TEXT = 'text/plain; charset=utf-8'

export interface ExtenderOptions {
  host: string
  port: number
  /** Only who shows a certificate of its CA; undefined: plain HTTP. */
  tls?: TlsFolder | undefined
  /** For a body, from its headers on; unset: as usual. */
  bodyMs?: number
  judge(pod: PodClaims, names: readonly string[]): Promise<Map<string, Judged> | undefined>
  onBug(error: unknown): void
}

export interface SchedulerExtender {
  /** Of port 0 the one it got. */
  port: number
  close(): void
}

interface Answer {
  status: number
  body: object | string
}

const VERBS = ['filter', 'prioritize'] as const
type Verb = (typeof VERBS)[number]

/** @throws HoldfastError `port-busy`, `listen` */
export async function serveExtender(options: ExtenderOptions): Promise<SchedulerExtender> {
  const { host, port, onBug, bodyMs = BODY_MS } = options
  const halfRead = new HalfRead(bodyMs)
  let underWay = 0
  const answer = async ({ verb, body }: Question): Promise<Answer> => {
    const asked = askedOf(body)
    if (isText(asked)) return refused(400, asked)
    if (underWay >= UNDER_WAY_MAX) return refused(503, `${UNDER_WAY_MAX} requests are under way`)
    underWay++
    try {
      return await answerOf(verb, asked, options)
    } finally {
      underWay--
    }
  }
  const server = listener(options, (request, response) => {
    response.on('error', () => {})
    questionOf(request, halfRead).then((question) => ('verb' in question ? answer(question) : question))
      .catch((error: unknown): Answer => {
        onBug(error)
        return refused(500, 'this is a bug of Holdfast\'s own; the log of this process has it')
      }).then((answer) => send(response, answer))
  })
  server.maxConnections = CONNECTIONS_MAX
  server.keepAliveTimeout = IDLE_MS
  server.on('clientError', (_error, socket) => socket.destroy())
  await listening(server, host, port)
  return {
    port: (server.address() as net.AddressInfo).port,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

function listener({ tls }: ExtenderOptions, take: http.RequestListener): http.Server {
  const limits = { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }
  if (tls === undefined) return http.createServer(limits, take)
  let used = tls.current
  const proved = { requestCert: true, rejectUnauthorized: true, handshakeTimeout: REQUEST_MS }
  const server = https.createServer({ ...limits, ...used.options(), ...proved }, take)
  // Before the one that begins a handshake: with the files that are there now.
  server.prependListener('connection', () => {
    const { current } = tls
    if (current === used) return
    used = current
    server.setSecureContext(current.options())
  })
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  return server
}

function listening(server: http.Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ code = '', message }: NodeJS.ErrnoException) => {
      const where = `${hostAndPort(host, port)} (--extender)`
      reject(code === 'EADDRINUSE' ? new HoldfastError('port-busy', { port: where })
        : new HoldfastError('listen', { endpoint: where, reason: message }))
    })
    server.listen(port, host, resolve)
  })
}

const refused = (status: number, sentence: string): Answer => ({ status, body: `${sentence}\n` })

interface Question {
  verb: Verb
  body: string
}

async function questionOf(request: http.IncomingMessage, halfRead: HalfRead): Promise<Question | Answer> {
  const { method, url = '' } = request
  const path = url.split('?')[0]!
  if (path === '/healthz') return refused(200, 'it answers schedulers')
  const verb = VERBS.find((one) => path === `/${one}`)
  if (verb === undefined) return refused(404, 'there is /filter, /prioritize and /healthz')
  if (method !== 'POST') return refused(405, 'only POST')
  const body = await halfRead.during(request, () => bodyOf(request))
  if (body !== undefined) return { verb, body }
  const why = `a request has ${BODY_BYTES_MAX} bytes at most: set nodeCacheCapable, so that nodes are named only`
  return refused(413, why)
}

/** Requests of which the body is on its way. They hold none of the places of those that are answered. */
class HalfRead {
  readonly #bodyMs: number
  /** The oldest first. */
  readonly #requests = new Set<http.IncomingMessage>()

  constructor(bodyMs: number) {
    this.#bodyMs = bodyMs
  }

  async during<T>(request: http.IncomingMessage, read: () => Promise<T>): Promise<T> {
    const [oldest] = this.#requests
    if (oldest !== undefined && this.#requests.size >= HALF_READ_MAX) {
      this.#requests.delete(oldest)
      oldest.destroy()
    }
    this.#requests.add(request)
    const timer = setTimeout(() => request.destroy(), this.#bodyMs)
    try {
      return await read()
    } finally {
      clearTimeout(timer)
      this.#requests.delete(request)
    }
  }
}

/** Undefined: it is too long. */
async function bodyOf(request: http.IncomingMessage): Promise<string | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) return undefined
  const pieces: Buffer[] = []
  let bytes = 0
  try {
    for await (const piece of request as AsyncIterable<Buffer>) {
      bytes += piece.length
      if (bytes > BODY_BYTES_MAX) return undefined
      pieces.push(piece)
    }
  } catch {
    // Its caller has gone: what is answered reaches nobody.
    return ''
  }
  return Buffer.concat(pieces).toString()
}

export interface Asked {
  pod: PodClaims
  names: string[]
  /** As they were sent, when they were. */
  nodes: Array<Record<string, unknown>> | undefined
}

/** A sentence: what it lacks. */
export function askedOf(text: string): Asked | string {
  let args: unknown
  try {
    args = JSON.parse(text)
  } catch {
    return 'the request is no JSON: ExtenderArgs of Kubernetes\' scheduler extender v1 is expected'
  }
  if (!isRecord(args)) return 'the request is no ExtenderArgs: it is no object'
  const pod = podClaims(args.Pod)
  if (pod === undefined) return 'the request is no ExtenderArgs: its Pod has no name, namespace, or list of volumes'
  const { NodeNames: names } = args
  if (Array.isArray(names) && names.every(isText)) return { pod, names, nodes: undefined }
  const nodes = isRecord(args.Nodes) ? args.Nodes.items : undefined
  if (!Array.isArray(nodes)) return 'the request is no ExtenderArgs: it has neither NodeNames nor Nodes'
  const called = nodes.map((node) => (isRecord(node) && isRecord(node.metadata) ? node.metadata.name : undefined))
  if (!called.every(isText)) return 'the request is no ExtenderArgs: one of its Nodes has no name'
  return { pod, names: called, nodes }
}

async function answerOf(verb: Verb, { pod, names, nodes }: Asked, { judge }: ExtenderOptions): Promise<Answer> {
  const judged = await judge(pod, names)
  if (verb === 'prioritize') {
    return { status: 200, body: names.map((Host) => ({ Host, Score: judged?.get(Host)?.score ?? 0 })) }
  }
  const whyOf = (name: string): string | undefined => judged?.get(name)?.why
  const isGood = (name: string): boolean => whyOf(name) === undefined
  const failed = Object.fromEntries(names.filter((name) => !isGood(name)).map((name) => [name, whyOf(name)]))
  const good = nodes === undefined ? { NodeNames: names.filter(isGood) }
    : { Nodes: { items: nodes.filter((_, index) => isGood(names[index]!)) } }
  return { status: 200, body: { ...good, FailedNodes: {}, FailedAndUnresolvableNodes: failed, Error: '' } }
}

function send(response: http.ServerResponse, { status, body }: Answer): void {
  const isShort = isText(body)
  const bytes = Buffer.from(isShort ? body : JSON.stringify(body))
  // What was not read of a request is not read any more.
  const ends = status >= 400 ? { connection: 'close' } : {}
  response.writeHead(status, {
    'content-type': isShort ? TEXT : 'application/json', 'content-length': bytes.length, ...ends,
  })
  response.end(bytes)
}
