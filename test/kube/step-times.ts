/** How long each step of a story took, and a table of that. */

export class StepTimes {
  readonly #rows: Array<readonly [what: string, ms: number]> = []

  async of<T>(what: string, step: () => Promise<T>): Promise<T> {
    const beganMs = performance.now()
    const done = await step()
    this.add(what, performance.now() - beganMs)
    return done
  }

  add(what: string, ms: number): void {
    this.#rows.push([what, ms])
  }

  lines(): string[] {
    const rows = this.#rows.map(([what, ms]) => `| ${what} | ${(ms / 1000).toFixed(1)} |`)
    return ['| step | seconds |', '|---|---|', ...rows]
  }
}
