/**
 * Which test files run side by side. A file that computes takes a processor; one that waits for timers and other
 * processes takes a part of one, so that several of them run beside it. Longest first, so that none runs alone at the
 * end; those that must run alone (`// test-serial`, mostly because they measure time) come last, one by one.
 *
 * Invariant: there is a file for each processor while any wait, and more of them only while together they take no more
 * than the processors there are.
 */
import type { TestFile } from './test-file.ts'

export interface Cost {
  /** By itself on a quiet machine. */
  seconds: number
  /** Processor time to elapsed time, with all of its processes. */
  cores: number
}

/** Beyond that it is memory and disks that they compete for. */
const FILES_PER_PROCESSOR = 2
/** Sums of decimal fractions. */
const ROUNDING = 1e-9

export class Schedule {
  readonly #waiting: TestFile[]
  readonly #alone: TestFile[]
  readonly #running = new Map<TestFile, number>()
  readonly #costOf: (path: string) => Cost
  readonly #processors: number

  constructor(files: readonly TestFile[], costOf: (path: string) => Cost, processors: number) {
    const isLonger = (a: TestFile, b: TestFile): number =>
      costOf(b.path).seconds - costOf(a.path).seconds || a.path.localeCompare(b.path)
    this.#waiting = files.filter(({ serial }) => !serial).sort(isLonger)
    this.#alone = files.filter(({ serial }) => serial)
    this.#costOf = costOf
    this.#processors = processors
  }

  get isOver(): boolean {
    return this.#waiting.length + this.#alone.length + this.#running.size === 0
  }

  /** The file that may begin now: the longest one for which there is room. It counts until `ended`. */
  next(): TestFile | undefined {
    const file = this.#waiting.find(({ path }) => this.#hasRoom(this.#costOf(path).cores))
    if (file !== undefined) {
      this.#waiting.splice(this.#waiting.indexOf(file), 1)
      this.#running.set(file, this.#costOf(file.path).cores)
      return file
    }
    if (this.#waiting.length > 0 || this.#running.size > 0) return undefined
    const alone = this.#alone.shift()
    if (alone !== undefined) this.#running.set(alone, this.#processors)
    return alone
  }

  ended(file: TestFile): void {
    this.#running.delete(file)
  }

  #hasRoom(cores: number): boolean {
    if (this.#running.size < this.#processors) return true
    if (this.#running.size >= FILES_PER_PROCESSOR * this.#processors) return false
    const taken = [...this.#running.values()].reduce((sum, one) => sum + one, 0)
    return taken + cores <= this.#processors + ROUNDING
  }
}
