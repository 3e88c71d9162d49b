/**
 * The walk of a deep scrub against histories of all kinds, with tables so small that it takes several windows, ranges
 * and tables that overflow: what is damaged anywhere is found, each once, also when it is stopped and goes on while the
 * cleaner moves what is around. Planted bugs of the walk have to be found by the same.
 */
import t from 'tap'
import {
  ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf,
} from '../../../engine/log/entry.ts'
import { segmentOffsetBytes } from '../../../engine/log/geometry.ts'
import { peekPages } from '../../../engine/log/page-peek.ts'
import { loadPage } from '../../../engine/log/page-visitor.ts'
import type { VersionId } from '../../../engine/replication/record.ts'
import { runTask, type Task } from '../../../engine/task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, UNIT_BYTES } from '../../../engine/units.ts'
import { pageVersions } from '../../../engine/volume/copy-reader.ts'
import { CopyScrub } from '../../../engine/volume/copy-scrub.ts'
import { WINDOW_LIMITS, type WindowLimits } from '../../../engine/volume/deep-window.ts'
import { CopyWorld, mixedWrite, write } from '../../sim/copy-world.ts'
import { importMutant, type Edit } from '../../sim/mutants.ts'
import { Random } from '../../sim/random.ts'

const PAGES = 24

interface Run {
  /** One without has nothing but values of pages in its index, at times. */
  hasSnapshots: boolean
  world: CopyWorld
  random: Random
  seq: number
  snapshots: string[]
}

const nameOf = ({ lba, epoch, seq }: VersionId): string => `${lba}:${epoch}.${seq}`

function begin(seed: number, maySnapshot = true): Run {
  const random = new Random(`deep walk ${seed}`)
  const segmentBytes = random.pick([128 * 1024, 256 * 1024, 2 << 20])
  const world = new CopyWorld(
    {
      seed, segmentBytes, segments: Math.ceil((20 << 20) / segmentBytes), pagesMax: random.pick([4, 64]),
      checkpointBytes: random.pick([64, 256]) * 1024, pendingMax: random.pick([20, 200]),
    },
    { sizeBytes: 64 << 20 },
  )
  world.open()
  world.epoch(1, 1)
  return { hasSnapshots: maySnapshot && random.chance(0.6), world, random, seq: 1, snapshots: [] }
}

/** Writes of all kinds, trims, snapshots, deletes and rollbacks. */
function act(run: Run, steps: number, pages = PAGES): void {
  const { world, random } = run
  for (let step = 0; step < steps; step++) {
    const seq = ++run.seq
    const what = random.float()
    const count = random.pick([1, 1, 1, 2, 5, 12])
    const longest = run.hasSnapshots ? 600 : 20
    const lba = Math.floor(random.float() * pages) * PAGE_BLOCKS + Math.floor(random.float() * 24)
    if (what < 0.04 && run.hasSnapshots) {
      world.control(1, seq, { operation: 'snapshot', id: `s${seq}` })
      run.snapshots.push(`s${seq}`)
    } else if (what < 0.06 && run.snapshots.length > 0) {
      const id = random.pick(run.snapshots)
      run.snapshots = run.snapshots.filter((one) => one !== id)
      world.control(1, seq, { operation: 'snapshot-delete', id })
    } else if (what < 0.08 && run.snapshots.length > 0)
      world.control(1, seq, { operation: 'rollback', to: random.pick(run.snapshots) })
    else if (what < 0.12)
      world.append({ kind: 'trim', epoch: 1, seq, request: undefined, lba, blockCount: random.pick([count, longest]) })
    else {
      const stamps = Array.from({ length: count }, (_, i) => seq * 16 + i)
      world.append(random.chance(0.5) ? write(1, seq, lba, stamps) : mixedWrite(1, seq, lba, stamps))
    }
    // Only so much may wait.
    if (step % 10 === 9) {
      world.settle()
      world.copy.apply(seq, {})
    }
  }
  world.settle()
  world.copy.apply(run.seq, {})
  world.drained()
}

interface Version extends VersionId {
  offsetBytes: number
  lengthBytes: number
}

/** All that the map has, also what waits to be swept. */
function stored({ world }: Run): Version[] {
  const found: Version[] = []
  let isOver = false
  const [target] = world.copy.targets
  function* all(): Task<void> {
    for (let page = 0; page < PAGES; page++)
      for (const { lba, words } of (yield* pageVersions(target!, page, () => true)) ?? []) {
        if (kindOf(words, 0) !== ENTRY_KIND.data) continue
        const offsetBytes = segmentOffsetBytes(target!.stream.context.segmentBytes, segmentOf(words, 0))
        found.push({
          lba, epoch: epochOf(words, 0), seq: seqOf(words, 0),
          offsetBytes: offsetBytes + unitsOf(words, 0) * UNIT_BYTES, lengthBytes: storedUnitsOf(words, 0) * UNIT_BYTES,
        })
      }
  }
  runTask(all(), () => (isOver = true))
  world.world.clock.runUntil(() => isOver)
  return found
}

/** Rot some sectors. @returns the versions of which it changed bytes, each with its place */
function rotSome(run: Run, versions: readonly Version[]): Map<string, number> {
  const { world, random } = run
  const [disk] = world.world.disks
  const bytesOf = ({ offsetBytes, lengthBytes }: Version): string =>
    Buffer.from(disk!.peek(offsetBytes, lengthBytes)).toString('latin1')
  const before = versions.map(bytesOf)
  for (let most = random.pick([1, 4, 20]); most > 0; most--) {
    const { offsetBytes, lengthBytes } = random.pick(versions)
    const at = offsetBytes + Math.floor(random.float() * lengthBytes)
    disk!.damage(at - (at % 512), 'flip')
  }
  const changed = versions.filter((one, i) => bytesOf(one) !== before[i])
  return new Map(changed.map((one) => [nameOf(one), one.offsetBytes]))
}

/** What a cleaner was about to move from there, when it rotted, is whole. */
function stillThere(run: Run, damaged: ReadonlyMap<string, number>): string[] {
  const places = new Map(stored(run).map((one) => [nameOf(one), one.offsetBytes]))
  return [...damaged].filter(([name, offsetBytes]) => places.get(name) === offsetBytes).map(([name]) => name)
}

function limitsOf(random: Random): WindowLimits {
  return {
    entries: random.pick([1, 7, 60, 10_000]), segments: random.pick([1, 3, 1000]), ranges: random.pick([1, 3, 16]),
    pages: random.pick([1, 5, 1000]),
  }
}

interface Found {
  ended: boolean
  damaged: number
  blocks: number
  /** Each as often as it was met. */
  told: string[]
}

/** @param mayGo  asked before each read, and each page, which has no bytes */
function scrub(
  run: Run,
  from: 'anew' | 'resume',
  Scrub = CopyScrub,
  mayGo = (_bytes: number): boolean => true,
  limits = limitsOf(run.random),
): Found {
  const { world } = run
  const found: Found = { ended: false, damaged: 0, blocks: 0, told: [] }
  const { copy } = world
  const tell = copy.tellDamage.bind(copy)
  copy.tellDamage = (versions) => {
    found.told.push(...versions.map(nameOf))
  }
  const one = new Scrub(copy, {
    wallMs: () => 1_000_000 + world.world.clock.nowMs(),
    pace: (bytes, go) => go(mayGo(bytes)),
    limits,
    onProblem: (problem) => {
      throw new Error(problem)
    },
  })
  let isOver = false
  runTask(one.openTask(), () =>
    runTask(one.passTask('deep', () => from), (ended) => {
      found.ended = ended
      isOver = true
    }),
  )
  world.world.clock.runUntil(() => isOver)
  copy.tellDamage = tell
  const { counts } = one.summary('deep')
  return { ...found, damaged: counts.damaged, blocks: counts.blocks }
}

/** What is wrong with a scrub of a copy that nobody changes. */
function wrongStill(seed: number, Scrub = CopyScrub): string | undefined {
  const run = begin(seed)
  act(run, 90)
  const expected = rotSome(run, stored(run))
  const found = scrub(run, 'anew', Scrub)
  const told = new Set(found.told)
  if (!found.ended) return 'it does not end'
  for (const name of stillThere(run, expected)) if (!told.has(name)) return `${name} is not found`
  for (const name of told) if (!expected.has(name)) return `${name} is not damaged`
  return found.damaged === told.size ? undefined : `${found.damaged} are counted, ${told.size} are damaged`
}

/** The same for one that is stopped some times; between, others write, the cleaner works, and the process may end. */
function wrongMoved(seed: number, Scrub = CopyScrub): string | undefined {
  let run = begin(seed)
  act(run, 90)
  const { random } = run
  const expected = rotSome(run, stored(run))
  const told = new Set<string>()
  const meet = (found: Found): boolean => {
    for (const name of found.told) told.add(name)
    return found.ended
  }
  let from: 'anew' | 'resume' = 'anew'
  for (let stops = 0; stops < 8; stops++) {
    let left = random.float() ** 2 * 30
    const found = scrub(run, from, Scrub, (bytes) => (left -= bytes > 0 ? 1 : 0.1) > 0)
    if (meet(found)) break
    from = 'resume'
    if (random.chance(0.3)) {
      const world = run.world.crash({ kind: 'synced' }, { kind: 'synced' })
      world.open()
      run = { ...run, world }
      world.copy.apply(run.seq, {})
    } else if (random.chance(0.7)) act(run, Math.floor(random.float() * 40))
  }
  const rest = scrub(run, from, Scrub)
  meet(rest)
  if (!rest.ended) return 'it does not end'
  for (const name of stillThere(run, expected)) if (!told.has(name)) return `${name} is not found`
  for (const name of told) if (!expected.has(name)) return `${name} is not damaged`
  if (rest.damaged > told.size) return `${rest.damaged} are counted, ${told.size} are damaged`
  return undefined
}

const SEEDS = 20

t.test('all that is damaged is found, each once', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) t.equal(wrongStill(seed), undefined, `seed ${seed}`)
  t.end()
})

t.test('so it is by one that is stopped and goes on, with writers and a cleaner in between', (t) => {
  for (let seed = 1001; seed <= 1000 + SEEDS; seed++) t.equal(wrongMoved(seed), undefined, `seed ${seed}`)
  t.end()
})

t.test('what did not fit is not passed over by one that is stopped while it looks at it again', (t) => {
  for (const looksMost of [0, 10, 63]) {
    const world = new CopyWorld({ seed: 7, segments: 60, segmentBytes: 128 * 1024 }, { sizeBytes: 64 << 20 })
    world.open()
    world.epoch(1, 1)
    const run: Run = { hasSnapshots: false, world, random: new Random('stopped'), seq: 1, snapshots: [] }
    for (let i = 0; i < 16; i++) {
      const seq = ++run.seq
      world.append(write(1, seq, i * PAGE_BLOCKS, Array.from({ length: 8 }, (_, block) => seq * 16 + block)))
      world.settle()
      world.copy.apply(seq, {})
    }
    const versions = stored(run)
    // More segments than are looked at before the first of it is looked at again.
    t.ok(new Set(versions.map(({ offsetBytes }) => Math.floor(offsetBytes / (128 * 1024)))).size > 4)
    const [disk] = world.world.disks
    for (const { offsetBytes } of versions) t.ok(disk!.damage(offsetBytes, 'flip'))
    let looks = 0
    const mayGo = (bytes: number): boolean => bytes !== BLOCK_BYTES || looks++ < looksMost
    const first = scrub(run, 'anew', CopyScrub, mayGo, WINDOW_LIMITS)
    t.notOk(first.ended)
    t.equal(looks, looksMost + 1, 'it was stopped there')
    const rest = scrub(run, 'resume', CopyScrub, undefined, WINDOW_LIMITS)
    t.ok(rest.ended)
    t.same([...new Set([...first.told, ...rest.told])].sort(), versions.map(nameOf).sort())
    t.equal(rest.damaged, versions.length)
  }
  t.end()
})

/** What is wrong with pages that are looked at without loading them, of which some are loaded then. */
function wrongPeek(seed: number, peek = peekPages): { problem: string | undefined; peeked: number } {
  let run = begin(seed, false)
  const { random } = run
  let peeked = 0
  for (let round = 0; round < 6; round++) {
    if (round % 3 === 2) {
      const world = run.world.crash({ kind: 'synced' }, { kind: 'synced' })
      world.open()
      world.copy.apply(run.seq, {})
      run = { ...run, world }
    }
    // Of some pages what was loaded is resolved then, of some it is not.
    act(run, 10)
    if (random.chance(0.5)) stored(run)
    act(run, 20, random.pick([2, 12]))
    const [target] = run.world.copy.targets
    const { stream, map } = target!
    function* look(): Task<string | undefined> {
      const found = yield* peek(stream.map, map, 0, PAGES)
      for (const [page, words] of found ?? []) {
        if (random.chance(0.3)) continue
        peeked++
        const loaded = yield* loadPage(stream.map, map, page)
        const isOther = (word: number, i: number): boolean => {
          const at = i - (i % ENTRY_WORDS)
          const hasBlob = kindOf(words, at) === ENTRY_KIND.data || kindOf(loaded!.words, at) === ENTRY_KIND.data
          return hasBlob && words[i] !== word
        }
        if (loaded!.words.some(isOther)) return `page ${page} of round ${round} is another one`
      }
      return undefined
    }
    let problem: string | undefined
    let isOver = false
    runTask(look(), (what) => {
      problem = what
      isOver = true
    })
    run.world.world.clock.runUntil(() => isOver)
    if (problem !== undefined) return { problem, peeked }
  }
  return { problem: undefined, peeked }
}

t.test('a page that is looked at is what it is loaded as', (t) => {
  let all = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { problem, peeked } = wrongPeek(seed)
    t.equal(problem, undefined, `seed ${seed}`)
    all += peeked
  }
  t.ok(all > SEEDS, `${all} pages`)
  t.end()
})

const PEEK = 'engine/log/page-peek.ts'

const PEEK_PLANTED: Array<Edit & { name: string }> = [
  {
    name: 'a page is looked at without what waits',
    file: PEEK,
    replace: ' || extents.pending.has(pageKeyOf(map.number, page))',
    by: '',
  },
  { name: 'a page in memory is looked at in the index', file: PEEK, replace: 'map.pages.has(page) || ', by: '' },
]

for (const planted of PEEK_PLANTED)
  t.test(`planted: ${planted.name}`, async (t) => {
    const mutant = await importMutant<{ peekPages: typeof peekPages }>(planted, PEEK)
    let seed = 1
    while (seed <= SEEDS && wrongPeek(seed, mutant.peekPages).problem === undefined) seed++
    t.ok(seed <= SEEDS, `hunted in ${Math.min(seed, SEEDS)} seeds`)
    t.end()
  })

const WALK = 'engine/volume/deep-walk.ts'
const READS = 'engine/volume/place-reads.ts'
const WINDOW = 'engine/volume/deep-window.ts'
const PLACES = 'engine/volume/scrub-places.ts'

const PLANTED: Array<Edit & { name: string }> = [
  {
    name: 'what has no room is forgotten',
    file: WINDOW,
    replace: 'while (late.length > 0) {',
    by: 'late = []\n      while (late.length > 0) {',
  },
  {
    name: 'the last range is not walked',
    file: WALK,
    replace: 'range < window.ranges;',
    by: 'range < window.ranges - 1;',
  },
  {
    name: 'a page has a flag for its head alone',
    file: WINDOW,
    replace: 'flags |= flagOf(at)',
    by: 'if (words === found.page.words) flags |= flagOf(at)',
  },
  {
    name: 'the map ends with a short look',
    file: WINDOW,
    replace: 'if (pages.length === 0) break',
    by: 'if (pages.length === 0 || (at > this.fromPage && pages.length < PAGES_A_LOOK)) break',
  },
  {
    name: 'a stop in a segment leaves its rest out',
    file: READS,
    replace: 'yield* this.tell(row.segment)\n        return this.left()',
    by: 'yield* this.tell(row.segment + 1)\n        return this.left()',
  },
  {
    name: 'the pages of a window are not noted',
    file: WALK,
    replace: 'const { endPage = PAGES_MAX, fromSegment = 0 } = within ?? {}',
    by: 'const endPage = PAGES_MAX\n    const { fromSegment = 0 } = within ?? {}',
  },
  {
    name: 'a window that is done leaves its segments out of the next',
    file: WALK,
    replace: '    within = undefined\n',
    by: '    if (within !== undefined) within = { ...within, endPage: PAGES_MAX }\n',
  },
  {
    name: 'what follows a read is left out',
    file: READS,
    replace: 'at += wanted.slots.length\n',
    by: 'at += wanted.slots.length + 1\n',
  },
  {
    name: 'the table forgets what was in a stretch',
    file: PLACES,
    replace: 'piece[to] = row.newest[stretch]!',
    by: 'piece[to] = 0',
  },
  {
    name: 'history is not looked at',
    file: WINDOW,
    replace: 'for (const [lba, versions] of history)',
    by: 'for (const [lba, versions] of history.size < 0 ? history : [])',
  },
]

for (const planted of PLANTED)
  t.test(`planted: ${planted.name}`, async (t) => {
    const mutant = await importMutant<{ CopyScrub: typeof CopyScrub }>(planted, 'engine/volume/copy-scrub.ts')
    let seeds = 0
    const isFound = (seed: number): boolean => {
      seeds++
      return wrongStill(seed, mutant.CopyScrub) !== undefined || wrongMoved(1000 + seed, mutant.CopyScrub) !== undefined
    }
    let seed = 1
    while (seed <= SEEDS && !isFound(seed)) seed++
    t.ok(seed <= SEEDS, `hunted in ${seeds} seeds`)
    t.end()
  })
