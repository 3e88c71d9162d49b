/** `holdfast csi node --device fuse` as a process, for the length of a test; in the mount namespace of the test. */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { FuseDevices } from '../../csi/host/fuse-devices.ts'
import { readMounts } from '../../csi/host/mountinfo.ts'
import type { Mount } from '../../csi/host/mountinfo.ts'
import { MAIN } from '../cli/run-holdfast.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** What a test that failed has left. */
async function cleanUp(folder: string): Promise<void> {
  const isOurs = ({ mountPoint }: Mount): boolean => mountPoint.startsWith(`${folder}/kubelet/`)
  for (const { mountPoint } of readMounts().filter(isOurs).reverse()) spawnSync('umount', ['-l', mountPoint])
  const devices = new FuseDevices({ stateFolder: path.join(folder, 'state'), blockSizeOf: () => Promise.resolve(512) })
  for (const { volumeId } of await devices.list()) await devices.detach(volumeId)
}

export interface NodeProcessOptions {
  /** api.sock of the node of this host. */
  endpoint: string
  volumesMax?: number
}

export class NodeProcess {
  readonly socketPath: string
  readonly kubelet: string
  /** What it told, a line for each call. */
  log = ''
  readonly #words: string[]
  #child: ChildProcess | undefined

  /** It runs from `start` on. */
  constructor(t: Pick<Test, 'teardown'>, { endpoint, volumesMax = 128 }: NodeProcessOptions) {
    const folder = temporaryFolder(t)
    this.socketPath = path.join(folder, 'node.sock')
    this.kubelet = path.join(folder, 'kubelet')
    mkdirSync(this.kubelet)
    this.#words = [
      'csi', 'node', '--csi-endpoint', `unix://${this.socketPath}`, '--endpoint', endpoint, '--device', 'fuse',
      '--kubelet-dir', this.kubelet, '--state', path.join(folder, 'state'), '--volumes-max', String(volumesMax),
    ]
    t.teardown(async () => {
      await this.kill()
      await cleanUp(folder)
    })
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [MAIN, ...this.#words], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.log += text))
    const said = once(child.stdout!.setEncoding('utf8'), 'data')
    const ended = once(child, 'exit').then(() => Promise.reject(new Error(`it ended: ${this.log}`)))
    ended.catch(() => undefined)
    await Promise.race([said, ended])
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
}
