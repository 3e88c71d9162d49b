/**
 * Servers that are not ours, each over a file of the same size on the same file system that was written in full. One
 * that is not installed is left out, with the reason.
 *
 *   qemu-wt   qemu-nbd --cache=writethrough: a sync behind every write      (peer of `durable`)
 *   qemu-wb   qemu-nbd --cache=writeback: the page cache                    (peer of `writeback`)
 *   nbdkit    nbdkit file: threads over the page cache, the fastest NBD server at hand
 *   bare      no server: fio itself by libaio, one fdatasync for each queue of writes, the limit of gathering
 *   psync     no server: fio writes and calls fdatasync, the limit of one durable write at a time
 */
import fs from 'node:fs'
import type { FioCase } from './cases.ts'
import { hasTool, prefill, type FioTarget } from './fio.ts'
import { cpuSeconds } from './process-figures.ts'
import type { Scratch } from './scratch.ts'

export interface Server {
  name: string
  /** The first one holds `sizeBytes`; further ones, where there are any, their share of that. */
  targets: FioTarget[]
  /** Processor time its processes used so far; undefined without a server. */
  cpuSeconds: (() => number) | undefined
  takes(one: FioCase): boolean
  /** Done just before each run. */
  prepare?: () => Promise<void>
}

export interface Servers {
  servers: Server[]
  /** `NAME: why it is not there`. */
  absent: string[]
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
const FILES = { bare: 'queue', psync: 'each' } as const

export const PEER_NAMES: readonly string[] = [...Object.keys(PEERS), ...Object.keys(FILES)]
/** Debian's. */
export const PEER_PACKAGES = ['fio', 'qemu-utils', 'nbdkit']

export interface Wanted {
  name: string
  /** Bytes of each of its volumes or files, the first one's first. */
  sizes: readonly number[]
  takes(one: FioCase): boolean
}

/** Those of `wanted` that are peers, added to `found`. @param prefix  of their files */
export async function startPeers(
  scratch: Scratch, wanted: readonly Wanted[], found: Servers, prefix = '',
): Promise<void> {
  for (const { name, sizes, takes } of wanted) {
    if (name in FILES) {
      const sync = FILES[name as keyof typeof FILES]
      const targets = await Promise.all(
        sizes.map(async (size, i) => ({ file: await fullFile(scratch, `${prefix}${name}-${i}`, size), sync })),
      )
      found.servers.push({ name, targets, cpuSeconds: undefined, takes })
    } else if (name in PEERS) {
      const { command, words } = PEERS[name as keyof typeof PEERS]
      if (!hasTool(command)) {
        found.absent.push(`${name}: ${command} is not installed`)
        continue
      }
      const targets: FioTarget[] = []
      const pids: number[] = []
      for (const [i, size] of sizes.entries()) {
        const socket = scratch.path(`${prefix}${name}-${i}.sock`)
        const file = await fullFile(scratch, `${prefix}${name}-${i}`, size)
        pids.push((await scratch.serve(command, words(file, socket), socket)).pid!)
        targets.push({ uri: `nbd+unix:///?socket=${socket}` })
      }
      found.servers.push({ name, targets, cpuSeconds: () => cpuSeconds(pids), takes })
    }
  }
}

async function fullFile(scratch: Scratch, name: string, sizeBytes: number): Promise<string> {
  const file = scratch.path(`${name}.raw`)
  fs.closeSync(fs.openSync(file, 'w'))
  await prefill(scratch, { file, sync: 'none' }, sizeBytes)
  return file
}
