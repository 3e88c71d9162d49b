/**
 * Seeds of the control plane's simulation by hand:
 *
 *   bin/node24 --dev test/control/run.ts 1 1000        seeds 1 to 1000: the bad ones
 *   bin/node24 --dev test/control/run.ts 17            seed 17: its world, what was done, what is wrong
 *   bin/node24 --dev test/control/run.ts 17 17 v0004   and every action that concerns a volume
 */
import { runWorld } from './world/run-world.ts'

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const [first = '1', last = first, volumeId] = process.argv.slice(2)
const startedMs = performance.now()
let bad = 0
let seconds = 0
for (let seed = Number(first); seed <= Number(last); seed++) {
  const result = runWorld(seed, volumeId === undefined ? undefined : { volumeId, print })
  seconds += result.seconds
  if (result.violations.length > 0) bad++
  if (result.violations.length === 0 && first !== last) continue
  print(`seed ${seed}: ${JSON.stringify(result.swarm)}`)
  print(`  ${result.seconds} s, ${result.peaceSeconds} s of peace, ${JSON.stringify(result.actions)}`)
  for (const violation of result.violations) print(`  ${violation}`)
}
const took = ((performance.now() - startedMs) / 1000).toFixed(1)
print(`${Number(last) - Number(first) + 1} seeds, ${bad} bad, ${seconds} virtual seconds in ${took} s`)
process.exitCode = bad === 0 ? 0 : 1
