/**
 * Calls of a Kubernetes API, each sent at most once: what it answered, or why there is no answer and whether it may
 * have been carried out. Connections are kept and used again. Own code and not the usual client library, which brings
 * 74 packages, two of them under licences that we do not ship, and 90 MiB a process: ARCHITECTURE.md says more.
 *
 * Bounded: the time of a call, the bytes of an answer, what is shown of a refusal. No redirect is followed.
 */
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import type { TLSSocket } from 'node:tls'
import { HoldfastError } from '../../engine/errors.ts'
import type { ApiAccess } from './api-access.ts'

const CALL_MS = 5000
const ANSWER_BYTES_MAX = 64 * 1024 * 1024
const REASON_LENGTH_MAX = 300

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface ApiCall {
  method: Method
  /** E.g. `/api/v1/nodes/n1`; parts that come from elsewhere by `segment`. */
  path: string
  query?: Record<string, string>
  /** Sent as JSON. */
  body?: object
  /** Of a PATCH: merge (RFC 7396) unless it is said otherwise. */
  patch?: 'merge' | 'json'
  deadlineMs?: number
}

export interface ApiFailure {
  /** HTTP; 0: there was no answer. */
  status: number
  /** Whether it may have been carried out, or may be yet: it was sent, and the answer does not say that it was not. */
  isUnknown: boolean
  /** One line, as the API said it or as we saw it. */
  reason: string
}

export type ApiAnswer = { ok: true; body: Record<string, unknown> } | { ok: false; failure: ApiFailure }

type Opened = { ok: true; response: IncomingMessage } | { ok: false; failure: ApiFailure }

/** Part of a path. */
export const segment = (text: string): string => encodeURIComponent(text)

export class ApiClient {
  readonly access: ApiAccess
  /** Calls, whose connections are kept. */
  readonly #agent: https.Agent
  /** What comes bit by bit has a connection for as long as it lasts, and takes none from calls. */
  readonly #streams: https.Agent

  constructor(access: ApiAccess) {
    this.access = access
    const { ca, certificate, key } = access
    const isProved = certificate !== undefined && key !== undefined
    const ours = isProved ? { cert: certificate, key: Buffer.from(key.reveal()) } : {}
    const tls = { minVersion: 'TLSv1.2', rejectUnauthorized: true, ca, ...ours } as const
    this.#agent = new https.Agent({ keepAlive: true, maxSockets: 16, maxFreeSockets: 4, ...tls })
    this.#streams = new https.Agent({ keepAlive: false, ...tls })
  }

  async call(call: ApiCall): Promise<ApiAnswer> {
    const { deadlineMs = CALL_MS } = call
    const opened = await this.#begin(call, AbortSignal.timeout(Math.max(1, Math.ceil(deadlineMs))), this.#agent)
    if (!opened.ok) return opened
    const { response } = opened
    const status = response.statusCode ?? 0
    let text: string
    try {
      text = await textOf(response)
    } catch (error) {
      return { ok: false, failure: { status, isUnknown: mayBeDone(call.method, status), reason: reasonOf(error) } }
    }
    const body = parsed(text)
    if (status >= 200 && status < 300 && body !== undefined) return { ok: true, body }
    const reason = typeof body?.message === 'string' ? body.message : `status ${status}`
    return { ok: false, failure: { status, isUnknown: mayBeDone(call.method, status), reason: line(reason) } }
  }

  /**
   * As far as the head of an answer that comes bit by bit. The caller reads it, or destroys it.
   * @param signal  ends it, also while it is read
   */
  open(call: ApiCall, signal: AbortSignal): Promise<Opened> {
    return this.#begin(call, signal, this.#streams)
  }

  #begin(
    { method, path, query = {}, body, patch = 'merge' }: ApiCall, signal: AbortSignal, agent: https.Agent,
  ): Promise<Opened> {
    const url = new URL(path, this.access.server)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const headers: Record<string, string | number> = { accept: 'application/json', 'user-agent': 'holdfast' }
    if (bytes !== undefined) {
      headers['content-type'] = `application/${method === 'PATCH' ? `${patch}-patch+json` : 'json'}`
      headers['content-length'] = bytes.length
    }
    return new Promise((resolve) => {
      let isSent = false
      const fail = (error: unknown): void => {
        resolve({ ok: false, failure: { status: 0, isUnknown: isSent && method !== 'GET', reason: reasonOf(error) } })
      }
      try {
        const token = this.access.token()?.reveal()
        if (token !== undefined) headers.authorization = `Bearer ${Buffer.from(token).toString('latin1').trim()}`
      } catch (error) {
        return fail(error)
      }
      const request = https.request(url, { method, headers, agent, signal }, (response) => {
        response.on('error', () => {})
        resolve({ ok: true, response })
      })
      request.on('error', fail)
      // Nothing leaves before there is a connection whose server was proved: until then it was not sent.
      request.on('socket', (socket) => {
        const sent = (): void => {
          isSent = true
        }
        if ((socket as TLSSocket).authorized && !socket.connecting) sent()
        else socket.once('secureConnect', sent)
      })
      request.end(bytes)
    })
  }

  close(): void {
    this.#agent.destroy()
    this.#streams.destroy()
  }
}

/** For whoever asked for one thing and cannot go on without it. */
export function refusalOf(client: ApiClient, { status, reason }: ApiFailure): HoldfastError {
  const code = status >= 400 && status < 500 ? 'kube-refused' : 'kube-unreachable'
  return new HoldfastError(code, { server: client.access.server.origin, reason })
}

/** What a status says of a change: the API refuses before it writes, with these. */
const mayBeDone = (method: Method, status: number): boolean => method !== 'GET' && !(status >= 300 && status < 500)

async function textOf(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of response as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > ANSWER_BYTES_MAX) throw new Error('its answer is too long')
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}

export function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(text)
    const isRecord = typeof found === 'object' && found !== null && !Array.isArray(found)
    return isRecord ? (found as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

const line = (text: string): string => text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, REASON_LENGTH_MAX)

function reasonOf(error: unknown): string {
  const { name, code, message, cause } = error as NodeJS.ErrnoException
  const isLate = name === 'TimeoutError' || (cause as Error | undefined)?.name === 'TimeoutError'
  if (isLate) return 'it did not answer in time'
  if (name === 'AbortError') return 'it was ended here'
  return line(message === '' || message === undefined ? String(code) : message)
}
