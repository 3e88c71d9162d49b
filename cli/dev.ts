/**
 * `holdfast dev`: a node with one disk file and a volume to try it with, in the foreground. Everything it makes lies in
 * its folder; Ctrl-C stops cleanly and the same folder resumes. It holds the folder's lock, starts the node as
 * `holdfast node` would, makes missing volumes over the control API, and says what to try next.
 */
import { rmSync, statSync, statfsSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { formatSize, parseSize } from '../cluster/api/amounts.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import type { Volume } from '../cluster/api/definition.ts'
import { checkVolumeName, checkVolumeSize } from '../cluster/api/volume-request.ts'
import { warmCompileCache } from '../dataplane/compile-cache.ts'
import { parseDiskSize } from '../dataplane/node-config.ts'
import { checkSocketPath, lockFolder, makeFolder, nodePaths } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import { GIB, MIB } from '../engine/units.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './commands.ts'
import { DEV_DIR_DEFAULT } from './dev-control.ts'
import { DevNode } from './dev-node.ts'
import { devSocketPath, serveDevSocket } from './dev-socket.ts'
import type { DevRequest, DevState } from './dev-socket.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'
import type { Output } from './output.ts'

const DISK_BYTES_DEFAULT = 4 * GIB
/** Beside the disk file: index, logs, and not filling somebody's root file system to the last byte. */
const ROOM_BYTES = 256 * MIB
const TCP_PORT_FIRST = 10809
const TCP_PORTS_TRIED = 200
/** Under `npm start` one Ctrl-C arrives twice: from the terminal, and passed on by npm. */
const SAME_SIGNAL_MS = 500

export interface WishedVolume {
  name: string
  sizeBytes: number
  replicas: string
}

const DEMO: WishedVolume = { name: 'demo', sizeBytes: GIB, replicas: '0' }

/** `NAME:SIZE:REPLICAS`; REPLICAS counts the copies beside the primary and may be left out. */
export function parseWishedVolume(text: string): WishedVolume {
  const [name = '', size = '', replicas = '0', ...more] = text.split(':')
  if (size === '' || more.length > 0) {
    throw usageError(`--volume ${text} is not NAME:SIZE:REPLICAS`, 'e.g. --volume data:2Gi:0')
  }
  checkVolumeName(name)
  const sizeBytes = parseSize(size)
  if (sizeBytes === undefined) throw new HoldfastError('volume-size', { size })
  checkVolumeSize(sizeBytes)
  return { name, sizeBytes, replicas }
}

function wishedVolumes(given: Arguments): WishedVolume[] {
  const wished = given.texts('volume').map(parseWishedVolume)
  return given.flag('no-demo') || wished.some(({ name }) => name === DEMO.name) ? wished : [DEMO, ...wished]
}

function checkNodes(text: string | undefined): void {
  if (text === undefined || text === '1') return
  const instead = 'use --nodes 1'
  if (!/^\d+$/.test(text) || Number(text) === 0) throw usageError(`--nodes ${text} is no number of nodes`, instead)
  throw new HoldfastError('not-supported', { what: `a cluster of ${text} nodes in this version`, instead })
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

/** 10809, or the next loopback port nobody listens on. */
async function freeTcpPort(): Promise<number> {
  for (let port = TCP_PORT_FIRST; port < TCP_PORT_FIRST + TCP_PORTS_TRIED; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const probe = net.createServer()
      probe.once('error', () => resolve(false))
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
    })
    if (free) return port
  }
  throw new HoldfastError('port-busy', { port: `${TCP_PORT_FIRST} to ${TCP_PORT_FIRST + TCP_PORTS_TRIED - 1}` })
}

/** Make what is missing; volumes that are there are left as they are. */
async function makeVolumes(node: DevNode, wished: WishedVolume[], output: Output): Promise<Volume[]> {
  const client = connectControlApi({ socketPath: node.paths.api, source: 'the dev node' })
  try {
    const { volumes } = await client.listVolumes()
    for (const { name, sizeBytes, replicas } of wished) {
      if (volumes.some((volume) => volume.name === name)) continue
      volumes.push(await client.createVolume({ name, sizeBytes, parameters: { replicas } }))
    }
    for (const { name, sizeBytes, usedBytes } of volumes) {
      output.note(`volume ${name}: ${formatSize(sizeBytes)}, ${formatSize(usedBytes)} used`)
    }
    return volumes
  } finally {
    client.close()
  }
}

function tryNext(volumes: Volume[], dir: string): string[] {
  const first = volumes[0]
  const uri = first?.nbd[0]
  const here = dir === path.resolve(DEV_DIR_DEFAULT) ? '' : ` --endpoint ${dir}`
  return [
    ...volumes.flatMap(({ name, nbd }) => nbd.map((place) => `  ${name.padEnd(10)} ${place}`)),
    '',
    'Try next, in another terminal:',
    ...(uri === undefined ? [] : [
      `  nbdinfo '${uri}'`,
      `  fio --name=try --ioengine=nbd '--uri=${uri}' --rw=randwrite --bs=4k --iodepth=32 --size=256m \\`,
      '      --verify=crc32c --verify_state_save=0',
      `  qemu-img convert -n -O raw IMAGE '${uri}'`,
      `  nbdcopy '${uri}' copy.img`,
    ]),
    `  ./holdfast volume create data-1 --size 500Mi${here}`,
    `  ./holdfast status${here}`,
    '',
    'Ctrl-C stops it; the same folder resumes.',
  ]
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

async function actOn(nodes: DevNode[], { word, node: name }: DevRequest): Promise<DevState> {
  const node = nodes.find((candidate) => candidate.name === name)
  if (node === undefined) throw new HoldfastError('node-not-found', { name: JSON.stringify(name) })
  if (word === 'start') {
    if (node.state === 'down') await node.start()
  } else {
    await (word === 'kill' ? node.kill() : node.stop())
  }
  return { node: name, state: node.state }
}

async function prepareNode(given: Arguments, dir: string, output: Output): Promise<DevNode> {
  const name = 'n1'
  const { folder } = nodePaths(dir, name)
  const diskPath = path.join(folder, 'disk0')
  const present = fileBytes(diskPath)
  const size = given.text('size')
  const wantedBytes = size === undefined ? DISK_BYTES_DEFAULT : parseDiskSize(size)
  if (present === undefined) checkRoom(dir, wantedBytes)
  output.note(present === undefined
    ? `node ${name}: making its disk, ${formatSize(wantedBytes)} at ${diskPath}`
    : `node ${name}: resuming with its disk of ${formatSize(present)} at ${diskPath}`)
  return new DevNode({
    name,
    dir,
    diskPath,
    diskSizeBytes: wantedBytes,
    tcpPort: await freeTcpPort(),
    onLost: (why) => output.note(`node ${name} is down (${why}); \`holdfast dev start ${name}\` starts it again`),
  })
}

export async function runDev({ arguments: given, output }: Invocation): Promise<number> {
  checkNodes(given.text('nodes'))
  const wished = wishedVolumes(given)
  const dir = path.resolve(given.text('dir') ?? DEV_DIR_DEFAULT)
  checkSocketPath(nodePaths(dir, 'n1').nbd)
  makeFolder(dir)
  lockFolder(dir, path.join(dir, 'lock'))
  warmCompileCache()
  const node = await prepareNode(given, dir, output)
  const nodes = [node]
  const asked = stopSignal(() => void node.stop())
  const started = node.start()
  const outcome = await Promise.race([started, asked.then(() => 'stop' as const)])
  if (outcome === false) return EXIT_FAILED
  let control: net.Server | undefined
  let code: number = EXIT_OK
  try {
    if (outcome === true) {
      output.note(`node ${node.name}: up, pid ${node.ready?.pid}`)
      const volumes = await makeVolumes(node, wished, output)
      control = await serveDevSocket(dir, (request) => actOn(nodes, request))
      output.result({ ready: true, dir, nodes: nodes.map(({ name, ready }) => ({ name, ...ready })), volumes }, () => [
        '', 'holdfast ready', ...tryNext(volumes, dir),
      ])
      await asked
    }
    output.note('stopping')
  } catch (error) {
    output.error(error)
    code = EXIT_FAILED
  }
  control?.close()
  await Promise.all(nodes.map((each) => each.stop()))
  rmSync(devSocketPath(dir), { force: true })
  output.note('stopped')
  process.exit(code)
}
