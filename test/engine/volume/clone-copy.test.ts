/**
 * Copies that share blocks in one store, case by case: what a clone is refused for, what it costs, what it shows beyond
 * the end of its origin, how damage in a shared block is repaired, and what becomes of it when a disk is away.
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { stamped } from '../../sim/store-world.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { ENTRY_KIND, ENTRY_WORDS, kindOf, segmentOf, unitsOf } from '../../../engine/log/entry.ts'
import { GIB, MIB, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES } from '../../../engine/units.ts'
import { NOTHING_SHARED } from '../../../engine/control/node-status.ts'
import type { BlockVersion, VersionId } from '../../../engine/replication/record.ts'
import { runTask } from '../../../engine/task.ts'
import { payloadOf } from '../../../engine/volume/copy-headers.ts'
import { CopyScrub } from '../../../engine/volume/copy-scrub.ts'
import { sharingOf } from '../../../engine/volume/copy-shares.ts'
import type { CloneSource } from '../../../engine/volume/copy-sharing.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'

const TINY = { segments: 40 }

/** A volume with a snapshot at seq 12, everything up to it applied. */
function origin(options: ConstructorParameters<typeof CopyWorld>[0], sizeBytes = 4 * MIB): CopyWorld {
  const world = new CopyWorld(options, { sizeBytes })
  world.openWithSnapshot()
  return world
}

const sourceOf = (world: CopyWorld, change: Partial<CloneSource> = {}): CloneSource =>
  ({ volumeId: world.copy.volumeId, snapshotId: 's', seq: 12, ...change })

function ask(world: CopyWorld, name: string, source: CloneSource, sizeBytes = 4 * MIB): Result<OpenCopy> {
  const spec = world.world.spec(name, sizeBytes)
  return world.world.await((done) => world.world.store!.cloneCopy(spec, `${name}-copy`, source, done))
}

function cloned(world: CopyWorld, name: string, source = sourceOf(world), sizeBytes = 4 * MIB): CopyWorld {
  const made = ask(world, name, source, sizeBytes)
  if (!made.ok) throw made.error
  return played(world, made.value)
}

/** Another copy of the same store, played like the first one. */
function played({ world }: CopyWorld, { copy }: OpenCopy): CopyWorld {
  const other = new CopyWorld(world.options, {}, world)
  other.use(copy)
  return other
}

const versionOf = (seq: number, lba: number, stamp: number): BlockVersion =>
  ({ epoch: 1, seq, lba, kind: 'write', payload: payloadOf(crc32c as never, stamped(stamp)) })

/** Of a block of its head, on the disk. */
function damage(world: CopyWorld, lba: number): void {
  t.ok(world.readStamps(lba, 1)[0]! > 0, 'its page is in memory')
  const { stream, map } = world.copy.targets[0]!
  const words = map.pages.get(0)!.words.slice(lba * ENTRY_WORDS, (lba + 1) * ENTRY_WORDS)
  const segmentAt = segmentOffsetBytes(stream.context.segmentBytes, segmentOf(words, 0))
  t.ok(world.world.disks[0]!.damage(segmentAt + unitsOf(words, 0) * UNIT_BYTES, 'ones'))
}

t.test('it begins as the snapshot, and goes its own way', (t) => {
  const first = origin({ seed: 1, ...TINY })
  const clone = cloned(first, 'clone')
  t.match(clone.copy.stored(), { tail: 12, appliedSeq: 12, baseSeq: 12, epochs: [[1, 1]], windows: undefined })
  first.append(write(1, 13, 2, [500]))
  first.settle()
  first.copy.apply(13, {})
  clone.epoch(2, 13)
  clone.append(write(2, 14, 3, [600]))
  clone.control(2, 15, { operation: 'snapshot', id: 'own' })
  clone.append({ kind: 'trim', epoch: 2, seq: 16, request: undefined, lba: 4, blockCount: 1 })
  clone.settle()
  clone.copy.apply(16, {})
  t.same(first.readStamps(1, 5), [0, 500, 103, 104, 105])
  t.same(clone.readStamps(1, 5), [0, 102, 600, 0, 105])
  t.same(clone.lookUp([2, 3, 4, 5]), [2, 14, 16, 5], 'under the ids they were written with')
  const scanned = clone.scan({ above: 0, upTo: 16 }).filter(({ lba }) => lba < 6)
  t.same(scanned.map(({ lba, epoch, seq, stamp }) => [lba, epoch, seq, stamp]), [
    [2, 1, 2, 102], [3, 2, 14, 600], [4, 1, 4, 104], [4, 2, 16, 0], [5, 1, 5, 105],
  ], 'its own snapshot sees block 4 as it was')
  t.end()
})

/** Block 2 of the origin, which has what the clone shares in its history then; the pages of both are in memory. */
function overwrite(first: CopyWorld, clone: CopyWorld): void {
  first.append(write(1, 13, 2, [500]))
  first.settle()
  first.copy.apply(13, {})
  t.same([first, clone].map((world) => world.readStamps(2, 1)[0]), [500, 102])
}

t.test('a shared block is found while the clone gets it as its own', (t) => {
  const first = origin({ seed: 30, ...TINY })
  const clone = cloned(first, 'clone')
  overwrite(first, clone)
  const { clock } = first.world
  const answer = first.holdRange()
  const found = clone.exactly([{ lba: 2, epoch: 1, seq: 2 }], () => {
    clone.copy.hydration.want([0])
    clock.runUntil(() => clone.copy.bodies.now.origin === null)
    answer()
  })
  t.same(found, { stamps: [102], damaged: [], unknown: [] })
  t.end()
})

t.test('whether the origin shows a block is unknown when its index cannot be read', (t) => {
  const first = origin({ seed: 31, ...TINY })
  const clone = cloned(first, 'clone')
  overwrite(first, clone)
  const shared = { lba: 2, epoch: 1, seq: 2 }
  first.world.indexes[0]!.failAt('range')
  t.same(clone.exactly([shared]), { stamps: [], damaged: [], unknown: [shared] })
  t.same(clone.exactly([shared]), { stamps: [102], damaged: [], unknown: [] })
  t.end()
})

t.test('a copy that is being filled makes no clone before it is whole', (t) => {
  const first = origin({ seed: 32, ...TINY })
  const descriptor = { ...first.copy.descriptor(), epochs: [[1, 1]] as Array<[number, number]> }
  first.startFill({ fork: 0, target: 12, wipe: [0], descriptor })
  first.fill([versionOf(2, 2, 102)])
  t.match(ask(first, 'clone', sourceOf(first)), { ok: false, error: { code: 'clone-source', message: /is not whole/ } })
  first.fill(Array.from({ length: 9 }, (_, i) => versionOf(3 + i, 3 + i, 103 + i)))
  t.ok(first.keep({ consistency: { state: 'consistent' } }))
  t.same(cloned(first, 'clone').readStamps(2, 10), [102, 103, 104, 105, 106, 107, 108, 109, 110, 111])
  t.end()
})

/** Blocks of the first pages of a slice, more than a turn of hydration reads. */
const SPREAD = [0, 1, 255, 256, 700, 1023]

function spreadOrigin(seed: number): CopyWorld {
  const world = new CopyWorld({ seed, ...TINY }, { sizeBytes: 4 * MIB })
  world.open()
  world.epoch(1, 1)
  SPREAD.forEach((lba, i) => world.append(write(1, 2 + i, lba, [200 + i])))
  world.control(1, 2 + SPREAD.length, { operation: 'snapshot', id: 's' })
  world.settle()
  world.copy.apply(2 + SPREAD.length, {})
  return world
}

t.test('it gets what lies in every page of a slice', (t) => {
  const first = spreadOrigin(33)
  const clone = cloned(first, 'clone', sourceOf(first, { seq: 2 + SPREAD.length }))
  clone.copy.hydration.want([0])
  clone.world.clock.runUntil(() => clone.copy.bodies.now.origin === null)
  t.same(SPREAD.map((lba) => clone.readStamps(lba, 1)[0]), SPREAD.map((_, i) => 200 + i))
  t.end()
})

t.test('a slice is shared until its blocks are in the map, however long they wait for room, and behind a cut', (t) => {
  const first = spreadOrigin(34)
  const clone = cloned(first, 'clone', sourceOf(first, { seq: 2 + SPREAD.length }))
  const { clock } = first.world
  const { filling, bodies } = clone.copy
  const { insert } = filling
  filling.insert = (versions, inserted) => void clock.after(50, () => insert.call(filling, versions, inserted))
  clone.copy.hydration.want([0])
  clock.runUntil(() => bodies.now.origin === null)
  t.same(SPREAD.map((lba) => clone.readStamps(lba, 1)[0]), SPREAD.map((_, i) => 200 + i))
  const opened = first.crash({ kind: 'synced' }, 'lost')
  opened.open()
  const again = played(opened, opened.world.store!.copies().get(clone.copy.volumeId)!)
  t.equal(again.copy.bodies.now.origin, null)
  t.same(SPREAD.map((lba) => again.readStamps(lba, 1)[0]), SPREAD.map((_, i) => 200 + i))
  t.end()
})

t.test('asked for twice it is made once; what does not qualify makes none', (t) => {
  const first = origin({ seed: 2, ...TINY })
  const isRefused = { ok: false, error: { code: 'clone-source' } }
  t.match(ask(first, 'a', sourceOf(first, { volumeId: 'ff'.repeat(16) })), isRefused)
  t.match(ask(first, 'a', sourceOf(first, { snapshotId: 'other' })), isRefused)
  first.control(1, 13, { operation: 'snapshot', id: 'later' })
  first.settle()
  const later = { snapshotId: 'later', seq: 13 }
  t.match(ask(first, 'a', sourceOf(first, later)), { ok: false, error: { message: /does not have all of it yet/ } })
  first.copy.apply(13, {})
  const made = ask(first, 'a', sourceOf(first, later))
  const again = ask(first, 'a', sourceOf(first, later))
  t.ok(made.ok && again.ok && made.value.copy === again.value.copy)
  t.same(first.copy.bodies.pins.length, 1)
  t.end()
})

t.test('what it costs does not depend on what is mapped', (t) => {
  const costs = [10, 400].map((writes) => {
    const world = new CopyWorld({ seed: 3, segments: 80 }, { sizeBytes: 4 * MIB })
    world.open()
    world.epoch(1, 1)
    for (let seq = 2; seq < 2 + writes; seq++) {
      world.append(write(1, seq, seq, [seq]))
      if (seq % 20 === 0) world.settle()
    }
    world.control(1, 2 + writes, { operation: 'snapshot', id: 's' })
    world.settle()
    world.copy.apply(2 + writes, undefined)
    const [stream] = world.world.store!.streams()
    const before = { log: stream!.log.bytesWritten, pages: stream!.map.pagesInMemory }
    cloned(world, 'clone', sourceOf(world, { seq: 2 + writes }))
    return [stream!.log.bytesWritten - before.log, stream!.map.pagesInMemory - before.pages]
  })
  t.same(costs[0], costs[1])
  t.ok(costs[0]![0]! <= 32 * 1024, `${costs[0]![0]} bytes of log`)
  t.end()
})

t.test('larger than its origin it ends in zeroes, whatever the origin gets there later', (t) => {
  const first = origin({ seed: 4, disks: 2, ...TINY })
  const clone = cloned(first, 'clone', sourceOf(first), 2 * GIB + MIB)
  first.control(1, 13, { operation: 'resize', sizeBytes: 8 * MIB })
  first.append(write(1, 14, 1500, [900]))
  first.settle()
  first.copy.apply(14, {})
  t.equal(first.readStamps(1500, 1)[0], 900)
  t.equal(clone.readStamps(1500, 1)[0], 0)
  clone.epoch(2, 13)
  clone.append(write(2, 14, 2 * SLICE_BLOCKS + 7, [700]))
  clone.settle()
  clone.copy.apply(14, {})
  t.same(clone.readStamps(2 * SLICE_BLOCKS + 7, 2), [700, 0])
  t.end()
})

t.test('eight origins lie below one another, and no ninth', (t) => {
  const first = origin({ seed: 5, ...TINY })
  let last = first
  let seq = 12
  for (let depth = 1; depth <= 7; depth++) {
    last = cloned(last, `c${depth}`, sourceOf(last, { seq }))
    last.epoch(depth + 1, ++seq)
    last.append(write(depth + 1, ++seq, 20 + depth, [depth]))
    last.control(depth + 1, ++seq, { operation: 'snapshot', id: 's' })
    last.settle()
    last.copy.apply(seq, {})
  }
  t.same(last.readStamps(11, 1), [111], 'from the first')
  t.match(sharingOf(last.copy), { sharedSlices: 1, levels: 7, readers: 0, isHydrating: false, isLastReader: false })
  t.match(sharingOf(first.copy), { ...NOTHING_SHARED, readers: 1 })
  t.same(last.readStamps(21, 7), [1, 2, 3, 4, 5, 6, 7])
  t.match(ask(last, 'c8', sourceOf(last, { seq })), { ok: false, error: { message: /hydrate one of them/ } })
  last.copy.hydration.want([0])
  t.match(sharingOf(last.copy), { sharedSlices: 1, isHydrating: true })
  last.world.clock.runUntil(() => last.copy.bodies.now.origin === null)
  last.world.clock.runUntil(() => !last.copy.hydration.isUnderWay)
  t.same(sharingOf(last.copy), NOTHING_SHARED)
  t.same(last.readStamps(11, 1), [111])
  t.ok(ask(last, 'c8', sourceOf(last, { seq })).ok, 'hydrated, it has none below it')
  t.end()
})

t.test('damage in a shared block is repaired under its id, for the origin as well', (t) => {
  const first = origin({ seed: 6, ...TINY })
  const clone = cloned(first, 'clone')
  damage(first, 5)
  t.throws(() => clone.readStamps(5, 1), /cannot be read/)
  t.throws(() => first.readStamps(5, 1), /cannot be read/)
  clone.repair([versionOf(5, 5, 105)])
  t.same(clone.readStamps(5, 1), [105])
  t.same(first.readStamps(5, 1), [105])
  clone.copy.hydration.want([0])
  clone.world.clock.runUntil(() => clone.copy.bodies.now.origin === null)
  t.same(clone.readStamps(4, 3), [104, 105, 106])
  t.end()
})

t.test('damage in what only a clone shows is the clone\'s to repair, and no filling waits for it', (t) => {
  const first = origin({ seed: 10, ...TINY })
  const clone = cloned(first, 'clone')
  const hidden = cloned(first, 'hidden')
  hidden.epoch(2, 13)
  hidden.append(write(2, 14, 5, [214]))
  hidden.settle()
  hidden.copy.apply(14, {})
  damage(first, 5)
  first.append(write(1, 13, 5, [113]))
  first.control(1, 14, { operation: 'snapshot-delete', id: 's' })
  first.settle()
  first.copy.apply(14, {})
  const told: Array<[string, unknown]> = []
  for (const [name, { copy }] of Object.entries({ first, clone, hidden })) {
    const { onEvent } = copy
    copy.onEvent = (event) => {
      if (event.type === 'damaged') told.push(...event.versions.map((id): [string, unknown] => [name, id]))
      onEvent(event)
    }
  }
  const scanned = first.scan({ above: 0, upTo: 14 })
  t.same(scanned.filter(({ lba }) => lba === 5).map(({ seq }) => seq), [13], 'another copy needs the newer one alone')
  const ids = [{ lba: 5, epoch: 1, seq: 5 }, { lba: 5, epoch: 1, seq: 13 }]
  first.copy.tellDamage(ids)
  first.world.clock.runUntilIdle()
  t.same(told.filter(([, id]) => id !== undefined), [['first', ids[1]], ['clone', ids[0]]], 'who shows it is told')
  clone.repair([versionOf(5, 5, 105)])
  t.same(clone.readStamps(5, 1), [105])
  t.end()
})

t.test('a filling makes no mark of a shared block, which a copy of the origin may have, and has it told', (t) => {
  const first = origin({ seed: 11, ...TINY })
  const clone = cloned(first, 'clone')
  damage(first, 5)
  const told: unknown[] = []
  const { onEvent } = first.copy
  first.copy.onEvent = (event) => {
    if (event.type === 'damaged') told.push(...event.versions)
    onEvent(event)
  }
  const id = { lba: 5, epoch: 1, seq: 5 }
  t.throws(() => clone.scan({ above: 0, upTo: 12, lost: [id] }), /cannot be scanned/)
  first.world.clock.runUntilIdle()
  t.match(told, [id])
  clone.repair([versionOf(5, 5, 105)])
  t.ok(clone.scan({ above: 0, upTo: 12, lost: [id] }).some(({ lba, payload }) => lba === 5 && payload !== undefined))
  t.end()
})

t.test('hydration waits for what is damaged', (t) => {
  const first = origin({ seed: 7, ...TINY })
  const clone = cloned(first, 'clone')
  damage(first, 5)
  const told: unknown[] = []
  const { onEvent } = clone.copy
  clone.copy.onEvent = (event) => {
    if (event.type === 'damaged') told.push(...event.versions)
    onEvent(event)
  }
  clone.copy.hydration.want([0])
  clone.world.clock.runUntil(() => told.length > 1)
  t.same(told[0], { lba: 5, epoch: 1, seq: 5 }, 'the machine is told, again and again')
  t.not(clone.copy.bodies.now.origin, null)
  clone.repair([versionOf(5, 5, 105)])
  clone.world.clock.runUntil(() => clone.copy.bodies.now.origin === null)
  t.same(clone.readStamps(4, 3), [104, 105, 106])
  t.end()
})

t.test('B4: a copy that waits for its clone to be wiped repairs the block that its clone waits for', (t) => {
  const first = origin({ seed: 12, ...TINY })
  const clone = cloned(first, 'clone')
  damage(first, 5)
  let told = 0
  const { onEvent } = first.copy
  first.copy.onEvent = (event) => {
    if (event.type === 'damaged') told++
    onEvent(event)
  }
  const facts = { consistency: { state: 'filling' as const, target: 12, slices: [[0, 0]] as Array<[number, number]> } }
  const descriptor = first.copy.descriptor()
  const start = { fork: 0, target: 12, wipe: [0], descriptor, facts }
  const wiped = first.begin((token) => first.copy.startFill(token, start))
  first.world.clock.runUntil(() => told > 0)
  t.equal(first.answerTo(wiped), undefined, 'it waits for its clone')
  // As its machine has it done, which was told: another copy of the origin has it.
  first.begin((token) => first.copy.repair(token, [versionOf(5, 5, 105)]))
  first.world.clock.runUntil(() => clone.copy.bodies.now.origin === null)
  t.same(clone.readStamps(4, 3), [104, 105, 106])
  first.world.clock.runUntil(() => first.answerTo(wiped) !== undefined)
  t.match(first.read(5, 1), [{ kind: 'trim', seq: 0 }], 'and then it is wiped')
  t.end()
})

/** Blocks of two slices, of which block 1 of the first is damaged on the disk; and a clone that shares them. */
function lostInTwo(seed: number): { first: CopyWorld; clone: CopyWorld; told: { origin: number; clone: number } } {
  const sizeBytes = 2 * GIB
  const first = new CopyWorld({ seed, ...TINY }, { sizeBytes })
  first.open()
  first.epoch(1, 1)
  IN_TWO.forEach((lba, i) => first.append(write(1, 2 + i, lba, [200 + i])))
  const seq = 2 + IN_TWO.length
  first.control(1, seq, { operation: 'snapshot', id: 's' })
  first.settle()
  first.copy.apply(seq, {})
  const clone = cloned(first, 'clone', sourceOf(first, { seq }), sizeBytes)
  damage(first, 1)
  const told = { origin: 0, clone: 0 }
  for (const [name, { copy }] of [['origin', first], ['clone', clone]] as const) {
    const { onEvent } = copy
    copy.onEvent = (event) => {
      if (event.type === 'damaged') told[name] += event.versions.filter((id) => id.lba === 1 && id.seq === 3).length
      onEvent(event)
    }
  }
  return { first, clone, told }
}

const IN_TWO = [0, 1, 2, 255, 256, 700, SLICE_BLOCKS, SLICE_BLOCKS + 5]

/** Blocks that are in its own map. */
function ownBlocks({ copy }: CopyWorld): number[] {
  const { map } = copy.targets[0]!
  return IN_TWO.filter((lba) => {
    const page = map.pages.get(Math.floor(lba / PAGE_BLOCKS))
    return page !== undefined && kindOf(page.words, (lba % PAGE_BLOCKS) * ENTRY_WORDS) !== ENTRY_KIND.none
  })
}

t.test('a block that every copy lost keeps its slice shared, holds up nothing else, and is looked at rarely', (t) => {
  const { first, clone, told } = lostInTwo(35)
  const { clock } = first.world
  const { bodies, hydration } = clone.copy
  hydration.want([0, 1])
  clock.runUntil(() => clock.nowMs() > 3_600_000)
  t.same(bodies.now.origin?.[2]?.map(([slice, count]) => [slice, count]), [[0, 1]], 'the other slice is its own')
  t.same(ownBlocks(clone), IN_TWO.filter((lba) => lba !== 1))
  t.ok(told.clone >= 20 && told.clone < 50, `it is asked for ${told.clone} times in an hour`)
  t.equal(told.origin, told.clone, 'and its origin is told as often')
  t.match(sharingOf(clone.copy), { sharedSlices: 1, isHydrating: true })
  t.throws(() => clone.readStamps(1, 1), /cannot be read/)
  t.same([0, 2, 255, 256, 700].map((lba) => clone.readStamps(lba, 1)[0]), [200, 202, 203, 204, 205])
  t.end()
})

t.test('it goes on soon when the block came back, in whichever copy; was written anew; or it is asked again', (t) => {
  const ends: Array<[string, (first: CopyWorld, clone: CopyWorld) => void, stamp: number]> = [
    ['repaired in the clone', (_, clone) => clone.repair([versionOf(3, 1, 201)]), 201],
    ['repaired in its origin', (first) => first.repair([versionOf(3, 1, 201)]), 201],
    ['written, and asked again', (_, clone) => {
      const seq = 2 + IN_TWO.length
      clone.epoch(2, seq + 1)
      clone.append(write(2, seq + 2, 1, [900]))
      clone.settle()
      clone.copy.apply(seq + 2, {})
      clone.copy.hydrate()
    }, 900],
  ]
  for (const [name, end, stamp] of ends) {
    const { first, clone } = lostInTwo(36)
    const { clock } = first.world
    clone.copy.hydration.want([0, 1])
    clock.runUntil(() => clock.nowMs() > 3_600_000)
    end(first, clone)
    const endedAtMs = clock.nowMs()
    clock.runUntil(() => clone.copy.bodies.now.origin === null || clock.nowMs() > endedAtMs + 2000)
    t.equal(clone.copy.bodies.now.origin, null, name)
    t.same(clone.readStamps(1, 1), [stamp])
    t.equal(clone.copy.hydration.isUnderWay, false)
  }
  t.end()
})

t.test('a slice that waits for a block that is lost is shared behind a cut, and without its origin', (t) => {
  const { first, clone } = lostInTwo(37)
  const { clock } = first.world
  clone.copy.hydration.want([0, 1])
  clock.runUntil(() => clock.nowMs() > 10_000)
  first.world.await<unknown>((done) => first.world.store!.removeCopy(first.copy.volumeId, done))
  const opened = first.crash({ kind: 'synced' }, { kind: 'synced' })
  opened.world.open()
  const again = played(opened, opened.world.store!.copies().get(clone.copy.volumeId)!)
  t.equal(again.copy.hydrate(), 1)
  const openedAtMs = opened.world.clock.nowMs()
  opened.world.clock.runUntil(() => opened.world.clock.nowMs() > openedAtMs + 10_000)
  t.ok(again.copy.hydration.isUnderWay)
  t.throws(() => again.readStamps(1, 1), /cannot be read/, 'never zeroes')
  again.repair([versionOf(3, 1, 201)])
  again.world.clock.runUntil(() => again.copy.bodies.now.origin === null)
  t.same([0, 1, 2].map((lba) => again.readStamps(lba, 1)[0]), [200, 201, 202])
  opened.world.clock.runUntilIdle()
  t.equal(opened.world.store!.remains().length, 0)
  t.end()
})

t.test('what its origin gave up on a disk that was away is lost to the clone, and never zeroes', (t) => {
  for (const index of [{ kind: 'synced' }, 'lost'] as const) {
    let first = new CopyWorld({ seed: 8, disks: 2, ...TINY }, { sizeBytes: 2 * GIB })
    first.open()
    first.epoch(1, 1)
    first.append(write(1, 2, 5, [102]))
    first.append(write(1, 3, SLICE_BLOCKS + 5, [103]))
    first.control(1, 4, { operation: 'snapshot', id: 's' })
    first.settle()
    first.copy.apply(4, {})
    const clone = cloned(first, 'clone', sourceOf(first, { seq: 4 }), 2 * GIB)
    clone.epoch(2, 5)
    clone.settle()
    clone.copy.apply(5, {})
    const away = first.copy.layout.target(SLICE_BLOCKS + 5)!.stream.context.diskUuid
    const descriptor = { ...first.copy.descriptor(), epochs: [[1, 1]] }
    first = first.crash({ kind: 'synced' }, index)
    const contexts = first.world.contexts.bind(first.world)
    first.world.contexts = () => contexts().filter(({ context }) => context.diskUuid !== away)
    t.same(first.open().lostSlices, [1], 'the disk is away')
    const besides = played(first, first.world.store!.copies().get(clone.copy.volumeId)!)
    t.same(besides.copy.stored().lostSlices, [1])
    t.same(besides.readStamps(5, 1), [102])
    first.startFill({ fork: 4, target: 4, wipe: [1], descriptor })
    first.fill([versionOf(3, SLICE_BLOCKS + 5, 103)])
    t.ok(first.keep({ consistency: { state: 'consistent' } }))
    first = first.crash({ kind: 'synced' }, index)
    t.same(first.open().lostSlices, [], 'the disk is back, and not needed')
    t.same(first.readStamps(SLICE_BLOCKS + 5, 1), [103])
    const back = played(first, first.world.store!.copies().get(clone.copy.volumeId)!)
    t.same(back.copy.stored().lostSlices, [1], 'what the clone shared there is not')
    t.same(back.readStamps(5, 1), [102])
    t.throws(() => back.readStamps(SLICE_BLOCKS + 5, 1), /cannot be read/)
    // It is filled as after the loss of a disk, and shares nothing of that slice any more.
    back.startFill({ fork: 5, target: 5, wipe: [1], descriptor: { ...back.copy.descriptor() } })
    back.fill([versionOf(3, SLICE_BLOCKS + 5, 103)])
    t.ok(back.keep({ consistency: { state: 'consistent' } }))
    t.same(back.readStamps(SLICE_BLOCKS + 5, 1), [103])
    first = first.crash({ kind: 'synced' }, index)
    first.open()
    const whole = played(first, first.world.store!.copies().get(clone.copy.volumeId)!)
    t.same(whole.copy.stored().lostSlices, [])
    t.same([...whole.readStamps(5, 1), ...whole.readStamps(SLICE_BLOCKS + 5, 1)], [102, 103])
  }
  t.end()
})

t.test('so many clones share with one copy, and no more', (t) => {
  const first = origin({ seed: 9, segments: 80 })
  first.copy.bodies.pins = Array.from({ length: 1023 }, (_, i) => [i.toString(16).padStart(32, '0'), 12] as const)
  t.ok(ask(first, 'a', sourceOf(first)).ok)
  t.equal(first.copy.bodies.pins.length, 1, 'those of nobody went meanwhile')
  first.copy.bodies.pins = Array.from({ length: 1024 }, (_, i) => [i.toString(16).padStart(32, '0'), 12] as const)
  t.match(ask(first, 'b', sourceOf(first)), { ok: false, error: { message: /1024 clones share .*: hydrate some/ } })
  t.end()
})

t.test('what is left of a deleted origin is scrubbed, and repaired by the clone that reads it', (t) => {
  const first = origin({ seed: 31, ...TINY })
  const clone = cloned(first, 'clone')
  const second = cloned(clone, 'second', whole(clone), 4 * MIB)
  for (const lba of [4, 7]) damage(first, lba)
  const { world } = first
  for (const { copy } of [first, clone])
    world.await<unknown>((done) => world.store!.removeCopy(copy.volumeId, done))
  const [remains] = world.store!.remains().filter(({ copy }) => copy.volumeId === first.copy.volumeId)
  t.same(remains!.clones(), [second.copy.volumeId], 'through what is left of the one between')
  t.match(sharingOf(second.copy), { isLastReader: true, levels: 2 })
  const told: VersionId[] = []
  const before = second.copy.onEvent
  second.copy.onEvent = (event) => {
    before(event)
    if (event.type !== 'damaged') return
    told.push(...event.versions)
    // Another copy of the clone has one of them.
    const found = event.versions.filter(({ lba }) => lba === 4).map(({ lba, seq }) => versionOf(seq, lba, 100 + seq))
    second.copy.repair(50_000 + told.length, found)
  }
  const scrub = new CopyScrub(remains!.copy, {
    wallMs: () => 1,
    pace: (_bytes, go) => go(true),
    tell: (versions) => remains!.tellReaders(versions),
    onProblem: () => {},
  })
  let ended: boolean | undefined
  runTask(scrub.openTask(), () => runTask(scrub.passTask('deep', () => 'anew'), (isWhole) => (ended = isWhole)))
  world.clock.runUntil(() => ended !== undefined)
  t.equal(ended, true)
  t.same(told.map(({ lba, seq }) => [lba, seq]).sort().slice(0, 2), [[4, 4], [7, 7]])
  t.match(scrub.summary('deep'), { counts: { blocks: 10, damaged: 2 }, unrepaired: 1 })
  t.same(second.readStamps(4, 1), [104])
  t.throws(() => second.readStamps(7, 1))
  t.end()
})

/** A snapshot of all that a clone shows. */
function whole(world: CopyWorld): CloneSource {
  world.epoch(2, 13)
  world.control(2, 14, { operation: 'snapshot', id: 's' })
  world.settle()
  world.copy.apply(14, {})
  return sourceOf(world, { seq: 14 })
}
