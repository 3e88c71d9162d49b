/**
 * How a Kubernetes API is reached, and who we are there: as Kubernetes tells every pod, or as a kubeconfig says. Of the
 * latter what is a file or a value: certificates, keys, tokens. A command that would be run for a token is not run.
 *
 * A pod's token is exchanged under us every hour, so it is read again when it is older than a minute.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import { Secret } from '../../engine/secret.ts'

const POD_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount'
const TOKEN_AGE_MS = 60_000
const FILE_BYTES_MAX = 1024 * 1024

export interface ApiAccess {
  /** `https://HOST:PORT`. */
  server: URL
  /** PEM. */
  ca: Buffer
  /** PEM, both or none. */
  certificate?: Buffer
  key?: Secret
  /** As it is now; undefined: none. */
  token(): Secret | undefined
  /** Of the pod, or of the context; where none is named: `default`. */
  namespace: string
}

/** @param kubeconfig  a file; undefined or empty: as a pod is told. @throws HoldfastError `kube-access` */
export const accessOf = (kubeconfig: string | undefined): ApiAccess =>
  kubeconfig === undefined || kubeconfig === '' ? accessOfPod() : accessOfKubeconfig(path.resolve(kubeconfig))

/** As a pod is told. @throws HoldfastError `kube-access`: this is none */
export function accessOfPod(environment: NodeJS.ProcessEnv = process.env, folder = POD_FOLDER): ApiAccess {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment
  const refuse = (reason: string) => new HoldfastError('kube-access', { what: folder, reason })
  if (host === undefined || port === undefined) throw refuse('this is no pod: KUBERNETES_SERVICE_HOST is not set')
  const read = (name: string) => fileOf(path.join(folder, name), refuse)
  const server = new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`)
  const token = renewed(() => read('token'))
  return { server, ca: read('ca.crt'), token, namespace: read('namespace').toString().trim() }
}

/** The current context of a kubeconfig. @throws HoldfastError `kube-access` */
export function accessOfKubeconfig(file: string): ApiAccess {
  const refuse = (reason: string) => new HoldfastError('kube-access', { what: file, reason })
  const config = recordOf(parsed(fileOf(file, refuse).toString(), refuse))
  const context = named(config, 'contexts', config['current-context'], 'context')
  if (context === undefined) throw refuse('it has no current context')
  const cluster = named(config, 'clusters', context.cluster, 'cluster')
  const user = named(config, 'users', context.user, 'user') ?? {}
  const server = cluster?.server
  if (typeof server !== 'string' || !server.startsWith('https://')) throw refuse('it names no https server')
  if (user.exec !== undefined || user['auth-provider'] !== undefined) {
    throw refuse('its user is one for whom a command would be run; give it a token, a tokenFile or a certificate')
  }
  const bytesOf = (record: Record<string, unknown>, name: string): Buffer | undefined => {
    const [data, place] = [record[`${name}-data`], record[name]]
    if (typeof data === 'string') return Buffer.from(data, 'base64')
    return typeof place === 'string' ? fileOf(path.resolve(path.dirname(file), place), refuse) : undefined
  }
  const ca = bytesOf(cluster!, 'certificate-authority')
  if (ca === undefined) throw refuse('it names no certificate authority')
  const [certificate, key] = [bytesOf(user, 'client-certificate'), bytesOf(user, 'client-key')]
  return {
    server: new URL(server), ca, token: tokenOf(user, file, refuse),
    namespace: typeof context.namespace === 'string' ? context.namespace : 'default',
    ...(certificate === undefined || key === undefined ? {} : { certificate, key: new Secret(key) }),
  }
}

function tokenOf(user: Record<string, unknown>, file: string, refuse: Refuse): ApiAccess['token'] {
  const { token, tokenFile } = user
  if (typeof tokenFile === 'string') {
    const place = path.resolve(path.dirname(file), tokenFile)
    return renewed(() => fileOf(place, refuse))
  }
  const known = typeof token === 'string' ? new Secret(Buffer.from(token)) : undefined
  return () => known
}

type Refuse = (reason: string) => HoldfastError

function renewed(read: () => Buffer): () => Secret {
  let known = new Secret(read())
  let readAtMs = performance.now()
  return () => {
    if (performance.now() - readAtMs > TOKEN_AGE_MS) {
      readAtMs = performance.now()
      known = new Secret(read())
    }
    return known
  }
}

function fileOf(file: string, refuse: Refuse): Buffer {
  try {
    const bytes = readFileSync(file)
    if (bytes.length <= FILE_BYTES_MAX) return bytes
  } catch (error) {
    throw refuse(`${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
  throw refuse(`${file} is too long`)
}

function parsed(text: string, refuse: Refuse): unknown {
  // 5 MiB of memory, and no pod reads a kubeconfig.
  const { parse } = createRequire(import.meta.url)('yaml') as typeof import('yaml')
  try {
    return parse(text)
  } catch {
    throw refuse('it is no YAML')
  }
}

const recordOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

function named(
  config: Record<string, unknown>, list: string, name: unknown, part: string,
): Record<string, unknown> | undefined {
  const entries = Array.isArray(config[list]) ? config[list].map(recordOf) : []
  const found = entries.find((entry) => entry.name === name)
  return found === undefined ? undefined : recordOf(found[part])
}
