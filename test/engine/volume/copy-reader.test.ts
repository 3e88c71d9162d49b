/** Risks of walks over a map: they ask the index far more than they answer, or let go of what is still read. */
import t from 'tap'
import { segmentOf } from '../../../engine/log/entry.ts'
import { PAGES_MAX } from '../../../engine/log/volume-map.ts'
import { runTask } from '../../../engine/task.ts'
import { MIB, PAGE_BLOCKS } from '../../../engine/units.ts'
import { pagesFrom } from '../../../engine/volume/copy-reader.ts'
import { versionsOfPage, type PageVersions } from '../../../engine/volume/slice-scan.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const HISTORY_PAGES = 200

t.test('the first pages of a map that has older versions alone cost a read each, however many there are', (t) => {
  const world = new CopyWorld({ seed: 71, segments: 60 }, { sizeBytes: HISTORY_PAGES * MIB })
  world.open()
  world.epoch(1, 1)
  const lbas = Array.from({ length: HISTORY_PAGES }, (_, page) => page * PAGE_BLOCKS + 1)
  lbas.forEach((lba, i) => world.append(write(1, 2 + i, lba, [100 + i])))
  world.control(1, 2 + HISTORY_PAGES, { operation: 'snapshot', id: 's' })
  world.settle()
  world.copy.apply(2 + HISTORY_PAGES, {})
  const store = world.world.store!
  const source = { volumeId: world.copy.volumeId, snapshotId: 's', seq: 2 + HISTORY_PAGES }
  const spec = world.world.spec('clone', HISTORY_PAGES * MIB)
  t.ok(world.world.await<{ ok: boolean }>((done) => store.cloneCopy(spec, 'clone-copy', source, done)).ok)
  t.ok(world.world.await<{ ok: boolean }>((done) => store.removeCopy(world.copy.volumeId, done)).ok)
  const target = world.copy.targets[0]!
  world.world.clock.runUntil(() => target.map.emptied)
  world.world.await<boolean>((done) => target.stream.makeCheckpoint(done))
  world.world.clock.runUntilIdle()
  const { counts } = world.world.indexes[0]!
  const before = counts.range
  const found = world.world.await<number[] | undefined>((done) => runTask(pagesFrom(target, 0, PAGES_MAX, 32), done))
  t.same(found, Array.from({ length: 32 }, (_, page) => page))
  t.ok(counts.range - before <= 40, `${counts.range - before} reads of the index`)
  const pages: number[] = []
  for (let at = 0; ;) {
    const some = world.world.await<number[] | undefined>((done) => runTask(pagesFrom(target, at, PAGES_MAX, 32), done))
    if (some!.length === 0) break
    pages.push(...some!)
    at = some!.at(-1)! + 1
  }
  t.same(pages, Array.from({ length: HISTORY_PAGES }, (_, page) => page), 'and all of them are found')
  t.end()
})

t.test('who reads a page counts once in each of its segments, however many versions lie there', (t) => {
  const world = new CopyWorld({ seed: 72 })
  world.open()
  world.epoch(1, 1)
  for (let seq = 2; seq <= 9; seq++) world.append(write(1, seq, 3, [seq, seq + 100]))
  world.control(1, 10, { operation: 'snapshot', id: 's' })
  world.append(write(1, 11, 3, [11]))
  world.settle()
  world.copy.apply(11, {})
  const target = world.copy.targets[0]!
  const { readers } = target.stream.segments
  const { found, release } = world.world.await<PageVersions>((done) =>
    runTask(versionsOfPage(target, 0, () => true), (page) => done(page!)))
  t.equal(found.length, 3)
  for (const { words } of found) t.equal(readers[segmentOf(words, 0)], 1)
  release()
  t.ok(readers.every((count) => count === 0))
  t.end()
})
