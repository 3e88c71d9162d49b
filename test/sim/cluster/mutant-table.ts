/**
 * The table of planted bugs in docs/proof.md: which of the seeds that were asked for found each, and of each invariant
 * the bug that shows that it is looked at. What another hunt found beyond those seeds counts for nothing.
 */
import { coverageLines, coverageOf } from './mutant-coverage.ts'
import type { Finding, Outcome } from './mutant-search.ts'
import { seedAmong, type PlantedBug } from './planted/planted-bug.ts'

/** What was found by seeds 1 to `seeds`, by as many of those with clones or readers, or by a test. */
export function findingWithin(
  outcome: Outcome | undefined, seeds: number, bug?: Pick<PlantedBug, 'among'>,
): Finding | undefined {
  const finding = outcome?.finding
  const among = bug?.among ?? 'counted'
  const last = among === 'none' ? 0 : seedAmong(among, seeds)
  return finding !== undefined && finding.seed <= last ? finding : undefined
}

export interface Hunted {
  bugs: readonly PlantedBug[]
  outcomeOf(name: string): Outcome
  commit: string
  /** Of one bug. */
  limits: { seeds: number; seconds: number }
  /** Lines of what other tests plant. */
  elsewhere?: readonly string[]
}

export function tableLines({ bugs, outcomeOf, commit, limits, elsewhere = [] }: Hunted): string[] {
  const byName = new Map(bugs.map((bug) => [bug.name, bug] as const))
  const findingOf = (name: string): Finding | undefined =>
    findingWithin(outcomeOf(name), limits.seeds, byName.get(name))
  const found = bugs.filter(({ name }) => findingOf(name) !== undefined)
  const survivors = bugs.filter((bug) => !found.includes(bug))
  const isBySeed = ({ name }: PlantedBug): boolean => findingOf(name)!.seed > 0
  const isCounted = (bug: PlantedBug): boolean => bug.among === 'counted' && isBySeed(bug)
  const seeds = found.filter(isCounted).map(({ name }) => findingOf(name)!.seed).sort((a, b) => a - b)
  const bySeeds = found.filter(isBySeed).length
  const equal = survivors.filter(({ harmless }) => harmless !== undefined).length
  const minutes = Math.ceil(bugs.reduce((sum, { name }) => sum + outcomeOf(name).seconds, 0) / 60)
  return [
    `Commit ${commit}: **${found.length} of ${bugs.length}** planted bugs found, ${bySeeds} of them by one of seeds ` +
      `1 to ${limits.seeds} of the default swarm (or given up after ${limits.seconds} CPU seconds), ` +
      `${found.length - bySeeds} by a test file that fails with the bug. ${equal} of the others change nothing that ` +
      `is promised; the table says why. Half of the seeds are ${seeds[seeds.length >> 1] ?? 0} or below. The hunt ` +
      `took ${minutes} CPU minutes. Bugs of clones, and of what is read of snapshots, are hunted by seeds that have ` +
      'some, from 10,001 on.',
    '',
    storesLine(bugs),
    'The seeds of a bug are not run in order: first the one that found it before',
    `(\`test/sim/cluster/planted/found-seeds.json\`), if it is one of 1 to ${limits.seeds},`,
    'then those that drew what its mechanism needs (`looksAt` of the bug, which sees what a seed drew and not what it',
    'does), then the others. *Seed* is the one that found it, *run* is how many were run in this hunt.',
    '',
    '| planted bug | breaks | found by | seed | run |',
    '|---|---|---|---|---|',
    ...found.map(({ name, breaks }) => {
      const { checker, seed } = findingOf(name)!
      const { seeds } = outcomeOf(name)
      if (seed === 0) return `| ${name} | ${breaks} | \`${checker}\` | - | ${seeds === 0 ? '-' : seeds} |`
      return `| ${name} | ${breaks} | ${checker} | ${seed} | ${outcomeOf(name).seeds} |`
    }),
    ...survivors.map(({ name, breaks, harmless }) => {
      return `| ${name} | ${breaks} | **survives**: ${harmless ?? 'not found yet'} | - | ${outcomeOf(name).seeds} |`
    }),
    '',
    ...elsewhere,
    ...(elsewhere.length > 0 ? [''] : []),
    'Of each invariant of replication the bug with the lowest seed that its own checker or assert finds, and of each',
    'promise of a store the bug that breaks it first (`test/sim/mutants.test.ts`):',
    '',
    ...coverageLines(coverageOf(bugs, findingOf)),
  ]
}

/** On which store bugs are hunted: the protocol is the same over both, and the small one runs many more seeds. */
export function storesLine(bugs: ReadonlyArray<Pick<PlantedBug, 'store'> & Partial<PlantedBug>>): string {
  const inMemory = bugs.filter(({ store }) => store === 'memory').length
  const byTests = bugs.filter(({ among }) => among === 'none').length
  const apart = byTests === 0 ? '' : `, ${byTests} anywhere and hunted by tests`
  return (
    `${inMemory} of the ${bugs.length} are planted in the protocol and hunted with a small store in memory ` +
    `(\`--store memory\`), ${bugs.length - inMemory - byTests} in what keeps a copy and hunted with the engine's own ` +
    `store${apart}.`
  )
}
