/** `holdfast dev` as a child of a test, with what it says. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { MAIN } from './run-holdfast.ts'

export class DevProcess {
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>
  #wake: () => void = () => {}
  stdout = ''
  stderr = ''

  constructor(t: Test, cwd: string, words: string[] = [], env: Record<string, string> = {}) {
    this.#child = spawn(process.execPath, [MAIN, 'dev', ...words], { cwd, env: { ...process.env, ...env } })
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.#wake()
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.#ended = once(this.#child, 'close').then(([code]) => {
      this.#wake()
      return code as number | null
    })
    t.teardown(async () => {
      this.#child.kill('SIGKILL')
      await this.#ended
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  async says(words: RegExp): Promise<boolean> {
    while (!words.test(this.stdout)) {
      if (this.#child.exitCode !== null) return false
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return true
  }

  interrupt(): Promise<number | null> {
    this.#child.kill('SIGINT')
    return this.#ended
  }

  ended(): Promise<number | null> {
    return this.#ended
  }
}
