/** A storm of clients (storm-clients.ts) against a node, and what is left of the node afterwards. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { memoryOf } from './process-figures.ts'

const CLIENTS = path.join(import.meta.dirname, 'storm-clients.ts')

export interface StormTarget {
  port: number
  /** A TLS folder of somebody who may use volumes. */
  folder: string
  /** Whoever starts a process ends it too. */
  keep(child: ChildProcess): ChildProcess
}

export class Storm {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(mode: 'handshakes' | 'strangers', count: number, { port, folder, keep }: StormTarget) {
    const words = [CLIENTS, mode, String(count), String(port), folder]
    this.#child = keep(spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] }))
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]()
  }

  /** The next line that it says. */
  async told(): Promise<Record<string, number>> {
    const { value, done } = await this.#lines.next()
    if (done === true) throw new Error('the clients ended without a word')
    return JSON.parse(value) as Record<string, number>
  }

  /** Of strangers: how many there are now. */
  async now(): Promise<Record<string, number>> {
    this.#child.stdin!.write('\n')
    return this.told()
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.kill('SIGKILL')
    await ended
  }
}

export interface Footprint {
  rssBytes: number
  descriptors: number
}

export const footprintOf = (pid: number): Footprint => ({
  rssBytes: memoryOf(pid).rssBytes,
  descriptors: readdirSync(`/proc/${pid}/fd`).length,
})

/** Until it has no more descriptors than before. @returns how long that took, undefined: it has still more */
export async function settled(pid: number, before: Footprint, mostMs: number): Promise<number | undefined> {
  const beganMs = performance.now()
  for (;;) {
    const tookMs = performance.now() - beganMs
    if (footprintOf(pid).descriptors <= before.descriptors) return tookMs
    if (tookMs > mostMs) return undefined
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
