/**
 * Risk: a cut loses nothing, whatever was not synced, and the tests of lost power find nothing. A build that takes a
 * batch for durable without a sync has to be caught by the same cut as one without the bug survives. The only copy of a
 * volume is enough for it.
 */
// test-timeout-seconds: 300
// test-serial: real processes that need both cores
import t from 'tap'
import type { Test } from 'tap'
import { Random } from '../sim/random.ts'
import { guestsMissing } from './guests-missing.ts'
import { POWER_PLANTED } from './planted-bugs.ts'
import { PowerCluster } from './power-cluster.ts'

const skip = guestsMissing() ?? false

/** @returns what is wrong after one cut of the only copy, and what became of a file that was not synced */
async function cutOnce(t: Test, plantedBug?: string): Promise<{ wrong: string[]; unsynced: string[] }> {
  const cluster = await PowerCluster.make(t, {
    guests: ['n1'], hosts: ['n2'], onlyGuestsStore: true, volumes: ['durable'], random: new Random(1),
    ...(plantedBug === undefined ? {} : { plantedBug }),
  })
  await cluster.cutPower()
  const unsynced = await cluster.boot('never')
  await cluster.progress(20)
  await cluster.verify()
  return { wrong: cluster.problems(), unsynced }
}

for (const { name } of POWER_PLANTED) {
  t.test(`${name}: caught`, { skip }, async (t) => {
    const { wrong } = await cutOnce(t, name)
    t.match(wrong[0], /was read, possible are/, `${wrong.length} blocks: ${wrong[0]?.split('\n')[0]}`)
  })
}

t.test('the same cut without a bug', { skip }, async (t) => {
  const { wrong, unsynced } = await cutOnce(t)
  t.same(wrong, [])
  t.match(unsynced, [/gone|empty/], 'the guest wrote nothing by itself')
})
