/**
 * A client that writes without end: a few blocks at a time, each in its own part of the volume, each write with a
 * number of its own, so that what a block has to hold is known exactly.
 */
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { until } from './hosts.ts'
import type { Device } from './hosts.ts'

export const LANES = 4

export class Writer {
  /** By block: the number of the last write that was answered. */
  readonly model: Uint32Array
  readonly errors: number[] = []
  written = 0
  /** Longest wait for an answer. */
  longestMs = 0
  #isOver = false
  readonly #device: Device
  readonly #ended: Promise<unknown>

  /** @param blockCount  of the volume, from its start: what is written */
  constructor(device: Device, blockCount: number) {
    this.model = new Uint32Array(blockCount)
    this.#device = device
    this.#ended = Promise.all(Array.from({ length: LANES }, (_, lane) => this.#lane(lane, blockCount)))
  }

  async #lane(lane: number, blockCount: number): Promise<void> {
    for (let i = 0; !this.#isOver; i++) {
      const lba = lane + LANES * ((i * 7) % (blockCount / LANES))
      const stamp = ++this.written
      const begin = performance.now()
      const errno = await this.#device.write(lba * BLOCK_BYTES, block(stamp))
      this.longestMs = Math.max(this.longestMs, performance.now() - begin)
      if (errno === 0) this.model[lba] = stamp
      else this.errors.push(errno)
    }
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#ended
  }

  /** Resolves when so many more were answered. */
  async more(count: number): Promise<void> {
    const from = this.written
    await until(() => this.written >= from + count)
  }
}

export function block(stamp: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES)
  for (let at = 0; at < BLOCK_BYTES; at += 4) bytes.writeUInt32LE(stamp, at)
  return bytes
}
