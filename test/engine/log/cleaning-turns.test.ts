/**
 * Trims that are still needed leave segments without live data that cannot be made smaller: taken again and again they
 * would keep all others from being cleaned.
 */
import t from 'tap'
import { stamped, stampOf, StoreWorld } from '../../sim/store-world.ts'

const BLOCKS = 1200
/** Far more than an answer takes. */
const STEPS_MOST = 20_000

t.test('a pool that is full of trims takes data again', (t) => {
  const world = new StoreWorld({ seed: 3, segments: 215, segmentBytes: 64 * 1024, pagesMax: 64 })
  world.open()
  world.await((done) => world.store!.createVolume(world.spec('v', 16 << 20), done))
  const volume = world.store!.volumeObject('v')!
  const answered = (ask: (done: (errno: number) => void) => void): boolean => {
    let isAnswered = false
    ask(() => {
      isAnswered = true
    })
    for (let steps = 0; steps < STEPS_MOST && !isAnswered; steps++) world.clock.step()
    return isAnswered
  }
  for (let lba = 0; lba < BLOCKS; lba++) answered((done) => volume.write(lba * 4096, stamped(lba), false, done))
  // One block in each segment stays live, so the trims are needed until that segment is cleaned.
  for (let lba = 0; lba < BLOCKS; lba++)
    if (lba % 8 !== 0) answered((done) => volume.trim(lba * 4096, 4096, false, done))
  let written = 0
  while (written < 100 && answered((done) => volume.write((2000 + written) * 4096, stamped(written), false, done)))
    written++
  t.equal(written, 100, 'an eighth of what was written is live')
  const into = new Uint8Array(4096)
  t.equal(world.await<number>((done) => volume.read(800 * 4096, into, done)), 0)
  t.equal(stampOf(into), 800)
  t.end()
})
