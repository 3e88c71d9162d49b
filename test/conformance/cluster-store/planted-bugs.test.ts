/**
 * Risk: the tests of the cluster store pass because they see nothing. Every planted bug makes its test file fail, which
 * passes as the store is.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import t from 'tap'
import { misfit } from '../../sim/mutants.ts'
import { STORE_PLANTED } from './planted-bugs.ts'

const root = path.resolve(import.meta.dirname, '../../..')

/** How the file ends, one seed of it where it has seeds. */
async function statusOf(file: string, bug: string | undefined): Promise<number | null> {
  const { TAP: _, ...env } = process.env
  const hook = bug === undefined ? [] : ['--import', './test/sim/mutants.ts']
  const planted = bug === undefined ? {} : { PLANTED_BUG: bug }
  const child = spawn(process.execPath, [...hook, file], {
    cwd: root, env: { ...env, ...planted, SEED: '1' }, stdio: 'ignore', timeout: 60_000,
  })
  const [code] = await once(child, 'close') as [number | null]
  return code
}

const fileOf = ({ hunt }: (typeof STORE_PLANTED)[number]): string => (hunt.run === 'file' ? hunt.path : '')

for (const file of new Set(STORE_PLANTED.map(fileOf))) {
  t.test(`${file} passes without a bug`, async (t) => t.equal(await statusOf(file, undefined), 0))
}
for (const mutant of STORE_PLANTED) {
  t.test(mutant.name, async (t) => {
    t.equal(misfit(mutant), undefined)
    t.equal(await statusOf(fileOf(mutant), mutant.name), 1)
  })
}
