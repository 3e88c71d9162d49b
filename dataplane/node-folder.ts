/**
 * The folder of a node, `DIR/<node>`, mode 0700:
 *
 *   lock            flock'ed while a supervisor or its daemon lives; holds the supervisor's pid
 *   supervisor.pid  pid             pids, for scripts and people
 *   node.json       who this node is: {clusterId, nodeId}, made at the first start
 *   disks.json      disks added while it ran, so that the next start has them too
 *   api.sock        control API     nbd.sock  every volume by name
 *   seen-disks.json  disks it had at its last start: one that is gone is told from one that is new (`lost-disks.ts`)
 *   attached/       a socket for each volume that this node holds, VOLUME-ID.GENERATION
 *   daemon.log      JSON lines      daemon.log.1  the one before
 *   audit.log       JSON lines      audit.log.1 ... audit.log.9
 *   index/          rebuildable index of the store
 *
 * Of a node of a cluster also:
 *
 *   store.json      which cluster store it has seen, how far, and in which era (cluster/store/REBUILD.md)
 *   nodes.json      the other nodes of its cluster
 *   waiting.json    at which store it waits for its cluster (`waiting-node.ts`)
 *   suspect-disks.json  disks of it that are not trusted any more (`suspect-disks.ts`)
 *   evidence/       state of copies that met a bug of ours
 *
 * Small files are replaced by rename after a sync, so that a crash leaves the old or the new one.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync,
} from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../engine/errors.ts'
import { lockExclusive } from '../cluster/libc.ts'
import type { DiskOption } from './worker-messages.ts'

/** `sun_path` of a unix socket holds 108 bytes, the last of them zero. */
const SOCKET_PATH_BYTES_MAX = 107

export interface NodePaths {
  folder: string
  lock: string
  supervisorPid: string
  pid: string
  identity: string
  disks: string
  seenDisks: string
  suspectDisks: string
  api: string
  nbd: string
  attached: string
  log: string
  audit: string
  index: string
  knownStore: string
  met: string
  waiting: string
  evidence: string
}

export function nodePaths(dir: string, name: string): NodePaths {
  const folder = path.resolve(dir, name)
  const inside = (file: string) => path.join(folder, file)
  return {
    folder,
    lock: inside('lock'),
    supervisorPid: inside('supervisor.pid'),
    pid: inside('pid'),
    identity: inside('node.json'),
    disks: inside('disks.json'),
    seenDisks: inside('seen-disks.json'),
    suspectDisks: inside('suspect-disks.json'),
    api: inside('api.sock'),
    nbd: inside('nbd.sock'),
    attached: inside('attached'),
    log: inside('daemon.log'),
    audit: inside('audit.log'),
    index: inside('index'),
    knownStore: inside('store.json'),
    met: inside('nodes.json'),
    waiting: inside('waiting.json'),
    evidence: inside('evidence'),
  }
}

export function checkSocketPath(socketPath: string): void {
  const length = Buffer.byteLength(socketPath)
  if (length > SOCKET_PATH_BYTES_MAX) throw new HoldfastError('socket-path', { path: socketPath, length })
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  switch (code) {
    case 'EACCES': case 'EPERM': return 'permission denied'
    case 'ENOTDIR': return 'a part of the path is no folder'
    case 'EEXIST': return 'there is a file of that name'
    case 'EROFS': return 'the file system is read-only'
    case 'ENOSPC': return 'the file system is full'
    default: return code ?? message
  }
}

export function makeFolder(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new HoldfastError('folder', { dir, reason: reasonOf(error) }, { cause: error })
  }
}

/**
 * Take the lock file of a folder for this process and whoever inherits the descriptor. The kernel gives it up with the
 * last holder, so nothing stale can be left behind.
 */
export function lockFolder(dir: string, lockFile: string): number {
  let fd: number
  try {
    fd = openSync(lockFile, 'a+', 0o600)
  } catch (error) {
    throw new HoldfastError('folder', { dir, reason: reasonOf(error) }, { cause: error })
  }
  if (lockExclusive(fd) < 0) {
    closeSync(fd)
    throw new HoldfastError('folder-in-use', { dir, pid: readFileSync(lockFile, 'utf8').trim() || 'unknown' })
  }
  try {
    ftruncateSync(fd, 0)
    writeSync(fd, `${process.pid}\n`)
  } catch (error) {
    closeSync(fd)
    throw new HoldfastError('folder-write', { file: lockFile, reason: reasonOf(error) }, { cause: error })
  }
  return fd
}

/** @throws HoldfastError `folder-write`; the former file is there then, or the new one */
export function replaceFile(file: string, content: string): void {
  const next = `${file}.new`
  try {
    // A file system that has little room takes a part of it.
    withFd(openSync(next, 'w', 0o600), (fd) => {
      writeFileSync(fd, content)
      fsyncSync(fd)
    })
    renameSync(next, file)
    withFd(openSync(path.dirname(file), 'r'), fsyncSync)
  } catch (error) {
    throw new HoldfastError('folder-write', { file, reason: reasonOf(error) }, { cause: error })
  }
}

function withFd(fd: number, use: (fd: number) => void): void {
  try {
    use(fd)
  } finally {
    closeSync(fd)
  }
}

export function readJson(file: string): unknown {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new HoldfastError('folder', { dir: file, reason: reasonOf(error) }, { cause: error })
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new HoldfastError('folder', { dir: file, reason: 'it is no JSON any more' }, { cause: error })
  }
}

export interface NodeIdentity {
  clusterId: string
  nodeId: string
}

/** As ids are written everywhere: 128 random bits. */
const ID = /^[0-9a-f]{32}$/
const newId = () => randomBytes(16).toString('hex')

export interface ClusterOfStore {
  clusterId: string
  /** Where the store is, for a sentence. */
  store: string
}

/** Undefined: it was never started. */
export function knownIdentity(file: string): NodeIdentity | undefined {
  const known = readJson(file) as Partial<NodeIdentity> | undefined
  if (known === undefined) return undefined
  const { clusterId, nodeId } = known ?? {}
  if (typeof clusterId !== 'string' || typeof nodeId !== 'string' || !ID.test(clusterId) || !ID.test(nodeId)) {
    throw new HoldfastError('folder', { dir: file, reason: 'it does not name a cluster and a node' })
  }
  return { clusterId, nodeId }
}

export const keepIdentity = (file: string, identity: NodeIdentity): void =>
  replaceFile(file, `${JSON.stringify(identity)}\n`)

/** Who this node is. Made once: the disks carry it, and a node that forgot it would find them foreign. */
export function nodeIdentity(file: string): NodeIdentity {
  const known = knownIdentity(file)
  if (known !== undefined) return known
  const identity = { clusterId: newId(), nodeId: newId() }
  keepIdentity(file, identity)
  return identity
}

/** Of a node of that cluster, who it is or, until that is kept, may be. Another cluster than before is refused. */
export function identityIn(file: string, cluster: ClusterOfStore): NodeIdentity {
  const known = knownIdentity(file)
  if (known === undefined) return { clusterId: cluster.clusterId, nodeId: newId() }
  const { clusterId } = known
  if (cluster.clusterId !== clusterId) {
    const what = `folder ${path.dirname(file)}`
    throw new HoldfastError('cluster-other', { what, known: clusterId, store: cluster.store, found: cluster.clusterId })
  }
  return known
}

export function addedDisks(file: string): DiskOption[] {
  const known = readJson(file) as Array<Omit<DiskOption, 'sizeBytes'>> | undefined
  return (known ?? []).map(({ path, pool, tags }) => ({ path, pool, tags, sizeBytes: undefined }))
}

/** @returns puts back what was known of its path. Both throw HoldfastError `folder-write` */
export function rememberDisk(file: string, disk: DiskOption): () => void {
  const former = addedDisks(file).find(({ path }) => path === disk.path)
  const keep = (now: DiskOption | undefined): void => {
    const others = addedDisks(file).filter(({ path }) => path !== disk.path)
    const all = [...others, ...(now === undefined ? [] : [now])].map(({ path, pool, tags }) => ({ path, pool, tags }))
    replaceFile(file, `${JSON.stringify(all, undefined, 2)}\n`)
  }
  keep(disk)
  return () => keep(former)
}
