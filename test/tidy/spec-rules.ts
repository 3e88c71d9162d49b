/**
 * The table of invariants in engine/replication/SPEC.md tells the truth, in both directions: each number is in the
 * message of an assert of every file that is named for it, and in the head of every checker that is named for it; and
 * no assert and no checker has a number that is not in the table, or is not named there. The rules on leases (L1...)
 * are each named where they are kept, and none is named that does not exist.
 */
import { lineOf } from './rule.ts'
import type { Rule, Tree, Violation } from './rule.ts'

const SPEC = 'engine/replication/SPEC.md'
const CODE = 'engine/replication'
const CHECKERS = 'test/sim/cluster/checker'

interface Row {
  number: string
  line: number
  asserted: string[]
  checkers: string[]
}

export const specNumbers: Rule = {
  name: 'the numbers of the replication spec are kept',
  check({ path, text }, tree) {
    if (path !== SPEC) return []
    const rows = rowsOf(text)
    return [...asserts(rows, tree), ...checked(rows, tree), ...leases(text, tree)]
  },
}

/** `| I1 | what | file.ts, other.ts | checker, other |`; `-` and what stands in brackets name nothing. */
function rowsOf(text: string): Row[] {
  return [...text.matchAll(/^\| (I\d+) \|[^\n]*\| ([^|\n]+) \| ([^|\n]+) \|$/gm)].map((match) => {
    const names = (cell: string): string[] => (/^[-(]/.test(cell) ? [] : cell.split(', '))
    const [, number = '', asserted = '', checkers = ''] = match
    return { number, line: lineOf(text, match.index), asserted: names(asserted), checkers: names(checkers) }
  })
}

function asserts(rows: readonly Row[], tree: Tree): Violation[] {
  const found: Violation[] = []
  const files = tree.files(CODE).filter((path) => path.endsWith('.ts'))
  const byFile = new Map(files.map((path) => [path, assertedIn(tree.read(path))] as const))
  for (const { number, line, asserted } of rows) {
    for (const name of asserted) {
      if (byFile.get(`${CODE}/${name}`)?.has(number) !== true) {
        found.push({ line, problem: `${number} is not in an assert of ${name}` })
      }
    }
  }
  for (const [path, numbers] of byFile) {
    for (const number of numbers) {
      if (!rows.some((row) => row.number === number)) {
        found.push({ line: 1, problem: `${path} asserts ${number}, which is not in the table` })
      }
    }
  }
  return found
}

/** `assert(..., 'I5: ...')`. */
const assertedIn = (text: string): Set<string> => new Set([...text.matchAll(/'(I\d+): /g)].map(([, number]) => number!))

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
