/**
 * What is fuzzed: a parser, or a machine that reads, with the bytes that a stranger could send it. One file of
 * test/fuzz/targets each, found by its name.
 *
 * `execute` starts from nothing: the same input does the same every time, whatever ran before. It ends by itself: at
 * once or, where what it runs has promises in it, without waiting for anything outside. It throws, or rejects, when a
 * promise is broken: an assert of ours, a TypeError, a promise of its own. A refusal (`HoldfastError`, a decoder's
 * `undefined`) is no failure, it is what strangers get.
 */
import { HoldfastError } from '../../engine/errors.ts'
import { Random } from '../sim/random.ts'

export interface Target {
  /** Files of the tree whose branches are counted, from the root. */
  parsers: readonly string[]
  /** Inputs to begin with, besides those of test/fuzz/corpus/NAME: what is right, mostly. */
  seeds(): readonly Uint8Array[]
  execute(input: Uint8Array): void | Promise<void>
  /** Pieces of text that mean something to it. */
  words?: readonly string[]
  /** Of inputs. 4096 unless said otherwise. */
  bytesMax?: number
}

/**
 * Draws from the bytes of an input while there are some, then like any other generator: so whoever changes bytes of
 * the input changes decisions of what is made from it.
 */
export class DrawnFrom extends Random {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    super(bytes.length)
    this.#bytes = bytes
  }

  override int(below: number): number {
    const width = below <= 0x100 ? 1 : below <= 0x1_0000 ? 2 : 4
    if (this.#at + width > this.#bytes.length) return super.int(below)
    let value = 0
    for (let i = 0; i < width; i++) value = value * 0x100 + this.#bytes[this.#at++]!
    return value % below
  }
}

/** Runs it; a refusal in words is an answer like another. */
export function refusable(run: () => unknown): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
  }
}

/** A decoder of many, by the first byte of the input; the others get the rest. */
export function oneOf(input: Uint8Array, decoders: ReadonlyArray<(bytes: Buffer) => unknown>): void {
  if (input.length === 0) return
  const rest = Buffer.from(input.buffer, input.byteOffset + 1, input.length - 1)
  refusable(() => decoders[input[0]! % decoders.length]!(rest))
}

/** An input of `oneOf`. */
export const chosen = (index: number, bytes: Uint8Array | string): Uint8Array =>
  Buffer.concat([Buffer.of(index), Buffer.from(bytes as Uint8Array)])
