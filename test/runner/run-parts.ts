/** How much of a run belongs to which test file: each moment is divided among the files that are under way. */
export class RunParts {
  readonly #seconds = new Map<string, number>()
  readonly #running = new Set<string>()
  #countedTo = 0

  began(path: string, nowSeconds: number): void {
    this.#count(nowSeconds)
    this.#running.add(path)
  }

  /** @returns its seconds; those of all files together are the run's */
  ended(path: string, nowSeconds: number): number {
    this.#count(nowSeconds)
    this.#running.delete(path)
    return this.#seconds.get(path) ?? 0
  }

  #count(nowSeconds: number): void {
    const each = (nowSeconds - this.#countedTo) / this.#running.size
    for (const path of this.#running) this.#seconds.set(path, (this.#seconds.get(path) ?? 0) + each)
    this.#countedTo = nowSeconds
  }
}
