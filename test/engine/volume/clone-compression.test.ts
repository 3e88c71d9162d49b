/**
 * A clone of a compressed volume: what it shares comes in the form in which its origin stored it, whole or of fewer
 * units, for reads, fillings, hydration, repairs and the cleaner; what it writes itself has a form of its own.
 */
import t, { type Test } from 'tap'
import { cleanSegment, newCleanerBuffer } from '../../../engine/log/cleaner.ts'
import { ENTRY_WORDS, segmentOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import type { BlockVersion, ReplicatedRecord } from '../../../engine/replication/record.ts'
import { runTask } from '../../../engine/task.ts'
import { MIB, UNIT_BYTES, UNITS_PER_BLOCK } from '../../../engine/units.ts'
import { blobsOf } from '../../../engine/volume/copy-headers.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { cleanCopy } from '../../sim/cleaned-stream.ts'
import { CopyWorld, mixedWrite, write } from '../../sim/copy-world.ts'
import { stamped, stampOf } from '../../sim/store-world.ts'
import { blocksOf, mixedPayload } from '../../sim/stored-forms.ts'

const SEGMENT_BYTES = 64 * 1024
/** Of these every third one is compressed, each to other units: 100, 103, 106, 109. */
const STAMPS = Array.from({ length: 10 }, (_, i) => 100 + i)
const isCompressed = (stamp: number): boolean => stamp % 3 === 1

/** Blocks 1 to 10 with the stamps, in one record; a snapshot at seq 3. */
function origin(seed: number): CopyWorld {
  const world = new CopyWorld({ seed, segments: 200, segmentBytes: SEGMENT_BYTES }, { sizeBytes: 4 * MIB })
  world.open()
  world.epoch(1, 1)
  take(world, [mixedWrite(1, 2, 1, STAMPS)])
  world.control(1, 3, { operation: 'snapshot', id: 's' })
  take(world, [])
  return world
}

/** Appended, stored and applied. */
function take(world: CopyWorld, records: ReplicatedRecord[]): void {
  for (const record of records) world.append(record)
  world.settle()
  world.copy.apply(world.copy.tail, {})
}

function cloned(first: CopyWorld): CopyWorld {
  const source = { volumeId: first.copy.volumeId, snapshotId: 's', seq: 3 }
  const spec = first.world.spec('clone', 4 * MIB)
  const made = first.world.await<Result<OpenCopy>>((done) =>
    first.world.store!.cloneCopy(spec, 'clone-copy', source, done))
  if (!made.ok) throw made.error
  return played(first, made.value)
}

/** Another copy of the same store. */
function played({ world }: CopyWorld, { copy }: OpenCopy): CopyWorld {
  const other = new CopyWorld(world.options, {}, world)
  other.use(copy)
  return other
}

const trim = (epoch: number, seq: number, lba: number): ReplicatedRecord =>
  ({ kind: 'trim', epoch, seq, request: undefined, lba, blockCount: 1 })

/** The stamp of a block and of how many units its blob is. */
function formOf({ payload }: BlockVersion): [number, number] {
  if (payload === undefined) return [0, 0]
  const { stored } = blobsOf(payload)
  return [stampOf(blocksOf(payload)[0]!), stored?.units[0] ?? UNITS_PER_BLOCK]
}

const formsOf = (world: CopyWorld, lba: number, count: number) => world.read(lba, count).map(formOf)

/** As `mixedPayload` makes it. */
const formed = (stamp: number): [number, number] =>
  [stamp, mixedPayload(stamped(stamp), [stamp]).bytes / UNIT_BYTES]

/** Writes of other blocks, so that what was before them lies in sealed segments. */
const others = (epoch: number, firstSeq: number): ReplicatedRecord[] =>
  Array.from({ length: 40 }, (_, i) => write(epoch, firstSeq + i, 500 + i, [firstSeq + i]))

/** Where its head has the block. */
function segmentOfBlock(world: CopyWorld, lba: number): number {
  world.read(lba, 1)
  return segmentOf(world.copy.targets[0]!.map.pages.get(0)!.words, lba * ENTRY_WORDS)
}

/** A sector that lies in the blob of the block as a whole. @returns the segment that has it */
function damageBlob(t: Test, world: CopyWorld, lba: number): number {
  const segment = segmentOfBlock(world, lba)
  const { stream, map } = world.copy.targets[0]!
  const words = map.pages.get(0)!.words.slice(lba * ENTRY_WORDS, (lba + 1) * ENTRY_WORDS)
  const sector = Math.ceil((unitsOf(words, 0) * UNIT_BYTES) / 512) * 512
  t.ok(world.world.disks[0]!.damage(segmentOffsetBytes(stream.context.segmentBytes, segment) + sector, 'ones'))
  return segment
}

/** It gets everything as its own. */
function hydrate(clone: CopyWorld): void {
  clone.copy.hydrate()
  clone.world.clock.runUntil(() => clone.copy.bodies.now.origin === null)
}

/** Behind a cut: both copies of the store. */
function again(
  first: CopyWorld,
  cloneId: string,
  index: Parameters<CopyWorld['crash']>[1] = 'lost',
): [CopyWorld, CopyWorld] {
  const opened = first.crash({ kind: 'synced' }, index)
  opened.open()
  const clone = played(opened, opened.world.store!.copies().get(cloneId)!)
  opened.copy.apply(opened.copy.tail, {})
  clone.copy.apply(clone.copy.tail, {})
  return [opened, clone]
}

t.test('what it shares is read and scanned in the form of its origin', (t) => {
  const first = origin(1)
  const clone = cloned(first)
  const all = STAMPS.map(formed)
  t.ok(STAMPS.filter(isCompressed).every((stamp) => formed(stamp)[1] < UNITS_PER_BLOCK))
  t.same(formsOf(clone, 1, 10), all)
  take(first, [write(1, 4, 1, [300]), mixedWrite(1, 5, 2, [301, 302, 303])])
  t.same(formsOf(clone, 1, 10), all, 'after the origin was overwritten in other forms')
  t.same(clone.scan({ above: 0, upTo: 3, bytesMax: 5000 }).map(formOf), all, 'for a filling, in small pieces')
  t.equal(clone.copy.targets[0]!.map.usedUnits, 0, 'it has nothing of its own')
  t.end()
})

t.test('overwritten, trimmed, moved and hydrated in all forms, through cuts', (t) => {
  let first = origin(2)
  let clone = cloned(first)
  const { volumeId } = clone.copy
  clone.epoch(2, 4)
  // Compressed over what is, plain over compressed, compressed over plain; and a snapshot that sees 400 beneath.
  take(clone, [mixedWrite(2, 5, 1, [400]), write(2, 6, 4, [403]), mixedWrite(2, 7, 5, [406]), trim(2, 8, 7)])
  clone.control(2, 9, { operation: 'snapshot', id: 'own' })
  take(clone, [trim(2, 10, 1), ...others(2, 11)])
  take(first, others(1, 4))
  const expected = [
    [0, 0], formed(101), formed(102), [403, UNITS_PER_BLOCK], formed(406), formed(105), [0, 0], formed(107),
    formed(108), formed(109),
  ]
  const sees = (say: string): void => {
    t.same(formsOf(clone, 1, 10), expected, say)
    t.same(formsOf(first, 1, 10), STAMPS.map(formed), `its origin ${say}`)
    const found = clone.scan({ above: 0, upTo: 50 }).filter(({ lba, kind }) => lba === 1 && kind === 'write')
    t.same(found.map(formOf), [formed(400)], `its snapshot ${say}`)
  }
  sees('as it was written')
  const places = [segmentOfBlock(first, 4), segmentOfBlock(clone, 5)]
  cleanCopy(clone)
  const moved = [segmentOfBlock(first, 4), segmentOfBlock(clone, 5)]
  t.ok(moved.every((segment, i) => segment !== places[i]), `${places.join()} moved to ${moved.join()}`)
  sees('moved by the cleaner')
  ;[first, clone] = again(first, volumeId)
  sees('behind a cut')
  take(clone, others(2, 51))
  cleanCopy(clone, false)
  ;[first, clone] = again(first, volumeId, { kind: 'synced' })
  sees('moved behind the last checkpoint, then cut')
  hydrate(clone)
  sees('hydrated')
  take(first, [write(1, 44, 1, Array.from({ length: 10 }, (_, i) => 600 + i))])
  const own = formsOf(clone, 1, 10)
  t.same(own, expected, 'its own, whatever becomes of the origin')
  const hydratedAt = segmentOfBlock(clone, 10)
  take(clone, others(2, 91))
  cleanCopy(clone)
  t.not(segmentOfBlock(clone, 10), hydratedAt, 'it was moved')
  t.same(formsOf(clone, 1, 10), expected, 'hydrated and moved')
  ;[first, clone] = again(first, volumeId)
  t.equal(clone.copy.bodies.now.origin, null, 'it shares nothing any more')
  t.same(formsOf(clone, 1, 10), expected, 'hydrated, moved, and rebuilt from the log')
  t.same(first.readStamps(1, 2), [600, 601])
  t.end()
})

t.test('hydration takes the room of the blobs, and no more', (t) => {
  const first = origin(3)
  const clone = cloned(first)
  hydrate(clone)
  const units = STAMPS.map(formed).reduce((sum, [, count]) => sum + count, 0)
  t.equal(clone.copy.targets[0]!.map.usedUnits, units)
  t.same(formsOf(clone, 1, 10), STAMPS.map(formed))
  t.end()
})

t.test('a damaged blob that is shared is repaired in its place, from a copy that has it as its own', (t) => {
  const first = origin(4)
  const clone = cloned(first)
  damageBlob(t, first, 4)
  t.throws(() => clone.read(4, 1), /cannot be read/)
  clone.repair([{ epoch: 1, seq: 2, lba: 4, kind: 'write', payload: mixedPayload(stamped(103), [103]) }])
  t.same([formsOf(clone, 4, 1), formsOf(first, 4, 1)], [[formed(103)], [formed(103)]])
  t.same(formsOf(clone, 1, 10), STAMPS.map(formed), 'and nothing beside it was touched')
  t.end()
})

t.test('a repaired blob is known in its form when nothing but its record is left', (t) => {
  const first = origin(14)
  take(first, others(1, 4))
  const former = damageBlob(t, first, 4)
  first.repair([{ epoch: 1, seq: 2, lba: 4, kind: 'write', payload: mixedPayload(stamped(103), [103]) }])
  t.not(segmentOfBlock(first, 4), former)
  const { stream } = first.copy.targets[0]!
  const { world } = first
  world.await<boolean>((done) => runTask(cleanSegment(stream, former, newCleanerBuffer()), done))
  world.await<boolean>((done) => stream.makeCheckpoint(done))
  world.clock.runUntilIdle()
  t.equal(stream.segments.state[former], SEGMENT_STATE.none, 'where it was is given back')
  const opened = first.crash({ kind: 'synced' }, 'lost')
  opened.open()
  opened.copy.apply(opened.copy.tail, {})
  t.same(formsOf(opened, 1, 10), STAMPS.map(formed))
  t.end()
})

t.test('the origin is removed: what remains of it is read, moved, and goes when it is hydrated', (t) => {
  const first = origin(5)
  const clone = cloned(first)
  clone.epoch(2, 4)
  take(clone, [write(2, 5, 4, [403]), ...others(2, 6)])
  first.world.await<unknown>((done) => first.world.store!.removeCopy(first.copy.volumeId, done))
  cleanCopy(clone)
  const expected = STAMPS.map((stamp) => (stamp === 103 ? [403, UNITS_PER_BLOCK] : formed(stamp)))
  t.same(formsOf(clone, 1, 10), expected)
  hydrate(clone)
  const remains = clone.copy.targets[0]!.stream.volumesById.get(first.copy.volumeId)
  clone.world.clock.runUntilIdle()
  t.equal(remains?.usedUnits ?? 0, 0, 'nothing remains')
  t.same(formsOf(clone, 1, 10), expected)
  t.end()
})
