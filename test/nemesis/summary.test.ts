/** Risk: a long run that was asked for more than it did is taken for one that did it. */
import t from 'tap'
import type { Row } from './fault.ts'
import type { NemesisReport } from './nemesis.ts'
import { shortfallsOf, summaryOf } from './summary.ts'

const LISTED = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 25, 27, 30]

function report(change: Partial<NemesisReport>): NemesisReport {
  return {
    seed: 1, seconds: 1800, faults: new Map<Row, number>(LISTED.map((row) => [row, 6])), missing: [],
    writes: 1_000_000, reads: 400_000, cpuMs: 300_000, heldMs: 0, longestHeldMs: 0, violations: [], folder: undefined,
    ...change,
  }
}

t.test('nothing lacks', async (t) => {
  t.same(shortfallsOf(report({}), 30), [])
  t.match(summaryOf(report({})).join('\n'), /1,000,000, 556 a second.*\n.*300 us of CPU each/)
})

const LACKS: Record<string, [change: Partial<NemesisReport>, words: RegExp]> = {
  'a row is rare, another was never done': [
    { faults: new Map(LISTED.filter((row) => row !== 19).map((row) => [row, row === 14 ? 4 : 9])) },
    /fewer than 5 times: 14 \(4\), 19 \(0\)$/,
  ],
  'one write lacks': [{ writes: 999_999 }, /fewer acknowledged writes than 1,000,000/],
  'faults are rare': [{ seconds: 15 * LISTED.length * 6 + 1 }, /fewer faults than one every 15 s/],
  'something is wrong': [{ violations: ['alpha: block 3'] }, /violations/],
}

for (const [name, [change, words]] of Object.entries(LACKS)) {
  t.test(name, async (t) => {
    t.match(shortfallsOf(report(change), 30), [words])
    t.same(shortfallsOf(report(change), 29), [], 'a shorter run is not held against it')
  })
}
