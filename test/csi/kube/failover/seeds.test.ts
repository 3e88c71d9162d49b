/**
 * Risk: failover moves a pod that may still write, acts on what only looks dead, or stops half-way. Simulated clusters
 * in trouble, some seeds of many; by hand: `bin/node24 --dev test/csi/kube/failover/run.ts FIRST LAST`.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { runWorld } from './run-world.ts'

const SEEDS = 80

t.test('nothing is violated, and in the end everything is done', async (t) => {
  const did = new Set<string>()
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = await runWorld(seed)
    for (const what of Object.keys(result.did)) did.add(what)
    t.same(result.violations, [], `replay: bin/node24 --dev test/csi/kube/failover/run.ts ${seed}`)
  }
  t.same([...did].sort(), [
    'delete', 'delete-gently', 'evict', 'fence', 'release', 'taint holdfast.io/unreachable',
    'taint node.kubernetes.io/out-of-service', 'untaint',
  ], 'every kind of step was taken')
})

t.test('a seed repeats', async (t) => {
  t.same(await runWorld(4), await runWorld(4))
})
