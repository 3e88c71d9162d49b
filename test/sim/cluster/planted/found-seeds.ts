/**
 * Which seed found a planted bug last, and by whom, in found-seeds.json beside this: hunted first, it makes the next
 * hunt short. It proves nothing by itself; in another text the seed may find nothing any more.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const FILE = join(import.meta.dirname, 'found-seeds.json')

export interface FoundBy {
  seed: number
  checker: string
}

export class FoundSeeds {
  private readonly file: string
  private readonly byName: Map<string, FoundBy>

  constructor(file = FILE) {
    this.file = file
    this.byName = new Map(Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, FoundBy>))
  }

  get names(): string[] {
    return [...this.byName.keys()]
  }

  get(name: string): FoundBy | undefined {
    return this.byName.get(name)
  }

  remember(name: string, { seed, checker }: FoundBy): void {
    this.byName.set(name, { seed, checker })
    const lines = [...this.byName]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([one, by]) => `  ${JSON.stringify(one)}: ${JSON.stringify(by)}`)
    writeFileSync(this.file, `{\n${lines.join(',\n')}\n}\n`)
  }
}
