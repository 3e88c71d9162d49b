/**
 * A real node for tests: `holdfast node` as a child with its daemon, a small disk file, everything in a temporary
 * folder. The end of the test kills what is left and says so when something stayed.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Ready, Waits } from '../../dataplane/daemon-start.ts'
import { nodePaths } from '../../dataplane/node-folder.ts'
import type { NodePaths } from '../../dataplane/node-folder.ts'

const MAIN = path.resolve(import.meta.dirname, '../../cli/main.ts')
export const DISK_BYTES = 512 * 2 ** 20

export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
}

export class NodeProcess {
  readonly dir: string
  readonly paths: NodePaths
  readonly #child: ChildProcess
  readonly #ended: Promise<Ending>
  readonly #readies: Ready[] = []
  #wake: () => void = () => {}
  stderr = ''

  /** @param extra further words of `holdfast node`; `--disk` is added unless there is one */
  constructor(t: Test, dir: string, extra: string[] = []) {
    this.dir = dir
    this.paths = nodePaths(dir, 'n1')
    const disk = `path=${path.join(dir, 'disk0')}${existsSync(path.join(dir, 'disk0')) ? '' : `,size=${DISK_BYTES}`}`
    const ownDisk = extra.includes('--disk') ? [] : ['--disk', disk]
    const words = ['node', '--name', 'n1', '--dir', dir, ...ownDisk, ...extra]
    this.#child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.#child.on('message', (ready: Ready | Waits) => {
      if (ready.kind === 'waits') return
      this.#readies.push(ready)
      this.#wake()
    })
    this.#ended = once(this.#child, 'close').then(([code, signal]) => {
      this.#wake()
      return { code, signal } as Ending
    })
    t.teardown(async () => {
      this.#child.kill('SIGKILL')
      await this.#ended
    })
  }

  get supervisorPid(): number {
    return this.#child.pid!
  }

  /** The next time its daemon serves, or undefined when the node ended instead. */
  async ready(): Promise<Ready | undefined> {
    while (this.#readies.length === 0) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#readies.shift()
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  ended(): Promise<Ending> {
    return this.#ended
  }

  client(t: Test): ControlClient {
    const client = connectControlApi({ socketPath: this.paths.api, source: 'from the test' }, 20_000)
    t.teardown(() => client.close())
    return client
  }

  log(): Array<{ message: string }> {
    const lines = readFileSync(this.paths.log, 'utf8').trim().split('\n')
    return lines.map((line) => JSON.parse(line) as { message: string })
  }
}

/** Whether a process is there and is not a corpse that waits for its parent. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

/** Resolves when the process is gone; the kernel offers no event for a process that is not ours. */
export async function processGone(pid: number): Promise<void> {
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 5))
}
