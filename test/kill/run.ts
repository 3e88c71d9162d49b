/**
 * `npm run kill -- --kills 100`: the long form of the kill test; kill.test.ts is the short one.
 *
 *   --kills N       how many, 100
 *   --seed S        the choices of a former run
 *   --disk BYTES    size of the disk, 1 GiB
 *   --volume BYTES  size of each of the two volumes, 300 MiB
 *   --keep          leave the folder of the node when something was wrong
 */
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { runKills } from './kill-run.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
    disk: { type: 'string', default: String(2 ** 30) },
    volume: { type: 'string', default: String(300 * 2 ** 20) },
    keep: { type: 'boolean', default: false },
  },
})
const tell = (line: string): void => void process.stdout.write(`${line}\n`)

const folder = mkdtempSync(path.join(os.tmpdir(), 'hfk-'))
const startedMs = performance.now()
let failed = true
try {
  tell(`seed ${values.seed}`)
  const report = await runKills({
    kills: Number(values.kills),
    seed: Number(values.seed),
    folder,
    diskBytes: Number(values.disk),
    volumeBytes: Number(values.volume),
    verifyShare: 0.1,
    tell,
  })
  const back = report.backMs.toSorted((a, b) => a - b)
  for (const problem of report.problems) tell(`WRONG: ${problem}`)
  tell(`${report.kills} kills, ${report.rebuilds} with a deleted index, ${report.damages.length} with a damaged one`)
  const [median = 0, longest = 0] = [back[back.length >> 1], back.at(-1)].map((timeMs) => Math.round(timeMs ?? 0))
  tell(`back after ${median} ms (median), ${longest} ms (longest)`)
  tell(Object.entries(report.counts).map(([name, count]) => `${count} ${name}`).join(', '))
  failed = report.problems.length > 0
  tell(`${Math.round((performance.now() - startedMs) / 1000)} s, ${failed ? 'FAILED' : '0 lost, 0 wrong'}`)
} finally {
  if (failed && values.keep) tell(`kept: ${folder}`)
  else rmSync(folder, { recursive: true, force: true })
}
process.exitCode = failed ? 1 : 0
