/**
 * All nodes with a copy lose their power in the same moment, again and again, while clients write through one that has
 * none. Of a `durable` volume nothing that was acknowledged is lost, and no request fails; of a `writeback` volume what
 * was flushed is there, and who was connected is told of the rest by an error, once for each generation that was taken.
 * `POWER_CUTS` is how often, `POWER_COPIES` how many there are: each is a machine to boot, for every cut.
 */
// test-timeout-seconds: 400
// test-serial: real processes that need both cores
import t from 'tap'
import { Random } from '../sim/random.ts'
import { guestsMissing } from './guests-missing.ts'
import { PowerCluster } from './power-cluster.ts'

const CUTS = Number(process.env.POWER_CUTS ?? 2)
const COPIES = Number(process.env.POWER_COPIES ?? 2)
const SEED = Number(process.env.POWER_SEED ?? Math.floor(Math.random() * 1e6))
const skip = guestsMissing() ?? false

t.test(`all ${COPIES} copies lose power ${CUTS} times`, { skip }, async (t) => {
  t.comment(`POWER_SEED=${SEED}`)
  const random = new Random(SEED)
  const cluster = await PowerCluster.make(t, {
    guests: Array.from({ length: COPIES }, (_, i) => `n${i + 1}`), hosts: ['client'], onlyGuestsStore: true,
    volumes: ['durable', 'writeback'], random,
  })
  for (let cut = 0; cut < CUTS; cut++) {
    await cluster.progress(1 + random.int(100))
    await cluster.cutPower()
    const unsynced = await cluster.boot(random.pick(['never', 'early']))
    await cluster.progress(20)
    await cluster.whole()
    t.same(cluster.problems(), [], `cut ${cut}; the unsynced files: ${unsynced.join(', ')}`)
  }
  t.same(await cluster.end(), [], 'nothing is lost, and all copies are the same')
  for (const volume of cluster.volumes) {
    const { name, durability, client: { counts } } = volume
    const taken = (await cluster.config(volume)).attach.generation - volume.generation
    t.comment(`${name}: ${counts.acknowledgedWrites} writes, broke ${counts.breaks} times, ${taken} generations taken`)
    if (durability === 'durable') t.equal(counts.errors, 0, 'durable: no error')
    else t.ok(counts.breaks <= taken, 'writeback: no error without a reason')
  }
})
