/**
 * `npm run nemesis -- --minutes M`: real processes, faults, and clients that know what every block may hold
 * (nemesis.ts). The summary of a run of five minutes or more goes to docs/proof.md.
 *
 *   --minutes M     how long, 5
 *   --seed S        the choices of a former run
 *   --only A,B      faults of these rows, or whose names hold these words
 *   --faults N      so many at most
 *   --workers N     data workers of each node, 1
 *   --list          the faults there are
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { commit, writeProof } from '../proof-page.ts'
import { FAULTS, runNemesis } from './nemesis.ts'
import { shortfallsOf, summaryOf } from './summary.ts'

/** From here on a run is worth a page. */
const LONG_MINUTES = 5

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
    only: { type: 'string' },
    faults: { type: 'string', default: 'Infinity' },
    workers: { type: 'string', default: '1' },
    list: { type: 'boolean', default: false },
  },
})
const tell = (line: string): void => void process.stdout.write(`${line}\n`)

/** Mounts and processes go away with the scene, so a signal ends the run in order; a second one at once. */
let isStopped = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => (isStopped = true))

if (values.list) {
  for (const { row, name, kind } of FAULTS) tell(`row ${row}: ${name} (${kind})`)
} else {
  const minutes = Number(values.minutes)
  tell(`seed ${values.seed}`)
  const report = await runNemesis({
    seed: Number(values.seed), seconds: minutes * 60, load: 'heavy', tell, only: values.only?.split(','),
    faultsMax: Number(values.faults), workers: Number(values.workers), isStopped: () => isStopped,
  })
  const summary = summaryOf(report)
  if (values.only === undefined) {
    for (const words of shortfallsOf(report, minutes)) summary.push(`| not reached | ${words} |`)
  }
  for (const line of summary) tell(line)
  for (const violation of report.violations) tell(`WRONG: ${violation}`)
  if (report.violations.length > 0) {
    tell(`seed ${report.seed}, rows ${[...report.faults.keys()].join(', ')}; logs and disks in ${report.folder}`)
    process.exitCode = 1
  }
  if (minutes >= LONG_MINUTES && values.only === undefined) {
    const workers = values.workers === '1' ? '' : ` --workers ${values.workers}`
    const what = `Commit ${commit()}, \`npm run nemesis -- --minutes ${minutes} --seed ${report.seed}${workers}\``
    writeProof('nemesis', [`${what}, on ${availableParallelism()} cores:`, '', ...summary])
  }
}
