/**
 * When copies are scrubbed and how fast, in virtual time over the simulated disk: each in its turn by age, one at a
 * time, those that were asked for first; slowly while there is something else to do.
 */
import t from 'tap'
import { SCRUB_DEFAULTS } from '../../../dataplane/copy/scrub-options.ts'
import { Scrubber, type ScrubbedCopy, type ScrubberOptions } from '../../../dataplane/copy/scrubber.ts'
import { StructureChecks } from '../../../dataplane/copy/structure-checks.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { SEGMENT_STATE } from '../../../engine/log/segment-table.ts'
import { PAGE_BLOCKS } from '../../../engine/units.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import { Foreground } from '../../../engine/volume/foreground.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const BLOCKS = 40

interface Stage {
  world: CopyWorld
  scrubber: Scrubber
  wallMs(): number
  foreground: Foreground
  events: string[]
}

function stage(seed: number, more: Partial<ScrubberOptions> = {}): Stage {
  const world = new CopyWorld({ seed, segments: 48 }, { sizeBytes: 64 << 20 })
  world.open()
  world.epoch(1, 1)
  for (let i = 0; i < BLOCKS; i++) world.append(write(1, 2 + i, i * PAGE_BLOCKS, [2 + i]))
  world.settle()
  world.copy.apply(1 + BLOCKS, {})
  return { world, ...scrubberOf(world, more) }
}

function scrubberOf(world: CopyWorld, more: Partial<ScrubberOptions> = {}): Omit<Stage, 'world'> {
  const { clock } = world.world
  const wallMs = (): number => 1_000 * DAY_MS + clock.nowMs()
  const foreground = new Foreground(clock)
  const events: string[] = []
  const copies = (): ScrubbedCopy[] => [{ volumeId: world.copy.volumeId, store: world.copy }]
  const scrubber = new Scrubber({
    ...SCRUB_DEFAULTS, clock, wallMs, copies, foreground,
    log: { event: (_level, message) => void events.push(message) }, ...more,
  })
  return { scrubber, wallMs, foreground, events }
}

/** So far into the future. */
function pass(world: CopyWorld, ms: number): void {
  let isOver = false
  world.world.clock.after(ms, () => (isOver = true))
  world.world.clock.runUntil(() => isOver)
}

const deepEnd = ({ scrubber, world }: Stage): number => scrubber.report(world.copy)!.deep.endedAtMs
const lightEnd = ({ scrubber, world }: Stage): number => scrubber.report(world.copy)!.light.endedAtMs

t.test('the first within an hour, then light daily and deep weekly, and a restart changes nothing of that', (t) => {
  const one = stage(1)
  pass(one.world, 100)
  t.match(one.scrubber.report(one.world.copy), { deep: { endedAtMs: 0 }, light: { endedAtMs: 0 }, isOverdue: false })
  const beganMs = one.wallMs()
  pass(one.world, HOUR_MS + 120_000)
  const [deepMs, lightMs] = [deepEnd(one), lightEnd(one)]
  for (const endedMs of [deepMs, lightMs]) t.ok(endedMs > beganMs && endedMs <= beganMs + HOUR_MS + 120_000)
  t.match(one.scrubber.report(one.world.copy)!.deep.counts, { blocks: BLOCKS, damaged: 0 })
  pass(one.world, DAY_MS)
  t.equal(deepEnd(one), deepMs)
  const againMs = lightEnd(one) - lightMs
  t.ok(againMs > 0.88 * DAY_MS && againMs < 1.01 * DAY_MS, `${againMs / HOUR_MS} hours`)
  let isStopped = false
  one.scrubber.stop(() => (isStopped = true))
  t.ok(isStopped, 'nothing was under way')
  const two = { ...one, ...scrubberOf(one.world) }
  pass(one.world, 2 * HOUR_MS)
  t.equal(deepEnd(two), deepMs, 'noted by the former process')
  pass(one.world, 6 * DAY_MS)
  const weekMs = deepEnd(two) - deepMs
  t.ok(weekMs > 0.88 * 7 * DAY_MS && weekMs < 7.01 * DAY_MS, `${weekMs / DAY_MS} days`)
  two.scrubber.stop(() => {})
  t.end()
})

t.test('what is asked for is done at once and anew, also where none is due', (t) => {
  const one = stage(2, { lightEveryMs: 0, deepEveryMs: 0 })
  pass(one.world, 100 * DAY_MS)
  t.match([deepEnd(one), lightEnd(one)], [0, 0])
  t.notOk(one.scrubber.report(one.world.copy)!.isOverdue)
  t.notOk(one.scrubber.ask('another', 'deep'))
  t.ok(one.scrubber.ask(one.world.copy.volumeId, 'deep'))
  pass(one.world, 10_000)
  const firstMs = deepEnd(one)
  t.ok(firstMs > one.wallMs() - 10_000)
  t.equal(lightEnd(one), 0)
  one.scrubber.ask(one.world.copy.volumeId, 'deep')
  one.scrubber.ask(one.world.copy.volumeId, 'light')
  pass(one.world, 10_000)
  t.ok(deepEnd(one) > firstMs && lightEnd(one) > firstMs)
  one.scrubber.stop(() => {})
  t.end()
})

t.test('what its machine left out is looked for at once', (t) => {
  const one = stage(10, { lightEveryMs: 0, deepEveryMs: 0 })
  pass(one.world, 1_000)
  t.equal(deepEnd(one), 0)
  one.world.copy.scrubSoon()
  pass(one.world, 10_000)
  t.ok(deepEnd(one) > 0)
  one.scrubber.stop(() => {})
  t.end()
})

t.test('slowly while others ask, and what is under way ends with the process', (t) => {
  // One block a second: each lies in a page of its own.
  const one = stage(3, { deepEveryMs: 0, lightEveryMs: 0, busyBytesPerSecond: BLOCKS * 4096 })
  const { world, scrubber, foreground } = one
  const timeOf = (isBusy: boolean): number => {
    const beganMs = one.wallMs()
    const before = deepEnd(one)
    scrubber.ask(world.copy.volumeId, 'deep')
    let isOver = false
    const look = (): void => {
      if (isBusy) foreground.asked()
      if (deepEnd(one) > before) isOver = true
      else world.world.clock.after(20, look)
    }
    look()
    world.world.clock.runUntil(() => isOver)
    return deepEnd(one) - beganMs
  }
  pass(world, 5_000)
  const idleMs = timeOf(false)
  const busyMs = timeOf(true)
  t.ok(idleMs < 500, `idle ${idleMs} ms`)
  t.ok(busyMs > 500, `busy ${busyMs} ms`)
  foreground.asked()
  scrubber.ask(world.copy.volumeId, 'deep')
  pass(world, 30)
  t.ok(scrubber.report(world.copy)!.deep.isRunning)
  let isStopped = false
  scrubber.stop(() => (isStopped = true))
  world.world.clock.runUntil(() => isStopped)
  t.ok(scrubber.report(world.copy)!.deep.isRunning, 'it goes on at the next start')
  const next = { ...one, ...scrubberOf(world) }
  pass(world, 130_000)
  t.ok(deepEnd(next) > 0)
  t.notOk(next.scrubber.report(world.copy)!.deep.isRunning)
  next.scrubber.stop(() => {})
  t.end()
})

/** Another copy on the same disk, of many small batches. */
function withAnother(one: Stage): { other: CopyWorld; copies(): ScrubbedCopy[]; structures: StructureChecks } {
  const { world: { world } } = one
  const made = world.await<Result<OpenCopy>>((done) =>
    world.store!.createCopy(world.spec('other', 64 << 20), 'c2', done))
  if (!made.ok) throw made.error
  const other = new CopyWorld(world.options, {}, world)
  other.use(made.value.copy)
  other.epoch(1, 1)
  for (let i = 0; i < 20 * BLOCKS; i++) {
    other.append(write(1, 2 + i, i, [i]))
    other.settle()
    other.copy.apply(2 + i, {})
  }
  const structures = new StructureChecks({
    streams: () => world.store!.streams(), everyMs: 0, wallMs: one.wallMs, empty: () => {}, onDamage: () => {},
    log: { event: () => {} },
  })
  const copies = (): ScrubbedCopy[] =>
    [one.world, other].map(({ copy }) => ({ volumeId: copy.volumeId, store: copy }))
  return { other, copies, structures }
}

function keepBusy({ world: { world }, foreground }: Stage): void {
  foreground.asked()
  world.clock.after(500, () => keepBusy({ world: { world }, foreground } as Stage))
}

t.test('what a user asks for does not wait for a check of what no scrub came by', (t) => {
  const one = stage(9)
  one.scrubber.stop(() => {})
  const { copies, structures } = withAnother(one)
  const options = { lightEveryMs: 0, deepEveryMs: 0, copies, structures, busyBytesPerSecond: 16_384 }
  const next = { ...one, ...scrubberOf(one.world, options) }
  const { scrubber, world } = next
  pass(world, 5_000)
  keepBusy(next)
  scrubber.ask(world.copy.volumeId, 'deep')
  pass(world, 120_000)
  const firstMs = deepEnd(next)
  t.ok(firstMs > 0)
  const [stream] = world.world.store!.streams()
  const left = (): number => [...stream!.segments.state.keys()].filter((at) => structures.isWanted(stream!, at)).length
  const before = left()
  t.ok(before > 2, `${before} segments of the other copy are left to check`)
  scrubber.ask(world.copy.volumeId, 'deep')
  t.ok(scrubber.report(world.copy)!.isWaiting)
  // What it was granted, 128 KiB at the most, it waits for.
  pass(world, 10_000)
  t.match(scrubber.report(world.copy), { isWaiting: false, deep: { isRunning: true } })
  pass(world, 120_000)
  t.ok(deepEnd(next) > firstMs)
  pass(world, HOUR_MS)
  t.equal(left(), 0, 'they are checked behind it')
  scrubber.stop(() => {})
  t.end()
})

t.test('what a user asks for does not wait for a scrub by schedule, and how far each is shows all along', (t) => {
  const one = stage(8)
  one.scrubber.stop(() => {})
  const { other, copies } = withAnother(one)
  const options = { lightEveryMs: 0, deepEveryMs: 0, copies, busyBytesPerSecond: 16_384 }
  const next = { ...one, ...scrubberOf(one.world, options) }
  pass(one.world, 5_000)
  keepBusy(next)
  const deepOf = ({ scrubber }: Stage, { copy }: CopyWorld) => scrubber.report(copy)!.deep
  next.scrubber.ask(other.copy.volumeId, 'deep')
  pass(one.world, 3_000)
  const early = deepOf(next, other)
  t.ok(early.isRunning && early.doneShare > 0 && early.doneShare < 0.1, `${early.doneShare} of it is done`)
  pass(one.world, 60_000)
  t.ok(deepOf(next, other).doneShare > early.doneShare)
  next.scrubber.ask(one.world.copy.volumeId, 'deep')
  pass(one.world, 60_000)
  t.ok(next.scrubber.report(one.world.copy)!.isWaiting, 'both are asked for: one behind the other')
  next.scrubber.stop(() => {})
  pass(one.world, 1000)
  // Now the other is one that a former process left, which goes on by itself.
  const later = { ...one, ...scrubberOf(one.world, { ...options, deepEveryMs: DAY_MS }) }
  keepBusy(later)
  pass(one.world, 70_000)
  t.ok(deepOf(later, other).isRunning)
  later.scrubber.ask(one.world.copy.volumeId, 'deep')
  const beganMs = later.wallMs()
  pass(one.world, 150_000)
  t.ok(deepOf(later, one.world).endedAtMs > beganMs, 'it is done first')
  t.match(deepOf(later, other), { endedAtMs: 0, isRunning: true }, 'the other one goes on')
  later.scrubber.stop(() => {})
  t.end()
})

/** Writes go on beside it, each applied. @param nextSeq  of the first one @returns of the next one */
function busy({ world }: Stage, minutes: number, nextSeq: number): number {
  for (let i = 0; i < 2 * minutes; i++, nextSeq++) {
    world.append(write(1, nextSeq, PAGE_BLOCKS + (i % 8), [nextSeq]))
    world.settle()
    world.copy.apply(nextSeq, {})
    pass(world, 30_000)
  }
  return nextSeq
}

t.test('segments are checked although a copy that has lost blocks is written to', (t) => {
  const one = stage(5)
  one.scrubber.stop(() => {})
  let checks = 0
  const structures = new StructureChecks({
    streams: () => one.world.world.store!.streams(),
    everyMs: DAY_MS,
    wallMs: one.wallMs,
    empty: () => {},
    onDamage: () => {},
    log: { event: () => {} },
  })
  const task = structures.task.bind(structures)
  structures.task = (...of) => {
    checks++
    return task(...of)
  }
  const next = { ...one, ...scrubberOf(one.world, { lightEveryMs: 0, deepEveryMs: 0, structures }) }
  pass(next.world, 1000)
  next.world.copy.lost([{ lba: 0, epoch: 1, seq: 2 }])
  busy(next, 70, 2 + BLOCKS)
  t.equal(next.scrubber.report(next.world.copy)!.deep.lost, 1)
  t.equal(checks, 1)
  next.scrubber.stop(() => {})
  t.end()
})

t.test('of several copies that have lost blocks and are written to each one heals', (t) => {
  const one = stage(6)
  one.scrubber.stop(() => {})
  const { world: { world } } = one
  const made = world.await<Result<OpenCopy>>((done) =>
    world.store!.createCopy(world.spec('other', 64 << 20), 'c2', done))
  if (!made.ok) throw made.error
  const other = new CopyWorld(world.options, {}, world)
  other.use(made.value.copy)
  other.epoch(1, 1)
  for (const [seq, lba] of [[2, 0], [3, 1], [4, 0]] as const) other.append(write(1, seq, lba, [seq]))
  other.settle()
  other.copy.apply(4, {})
  const copies = (): ScrubbedCopy[] =>
    [one.world, other].map(({ copy }) => ({ volumeId: copy.volumeId, store: copy }))
  const next = { ...one, ...scrubberOf(one.world, { lightEveryMs: 0, deepEveryMs: 0, copies }) }
  pass(next.world, 1000)
  next.world.copy.lost([{ lba: 0, epoch: 1, seq: 2 }])
  other.copy.lost([{ lba: 0, epoch: 1, seq: 2 }, { lba: 1, epoch: 1, seq: 3 }])
  busy(next, 5, 2 + BLOCKS)
  t.equal(next.scrubber.report(next.world.copy)!.deep.lost, 1)
  t.equal(next.scrubber.report(other.copy)!.deep.lost, 1, 'one of them was written over')
  next.scrubber.stop(() => {})
  t.end()
})

t.test('segments are checked with a deep scrub that is asked for, and as often as one is due', (t) => {
  const found: string[] = []
  const emptied: number[] = []
  const one = stage(4, { lightEveryMs: 0, deepEveryMs: 0 })
  const { store } = one.world.world
  const events: string[] = []
  const structures = new StructureChecks({
    streams: () => store!.streams(),
    everyMs: DAY_MS,
    wallMs: one.wallMs,
    empty: (stream, segment) => {
      emptied.push(segment)
      store!.emptySegment(stream, segment)
    },
    onDamage: (_disk, { what }) => void found.push(what),
    log: { event: (_level, message) => void events.push(message) },
  })
  one.scrubber.stop(() => {})
  const next = { ...one, ...scrubberOf(one.world, { lightEveryMs: 0, deepEveryMs: 0, structures }) }
  const { world, scrubber } = next
  const [stream] = store!.streams()
  for (let i = 0; i < 200; i++) world.append(write(1, 2 + BLOCKS + i, i * PAGE_BLOCKS, [2 + BLOCKS + i]))
  world.settle()
  world.copy.apply(1 + BLOCKS + 200, {})
  const sealed = [...stream!.segments.state].findIndex((state) => state === SEGMENT_STATE.sealed)
  const { segmentBytes } = stream!.context
  const at = segmentOffsetBytes(segmentBytes, sealed)
  pass(world, 130_000)
  t.same(found, [], 'not yet')
  t.ok(world.world.disks[0]!.damage(at + segmentBytes - 4096, 'flip'))
  scrubber.ask(world.copy.volumeId, 'deep')
  pass(world, 130_000)
  t.same([found, emptied, events.length], [['trailer'], [sealed], 1])
  t.same([...structures.counts().values()], [1])
  t.ok(stream!.segments.state[sealed] !== SEGMENT_STATE.unreadable)
  pass(world, DAY_MS + 130_000)
  t.same(found, ['trailer'], 'its blocks were moved')
  scrubber.stop(() => {})
  t.end()
})
