/**
 * `bench/RESULTS.md`: a section for each suite, replaced when that suite runs again, so that one page shows the last
 * run of each. Every section carries its own commit, command and machine: they need not be of one run.
 *
 *     <!-- suite: full -->
 *     ## full
 *     ...
 *     <!-- end -->
 */
const HEAD = `# Measured

Written by \`npm run bench\`; do not edit. [README.md](README.md) says what the suites do and what makes a run
meaningless. Compare ratios within a section, never figures of two sections or two machines.
`

export interface Section {
  suite: string
  text: string
}

const SECTION = /<!-- suite: ([\w-]+) -->\n([\s\S]*?)\n<!-- end -->/g

export function sectionsOf(page: string): Section[] {
  return [...page.matchAll(SECTION)].map(([, suite = '', text = '']) => ({ suite, text }))
}

/** The page with this section in place of the former one of its suite. @param order  all suites; others' sections go */
export function withSection(page: string, section: Section, order: readonly string[]): string {
  const kept = sectionsOf(page).filter(({ suite }) => suite !== section.suite && order.includes(suite))
  const sections = [...kept, section].sort((a, b) => order.indexOf(a.suite) - order.indexOf(b.suite))
  return [HEAD, ...sections.map(({ suite, text }) => `<!-- suite: ${suite} -->\n${text}\n<!-- end -->\n`)].join('\n')
}
