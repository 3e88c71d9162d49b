/** The disk suite on the simulated disk, for several seeds, and its errors. */
import t from 'tap'
import { SimClock } from '../../sim/clock.ts'
import { SimDisk } from '../../sim/disk.ts'
import { Random } from '../../sim/random.ts'
import { diskSuite, outcomesAround, type DiskUnderTest } from './suite.ts'

function make(sizeBytes: number, seed: number): DiskUnderTest & { disk: SimDisk } {
  const random = new Random(seed)
  const clock = new SimClock(random.fork())
  const disk = new SimDisk({ sizeBytes, clock, random, tryReadMissChance: seed === 1 ? 0 : 0.5 })
  return { disk, drive: () => clock.runUntilIdle(), close: async () => {} }
}

for (const seed of [1, 2, 3]) diskSuite(t, `simulated, seed ${seed}`, async (sizeBytes) => make(sizeBytes, seed))

const before = ['write true', 'sync true', 'read true']
const gone = ['write false', 'sync false', 'read false', 'readMedium false', 'tryRead false']

t.test('a failed sync fails the disk for good', async (t) => {
  const under = make(1 << 20, 1)
  under.disk.failAt('sync', 2)
  t.same(await outcomesAround(under), [...before, 'write true', 'sync false', 'read false', ...gone])
})

t.test('a failed write fails the disk for good', async (t) => {
  const under = make(1 << 20, 1)
  under.disk.failAt('write', 2)
  t.same(await outcomesAround(under), [...before, 'write false', 'sync false', 'read false', ...gone])
})

t.test('a failed read fails alone', async (t) => {
  const under = make(1 << 20, 1)
  under.disk.failAt('read', 2)
  const after = [...before, 'readMedium true', 'tryRead true']
  t.same(await outcomesAround(under), [...before, 'write true', 'sync true', 'read false', ...after])
})
