/**
 * Risks of the extent map: a version that no view shows keeps its space, one that some view shows loses it; a zero is
 * forgotten while older data lies in the log; a page that waits for the index shows less than was applied.
 */
import t from 'tap'
import type { MapPage } from '../../../engine/log/volume-map.ts'
import { MapStage, shown } from './map-stage.ts'

/** More than a page collects before it is thinned. */
const MANY = 5000

t.test('a page that was never read keeps few of its versions, and their space', (t) => {
  const stage = new MapStage()
  for (let i = 0; i < 4 * MANY; i++) stage.write(i % 7, i % 3)
  t.ok(stage.map.pending.count < MANY, `${stage.map.pending.count} of ${4 * MANY} are kept`)
  t.ok(stage.segments.liveUnits() < MANY * 64, 'the space of the others is free')
  const page = stage.load()
  t.equal(stage.segments.liveUnits(), 7 * 64, 'and after the fold that of all but the newest')
  t.equal(stage.volume.usedUnits, 7 * 64)
  for (let i = 4 * MANY - 7; i < 4 * MANY; i++) t.equal(shown(page, i % 7), `data ${i + 1} in ${i % 3}`)
  t.end()
})

t.test('what a snapshot sees survives later overwrites of a page that was never read', (t) => {
  const stage = new MapStage()
  stage.write(0)
  const { seq } = stage.write(0)
  stage.snapshot()
  for (let i = 0; i < MANY; i++) stage.write(0)
  stage.load()
  t.same(stage.history(0), [seq], 'the newest before the snapshot')
  t.equal(stage.segments.liveUnits(), 2 * 64)
  t.end()
})

t.test('used is told without what was overwritten unseen, but for what a snapshot sees', (t) => {
  const stage = new MapStage()
  const used = () => stage.map.usage(stage.volume).storedBytes / 64
  for (let i = 0; i < 10; i++) for (let lba = 0; lba < 3; lba++) stage.write(lba)
  t.equal(stage.volume.usedUnits, 30 * 64, 'nobody has looked at the page')
  t.equal(used(), 3 * 64)
  t.equal(stage.map.usage(stage.volume).logicalBytes, 3 * 4096)
  stage.snapshot()
  for (let i = 0; i < 10; i++) stage.write(0)
  stage.zero(1, 1)
  t.equal(used(), 4 * 64)
  stage.load()
  t.equal(used(), 4 * 64, 'as it is when somebody does')
  t.same([stage.volume.usedUnits, stage.volume.usedBlocks], [4 * 64, 4])
  t.end()
})

t.test('a zero over data that the index never saw leaves an entry: the data is in the log', (t) => {
  for (const overwrites of [0, MANY]) {
    const stage = new MapStage()
    stage.write(0)
    const seq = stage.zero(0, 1)
    for (let i = 0; i < overwrites; i++) stage.write(1)
    const page = stage.load()
    t.equal(shown(page, 0), `zero ${seq} in 0`, `${overwrites} overwrites of its neighbour`)
    t.equal(stage.segments.liveUnits(), overwrites === 0 ? 0 : 64)
  }
  t.end()
})

t.test('a zero of what was never written leaves no entry', (t) => {
  const stage = new MapStage()
  stage.zero(5, 1)
  stage.zero(0, 512)
  const page = stage.load()
  t.equal(shown(page, 5), '-')
  t.end()
})

t.test('a zero of whole pages loses against what was written later, also in a page read afterwards', (t) => {
  const stage = new MapStage()
  stage.write(0)
  stage.write(1)
  stage.checkpoint()
  const zero = stage.zero(0, 256)
  const { seq } = stage.write(0)
  t.equal(stage.volume.tombstones.length, 1, 'it waits for the page')
  stage.checkpoint()
  const page = stage.load()
  t.equal(shown(page, 0), `data ${seq} in 0`)
  t.equal(shown(page, 1), `zero ${zero} in 0`)
  t.equal(stage.segments.liveUnits(), 64)
  t.end()
})

t.test('a copy of the cleaner takes the place of the version it was made of, of no other', (t) => {
  const stage = new MapStage()
  const old = stage.write(0, 1)
  const page = stage.load()
  const move = { epoch: 1, seq: old.seq, fromSegment: 1, fromUnits: old.units, segment: 2, units: 640, transform: 0 }
  const { seq } = stage.write(0, 0)
  t.equal(stage.map.applyMove(page, 0, move), false, 'it was overwritten meanwhile')
  t.equal(shown(page, 0), `data ${seq} in 0`)
  const again = stage.write(0, 1)
  const copy = { ...move, seq: again.seq, fromUnits: again.units }
  t.equal(stage.map.applyMove(page, 0, copy), true)
  t.equal(stage.map.applyMove(page, 0, copy), false, 'once')
  t.equal(shown(page, 0), `data ${again.seq} in 2`)
  t.same([...stage.segments.live.subarray(0, 4)], [0, 0, 64, 0], 'and counts at its new place only')
  t.end()
})

t.test('a page that a checkpoint is writing is loaded when the checkpoint has ended', (t) => {
  const stage = new MapStage()
  const { seq } = stage.write(3)
  const { end } = stage.begin()
  let page: MapPage | undefined
  stage.map.load(stage.volume, 0, (loaded) => {
    page = loaded
  })
  stage.clock.runUntilIdle()
  t.equal(page, undefined, 'the index does not have it yet')
  const newer = stage.write(4)
  end()
  t.equal(shown(page!, 3), `data ${seq} in 0`)
  t.equal(shown(page!, 4), `data ${newer.seq} in 0`, 'what was written meanwhile too')
  t.end()
})

t.test('a checkpoint waits for a page that is being loaded with entries it would have to take', (t) => {
  const stage = new MapStage()
  stage.write(3)
  let isLoaded = false
  let isCollected = false
  stage.map.load(stage.volume, 0, () => {
    isLoaded = true
  })
  stage.map.loads.whenCollectable(() => {
    isCollected = true
    t.ok(isLoaded)
  })
  t.notOk(isCollected)
  stage.clock.runUntilIdle()
  t.ok(isCollected)
  t.end()
})

t.test('pages with changes stay in memory, whatever is read', (t) => {
  const stage = new MapStage({ pagesMax: 2 })
  const dirty = stage.load(0)
  const { seq } = stage.write(9)
  for (let page = 1; page < 12; page++) stage.load(page)
  t.equal(stage.map.page(stage.volume, 0), dirty)
  t.equal(shown(dirty, 9), `data ${seq} in 0`)
  const { end } = stage.begin()
  for (let page = 12; page < 20; page++) stage.load(page)
  t.equal(stage.map.page(stage.volume, 0), dirty, 'also while a checkpoint writes them')
  end()
  for (let page = 20; page < 40; page++) stage.load(page)
  t.equal(stage.map.page(stage.volume, 0), undefined, 'then they may go')
  t.equal(shown(stage.load(0), 9), `data ${seq} in 0`, 'and come back')
  t.ok(stage.map.pagesInMemory <= 3, `${stage.map.pagesInMemory} pages`)
  t.end()
})

t.test('a rollback shows the older version again, and space of what it hides is free when nobody sees it', (t) => {
  const stage = new MapStage()
  const { seq } = stage.write(0)
  const to = stage.snapshot()
  stage.write(0)
  stage.write(1)
  stage.load()
  const at = ++stage.seq
  stage.change({ rollbacks: [[to, at]] })
  t.equal(stage.map.page(stage.volume, 0), undefined, 'the page is not shown as it was')
  const page = stage.load()
  t.equal(shown(page, 0), `data ${seq} in 0`)
  t.equal(shown(page, 1), '-')
  t.equal(stage.segments.liveUnits(), 64)
  t.end()
})

t.test('a page is not shown before it is what a rollback left', (t) => {
  const stage = new MapStage()
  const { seq } = stage.write(0)
  const to = stage.snapshot()
  stage.write(0)
  stage.load()
  stage.checkpoint()
  stage.map.dropPages(stage.volume)
  stage.change({ rollbacks: [[to, ++stage.seq]] })
  let isLoaded = false
  stage.map.load(stage.volume, 0, () => {
    isLoaded = true
  })
  let steps = 0
  for (; !isLoaded && steps < 1000; steps++) {
    const page = stage.map.page(stage.volume, 0)
    if (page !== undefined) t.equal(shown(page, 0), `data ${seq} in 0`, `after ${steps} steps`)
    stage.clock.step()
  }
  t.ok(isLoaded && steps > 1, `loaded in ${steps} steps`)
  t.equal(shown(stage.load(), 0), `data ${seq} in 0`)
  t.end()
})

t.test('what a rollback hid is back when that rollback is rolled away', (t) => {
  const stage = new MapStage()
  stage.write(0)
  const first = stage.snapshot()
  const { seq } = stage.write(0)
  const second = stage.snapshot()
  stage.load()
  const rollbacks: Array<[number, number]> = [[first, ++stage.seq]]
  stage.change({ rollbacks })
  t.equal(shown(stage.load(), 0), 'data 1 in 0')
  stage.write(1)
  stage.change({ rollbacks: [...rollbacks, [second, ++stage.seq]] })
  t.equal(shown(stage.load(), 0), `data ${seq} in 0`)
  t.equal(shown(stage.load(), 1), '-')
  t.end()
})
