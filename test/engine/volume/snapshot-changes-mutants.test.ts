/**
 * Risk: what compares snapshots passes because it sees nothing. Each bug planted in the log of changes has to be found
 * by a run that the log as it is passes.
 */
// test-timeout-seconds: 240
import t from 'tap'
import type { CopyRunOptions, runCopy } from '../../sim/copy-run.ts'
import { importMutant, type Mutant } from '../../sim/mutants.ts'

const tiny = { pagesMax: 2, checkpointBytes: 16 * 1024, pendingMax: 8 }
const changes = { operations: 300, snapshots: true, changes: true }
const HUNTS = {
  plain: { ...changes, world: tiny },
  many: { ...changes, snapshotsMost: 12, keeps: true, world: tiny },
  filled: { ...changes, fills: true, keeps: true },
} satisfies Record<string, Omit<CopyRunOptions, 'seed'>>

/** First those that find most of them: it is enough that one does. */
const SEEDS = [4, 6, ...Array.from({ length: 20 }, (_, i) => 1 + i)]
const LOG = 'engine/log'
const PLANTED: Array<Omit<Mutant, 'hunt'> & { hunt: keyof typeof HUNTS }> = [
  {
    name: 'writes are not noted',
    hunt: 'plain',
    file: `${LOG}/extent-map.ts`,
    replace: 'map.changes.noteOrdered(map.views, { lba: run.lba',
    by: 'if (run.lba < 0) map.changes.noteOrdered(map.views, { lba: run.lba',
  },
  {
    name: 'trims are not noted',
    hunt: 'plain',
    file: `${LOG}/extent-map.ts`,
    replace: 'if (!this.rebuilding) map.changes.noteOrdered(map.views, zero)',
    by: '',
  },
  {
    name: 'a trim is told as written',
    hunt: 'plain',
    file: `${LOG}/change-log.ts`,
    replace: 'const look = kind === ENTRY_KIND.data ? 0 : 1',
    by: 'const look = kind === ENTRY_KIND.data ? 0 : 0',
  },
  {
    name: 'what a filling brings is not noted',
    hunt: 'filled',
    file: `${LOG}/fill-version.ts`,
    replace: 'volume.changes.noteUnordered(views, volume.appliedSeq, what)',
    by: 'void what',
  },
  {
    name: 'a rebuild notes nothing',
    hunt: 'plain',
    file: `${LOG}/page-fold.ts`,
    replace: 'map.changes.noteUnordered(map.views, map.appliedSeq, {',
    by: 'if (lba < 0) map.changes.noteUnordered(map.views, map.appliedSeq, {',
  },
  {
    name: 'what was noted before a snapshot goes with what came behind it',
    hunt: 'plain',
    file: `${LOG}/change-log.ts`,
    replace: 'this.orderedGroup < 0 || this.groups[this.orderedGroup]!.mark !== mark',
    by: 'this.orderedGroup < 0',
  },
  {
    name: 'ends of rollbacks are no marks',
    hunt: 'many',
    file: 'engine/volume/views.ts',
    replace: '[...new Set([...this.listSeqs, ...this.rollbacks.flat()])]',
    by: '[...this.listSeqs]',
  },
  {
    name: 'a merged value has the newest alone',
    hunt: 'many',
    file: `${LOG}/change-merging.ts`,
    replace: 'for (const [, value] of merged) if',
    by: 'for (const [, value] of merged.slice(-1)) if',
  },
  {
    name: 'values are merged over a mark',
    hunt: 'many',
    file: `${LOG}/change-merging.ts`,
    replace: 'if (mark !== groupMark) group = []',
    by: '',
  },
  {
    name: 'with one snapshot left nothing is noted',
    hunt: 'many',
    file: 'engine/volume/views.ts',
    replace: 'if (this.listSeqs.length === 0) return undefined',
    by: 'if (this.listSeqs.length <= 1) return undefined',
  },
  {
    name: 'what a rollback left below all snapshots is forgotten',
    hunt: 'filled',
    file: 'engine/volume/views.ts',
    replace: 'if (marks[0]! >= seq) return undefined',
    by: 'if (this.listSeqs[0]! >= seq) return undefined',
  },
  {
    name: 'what a checkpoint took meanwhile is missed',
    hunt: 'filled',
    file: `${LOG}/change-reading.ts`,
    replace: 'if (extents.loads.commits !== commits || extents.committing !== undefined) continue',
    by: '',
  },
  {
    name: 'what is noted since the checkpoint is not told',
    hunt: 'filled',
    file: `${LOG}/change-reading.ts`,
    replace: 'for (const [above, upTo] of intervals) map.changes.addTo(paint, slice, above, upTo)',
    by: '',
  },
  {
    name: 'of two snapshots the first one is always the later one',
    hunt: 'plain',
    file: 'engine/volume/views.ts',
    replace: 'if (wasShown && intervals.length > 0) isOnTop = false',
    by: '',
  },
  {
    name: 'what has to be looked at is told as it is',
    hunt: 'plain',
    file: 'engine/volume/snapshot-changes.ts',
    replace: 'if (needsMap(page)) {',
    by: 'if (needsMap(page) && !difference.isOnTop) {',
  },
]

for (const { hunt, ...planted } of PLANTED) {
  t.test(`found: ${planted.name}`, async (t) => {
    const mutated = await importMutant<{ runCopy: typeof runCopy }>(planted, 'test/sim/copy-run.ts')
    for (const seed of SEEDS) {
      const { failure } = mutated.runCopy({ seed, ...HUNTS[hunt] })
      if (failure !== undefined) return void t.pass(failure.slice(0, 200))
    }
    t.fail('no seed of 1 to 20 finds it')
  })
}
