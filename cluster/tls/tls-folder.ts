/**
 * The three files by which a process proves who it is, as a Kubernetes secret or `holdfast ca issue` has them:
 *
 *   DIR/ca.crt   who is believed         DIR/tls.crt   what we show        DIR/tls.key   what proves that it is ours
 *
 * They may be replaced at any time: each new connection gets what is there, looked at once a second at most, so that
 * an idle process does nothing. Connections that stand are not touched.
 *
 * Invariant: a context is made of files that fit each other, and a process stays who it is. In the middle of a
 * rotation, or after a bad one, new connections get the files of before, and `onProblem` is told once; what is there is
 * tried again as often as it is looked at, since what is wrong may pass without a change of the files.
 */
import { X509Certificate, createPrivateKey, constants } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { createSecureContext } from 'node:tls'
import type { SecureContext, SecureContextOptions } from 'node:tls'
import { HoldfastError } from '../../engine/errors.ts'
import { Secret } from '../../engine/secret.ts'
import { identityOf, identityUri } from './identity.ts'
import type { TlsIdentity } from './identity.ts'

const FILES = { ca: 'ca.crt', certificate: 'tls.crt', key: 'tls.key' } as const
const LOOK_EVERY_MS = 1000

/**
 * TLS 1.3 and nothing older: no renegotiation, no compression, no choice of a weak cipher. No tickets: a session that
 * is resumed is not verified anew, and would outlive its certificate.
 */
export const TLS_RULES = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const satisfies SecureContextOptions

export interface TlsMaterial {
  /** For `tls.Server.setSecureContext`. With the key in it, so made when it is asked for. */
  options(): SecureContextOptions
  context: SecureContext
  /** A sentence: the certificate names nobody of a cluster (it may be for a cluster store of another CA). */
  identity: TlsIdentity | string
  expiresAtMs: number
}

export class TlsFolder {
  readonly dir: string
  /** The files were replaced by some that cannot be used: `tls-files`; `tls-cluster`: they are somebody else's. */
  onProblem: (error: HoldfastError) => void = () => undefined
  readonly #nowMs: () => number
  #material: TlsMaterial
  /** Of the files in use. */
  #stamp: string
  #lookedAtMs: number
  /** What `onProblem` was told last; empty: nothing is wrong. */
  #told = ''

  /** @param nowMs  monotonic. @throws HoldfastError `tls-files` */
  constructor(dir: string, nowMs = () => performance.now()) {
    this.dir = path.resolve(dir)
    this.#nowMs = nowMs
    this.#stamp = this.#stampNow()
    this.#lookedAtMs = nowMs()
    this.#material = load(this.dir)
  }

  /** For a connection that begins now. Never throws for what the files are. */
  get current(): TlsMaterial {
    const nowMs = this.#nowMs()
    if (nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return this.#material
    this.#lookedAtMs = nowMs
    const stamp = this.#stampNow()
    if (stamp !== this.#stamp) this.#replace(stamp)
    else this.#told = ''
    return this.#material
  }

  #replace(stamp: string): void {
    try {
      const material = load(this.dir)
      this.#stayWho(material)
      this.#material = material
      this.#stamp = stamp
      this.#told = ''
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      const isTold = this.#told === error.message
      this.#told = error.message
      if (!isTold) this.onProblem(error)
    }
  }

  /** Peers know us by the identity we started with. @throws HoldfastError `tls-files`, `tls-cluster` */
  #stayWho({ identity }: TlsMaterial): void {
    const known = this.#material.identity
    if (typeof known === 'string') return
    if (typeof identity === 'string') throw filesError(this.dir, FILES.certificate, identity)
    const [found, ours] = [identityUri(identity), identityUri(known)]
    if (found !== ours) throw new HoldfastError('tls-cluster', { dir: this.dir, found, known: ours })
  }

  /** Who we are. @throws HoldfastError `tls-files` when the certificate says it of nobody */
  get identity(): TlsIdentity {
    const { identity } = this.current
    if (typeof identity === 'string') throw filesError(this.dir, FILES.certificate, identity)
    return identity
  }

  /** Changes with the files, also where a folder is exchanged as a whole, and where they cannot be looked at. */
  #stampNow(): string {
    return Object.values(FILES).map((name) => {
      try {
        const { ino, mtimeNs, size } = statSync(path.join(this.dir, name), { bigint: true })
        return `${ino} ${mtimeNs} ${size}`
      } catch (error) {
        return String((error as NodeJS.ErrnoException).code)
      }
    }).join()
  }
}

/**
 * Of DIR/ca.crt alone, for who proves himself by other means: whom he believes.
 * @throws HoldfastError `tls-files`
 */
export function authorityContext(dir: string): SecureContext {
  const authority = parsed(dir, FILES.ca, 'certificate', (text) => new X509Certificate(text))
  if (!authority.ca) throw filesError(dir, FILES.ca, 'its certificate is not that of a CA')
  return createSecureContext({ ...TLS_RULES, ca: readBytes(dir, FILES.ca).toString() })
}

/** @returns why it is nobody of the cluster that our own certificate names */
export function notOfCluster(folder: TlsFolder, identity: TlsIdentity | string): string | undefined {
  if (typeof identity === 'string') return identity
  const own = folder.current.identity
  if (typeof own === 'string') return 'our own certificate names nobody of a cluster'
  const { clusterId } = identity
  return clusterId === own.clusterId ? undefined : `its certificate is for cluster ${clusterId}`
}

const filesError = (dir: string, file: string, reason: string, cause?: unknown): HoldfastError =>
  new HoldfastError('tls-files', { file: path.join(dir, file), reason }, { cause })

function readBytes(dir: string, file: string): Buffer {
  try {
    return readFileSync(path.join(dir, file))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const words: Record<string, string> = { ENOENT: 'it is not there', EACCES: 'this user may not read it' }
    throw filesError(dir, file, words[code ?? ''] ?? String(code), error)
  }
}

function parsed<T>(dir: string, file: string, what: string, parse: (text: string) => T): T {
  const text = readBytes(dir, file).toString()
  try {
    return parse(text)
  } catch (error) {
    // The library's words may quote what it read.
    throw filesError(dir, file, `it holds no ${what} in PEM`, error)
  }
}

function load(dir: string): TlsMaterial {
  const certificate = parsed(dir, FILES.certificate, 'certificate', (text) => new X509Certificate(text))
  const secret = new Secret(readBytes(dir, FILES.key))
  const key: KeyObject = parsed(dir, FILES.key, 'private key', () => createPrivateKey(Buffer.from(secret.reveal())))
  const authority = parsed(dir, FILES.ca, 'certificate', (text) => new X509Certificate(text))
  if (!certificate.checkPrivateKey(key)) throw filesError(dir, FILES.key, `it is not the key of ${FILES.certificate}`)
  if (!authority.ca) throw filesError(dir, FILES.ca, 'its certificate is not that of a CA')
  const expiresAtMs = Date.parse(certificate.validTo)
  if (expiresAtMs <= Date.now()) throw filesError(dir, FILES.certificate, `it was valid until ${certificate.validTo}`)
  // All of each file: chains, and both CAs while one takes over from the other.
  const [ca, cert] = [FILES.ca, FILES.certificate].map((file) => readBytes(dir, file).toString()) as [string, string]
  const options = () => ({ ...TLS_RULES, ca, cert, key: Buffer.from(secret.reveal()) })
  try {
    return { options, context: createSecureContext(options()), identity: identityOf(certificate), expiresAtMs }
  } catch (error) {
    throw filesError(dir, FILES.certificate, (error as Error).message, error)
  }
}
