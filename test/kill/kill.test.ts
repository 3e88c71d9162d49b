// test-timeout-seconds: 120
/**
 * Risk: `kill -9` loses what was acknowledged, or brings back what was overwritten. The short form of
 * `npm run kill -- --kills 100`, with every kind of restart over the seeds of several runs.
 */
// test-serial: real processes that need both cores
import t from 'tap'
import { temporaryFolder } from '../temporary-folder.ts'
import { runKills } from './kill-run.ts'

t.test('a dozen kills under load: 0 lost, 0 wrong', async (t) => {
  const seed = Number(process.env.HOLDFAST_KILL_SEED ?? Math.floor(Math.random() * 1e6))
  t.comment(`seed ${seed}: npm run kill -- --kills 12 --seed ${seed}`)
  const report = await runKills({
    kills: 12,
    seed,
    folder: temporaryFolder(t),
    diskBytes: 512 * 2 ** 20,
    volumeBytes: 120 * 2 ** 20,
    verifyShare: 0.1,
    tell: (line) => t.comment(line),
  })
  t.same(report.problems, [])
  t.ok(report.kills >= 12)
  t.comment(Object.entries(report.counts).map(([name, count]) => `${count} ${name}`).join(', '))
})
