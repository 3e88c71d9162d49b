/**
 * A simulated `level`: `IndexPort` over a sorted map, a function of its seed. A batch is all-or-nothing; one whose
 * `done` has not run at a crash is there or not; a `clear` under way may have removed any part. `image`/`crash` as in
 * `disk.ts`. An image taken earlier and opened later is a stale index, which the store must recognise.
 *
 * Faults: `failAt` (an error at the n-th operation), `damage` (every get and range fails from now on).
 */
import { assert } from '../../engine/assert.ts'
import type { IndexOperation, IndexPort, Outcome } from '../../engine/ports.ts'
import type { SimClock } from './clock.ts'
import { Random } from './random.ts'

export interface SimIndexOptions {
  clock: SimClock
  random: Random
  /** What it holds at first. Taken over, not copied. */
  image?: IndexImage
  latencyMs?: [number, number]
}

export type IndexCrashChoice = { kind: 'all' } | { kind: 'synced' } | { kind: 'subset'; seed: number }

type Change = (image: IndexImage, random: Random | undefined) => void

export class SimIndex implements IndexPort {
  readonly counts = { batch: 0, get: 0, range: 0, clear: 0, operations: 0 }
  latencyMs: [number, number]
  private readonly options: SimIndexOptions
  private readonly random: Random
  private readonly content: IndexImage
  private readonly underWay = new Set<Change>()
  private readonly faults = new Set<string>()
  private damaged = false
  private dead = false

  constructor(options: SimIndexOptions) {
    this.options = options
    this.random = options.random
    this.content = options.image ?? new IndexImage()
    this.latencyMs = options.latencyMs ?? [0, 2]
  }

  batch(operations: Iterable<IndexOperation>, done: Outcome): void {
    // Copied one by one: the caller may use its bytes again for the next one.
    const copies = Array.from(operations, (operation) => ({
      key: keyText(operation.key),
      value: operation.type === 'put' ? operation.value.slice() : undefined,
    }))
    this.counts.operations += copies.length
    this.change('batch', done, (image) => {
      for (const { key, value } of copies) {
        if (value === undefined) image.delete(key)
        else image.set(key, value)
      }
    })
  }

  clear(done: Outcome): void {
    this.change('clear', done, (image, random) => {
      for (const key of image.keys()) if (random === undefined || random.chance(0.5)) image.delete(key)
    })
  }

  getMany(
    keys: readonly Uint8Array[],
    done: (ok: boolean, values: ReadonlyArray<Uint8Array | undefined>) => void,
  ): void {
    const refused = this.refuses('get')
    const texts = keys.map(keyText)
    this.later(() => {
      if (refused || this.damaged) return done(false, [])
      done(true, texts.map((text) => this.content.get(text)?.slice()))
    })
  }

  range(
    options: { from: Uint8Array; below: Uint8Array; limit: number },
    done: (ok: boolean, entries: Array<[key: Uint8Array, value: Uint8Array]>) => void,
  ): void {
    assert(options.limit > 0, 'a range has a limit')
    const refused = this.refuses('range')
    const from = keyText(options.from)
    const below = keyText(options.below)
    this.later(() => {
      if (refused || this.damaged) return done(false, [])
      done(
        true,
        this.content.range(from, below, options.limit).map((key) => [keyBytes(key), this.content.get(key)!.slice()]),
      )
    })
  }

  /** What is found after a power cut now. This index goes on undisturbed. */
  image(choice: IndexCrashChoice): IndexImage {
    const image = this.content.clone()
    if (choice.kind === 'synced') return image
    const random = choice.kind === 'subset' ? new Random(choice.seed) : undefined
    for (const change of this.underWay) {
      if (random === undefined || random.chance(0.5)) change(image, random)
    }
    return image
  }

  /** Power cut or death of the process: no `done` is ever called again; the answer is the index after the restart. */
  crash(choice: IndexCrashChoice): SimIndex {
    const image = this.image(choice)
    this.dead = true
    return new SimIndex({ ...this.options, latencyMs: this.latencyMs, image, random: this.random.fork('reopened') })
  }

  /** The n-th operation of this kind from now ends in an error and changes nothing. */
  failAt(operation: 'batch' | 'get' | 'range' | 'clear', n = 1): void {
    this.faults.add(`${operation} ${this.counts[operation] + n}`)
  }

  /** Every get and range fails from now on, until a `clear` has ended. */
  damage(): void {
    this.damaged = true
  }

  /** Number of entries, without the port (for checks). */
  get size(): number {
    return this.content.size
  }

  private change(operation: 'batch' | 'clear', done: Outcome, change: Change): void {
    if (this.dead) return
    if (this.refuses(operation)) {
      this.later(() => done(false))
      return
    }
    this.underWay.add(change)
    this.later(() => {
      this.underWay.delete(change)
      change(this.content, undefined)
      if (operation === 'clear') this.damaged = false
      done(true)
    })
  }

  private refuses(operation: 'batch' | 'get' | 'range' | 'clear'): boolean {
    this.counts[operation]++
    return this.faults.delete(`${operation} ${this.counts[operation]}`)
  }

  private later(run: () => void): void {
    const [least, most] = this.latencyMs
    this.options.clock.complete(least + this.random.float() * (most - least), () => {
      if (!this.dead) run()
    })
  }
}

/** The entries of an index. Keys are strings of one character per byte, whose order is that of unsigned bytes. */
export class IndexImage {
  private readonly entries: Map<string, Uint8Array>
  /** Sorted; may hold keys that were deleted since. */
  private sorted: string[]
  /** Keys set since `sorted` was made. */
  private added: string[]

  constructor(entries = new Map<string, Uint8Array>(), sorted: string[] = [], added: string[] = []) {
    this.entries = entries
    this.sorted = sorted
    this.added = added
  }

  clone(): IndexImage {
    return new IndexImage(new Map(this.entries), this.sorted, this.added.slice())
  }

  get size(): number {
    return this.entries.size
  }

  get(key: string): Uint8Array | undefined {
    return this.entries.get(key)
  }

  set(key: string, value: Uint8Array): void {
    if (!this.entries.has(key)) this.added.push(key)
    this.entries.set(key, value)
  }

  delete(key: string): void {
    this.entries.delete(key)
  }

  keys(): string[] {
    if (this.added.length > 0) {
      this.sorted = [...new Set([...this.sorted, ...this.added])].filter((key) => this.entries.has(key)).sort()
      this.added = []
    }
    return this.sorted
  }

  range(from: string, below: string, limit: number): string[] {
    const keys = this.keys()
    let low = 0
    let high = keys.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (keys[middle]! < from) low = middle + 1
      else high = middle
    }
    const found: string[] = []
    for (; low < keys.length && keys[low]! < below && found.length < limit; low++) {
      if (this.entries.has(keys[low]!)) found.push(keys[low]!)
    }
    return found
  }
}

function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}

function keyBytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}
