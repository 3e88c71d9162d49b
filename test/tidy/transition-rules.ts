/**
 * The tables of events in engine/replication/SPEC.md are those of the code: each cell of the copy's is the decision
 * that `transitions.ts` has for that event and role, no row and no role is missing or too many, and the frontend's
 * events are those that its step knows.
 */
import { BEFORE_RECOVERY, TRANSITIONS } from '../../engine/replication/transitions.ts'
import { lineOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'

const SPEC = 'engine/replication/SPEC.md'
const FRONTEND = 'engine/replication/frontend.ts'
const BEFORE = 'before it is recovered'

/** By role, then by event. */
export type Decisions = Readonly<Record<string, Readonly<Record<string, string>>>>

const OF_CODE: Decisions = { [BEFORE]: BEFORE_RECOVERY, ...TRANSITIONS }

export const specTransitions: Rule = {
  name: 'the tables of events in the replication spec are those of the code',
  check({ path, text }, tree) {
    if (path !== SPEC) return []
    return [...copyProblems(text, OF_CODE), ...frontendProblems(text, tree.read(FRONTEND))]
  },
}

/** `| event | who says what | before it is recovered | a role, another | ... |`. */
export function copyProblems(text: string, ofCode: Decisions): Violation[] {
  const table = tableOf(text, 'event', 'who says what')
  if (table === undefined) return [{ line: 1, problem: 'there is no table of the events of a copy' }]
  const found: Violation[] = []
  const columns = table.head.slice(2).map((cell) => cell.split(', '))
  const roles = columns.flat()
  for (const role of Object.keys(ofCode)) {
    const count = roles.filter((one) => one === role).length
    if (count !== 1) found.push({ line: table.line, problem: `${role} is in ${count} columns` })
  }
  for (const role of roles) {
    if (ofCode[role] === undefined) found.push({ line: table.line, problem: `the code has no role ${role}` })
  }
  const events = Object.keys(ofCode[BEFORE]!)
  found.push(...nameProblems(table, events))
  for (const { line, cells: [event = '', , ...decisions] } of table.rows) {
    columns.forEach((group, at) => {
      for (const role of group) {
        const decision = ofCode[role]?.[event]
        if (decision === undefined || decision === decisions[at]) continue
        found.push({ line, problem: `${event} is ${decisions[at]} here, and ${decision} in the code (${role})` })
      }
    })
  }
  return found
}

/** `| event | what it says |`, and each `case` of the first function with a switch over events. */
export function frontendProblems(text: string, code: string): Violation[] {
  const table = tableOf(text, 'event', 'what it says')
  if (table === undefined) return [{ line: 1, problem: 'there is no table of the events of a frontend' }]
  const step = /switch \(event\.type\) \{[\s\S]*?unreachable\(event\)/.exec(code)?.[0] ?? ''
  return nameProblems(table, [...step.matchAll(/case '([a-z-]+)':/g)].map(([, name]) => name!))
}

interface Table {
  line: number
  head: string[]
  rows: Array<{ line: number; cells: string[] }>
}

/** The table whose head begins so. */
function tableOf(text: string, ...begin: string[]): Table | undefined {
  const at = text.search(new RegExp(`^\\| ${begin.join(' \\| ')} \\|`, 'm'))
  if (at < 0) return undefined
  const line = lineOf(text, at)
  const lines = text.slice(at).split('\n')
  const end = lines.findIndex((one) => !one.startsWith('|'))
  const cells = lines.slice(0, end < 0 ? lines.length : end).map((one) => one.slice(2, -2).split(' | '))
  const [head = [], , ...rows] = cells
  return { line, head, rows: rows.map((row, i) => ({ line: line + 2 + i, cells: row })) }
}

/** Each of the code has one row, and there is no other. */
function nameProblems({ line, rows }: Table, names: readonly string[]): Violation[] {
  const found: Violation[] = []
  for (const name of names) {
    const count = rows.filter(({ cells }) => cells[0] === name).length
    if (count !== 1) found.push({ line, problem: `${name} has ${count} rows` })
  }
  for (const { line: at, cells } of rows) {
    if (!names.includes(cells[0]!)) found.push({ line: at, problem: `the code has no event ${cells[0]}` })
  }
  return found
}
