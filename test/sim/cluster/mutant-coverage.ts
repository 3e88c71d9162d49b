/**
 * Which planted bug shows that an invariant of the replication spec (I1 to I26) is looked at: one that breaks it and is
 * found by its own checker or its own assert, before anybody else complains. Of the promises of a store (L1 to L12) the
 * bugs themselves say it (checker/planted-bugs.ts).
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { PLANTED as STORE_PLANTED, STORE_PROMISES } from '../checker/planted-bugs.ts'
import type { FoundBy } from './planted/found-seeds.ts'
import type { PlantedBug } from './planted/planted-bug.ts'

const SPEC = join(dirname(dirname(dirname(import.meta.dirname))), 'engine/replication/SPEC.md')

/** Only seeds above the counted ones meet their bugs: a test of its own hunts them. */
export const HUNTED_APART: Readonly<Record<string, string>> = {
  I25: 'test/sim/cluster/groups.test.ts',
  I26: 'test/sim/cluster/shrinks.test.ts',
}

export interface Coverage {
  number: string
  /** Who may find it; nobody: it is the control plane's. */
  own: string[]
  /** Found by one of these, with the lowest seed. */
  first: { name: string; by: FoundBy } | undefined
}

export function coverageOf(
  bugs: readonly PlantedBug[],
  foundBy: (name: string) => FoundBy | undefined,
): Coverage[] {
  const rows = [...readFileSync(SPEC, 'utf8').matchAll(/^\| (I\d+) \|[^\n]*\| ([^|\n]+) \|$/gm)]
  return rows.map(([, number = '', checkers = '']) => {
    const own = checkers.startsWith('(') ? [] : [...checkers.split(', '), `assert ${number}`]
    const found = bugs.flatMap(({ name, breaks }) => {
      const by = breaks.split(', ').includes(number) ? foundBy(name) : undefined
      return by !== undefined && own.includes(by.checker) ? [{ name, by }] : []
    })
    found.sort((a, b) => a.by.seed - b.by.seed)
    return { number, own, first: found[0] }
  })
}

/** The lines of a table for docs/proof.md. */
export function coverageLines(coverage: readonly Coverage[]): string[] {
  const ofInvariant = ({ number, own, first }: Coverage): string => {
    const apart = HUNTED_APART[number]
    if (apart !== undefined) return `| ${number} | those of \`${apart}\` | ${own.join(' or ')} |`
    if (own.length === 0) return `| ${number} | the control plane's (\`engine/control/SPEC.md\`) | - |`
    return `| ${number} | ${first?.name ?? '**none**'} | ${first === undefined ? '-' : first.by.checker} |`
  }
  const ofPromise = (number: string): string => {
    const bug = STORE_PLANTED.find(({ promise }) => promise === number)
    const how = bug?.hunt.run === 'file' ? bug.hunt.path : `${bug?.hunt.run}, seed ${bug?.hunt.seed}`
    return `| ${number} | ${bug?.name ?? '**none**'} | ${how} |`
  }
  return [
    '| invariant | broken first by | found by |',
    '|---|---|---|',
    ...coverage.map(ofInvariant),
    ...Object.keys(STORE_PROMISES).map(ofPromise),
  ]
}
