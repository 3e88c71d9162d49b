/**
 * The search for inputs that reach new branches: take one that is kept, change it, run it; what ran a block that had
 * never run is kept too. Looking at the counts costs a millisecond, so inputs run in batches, and a batch that found
 * something is halved until the input that did is alone.
 *
 * An input that throws, or takes more than `slowMs` of processor time, is a failure, and the search of the target ends.
 */
import type { BranchCoverage } from './branch-coverage.ts'
import { mutated } from './mutation.ts'
import type { Target } from './target.ts'
import { Random } from '../sim/random.ts'

const BATCH = 500
const BYTES_MAX = 4096
/** Of one input. The slowest of the corpora takes a tenth; what is quadratic in 4 KiB takes seconds. */
export const SLOW_MS = 250

export interface Failure {
  input: Uint8Array
  problem: string
}

export interface Slice {
  executions: number
  kept: Uint8Array[]
  failure?: Failure
}

export class Search {
  readonly #target: Target
  readonly #coverage: BranchCoverage
  readonly #corpus: Uint8Array[]
  readonly #words: Uint8Array[]
  readonly #note: (input: Uint8Array) => void
  #executions = 0
  #kept: Uint8Array[] = []
  #failure: Failure | undefined

  /** @param note  told of every input before it runs, for when it never ends */
  constructor(options: {
    target: Target
    coverage: BranchCoverage
    corpus: readonly Uint8Array[]
    note: (input: Uint8Array) => void
  }) {
    this.#target = options.target
    this.#coverage = options.coverage
    this.#note = options.note
    this.#corpus = [...options.corpus]
    this.#words = (options.target.words ?? []).map((word) => Buffer.from(word))
    // What ran before this is nobody's finding.
    options.coverage.add(options.coverage.take())
  }

  /** The inputs that were there before, once each. */
  runCorpus(): Slice {
    this.#begin()
    this.#corpus.every((input) => this.#run(input))
    this.#coverage.add(this.#coverage.take())
    return this.#result()
  }

  /** Until so many executions, or so much time of the processor. */
  runSlice(seed: number, options: { executions: number; cpuMs: number }): Slice {
    this.#begin()
    const random = new Random(seed)
    const started = process.threadCpuUsage()
    while (this.#executions < options.executions && this.#failure === undefined) {
      const batch = Array.from({ length: Math.min(BATCH, options.executions - this.#executions) }, () =>
        mutated(random, this.#one(random), this.#one(random), this.#words, this.#target.bytesMax ?? BYTES_MAX))
      if (!batch.every((input) => this.#run(input))) break
      const ran = this.#coverage.take()
      if (this.#coverage.isNew(ran)) this.#keepOf(batch)
      this.#coverage.add(ran)
      if (cpuMsSince(started) > options.cpuMs) break
    }
    return this.#result()
  }

  #begin(): void {
    this.#executions = 0
    this.#kept = []
    this.#failure = undefined
  }

  #result(): Slice {
    const failure = this.#failure === undefined ? {} : { failure: this.#failure }
    return { executions: this.#executions, kept: this.#kept, ...failure }
  }

  #one(random: Random): Uint8Array {
    const { length } = this.#corpus
    if (length === 0) return new Uint8Array(0)
    // What was found last is where there is more to find.
    if (random.int(3) > 0) return random.pick(this.#corpus)
    return this.#corpus[length - 1 - random.int(Math.min(length, 16))]!
  }

  #run(input: Uint8Array): boolean {
    this.#executions++
    this.#note(input)
    const started = performance.now()
    try {
      this.#target.execute(input)
    } catch (error) {
      this.#failure = { input, problem: error instanceof Error ? error.stack ?? error.message : String(error) }
      return false
    }
    // The clock of the wall is quick to read, and says too much when others use the processor.
    if (performance.now() - started < SLOW_MS) return true
    const again = process.threadCpuUsage()
    this.#target.execute(input)
    const cpuMs = cpuMsSince(again)
    if (cpuMs < SLOW_MS) return true
    this.#failure = { input, problem: `it took ${Math.round(cpuMs)} ms of the processor` }
    return false
  }

  /** Runs them again, in halves, to know which of them ran what never ran before. */
  #keepOf(inputs: readonly Uint8Array[]): void {
    for (const input of inputs) this.#target.execute(input)
    const ran = this.#coverage.take()
    if (!this.#coverage.isNew(ran)) return
    if (inputs.length > 1) {
      const half = inputs.length >> 1
      this.#keepOf(inputs.slice(0, half))
      this.#keepOf(inputs.slice(half))
      return
    }
    this.#coverage.add(ran)
    this.#corpus.push(inputs[0]!)
    this.#kept.push(inputs[0]!)
  }
}

function cpuMsSince(started: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(started)
  return (user + system) / 1000
}
