/**
 * Volumes whose copies share blocks in one store, against full copies of what each has to show, with crashes anywhere;
 * and bugs planted in how they share, which these runs have to find. A bounded selection of seeds.
 */
// test-timeout-seconds: 240
import t, { type Test } from 'tap'
import { runClones, type CloneRunOptions } from '../../sim/clone-run.ts'
import { importMutant, type Edit, type Mutant } from '../../sim/mutants.ts'

const VOLUME = 'engine/volume'
const tiny = { segments: 60, pagesMax: 4, checkpointBytes: 16 * 1024, pendingMax: 8 }

function runs(t: Test, from: number, count: number, options: Omit<CloneRunOptions, 'seed'>): void {
  const sums: Record<string, number> = {}
  const failures: string[] = []
  for (let seed = from; seed < from + count; seed++) {
    const { failure, counts } = runClones({ seed, ...options })
    for (const [name, value] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + value
    if (failure !== undefined) failures.push(failure)
  }
  t.same(failures, [], 'no run fails')
  t.comment(JSON.stringify(sums))
}

t.test('clones, clones of clones, removals and fillings', (t) => {
  runs(t, 1, 3, { operations: 220, world: { segments: 80 } })
  t.end()
})

t.test('a page cache of four pages and checkpoints all the time', (t) => {
  runs(t, 101, 3, { operations: 220, world: tiny })
  t.end()
})

t.test('a small disk', (t) => {
  runs(t, 201, 2, { operations: 220, world: { segments: 30 } })
  t.end()
})

t.test('slices on two disks', (t) => {
  runs(t, 301, 3, { operations: 180, world: { disks: 2, segments: 60 } })
  t.end()
})

t.test('two disks that write back', (t) => {
  runs(t, 401, 2, { operations: 180, writeback: true, world: { disks: 2, segments: 60 } })
  t.end()
})

type Planted = Omit<Mutant, 'hunt'> & {
  /** Found it last, and is hunted first: in another text any of the others may. */
  seed?: number
}

const NOBODY_IS_ASKED: Edit = {
  file: `${VOLUME}/copy-filling.ts`,
  replace: 'if (start.wipe.length > 0 && bodies.pins.length > 0) yield*',
  by: 'if (start.wipe.length < 0) yield*',
}
const REMOVALS_WIPE: Edit = {
  file: `${VOLUME}/copy-store.ts`,
  replace: 'if (isRemoved && pins.length > 0) {',
  by: 'if (isRemoved && pins.length < 0) {',
}

const PLANTED: Planted[] = [
  {
    name: 'a pin is no view',
    file: `${VOLUME}/views.ts`,
    replace: 'pins.length === 0 ? seqs :',
    by: 'pins.length >= 0 ? seqs :',
  },
  {
    name: 'a clone is recorded before its pin',
    file: `${VOLUME}/copy-bodies.ts`,
    replace: 'this.writeLocal(this.body(), ended)\n    }\n    if (this.mayClaim)',
    by: 'ended(true)\n    }\n    if (this.mayClaim)',
  },
  {
    name: 'an opening forgets pins',
    file: `${VOLUME}/copy-part.ts`,
    replace: 'pins: newer.copy.pins ?? [] }',
    by: 'pins: [] }',
  },
  {
    name: 'a pin goes while its clone reads',
    file: `${VOLUME}/copy-sharing.ts`,
    replace: 'if (!readers.has(cloneId) && this.making.get(cloneId) !== copy)',
    by: 'if (this.making.get(cloneId) !== copy)',
  },
  { name: 'a filling wipes what clones read', seed: 5, ...NOBODY_IS_ASKED },
  { name: 'a removal takes what clones read', ...REMOVALS_WIPE, and: NOBODY_IS_ASKED },
  {
    name: 'a trim over a base leaves no trace',
    file: 'engine/log/volume-map.ts',
    replace: 'descriptor.origin !== null || descriptor.copy?.facts',
    by: 'descriptor.copy?.facts',
  },
  {
    name: 'what is left of a clone forgets its trims',
    file: 'engine/log/maintenance.ts',
    replace: 'volume.keepsZeroes ? volume.tombstones.filter(isSeen) : []',
    by: '[]',
  },
  {
    name: 'a slice that is filled goes on being shared',
    seed: 4,
    file: `${VOLUME}/copy-filling.ts`,
    replace: 'bodies.origin = originWithout(bodies.origin, new Set(start.wipe))',
    by: '',
  },
  {
    name: 'hydration and fillings look at the head alone',
    seed: 6,
    file: `${VOLUME}/views.ts`,
    replace: 'return this.hasSnapshotIn(era.at, Math.min(era.end, seen))',
    by: 'return era.end < 0 && this.hasSnapshotIn(era.at, Math.min(era.end, seen))',
  },
  {
    name: 'a filling has nothing of the base',
    file: `${VOLUME}/slice-scan.ts`,
    replace: 'if (owner !== undefined && isWanted(',
    by: 'if (owner !== undefined && firstLba < 0 && isWanted(',
  },
  {
    name: 'hydration ends behind its first page',
    seed: 2,
    file: `${VOLUME}/copy-hydration.ts`,
    replace: 'from = page + 1',
    by: 'from = end',
  },
  {
    name: 'the head hides what the clone began as',
    file: `${VOLUME}/copy-base.ts`,
    replace: 'if (hasEntry(page.words, at) && seqOf(page.words, at) > viewSeq) return true',
    by: 'if (hasEntry(page.words, at) && seqOf(page.words, at) < 0) return true',
  },
  {
    name: 'a clone shows what its origin shows now',
    file: `${VOLUME}/copy-base.ts`,
    replace: 'if (hasEntry(head, 0) && !views.hidden(viewSeq, seqOf(head, 0))) best = head',
    by: 'if (hasEntry(head, 0)) best = head',
  },
  {
    name: 'a snapshot of a clone has holes where it shares',
    file: `${VOLUME}/snapshot-blocks.ts`,
    replace: 'if (kind === ENTRY_KIND.none && isShared) {',
    by: 'if (kind === ENTRY_KIND.none && lba < 0) {',
  },
  {
    name: 'what a clone shares is told as holes',
    file: `${VOLUME}/snapshot-map.ts`,
    replace: 'const isShared = isSharedAt(map, piece.first)',
    by: 'const isShared = isSharedAt(map, piece.first) && piece.first < 0',
  },
  {
    name: 'what nobody reads any more stays',
    seed: 4,
    file: `${VOLUME}/copy-sharing.ts`,
    replace: 'this.remains.delete(copy)\n      this.o.eraseRemains(copy)',
    by: 'void copy',
  },
  {
    name: 'what only a pin saw stays',
    seed: 7,
    file: `${VOLUME}/views.ts`,
    replace: 'if (former.snapshotSeqs === seqs) return false',
    by: 'if (former.listSeqs === this.listSeqs) return false',
  },
]

const SEEDS = Array.from({ length: 20 }, (_, i) => 1 + i)
const HUNTS: Array<Omit<CloneRunOptions, 'seed'>> = [
  { operations: 220, world: { segments: 80 } },
  { operations: 220, world: tiny },
]

for (const { seed = 1, ...planted } of PLANTED) {
  t.test(`found: ${planted.name}`, async (t) => {
    const mutated = await importMutant<{ runClones: typeof runClones }>(planted, 'test/sim/clone-run.ts')
    for (const at of [seed, ...SEEDS])
      for (const hunt of HUNTS) {
        const { failure } = mutated.runClones({ seed: at, ...hunt })
        if (failure !== undefined) return void t.pass(failure.slice(0, 200))
      }
    t.fail('no seed of 1 to 20 finds it')
  })
}
