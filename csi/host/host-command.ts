/**
 * Programs of the host (mkfs, fsck, mount, losetup ...): found by name, run as child processes under a deadline, killed
 * by process id, and their failure is a sentence with what they complained of.
 *
 * Invariants: no shell reads a word of ours. A run is over only when its process is: one that was killed and hangs in
 * the kernel is waited for, so that nobody begins the same step a second time beside it. What a program prints is
 * kept to a bound.
 */
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'

/** Each program that is ever run, and the Debian package that has it. */
const PACKAGES = {
  'blkid': 'util-linux',
  'e2fsck': 'e2fsprogs',
  'losetup': 'mount',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  'mount': 'mount',
  'nbdfuse': 'libnbd-bin',
  'resize2fs': 'e2fsprogs',
  'sync': 'coreutils',
  'umount': 'mount',
  'xfs_growfs': 'xfsprogs',
} as const

export type HostProgram = keyof typeof PACKAGES
export const packageOf = (program: HostProgram): string => PACKAGES[program]
export const HOST_PROGRAMS = Object.keys(PACKAGES) as HostProgram[]

/** Where distributions keep them; a service may have been started with any PATH. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin']
const OUTPUT_BYTES_MAX = 256 * 1024
/** Of what it complained of: so much of the beginning, and of the end. */
const FIRST_CHARACTERS_MAX = 200
const LAST_CHARACTERS_MAX = 400
const VERSION_DEADLINE_MS = 10_000

export interface HostRun {
  /** For sentences: what it is to do, e.g. `make a file system on /dev/nbd0`. */
  what: string
  deadlineMs: number
  /** From the deadline on it is asked to end (SIGTERM), and killed only after so long; 0: killed at once. */
  endsMs?: number
  /** Exit statuses that are an answer, besides 0. */
  allow?: readonly number[]
}

export interface HostOutcome {
  status: number
  stdout: string
  stderr: string
}

/** Undefined: it is not installed. */
export function findProgram(program: HostProgram, search = process.env.PATH ?? ''): string | undefined {
  const folders = [...search.split(':').filter((folder) => path.isAbsolute(folder)), ...SYSTEM_FOLDERS]
  for (const folder of folders) {
    const file = path.join(folder, program)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // Not in this one.
    }
  }
  return undefined
}

/** Its path. @throws HoldfastError `tool-missing` */
export function neededProgram(program: HostProgram, what: string): string {
  const file = findProgram(program)
  if (file !== undefined) return file
  const instead = 'the package of that program on this distribution'
  throw new HoldfastError('tool-missing', { tool: program, what, package: PACKAGES[program], instead })
}

/**
 * Run it to its end.
 * @throws HoldfastError `tool-missing`, or `host-command`: it could not start, failed, or did not end in time
 */
export async function hostCommand(
  program: HostProgram, words: readonly string[], { what, deadlineMs, endsMs = 0, allow = [] }: HostRun,
): Promise<HostOutcome> {
  const file = neededProgram(program, what)
  const failure = (outcome: string): HoldfastError => new HoldfastError('host-command', { program, what, outcome })
  const { outcome, isLate } = await run(file, words, deadlineMs, endsMs).catch((error: NodeJS.ErrnoException) => {
    throw failure(`did not start (${error.code ?? error.message})`)
  })
  const { status, stdout, stderr } = outcome
  if (isLate) {
    const said = wordsOf(stderr)
    const words = said === '' ? '' : `, having said: ${said}`
    throw failure(`did not end within ${deadlineMs / 1000} s and was ended${words}`)
  }
  if (status === 0 || allow.includes(status)) return outcome
  const said = wordsOf(stderr) || wordsOf(stdout) || 'it said nothing'
  throw failure(`ended with status ${status}: ${said}`)
}

const versions = new Map<string, string>()

/** First line of what it says of itself; undefined: it is not installed. Asked once in the life of a process. */
export async function programVersion(program: HostProgram): Promise<string | undefined> {
  const file = findProgram(program)
  if (file === undefined) return undefined
  const known = versions.get(file)
  if (known !== undefined) return known
  // The tools of e2fsprogs and xfsprogs know -V, the others --version.
  const word = /^(?:mkfs|e2fsck|xfs_)/.test(program) ? '-V' : '--version'
  const { outcome } = await run(file, [word], VERSION_DEADLINE_MS)
  const line = `${outcome.stdout}\n${outcome.stderr}`.split('\n').map((one) => one.trim()).find((one) => one !== '')
  const version = line ?? 'of an unknown version'
  versions.set(file, version)
  return version
}

/** In one line, its beginning and its end: mkfs says what is wrong first, and then how it is used. */
export function wordsOf(text: string): string {
  const line = text.trim().split('\n').map((line) => line.trim()).filter((line) => line !== '').join('; ')
  if (line.length <= FIRST_CHARACTERS_MAX + LAST_CHARACTERS_MAX) return line
  return `${line.slice(0, FIRST_CHARACTERS_MAX)} ... ${line.slice(-LAST_CHARACTERS_MAX)}`
}

/** Rejects only when there never was a process. */
function run(
  file: string, words: readonly string[], deadlineMs: number, endsMs = 0,
): Promise<{ outcome: HostOutcome; isLate: boolean }> {
  return new Promise((resolve, reject) => {
    // A group of its own: a signal for us is not one for it, and what it started goes with it.
    const child = spawn(file, words, {
      stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, LC_ALL: 'C' }, cwd: '/',
    })
    const said = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].on('data', (bytes: Buffer) => {
        said[stream] = (said[stream] + bytes.toString('latin1')).slice(-OUTPUT_BYTES_MAX)
      })
    }
    let isLate = false
    let timer = setTimeout(() => {
      isLate = true
      if (endsMs === 0) return signalGroup(child.pid!, 'SIGKILL')
      signalGroup(child.pid!, 'SIGTERM')
      timer = setTimeout(() => signalGroup(child.pid!, 'SIGKILL'), endsMs)
    }, deadlineMs)
    child.on('error', (error) => {
      clearTimeout(timer)
      if (child.pid === undefined) reject(error)
    })
    child.on('exit', () => clearTimeout(timer))
    child.on('close', (status, signal) => {
      const killed = signal === null ? '' : `it was ended by ${signal}`
      const stderr = [said.stderr, killed].filter((text) => text !== '').join('\n')
      resolve({ outcome: { status: status ?? -1, stdout: said.stdout, stderr }, isLate })
    })
  })
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // It ended just now.
  }
}
