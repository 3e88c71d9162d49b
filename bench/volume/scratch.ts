/**
 * The folder of a run and the processes it started. However the run ends (done, failed, Ctrl-C) the processes are
 * killed and the folder is removed.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'

const START_DEADLINE_MS = 15_000
const POLL_MS = 20

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export class Scratch {
  readonly dir: string
  readonly #children = new Set<ChildProcess>()
  /** Processes that are not children of ours: a daemon is its supervisor's. */
  readonly #others = new Set<number>()

  constructor(parent: string) {
    fs.mkdirSync(parent, { recursive: true })
    this.dir = fs.mkdtempSync(path.join(parent, 'hfb-'))
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        this.remove()
        process.exit(1)
      })
    }
    process.on('exit', () => this.remove())
  }

  path(...parts: string[]): string {
    return path.join(this.dir, ...parts)
  }

  /** Refuses when the file system has less than this to spare. */
  needRoom(bytes: number): void {
    const { bavail, bsize } = fs.statfsSync(this.dir)
    const free = bavail * bsize
    if (free < bytes) throw new HoldfastError('no-room', { dir: this.dir, free, needed: bytes })
  }

  keep(child: ChildProcess): ChildProcess {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  watchOver(pid: number): void {
    this.#others.add(pid)
  }

  gone(pid: number): void {
    this.#others.delete(pid)
  }

  /** Start a server and wait until its socket accepts. */
  async serve(command: string, args: string[], socketPath: string): Promise<ChildProcess> {
    const child = this.keep(spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] }))
    let errors = ''
    child.stderr!.on('data', (bytes: Buffer) => {
      errors += bytes.toString()
    })
    let failed: Error | undefined
    child.on('error', (error) => {
      failed = error
    })
    for (const deadline = Date.now() + START_DEADLINE_MS; !(await accepts(socketPath)); await pause(POLL_MS)) {
      if (failed !== undefined) throw failed
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${command} did not start: ${errors}`)
    }
    return child
  }

  async end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    await once(child, 'exit')
  }

  /** Give the space of something back before the end. */
  drop(name: string): void {
    fs.rmSync(this.path(name), { recursive: true, force: true })
  }

  remove(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const pid of this.#others) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // Gone already.
      }
    }
    fs.rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath, () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
