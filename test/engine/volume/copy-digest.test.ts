/**
 * Digests of copies: the same where they show the same, however they came to it, and another as soon as one version
 * is; what is on its way is no difference.
 */
import t from 'tap'
import { runTask } from '../../../engine/task.ts'
import { digestSlice, shownOfPage } from '../../../engine/volume/copy-digest.ts'
import { compareDigests, confirmed, differencesOf } from '../../../engine/volume/digest-comparison.ts'
import type { ShownVersion, SliceDigest } from '../../../engine/volume/digest-comparison.ts'
import { CopyWorld, write } from '../../sim/copy-world.ts'
import { GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import { Random } from '../../sim/random.ts'

function digest(world: CopyWorld, slice = 0): SliceDigest {
  let found: SliceDigest | undefined
  let isOver = false
  runTask(digestSlice(world.copy, slice), (one) => {
    found = one
    isOver = true
  })
  world.world.clock.runUntil(() => isOver)
  return found!
}

function shown(world: CopyWorld, page: number): ShownVersion[] {
  let found: ShownVersion[] | undefined
  runTask(shownOfPage(world.copy, 0, page), (one) => (found = one ?? []))
  world.world.clock.runUntil(() => found !== undefined)
  return found!
}

/** Two copies, on disks, indexes and caches that have nothing in common. */
function pair(seed: number): [CopyWorld, CopyWorld] {
  const size = { sizeBytes: 8 << 20 }
  const one = new CopyWorld({ seed, segments: 48 }, size)
  const other = new CopyWorld({ seed: seed + 1000, segments: 30, pagesMax: 2, pendingMax: 40 }, size)
  for (const world of [one, other]) {
    world.open()
    world.epoch(1, 1)
  }
  return [one, other]
}

t.test('copies that show the same have the same digests, whatever their layout and their past', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const [one, other] = pair(seed)
    const random = new Random(`digests ${seed}`)
    let seq = 1
    const both = (act: (world: CopyWorld) => void): void => {
      act(one)
      act(other)
    }
    const snapshots: string[] = []
    for (let i = 0; i < 120; i++) {
      seq++
      const lba = random.int(4) * 256 + random.int(6)
      const at = seq
      if (random.chance(0.06)) {
        snapshots.push(`s${at}`)
        both((world) => world.control(1, at, { operation: 'snapshot', id: `s${at}` }))
      } else if (random.chance(0.04) && snapshots.length > 0) {
        const id = random.pick(snapshots)
        both((world) => world.control(1, at, { operation: 'rollback', to: id }))
      } else if (random.chance(0.04) && snapshots.length > 0) {
        const [id] = snapshots.splice(random.int(snapshots.length), 1) as [string]
        both((world) => world.control(1, at, { operation: 'snapshot-delete', id }))
      } else if (random.chance(0.2)) {
        const kind = random.pick(['trim', 'zero'] as const)
        const blockCount = random.pick([1, 3, 512])
        both((world) => world.append({ kind, epoch: 1, seq: at, request: undefined, lba, blockCount }))
      } else both((world) => world.append(write(1, at, lba, [at])))
      // One applies record by record, the other many at a time, and one of them begins anew now and then.
      one.settle()
      one.copy.apply(at, {})
      if (i % 40 === 39) {
        other.settle()
        other.copy.apply(at, {})
      }
    }
    other.settle()
    other.copy.apply(seq, {})
    const [a, b] = [digest(one), digest(other)]
    const told = ({ pages }: SliceDigest) => pages.map(({ page, digest: of }) => [page, of])
    t.same(told(a), told(b), `seed ${seed}`)
    t.equal(compareDigests(a, b)!.differing.size, 0)
  }
  t.end()
})

t.test('what a snapshot shows beyond the end of a volume that shrank is told', (t) => {
  const world = new CopyWorld({ seed: 32, segments: 48 }, { sizeBytes: 3 * GIB })
  world.open()
  world.epoch(1, 1)
  t.equal(digest(world).slicesShown, 3)
  world.append(write(1, 2, 2 * SLICE_BLOCKS + 700, [2]))
  world.control(1, 3, { operation: 'snapshot', id: 's' })
  world.append({ kind: 'trim', epoch: 1, seq: 4, request: undefined, lba: 2 * SLICE_BLOCKS + 700, blockCount: 1 })
  world.control(1, 5, { operation: 'resize', sizeBytes: GIB })
  world.settle()
  world.copy.apply(5, {})
  t.equal(digest(world).slicesShown, 3)
  t.match(digest(world, 2).pages, [{ page: 2 }])
  world.control(1, 6, { operation: 'snapshot-delete', id: 's' })
  world.settle()
  world.copy.apply(6, {})
  t.equal(digest(world).slicesShown, 1)
  t.end()
})

t.test('one version more, less or other is a difference, and is named', (t) => {
  const [one, other] = pair(31)
  for (const world of [one, other]) {
    for (let seq = 2; seq <= 10; seq++) world.append(write(1, seq, seq, [seq]))
    world.control(1, 11, { operation: 'snapshot', id: 's' })
    world.append(write(1, 12, 2, [12]))
    world.settle()
    world.copy.apply(12, {})
  }
  t.equal(compareDigests(digest(one), digest(other))!.differing.size, 0)
  const [{ stream, map }] = other.copy.targets as [(typeof other.copy.targets)[number]]
  shown(other, 0)
  const words = stream.map.page(map, 0)!.words
  const spoil = (change: () => void, undo: () => void): string[] => {
    change()
    const first = compareDigests(digest(one), digest(other))!
    t.same([...first.differing.keys()], [0])
    t.same(confirmed(first, digest(one), digest(other)), [0])
    const said = differencesOf(
      { node: 'n1', versions: shown(one, 0) },
      { node: 'n2', versions: shown(other, 0) },
    )
    undo()
    return said
  }
  const entry = words.slice(5 * 6, 6 * 6)
  t.same(spoil(() => words.fill(0, 30, 36), () => words.set(entry, 30)), [
    'n1 shows block 5 of epoch 1, seq 5, and n2 does not',
  ])
  t.same(spoil(() => (words[34] = words[34]! ^ 1), () => words.set(entry, 30)), [
    'n1 and n2 show block 5 of epoch 1, seq 5 with different checksums',
  ])
  t.same(spoil(() => (words[32] = 4), () => words.set(entry, 30)), [
    'n1 shows block 5 of epoch 1, seq 5, and n2 does not',
    'n2 shows block 5 of epoch 1, seq 4, and n1 does not',
  ])
  t.equal(compareDigests(digest(one), digest(other))!.differing.size, 0)
  t.end()
})

t.test('what a clone beside one of them reads is no difference', (t) => {
  const [one, other] = pair(32)
  for (const world of [one, other]) {
    world.append(write(1, 2, 5, [2]))
    world.control(1, 3, { operation: 'snapshot', id: 's' })
    world.settle()
    world.copy.apply(3, {})
  }
  let isPinned = false
  one.copy.bodies.pin(['c', 3], (ok) => (isPinned = ok))
  one.world.clock.runUntil(() => isPinned)
  for (const world of [one, other]) {
    world.append(write(1, 4, 5, [4]))
    world.control(1, 5, { operation: 'snapshot-delete', id: 's' })
    world.settle()
    world.copy.apply(5, {})
  }
  t.equal(compareDigests(digest(one), digest(other))!.differing.size, 0)
  t.same(shown(one, 0), shown(other, 0))
  t.end()
})

t.test('what one has applied and the other has not yet is no difference', (t) => {
  const [one, other] = pair(41)
  for (const world of [one, other]) {
    for (let seq = 2; seq <= 10; seq++) world.append(write(1, seq, seq, [seq]))
    world.append({ kind: 'trim', epoch: 1, seq: 11, request: undefined, lba: 3, blockCount: 1 })
    world.append(write(1, 12, 400, [12]))
    world.append(write(1, 13, 5, [13]))
    world.settle()
  }
  one.copy.apply(13, {})
  other.copy.apply(10, {})
  const ahead = digest(one)
  t.equal(compareDigests(ahead, digest(other))!.differing.size, 0, 'newer than what both have')
  // As if the trace of the trim, and all that is newer, were gone: then it looks like one, at the first look.
  const forgotten = { ...ahead, pages: ahead.pages.map((page) => ({ ...page, newestSeq: 10 })) }
  const first = compareDigests(forgotten, digest(other))!
  t.ok(first.differing.size > 0)
  t.equal(confirmed(first, digest(one), digest(other)), undefined, 'it comes too early')
  other.copy.apply(13, {})
  t.same(confirmed(first, digest(one), digest(other)), [])
  const views = { ...ahead, views: ahead.views + 1 }
  t.equal(compareDigests(views, ahead), undefined, 'other snapshots: nothing is said')
  t.end()
})
