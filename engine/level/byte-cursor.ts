/** Reads numbers of LevelDB's files in order. Past the end it reads zeroes and says so: the caller looks once. */
export class ByteCursor {
  private readonly bytes: Uint8Array
  at: number
  hasFailed = false

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  get isAtEnd(): boolean {
    return this.hasFailed || this.at >= this.bytes.length
  }

  /** Seven bits a byte, the lowest first. Nothing that we read reaches 2^53. */
  varint(): number {
    let value = 0
    for (let scale = 1; scale < 2 ** 53; scale *= 128) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    this.hasFailed = true
    return 0
  }

  /** Little-endian. */
  fixed(byteCount: number): number {
    let value = 0
    for (let i = 0, scale = 1; i < byteCount; i++, scale *= 256) value += this.byte() * scale
    return value
  }

  byte(): number {
    const byte = this.bytes[this.at++]
    if (byte !== undefined) return byte
    this.hasFailed = true
    return 0
  }

  skip(byteCount: number): void {
    this.at += byteCount
    if (this.at > this.bytes.length) this.hasFailed = true
  }
}
