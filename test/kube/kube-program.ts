/** A program of Kubernetes as a process of a test: what it says goes to a file, and it ends with the test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { pathOf } from './kube-binaries.ts'
import type { Program } from './kube-binaries.ts'

export interface KubeProgramOptions {
  words: readonly string[]
  env?: Record<string, string>
  /** Of what it says. */
  folder: string
}

export class KubeProgram {
  readonly program: Program
  readonly #log: string
  readonly #child: ReturnType<typeof spawn>

  constructor(t: Pick<Test, 'teardown'>, program: Program, { words, env = {}, folder }: KubeProgramOptions) {
    this.program = program
    this.#log = path.join(folder, `${program}.log`)
    const log = openSync(this.#log, 'a')
    const options = { env: { ...process.env, ...env } }
    this.#child = spawn(pathOf(program), words, { ...options, cwd: folder, stdio: ['ignore', log, log] })
    t.teardown(() => this.#end())
  }

  /** All that it said. */
  get said(): string {
    return readFileSync(this.#log, 'utf8')
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async #end(): Promise<void> {
    if (this.hasEnded) return
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await closed
  }
}
