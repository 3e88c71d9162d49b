/** `holdfast csi controller` as a process, for the length of a test. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Test } from 'tap'
import { MAIN } from '../cli/run-holdfast.ts'
import { temporaryFolder } from '../temporary-folder.ts'

export class ControllerProcess {
  readonly socketPath: string
  /** What it told, a line for each call. */
  log = ''
  private readonly words: string[]
  private child: ChildProcess | undefined

  /** @param endpoint  of the control API; it runs from `start` on  @param more  words */
  constructor(t: Pick<Test, 'teardown'>, endpoint: string, volumesMax = 128, more: readonly string[] = []) {
    this.socketPath = path.join(temporaryFolder(t), 'csi.sock')
    this.words = ['csi', 'controller', '--endpoint', endpoint, '--volumes-max', String(volumesMax), ...more]
    t.teardown(() => this.kill())
  }

  get pid(): number {
    return this.child!.pid!
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [MAIN, ...this.words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH ?? '', CSI_ENDPOINT: `unix://${this.socketPath}` },
    })
    this.child = child
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.log += text))
    const said = once(child.stdout!.setEncoding('utf8'), 'data')
    const ended = once(child, 'exit').then(() => Promise.reject(new Error(`it ended: ${this.log}`)))
    ended.catch(() => undefined)
    await Promise.race([said, ended])
  }

  /** As a host that dies. */
  async kill(): Promise<void> {
    const { child } = this
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
}
