/** Whatever a volume went through and whoever is here: a plan that is called safe has all that was acknowledged. */
import t from 'tap'
import { planRebuild } from '../../../engine/control/store-rebuild.ts'
import { Random } from '../../sim/random.ts'
import { RebuildHistory } from './rebuild-history.ts'

const SEEDS = 4000

t.test('random histories, random nodes', (t) => {
  const counts = { safe: 0, refused: 0, partial: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = new Random(seed)
    const history = new RebuildHistory(random)
    history.run(random.between(0, 60))
    const isAll = random.chance(0.5)
    const here = history.nodes.filter(() => isAll || random.chance(0.7))
    const plan = planRebuild(history.describe(here), '')
    if (plan.problems.length > 0 || plan.nodes.length === 0) {
      counts.refused++
      continue
    }
    counts.safe++
    if (here.length < history.nodes.length) counts.partial++
    const volume = plan.volumes[0]
    if (volume === undefined) {
      t.equal(history.acknowledged.size, 0, `seed ${seed}: nothing is made of it`)
      continue
    }
    const { inSync } = volume.config
    const lost = inSync.flatMap((node) => {
      const values = history.valuesOn(node)
      return [...history.acknowledged].filter((value) => !values.has(value)).map((value) => `${value} on ${node}`)
    })
    if (lost.length > 0) {
      t.fail(`seed ${seed}: ${lost.length} acknowledged values are missing: ${lost.slice(0, 5).join(', ')}`)
      t.comment(JSON.stringify({ here, volume: volume.config, described: history.describe(history.nodes) }))
      break
    }
  }
  const { safe, partial, refused } = counts
  t.ok(safe > SEEDS / 4, `${safe} safe, ${partial} of them without a node, ${refused} refused`)
  t.end()
})
