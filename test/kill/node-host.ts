/**
 * A node that is to be killed: `holdfast node` as a child, started again by us when its supervisor is killed too. Knows
 * its pids by the files it writes, waits for its deaths, and damages its index while it is down.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync, existsSync, openSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeSync,
} from 'node:fs'
import path from 'node:path'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Ready } from '../../dataplane/daemon-start.ts'
import { nodePaths } from '../../dataplane/node-folder.ts'
import type { NodePaths } from '../../dataplane/node-folder.ts'
import { processGone } from '../dataplane/node-process.ts'

const MAIN = path.resolve(import.meta.dirname, '../../cli/main.ts')
const POLL_MS = 2
const READY_MS = 60_000

export class NodeHost {
  readonly paths: NodePaths
  readonly #words: string[]
  #child: ChildProcess | undefined
  #ended: Promise<unknown> = Promise.resolve()
  /** The daemon that served last. */
  #readyPid = 0
  stderr = ''

  /** @param words of `holdfast node`, without --name and --dir */
  constructor(dir: string, words: string[]) {
    this.paths = nodePaths(dir, 'n1')
    this.#words = ['node', '--name', 'n1', '--dir', dir, ...words]
  }

  start(extra: string[] = []): void {
    const words = [MAIN, ...this.#words, ...extra]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.#child = child
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    child.on('message', (ready: Ready) => {
      this.#readyPid = ready.pid
    })
    this.#ended = once(child, 'close')
  }

  get pid(): number {
    try {
      return Number(readFileSync(this.paths.pid, 'utf8'))
    } catch {
      return 0
    }
  }

  /** A daemon other than `former` is there, serving or not yet. */
  async spawned(former: number): Promise<number> {
    return this.#until(() => this.pid !== former && this.pid !== 0 ? this.pid : undefined, 'no daemon was started')
  }

  /** A daemon other than `former` serves. */
  async ready(former: number): Promise<number> {
    return this.#until(() => this.#readyPid !== former && this.#readyPid === this.pid ? this.#readyPid : undefined,
      'the node does not get ready')
  }

  /** kill -9 of the daemon, as soon as there is one. @returns its pid */
  async killDaemon(): Promise<number> {
    const pid = await this.spawned(0)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended itself just now, to rebuild a damaged index.
    }
    await processGone(pid)
    return pid
  }

  /** kill -9 of the supervisor; the kernel sends the daemon after it. */
  async killNode(): Promise<number> {
    const pid = this.pid
    this.#child?.kill('SIGKILL')
    await this.#ended
    if (pid !== 0) await processGone(pid)
    return pid
  }

  /** SIGTERM. @returns the exit code, and how long it took */
  async stop(): Promise<{ code: number | null; tookMs: number }> {
    const startedMs = performance.now()
    this.#child?.kill('SIGTERM')
    await this.#ended
    return { code: this.#child?.exitCode ?? null, tookMs: performance.now() - startedMs }
  }

  client(): ControlClient {
    return connectControlApi({ socketPath: this.paths.api, source: 'the test' }, 20_000)
  }

  /** Bugs and refusals that the daemon wrote down itself. */
  complaints(): string[] {
    const logs = [`${this.paths.log}.1`, this.paths.log].filter((file) => existsSync(file))
    const lines = logs.flatMap((file) => readFileSync(file, 'utf8').trim().split('\n'))
    return lines.filter((line) => /"level":"error"/.test(line))
  }

  deleteIndex(): void {
    rmSync(this.paths.index, { recursive: true, force: true })
  }

  /** One file of the index is cut, overwritten in places, or removed. @returns what was done */
  damageIndex(random: () => number): string {
    const files = readdirSync(this.paths.index, { recursive: true, encoding: 'utf8' })
      .map((name) => path.join(this.paths.index, name))
      .filter((file) => statSync(file).isFile() && path.basename(file) !== 'LOCK')
    const file = files[Math.floor(random() * files.length)]
    if (file === undefined) return 'there is no index to damage'
    const bytes = statSync(file).size
    const name = path.relative(this.paths.index, file)
    const kind = random()
    if (kind < 0.2) {
      rmSync(file)
      return `${name} removed`
    }
    if (kind < 0.6) {
      const left = Math.floor(random() * bytes)
      truncateSync(file, left)
      return `${name} cut from ${bytes} to ${left} bytes`
    }
    const fd = openSync(file, 'r+')
    const at = Math.floor(random() * bytes)
    writeSync(fd, Buffer.alloc(Math.max(1, Math.min(64, bytes - at)), Math.floor(random() * 256)), 0, undefined, at)
    closeSync(fd)
    return `${name} overwritten at byte ${at} of ${bytes}`
  }

  async #until<T>(look: () => T | undefined, otherwise: string): Promise<T> {
    const startedMs = performance.now()
    for (;;) {
      const found = look()
      if (found !== undefined) return found
      const ended = this.#child?.exitCode ?? this.#child?.signalCode ?? null
      if (ended !== null || performance.now() - startedMs > READY_MS) {
        const said = `${this.stderr}\n${this.complaints().slice(-5).join('\n')}`
        throw new Error(`${otherwise} (supervisor: ${ended ?? 'runs'}): ${said}`)
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }
}
