/**
 * Risk: clients of a node wait behind a clone that gets blocks of its own, or a clone never gets them because clients
 * write. What a hydration gives to the log is counted in virtual time, beside a client that always has a record under
 * way.
 */
import t from 'tap'
import { CHUNK_BLOCKS } from '../../../engine/volume/hydration-pace.ts'
import { MIB, PAGE_BLOCKS } from '../../../engine/units.ts'
import type { OpenCopy } from '../../../engine/volume/copy-store.ts'
import type { Result } from '../../../engine/volume/store-api.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const PAGES = 8
const BLOCKS = PAGES * PAGE_BLOCKS
const LEAST_A_SECOND = 16

interface Chunk {
  blocks: number
  beganMs: number
  endedMs: number
}

interface Seen {
  chunks: Chunk[]
  /** Of each record of the client: blocks that the hydration gave to the log while it was under way. */
  behind: number[]
}

/** A clone of a volume all of whose blocks are written. */
function cloned(seed: number, latencyMs: [number, number]): { origin: CopyWorld; clone: CopyWorld } {
  const origin = new CopyWorld({ seed, segments: 48, segmentBytes: MIB }, { sizeBytes: 16 * MIB })
  origin.open()
  origin.epoch(1, 1)
  let seq = 2
  for (let lba = 0; lba < BLOCKS; lba += 32) origin.append(write(1, seq++, lba, Array.from({ length: 32 }, () => seq)))
  origin.control(1, seq, { operation: 'snapshot', id: 's' })
  origin.settle()
  origin.copy.apply(seq, {})
  const clone = clonedFrom(origin, 'clone')
  for (const disk of origin.world.disks) disk.latencyMs = latencyMs
  return { origin, clone }
}

function clonedFrom({ world, copy }: CopyWorld, name: string): CopyWorld {
  const source = { volumeId: copy.volumeId, snapshotId: 's', seq: copy.appliedSeq }
  const made = world.await<Result<OpenCopy>>((done) =>
    world.store!.cloneCopy(world.spec(name, 16 * MIB), `${name}-copy`, source, done))
  if (!made.ok) throw made.error
  const clone = new CopyWorld(world.options, {}, world)
  clone.use(made.value.copy)
  return clone
}

/** Hydrates all of it. @param isBusy  a client writes to the origin meanwhile, one record after the other */
function hydrated(seed: number, latencyMs: [number, number], isBusy: boolean, isUrgent = false): Seen {
  const { origin, clone } = cloned(seed, latencyMs)
  const { world: { clock, store } } = origin
  const seen: Seen = { chunks: [], behind: [] }
  let given = 0
  const { filling } = clone.copy
  const { insert } = filling
  filling.insert = (versions, inserted) => {
    const chunk = { blocks: versions.length, beganMs: clock.nowMs(), endedMs: Infinity }
    seen.chunks.push(chunk)
    given += versions.length
    insert.call(filling, versions, () => {
      chunk.endedMs = clock.nowMs()
      inserted()
    })
  }
  let sent: { seq: number; given: number } | undefined
  let tail = origin.copy.tail
  const look = (): void => {
    if (sent !== undefined && origin.storedSeq >= sent.seq) {
      seen.behind.push(given - sent.given)
      sent = undefined
    }
    if (sent === undefined) {
      store!.foreground.asked()
      origin.append(write(1, ++tail, tail % BLOCKS, [tail]))
      sent = { seq: tail, given }
    }
    clock.after(0.1, look)
  }
  if (isBusy) look()
  clone.copy.hydration.want([0], isUrgent)
  clock.runUntil(() => clone.copy.bodies.now.origin === null)
  return seen
}

const FAST: [number, number] = [0, 2]
const SLOW: [number, number] = [20, 60]

t.test('while nobody asks anything it goes page by page', (t) => {
  const { chunks } = hydrated(1, FAST, false)
  t.same(chunks.map(({ blocks }) => blocks), Array.from({ length: PAGES }, () => PAGE_BLOCKS))
  t.end()
})

t.test('a client waits behind one chunk at most, and seldom', (t) => {
  const { chunks, behind } = hydrated(2, FAST, true)
  t.same(chunks.map(({ blocks }) => blocks), Array.from({ length: BLOCKS / CHUNK_BLOCKS }, () => CHUNK_BLOCKS))
  t.ok(behind.every((blocks) => blocks <= CHUNK_BLOCKS), `of ${behind.length} records`)
  const share = behind.filter((blocks) => blocks > 0).length / behind.length
  t.ok(share < 0.4, `${Math.round(100 * share)} % of them behind one`)
  t.end()
})

t.test('it is not starved', (t) => {
  for (const latencyMs of [FAST, [4, 8], SLOW] as Array<[number, number]>) {
    const { chunks } = hydrated(3, latencyMs, true)
    const late = chunks.slice(1).filter(({ beganMs }, i) => {
      const former = chunks[i]!
      // A chunk is read, in a read or two, before it is given to the log.
      return beganMs > Math.max(former.beganMs + 1000 / LEAST_A_SECOND, former.endedMs) + 4 * latencyMs[1] + 1
    })
    t.same(late, [], `${latencyMs.join(' to ')} ms an operation: 16 chunks a second, or one after the other`)
  }
  t.end()
})

t.test('what a filling waits for is not paced', (t) => {
  const { chunks } = hydrated(4, FAST, true, true)
  t.equal(chunks.length, PAGES)
  t.end()
})

/** Clones of one volume, each as large as it. */
function severalCloned(seed: number, latencyMs: [number, number], count: number): { clones: CopyWorld[]; ask(): void } {
  const { origin, clone } = cloned(seed, latencyMs)
  const others = Array.from({ length: count - 1 }, (_, i) => clonedFrom(origin, `other${i}`))
  const { clock, store } = origin.world
  const ask = (): void => {
    store!.foreground.asked()
    clock.after(100, ask)
  }
  return { clones: [clone, ...others], ask }
}

const isOwn = ({ copy }: CopyWorld): boolean => copy.bodies.now.origin === null

t.test('several clones have the rate of one', (t) => {
  const [oneMs, bothMs] = [1, 2].map((count) => {
    const { clones, ask } = severalCloned(5, FAST, count)
    let chunks = 0
    for (const { copy: { filling } } of clones) {
      const { insert } = filling
      filling.insert = (versions, inserted) => {
        chunks++
        insert.call(filling, versions, inserted)
      }
    }
    const { clock } = clones[0]!.world
    ask()
    const startMs = clock.nowMs()
    for (const { copy } of clones) copy.hydration.want([0])
    clock.runUntil(() => clones.every(isOwn))
    t.equal(chunks, (count * BLOCKS) / CHUNK_BLOCKS)
    return clock.nowMs() - startMs
  }) as [number, number]
  t.ok(bothMs > 1.8 * oneMs, `${Math.round(bothMs)} ms, and ${Math.round(oneMs)} ms for one: they take turns`)
  t.end()
})

t.test('of several that begin together one chunk is under way at a time, however long it takes', (t) => {
  const { clones, ask } = severalCloned(7, SLOW, 4)
  let underWay = 0
  let most = 0
  for (const { copy: { filling } } of clones) {
    const { insert } = filling
    filling.insert = (versions, inserted) => {
      most = Math.max(most, ++underWay)
      insert.call(filling, versions, () => {
        underWay--
        inserted()
      })
    }
  }
  ask()
  for (const { copy } of clones) copy.hydration.want([0])
  clones[0]!.world.clock.runUntil(() => clones.every(isOwn))
  t.equal(most, 1)
  t.end()
})

t.test('one whose filling begins in its turn hands it on', (t) => {
  const { clones, ask } = severalCloned(8, [4, 8], 2)
  const [first, second] = clones as [CopyWorld, CopyWorld]
  const { clock } = first.world
  let isBegun = false
  const { filling } = first.copy
  const { insert } = filling
  filling.insert = (versions, inserted) => {
    isBegun = true
    insert.call(filling, versions, inserted)
  }
  ask()
  for (const { copy } of [first, second]) copy.hydration.want([0])
  clock.runUntil(() => isBegun)
  const beganMs = clock.nowMs()
  first.startFill({ fork: 0, target: first.copy.appliedSeq, wipe: [0], descriptor: first.copy.descriptor() })
  clock.runUntil(() => isOwn(second))
  t.ok(clock.nowMs() - beganMs < 9_000, `${Math.round(clock.nowMs() - beganMs)} ms for the other one`)
  t.end()
})

t.test('one whose chunk never ends keeps the others for 10 s, once', (t) => {
  const { clones: [stuck, other], ask } = severalCloned(9, FAST, 2) as { clones: [CopyWorld, CopyWorld]; ask(): void }
  const { clock } = stuck.world
  stuck.copy.filling.insert = () => {}
  ask()
  const beganMs = clock.nowMs()
  for (const { copy } of [stuck, other]) copy.hydration.want([0])
  clock.runUntil(() => isOwn(other))
  const tookMs = clock.nowMs() - beganMs
  const pacedMs = (1000 * BLOCKS) / CHUNK_BLOCKS / LEAST_A_SECOND
  t.ok(tookMs > 10_000 && tookMs < 10_000 + 2 * pacedMs, `${Math.round(tookMs)} ms`)
  t.end()
})

t.test('a filling that begins at any step of it: nothing of before is written into what it wiped', (t) => {
  for (let steps = 0; steps < 120; steps += 10) {
    const { origin, clone } = cloned(6, FAST)
    const { clock } = origin.world
    clone.copy.hydration.want([0])
    for (let i = 0; i < steps; i++) clock.step()
    if (clone.copy.bodies.now.origin === null) break
    const { appliedSeq: target } = clone.copy
    // Of a history in which all of it was trimmed, and forgotten.
    clone.startFill({ fork: 0, target, wipe: [0], descriptor: clone.copy.descriptor() })
    let isOver = false
    clock.after(3_000, () => (isOver = true))
    clock.runUntil(() => isOver)
    const stamps = clone.readStamps(0, 64)
    t.ok(stamps.every((stamp) => stamp === 0), `begun at step ${steps}: ${stamps.slice(0, 8).join(' ')}`)
  }
  t.end()
})
