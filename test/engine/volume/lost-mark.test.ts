/**
 * Risk: a block that nobody has any more is shown as zeroes, or as what was there before, by the copy that was filled
 * without it; or the mark of it cannot be told from the block, or stays when the block comes back.
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import type { Test } from 'tap'
import { ENTRY_WORDS, segmentOf, storedUnitsOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import { PAGE_BLOCKS, UNIT_BYTES } from '../../../engine/units.ts'
import { blobsOf, payloadOf } from '../../../engine/volume/copy-headers.ts'
import { digestSlice } from '../../../engine/volume/copy-digest.ts'
import { runTask } from '../../../engine/task.ts'
import { restored } from '../../../engine/volume/restored-blocks.ts'
import { CopyWorld, mixedWrite, write } from '../../sim/copy-world.ts'
import { SECTOR_BYTES } from '../../sim/disk-image.ts'
import { stamped } from '../../sim/store-world.ts'

const BLOCKS = 13

function damage(world: CopyWorld, lba: number): void {
  const { stream, map } = world.copy.targets[0]!
  const at = (lba % PAGE_BLOCKS) * ENTRY_WORDS
  const words = map.pages.get(Math.floor(lba / PAGE_BLOCKS))!.words.slice(at, at + ENTRY_WORDS)
  const segmentAt = segmentOffsetBytes(stream.context.segmentBytes, segmentOf(words, 0))
  const from = segmentAt + unitsOf(words, 0) * UNIT_BYTES
  // Of blobs that lie close to each other only this one is hit.
  const sector = Math.ceil(from / SECTOR_BYTES) * SECTOR_BYTES
  const isIn = sector < from + storedUnitsOf(words, 0) * UNIT_BYTES
  t.ok(world.world.disks[0]!.damage(isIn ? sector : sector - SECTOR_BYTES, 'ones'))
}

function digestOf({ copy, world }: CopyWorld): unknown {
  let digest: unknown
  runTask(digestSlice(copy, 0), (found) => (digest = found))
  world.clock.runUntil(() => digest !== undefined)
  return (digest as { pages: unknown }).pages
}

/** One write of blocks in a row, one of which some are compressed, and a compressed block by itself. */
function source(seed: number): CopyWorld {
  const world = new CopyWorld({ seed })
  world.open()
  world.epoch(1, 1)
  world.append(write(1, 2, 0, [100, 101, 102, 103, 104, 105]))
  world.append(mixedWrite(1, 3, 6, [206, 207, 208, 209, 210, 211]))
  world.settle()
  world.append(mixedWrite(1, 4, 12, [301]))
  world.settle()
  world.copy.apply(4, {})
  world.readStamps(0, BLOCKS)
  return world
}

const LOST = [{ lba: 3, epoch: 1, seq: 2 }, { lba: 7, epoch: 1, seq: 3 }, { lba: 12, epoch: 1, seq: 4 }]

function filled(seed: number, from: CopyWorld, versions: BlockVersion[]): CopyWorld {
  const world = new CopyWorld({ seed })
  world.open()
  world.startFill({ fork: 0, target: 4, wipe: [0], descriptor: from.copy.descriptor(), windows: {} })
  world.fill(versions)
  t.ok(world.keep({ consistency: { state: 'consistent' } }))
  return world
}

/** All others are what they were. */
function showsTheRest(t: Test, world: CopyWorld): void {
  for (let lba = 0; lba < BLOCKS; lba++) {
    if (LOST.some((one) => one.lba === lba)) t.throws(() => world.readStamps(lba, 1), /cannot be read/, `block ${lba}`)
    else t.same(world.readStamps(lba, 1), [(lba < 6 ? 100 : 200) + lba])
  }
}

t.test('a mark has length and checksum of what was lost, and is no block', (t) => {
  const world = source(1)
  const whole = world.scan({ above: 0, upTo: 4 })
  for (const { lba } of LOST) damage(world, lba)
  t.throws(() => world.scan({ above: 0, upTo: 4 }), /cannot be scanned/)
  const versions = world.scan({ above: 0, upTo: 4, lost: LOST })
  t.same(versions.map(({ lba, seq }) => [lba, seq]), whole.map(({ lba, seq }) => [lba, seq]))
  for (const { lba } of LOST) {
    const [was, mark] = [whole, versions].map((all) => blobsOf(all.find((one) => one.lba === lba)!.payload!))
    t.equal(mark!.bytes.length, was!.bytes.length)
    t.same([...Array.from(mark!.crcs)], [...Array.from(was!.crcs)])
    t.equal(crc32c(Buffer.from(mark!.bytes)), mark!.crcs[0], 'its checksum is that of its bytes')
    t.notSame(mark!.bytes, was!.bytes)
    t.equal(restored(versions.filter((one) => one.lba === lba)), undefined, 'no frontend makes a block of it')
  }
  t.end()
})

for (const index of [{ kind: 'synced' }, 'lost'] as const) {
  t.test(`filled with marks, with the index ${index === 'lost' ? 'lost' : 'kept'} by crashes: no data there`, (t) => {
    const from = source(2)
    const digest = digestOf(from)
    for (const { lba } of LOST) damage(from, lba)
    let world = filled(3, from, from.scan({ above: 0, upTo: 4, lost: LOST }))
    showsTheRest(t, world)
    t.same(digestOf(world), digest, 'a comparison finds no difference')
    world = world.crash({ kind: 'synced' }, index)
    world.open()
    showsTheRest(t, world)
    t.same(world.exactly(LOST).damaged.map(({ lba }) => lba), [3, 7, 12], 'it says so to who asks')
    t.same(world.scan({ above: 0, upTo: 4, lost: LOST }).length, BLOCKS, 'and fills others in the same way')
    const wrong = { ...LOST[0]!, kind: 'write' as const, payload: payloadOf(crc32c as never, stamped(999)) }
    world.repair([wrong])
    showsTheRest(t, world)
    world.repair([{ ...wrong, payload: payloadOf(crc32c as never, stamped(103)) }])
    t.same(world.readStamps(2, 3), [102, 103, 104], 'brought back')
    world = world.crash({ kind: 'synced' }, index)
    world.open()
    t.same(world.readStamps(2, 3), [102, 103, 104])
    t.throws(() => world.readStamps(7, 1), /cannot be read/)
    world.append(write(1, 5, 7, [407]))
    world.settle()
    world.copy.apply(5, {})
    t.same(world.readStamps(7, 1), [407], 'written anew')
    t.end()
  })
}

for (const index of [{ kind: 'synced' }, 'lost'] as const) {
  t.test(`marks are found in the map, with the index ${index === 'lost' ? 'lost' : 'kept'} by a crash`, (t) => {
    const from = source(8)
    const whole = from.scan({ above: 0, upTo: 4 })
    for (const { lba } of LOST) damage(from, lba)
    t.same(from.findMarks(undefined, 9), { ids: [], from: undefined }, 'what is damaged is none')
    let world = filled(9, from, from.scan({ above: 0, upTo: 4, lost: LOST }))
    const isThere = (): void => {
      t.same(world.findMarks(undefined, 3), { ids: LOST, from: undefined })
      t.same(world.findMarks(undefined, 2), { ids: LOST.slice(0, 2), from: { lba: 12, seq: 4 } })
      t.same(world.findMarks({ lba: 12, seq: 4 }, 2), { ids: LOST.slice(2), from: undefined })
      t.same(world.findMarks({ lba: 12, seq: 5 }, 2), { ids: [], from: undefined })
    }
    isThere()
    world = world.crash({ kind: 'synced' }, index)
    world.open()
    isThere()
    world.control(1, 5, { operation: 'snapshot', id: 's' })
    for (const [i, { lba }] of LOST.entries()) world.append(write(1, 6 + i, lba, [900 + lba]))
    world.settle()
    world.copy.apply(8, {})
    t.same(world.readStamps(0, BLOCKS).filter((stamp) => stamp >= 900), [903, 907, 912])
    isThere()
    world.repair(whole.filter(({ lba }) => lba === 12))
    t.same(world.findMarks(undefined, 9), { ids: LOST.slice(0, 2), from: undefined }, 'one was brought back')
    world.control(1, 9, { operation: 'snapshot-delete', id: 's' })
    world.settle()
    world.copy.apply(9, {})
    const left = world.findMarks(undefined, 9).ids.filter((id) => world.exactly([id]).damaged.length > 0)
    t.same(left, [], 'nothing that is shown is a mark any more')
    t.end()
  })
}

t.test('of a large map so many pages are looked at for an answer', (t) => {
  const from = source(10)
  for (const { lba } of LOST) damage(from, lba)
  const marks = from.scan({ above: 0, upTo: 4, lost: LOST })
  const [one] = marks
  const blank = { epoch: one!.epoch, seq: one!.seq, kind: 'zero' as const, payload: undefined }
  const far = Array.from({ length: 300 }, (_, i) => ({ ...blank, lba: (i + 1) * PAGE_BLOCKS }))
  const world = filled(11, from, [...marks, ...far])
  const first = world.findMarks(undefined, 9)
  t.same(first, { ids: LOST, from: { lba: 256 * PAGE_BLOCKS, seq: 0 } })
  t.same(world.findMarks(first.from, 9), { ids: [], from: undefined })
  t.end()
})

t.test('marks behind a page that the index has in several pieces are found as well', (t) => {
  const lba = 50 * PAGE_BLOCKS
  const from = new CopyWorld({ seed: 14 })
  from.open()
  from.epoch(1, 1)
  from.append(write(1, 2, lba, [500]))
  from.settle()
  from.copy.apply(2, {})
  from.readStamps(lba, 1)
  damage(from, lba)
  const lost = [{ lba, epoch: 1, seq: 2 }]
  const [mark] = from.scan({ above: 0, upTo: 2, lost })
  const blank = { epoch: 1, seq: 2, kind: 'zero' as const, payload: undefined }
  const before = Array.from({ length: 50 }, (_, page) => ({ ...blank, lba: page * PAGE_BLOCKS }))
  let world = filled(15, from, [...before, mark!])
  const checkpoint = (): boolean => world.world.await((done) => world.copy.targets[0]!.stream.makeCheckpoint(done))
  t.ok(checkpoint())
  world.append(write(1, 5, 1, [501]))
  world.settle()
  world.copy.apply(5, {})
  world.readStamps(1, 1)
  t.ok(checkpoint())
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  world.open()
  t.same(world.findMarks(undefined, 9), { ids: lost, from: undefined })
  t.end()
})

t.test('of a block that was rolled back each version is found, one an answer', (t) => {
  const from = new CopyWorld({ seed: 16 })
  from.open()
  from.epoch(1, 1)
  const write3 = (seq: number, stamp: number): void => {
    from.append(write(1, seq, 3, [stamp]))
    from.settle()
    from.copy.apply(seq, {})
    from.readStamps(3, 1)
    damage(from, 3)
  }
  write3(2, 500)
  from.control(1, 3, { operation: 'snapshot', id: 'a' })
  write3(4, 501)
  from.control(1, 5, { operation: 'snapshot', id: 'b' })
  from.control(1, 6, { operation: 'rollback', to: 'a' })
  from.settle()
  from.copy.apply(6, {})
  const lost = [2, 4].map((seq) => ({ lba: 3, epoch: 1, seq }))
  const world = new CopyWorld({ seed: 17 })
  world.open()
  world.startFill({ fork: 0, target: 6, wipe: [0], descriptor: from.copy.descriptor(), windows: {} })
  world.fill(from.scan({ above: 0, upTo: 6, lost }))
  t.ok(world.keep({ consistency: { state: 'consistent' } }))
  const found = world.findMarks(undefined, 1)
  t.same(found, { ids: lost.slice(0, 1), from: { lba: 3, seq: 4 } })
  t.same(world.findMarks(found.from, 1), { ids: lost.slice(1), from: undefined })
  t.end()
})

t.test('what can be read after all is given as it is', (t) => {
  const from = source(4)
  damage(from, 3)
  const world = filled(5, from, from.scan({ above: 0, upTo: 4, lost: LOST }))
  t.throws(() => world.readStamps(3, 1), /cannot be read/)
  t.same(world.readStamps(7, 1), [207])
  t.same(world.readStamps(12, 1), [301])
  t.end()
})

for (const index of [{ kind: 'synced' }, 'lost'] as const) {
  const what = index === 'lost' ? 'lost' : 'kept'
  t.test(`a fill that brings the block puts it in place of its mark, with the index ${what} by a crash`, (t) => {
    const from = source(6)
    const whole = from.scan({ above: 0, upTo: 4 })
    for (const { lba } of LOST) damage(from, lba)
    const marks = from.scan({ above: 0, upTo: 4, lost: LOST })
    let world = filled(7, from, marks)
    const used = world.copy.targets[0]!.map.usedUnits
    world.startFill({ fork: 4, target: 4, wipe: [], descriptor: from.copy.descriptor(), windows: {} })
    world.fill(whole)
    // What comes again as a mark takes nothing away.
    world.fill(marks)
    t.ok(world.keep({ consistency: { state: 'consistent' } }))
    const stamps = [100, 101, 102, 103, 104, 105, 206, 207, 208, 209, 210, 211, 301]
    t.same(world.readStamps(0, BLOCKS), stamps)
    t.equal(world.copy.targets[0]!.map.usedUnits, used)
    world = world.crash({ kind: 'synced' }, index)
    world.open()
    t.same(world.readStamps(0, BLOCKS), stamps)
    t.end()
  })
}
