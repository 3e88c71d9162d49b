/**
 * The bugs that the simulator has to find in the replication core. Whoever changes one of these lines plants the bug
 * anew in the new text; `npm run mutants` hunts them all and writes what it found into docs/proof.md.
 */
import { CLONES } from './planted/clones.ts'
import { DISKS } from './planted/disks.ts'
import { FILLS } from './planted/fills.ts'
import { LEASES } from './planted/leases.ts'
import { MANY_LOSSES } from './planted/losses.ts'
import { bug, type PlantedBug } from './planted/planted-bug.ts'
import { SESSIONS } from './planted/sessions.ts'
import { STORES } from './planted/stores.ts'
import { TERMS } from './planted/terms.ts'
import { VIEWS } from './planted/views.ts'
import { WRITES } from './planted/writes.ts'

export const PLANTED: readonly PlantedBug[] = [
  ...WRITES,
  ...TERMS,
  ...LEASES,
  ...FILLS,
  ...SESSIONS,
  ...STORES,
  ...DISKS,
  ...VIEWS,
  ...CLONES,
  ...MANY_LOSSES,
]

/** So plain that whoever does not find it at once finds nothing: it guards the hunt itself. */
export const CANARY = bug('the canary: nothing is sent to the others', 'everything', [
  [
    'commit.ts',
    'for (const node of primary.required) {\n    const peer',
    'for (const node of [] as string[]) {\n    const peer',
  ],
])

/** It breaks nothing: whoever finds it finds anything. */
export const DECOY = bug('the decoy: nothing is changed', 'nothing', [
  ['commit.ts', 'let seq = progressOf(state)', 'let seq = Math.min(progressOf(state), Infinity)'],
])
