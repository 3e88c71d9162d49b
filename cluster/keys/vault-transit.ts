/**
 * A key of a Vault or OpenBao server, of its transit engine: data keys are sent there to be encrypted and decrypted,
 * and the key itself never comes here. What it encrypts is bound to volume, cipher and key number, as `associated_data`
 * and, for a key with derivation, as `context`; so it opens for that place only.
 *
 * Everything is bounded: the time and number of tries, what is read of an answer, and what of it is shown. No redirect
 * is followed. Plain data keys are in the memory of the command that asks, which ends.
 */
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { HoldfastError } from '../../engine/errors.ts'
import { boundTo } from './data-key.ts'
import type { KeyPlace } from './data-key.ts'
import type { KeySource } from './key-source.ts'
import type { KmsConfig } from './kms-config.ts'
import { dataKeyIn, transitAnswerOf, wrapIn } from './transit-answer.ts'

const TRIES = 3
const PAUSE_MS = 200
const ANSWER_BYTES_MAX = 64 * 1024
const TOKEN_BYTES_MAX = 8192

/** Said here: else NODE_TLS_REJECT_UNAUTHORIZED of the environment decides whom a data key is sent to. */
const TLS = { minVersion: 'TLSv1.2', rejectUnauthorized: true } as const

interface Answer {
  status: number
  body: Buffer
}

/** @throws HoldfastError `kms-config`: token or certificates cannot be read */
export function vaultTransit(config: KmsConfig): KeySource {
  const id = `vault:${config.mount}/${config.key}`
  const token = readFile(config.tokenFile, TOKEN_BYTES_MAX).toString('latin1').trim()
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new HoldfastError('kms-config', { file: config.tokenFile, reason: 'it has no token' })
  const server: Server = { ...config, token, ca: config.caFile === undefined ? undefined : readFile(config.caFile) }
  return {
    id,
    wrap: async (dataKey, place) => {
      const bytes = dataKey.reveal()
      const plaintext = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
      const wrapped = wrapIn(await ask(server, 'encrypt', { plaintext, ...bindingOf(place) }))
      if (wrapped !== undefined) return { wrappedBy: id, wrapped }
      throw refusal(config, 'its answer has no ciphertext')
    },
    unwrap: async ({ wrapped }, place) =>
      dataKeyIn(await ask(server, 'decrypt', { ciphertext: wrapped, ...bindingOf(place) })),
  }
}

interface Server extends KmsConfig {
  token: string
  ca: Buffer | undefined
}

function bindingOf(place: KeyPlace): { context: string; associated_data: string } {
  const text = boundTo(place).toString('base64')
  return { context: text, associated_data: text }
}

function readFile(file: string, bytesMax = Infinity): Buffer {
  try {
    const bytes = readFileSync(file)
    if (bytes.length > bytesMax) throw new Error(`it has ${bytes.length} bytes`)
    return bytes
  } catch (error) {
    throw new HoldfastError('kms-config', { file, reason: (error as Error).message })
  }
}

const refusal = ({ address, mount, key }: KmsConfig, reason: string): HoldfastError =>
  new HoldfastError('kms-refused', { address: address.origin, key: `${mount}/${key}`, reason })

/** The `data` of its answer. What may pass by itself is tried again, a few times. */
async function ask(
  server: Server, what: 'encrypt' | 'decrypt', body: Record<string, string>,
): Promise<Record<string, unknown>> {
  let failure: HoldfastError | undefined
  for (let i = 0; i < TRIES; i++) {
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * 2 ** (i - 1)))
    let answer: Answer
    try {
      answer = await post(server, what, Buffer.from(JSON.stringify(body)))
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
      failure = new HoldfastError('kms-unreachable', { address: server.address.origin, tries: i + 1, reason })
      continue
    }
    const { status } = answer
    const { data, errors } = transitAnswerOf(answer.body)
    if (status === 200) return data
    failure = refusal(server, `${status}${errors === '' ? '' : `, ${errors}`}`)
    if (status !== 429 && status < 500) break
  }
  throw failure!
}

function post(server: Server, what: string, body: Buffer): Promise<Answer> {
  const { address, mount, key, token, ca, namespace, timeoutMs } = server
  return new Promise((resolve, reject) => {
    const options = {
      method: 'POST', agent: false, signal: AbortSignal.timeout(timeoutMs),
      headers: {
        'content-type': 'application/json', 'content-length': body.length, 'x-vault-token': token,
        'x-vault-request': 'true', ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
      },
    }
    const url = new URL(`/v1/${mount}/${what}/${key}`, address)
    const take = (response: http.IncomingMessage): void => {
      const pieces: Buffer[] = []
      let bytes = 0
      response.on('error', reject)
      response.on('data', (piece: Buffer) => {
        bytes += piece.length
        if (bytes > ANSWER_BYTES_MAX) response.destroy(new Error('its answer is too long'))
        else pieces.push(piece)
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces) }))
    }
    const request = url.protocol === 'https:'
      ? https.request(url, { ...options, ...TLS, ...(ca === undefined ? {} : { ca }) }, take)
      : http.request(url, options, take)
    request.on('error', reject)
    request.end(body)
  })
}
