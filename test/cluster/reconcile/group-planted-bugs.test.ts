/**
 * Risk: what an attempt that failed has on its way makes a snapshot that belongs to no group, when nobody looks any
 * more (GROUPS.md G3). The bug that lets it has to be found.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { importMutant, misfit } from '../../sim/mutants.ts'
import { takeLate } from './group-late-take.ts'

t.setTimeout(110_000)

t.test('a TAKE that comes after the undoing is refused, also within its hold', async (t) => {
  t.same(await takeLate(t), { end: 'change-superseded', snapshots: [[], []] })
})

t.test('planted: who finds no snapshot of a member does not fence it', async (t) => {
  const bug = {
    name: 'no fence', file: 'engine/control/snapshot-group.ts',
    replace: "=== expected.seq ? 'open' : 'never'", by: "=== expected.seq ? 'never' : 'never'",
  }
  t.equal(misfit(bug), undefined)
  const mutated = await importMutant<typeof import('./group-late-take.ts')>(
    bug, 'test/cluster/reconcile/group-late-take.ts',
  )
  t.match(await mutated.takeLate(t), { end: 'taken', snapshots: [[], ['one']] })
})
