/** The file that `--kms` names: which key of which key server, and how one gets in there. It has no secret in it. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'

export interface KmsConfig {
  /** `https:`, or `http:` to this machine. */
  address: URL
  /** Where the transit engine is mounted. */
  mount: string
  key: string
  tokenFile: string
  /** Certificates of who may have signed the server's; undefined: those that Node knows. */
  caFile: string | undefined
  namespace: string | undefined
  /** Of one try. */
  timeoutMs: number
}

const KNOWN = ['type', 'address', 'mount', 'key', 'tokenFile', 'caFile', 'namespace', 'timeoutMs']
const FILE_BYTES_MAX = 16 * 1024
const TIMEOUT_MS = 5000
const TIMEOUT_MS_MAX = 60_000
const NAME = /^[\w.-]{1,64}$/
const MOUNT = /^[\w.-]{1,32}(?:\/[\w.-]{1,32}){0,3}$/
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/

/** Paths in it are relative to it. @throws HoldfastError `kms-config` */
export function readKmsConfig(file: string): KmsConfig {
  let text: Buffer
  try {
    text = readFileSync(file)
  } catch (error) {
    throw new HoldfastError('kms-config', { file, reason: (error as Error).message })
  }
  return kmsConfigOf(file, text)
}

/** @param text  what stands in the file. @throws HoldfastError `kms-config` */
export function kmsConfigOf(file: string, text: Buffer): KmsConfig {
  const refuse = (reason: string): never => {
    throw new HoldfastError('kms-config', { file, reason })
  }
  if (text.length > FILE_BYTES_MAX) return refuse(`it has ${text.length} bytes`)
  let found: Record<string, unknown>
  try {
    found = JSON.parse(text.toString()) as Record<string, unknown>
  } catch {
    // What the parser says quotes it, and it may be the file of the token.
    return refuse('it is no JSON')
  }
  if (typeof found !== 'object' || found === null || Array.isArray(found)) return refuse('it is no JSON object')
  for (const name of Object.keys(found)) if (!KNOWN.includes(name)) return refuse(`nothing is called ${name}`)
  const textOf = (name: string, ifAbsent?: string): string => {
    const value = found[name] ?? ifAbsent
    return typeof value === 'string' && value !== '' ? value : refuse(`${name} is missing`)
  }
  const optional = (name: string): string | undefined => (found[name] === undefined ? undefined : textOf(name))
  const fileOf = (text: string): string => path.resolve(path.dirname(file), text)
  if (found.type !== 'vault-transit') return refuse('its type is not vault-transit')
  const mount = textOf('mount', 'transit')
  const key = textOf('key')
  if (!MOUNT.test(mount) || !NAME.test(key) || /(^|\/)\.\.?(\/|$)/.test(`${mount}/${key}`))
    return refuse('mount and key are names of letters, digits, `_`, `-` and `.`')
  const timeoutMs = found.timeoutMs ?? TIMEOUT_MS
  if (typeof timeoutMs !== 'number' || !(timeoutMs >= 1 && timeoutMs <= TIMEOUT_MS_MAX))
    return refuse(`timeoutMs is 1 to ${TIMEOUT_MS_MAX}`)
  const caFile = optional('caFile')
  const address = addressOf(textOf('address'))
  if (typeof address === 'string') return refuse(address)
  return {
    address, mount, key, tokenFile: fileOf(textOf('tokenFile')), namespace: optional('namespace'), timeoutMs,
    caFile: caFile === undefined ? undefined : fileOf(caFile),
  }
}

/** A string: why it is none. */
function addressOf(text: string): URL | string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) return 'address is no URL'
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '' || url.pathname !== '/')
    return 'address has more than a host and a port'
  const isHere = LOOPBACK.test(url.hostname)
  if (url.protocol === 'http:' && !isHere) return 'address is http, which is for this machine only'
  return url
}
