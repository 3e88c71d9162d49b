/** A node of `holdfast dev`: `holdfast node` as a child, which is its supervisor, and the daemon below that. */
import { existsSync, readFileSync } from 'node:fs'
import type { Ready } from '../dataplane/daemon-start.ts'
import { nodePaths } from '../dataplane/node-folder.ts'
import type { NodePaths } from '../dataplane/node-folder.ts'
import { DevChild } from './dev-child.ts'
import type { DevChildOptions } from './dev-child.ts'

export interface DevNodeOptions extends DevChildOptions {
  dir: string
  diskPath: string
  /** For the disk file when it is not there yet. */
  diskSizeBytes: number
  tcpPort: number
  metricsPort: number
  /** URL of the cluster store; undefined: the node is by itself. */
  store: string | undefined
  /** Of a node of a cluster: the folder of its certificate, and where the control API is over TLS. */
  tls: { dir: string; apiPort: number } | undefined
  /** Undefined: the node is by itself. */
  clusterKey: string | undefined
}

export class DevNode extends DevChild<Ready> {
  readonly paths: NodePaths
  readonly #options: DevNodeOptions

  constructor(options: DevNodeOptions) {
    super(options)
    this.paths = nodePaths(options.dir, options.name)
    this.#options = options
  }

  get tls(): DevNodeOptions['tls'] {
    return this.#options.tls
  }

  protected override words(): string[] {
    const { dir, diskPath, diskSizeBytes, tcpPort, metricsPort, store, tls, clusterKey } = this.#options
    const secure = tls === undefined ? ['--no-tls'] : ['--tls', tls.dir, '--listen-api', `127.0.0.1:${tls.apiPort}`]
    const size = existsSync(diskPath) ? '' : `,size=${diskSizeBytes}`
    return [
      'node', '--name', this.name, '--dir', dir, '--disk', `path=${diskPath}${size}`,
      '--listen-tcp', `127.0.0.1:${tcpPort}`, '--listen-metrics', `127.0.0.1:${metricsPort}`,
      ...(store === undefined ? [] : ['--store', store, ...secure]),
      ...(clusterKey === undefined ? [] : ['--cluster-key', clusterKey]),
    ]
  }

  /** The daemon: the pid file, believed only if that process is a child of our supervisor. */
  protected override below(supervisorPid: number): number[] {
    try {
      const pid = Number(readFileSync(this.paths.pid, 'utf8'))
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      return parent === supervisorPid ? [pid] : []
    } catch {
      return []
    }
  }
}
