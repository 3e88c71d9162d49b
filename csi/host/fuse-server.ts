/**
 * nbdfuse: an NBD export of a unix socket as the file `disk` in a folder. One process serves one folder, outlives the
 * process that started it, and ends when the folder is unmounted. Found by its command line, which has the path of
 * the folder, so that one which was started just before a kill is not started twice.
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, rmdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import { hostCommand, wordsOf, neededProgram } from './host-command.ts'
import { mountAt } from './mountinfo.ts'

const FILE = 'disk'
const START_WAIT_MS = 30_000
const END_WAIT_MS = 10_000
const LOOK_EVERY_MS = 20
const UNMOUNT_DEADLINE_MS = 60_000

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export interface FuseServerWish {
  /** The export, and where it is served. */
  exportName: string
  socketPath: string
  isReadOnly: boolean
}

export class FuseServer {
  readonly file: string
  readonly #folder: string
  readonly #log: string

  /** @param folder  absolute, without symbolic links */
  constructor(folder: string) {
    this.#folder = folder
    this.file = path.join(folder, FILE)
    this.#log = `${folder}.log`
  }

  /** Its file can be looked at. */
  get isServing(): boolean {
    try {
      return mountAt(this.#folder) !== undefined && statSync(this.file).isFile()
    } catch {
      return false
    }
  }

  /** @throws HoldfastError `tool-missing`, `host-command` */
  async start({ exportName, socketPath, isReadOnly }: FuseServerWish): Promise<void> {
    const what = `show export ${exportName} of ${socketPath} as ${this.file}`
    const program = neededProgram('nbdfuse', what)
    if (this.isServing) return
    // One that another process of ours started, and that has not come so far or is dead.
    await this.end()
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const log = openSync(this.#log, 'w', 0o600)
    const uri = `nbd+unix:///${exportName}?socket=${encodeURI(socketPath)}`
    const words = [...(isReadOnly ? ['--readonly'] : []), this.file, uri]
    const child = spawn(program, words, { stdio: ['ignore', log, log], detached: true, cwd: '/' })
    closeSync(log)
    let ended: string | undefined
    child.on('error', (error) => (ended = error.message))
    child.on('exit', (status, signal) => (ended = signal ?? `status ${status}`))
    child.unref()
    for (let waitedMs = 0; !this.isServing; waitedMs += LOOK_EVERY_MS) {
      if (ended !== undefined || waitedMs > START_WAIT_MS) {
        const reason = wordsOf(readFileSync(this.#log, 'utf8'))
        const outcome = ended === undefined ? `does not serve within ${START_WAIT_MS / 1000} s` : `ended with ${ended}`
        await this.end()
        throw new HoldfastError('host-command', { program: 'nbdfuse', what, outcome: `${outcome}: ${reason}` })
      }
      await pause(LOOK_EVERY_MS)
    }
  }

  /** Its processes are gone, and what waited for them fails. */
  async kill(): Promise<void> {
    for (let pids = this.#processes(); pids.length > 0; pids = this.#processes()) {
      pids.forEach(kill)
      await pause(LOOK_EVERY_MS)
    }
  }

  /** Neither mount nor process nor folder is left. @throws HoldfastError `host-command` */
  async end(): Promise<void> {
    // It ends by itself when its mount is gone; one that has none yet would make one.
    const killAtMs = mountAt(this.#folder) === undefined ? 0 : performance.now() + END_WAIT_MS
    await this.#unmount()
    for (let pids = this.#processes(); pids.length > 0; pids = this.#processes()) {
      if (performance.now() >= killAtMs) pids.forEach(kill)
      await pause(LOOK_EVERY_MS)
    }
    await this.#unmount()
    try {
      rmdirSync(this.#folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    rmSync(this.#log, { force: true })
  }

  async #unmount(): Promise<void> {
    while (mountAt(this.#folder) !== undefined) {
      const run = { what: `unmount ${this.#folder}`, deadlineMs: UNMOUNT_DEADLINE_MS }
      await hostCommand('umount', ['-c', ...(this.isServing ? [] : ['-l']), this.#folder], run)
    }
  }

  #processes(): number[] {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
      const words = commandLine(pid)
      return path.basename(words[0] ?? '') === 'nbdfuse' && words.includes(this.file)
    })
  }
}

/** Empty: it is gone, or a kernel's. */
function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended just now.
  }
}
