/**
 * Scrubs of one copy's store, one risk a test: what is damaged is found wherever a view shows it, what is repaired is
 * seen to be, what moves or is overwritten meanwhile is no damage, and a scrub goes on where the last one was left.
 */
import t from 'tap'
import { crc32c } from '@node-rs/crc32'
import { epochOf, segmentOf, unitsOf } from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import type { BlockVersion, VersionId } from '../../../engine/replication/record.ts'
import { runTask, type Task } from '../../../engine/task.ts'
import { GIB, PAGE_BLOCKS } from '../../../engine/units.ts'
import { payloadOf } from '../../../engine/volume/copy-headers.ts'
import { findExact } from '../../../engine/volume/copy-repair.ts'
import { CopyScrub, type ScrubTodo } from '../../../engine/volume/copy-scrub.ts'
import { lookAgain } from '../../../engine/volume/medium-blocks.ts'
import { readScrubNote, writeScrubNote, type ScrubKind, type ScrubTrack } from '../../../engine/volume/scrub-note.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { Random } from '../../sim/random.ts'
import { stamped } from '../../sim/store-world.ts'

const SIZE = { sizeBytes: 64 << 20 }
const anew = (): ScrubTodo => 'anew'
const resume = (): ScrubTodo => 'resume'

interface Ran {
  ended: boolean
  scrub: CopyScrub
  reads: number
  readBytes: number
  problems: string[]
}

/** @param most  reads before it is told to end */
function run(world: CopyWorld, kind: ScrubKind, how: (track: ScrubTrack) => ScrubTodo, most = Infinity): Ran {
  const ran: Ran = { ended: false, scrub: undefined!, reads: 0, readBytes: 0, problems: [] }
  const scrub = new CopyScrub(world.copy, {
    wallMs: () => 1_000_000 + world.world.clock.nowMs(),
    pace: (bytes, go) => {
      ran.readBytes += bytes
      go(++ran.reads <= most)
    },
    onProblem: (problem) => ran.problems.push(problem),
  })
  ran.scrub = scrub
  let isOver = false
  runTask(scrub.openTask(), () =>
    runTask(scrub.passTask(kind, how), (ended) => {
      ran.ended = ended
      isOver = true
    }),
  )
  world.world.clock.runUntil(() => isOver)
  return ran
}

/** The machine of the copy, and a member that has every block: what is told is repaired. */
function repairing(world: CopyWorld, stampOf: (id: VersionId) => number | undefined): VersionId[] {
  const told: VersionId[] = []
  const { copy } = world
  const before = copy.onEvent
  let token = 10_000
  copy.onEvent = (event) => {
    before(event)
    if (event.type !== 'damaged') return
    told.push(...event.versions)
    const versions: BlockVersion[] = []
    for (const id of event.versions) {
      const stamp = stampOf(id)
      if (stamp === undefined) continue
      versions.push({ ...id, kind: 'write', payload: payloadOf(crc32c as never, stamped(stamp)) })
    }
    copy.repair(token++, versions)
  }
  return told
}

/** Rot the first sector of a version, where the map shows it. */
function rot(world: CopyWorld, id: VersionId): void {
  const target = world.copy.layout.target(id.lba)!
  let words: Uint32Array | undefined
  let isOver = false
  runTask(findExact(target, id), (found) => {
    if (found !== 'none' && found !== 'unknown') words = found.words
    isOver = true
  })
  world.world.clock.runUntil(() => isOver)
  if (words === undefined) throw new Error('the version is not there')
  const { segmentBytes, diskUuid } = target.stream.context
  const disk = world.world.disks[Number.parseInt(diskUuid, 16) - 1]!
  const offset = segmentOffsetBytes(segmentBytes, segmentOf(words, 0)) + unitsOf(words, 0) * 64
  if (!disk.damage(offset, 'flip')) throw new Error('it changes nothing')
}

function opened(seed: number, options = {}): CopyWorld {
  const world = new CopyWorld({ seed, segments: 48, ...options }, SIZE)
  world.open()
  world.epoch(1, 1)
  return world
}

/** Blocks `lbas` with the stamp of their seq. */
function writeAll(world: CopyWorld, firstSeq: number, lbas: readonly number[]): void {
  lbas.forEach((lba, i) => world.append(write(1, firstSeq + i, lba, [firstSeq + i])))
  world.settle()
  world.copy.apply(firstSeq + lbas.length - 1, {})
}

t.test('what is damaged is found in head and snapshots, and repaired', (t) => {
  const world = opened(1)
  const lbas = Array.from({ length: 40 }, (_, i) => i * PAGE_BLOCKS + (i % 7))
  writeAll(world, 2, lbas)
  world.control(1, 42, { operation: 'snapshot', id: 's' })
  writeAll(world, 43, lbas.slice(0, 20))
  const told = repairing(world, ({ seq }) => seq)
  const damaged = [
    { lba: lbas[3]!, epoch: 1, seq: 5 },
    { lba: lbas[3]!, epoch: 1, seq: 46 },
    { lba: lbas[0]!, epoch: 1, seq: 43 },
    { lba: lbas[39]!, epoch: 1, seq: 41 },
  ]
  for (const id of damaged) rot(world, id)
  const first = run(world, 'deep', anew)
  t.ok(first.ended)
  const order = (ids: VersionId[]) => ids.map(({ lba, seq }) => `${lba}:${seq}`).sort()
  t.same(order(told), order(damaged))
  t.match(first.scrub.summary('deep'), {
    isRunning: false, counts: { blocks: 60, damaged: 4, problems: 0 }, unrepaired: 0,
  })
  t.ok(first.scrub.summary('deep').endedAtMs > 1_000_000)
  t.equal(first.scrub.summary('light').endedAtMs, 0)
  t.same(lbas.map((lba) => world.readStamps(lba, 1)[0]).slice(18, 21), [61, 62, 22])
  const second = run(world, 'deep', anew)
  t.match(second.scrub.summary('deep'), { counts: { blocks: 60, damaged: 0 }, unrepaired: 0 })
  t.end()
})

t.test('what nobody has is counted, and found again', (t) => {
  const world = opened(2)
  writeAll(world, 2, [0, 1, 2, 3])
  for (const [lba, seq] of [[1, 3], [2, 4]] as const) rot(world, { lba, epoch: 1, seq })
  repairing(world, ({ seq }) => (seq === 3 ? 3 : undefined))
  for (const round of [1, 2]) {
    const { ended, scrub } = run(world, 'deep', anew)
    t.ok(ended)
    t.match(scrub.summary('deep'), { counts: { damaged: round === 1 ? 2 : 1 }, unrepaired: 1 }, `round ${round}`)
  }
  // Overwritten it is damaged no more: a light one looks at what was left.
  writeAll(world, 6, [2])
  const light = run(world, 'light', anew).scrub
  t.match(light.summary('deep'), { counts: { damaged: 1 }, unrepaired: 0 })
  t.end()
})

t.test('blocks that only the medium has lost are found, though memory still has them', (t) => {
  const world = opened(3)
  writeAll(world, 2, [0, 1])
  const told = repairing(world, ({ seq }) => seq)
  const [disk] = world.world.disks
  const readMedium = disk!.readMedium.bind(disk)
  disk!.readMedium = (offset, length, done) =>
    readMedium(offset, length, (bytes) => {
      if (told.length === 0) bytes?.fill(0)
      done(bytes)
    })
  t.match(run(world, 'deep', anew).scrub.summary('deep'), { counts: { blocks: 2, damaged: 2 }, unrepaired: 0 })
  t.same(world.readStamps(0, 2), [2, 3])
  t.end()
})

t.test('a scrub goes on where it was left, also by a process that died', (t) => {
  let world = opened(4)
  const lbas = Array.from({ length: 60 }, (_, i) => i * PAGE_BLOCKS)
  writeAll(world, 2, lbas)
  const whole = run(world, 'deep', anew)
  const cut = run(world, 'deep', anew, whole.reads - 1)
  t.notOk(cut.ended)
  t.ok(cut.scrub.summary('deep').isRunning)
  t.equal(cut.scrub.summary('deep').endedAtMs, whole.scrub.summary('deep').endedAtMs, 'the last one still counts')
  const [{ running }] = cut.scrub.tracks('deep') as [ScrubTrack]
  t.match(running, { nextPage: 0, within: { page: 0 } })
  t.ok(running!.blocks > 0 && running!.blocks < 60, `${running!.blocks} blocks are looked at`)
  world = world.crash({ kind: 'synced' }, { kind: 'synced' })
  world.open()
  world.copy.apply(61, {})
  const rest = run(world, 'deep', resume)
  t.ok(rest.ended)
  t.equal(rest.scrub.summary('deep').counts.blocks, 60)
  t.ok(rest.readBytes < whole.readBytes, `${rest.readBytes} of ${whole.readBytes} bytes are read`)
  const again = run(world, 'deep', anew)
  t.equal(again.readBytes, whole.readBytes)
  // Without its index the next one begins anew.
  world = world.crash({ kind: 'synced' }, 'lost')
  world.open()
  world.copy.apply(61, {})
  const none = run(world, 'deep', () => 'nothing')
  t.same(none.scrub.summary('deep'), {
    endedAtMs: 0, isRunning: false, doneShare: 0, counts: { blocks: 0, damaged: 0, problems: 0 }, unrepaired: 0,
    lost: 0,
  })
  t.end()
})

t.test('a version that knows pages alone moves the page, and the segment counts no more', (t) => {
  const world = opened(7)
  writeAll(world, 2, Array.from({ length: 60 }, (_, i) => i * PAGE_BLOCKS))
  const whole = run(world, 'deep', anew)
  const before = run(world, 'deep', anew, whole.reads - 1).scrub.tracks('deep')[0]!.running!.blocks
  const [target] = world.copy.targets
  let isOver = false
  function* moved(): Task<void> {
    const note = yield* readScrubNote(target!, 'c1')
    note.deep.running!.nextPage = 10
    yield* writeScrubNote(target!, note)
  }
  runTask(moved(), () => (isOver = true))
  world.world.clock.runUntil(() => isOver)
  const rest = run(world, 'deep', resume)
  t.equal(rest.scrub.summary('deep').counts.blocks, before + 50)
  t.notOk(JSON.stringify(rest.scrub.tracks('deep')).includes('within'))
  t.end()
})

t.test('what moves and is overwritten meanwhile is no damage', (t) => {
  for (let seed = 10; seed < 30; seed++) {
    const world = opened(seed, { segments: 14, segmentBytes: 64 * 1024 })
    const random = new Random(`writes ${seed}`)
    const lbas = Array.from({ length: 40 }, (_, i) => i * PAGE_BLOCKS)
    writeAll(world, 2, lbas)
    world.control(1, 42, { operation: 'snapshot', id: 's' })
    world.settle()
    world.copy.apply(42, {})
    const told = repairing(world, () => undefined)
    let seq = 42
    let isOver = false
    const counts: number[] = []
    const scrub = new CopyScrub(world.copy, {
      wallMs: () => world.world.clock.nowMs(),
      pace: (bytes, go) => {
        if (bytes === 0 && random.chance(0.8)) return go(true)
        // Between what was looked up and what is read anything may happen: cleaners run all the time.
        for (let i = 0; i < 6; i++) {
          world.append(write(1, ++seq, random.pick(lbas), [seq]))
          world.copy.apply(seq, {})
        }
        world.world.clock.after(random.float() * 40, () => go(true))
      },
      onProblem: (problem) => t.fail(problem),
    })
    runTask(scrub.openTask(), () =>
      runTask(scrub.passTask('deep', anew), () => {
        counts.push(scrub.summary('deep').counts.damaged)
        runTask(scrub.passTask('light', anew), () => {
          counts.push(scrub.summary('light').counts.problems)
          isOver = true
        })
      }),
    )
    world.world.clock.runUntil(() => isOver)
    t.same(counts, [0, 0], `seed ${seed}, ${seq} writes`)
    t.same(told, [])
  }
  t.end()
})

t.test('a map that names a segment which holds nothing is a problem of the light scrub', (t) => {
  const world = opened(5)
  writeAll(world, 2, [0, 300, 700])
  t.match(run(world, 'light', anew).scrub.summary('light').counts, { blocks: 3, problems: 0 })
  const [{ stream, map }] = world.copy.targets as [(typeof world.copy.targets)[number]]
  const page = stream.map.page(map, 1)!
  const at = (300 - PAGE_BLOCKS) * 6
  t.equal(epochOf(page.words, at), 1)
  const segment = segmentOf(page.words, at)
  page.words[at] = 40
  const wrong = run(world, 'light', anew)
  t.equal(wrong.scrub.summary('light').counts.problems, 1)
  t.match(wrong.problems, [/^block 300 of seq 3 is said to lie in segment 39, which holds nothing$/])
  page.words[at] = segment + 1
  const live = stream.segments.live[segment]!
  stream.segments.live[segment] = 10
  t.match(run(world, 'light', anew).problems[0], /^segment \d+ is said to hold 10 units, and vol has \d+ of one page/)
  stream.segments.live[segment] = live
  t.match(run(world, 'light', anew).scrub.summary('light').counts, { blocks: 3, problems: 0 })
  t.end()
})

t.test('a copy on two disks is scrubbed on both, and says when all of it was', (t) => {
  const world = new CopyWorld({ seed: 6, disks: 2, segments: 48 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  const lbas = [0, 5, 262_144, 262_150]
  writeAll(world, 2, lbas)
  t.equal(world.copy.targets.length, 2)
  const told = repairing(world, ({ seq }) => seq)
  for (const i of [1, 3]) rot(world, { lba: lbas[i]!, epoch: 1, seq: 2 + i })
  const first = run(world, 'deep', anew, 1)
  t.notOk(first.ended)
  t.equal(first.scrub.summary('deep').endedAtMs, 0)
  const rest = run(world, 'deep', ({ endedAtMs }) => (endedAtMs > 0 ? 'nothing' : 'resume'))
  t.ok(rest.ended)
  t.match(rest.scrub.summary('deep'), { counts: { blocks: 4, damaged: 2 }, unrepaired: 0 })
  t.equal(told.length, 2)
  t.end()
})

t.test('what no member has is counted, until it is written over, repaired, or found whole', (t) => {
  const world = opened(12)
  writeAll(world, 2, [0, 1, 2, 300])
  const idOf = (lba: number, seq: number): VersionId => ({ lba, epoch: 1, seq })
  const lost = [idOf(0, 2), idOf(1, 3), idOf(300, 5)]
  for (const id of lost) rot(world, id)
  const { scrub } = run(world, 'light', anew)
  t.notOk(scrub.lost.mayHaveHealed)
  world.copy.lost([...lost, ...lost, idOf(2, 4)])
  t.match(scrub.summary('deep'), { lost: 4 })
  const heal = (): void => {
    let isOver = false
    runTask(scrub.lost.healTask(), () => (isOver = true))
    world.world.clock.runUntil(() => isOver)
  }
  t.ok(scrub.lost.mayHaveHealed, 'it is to be noted')
  heal()
  t.notOk(scrub.lost.mayHaveHealed)
  t.match(run(world, 'light', resume).scrub.summary('deep'), { lost: 4 }, 'noted')
  const again = run(world, 'light', resume).scrub
  writeAll(world, 6, [1])
  t.ok(again.lost.mayHaveHealed)
  let isOver = false
  runTask(again.lost.healTask(), () => (isOver = true))
  world.world.clock.runUntil(() => isOver)
  t.match(again.summary('deep'), { lost: 3 }, 'one is written over')
  repairing(world, () => undefined)
  const { onRepaired } = world.copy
  let isRepaired = false
  world.copy.onRepaired = (ids) => {
    onRepaired(ids)
    isRepaired = true
  }
  world.copy.repair(20_000, [{ ...idOf(300, 5), kind: 'write', payload: payloadOf(crc32c as never, stamped(5)) }])
  world.world.clock.runUntil(() => isRepaired)
  t.match(again.summary('deep'), { lost: 2 }, 'one is repaired')
  t.match(run(world, 'deep', anew).scrub.summary('deep'), { lost: 1, unrepaired: 1 }, 'one is whole')
  t.end()
})

t.test('what was lost on one disk is healed although another one failed', (t) => {
  const world = new CopyWorld({ seed: 14, disks: 2, segments: 48 }, { sizeBytes: 2 * GIB })
  world.open()
  world.epoch(1, 1)
  const lbas = [0, 262_144]
  writeAll(world, 2, lbas)
  const { scrub } = run(world, 'light', anew)
  world.copy.lost(lbas.map((lba, i) => ({ lba, epoch: 1, seq: 2 + i })))
  t.match(scrub.summary('deep'), { lost: 2 })
  writeAll(world, 4, lbas)
  const [{ stream }] = world.copy.targets as [(typeof world.copy.targets)[number]]
  stream.log.fail('for the test')
  let isOver = false
  runTask(scrub.lost.healTask(), () => (isOver = true))
  world.world.clock.runUntil(() => isOver)
  t.match(scrub.summary('deep'), { lost: 1 }, 'of what failed nothing can be told')
  t.end()
})

/** Block 0 of seq 2 in the history, which a snapshot shows; seq 4 in the head. */
function overwritten(seed: number): CopyWorld {
  const world = opened(seed)
  writeAll(world, 2, [0])
  world.control(1, 3, { operation: 'snapshot', id: 's' })
  writeAll(world, 4, [0])
  t.same(world.readStamps(0, 1), [4], 'its page is in memory')
  return world
}

const OLDER: VersionId = { lba: 0, epoch: 1, seq: 2 }

t.test('a version that a rollback makes the head while it is looked for is found', (t) => {
  const world = overwritten(20)
  const answer = world.holdRange()
  const found = world.exactly([OLDER], () => {
    world.control(1, 5, { operation: 'rollback', to: 's' })
    world.settle()
    world.copy.apply(5, {})
    t.same(world.readStamps(0, 1), [2])
    answer()
  })
  t.same(found, { stamps: [2], damaged: [], unknown: [] })
  t.end()
})

t.test('what an index that cannot be read would tell is unknown: not missing, not gone, not healed', (t) => {
  const world = overwritten(21)
  const [index] = world.world.indexes
  index!.failAt('range')
  t.same(world.exactly([OLDER]), { stamps: [], damaged: [], unknown: [OLDER] })
  t.same(world.exactly([OLDER]), { stamps: [2], damaged: [], unknown: [] })
  const [target] = world.copy.targets
  const again: string[] = []
  // It is looked at twice.
  for (const n of [1, 2]) index!.failAt('range', n)
  runTask(lookAgain(world.copy.reading, target!, OLDER), (what) => again.push(what))
  world.world.clock.runUntil(() => again.length > 0)
  t.same(again, ['damaged'])
  const { lost } = run(world, 'light', anew).scrub
  world.copy.lost([OLDER])
  index!.failAt('range')
  let isOver = false
  runTask(lost.healTask(), () => (isOver = true))
  world.world.clock.runUntil(() => isOver)
  t.equal(lost.count, 1)
  t.end()
})

t.test('a deep scrub waits for what is stored when it begins, and not for ever', (t) => {
  const world = opened(13)
  writeAll(world, 2, [0])
  world.append(write(1, 3, 1, [3]))
  world.settle()
  const { clock } = world.world
  const beganMs = clock.nowMs()
  clock.after(600, () => world.copy.apply(3, {}))
  t.match(run(world, 'deep', anew).scrub.summary('deep'), { counts: { blocks: 2 } })
  t.ok(clock.nowMs() - beganMs < 2000)
  world.append(write(1, 4, 2, [4]))
  world.settle()
  t.match(run(world, 'deep', anew).scrub.summary('deep'), { counts: { blocks: 2 } }, 'the volume is held')
  t.end()
})
