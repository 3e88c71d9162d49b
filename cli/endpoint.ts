/**
 * Which daemon a command talks to: `--endpoint`, else HOLDFAST_ENDPOINT, else `./.holdfast`. Each may name api.sock
 * itself, a node's folder, or a dev folder with nodes in it, of which the first that answers is taken; or `HOST:PORT`
 * of a node, over TLS, with the certificate in `--tls`, else HOLDFAST_TLS, or with the bearer token in `--token-file`,
 * else HOLDFAST_TOKEN_FILE, and the ca.crt there. A failure says what was tried and where the name came from.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import type { ControlClient, Endpoint, SocketEndpoint } from '../cluster/api/client.ts'
import type { BearerToken } from '../cluster/tls/bearer-token.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'

const API_SOCKET = 'api.sock'
const WAITING = 'waiting.json'
const ADDRESS = /^[^/]+:\d+$/

export interface NamedEndpoint {
  place: string
  source: string
}

export function namedEndpoint(flag: string | undefined, environment: NodeJS.ProcessEnv): NamedEndpoint {
  if (flag !== undefined) return { place: flag, source: 'from --endpoint' }
  const fromEnvironment = environment.HOLDFAST_ENDPOINT
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    return { place: fromEnvironment, source: 'from HOLDFAST_ENDPOINT' }
  }
  return { place: './.holdfast', source: 'the default, as neither --endpoint nor HOLDFAST_ENDPOINT is set' }
}

function unreachable({ source }: NamedEndpoint, endpoint: string, reason: string): HoldfastError {
  return new HoldfastError('unreachable', { endpoint, source, reason })
}

/** Sockets that may be meant, in order of node name. */
export function candidateSockets(named: NamedEndpoint): string[] {
  if (ADDRESS.test(named.place)) {
    throw new HoldfastError('not-supported', {
      what: `this command over TCP (endpoint ${named.place})`,
      instead: 'it reads data on the host of a node: name a unix socket (DIR/<node>/api.sock) or a dev folder',
    })
  }
  const place = path.resolve(named.place.replace(/^unix:(\/\/(?=\/))?/, ''))
  const stats = statSync(place, { throwIfNoEntry: false })
  if (stats === undefined) throw unreachable(named, place, 'there is no such folder or socket')
  if (stats.isSocket()) return [place]
  if (!stats.isDirectory()) throw unreachable(named, place, 'it is neither a socket nor a folder')
  const isSocket = (file: string) => statSync(file, { throwIfNoEntry: false })?.isSocket() === true
  const own = path.join(place, API_SOCKET)
  if (isSocket(own)) return [own]
  const sockets = readdirSync(place).sort().map((node) => path.join(place, node, API_SOCKET)).filter(isSocket)
  if (sockets.length === 0) throw unreachable(named, place, 'no node of that folder is running')
  return sockets
}

const CONNECT_REASONS: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there any more',
  EACCES: 'this user may not open it',
  EPERM: 'this user may not open it',
  ENOENT: 'there is no such socket',
}

/** Undefined when something accepts, else why not. */
function connectFailure(socketPath: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath)
    socket.once('connect', () => {
      socket.destroy()
      resolve(undefined)
    })
    socket.once('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => resolve(CONNECT_REASONS[code] ?? code))
  })
}

/** The store at which a node waits whose folder that is, or that has its folder in there; undefined: none does. */
export function storeWaitedFor(place: string): string | undefined {
  const folder = path.resolve(place)
  try {
    const folders = [folder, ...readdirSync(folder).sort().map((name) => path.join(folder, name))]
    for (const one of folders.map((name) => path.join(name, WAITING))) {
      if (!existsSync(one)) continue
      const { store } = JSON.parse(readFileSync(one, 'utf8')) as { store?: unknown }
      if (typeof store === 'string') return store
    }
  } catch {
    // It is no folder, or the file is just being made.
  }
  return undefined
}

/** On this host. */
export async function findEndpoint(flag: string | undefined, environment = process.env): Promise<SocketEndpoint> {
  const named = namedEndpoint(flag, environment)
  try {
    return await firstThatAnswers(named)
  } catch (error) {
    const { place } = named
    const store = storeWaitedFor(place)
    throw store === undefined ? error : new HoldfastError('cluster-waits', { endpoint: path.resolve(place), store })
  }
}

async function firstThatAnswers(named: NamedEndpoint): Promise<SocketEndpoint> {
  let failure: HoldfastError | undefined
  for (const socketPath of candidateSockets(named)) {
    const reason = await connectFailure(socketPath)
    if (reason === undefined) return { socketPath, source: named.source }
    failure ??= unreachable(named, socketPath, reason)
  }
  throw failure!
}

/** Here or elsewhere. @param flag  as `--endpoint` is given */
export async function endpointOf(
  given: Arguments, environment = process.env, flag = given.text('endpoint'),
): Promise<Endpoint> {
  const { place: address, source } = namedEndpoint(flag, environment)
  const [dir, file] = [given.text('tls') ?? environment.HOLDFAST_TLS, tokenFileOf(given, environment)]
  if (!ADDRESS.test(address)) {
    if (given.text('token-file') === undefined) return findEndpoint(flag, environment)
    const hint = 'name that with --endpoint, or leave --token-file out'
    throw usageError('a bearer token is for a node at HOST:PORT', hint)
  }
  if (dir === undefined || dir === '') {
    const hint = file === undefined ? 'name your certificate with --tls DIR or HOLDFAST_TLS'
      : 'name the folder that has the ca.crt of the cluster with --tls DIR or HOLDFAST_TLS'
    throw usageError(`a node at ${address} answers over TLS only`, hint)
  }
  if (file !== undefined) return { address, authority: path.resolve(dir), token: await readToken(file), source }
  const { TlsFolder } = await import('../cluster/tls/tls-folder.ts')
  return { address, folder: new TlsFolder(dir), source }
}

/** Set: it is shown, and no certificate. */
function tokenFileOf(given: Arguments, environment: NodeJS.ProcessEnv): string | undefined {
  const file = given.text('token-file') ?? environment.HOLDFAST_TOKEN_FILE
  return file === '' ? undefined : file
}

async function readToken(file: string): Promise<BearerToken> {
  const { parseToken } = await import('../cluster/tls/bearer-token.ts')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : code
    throw new HoldfastError('token-file', { file, reason }, { cause: error })
  }
  const token = parseToken(text.trim())
  // Not what is there: it may be another secret.
  if (token !== undefined) return token
  throw new HoldfastError('token-file', { file, reason: 'what it holds has not the form of one' })
}

export const endpointText = (endpoint: Endpoint): string =>
  'socketPath' in endpoint ? endpoint.socketPath : endpoint.address

/** Run `use` with a connection, which is closed in any case. */
export async function withDaemon<T>(given: Arguments, use: (daemon: ControlClient) => Promise<T>): Promise<T> {
  const endpoint = await endpointOf(given)
  const { connectControlApi } = await import('../cluster/api/client.ts')
  const client = connectControlApi(endpoint)
  try {
    return await use(client)
  } finally {
    client.close()
  }
}
