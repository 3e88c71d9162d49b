/**
 * Bytes that nobody may see: a key. Whatever prints a value (a log line, JSON, an error's detail, `console.log`) gets
 * `[redacted]`; a structured clone gets an empty object. Who needs the bytes asks for them by name, and a search for
 * `reveal(` finds every such place.
 */
const REDACTED = '[redacted]'

export class Secret {
  readonly #bytes: Uint8Array

  /** @param bytes  this secret's from now on: `erase` zeroes them */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get lengthBytes(): number {
    return this.#bytes.length
  }

  /** The bytes themselves: not copied, not kept, never made a string of. All zeroes after `erase`. */
  reveal(): Uint8Array {
    return this.#bytes
  }

  erase(): void {
    this.#bytes.fill(0)
  }

  toString(): string {
    return REDACTED
  }

  toJSON(): string {
    return REDACTED
  }

  /** What `util.inspect` asks for, and so `console.log` and failed assertions. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return REDACTED
  }
}
