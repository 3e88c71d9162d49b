/**
 * `holdfast doctor`: what this host offers and lacks, one line each with what to do. Looks, never changes anything. A
 * `fail` is something Holdfast cannot run without and makes the exit code 1; a `warn` costs speed, comfort or safety
 * under memory pressure.
 */
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { formatSize } from '../cluster/api/amounts.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import type { Node } from '../cluster/api/node-messages.ts'
import { findProgram, HOST_PROGRAMS, packageOf } from '../csi/host/host-command.ts'
import type { HostProgram } from '../csi/host/host-command.ts'
import { kernelNbd } from '../csi/host/kernel-nbd.ts'
import { GIB } from '../engine/units.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { endpointOf, endpointText } from './endpoint.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

export interface Check {
  name: string
  state: 'ok' | 'warn' | 'fail'
  detail: string
  /** Empty when ok. */
  next: string
}

const NODE_MAJOR_LEAST = 24
const OPEN_FILES_LEAST = 4096
const FREE_BYTES_LEAST = 5 * GIB

const ok = (name: string, detail: string): Check => ({ name, state: 'ok', detail, next: '' })
const warn = (name: string, detail: string, next: string): Check => ({ name, state: 'warn', detail, next })
const fail = (name: string, detail: string, next: string): Check => ({ name, state: 'fail', detail, next })

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export function checkNodeVersion(version = process.version): Check {
  const major = Number(/^v(\d+)/.exec(version)?.[1])
  if (major >= NODE_MAJOR_LEAST) return ok('node', `${version} at ${process.execPath}`)
  return fail('node', `${version} is too old`, `use Node ${NODE_MAJOR_LEAST} or later; ./holdfast brings its own`)
}

async function checkChecksum(): Promise<Check> {
  const { describeChecksum } = await import('../dataplane/checksum.ts')
  const { native, sentence } = describeChecksum()
  const next = 'run `npm ci` again with its install scripts allowed'
  return native ? ok('checksum', sentence) : fail('checksum', sentence, next)
}

/** Loaded, loadable, too old, or not there; only `attach` of a kernel device needs it. */
export function checkNbdModule(release = os.release(), root = '/'): Check {
  const found = kernelNbd(release, root)
  if (found.state === 'loaded') return ok('kernel nbd', 'the module is loaded')
  if (found.state === 'loadable') return ok('kernel nbd', 'the module is there and can be loaded (`modprobe nbd`)')
  const next = `needed for kernel devices only, user-space clients work; the way to get it here: ${found.way}`
  const lack = found.state === 'old' ? 'is too old for devices of its NBD client' : 'has no nbd module here'
  return warn('kernel nbd', `kernel ${release} ${lack}`, next)
}

/** @param limits text of /proc/self/limits */
export function checkOpenFiles(limits = readText('/proc/self/limits')): Check {
  const match = /^Max open files\s+(\S+)\s+(\S+)/m.exec(limits)
  const soft = match?.[1] === 'unlimited' ? Infinity : Number(match?.[1] ?? NaN)
  if (soft >= OPEN_FILES_LEAST) return ok('open files', `limit ${match?.[1]}`)
  return warn('open files', `limit ${match?.[1] ?? 'unknown'} (hard ${match?.[2] ?? 'unknown'})`,
    `raise it to ${OPEN_FILES_LEAST} for many connections (\`ulimit -n\`, LimitNOFILE=)`)
}

/** CAP_SYS_RESOURCE is what PR_SET_IO_FLUSHER asks for; a running node says how it went. */
export function checkIoFlusher(node: Node | undefined, status = readText('/proc/self/status')): Check {
  const next = 'run the node as root or with CAP_SYS_RESOURCE; else memory reclaim may wait for its own volumes'
  if (node !== undefined) {
    return node.ioFlusher === 'set' ? ok('io flusher', `set for node ${node.name}`)
      : warn('io flusher', `refused for node ${node.name}`, next)
  }
  const effective = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`)
  const sysResource = (effective >> 24n) & 1n
  return sysResource === 1n ? ok('io flusher', 'this user may set it')
    : warn('io flusher', 'this user lacks CAP_SYS_RESOURCE', next)
}

/** What a volume is formatted, checked and mounted with; nbdfuse is for `--device fuse` alone. */
export function checkHostPrograms(find: (program: HostProgram) => string | undefined = findProgram): Check {
  const missing = HOST_PROGRAMS.filter((program) => program !== 'nbdfuse' && find(program) === undefined)
  if (missing.length === 0) return ok('file systems', 'mount, ext4 and xfs: every program is there')
  const packages = [...new Set(missing.map(packageOf))].join(' ')
  return warn('file systems', `not found: ${missing.join(', ')}; a volume is not mounted without`,
    `apt-get install ${packages}`)
}

function checkSpace(place: string): Check {
  const { bavail, bsize } = statfsSync(place)
  const free = bavail * bsize
  const detail = `${formatSize(free)} free at ${place}`
  return free >= FREE_BYTES_LEAST ? ok('space', detail)
    : warn('space', detail, `a dev folder takes ${formatSize(FREE_BYTES_LEAST)}; use --size or another --dir`)
}

function findTool(tool: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(':')) {
    const candidate = path.join(folder, tool)
    try {
      accessSync(candidate, constants.X_OK)
      return candidate
    } catch {
      continue
    }
  }
  return undefined
}

const TOOLS: Array<[tool: string, debianPackage: string, use: string]> = [
  ['fio', 'fio', 'benchmarks and verified load'],
  ['nbdinfo', 'libnbd-bin', 'looking at exports'],
  ['nbdcopy', 'libnbd-bin', 'copying volumes out and in'],
  ['qemu-img', 'qemu-utils', 'converting and comparing images'],
]

function checkTool([tool, debianPackage, use]: [string, string, string]): Check {
  const found = findTool(tool)
  if (found !== undefined) return ok(tool, found)
  return warn(tool, `not found; it serves ${use}`, `apt-get install ${debianPackage}`)
}

/** A daemon is not needed; when one answers, it is asked. */
async function askNode(given: Arguments): Promise<{ check: Check; node: Node | undefined }> {
  try {
    const endpoint = await endpointOf(given)
    const client = connectControlApi(endpoint, 5000)
    try {
      const node = (await client.listNodes()).nodes[0]
      return { check: ok('daemon', `node ${node?.name} answers at ${endpointText(endpoint)}`), node }
    } finally {
      client.close()
    }
  } catch (error) {
    const asked = given.text('endpoint') !== undefined
    const { message } = error as Error
    return {
      check: asked ? fail('daemon', message, 'name one that runs') : ok('daemon', 'none is running here'),
      node: undefined,
    }
  }
}

export async function runDoctor({ arguments: given, output }: Invocation): Promise<number> {
  const { check: daemon, node } = await askNode(given)
  const checks: Check[] = [
    checkNodeVersion(),
    await checkChecksum(),
    checkOpenFiles(),
    checkIoFlusher(node),
    checkNbdModule(),
    checkHostPrograms(),
    checkSpace(node?.folder ?? process.cwd()),
    daemon,
    ...TOOLS.map(checkTool),
  ]
  output.result({ checks }, () => checks.map(({ name, state, detail, next }) =>
    `${state.padEnd(5)} ${name.padEnd(12)} ${detail}${next === '' ? '' : `; ${next}`}`))
  return checks.some(({ state }) => state === 'fail') ? EXIT_FAILED : EXIT_OK
}
