/** Seeds of the simulation of failover: `bin/node24 --dev test/csi/kube/failover/run.ts FIRST [LAST]`. */
import { runWorld } from './run-world.ts'

const [first = 1, last = first] = process.argv.slice(2).map(Number)
let failed = 0
const total: Record<string, number> = {}
for (let seed = first; seed <= last; seed++) {
  const { violations, did } = await runWorld(seed)
  for (const [what, n] of Object.entries(did)) total[what] = (total[what] ?? 0) + n
  if (violations.length === 0) continue
  failed++
  console.log(`seed ${seed}: ${violations.length}: ${violations.slice(0, 3).join(' | ')}`)
}
console.log(`${last - first + 1} seeds, ${failed} failed; ${JSON.stringify(total)}`)
process.exitCode = failed === 0 ? 0 : 1
