/**
 * Damage in a block that a clone shares, met by a read of the clone: other copies of its origin may have it, which no
 * member of the clone asks. What the clone counts as lost of it is what nobody has.
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import { ENTRY_WORDS, segmentOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import type { VersionId } from '../../../engine/replication/record.ts'
import { runTask } from '../../../engine/task.ts'
import { MIB, UNIT_BYTES } from '../../../engine/units.ts'
import { payloadOf } from '../../../engine/volume/copy-headers.ts'
import { CopyScrub } from '../../../engine/volume/copy-scrub.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { stamped } from '../../sim/store-world.ts'

const SIZE = 4 * MIB
const ID = { lba: 5, epoch: 1, seq: 5 }

interface Pair {
  first: CopyWorld
  clone: CopyWorld
  scrub: CopyScrub
}

/** A volume with stamps 102 to 111 in blocks 2 to 11, and a clone of all that, with a snapshot at seq 14. */
function pair(seed: number): Pair {
  const first = new CopyWorld({ seed, segments: 40 }, { sizeBytes: SIZE })
  first.openWithSnapshot()
  const { world } = first
  const source = { volumeId: first.copy.volumeId, snapshotId: 's', seq: 12 }
  const made = world.await<Result<OpenCopy>>((done) =>
    world.store!.cloneCopy(world.spec('clone', SIZE), 'clone-copy', source, done))
  if (!made.ok) throw made.error
  const clone = new CopyWorld(world.options, {}, world)
  clone.use(made.value.copy)
  clone.epoch(2, 13)
  clone.control(2, 14, { operation: 'snapshot', id: 'own' })
  clone.settle()
  clone.copy.apply(14, {})
  damage(first, ID.lba)
  const scrub = new CopyScrub(clone.copy, { wallMs: () => 1, pace: (_bytes, go) => go(true), onProblem: () => {} })
  runTask(scrub.openTask(), () => {})
  world.clock.runUntilIdle()
  return { first, clone, scrub }
}

/** Of a block of its head, on the disk. */
function damage(world: CopyWorld, lba: number): void {
  if (world.readStamps(lba, 1)[0] === 0) throw new Error('nothing is there')
  const { stream, map } = world.copy.targets[0]!
  const words = map.pages.get(0)!.words.slice(lba * ENTRY_WORDS, (lba + 1) * ENTRY_WORDS)
  const segmentAt = segmentOffsetBytes(stream.context.segmentBytes, segmentOf(words, 0))
  world.world.disks[0]!.damage(segmentAt + unitsOf(words, 0) * UNIT_BYTES, 'ones')
}

/** What its machine does when it is told of damage. @returns what it was told */
function machine({ copy }: CopyWorld, answer: (versions: VersionId[]) => void): VersionId[] {
  const told: VersionId[] = []
  const { onEvent } = copy
  copy.onEvent = (event) => {
    onEvent(event)
    if (event.type !== 'damaged' || event.versions.length === 0) return
    told.push(...event.versions)
    answer(event.versions.map(({ lba, epoch, seq }) => ({ lba, epoch, seq })))
  }
  return told
}

/** It is the only copy: nobody else can have it. */
const alone = (world: CopyWorld): VersionId[] => machine(world, (versions) => world.copy.lost(versions))

function mend({ copy }: CopyWorld, versions: readonly VersionId[]): void {
  copy.repair(50_000, versions.map((id) =>
    ({ ...id, kind: 'write' as const, payload: payloadOf(crc32c as never, stamped(100 + id.seq)) })))
}

/** Another member has it, and answers after so long. */
const mending = (world: CopyWorld, afterMs: number): VersionId[] =>
  machine(world, (versions) => void world.world.clock.after(afterMs, () => mend(world, versions)))

/** How long it takes until it is known that it cannot be read, milliseconds. */
function refusedAfterMs(clone: CopyWorld): number {
  const { clock } = clone.world
  const beganAtMs = clock.nowMs()
  t.throws(() => clone.readStamps(5, 1), /cannot be read/)
  return clock.nowMs() - beganAtMs
}

t.test('a read of a clone waits for the copies of its origin, one of which has the block', (t) => {
  const { first, clone, scrub } = pair(1)
  const told = { first: mending(first, 50), clone: alone(clone) }
  t.same(clone.readStamps(4, 3), [104, 105, 106])
  t.match([told.first[0], told.clone[0]], [ID, ID], 'members of both are asked')
  t.equal(scrub.lost.count, 0, 'it was never lost')
  t.same(first.readStamps(5, 1), [105])
  t.end()
})

t.test('so does a read of its snapshot', (t) => {
  const { first, clone } = pair(2)
  mending(first, 50)
  alone(clone)
  const snapshot = clone.copy.snapshot('own')!
  const token = clone.begin((one) => clone.copy.readSnapshot(one, snapshot, 5, 1))
  let answer: unknown
  clone.world.clock.runUntil(() => (answer = clone.answerTo(token)) !== undefined)
  t.match(answer, { type: 'read-ended', ok: true, damaged: [], versions: [ID] })
  t.end()
})

t.test('a copy of the clone that has it is waited for no longer than that takes', (t) => {
  const { first, clone, scrub } = pair(3)
  alone(first)
  mending(clone, 0)
  const { clock } = clone.world
  t.equal(refusedAfterMs(clone) < 1000, true, 'the origin said that it is lost, and the machine of the clone is asked')
  clock.runUntilIdle()
  t.same(clone.readStamps(5, 1), [105])
  t.equal(scrub.lost.count, 0)
  t.end()
})

t.test('what copies of neither have is lost at once', (t) => {
  const { first, clone, scrub } = pair(4)
  alone(first)
  const told = alone(clone)
  t.ok(refusedAfterMs(clone) < 1000)
  // As the machine does with a read that met damage.
  const before = told.length
  clone.copy.tellDamage([ID])
  clone.world.clock.runUntil(() => told.length > before)
  t.equal(scrub.lost.count, 1)
  t.end()
})

t.test('who does not answer for long is waited for no longer, and heard later', (t) => {
  const { first, clone, scrub } = pair(5)
  alone(clone)
  const waitedMs = refusedAfterMs(clone)
  t.ok(waitedMs >= 5000 && waitedMs <= 15_000, `${waitedMs} ms`)
  t.ok(refusedAfterMs(clone) < 1000, 'nor once more, as the machine reads before it says that it is lost')
  clone.copy.tellDamage([ID])
  clone.world.clock.runUntilIdle()
  t.equal(scrub.lost.count, 1)
  mend(first, [ID])
  first.world.clock.runUntilIdle()
  t.equal(scrub.lost.count, 0, 'what was mended in the origin is not lost to its clone')
  t.same(clone.readStamps(5, 1), [105])
  t.end()
})

t.test('an origin that does not show the block itself is not waited for', (t) => {
  const { first, clone } = pair(6)
  first.append(write(1, 13, 5, [113]))
  first.control(1, 14, { operation: 'snapshot-delete', id: 's' })
  first.settle()
  first.copy.apply(14, {})
  alone(clone)
  t.ok(refusedAfterMs(clone) < 1000)
  t.end()
})

t.test('nothing waits for an origin when the store ends', (t) => {
  const { clone } = pair(7)
  alone(clone)
  const token = clone.begin((one) => clone.copy.read(one, 5, 1))
  const { clock, store } = clone.world
  const endsAtMs = clock.nowMs() + 100
  clock.after(100, () => store!.stop(() => {}))
  clock.runUntil(() => clock.nowMs() >= endsAtMs)
  let answer: unknown
  clock.runUntil(() => (answer = clone.answerTo(token)) !== undefined)
  t.match(answer, { ok: false, damaged: [ID] })
  t.ok(clock.nowMs() < endsAtMs + 1000)
  t.end()
})

function scrubbed({ clone, scrub }: Pair): void {
  let ended: boolean | undefined
  runTask(scrub.passTask('deep', () => 'anew'), (isWhole) => (ended = isWhole))
  clone.world.clock.runUntil(() => ended !== undefined)
}

t.test('a deep scrub of a clone forgets no lost block that it shares without looking at it', (t) => {
  const both = pair(8)
  const { first, clone, scrub } = both
  clone.copy.lost([ID])
  clone.copy.lost([{ lba: 6, epoch: 1, seq: 6 }])
  t.equal(scrub.lost.count, 2)
  scrubbed(both)
  t.equal(scrub.lost.count, 1, 'block 6 can be read')
  mend(first, [ID])
  first.world.clock.runUntilIdle()
  t.equal(scrub.lost.count, 0)
  scrubbed(both)
  t.equal(scrub.lost.count, 0)
  t.end()
})
