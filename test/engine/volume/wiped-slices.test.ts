/**
 * A slice that is wiped has nothing of before any more, also for an index that is built anew from the log: its old
 * records are of another generation, whatever the slice had before, and nothing of them is written under the new one.
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import { GIB, PAGE_BLOCKS, SLICE_BLOCKS } from '../../../engine/units.ts'
import { payloadOf } from '../../../engine/volume/copy-headers.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { stamped } from '../../sim/store-world.ts'

const filled = (world: CopyWorld, target: number, wipe: number[]) =>
  ({ fork: 0, target, wipe, descriptor: { ...world.copy.descriptor(), epochs: [[1, 1]] as Array<[number, number]> } })

t.test('slices of a resize are wiped under another generation than the one they got then', (t) => {
  let world = new CopyWorld({ seed: 50, segments: 60 }, { sizeBytes: GIB })
  world.open()
  world.epoch(1, 1)
  world.control(1, 2, { operation: 'resize', sizeBytes: 2 * GIB })
  world.append(write(1, 3, SLICE_BLOCKS + 5, [300]))
  world.settle()
  world.copy.apply(3, {})
  const generations = [world.copy.layout.generation(SLICE_BLOCKS + 5)]
  for (const target of [10, 20, 30]) {
    world.startFill(filled(world, target, [0, 1]))
    t.ok(world.keep({ consistency: { state: 'consistent' } }))
    generations.push(world.copy.layout.generation(SLICE_BLOCKS + 5))
    world = world.crash({ kind: 'synced' }, 'lost')
    world.open()
    t.same(world.readStamps(SLICE_BLOCKS + 5, 1), [0])
  }
  t.same(generations, generations.toSorted((a, b) => a - b))
  t.equal(new Set(generations).size, 4, `each time another one: ${generations.join(' ')}`)
  t.end()
})

t.test('what is repaired while its slice is wiped is gone with it', (t) => {
  let world = new CopyWorld({ seed: 51, segments: 60, pagesMax: 1 }, { sizeBytes: GIB })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 5, [105]))
  world.append(write(1, 3, PAGE_BLOCKS + 5, [106]))
  world.settle()
  world.copy.apply(3, {})
  t.same(world.readStamps(5, 1), [105])
  world.world.await<boolean>((done) => world.world.store!.streams()[0]!.makeCheckpoint(done))
  t.same(world.readStamps(PAGE_BLOCKS + 5, 1), [106])
  const { map } = world.copy.targets[0]!
  t.notOk(map.pages.has(0), 'the page is not in memory')
  // The wipe asks which pages there are.
  const goOn = world.holdRange()
  const [index] = world.world.indexes
  const { range: held } = index!
  const token = world.begin((token) =>
    world.copy.startFill(token, {
      ...filled(world, 10, [0]), facts: { consistency: { state: 'filling', target: 10, slices: [[0, 0]] } },
    }))
  world.world.clock.runUntil(() => index!.range !== held)
  t.same(map.copy!.wiping, [0])
  const payload = payloadOf(crc32c as never, stamped(105))
  world.repair([{ epoch: 1, seq: 2, lba: 5, kind: 'write', payload }])
  goOn()
  world.world.clock.runUntil(() => world.answerTo(token) !== undefined)
  t.ok(world.keep({ consistency: { state: 'consistent' } }))
  t.same(world.readStamps(5, 1), [0])
  world = world.crash({ kind: 'synced' }, 'lost')
  world.open()
  t.same(world.readStamps(5, 1), [0])
  t.end()
})

t.test('what its source forgot is known behind a cut right after a filling began', (t) => {
  const world = new CopyWorld({ seed: 52, segments: 60 }, { sizeBytes: GIB })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 5, [105]))
  world.settle()
  world.copy.apply(2, {})
  t.same(world.readStamps(5, 1), [105])
  const start = filled(world, 10, [0])
  world.begin((token) =>
    world.copy.startFill(token, {
      ...start, descriptor: { ...start.descriptor, forgottenSeq: 9 },
      facts: { consistency: { state: 'filling', target: 10, slices: [[0, 0]] } },
    }))
  const { map } = world.copy.targets[0]!
  world.world.clock.runUntil(() => map.copy!.wiping.length > 0)
  const stored = world.crash('kill', { kind: 'all' }).open()
  t.match(stored, { facts: { consistency: { state: 'filling' } }, forgottenSeq: 9 })
  t.end()
})
