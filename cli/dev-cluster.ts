/**
 * The processes of `holdfast dev`: its nodes, and the cluster store unless there is none or it is somebody else's.
 *
 *   start  store -> nodes, all at once        stop  nodes, all at once -> store
 */
import { HoldfastError } from '../engine/errors.ts'
import type { DevNode } from './dev-node.ts'
import type { DevRequest, DevState } from './dev-socket.ts'
import type { DevStore } from './dev-store.ts'

export class DevCluster {
  readonly nodes: DevNode[]
  readonly store: DevStore | undefined
  #stopping: Promise<void> | undefined

  constructor(nodes: DevNode[], store: DevStore | undefined) {
    this.nodes = nodes
    this.store = store
  }

  /** Resolves when all nodes serve, or false as soon as one of them ended instead (it has said why on stderr). */
  start(): Promise<boolean> {
    let left = this.nodes.length
    return new Promise((resolve) => {
      for (const node of this.nodes) {
        void node.start().then((isUp) => {
          left--
          if (!isUp || left === 0) resolve(isUp)
        })
      }
    })
  }

  async stop(): Promise<void> {
    this.#stopping ??= Promise.all(this.nodes.map((node) => node.stop())).then(() => this.store?.stop())
    await this.#stopping
  }

  /** Asked again while it stops: what still runs is stopped at once. */
  hurry(): void {
    for (const node of this.nodes) void node.stop()
  }

  async actOn({ word, node: name }: DevRequest): Promise<DevState> {
    const children = this.store === undefined ? this.nodes : [...this.nodes, this.store]
    const child = children.find((candidate) => candidate.name === name)
    if (child === undefined) throw new HoldfastError('node-not-found', { name: JSON.stringify(name) })
    if (word === 'start') {
      if (child.state === 'down') await child.start()
    } else {
      await (word === 'kill' ? child.kill() : child.stop())
    }
    return { node: name, state: child.state }
  }
}
