/**
 * What a pass of the cleaner costs for each live block, of a volume with many snapshots and of one without, in turn: of
 * the processor on the thread that cleans, on all threads, and elapsed. The first two can be compared while the machine
 * is busy.
 *
 *   node bench/micro/cleaner-pass.ts [DIR [SNAPSHOTS [ROUNDS]]]
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { measurePass, type PassTime } from '../volume/cleaner-pass.ts'
import { ratios, spread } from '../volume/ratio.ts'

const [dir = os.tmpdir(), snapshots = '2000', rounds = '3'] = process.argv.slice(2)
const WRITES_BETWEEN = 100
const FIGURES = { ownThread: 'own thread', allThreads: 'all threads', elapsed: 'elapsed' } as const
const NAMES = ['with', 'without'] as const

const took: Record<(typeof NAMES)[number], PassTime[]> = { with: [], without: [] }
const folder = fs.mkdtempSync(path.join(dir, 'holdfast-cleaner-pass-'))
try {
  for (let round = 0; round < Number(rounds); round++)
    for (const name of round % 2 === 0 ? NAMES : NAMES.toReversed()) {
      const options = { rounds: Number(snapshots), writes: WRITES_BETWEEN, withSnapshots: name === 'with' }
      took[name].push(await measurePass({ dir: path.join(folder, `${name}-${round}`), ...options }))
      fs.rmSync(path.join(folder, `${name}-${round}`), { recursive: true })
    }
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
for (const figure of Object.keys(FIGURES) as Array<keyof typeof FIGURES>) {
  const [many, plain] = NAMES.map((name) => took[name].map((time) => time[figure])) as [number[], number[]]
  const { median, least, most } = spread(ratios(many, plain))
  const shown = (values: readonly number[]): string => `${spread(values).median.toFixed(2).padStart(6)} us`
  console.log(
    `${FIGURES[figure].padEnd(12)} ${shown(many)} with ${snapshots} snapshots, ${shown(plain)} without: ` +
      `${median.toFixed(2)}x (${least.toFixed(2)} to ${most.toFixed(2)})`,
  )
}
