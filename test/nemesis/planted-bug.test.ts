/**
 * Risk: the nemesis finds nothing, whatever is wrong. A build that answers writes before the other copies have stored
 * them is cut off from them, and has to be caught: first of all the same cuts without the bug find nothing.
 */
// test-timeout-seconds: 240
import { rmSync } from 'node:fs'
import t from 'tap'
import { runNemesis } from './nemesis.ts'
import type { NemesisReport } from './nemesis.ts'

const BUG = 'a write is answered before the others stored it'
const CUTS = ['a primary is cut off with its client']
/** What a client or the disks show; or a copy was faster, and its own asserts fenced it. */
const CAUGHT = /was read, possible are|differs in \d+ blocks|was read both before and after|met a bug of ours/

type Tell = (line: string) => void

const cuts = (faultsMax: number, plantedBug: string | undefined, tell: Tell): Promise<NemesisReport> =>
  runNemesis({ seed: 11, seconds: 60, only: CUTS, faultsMax, plantedBug, tell })

t.test(`${BUG}: caught`, async (t) => {
  const { violations, faults, folder } = await cuts(3, BUG, (line) => t.comment(line))
  const caught = violations.find((words) => CAUGHT.test(words))
  const all = violations.map((words) => words.split('\n')[0]).join('; ')
  t.ok(caught !== undefined, `after ${faults.get(8)} cuts: ${caught?.split('\n')[0] ?? all}`)
  if (folder !== undefined) t.teardown(() => rmSync(folder, { recursive: true }))
})

t.test('the same cuts without the bug', async (t) => {
  const { violations, writes } = await cuts(1, undefined, (line) => t.comment(line))
  t.same(violations, [], `${writes} acknowledged writes`)
})
