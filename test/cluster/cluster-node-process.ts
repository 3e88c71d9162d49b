/** A node of a cluster from the side of a test: its supervisor as a child, its daemon below that, both to be killed. */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Ready, Waits } from '../../dataplane/daemon-start.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'
import { nodePaths } from '../../dataplane/node-folder.ts'
import type { NodePaths } from '../../dataplane/node-folder.ts'
import { processGone } from '../dataplane/node-process.ts'

export const NODE_MAIN = path.join(import.meta.dirname, 'node-main.ts')
const LOOPBACK = { host: '127.0.0.1', port: 0 }

export interface LogLine {
  level: string
  message: string
  [field: string]: unknown
}

export interface ClusterNodeOptions {
  dir: string
  diskBytes: number
  store: string
  change?: Partial<NodeConfig> | undefined
  /** Of its processes, beside that of ours. */
  env?: Record<string, string> | undefined
}

export function configOfNode(name: string, { dir, diskBytes, store, change }: ClusterNodeOptions): NodeConfig {
  return {
    name,
    dir,
    zone: '',
    disks: [{ path: path.join(dir, `${name}.disk`), sizeBytes: diskBytes, pool: 'default', tags: [] }],
    listenTcp: undefined,
    workers: 1,
    cluster: { store, listenPeer: LOOPBACK, listenApi: LOOPBACK },
    ...change,
  }
}

export class ClusterNodeProcess {
  readonly name: string
  readonly paths: NodePaths
  readonly config: NodeConfig
  /** A command that runs its supervisor, e.g. in a namespace of its own. */
  under: string[] = []
  readonly #env: NodeJS.ProcessEnv
  stderr = ''
  #child: ChildProcess | undefined
  #ended: Promise<unknown> = Promise.resolve()
  #ready: Array<(ready: Ready) => void> = []
  #pid = 0

  constructor(name: string, options: ClusterNodeOptions) {
    this.name = name
    this.#env = { ...process.env, ...options.env }
    this.paths = nodePaths(options.dir, name)
    this.config = configOfNode(name, options)
  }

  get isUp(): boolean {
    return this.#child !== undefined
  }

  /** Of the daemon that served last. */
  get pid(): number {
    return this.#pid
  }

  /** The supervisor, and with it a daemon. */
  spawn(): void {
    const [command, ...words] = [...this.under, process.execPath]
    const child = fork(NODE_MAIN, {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: this.#env, execPath: command!, execArgv: words,
    })
    this.#child = child
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    child.on('message', (ready: Ready | Waits) => {
      if (ready.kind === 'waits') return
      this.#pid = ready.pid
      for (const tell of this.#ready.splice(0)) tell(ready)
    })
    this.#ended = once(child, 'close').then(() => {
      if (this.#child === child) this.#child = undefined
    })
    child.send(this.config)
  }

  /** A daemon gets ready from now on; rejects when the supervisor ends instead. */
  ready(): Promise<Ready> {
    const ready = new Promise<Ready>((resolve) => this.#ready.push(resolve))
    const child = this.#child
    const ended = this.#ended.then(() => {
      const how = child?.signalCode ?? `exit code ${child?.exitCode}`
      throw new Error(`${this.name} ended, ${how}: ${this.stderr} ${JSON.stringify(this.log().slice(-5))}`)
    })
    return Promise.race([ready, ended])
  }

  async start(): Promise<void> {
    this.spawn()
    await this.ready()
  }

  /** kill -9 of the daemon alone: its supervisor sees it, tells the peers, and starts another one. */
  killDaemon(): void {
    process.kill(this.#pid, 'SIGKILL')
  }

  /** As a host that dies: supervisor first, so that it sees nothing, then the daemon, in the same turn. */
  async killNode(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    child.kill('SIGKILL')
    try {
      process.kill(this.#pid, 'SIGKILL')
    } catch {
      // There was none, or it died with its supervisor.
    }
    await this.#ended
    if (this.#pid !== 0) await processGone(this.#pid)
  }

  /** SIGTERM. @returns the exit code of the supervisor */
  async stop(): Promise<number | null> {
    const child = this.#child
    child?.kill('SIGTERM')
    await this.#ended
    return child?.exitCode ?? null
  }

  /** Resolves when the supervisor ended by itself. */
  async ended(): Promise<void> {
    await this.#ended
  }

  /** A line that was cut off by a full file system has the level `torn`. */
  log(): LogLine[] {
    if (!existsSync(this.paths.log)) return []
    return readFileSync(this.paths.log, 'utf8').trim().split('\n').map(parsed)
  }

  errors(): string[] {
    const found = this.log().filter(({ level }) => level === 'error' || level === 'torn')
    return found.map((line) => `${this.name}: ${JSON.stringify(line)}`)
  }
}

function parsed(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return { level: 'torn', message: line }
  }
}
