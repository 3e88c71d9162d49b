/**
 * Risk: a client of a cluster sees an error or a lost write, a pause does not end, or copies differ, when something
 * fails under load. The short form of `npm run nemesis -- --minutes 30`; `NEMESIS_SEED` and `NEMESIS_SECONDS` make it
 * another run, or a longer one.
 */
// test-timeout-seconds: 300
// test-serial: real processes that need both cores
import t from 'tap'
import { runNemesis } from './nemesis.ts'

/** Without what needs strace or a mount, and without what a run of a minute would seldom come to. */
const ROWS = [
  '1', '2', '3', '5', '6', '7', '8', '9', '10', '11', '12', '22', '27', '28', '30', 'plan', 'snapshots', 'index',
  'wiped',
]
const SEED = Number(process.env.NEMESIS_SEED ?? Math.floor(Math.random() * 1e6))
const SECONDS = Number(process.env.NEMESIS_SECONDS ?? 30)

t.test(`a fault every few seconds for ${SECONDS} s`, async (t) => {
  t.comment(`npm run nemesis -- --minutes ${SECONDS / 60} --seed ${SEED} --only ${ROWS.join()}`)
  const report = await runNemesis({ seed: SEED, seconds: SECONDS, only: ROWS, tell: (line) => t.comment(line) })
  const { violations, faults, writes, longestHeldMs, folder } = report
  t.same(violations, [], folder === undefined ? 'nothing is wrong' : `logs and disks in ${folder}`)
  const count = [...faults.values()].reduce((sum, one) => sum + one, 0)
  const held = `held for ${Math.round(longestHeldMs)} ms at most`
  t.ok(count >= SECONDS / 15, `${count} faults, ${writes} acknowledged writes, ${held}`)
})
