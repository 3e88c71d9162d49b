/**
 * Risk: the nemesis rolls volumes back and hydrates clones, and takes whatever they show then for right. Builds that
 * do it wrong have to be caught.
 */
// test-timeout-seconds: 300
import { rmSync } from 'node:fs'
import t from 'tap'
import { MIB } from '../../engine/units.ts'
import { runNemesis } from './nemesis.ts'
import { NEMESIS_PLANTED } from './planted-bugs.ts'

/** Half of what a volume of the nemesis has: each is read as a whole several times. */
const VOLUME_BYTES = 12 * MIB

for (const { name, faults, caught } of NEMESIS_PLANTED) {
  t.test(`${name}: caught`, async (t) => {
    const tell = (line: string): void => t.comment(line)
    const options = { seed: 12, seconds: 60, only: faults, faultsMax: 2 * faults.length, plantedBug: name }
    const { violations, folder } = await runNemesis({ ...options, volumeBytes: VOLUME_BYTES, tell })
    const words = violations.map((one) => one.split('\n')[0])
    t.ok(words.some((one) => caught.test(one!)), words.join('; '))
    if (folder !== undefined) t.teardown(() => rmSync(folder, { recursive: true }))
  })
}
