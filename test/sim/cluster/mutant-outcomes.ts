/**
 * What hunts for planted bugs found, kept in a file that git ignores, so that a long hunt may be ended at any time and
 * goes on where it was. Outcomes belong to the very text of the engine and the simulator: what was hunted in another
 * text says nothing.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Outcome } from './mutant-search.ts'

/** What an outcome depends on. */
const FOLDERS = ['engine', 'test/sim']

interface Kept {
  text: string
  commit: string
  outcomes: Outcome[]
}

export class Outcomes {
  readonly commit: string
  private readonly file: string
  private readonly text: string
  private readonly byName = new Map<string, Outcome>()

  constructor(file: string, text: string, commit: string) {
    this.file = file
    this.text = text
    this.commit = commit
    const kept = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Kept) : undefined
    if (kept?.text !== text) return
    this.commit = kept.commit
    for (const outcome of kept.outcomes) this.byName.set(outcome.name, outcome)
  }

  get(name: string): Outcome | undefined {
    return this.byName.get(name)
  }

  /** What another piece of a hunt says, behind what was known. */
  add(piece: Outcome): Outcome {
    const former = this.byName.get(piece.name)
    const outcome = {
      ...piece,
      seeds: piece.seeds + (former?.seeds ?? 0),
      seconds: piece.seconds + (former?.seconds ?? 0),
    }
    this.byName.set(piece.name, outcome)
    const { text, commit } = this
    const kept: Kept = { text, commit, outcomes: [...this.byName.values()] }
    mkdirSync(dirname(this.file), { recursive: true })
    // Whole or not at all: the hunt may be stopped at any time.
    writeFileSync(`${this.file}.new`, JSON.stringify(kept))
    renameSync(`${this.file}.new`, this.file)
    return outcome
  }
}

/** A hash of everything in the folders that outcomes depend on. */
export function textOf(root: string): string {
  const hash = createHash('sha256')
  for (const folder of FOLDERS) {
    const names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    for (const name of names.filter((one) => one.endsWith('.ts')).sort()) {
      hash.update(name).update(readFileSync(join(root, folder, name)))
    }
  }
  return hash.digest('hex').slice(0, 16)
}
