/**
 * A stand-in for the transit engine of a Vault server, over the same HTTP: for what a real one cannot be brought to do
 * on demand, and for machines without one. `openbao.test.ts` holds a real one to the same.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Test } from 'tap'

export const TOKEN = 'hvs.token-of-a-test'
const PATH = /^\/v1\/transit\/(encrypt|decrypt)\/([\w.-]+)$/

type Answer = [status: number, body: unknown]

export class TransitStandIn {
  readonly requests: string[] = []
  /** Of the next requests; afterwards it does what it should. */
  readonly answers: Array<Answer | 'hang' | 'reset' | 'flood' | 'redirect'> = []
  readonly #server: http.Server
  readonly #keys = new Map<string, Buffer>()
  readonly #protocol: string
  #port = 0

  /** @param tls  a folder with its certificate */
  constructor(t: Pick<Test, 'teardown'>, tls?: string) {
    const take: http.RequestListener = (request, response) => {
      const pieces: Buffer[] = []
      request.on('data', (piece: Buffer) => pieces.push(piece))
      request.on('end', () => this.#take(request, Buffer.concat(pieces), response))
    }
    const fileOf = (name: string): Buffer => readFileSync(path.join(tls!, name))
    this.#server = tls === undefined
      ? http.createServer(take)
      : https.createServer({ cert: fileOf('tls.crt'), key: fileOf('tls.key') }, take)
    this.#protocol = tls === undefined ? 'http' : 'https'
    t.teardown(() => this.stop())
  }

  get address(): string {
    return `${this.#protocol}://127.0.0.1:${this.#port}`
  }

  /** Where it was before, with the keys that it had. */
  async start(): Promise<this> {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
    return this
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  #take(request: http.IncomingMessage, body: Buffer, response: http.ServerResponse): void {
    this.requests.push(`${request.method} ${request.url}`)
    const next = this.answers.shift()
    if (next === 'hang') return
    if (next === 'reset') return void request.socket.destroy()
    if (next === 'flood') return void response.end(Buffer.alloc(2 ** 20, 'a'))
    if (next === 'redirect') return void response.writeHead(307, { location: `${this.address}/elsewhere` }).end()
    const [status, answer] = next ?? this.#answer(request, body)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  }

  #answer({ url, headers }: http.IncomingMessage, body: Buffer): Answer {
    if (headers['x-vault-token'] !== TOKEN) return [403, { errors: ['permission denied'] }]
    const [, what, name] = PATH.exec(url ?? '') ?? []
    if (name === undefined) return [404, { errors: [] }]
    if (!this.#keys.has(name)) this.#keys.set(name, randomBytes(32))
    const key = this.#keys.get(name)!
    const { plaintext, ciphertext, associated_data: bound } = JSON.parse(body.toString()) as Record<string, string>
    const aad = Buffer.from(bound!, 'base64')
    if (what === 'encrypt') {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad)
      const parts = [nonce, cipher.update(Buffer.from(plaintext!, 'base64')), cipher.final(), cipher.getAuthTag()]
      return [200, { data: { ciphertext: `vault:v1:${Buffer.concat(parts).toString('base64')}` } }]
    }
    const bytes = Buffer.from(ciphertext!.slice('vault:v1:'.length), 'base64')
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12)).setAAD(aad)
      decipher.setAuthTag(bytes.subarray(-16))
      const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
      return [200, { data: { plaintext: plain.toString('base64') } }]
    } catch {
      return [400, { errors: ['cipher: message authentication failed'] }]
    }
  }
}
