/**
 * Seeded random numbers for tests and simulation: the same seed gives the same run on every machine. sfc32 (Chris
 * Doty-Humphrey's small fast counter, PractRand), 128 bits of state, plain 32-bit arithmetic.
 */
export class Random {
  private a: number
  private b: number
  private c: number
  private counter = 1

  /** A number, or a name (such as a test's) so that forks do not depend on the order of their making. */
  constructor(seed: number | string) {
    const text = String(seed)
    let hash = 0x811c9dc5
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
    this.a = hash | 0
    this.b = typeof seed === 'number' ? seed | 0 : text.length
    this.c = typeof seed === 'number' ? Math.trunc(seed / 0x1_0000_0000) | 0 : 0x9e3779b9
    for (let i = 0; i < 15; i++) this.u32()
  }

  /** 0 .. 2^32 - 1 */
  u32(): number {
    const result = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = (((this.c << 21) | (this.c >>> 11)) + result) | 0
    return result >>> 0
  }

  /** A whole number 0 .. below - 1, evenly for every `below` far under 2^53. */
  int(below: number): number {
    return Math.floor(this.float() * below)
  }

  /** A whole number least .. most. */
  between(least: number, most: number): number {
    return least + this.int(most - least + 1)
  }

  /** 0 <= x < 1 with 53 random bits. */
  float(): number {
    return ((this.u32() >>> 5) * 0x400_0000 + (this.u32() >>> 6)) / 2 ** 53
  }

  /** True with this probability. Draws nothing when the answer is certain. */
  chance(probability: number): boolean {
    return probability > 0 && (probability >= 1 || this.float() < probability)
  }

  pick<T>(from: readonly T[]): T {
    if (from.length === 0) throw new RangeError('nothing to pick from')
    return from[this.int(from.length)]!
  }

  /** Reorder in place; returns its argument. */
  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.int(i + 1)
      const swap = list[i]!
      list[i] = list[j]!
      list[j] = swap
    }
    return list
  }

  /** Fill with random bytes; returns its argument. */
  bytes(into: Uint8Array): Uint8Array {
    for (let i = 0; i < into.length; i++) into[i] = this.u32()
    return into
  }

  /** An independent generator: what one part draws does not shift what another one sees. */
  fork(name = ''): Random {
    return new Random(`${this.u32()}.${this.u32()}.${name}`)
  }
}
