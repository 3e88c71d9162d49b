/**
 * The servers of the main suite, each over a file or volume of the same size on the same file system. A peer that is
 * not installed is left out, with the reason.
 *
 *   durable        a volume of ours; a write is answered when it is on stable storage
 *   writeback      a volume of ours; answered after the append
 *   qemu-wt        qemu-nbd --cache=writethrough: a sync behind every write      (peer of `durable`)
 *   qemu-wb        qemu-nbd --cache=writeback: the page cache                    (peer of `writeback`)
 *   nbdkit         nbdkit file: threads over the page cache, the fastest NBD server at hand
 *   psync          no server: fio writes 4 KiB and calls fdatasync, the limit of one durable write at a time
 */
import fs from 'node:fs'
import type { FioCase, FioTarget } from './fio.ts'
import { hasTool, isWrite, prefill } from './fio.ts'
import { HoldfastNode } from './holdfast-node.ts'
import { cpuSeconds } from './process-figures.ts'
import type { Scratch } from './scratch.ts'

export interface Server {
  name: string
  target: FioTarget
  /** Processor time its processes used so far; undefined without a server. */
  cpuSeconds: (() => number) | undefined
  takes(one: FioCase): boolean
}

export interface Servers {
  servers: Server[]
  /** Why a peer is not there. */
  absent: string[]
}

/** Twice what both volumes hold, so that the cleaner has the room an ordinary pool gives it. */
const DISK_FACTOR = 5

export async function startServers(scratch: Scratch, sizeBytes: number): Promise<Servers> {
  const servers: Server[] = []
  const absent: string[] = []
  scratch.needRoom((DISK_FACTOR + 4) * sizeBytes)
  const node = new HoldfastNode({ scratch, name: 'hf', diskBytes: DISK_FACTOR * sizeBytes })
  await node.start()
  for (const durability of ['durable', 'writeback'] as const) {
    await node.createVolume(durability, sizeBytes, durability)
    const target = { uri: node.uri(durability) }
    // Every segment of the log is used once: the others' files are filled where they will be written, too.
    for (let i = 0; i < Math.ceil(DISK_FACTOR / 2); i++) await prefill(scratch, target, sizeBytes)
    servers.push({ name: durability, target, cpuSeconds: () => node.cpuSeconds(), takes: () => true })
  }
  await startPeers(scratch, sizeBytes, ['qemu-wt', 'qemu-wb', 'nbdkit'], { servers, absent })
  servers.push({
    name: 'psync',
    target: { file: await prefilledFile(scratch, 'psync', sizeBytes) },
    cpuSeconds: undefined,
    takes: (one) => one.rw === 'randwrite' && one.queueDepth === 1,
  })
  return { servers, absent }
}

const qemu = (cache: string) => (file: string, socket: string) =>
  ['--persistent', '--shared=8', '--format=raw', `--cache=${cache}`, `--socket=${socket}`, file]

const PEERS = {
  'qemu-wt': { command: 'qemu-nbd', words: qemu('writethrough') },
  'qemu-wb': { command: 'qemu-nbd', words: qemu('writeback') },
  nbdkit: {
    command: 'nbdkit', words: (file: string, socket: string) => ['--foreground', '--unix', socket, 'file', file],
  },
}

/** Other servers, each over a file that is full, added to `found`. */
export async function startPeers(
  scratch: Scratch, sizeBytes: number, names: ReadonlyArray<keyof typeof PEERS>, { servers, absent }: Servers,
): Promise<void> {
  for (const name of names) {
    const { command, words } = PEERS[name]
    if (!hasTool(command)) {
      absent.push(`${name}: ${command} is not installed`)
      continue
    }
    const file = await prefilledFile(scratch, name, sizeBytes)
    const socket = scratch.path(`${name}.sock`)
    const child = await scratch.serve(command, words(file, socket), socket)
    const target = { uri: `nbd+unix:///?socket=${socket}` }
    // A mode of caching changes nothing for reads.
    const takes = (one: FioCase): boolean => name !== 'qemu-wt' || isWrite(one)
    servers.push({ name, target, cpuSeconds: () => cpuSeconds([child.pid!]), takes })
  }
}

async function prefilledFile(scratch: Scratch, name: string, sizeBytes: number): Promise<string> {
  const file = scratch.path(`${name}.raw`)
  fs.closeSync(fs.openSync(file, 'w'))
  await prefill(scratch, { file }, sizeBytes)
  return file
}
