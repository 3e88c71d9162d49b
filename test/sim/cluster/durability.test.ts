/**
 * Risk: a volume that is changed between `durable` and `writeback` under load loses an answered write, or breaks a
 * session that lost nothing (SPEC W10, DURABILITY.md). Seeds whose volume is changed again and again, with loss of
 * power of one and of all: none may complain now, and bugs planted in it have to be found.
 */
// test-timeout-seconds: 420
import t from 'tap'
import { changesDurability } from './durability-focus.ts'
import { isHunted, runsWell } from './focused-seeds.ts'
import { PLANTED_DURABILITY } from './planted/durability.ts'
import { swarmOf } from './run-seed.ts'

t.setTimeout(420_000)

/** One in ten has them. */
const SEEDS = Array.from({ length: 8 }, (_, i) => 20_004 + 10 * i)
/** Where bugs are looked for, until one is found: which one it is changes with every line of the core. */
const KNOWN = [20_004, 20_014, 20_064, 20_084, 20_134]
const HUNTED = [...KNOWN, ...Array.from({ length: 150 }, (_, i) => 20_004 + 10 * i)]

t.test('which seeds have them', (t) => {
  for (const seed of SEEDS) t.ok(changesDurability(swarmOf(seed)), `seed ${seed}`)
  t.notOk([4, 9_994, 10_004, 20_005].some((seed) => changesDurability(swarmOf(seed))), 'the others are what they were')
  t.end()
})

t.test('no checker complains, and the durability changes', (t) => {
  let changes = 0
  runsWell(t, SEEDS, 1, ({ durabilities }) => (changes += durabilities))
  t.ok(changes >= 16, `${changes} times`)
  t.end()
})

for (const bug of PLANTED_DURABILITY) {
  t.test(bug.name, (t) => isHunted(t, bug, { seeds: HUNTED, store: 'memory', isFound: (one) => one === bug.checker }))
}
