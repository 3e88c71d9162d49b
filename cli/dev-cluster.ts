/**
 * The processes of `holdfast dev`: its nodes, and the cluster store unless there is none or it is somebody else's.
 *
 *   start  store -> nodes, all at once        stop  nodes, all at once -> store
 */
import { HoldfastError } from '../engine/errors.ts'
import type { DevNode } from './dev-node.ts'
import type { DevRequest, DevState } from './dev-socket.ts'
import type { DevStore } from './dev-store.ts'

const PATIENCE_MS = 2000
const LOOK_MS = 500
/** Of whoever said nothing else. */
const BEGINS = 'it asks its cluster store, if it has one, then opens its disks'

/** A start; when it takes longer than a moment, whoever asked is told why. */
async function whileItTakes(child: DevNode | DevStore, tell: (sentence: string) => void): Promise<void> {
  let told = ''
  const beganMs = performance.now()
  const looks = setInterval(() => {
    if (performance.now() - beganMs < PATIENCE_MS) return
    const sentence = child.waitsFor ?? `${child.name} is starting: ${BEGINS}`
    if (sentence !== told) tell(sentence)
    told = sentence
  }, LOOK_MS)
  try {
    await child.start()
  } finally {
    clearInterval(looks)
  }
}

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

  /** @param tell  gets what a start that takes long waits for, and whatever it waits for next */
  async actOn({ word, node: name }: DevRequest, tell: (sentence: string) => void): Promise<DevState> {
    const children = this.store === undefined ? this.nodes : [...this.nodes, this.store]
    const child = children.find((candidate) => candidate.name === name)
    if (child === undefined) throw new HoldfastError('node-not-found', { name: JSON.stringify(name) })
    if (word === 'start') {
      if (child.state === 'down') await whileItTakes(child, tell)
    } else {
      await (word === 'kill' ? child.kill() : child.stop())
    }
    return { node: name, state: child.state }
  }
}
