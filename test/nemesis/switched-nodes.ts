/**
 * Nodes whose processes reach each other and the cluster store through a switchboard only, which so can cut, delay and
 * count what passes between any two of them. Each has addresses of its own that stay the same over restarts.
 */
import path from 'node:path'
import type { ClusterNodeOptions } from '../cluster/cluster-node-process.ts'
import { freePort, HOST } from '../conformance/cluster-store/store-process.ts'
import { ORDER_VARIABLE } from './orders.ts'
import type { Switchboard } from './switchboard.ts'

/** The end of the cluster store. */
export const STORE = 'store'
const HOOKS = ['through-switchboard.ts', 'obeys-orders.ts'].map((name) => path.join(import.meta.dirname, name))

/** What its processes are told to suffer. */
export const orderFile = (folder: string, name: string): string => path.join(folder, `${name}.order`)

export interface SwitchedNodesOptions {
  switchboard: Switchboard
  names: readonly string[]
  /** Of the sockets that their processes connect to; short. */
  folder: string
  /** Modules that are loaded into their processes too. */
  imports?: readonly string[]
  env?: Record<string, string>
}

export class SwitchedNodes {
  readonly #o: SwitchedNodesOptions
  readonly #ports = new Map<string, { peer: number; api: number }>()

  constructor(options: SwitchedNodesOptions) {
    this.#o = options
    for (const name of options.names) this.#ports.set(name, { peer: freePort(), api: freePort() })
  }

  /** Of `ClusterOfDaemons.make`. */
  readonly setUp = (name: string, store: string): Pick<ClusterNodeOptions, 'change' | 'env'> => {
    const { imports = [], env } = this.#o
    const { peer, api } = this.#ports.get(name)!
    const at = (port: number) => ({ host: HOST, port })
    const hooks = [...HOOKS, ...imports].map((module) => `--import ${module}`).join(' ')
    return {
      change: { cluster: { store, listenPeer: at(peer), listenApi: at(api) } },
      env: {
        NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} ${hooks}`.trim(),
        NEMESIS_SWITCHBOARD: this.#socketOf(name),
        [ORDER_VARIABLE]: orderFile(this.#o.folder, name),
        ...env,
      },
    }
  }

  /** Before they are started. @param store  URL of the cluster store */
  async listen(store: string): Promise<void> {
    const { switchboard } = this.#o
    switchboard.know(new URL(store).host, STORE, 'store')
    for (const [name, { peer, api }] of this.#ports) {
      switchboard.know(`${HOST}:${peer}`, name, 'peer')
      switchboard.know(`${HOST}:${api}`, name, 'api')
      await switchboard.listen(name, this.#socketOf(name))
    }
  }

  #socketOf(name: string): string {
    return path.join(this.#o.folder, `${name}.sb`)
  }
}
