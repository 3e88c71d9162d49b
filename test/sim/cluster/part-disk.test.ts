/**
 * What damage of a simulated disk can be undone: all of it, however often it was damaged.
 */
import t from 'tap'
import { SimClock } from '../clock.ts'
import { SECTOR_BYTES } from '../disk-image.ts'
import { Random } from '../random.ts'
import { PartDisk } from './part-disk.ts'
import { drawSwarm } from './swarm.ts'

t.test('a sector that was damaged more than once is whole again when everything is undone', (t) => {
  const random = new Random('part disk')
  const part = new PartDisk(1, new SimClock(random.fork('clock')), random, drawSwarm(1, random.fork('swarm')))
  const written = Uint8Array.from({ length: SECTOR_BYTES }, (_, i) => i % 251)
  part.disk.putSector(4096, written)
  for (let round = 0; round < 50; round++) {
    const marks = [1, 2, 3].map(() => part.damage('disk', 4096, random))
    for (const mark of marks) mark?.undo()
    t.same(part.disk.sector(4096), written, `round ${round}`)
  }
  t.end()
})
