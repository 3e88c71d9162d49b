/**
 * Risk: an upgrade and a drain, or two leaders, take two nodes of a volume away at once; or nothing is ever replaced.
 *
 *   SEED=17 node test/csi/kube/leave-step.test.ts        one world
 *   SEEDS=20000 node ...                                 more of them
 */
// test-timeout-seconds: 300
import t from 'tap'
import { LeaveWorld, worldOf } from './leave-world.ts'

t.setTimeout(300_000)
const first = Number(process.env.SEED ?? 1)
const count = process.env.SEED === undefined ? Number(process.env.SEEDS ?? 200) : 1

t.test(`${count} worlds`, async (t) => {
  let [deleted, evicted] = [0, 0]
  for (let seed = first; seed < first + count; seed++) {
    const world = worldOf(LeaveWorld, seed)
    world.run()
    t.same(world.violations, [], `seed ${seed}`)
    deleted += world.deleted
    evicted += world.evicted
  }
  t.comment(`${deleted} pods were replaced, ${evicted} guards evicted`)
  if (count > 100) t.ok(deleted > count && evicted > count / 4, 'the worlds are not idle')
})
