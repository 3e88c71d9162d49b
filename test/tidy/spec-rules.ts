/**
 * The table of invariants in engine/replication/SPEC.md tells the truth, in both directions: each number is in the
 * message of an assert of every file that is named for it, and in the head of every checker that is named for it; and
 * no assert under engine/ and no checker has a number whose row does not name it. A row without an assert says why, and
 * has a checker. The rules on leases (L1...) are each named where they are kept, and none is named that does not exist.
 */
import { lineOf } from './rule.ts'
import type { Rule, Tree, Violation } from './rule.ts'

const SPEC = 'engine/replication/SPEC.md'
const CODE = 'engine/replication'
const CHECKERS = 'test/sim/cluster/checker'

interface Row {
  number: string
  line: number
  /** Paths. */
  asserted: string[]
  /** Why there is none. */
  unasserted: string | undefined
  /** Names of the simulator's. */
  checkers: string[]
  /** Paths of others. */
  others: string[]
}

export const specNumbers: Rule = {
  name: 'the numbers of the replication spec are kept',
  check({ path, text }, tree) {
    if (path !== SPEC) return []
    const rows = rowsOf(text)
    return [...asserts(rows, tree), ...checked(rows, tree), ...judged(rows, tree), ...leases(text, tree)]
  },
}

/**
 * `| I1 | what | file.ts, control/other.ts | checker, other |`; `- (why)` instead of files, `(test/a.ts)` instead of
 * the simulator's checkers. A file is one of replication, or its path under engine/.
 */
function rowsOf(text: string): Row[] {
  const pathOf = (name: string): string => (name.includes('/') ? `engine/${name}` : `${CODE}/${name}`)
  return [...text.matchAll(/^\| (I\d+) \|[^\n]*\| ([^|\n]+) \| ([^|\n]+) \|$/gm)].map((match) => {
    const [, number = '', asserted = '', checkers = ''] = match
    const hasAsserts = !asserted.startsWith('-')
    const isOther = checkers.startsWith('(')
    const named = checkers === '-' ? [] : checkers.replace(/^\(|\)$/g, '').split(', ')
    return {
      number,
      line: lineOf(text, match.index),
      asserted: hasAsserts ? asserted.split(', ').map(pathOf) : [],
      unasserted: hasAsserts ? undefined : /^- \((.+)\)$/.exec(asserted)?.[1] ?? '',
      checkers: isOther ? [] : named,
      others: isOther ? named : [],
    }
  })
}

function asserts(rows: readonly Row[], tree: Tree): Violation[] {
  const found: Violation[] = []
  const byFile = new Map(codeFiles('engine', tree).map((path) => [path, assertedIn(tree.read(path))] as const))
  for (const { number, line, asserted } of rows) {
    for (const path of asserted) {
      if (byFile.get(path)?.has(number) !== true) {
        found.push({ line, problem: `${number} is not in an assert of ${path}` })
      }
    }
  }
  for (const [path, numbers] of byFile) {
    for (const number of numbers) {
      const row = rows.find((one) => one.number === number)
      if (row?.asserted.includes(path) === true) continue
      const where = row === undefined ? 'which is not in the table' : 'and its row does not name the file'
      found.push({ line: row?.line ?? 1, problem: `${path} asserts ${number}, ${where}` })
    }
  }
  return found
}

function codeFiles(folder: string, tree: Tree): string[] {
  return tree.files(folder).flatMap((path) => {
    if (path.endsWith('.ts')) return [path]
    return /\.[^/]*$/.test(path) ? [] : codeFiles(path, tree)
  })
}

/** `assert(..., 'I5: ...')`. */
const assertedIn = (text: string): Set<string> =>
  new Set([...text.matchAll(/['"`](I\d+): /g)].map(([, number]) => number!))

/** What no assert keeps is judged by somebody, and the others that are named look at it. */
function judged(rows: readonly Row[], tree: Tree): Violation[] {
  const found: Violation[] = []
  for (const { number, line, unasserted, checkers, others } of rows) {
    if (unasserted === '') found.push({ line, problem: `${number} has no assert, and no reason why` })
    if (checkers.length + others.length === 0) found.push({ line, problem: `${number}: nobody looks at it` })
    for (const path of others) {
      const isThere = tree.exists(path) && new RegExp(`\\b${number}\\b`).test(tree.read(path))
      if (!isThere) found.push({ line, problem: `${number} is not in ${path}` })
    }
  }
  return found
}

function checked(rows: readonly Row[], tree: Tree): Violation[] {
  const found: Violation[] = []
  for (const path of tree.files(CHECKERS)) {
    const name = path.slice(CHECKERS.length + 1).replace(/\.ts$/, '')
    const numbers = headNumbers(tree.read(path))
    for (const row of rows) {
      const { number, line } = row
      if (row.checkers.includes(name) && !numbers.has(number)) {
        found.push({ line, problem: `${number} is not in the head of the checker ${name}` })
      } else if (!row.checkers.includes(name) && numbers.has(number)) {
        found.push({ line, problem: `${number} is in the head of the checker ${name}, which is not named` })
      }
    }
    for (const number of numbers) {
      if (!rows.some((row) => row.number === number)) {
        found.push({ line: 1, problem: `the checker ${name} has ${number}, which is not in the table` })
      }
    }
  }
  for (const { number, line, checkers } of rows) {
    for (const name of checkers) {
      if (!tree.exists(`${CHECKERS}/${name}.ts`)) found.push({ line, problem: `${number}: no checker ${name}` })
    }
  }
  return found
}

/** In the first comment: `I4, I5, I15-I17`. */
function headNumbers(text: string): Set<string> {
  const head = /^\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? ''
  const numbers = new Set<string>()
  for (const [, first, last = first] of head.matchAll(/\bI(\d+)(?:-I(\d+))?\b/g)) {
    for (let number = Number(first); number <= Number(last); number++) numbers.add(`I${number}`)
  }
  return numbers
}

/** `L1. ...` at the beginning of a line. */
function leases(text: string, tree: Tree): Violation[] {
  const rules = new Map([...text.matchAll(/^(L\d+)\. /gm)].map((match) => [match[1]!, lineOf(text, match.index)]))
  const named = new Map<string, string>()
  for (const path of tree.files(CODE).filter((one) => one.endsWith('.ts'))) {
    for (const [number] of tree.read(path).matchAll(/\bL\d+\b/g)) named.set(number, path)
  }
  const found: Violation[] = []
  for (const [number, line] of rules) {
    if (!named.has(number)) found.push({ line, problem: `${number} is named by no file of ${CODE}` })
  }
  for (const [number, path] of named) {
    if (!rules.has(number)) found.push({ line: 1, problem: `${path} names ${number}, which does not exist` })
  }
  return found
}
