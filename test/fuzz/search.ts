/**
 * The search for inputs that reach new branches: take one that is kept, change it, run it; what ran a block that had
 * never run is kept too. Looking at the counts costs milliseconds, so inputs run in batches, and a batch that found
 * something is halved until the inputs that did are alone. Batches grow until looking costs a small part of the time.
 *
 * An input that throws, or takes more than `SLOW_MS` of processor time, is a failure, and the search of the target
 * ends. One that ran lately is not run again, unless nothing else comes up.
 */
import { crc32 } from 'node:zlib'
import type { BranchCoverage, Told } from './branch-coverage.ts'
import type { InputArena } from './input-arena.ts'
import { Mutator, Original } from './mutation.ts'
import type { Target } from './target.ts'
import { Random } from '../sim/random.ts'

const BATCH_FIRST = 64
const BATCH_MAX = 16_384
/** Of the time that a batch runs, for looking at the counts. */
const LOOK_SHARE = 0.03
export const BYTES_MAX = 4096
/** Of one input. The slowest of the corpora takes a tenth; what is quadratic in 4 KiB takes seconds. */
export const SLOW_MS = 250
const KEPT_MAX = 2000
const LATELY = 2 ** 18
const DRAWS_MAX = 4
const STACK_LINES = 10

export interface Failure {
  input: Uint8Array
  problem: string
}

export interface Slice {
  executions: number
  /** Of those, what had run lately. */
  repeated: number
  kept: Uint8Array[]
  failure?: Failure
}

export class Search {
  readonly #target: Target
  readonly #coverage: BranchCoverage
  readonly #arena: InputArena
  readonly #originals: Original[]
  readonly #bytesMax: number
  readonly #mutator: Mutator
  /** By a part of their checksum: the checksum of what ran lately. */
  readonly #lately = new Uint32Array(LATELY)
  /** Of the inputs of a batch: where they begin, and behind the last. */
  readonly #begins = new Uint32Array(BATCH_MAX + 1)
  #batch = BATCH_FIRST
  #executions = 0
  #repeated = 0
  readonly #kept: Uint8Array[] = []
  #failure: Failure | undefined

  /** @param arena  room for at least two of the largest inputs */
  constructor(options: {
    target: Target
    coverage: BranchCoverage
    corpus: readonly Uint8Array[]
    arena: InputArena
  }) {
    const { target, coverage, corpus, arena } = options
    this.#target = target
    this.#coverage = coverage
    this.#arena = arena
    this.#originals = corpus.map((bytes) => new Original(bytes))
    this.#bytesMax = target.bytesMax ?? BYTES_MAX
    this.#mutator = new Mutator(arena.bytes, {
      words: (target.words ?? []).map((word) => Buffer.from(word)), bytesMax: this.#bytesMax,
    })
    // What ran before this is nobody's finding.
    coverage.add(coverage.take())
  }

  /** The inputs that were there before, once each. They are no executions of this search. */
  async runCorpus(): Promise<Slice> {
    for (const { bytes } of this.#originals) {
      const count = Math.min(bytes.length, this.#arena.bytes.length)
      this.#arena.bytes.set(bytes.subarray(0, count))
      if (!await this.#run(0, count)) break
    }
    this.#coverage.add(this.#coverage.take())
    return this.#result()
  }

  /** Until so many executions, or so much time of the processor. */
  async runSlice(seed: number, options: { executions: number; cpuMs: number }): Promise<Slice> {
    const random = new Random(seed)
    const started = process.threadCpuUsage()
    while (this.#executions < options.executions && this.#failure === undefined && !this.#arena.isEnding) {
      const startedMs = performance.now()
      const count = await this.#runBatch(random, Math.min(this.#batch, options.executions - this.#executions))
      if (this.#failure !== undefined) break
      const ranMs = performance.now()
      const told = this.#coverage.take()
      const found = this.#coverage.isNew(told)
      if (found) await this.#keepOf(0, count)
      this.#coverage.add(told)
      const lookMs = performance.now() - ranMs
      if (found) this.#batch = Math.max(BATCH_FIRST, Math.floor(this.#batch / 4))
      else if (lookMs > LOOK_SHARE * (ranMs - startedMs)) this.#batch = Math.min(BATCH_MAX, this.#batch * 2)
      if (cpuMsSince(started) > options.cpuMs) break
    }
    return this.#result()
  }

  #result(): Slice {
    const failure = this.#failure === undefined ? {} : { failure: this.#failure }
    return { executions: this.#executions, repeated: this.#repeated, kept: this.#kept, ...failure }
  }

  /** @returns how many ran: fewer if there is no more room for them */
  async #runBatch(random: Random, count: number): Promise<number> {
    const roomFor = this.#arena.bytes.length - this.#bytesMax
    let at = 0
    let done = 0
    while (done < count && at <= roomFor) {
      const length = this.#draw(random, at)
      this.#begins[done] = at
      this.#executions++
      // Nothing is awaited of a target that has no promises: a turn would cost more than most inputs.
      const ran = this.#run(at, length)
      if (!(typeof ran === 'boolean' ? ran : await ran)) return done
      at += length
      this.#begins[++done] = at
    }
    return done
  }

  #draw(random: Random, at: number): number {
    for (let draws = 1;; draws++) {
      const length = this.#mutator.mutate(random, this.#one(random), this.#one(random), at)
      const sum = crc32(this.#arena.bytes.subarray(at, at + length))
      const place = sum % LATELY
      if (this.#lately[place] === sum) {
        if (draws < DRAWS_MAX) continue
        this.#repeated++
      }
      this.#lately[place] = sum
      return length
    }
  }

  #one(random: Random): Original {
    const { length } = this.#originals
    if (length === 0) return EMPTY
    // What was found last is where there is more to find.
    if (random.int(3) > 0) return random.pick(this.#originals)
    return this.#originals[length - 1 - random.int(Math.min(length, 16))]!
  }

  /** Of the bytes of the arena. */
  #run(at: number, length: number): boolean | Promise<boolean> {
    const input = this.#arena.bytes.subarray(at, at + length)
    this.#arena.note(at, length)
    const started = performance.now()
    try {
      const running = this.#target.execute(input)
      if (running !== undefined) return this.#ended(input, running, started)
      // The clock of the wall is quick to read, and says too much when others use the processor.
      if (performance.now() - started < SLOW_MS) return true
    } catch (error) {
      return this.#failed(input, error)
    }
    return this.#wasSlow(input)
  }

  async #ended(input: Uint8Array, running: Promise<void>, started: number): Promise<boolean> {
    try {
      await running
    } catch (error) {
      return this.#failed(input, error)
    }
    return performance.now() - started < SLOW_MS || this.#wasSlow(input)
  }

  /** @returns whether it is no failure after all */
  async #wasSlow(input: Uint8Array): Promise<boolean> {
    const again = process.threadCpuUsage()
    await this.#target.execute(input)
    const cpuMs = cpuMsSince(again)
    if (cpuMs < SLOW_MS) return true
    this.#failure = { input: input.slice(), problem: `it took ${Math.round(cpuMs)} ms of the processor` }
    return false
  }

  async #failed(input: Uint8Array, error: unknown): Promise<false> {
    this.#failure = { input: input.slice(), problem: await this.#problemOf(input) ?? String(error) }
    return false
  }

  /** Of an input that threw: with its stack, which takes longer to note than most inputs take to be refused. */
  async #problemOf(input: Uint8Array): Promise<string | undefined> {
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = STACK_LINES
    try {
      await this.#target.execute(input)
      return undefined
    } catch (error) {
      return error instanceof Error ? error.stack ?? error.message : String(error)
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
  }

  /**
   * Of inputs that ran a new block together, those that did: the first half runs again, the second one only where it is
   * not known to have done it since the first did not.
   * @param ran  what the one did, if it is one and ran again already
   */
  async #keepOf(from: number, to: number, ran?: Told): Promise<void> {
    if (to - from > 1) {
      const half = (from + to) >> 1
      const first = await this.#again(from, half)
      let second: Told | undefined
      if (this.#coverage.isNew(first)) {
        await this.#keepOf(from, half, first)
        second = await this.#again(half, to)
        if (!this.#coverage.isNew(second)) return
      }
      return this.#keepOf(half, to, second)
    }
    const told = ran ?? await this.#again(from, to)
    if (!this.#coverage.isNew(told)) return
    this.#coverage.add(told)
    if (this.#originals.length >= KEPT_MAX) return
    const input = this.#inputAt(from).slice()
    this.#originals.push(new Original(input))
    this.#kept.push(input)
  }

  /** What runs when these of the batch do. */
  async #again(from: number, to: number): Promise<Told> {
    for (let i = from; i < to; i++) {
      const begin = this.#begins[i]!
      this.#arena.note(begin, this.#begins[i + 1]! - begin)
      const running = this.#target.execute(this.#inputAt(i))
      if (running !== undefined) await running
    }
    return this.#coverage.take()
  }

  #inputAt(index: number): Uint8Array {
    return this.#arena.bytes.subarray(this.#begins[index]!, this.#begins[index + 1]!)
  }
}

const EMPTY = new Original(new Uint8Array(0))

function cpuMsSince(started: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(started)
  return (user + system) / 1000
}
