/**
 * One node of a dev cluster, as `holdfast dev` holds it: a child running `holdfast node` in its own process group (so a
 * Ctrl-C of the terminal reaches only us), and what happened to it.
 *
 *   down --start--> starting --ready--> up --stop, kill, its own end--> down
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { withCompileCache } from '../dataplane/compile-cache.ts'
import type { Ready } from '../dataplane/daemon-start.ts'
import { nodePaths } from '../dataplane/node-folder.ts'
import type { NodePaths } from '../dataplane/node-folder.ts'

const MAIN = path.join(import.meta.dirname, 'main.ts')

export interface DevNodeOptions {
  name: string
  dir: string
  diskPath: string
  /** For the disk file when it is not there yet. */
  diskSizeBytes: number
  tcpPort: number
  /** Called when it goes down and nobody asked for it. */
  onLost: (why: string) => void
}

export class DevNode {
  readonly name: string
  readonly paths: NodePaths
  readonly #options: DevNodeOptions
  #child: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()
  #expected = false
  ready: Ready | undefined

  constructor(options: DevNodeOptions) {
    this.name = options.name
    this.paths = nodePaths(options.dir, options.name)
    this.#options = options
  }

  get state(): 'up' | 'down' {
    return this.ready === undefined ? 'down' : 'up'
  }

  /** Resolves when the daemon serves, or false when the node ended instead (it has said why on stderr). */
  start(): Promise<boolean> {
    const { dir, diskPath, diskSizeBytes, tcpPort, onLost } = this.#options
    const size = existsSync(diskPath) ? '' : `,size=${diskSizeBytes}`
    this.#expected = false
    const child = spawn(process.execPath, [
      MAIN, 'node', '--name', this.name, '--dir', dir, '--disk', `path=${diskPath}${size}`,
      '--listen-tcp', `127.0.0.1:${tcpPort}`,
    ], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
      env: withCompileCache(process.env),
    })
    this.#child = child
    return new Promise((resolve) => {
      child.on('message', (ready: Ready) => {
        this.ready = ready
        resolve(true)
      })
      this.#ended = new Promise((ended) => {
        child.on('exit', (code, signal) => {
          const wasUp = this.ready !== undefined
          this.#child = undefined
          this.ready = undefined
          ended()
          resolve(false)
          if (wasUp && !this.#expected) onLost(signal ?? `exit code ${code}`)
        })
      })
    })
  }

  /** Cleanly. A second call while it is stopping makes it stop at once. */
  stop(): Promise<void> {
    this.#expected = true
    this.#child?.kill('SIGTERM')
    return this.#ended
  }

  /** As a dead host: supervisor first, so that it cannot start another daemon, then the daemon, in the same turn. */
  kill(): Promise<void> {
    this.#expected = true
    const supervisorPid = this.#child?.pid
    if (supervisorPid !== undefined) {
      const daemonPid = this.#daemonOf(supervisorPid)
      this.#child?.kill('SIGKILL')
      if (daemonPid !== undefined) process.kill(daemonPid, 'SIGKILL')
    }
    return this.#ended
  }

  /** The pid file, believed only if that process is a child of our supervisor. */
  #daemonOf(supervisorPid: number): number | undefined {
    try {
      const pid = Number(readFileSync(this.paths.pid, 'utf8'))
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      return parent === supervisorPid ? pid : undefined
    } catch {
      return undefined
    }
  }
}
