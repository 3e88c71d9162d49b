/**
 * One of three nodes loses its power, again and again, while clients write through another one: neither sees an error,
 * nothing that was acknowledged is lost, also of what nobody flushed, since others have it; the copy that was cut off
 * is filled, and in the end the same as the others. `POWER_CUTS` is how often.
 */
// test-timeout-seconds: 300
// test-serial: real processes that need both cores
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Random } from '../sim/random.ts'
import { guestsMissing } from './guests-missing.ts'
import { PowerCluster } from './power-cluster.ts'

const CUTS = Number(process.env.POWER_CUTS ?? 2)
const SEED = Number(process.env.POWER_SEED ?? Math.floor(Math.random() * 1e6))
/** Longer than it takes until it is let go, or not. */
const OFF_MS = 4000
const skip = guestsMissing() ?? false

t.test(`one copy of three loses power ${CUTS} times`, { skip }, async (t) => {
  t.comment(`POWER_SEED=${SEED}`)
  const random = new Random(SEED)
  const cluster = await PowerCluster.make(t, {
    guests: ['n3'], hosts: ['n1', 'n2'], onlyGuestsStore: false, volumes: ['durable', 'writeback'], random,
  })
  const [guest] = cluster.guests
  for (let cut = 0; cut < CUTS; cut++) {
    const leads = cut % 2 === 0
    if (leads) await cluster.leadBy(guest!)
    await cluster.progress(1 + random.int(200))
    await cluster.cutPower()
    await sleep(random.int(OFF_MS))
    const [unsynced] = await cluster.boot(random.pick(['never', 'early']))
    await cluster.whole()
    await cluster.progress(20)
    t.same(cluster.problems(), [], `cut ${cut}, ${leads ? 'it led' : 'it may follow'}; the unsynced file: ${unsynced}`)
  }
  t.same(await cluster.end(), [], 'nothing is lost, and all copies are the same')
  for (const { name, client: { counts, held } } of cluster.volumes) {
    const words = `${counts.acknowledgedWrites} writes, held ${Math.round(held.longestMs)} ms at most`
    t.equal(counts.errors, 0, `${name}: ${words}`)
  }
})
