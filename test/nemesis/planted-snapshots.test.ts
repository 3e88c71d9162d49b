/**
 * Risk: the nemesis rolls volumes back and hydrates clones, and takes whatever they show then for right. Builds that
 * do it wrong have to be caught.
 */
// test-timeout-seconds: 300
import { rmSync } from 'node:fs'
import t from 'tap'
import { runNemesis } from './nemesis.ts'
import { NEMESIS_PLANTED } from './planted-bugs.ts'

for (const { name, faults, caught } of NEMESIS_PLANTED) {
  t.test(`${name}: caught`, async (t) => {
    const tell = (line: string): void => t.comment(line)
    const options = { seed: 12, seconds: 60, only: faults, faultsMax: 2 * faults.length, plantedBug: name }
    const { violations, folder } = await runNemesis({ ...options, tell })
    const words = violations.map((one) => one.split('\n')[0])
    t.ok(words.some((one) => caught.test(one!)), words.join('; '))
    if (folder !== undefined) t.teardown(() => rmSync(folder, { recursive: true }))
  })
}
