/**
 * A real node for a benchmark: `holdfast node` with its supervisor and daemon, a disk file, and nothing that an
 * ordinary node does not have.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { connectControlApi, type ControlClient } from '../../cluster/api/client.ts'
import { warmCompileCache, withCompileCache } from '../../dataplane/compile-cache.ts'
import type { Ready } from '../../dataplane/daemon-start.ts'
import { nodePaths, type NodePaths } from '../../dataplane/node-folder.ts'
import type { Durability } from '../../engine/volume/volume-spec.ts'
import { cpuSeconds } from './process-figures.ts'
import { pause, type Scratch } from './scratch.ts'

const MAIN = path.resolve(import.meta.dirname, '../../cli/main.ts')
const GONE_POLL_MS = 2

export interface NodeOptions {
  scratch: Scratch
  /** Folder below the scratch folder. */
  name: string
  /** Size of the disk file, made when it is not there. */
  diskBytes: number
  /** For profiles: options for every Node process of it. */
  nodeOptions?: string
  /** Further ones of `holdfast node`. */
  words?: readonly string[]
}

export class HoldfastNode {
  readonly paths: NodePaths
  readonly diskPath: string
  readonly #options: NodeOptions
  #child: ChildProcess | undefined
  #daemonPid = 0
  #tcpPort: number | undefined
  #client: ControlClient | undefined

  constructor(options: NodeOptions) {
    const dir = options.scratch.path(options.name)
    this.#options = options
    this.paths = nodePaths(dir, 'n1')
    this.diskPath = path.join(dir, 'disk0')
  }

  /** Resolves when the daemon serves. */
  async start(): Promise<void> {
    warmCompileCache()
    await this.launch()
  }

  /** The same without preparing anything, for whoever measures it. */
  async launch(): Promise<void> {
    const { scratch, diskBytes, nodeOptions, words: further = [] } = this.#options
    const size = fs.existsSync(this.diskPath) ? '' : `,size=${diskBytes}`
    const dir = path.dirname(this.diskPath)
    const words = ['node', '--name', 'n1', '--dir', dir, '--disk', `path=${this.diskPath}${size}`, ...further]
    const child = scratch.keep(
      spawn(process.execPath, [MAIN, ...words], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        env: {
          ...withCompileCache(process.env),
          ...(nodeOptions === undefined ? {} : { NODE_OPTIONS: nodeOptions }),
        },
      }),
    )
    this.#child = child
    const ready = await new Promise<Ready | undefined>((resolve) => {
      child.once('message', (message: Ready) => resolve(message))
      child.once('exit', () => resolve(undefined))
    })
    if (ready === undefined) throw new Error(`the node did not start; see ${this.paths.log}`)
    this.#daemonPid = ready.pid
    this.#tcpPort = ready.tcp?.port
    scratch.watchOver(ready.pid)
  }

  get daemonPid(): number {
    return this.#daemonPid
  }

  /** Of NBD, where it listens for it. */
  get tcpPort(): number | undefined {
    return this.#tcpPort
  }

  get supervisorPid(): number {
    return this.#child!.pid!
  }

  get pids(): number[] {
    return [this.supervisorPid, this.#daemonPid]
  }

  get client(): ControlClient {
    return (this.#client ??= connectControlApi({ socketPath: this.paths.api, source: 'the benchmark' }))
  }

  cpuSeconds(): number {
    return cpuSeconds(this.pids)
  }

  async createVolume(name: string, sizeBytes: number, durability: Durability): Promise<void> {
    await this.client.createVolume({ name, sizeBytes, parameters: { replicas: '0', durability } })
  }

  uri(volume: string): string {
    return `nbd+unix:///${volume}?socket=${this.paths.nbd}`
  }

  /** Cleanly. */
  async stop(): Promise<void> {
    this.#closeClient()
    await this.#options.scratch.end(this.#child!)
    this.#options.scratch.gone(this.#daemonPid)
  }

  /** As a host that loses power, but for the page cache: supervisor and daemon at once. */
  async kill(): Promise<void> {
    this.#closeClient()
    const ended = once(this.#child!, 'exit')
    this.#child!.kill('SIGKILL')
    process.kill(this.#daemonPid, 'SIGKILL')
    await ended
    while (fs.existsSync(`/proc/${this.#daemonPid}/fd/0`)) await pause(GONE_POLL_MS)
    this.#options.scratch.gone(this.#daemonPid)
  }

  #closeClient(): void {
    this.#client?.close()
    this.#client = undefined
  }
}
