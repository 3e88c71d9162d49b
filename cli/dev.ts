/**
 * `holdfast dev`: three nodes with a disk file each and a cluster store, or another number of nodes, and a volume to
 * try it with, in the foreground. Everything it makes lies in its folder; Ctrl-C stops cleanly and the same folder
 * resumes. It holds the folder's lock, starts nodes as `holdfast node` would, makes missing volumes over the control
 * API, and says what to try next.
 */
import { rmSync, statSync, statfsSync } from 'node:fs'
import type net from 'node:net'
import path from 'node:path'
import { formatSize } from '../cluster/api/amounts.ts'
import { limitsOf } from '../cluster/api/cluster-limits.ts'
import { makeKeyFile } from '../cluster/keys/user-key.ts'
import { keepMemorySecret } from '../dataplane/memory-secrecy.ts'
import { warmCompileCache } from '../dataplane/compile-cache.ts'
import { parseDiskSize } from '../dataplane/node-config.ts'
import { checkSocketPath, lockFolder, makeFolder, nodePaths } from '../dataplane/node-folder.ts'
import type { NodePaths } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import { GIB, MIB } from '../engine/units.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { DevCluster } from './dev-cluster.ts'
import { DEV_DIR_DEFAULT } from './dev-control.ts'
import { devShape, isLone, keepShape, parseNodes } from './dev-folder.ts'
import { tryNext } from './dev-hints.ts'
import { leftoversGone } from './dev-leftovers.ts'
import type { LockedFolder } from './dev-leftovers.ts'
import { DevNode } from './dev-node.ts'
import { API_FIRST, claimPorts, METRICS_FIRST } from './dev-ports.ts'
import { devSocketPath, serveDevSocket } from './dev-socket.ts'
import { DEV_STORE, DevStore } from './dev-store.ts'
import { devCertificates } from './dev-tls.ts'
import { DEMO, makeVolumes, parseWishedVolume } from './dev-volumes.ts'
import type { WishedVolume } from './dev-volumes.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'
import type { Output } from './output.ts'

/** Of one node by itself, and of each of several. */
const DISK_BYTES_LONE = 4 * GIB
const DISK_BYTES_EACH = 2 * GIB
/** Beside the disk files: indexes, logs, and not filling somebody's root file system to the last byte. */
const ROOM_BYTES = 256 * MIB
/** Under `npm start` one Ctrl-C arrives twice: from the terminal, and passed on by npm. */
const SAME_SIGNAL_MS = 500
/** Of the cluster that is made in the folder. */
const CLUSTER_KEY = 'cluster.key'

function wishedVolumes(given: Arguments): WishedVolume[] {
  const wished = given.texts('volume').map(parseWishedVolume)
  return given.flag('no-demo') || wished.some(({ name }) => name === DEMO.name) ? wished : [DEMO, ...wished]
}

function fileBytes(file: string): number | undefined {
  const stats = statSync(file, { throwIfNoEntry: false })
  return stats?.isFile() === true && stats.size > 0 ? stats.size : undefined
}

function checkRoom(dir: string, diskBytes: number): void {
  const { bavail, bsize } = statfsSync(dir)
  const free = bavail * bsize
  const needed = diskBytes + ROOM_BYTES
  if (free < needed) throw new HoldfastError('no-room', { dir, free, needed })
}

/** A pause in the program until a stop is asked for; asked again, `again` hurries it. */
function stopSignal(again: () => void): Promise<void> {
  return new Promise((resolve) => {
    let askedMs: number | undefined
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (askedMs === undefined) {
          askedMs = performance.now()
          resolve()
        } else if (performance.now() - askedMs > SAME_SIGNAL_MS) {
          again()
        }
      })
    }
  })
}

interface Disk {
  path: string
  /** Undefined: it is to be made. */
  present: number | undefined
  sizeBytes: number
}

function disksOf(given: Arguments, dir: string, names: string[]): Disk[] {
  const size = given.text('size')
  const sizeBytes = size === undefined ? (names.length === 1 ? DISK_BYTES_LONE : DISK_BYTES_EACH) : parseDiskSize(size)
  const disks = names.map((name) => path.join(nodePaths(dir, name).folder, 'disk0'))
    .map((file) => ({ path: file, present: fileBytes(file), sizeBytes }))
  const missing = disks.filter(({ present }) => present === undefined).length
  if (missing > 0) checkRoom(dir, missing * sizeBytes)
  return disks
}

async function prepare(
  names: string[],
  { dir, disks, store, certificates, output }: {
    dir: string
    disks: Disk[]
    store: string | undefined
    certificates: Map<string, string> | undefined
    output: Output
  },
): Promise<DevNode[]> {
  const tcpPorts = await claimPorts(names.length)
  const metricsPorts = await claimPorts(names.length, METRICS_FIRST)
  const apiPorts = certificates === undefined ? [] : await claimPorts(names.length, API_FIRST)
  const clusterKey = store === undefined ? undefined : path.join(dir, CLUSTER_KEY)
  if (clusterKey !== undefined) makeKeyFile(clusterKey)
  return names.map((name, index) => {
    const { path: diskPath, present, sizeBytes } = disks[index]!
    output.note(present === undefined
      ? `node ${name}: making its disk, ${formatSize(sizeBytes)} at ${diskPath}`
      : `node ${name}: resuming with its disk of ${formatSize(present)} at ${diskPath}`)
    const onLost = lost(`node ${name}`, output)
    const [tcpPort, metricsPort] = [tcpPorts[index]!, metricsPorts[index]!]
    const folder = certificates?.get(name)
    const tls = folder === undefined ? undefined : { dir: folder, apiPort: apiPorts[index]! }
    const ports = { tcpPort, metricsPort }
    return new DevNode({ name, dir, diskPath, diskSizeBytes: sizeBytes, ...ports, store, tls, clusterKey, onLost })
  })
}

const lockOf = ({ folder, lock }: NodePaths): LockedFolder => ({ dir: folder, lock })

function lost(what: string, output: Output): (why: string) => void {
  const name = what.split(' ').at(-1)!
  return (why) => output.note(`${what} is down (${why}); \`holdfast dev start ${name}\` starts it again`)
}

export async function runDev({ arguments: given, output }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: false })
  const wish = { nodes: parseNodes(given.text('nodes')), store: given.text('store'), tls: given.flag('tls') }
  const dir = path.resolve(given.text('dir') ?? DEV_DIR_DEFAULT)
  const shape = devShape(dir, wish)
  const wished = wishedVolumes(given)
  const names = Array.from({ length: shape.nodes }, (_, index) => `n${index + 1}`)
  checkSocketPath(nodePaths(dir, 'n1').nbd)
  makeFolder(dir)
  lockFolder(dir, path.join(dir, 'lock'))
  if (isLone(dir, wish, shape)) {
    output.note(`${dir} was made with one node and resumes as that; another folder (--dir) gets three`)
  }
  await leftoversGone([...names, DEV_STORE].map((name) => nodePaths(dir, name)).map(lockOf), output)
  const disks = disksOf(given, dir, names)
  keepShape(dir, shape)
  warmCompileCache()
  const certificates = shape.tls === true ? devCertificates(dir, names, DEV_STORE) : undefined
  const store = shape.store === 'own'
    ? new DevStore(dir, lost('the cluster store', output), certificates?.get(DEV_STORE)) : undefined
  if (store !== undefined && !(await store.start())) return EXIT_FAILED
  const url = typeof shape.store === 'string' ? store?.ready?.url : shape.store.url
  const cluster = new DevCluster(await prepare(names, { dir, disks, store: url, certificates, output }), store)
  const { nodes } = cluster
  const asked = stopSignal(() => cluster.hurry()).then(() => 'stop' as const)
  let control: net.Server | undefined
  let code: number = EXIT_OK
  try {
    let outcome = await Promise.race([cluster.start(), asked])
    if (outcome === true) {
      for (const node of nodes) output.note(`node ${node.name}: up, pid ${node.ready?.pid}`)
      control = await serveDevSocket(dir, (request, tell) => cluster.actOn(request, tell))
      const volumes = await Promise.race([makeVolumes(nodes, wished, output), asked])
      if (volumes !== 'stop') {
        const facts = { dir, nodes: nodes.map(({ name, ready }) => ({ name, ...ready })), volumes }
        const limits = limitsOf(nodes.map(({ name }) => ({ name, address: '127.0.0.1' })), url ?? '')
        const more = url === undefined ? {} : { store: url }
        output.result({ ready: true, ...facts, ...more }, () => [
          '', 'holdfast ready', ...tryNext(volumes, dir, nodes, limits),
        ])
      }
      outcome = await asked
    }
    if (outcome === false) code = EXIT_FAILED
    else output.note('stopping')
  } catch (error) {
    output.error(error)
    code = EXIT_FAILED
  }
  control?.close()
  await cluster.stop()
  rmSync(devSocketPath(dir), { force: true })
  if (code === EXIT_OK) output.note('stopped')
  process.exit(code)
}
