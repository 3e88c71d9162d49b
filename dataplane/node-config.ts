/**
 * What a node is told to be: flags of `holdfast node` and the JSON file of `--config`, checked and made absolute. The
 * supervisor checks it before anything is started and hands it to each daemon it spawns. Flags win over the file;
 * disks of both are joined.
 */
import { readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseDurationMs, parseSize } from '../cluster/api/amounts.ts'
import { isName, nearest, shown } from '../cluster/api/names.ts'
import { checkPool, parseTags } from '../cluster/api/volume-request.ts'
import { isAnyAddress, isLoopback } from '../cluster/tls/loopback.ts'
import { kubeconfigOf, parseAddresses } from '../cluster/store/store-addresses.ts'
import { CLUSTER_WORKERS_MAX } from '../cluster/membership/beat-body.ts'
import { HoldfastError } from '../engine/errors.ts'
import { MIB } from '../engine/units.ts'
import { SCRUB_DEFAULTS } from './copy/scrub-options.ts'
import type { ScrubOptions } from './copy/scrub-options.ts'
import type { DiskOption } from './worker-messages.ts'

export interface TcpAddress {
  host: string
  port: number
}

/** Of a node that is one of several. */
export interface ClusterConfig {
  /** Where the cluster store answers: `https://HOST:PORT`, several with commas between them. */
  store: string
  /** For data workers of other nodes; they are told this host. Port 0 takes a free one. */
  listenPeer: TcpAddress
  /** For the control plane of other nodes. */
  listenApi: TcpAddress
}

export interface NodeConfig {
  name: string
  /** The folder of all nodes; this one's is `dir/name`. */
  dir: string
  zone: string
  /** Its zone may be one that no other node of the cluster is in. */
  isFirstInZone?: true
  disks: DiskOption[]
  listenTcp: TcpAddress | undefined
  /** Where metrics and health are shown, over HTTP; unset: nowhere. */
  listenMetrics?: TcpAddress
  workers: number
  /** Of its copies, when it is one of several; unset: as usual. */
  scrub?: ScrubOptions
  /** The folder of its certificates (cluster/tls/tls-folder.ts); unset: plain text, on loopback only. */
  tls?: string
  /** Unset: the node is by itself. */
  cluster?: ClusterConfig
  /** File of the key that wraps keys of volumes for which none is named. */
  clusterKey?: string
}

/** What `--config FILE` may hold. Each is the flag of the same name. */
interface ConfigFile {
  name?: unknown
  dir?: unknown
  zone?: unknown
  'new-zone'?: unknown
  disks?: unknown
  'listen-tcp'?: unknown
  'listen-metrics'?: unknown
  workers?: unknown
  'scrub-light'?: unknown
  'scrub-deep'?: unknown
  'scrub-rate'?: unknown
  store?: unknown
  'listen-peer'?: unknown
  'listen-api'?: unknown
  tls?: unknown
  'no-tls'?: unknown
  'cluster-key'?: unknown
}

export interface NodeFlags {
  name?: string | undefined
  dir?: string | undefined
  zone?: string | undefined
  'new-zone'?: boolean
  disk?: string[] | undefined
  'listen-tcp'?: string | undefined
  'listen-metrics'?: string | undefined
  workers?: string | undefined
  'scrub-light'?: string | undefined
  'scrub-deep'?: string | undefined
  'scrub-rate'?: string | undefined
  store?: string | undefined
  'listen-peer'?: string | undefined
  'listen-api'?: string | undefined
  tls?: string | undefined
  'no-tls'?: boolean
  'cluster-key'?: string | undefined
  config?: string | undefined
}

const CONFIG_KEYS = [
  'name', 'dir', 'zone', 'new-zone', 'disks', 'listen-tcp', 'listen-metrics', 'workers', 'store', 'listen-peer',
  'listen-api', 'scrub-light', 'scrub-deep', 'scrub-rate', 'tls', 'no-tls', 'cluster-key',
]
const DISK_KEYS = ['path', 'size', 'pool', 'tags']
const WORKERS_MAX = 64
const SCRUB_EVERY_LEAST_MS = 60_000
/** Of a node of a cluster, unless it is told. */
const CLUSTER_WORKERS = '1'
const LOOPBACK_ANY_PORT = '127.0.0.1:0'

function usage(problem: string, hint: string): never {
  throw new HoldfastError('usage', { problem, hint })
}

function refuse(parameter: string, value: string, allowed: string): never {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

/** `path=/dev/sdb,pool=fast,tags=ssd+nvme` or `path=/data/disk0,size=10Gi`. A path may hold commas, not `,word=`. */
export function parseDiskOption(text: string, base = process.cwd()): DiskOption {
  const fields: Record<string, string> = {}
  for (const part of text.split(/,(?=[a-z]*=)/)) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    if (equals < 0 || !DISK_KEYS.includes(key)) {
      const meant = nearest(key, DISK_KEYS)
      const hint = meant === undefined ? 'e.g. --disk path=/dev/sdb,pool=fast,tags=ssd+nvme' : `did you mean ${meant}=?`
      usage(`--disk ${text}: ${shown(part)} is not one of path=, size=, pool=, tags=`, hint)
    }
    if (Object.hasOwn(fields, key)) usage(`--disk ${text}: ${key} is given twice`, 'give it once')
    fields[key] = part.slice(equals + 1)
  }
  return diskOptionOf(fields, `--disk ${text}`, base)
}

function diskOptionOf(fields: Record<string, string>, where: string, base: string): DiskOption {
  if (fields.path === undefined || fields.path === '') usage(`${where} names no path`, 'e.g. path=/dev/sdb')
  return {
    path: path.resolve(base, fields.path),
    sizeBytes: fields.size === undefined ? undefined : parseDiskSize(fields.size),
    pool: checkPool(fields.pool),
    tags: parseTags('tags', fields.tags ?? ''),
  }
}

export function parseDiskSize(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined || bytes === 0) refuse('size', text, 'a number of bytes or e.g. 4Gi, 500G')
  return bytes
}

/** `127.0.0.1:10809`, `[::1]:10809`, `10809` (then on loopback). Port 0 takes a free one. */
export function parseTcpAddress(text: string, parameter = 'listen-tcp'): TcpAddress {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):)?(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) refuse(parameter, text, 'HOST:PORT, e.g. 127.0.0.1:10809')
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
}

/** Where others come in: without TLS they are believed without a proof, so nobody from outside of this host may. */
function parseOpenAddress(text: string, parameter: string, isTls: boolean): TcpAddress {
  const address = parseTcpAddress(text, parameter)
  if (!isTls && !isLoopback(address.host)) throw new HoldfastError('plain-text', { where: `--${parameter} ${text}` })
  return address
}

/** Other nodes are told this address. */
function parseNodeAddress(text: string, parameter: string, isTls: boolean): TcpAddress {
  const address = parseOpenAddress(text, parameter, isTls)
  if (isAnyAddress(address.host)) refuse(parameter, text, 'the address at which other nodes reach this one')
  return address
}

/** One data worker up to four cores; beyond, half of the cores. */
export function defaultWorkers(cores = os.availableParallelism()): number {
  return cores <= 4 ? 1 : Math.min(WORKERS_MAX, Math.floor(cores / 2))
}

function parseWorkers(text: string | undefined, most: number): number {
  if (text === undefined) return defaultWorkers()
  const workers = Number(text)
  if (!/^\d{1,2}$/.test(text) || workers < 1 || workers > most) refuse('workers', text, `1 to ${most}`)
  return workers
}

function readConfigFile(file: string): ConfigFile {
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    return usage(`--config ${file} cannot be read: ${(error as Error).message}`, 'name a readable JSON file')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return usage(`--config ${file} is no JSON object`, 'e.g. {"name": "n1", "disks": [{"path": "/dev/sdb"}]}')
  }
  for (const key of Object.keys(parsed)) {
    if (CONFIG_KEYS.includes(key)) continue
    const meant = nearest(key, CONFIG_KEYS)
    const hint = meant === undefined ? CONFIG_KEYS.join(', ') : `did you mean ${meant}?`
    usage(`--config ${file} has an unknown key ${shown(key)}`, hint)
  }
  return parsed
}

function textOf(value: unknown, key: string, file: string): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  if (typeof value === 'number') return String(value)
  return usage(`${key} in ${file} is no text`, `give it as the flag --${key} takes it`)
}

function isSet(value: unknown, key: string, file: string): boolean {
  if (value === undefined || typeof value === 'boolean') return value === true
  return usage(`${key} in ${file} is neither true nor false`, `e.g. "${key}": true`)
}

/** Paths in the file are relative to the file. */
function disksOfFile(disks: unknown, file: string): DiskOption[] {
  if (disks === undefined) return []
  if (!Array.isArray(disks)) return usage(`disks in ${file} is no list`, 'e.g. "disks": [{"path": "/dev/sdb"}]')
  return disks.map((entry: unknown, index) => {
    const where = `disk ${index} of ${file}`
    if (typeof entry !== 'object' || entry === null) return usage(`${where} is no object`, 'e.g. {"path": "/dev/sdb"}')
    const fields: Record<string, string> = {}
    for (const [key, value] of Object.entries(entry)) {
      if (!DISK_KEYS.includes(key)) usage(`${where} has an unknown key ${shown(key)}`, DISK_KEYS.join(', '))
      fields[key] = Array.isArray(value) ? value.map(String).join('+') : textOf(value, key, file) ?? ''
    }
    return diskOptionOf(fields, where, path.dirname(path.resolve(file)))
  })
}

export function nodeConfigOf(flags: NodeFlags): NodeConfig {
  const file = flags.config ?? ''
  const fromFile = flags.config === undefined ? {} : readConfigFile(flags.config)
  type TextKey = Exclude<keyof ConfigFile, 'disks' | 'new-zone' | 'no-tls'>
  const pick = (key: TextKey) => flags[key] ?? textOf(fromFile[key], key, file)
  const name = pick('name') ?? usage('a node needs a name', 'add --name n1')
  if (!isName(name)) throw new HoldfastError('node-name', { name: shown(name) })
  const dir = pick('dir') ?? usage('a node needs a folder for its state', 'add --dir DIR')
  const listenTcp = pick('listen-tcp')
  const metrics = pick('listen-metrics')
  const disks = [...disksOfFile(fromFile.disks, file), ...(flags.disk ?? []).map((text) => parseDiskOption(text))]
  const paths = new Set<string>()
  for (const disk of disks) {
    if (paths.has(disk.path)) usage(`disk ${disk.path} is given twice`, 'name every disk once')
    paths.add(disk.path)
  }
  const tls = pick('tls')
  const cluster = clusterConfigOf(pick, tls !== undefined)
  const isPlain = flags['no-tls'] === true || isSet(fromFile['no-tls'], 'no-tls', file)
  checkTls({ isTls: tls !== undefined, isPlain, isOfCluster: cluster !== undefined })
  const zone = checkZone(pick('zone') ?? '')
  const isFirstInZone = flags['new-zone'] === true || isSet(fromFile['new-zone'], 'new-zone', file)
  if (isFirstInZone && (zone === '' || cluster === undefined)) {
    const hint = 'add --zone ZONE and --store URL, or leave it out'
    usage('--new-zone is for a node of a cluster that names its zone', hint)
  }
  const scrub = scrubOptionsOf(pick)
  if (scrub !== undefined && cluster === undefined)
    usage('--scrub-* is for nodes of a cluster', 'a single node has no other copy: `holdfast verify` reads its disks')
  const clusterKey = pick('cluster-key')
  const isKeyOfFile = flags['cluster-key'] === undefined
  if (clusterKey !== undefined && cluster === undefined)
    usage('--cluster-key is for nodes of a cluster', 'name the cluster store too, e.g. --store http://127.0.0.1:2379')
  const workers = parseWorkers(
    pick('workers') ?? (cluster === undefined ? undefined : CLUSTER_WORKERS),
    cluster === undefined ? WORKERS_MAX : CLUSTER_WORKERS_MAX,
  )
  return {
    name,
    dir: path.resolve(dir),
    zone,
    ...(isFirstInZone ? { isFirstInZone } : {}),
    disks,
    listenTcp: listenTcp === undefined ? undefined : parseOpenAddress(listenTcp, 'listen-tcp', tls !== undefined),
    workers,
    ...(metrics === undefined ? {} : { listenMetrics: parseTcpAddress(metrics, 'listen-metrics') }),
    ...(scrub === undefined ? {} : { scrub }),
    ...(tls === undefined ? {} : { tls: pathOf(tls, flags.tls === undefined ? file : undefined) }),
    ...(cluster === undefined ? {} : { cluster }),
    ...(clusterKey === undefined ? {} : { clusterKey: pathOf(clusterKey, isKeyOfFile ? file : undefined) }),
  }
}

/** Undefined: none of it is given. */
function scrubOptionsOf(
  pick: (key: 'scrub-light' | 'scrub-deep' | 'scrub-rate') => string | undefined,
): ScrubOptions | undefined {
  const [light, deep, rate] = [pick('scrub-light'), pick('scrub-deep'), pick('scrub-rate')]
  if (light === undefined && deep === undefined && rate === undefined) return undefined
  const every = (key: 'scrub-light' | 'scrub-deep', text: string | undefined, usual: number): number => {
    if (text === undefined) return usual
    const ms = text === 'off' ? 0 : parseDurationMs(text) ?? -1
    return text === 'off' || ms >= SCRUB_EVERY_LEAST_MS ? ms : refuse(key, text, '1m or more, e.g. 24h, or off')
  }
  const bytes = rate === undefined ? SCRUB_DEFAULTS.busyBytesPerSecond : parseSize(rate) ?? 0
  if (bytes < MIB) refuse('scrub-rate', rate!, '1Mi or more, e.g. 32Mi')
  return {
    lightEveryMs: every('scrub-light', light, SCRUB_DEFAULTS.lightEveryMs),
    deepEveryMs: every('scrub-deep', deep, SCRUB_DEFAULTS.deepEveryMs),
    busyBytesPerSecond: bytes,
  }
}

/** Empty: none. Two spellings of one zone would be two, and so a typing error is refused where it can be seen. */
function checkZone(text: string): string {
  return text === '' || isName(text) ? text : refuse('zone', text, '1 to 63 characters of a-z, 0-9 and -, e.g. rack-7')
}

/** Plain text between nodes is never an oversight. */
function checkTls({ isTls, isPlain, isOfCluster }: { isTls: boolean; isPlain: boolean; isOfCluster: boolean }): void {
  if (isTls && isPlain) usage('--tls and --no-tls contradict each other', 'give one of them')
  if (isPlain && !isOfCluster) usage('--no-tls is for nodes of a cluster', 'leave it out')
  if (isOfCluster && !isTls && !isPlain) {
    const hint = 'add --tls DIR (`holdfast ca issue` makes one), or --no-tls: plain text, on loopback only'
    usage('how this node talks to the others is not said', hint)
  }
}

/** Relative to the file that named it, as its disks are. */
const pathOf = (named: string, file: string | undefined): string =>
  path.resolve(file === undefined ? '' : path.dirname(path.resolve(file)), named)

/** Plain text to the store is for loopback too: what is in it decides who may write. */
function checkStore(store: string): string {
  if (kubeconfigOf(store) !== undefined) return store
  for (const address of parseAddresses(store)) {
    const { protocol, hostname } = new URL(address)
    const isOpen = protocol === 'http:' && !isLoopback(hostname)
    if (isOpen) throw new HoldfastError('plain-text', { where: `--store ${address}` })
  }
  return store
}

function clusterConfigOf(
  pick: (key: 'store' | 'listen-peer' | 'listen-api') => string | undefined,
  isTls: boolean,
): ClusterConfig | undefined {
  const store = pick('store')
  if (store === undefined) {
    for (const key of ['listen-peer', 'listen-api'] as const) {
      if (pick(key) === undefined) continue
      usage(`--${key} is for nodes of a cluster`, 'name the cluster store too, e.g. --store http://127.0.0.1:2379')
    }
    return undefined
  }
  return {
    store: checkStore(store),
    listenPeer: parseNodeAddress(pick('listen-peer') ?? LOOPBACK_ANY_PORT, 'listen-peer', isTls),
    listenApi: parseNodeAddress(pick('listen-api') ?? LOOPBACK_ANY_PORT, 'listen-api', isTls),
  }
}
