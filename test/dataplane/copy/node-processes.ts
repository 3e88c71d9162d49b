/** Nodes as processes of their own, from the side of their parent. */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { PeerEndpoint } from '../../../dataplane/peer/peer-socket.ts'
import type { NodeCalls, NodeStart } from './node-main.ts'

type Answer = { id: number; value?: unknown; error?: string }

export class NodeProcess {
  readonly node: string
  endpoint: PeerEndpoint = { path: '' }
  /** Of its last start. */
  instance = ''
  readonly #start: NodeStart
  #child: ChildProcess | undefined
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  #nextId = 1

  constructor(start: NodeStart) {
    this.node = start.node
    this.#start = start
  }

  async start(): Promise<void> {
    const main = path.join(import.meta.dirname, 'node-main.ts')
    const child = fork(main, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child = child
    child.on('message', ({ id, value, error }: Answer) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) waiting?.resolve(value)
      else waiting?.reject(new Error(`${this.node}: ${error}`))
    })
    child.on('close', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${this.node} ended: ${signal ?? code}`))
      this.#waiting.clear()
    })
    const { endpoint, instance } = await this.call('start', this.#start)
    this.endpoint = endpoint
    this.instance = instance
  }

  call<K extends keyof NodeCalls>(call: K, ...args: Parameters<NodeCalls[K]>): ReturnType<NodeCalls[K]> {
    const id = this.#nextId++
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    this.#child!.send({ id, call, args })
    return answer as ReturnType<NodeCalls[K]>
  }

  get pid(): number {
    return this.#child!.pid!
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    process.kill(this.pid, signal)
  }

  /** SIGKILL, also when it stands still. */
  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
  }

  /** As a process that is asked to end does. */
  async stop(): Promise<void> {
    await this.call('stop')
    const child = this.#child!
    const ended = once(child, 'exit')
    child.disconnect()
    await ended
  }
}

/** Everybody knows where everybody listens. */
export async function meetAll(nodes: readonly NodeProcess[]): Promise<void> {
  const addresses = nodes.map(({ node, endpoint }) => ({ node, endpoint }))
  await Promise.all(nodes.map((node) => node.call('meet', addresses)))
}
