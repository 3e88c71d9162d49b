/**
 * The fixed piece of work that operations are measured in: what a block costs at the least, in this runtime and this
 * kernel. 4 KiB are copied, summed by crc32c, written to a file and read back, all in the page cache.
 */
import { crc32c } from '@node-rs/crc32'
import fs from 'node:fs'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'

const FILE_BYTES = 16 * MIB
const PIECES = 60_000

export class FixedWork {
  readonly #fd: number
  readonly #from = Buffer.alloc(FILE_BYTES, 7)
  readonly #block = Buffer.alloc(BLOCK_BYTES)

  constructor(file: string) {
    this.#fd = fs.openSync(file, 'w+')
    for (let at = 0; at < FILE_BYTES; at += MIB) fs.writeSync(this.#fd, this.#from, at, MIB, at)
    fs.fsyncSync(this.#fd)
    // Compiled before it counts.
    this.secondsOfOne()
  }

  /** Of the processor. */
  secondsOfOne(): number {
    const began = process.cpuUsage()
    let sum = 0
    for (let i = 0; i < PIECES; i++) {
      const at = (i * 7919 * BLOCK_BYTES) % FILE_BYTES
      this.#from.copy(this.#block, 0, at, at + BLOCK_BYTES)
      sum ^= crc32c(this.#block)
      fs.writeSync(this.#fd, this.#block, 0, BLOCK_BYTES, at)
      fs.readSync(this.#fd, this.#block, 0, BLOCK_BYTES, at)
    }
    this.#block.writeInt32LE(sum | 0)
    const { user, system } = process.cpuUsage(began)
    return (user + system) / 1e6 / PIECES
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}
