/** The index suite on the simulated index; its restart is a crash that loses all it may lose. */
import t from 'tap'
import { SimClock } from '../../sim/clock.ts'
import { SimIndex } from '../../sim/index.ts'
import { Random } from '../../sim/random.ts'
import { indexSuite, type IndexUnderTest } from './suite.ts'

for (const seed of [1, 2]) {
  indexSuite(t, `simulated, seed ${seed}`, async () => {
    const random = new Random(seed)
    const clock = new SimClock(random.fork())
    const under = (index: SimIndex): IndexUnderTest => ({
      index,
      drive: () => clock.runUntilIdle(),
      reopen: async () => under(index.crash({ kind: 'synced' })),
      close: async () => {},
    })
    return under(new SimIndex({ clock, random }))
  })
}
