/** What a transit engine answers, as it came: whoever sends it, nothing of it is believed but its form. */
import { Secret } from '../../engine/secret.ts'
import { isTransitWrap } from '../store/volume-records.ts'
import { DATA_KEY_BYTES } from './data-key.ts'

const REASON_LENGTH_MAX = 200

export interface TransitAnswer {
  data: Record<string, unknown>
  /** For a sentence: one line, and not long, whoever answered. */
  errors: string
}

export function transitAnswerOf(body: Buffer): TransitAnswer {
  let found: unknown
  try {
    found = JSON.parse(body.toString())
  } catch {
    found = undefined
  }
  const { data, errors } = (typeof found === 'object' && found !== null ? found : {}) as Record<string, unknown>
  const texts = Array.isArray(errors) ? errors.filter((one) => typeof one === 'string') : []
  const line = texts.join('; ').replace(/[^\x20-\x7e]+/g, ' ').slice(0, REASON_LENGTH_MAX)
  return { data: typeof data === 'object' && data !== null ? (data as Record<string, unknown>) : {}, errors: line }
}

/** Undefined: there is none. */
export const wrapIn = ({ ciphertext }: Record<string, unknown>): string | undefined =>
  typeof ciphertext === 'string' && isTransitWrap(ciphertext) ? ciphertext : undefined

/** Undefined: there is none, or it is no data key. */
export function dataKeyIn({ plaintext }: Record<string, unknown>): Secret | undefined {
  const bytes = Buffer.from(typeof plaintext === 'string' ? plaintext : '', 'base64')
  const dataKey = new Uint8Array(bytes)
  bytes.fill(0)
  return dataKey.length === DATA_KEY_BYTES ? new Secret(dataKey) : undefined
}
