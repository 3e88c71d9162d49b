/** The disks and logs of nodes that have stopped, looked at one after the other, and what is wrong with them. */
import { readFileSync } from 'node:fs'
import type { StoppedNode } from '../cluster/volume-before-start.ts'
import { contentsOnDisk, differences } from '../nemesis/copies-at-rest.ts'

/** An assert that failed, or an exception: never right, whatever was done to a node. */
const BUG = /a bug|met a bug/
const SHOWN = 5

export class DisksAtRest {
  readonly #volumes: ReadonlyArray<{ id: string; name: string }>
  /** Of the first node, by volume. */
  readonly #first = new Map<string, Map<number, string>>()
  readonly #wrong: string[] = []

  constructor(volumes: ReadonlyArray<{ id: string; name: string }>) {
    this.#volumes = volumes
  }

  /** Every volume has a copy there, the same one as on the first. */
  readonly look = ({ config, paths }: StoppedNode): void => {
    const contents = contentsOnDisk(config.disks[0]!.path, this.#volumes.map(({ id }) => ({ volumeId: id })))
    for (const [i, { id, name }] of this.#volumes.entries()) {
      const content = contents[i]!
      const first = this.#first.get(id) ?? content
      this.#first.set(id, first)
      const found = differences(first, content)
      const where = `${name} on ${config.name}`
      if (content.size === 0) this.#wrong.push(`${where} is empty`)
      if (found.length > 0) {
        this.#wrong.push(`${where} differs in ${found.length} blocks: ${found.slice(0, SHOWN).join('; ')}`)
      }
    }
    this.#wrong.push(...readFileSync(paths.log, 'utf8').split('\n').filter((line) => BUG.test(line)))
  }

  get wrong(): readonly string[] {
    return this.#wrong
  }
}
