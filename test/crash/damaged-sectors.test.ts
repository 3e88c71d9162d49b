/**
 * One rotten sector, wherever it is, never gives a wrong or older block: the block is right, or an error, or the disk
 * is refused in words (reliability.md 3.4, C4).
 *
 * A small store is worked on until it has sealed, open and free segments, copies of its cleaner and many checkpoints,
 * and is then killed, or stopped. Every 512 B sector that was ever written, in every structure, is damaged in five
 * ways on a copy of the disk; the store is opened with its index and without it, everything is read, the store works
 * on for a while, dies, is opened once more and everything is read again.
 *
 * Before the kill 2 s pass. What was committed less than 1 s ago may be proved durable by nothing but its own bytes:
 * there a damaged sector cannot be told from a write that the power cut tore, and recovery cuts such a tail.
 *
 * CRASH_ALL=1 takes all states, else a selection drawn from a seed that has some of every structure.
 */
import { crc32c } from '@node-rs/crc32'
import t from 'tap'
import { segmentOffsetBytes } from '../../engine/log/geometry.ts'
import { LogReader } from '../../engine/log/log-reader.ts'
import { RECORD_FLAG, RECORD_KIND } from '../../engine/log/record.ts'
import { decodeSegmentHeader, decodeTrailer } from '../../engine/log/segment.ts'
import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { Crc32c } from '../../engine/ports.ts'
import { runTask } from '../../engine/task.ts'
import { BLOCK_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { DAMAGES, type Damage } from '../sim/disk.ts'
import { Random } from '../sim/random.ts'
import { StoreWorld } from '../sim/store-world.ts'
import { freeze, hasRefused, openStore, ScriptedWork, thaw, workVolume, type Frozen } from './scripted-work.ts'

// The machine may be busy, and all states take minutes.
t.setTimeout(1_800_000)

const ALL = process.env.CRASH_ALL === '1'
/** States of each structure in a selection. */
const STATES_EACH = 100
const SEGMENTS = 14
const SEGMENT_BYTES = 64 * 1024
const SEGMENT_BLOCKS = SEGMENT_BYTES / BLOCK_BYTES

const STRUCTURES = ['root', 'segment header', 'batch header', 'payload', 'control body', 'summary', 'trailer'] as const
/** `left over`: free segments, and what lies behind the last batch of others. */
type Structure = (typeof STRUCTURES)[number] | 'left over'

interface Scene {
  work: ScriptedWork
  frozen: Frozen
  /** By structure, the sectors that were written. */
  sectors: Map<Structure, number[]>
  checkpoints: number
  moved: number
  states: number[]
  /** Segments that hold nothing, and did. */
  usedAndFree: number
}

function makeScene(stop: 'kill' | 'stop', crc: Crc32c = crc32c): Scene {
  const world = new StoreWorld({
    seed: 1, segments: SEGMENTS, segmentBytes: SEGMENT_BYTES, checkpointBytes: 128 * 1024, pendingMax: 60, pagesMax: 3,
  })
  openStore(world, { crc32c: crc })
  const volumes = [workVolume('a', 1, [[0, 30]]), workVolume('b', 2, [[244, 26]]), workVolume('gone', 1, [[0, 6]])]
  const work = new ScriptedWork(1, volumes)
  work.run(world, { rounds: 40, doomed: 'gone' })
  if (stop === 'stop') world.await<unknown>((done) => world.store!.stop(done))
  else world.clock.advance(2000)
  world.clock.runUntilIdle()
  const [stream] = world.store!.streams()
  const states = [...stream!.segments.state]
  const { grants } = stream!.context
  const usedAndFree = states.filter((state, i) => state === SEGMENT_STATE.none && grants.generation(i) > 1).length
  const checkpoints = world.indexes[0]!.counts.batch
  const frozen = freeze(world, 'kill')
  return { work, frozen, ...classify(frozen, crc), checkpoints, states, usedAndFree }
}

/** Which structure each written sector belongs to, as the frames of the segments and their batches say. */
function classify(frozen: Frozen, crc: Crc32c): { sectors: Map<Structure, number[]>; moved: number } {
  const world = thaw(frozen, { seed: 1 })
  const disk = world.disks[0]!
  const context = { ...world.contexts()[0]!.context, crc32c: crc }
  const reader = new LogReader(context)
  const blocks = new Map<number, Structure>()
  let moved = 0
  for (let segment = 0; segment < SEGMENTS; segment++) {
    const first = segmentOffsetBytes(SEGMENT_BYTES, segment) / BLOCK_BYTES
    const last = first + SEGMENT_BLOCKS - 1
    blocks.set(first, 'segment header')
    const place = { diskUuid: context.diskUuid, segment }
    const header = decodeSegmentHeader(disk.peek(first * BLOCK_BYTES, BLOCK_BYTES), crc, place)
    if (header === undefined || header.free) continue
    const { generation } = header
    const expected = { ...place, generation, segmentBlocks: SEGMENT_BLOCKS }
    const trailer = decodeTrailer(disk.peek(last * BLOCK_BYTES, BLOCK_BYTES), crc, expected)
    if (trailer !== undefined) blocks.set(last, 'trailer')
    for (let i = 1; i <= (trailer?.summaryBlocks ?? 0); i++) blocks.set(last - i, 'summary')
    for (let block = 1; block < SEGMENT_BLOCKS - 1;) {
      const at = { segment, generation, block }
      type Found = ReturnType<LogReader['batchAt']> extends Generator<unknown, infer R, never> ? R : never
      const batch = world.await<Found>((done) => runTask(reader.batchAt(at, { failed: false }), done))
      if (batch === undefined) break
      moved += batch.records.filter(({ flags }) => (flags & RECORD_FLAG.moved) !== 0).length
      const headerBlocks = Math.ceil(batch.header.headerBytes / BLOCK_BYTES)
      for (let i = 0; i < batch.header.totalBlocks; i++)
        blocks.set(first + block + i, i < headerBlocks ? 'batch header' : 'payload')
      for (const { kind, payloadUnits, bodyBytes } of batch.records) {
        if (kind !== RECORD_KIND.control) continue
        const from = first + block + payloadUnits / UNITS_PER_BLOCK
        for (let i = 0; i * BLOCK_BYTES < bodyBytes; i++) blocks.set(from + i, 'control body')
      }
      block += batch.header.totalBlocks
    }
  }
  const sectors = new Map<Structure, number[]>()
  for (const offset of disk.writtenSectors()) {
    const found = offset < segmentOffsetBytes(SEGMENT_BYTES, 0) ? 'root' : blocks.get(Math.floor(offset / BLOCK_BYTES))
    const structure = found ?? 'left over'
    sectors.set(structure, [...(sectors.get(structure) ?? []), offset])
  }
  return { sectors, moved }
}

type Outcome = 'whole' | 'errors' | 'refused' | 'unchanged'

/** Damage, open, read, work on, die, open, read. Throws what is wrong in words. */
function tryState(scene: Scene, how: { seed: number; lost: boolean; rot: [number, Damage][]; crc?: Crc32c }): Outcome {
  const world = thaw(scene.frozen, how)
  const crc = how.crc ?? crc32c
  let changed = false
  for (const [offset, damage] of how.rot) if (world.disks[0]!.damage(offset, damage)) changed = true
  if (!changed) return 'unchanged'
  openStore(world, { crc32c: crc })
  const first = scene.work.readBack(world)
  if (first.wrong.length > 0) throw new Error(first.wrong[0])
  const refused = hasRefused(world)
  world.clock.advance(1500)
  world.clock.runUntilIdle()
  const again = thaw(freeze(world, 'kill'), { seed: how.seed })
  openStore(again, { crc32c: crc })
  const second = scene.work.readBack(again)
  if (second.wrong.length > 0) throw new Error(`after one more start: ${second.wrong[0]}`)
  if (refused || hasRefused(again)) return 'refused'
  return first.eio + second.eio > 0 ? 'errors' : 'whole'
}

for (const stop of ['kill', 'stop'] as const) {
  t.test(`every structure of a store that was ${stop === 'kill' ? 'killed' : 'stopped'}`, (t) => {
    const scene = makeScene(stop)
    const { states } = scene
    t.ok(scene.checkpoints > 2, `${scene.checkpoints} index batches`)
    t.ok(scene.moved > 0, `${scene.moved} records of the cleaner lie on the disk`)
    t.ok(states.includes(SEGMENT_STATE.sealed), 'there are sealed segments')
    if (stop === 'kill') t.ok(states.includes(SEGMENT_STATE.open), 'there is an open segment')
    t.ok(scene.usedAndFree > 0, `${scene.usedAndFree} segments were cleaned and are free`)
    const random = new Random(`damage ${stop}`)
    const wrong: string[] = []
    for (const [structure, sectors] of scene.sectors) {
      const all = sectors.flatMap((offset) =>
        DAMAGES.flatMap((damage) => [false, true].map((lost) => ({ offset, damage, lost }))),
      )
      const chosen = ALL ? all : random.shuffle(all).slice(0, STATES_EACH)
      const counts: Record<Outcome, number> = { whole: 0, errors: 0, refused: 0, unchanged: 0 }
      chosen.forEach(({ offset, damage, lost }, i) => {
        try {
          counts[tryState(scene, { seed: i, lost, rot: [[offset, damage]] })]++
        } catch (error) {
          const { message } = error as Error
          const index = lost ? 'lost' : 'there'
          wrong.push(`${structure} sector ${offset} ${damage}, index ${index}, seed ${i}: ${message}`)
        }
      })
      const outcomes = Object.entries(counts).map(([outcome, count]) => `${count} ${outcome}`)
      const states = `${chosen.length} of ${all.length} states`
      t.comment(`${structure}: ${sectors.length} sectors, ${states}: ${outcomes.join(', ')}`)
    }
    for (const structure of STRUCTURES)
      t.ok(scene.sectors.has(structure), `some sectors belong to a ${structure}`)
    t.same(wrong.slice(0, 10), [], 'right, an error, or refused')
    t.end()
  })
}

/** All sectors of a block of client data: what a write that never reached the medium leaves. */
function lostWrites(scene: Scene): Array<[number, Damage][]> {
  const starts = scene.sectors.get('payload')!.filter((offset) => offset % BLOCK_BYTES === 0)
  return starts.map((start) => Array.from({ length: 8 }, (_, i): [number, Damage] => [start + i * 512, 'stale']))
}

t.test('a block that holds its whole former content is found by its identity', (t) => {
  const scene = makeScene('kill')
  const counts: Record<Outcome, number> = { whole: 0, errors: 0, refused: 0, unchanged: 0 }
  const states = lostWrites(scene)
  states.forEach((rot, seed) => counts[tryState(scene, { seed, lost: seed % 2 === 1, rot })]++)
  t.comment(`${states.length} blocks: ${JSON.stringify(counts)}`)
  t.ok(counts.errors > 0, 'some of them are in use')
  t.end()
})

t.test('the comparison sees wrong and older blocks: nothing is found without checksums', (t) => {
  const blind: Crc32c = () => 0
  const scene = makeScene('kill', blind)
  const count = (states: Array<[number, Damage][]>, pattern: RegExp): number =>
    states.filter((rot, seed) => {
      try {
        tryState(scene, { seed, lost: false, rot, crc: blind })
        return false
      } catch (error) {
        return pattern.test((error as Error).message)
      }
    }).length
  const flips = scene.sectors.get('payload')!.filter((_, i) => i % 16 === 5)
  t.ok(count(flips.map((offset) => [[offset, 'flip']]), /reads as -1/) > 0, 'flipped bits come through')
  t.ok(count(lostWrites(scene), /reads as \d+, it holds/) > 0, 'and so do older versions')
  t.end()
})
