/** Bugs of snapshots and clones that the nemesis has to catch; planted in every process of its nodes. */
import type { Edit } from '../sim/mutants.ts'

export interface NemesisBug extends Edit {
  name: string
  /** What is done until it shows. */
  faults: readonly string[]
  /** What the nemesis says of it. */
  caught: RegExp
}

export const NEMESIS_PLANTED: readonly NemesisBug[] = [
  {
    name: 'a rollback takes some records more away',
    file: 'engine/volume/copy-part.ts',
    replace: '[to.seq, seq]] }',
    by: '[Math.max(0, to.seq - 30), seq]] }',
    faults: ['a snapshot is taken', 'volumes are rolled back'],
    caught: /rolled back to s-\d+: \d+ blocks are not what they were/,
  },
  {
    name: 'a rollback keeps an older state than there was',
    file: 'engine/volume/copy-part.ts',
    replace: 'snapshotOf(now, change.kept, seq - 1)]',
    by: 'snapshotOf(now, change.kept, Math.max(to.seq, seq - 30))]',
    faults: ['a snapshot is taken', 'volumes are rolled back'],
    caught: /which keeps what was rolled away, shows what never was/,
  },
  {
    name: 'a clone is hydrated up to its first page',
    file: 'engine/volume/copy-hydration.ts',
    replace: 'from = page + 1',
    by: 'from = end',
    faults: ['a clone gets blocks of its own'],
    caught: /hydrated: \d+ blocks are not what they were|while it is hydrated: block \d+ is not/,
  },
]
