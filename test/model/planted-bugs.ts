/** Bugs of the replication core that the model must find, each planted as a text, within the bound named. */
import type { Mutant } from '../sim/mutants.ts'
import type { Bounds } from './bounds.ts'

export interface PlantedBug extends Omit<Mutant, 'hunt' | 'and'> {
  bounds: Partial<Bounds>
  /** What the model says of it. */
  finds: RegExp
}

const FOLDER = 'engine/replication'
const QUIET: Partial<Bounds> = { crashes: 0, losses: 0, duplicates: 0, reads: 0 }

export const PLANTED: readonly PlantedBug[] = [
  {
    name: 'answers what it has not stored',
    file: `${FOLDER}/replica.ts`,
    replace: 'seq: progressOf(state), durableSeq',
    by: 'seq: log.tail, durableSeq',
    bounds: { ...QUIET, duplicates: 1 },
    finds: /^I6/,
  },
  {
    name: 'a promise is answered before it is durable',
    file: `${FOLDER}/replica.ts`,
    replace: 'keepPromise(turn, promise, from, message.token)',
    by: 'keepPromise(turn, promise, from, message.token), sayPromised(turn, message.token)',
    bounds: { ...QUIET, crashes: 1 },
    finds: /^I3/,
  },
  {
    name: 'who is evicted is not required any more while that is asked',
    file: `${FOLDER}/commit.ts`,
    replace: 'new Set<NodeId>(config.config.inSync)',
    by: 'new Set<NodeId>((change?.to ?? config.config).inSync)',
    bounds: { ...QUIET, losses: 1 },
    finds: /^I[68]/,
  },
  {
    name: 'reconcile is skipped',
    file: `${FOLDER}/promotion.ts`,
    replace: 'const isThere = requiredPeers',
    by: 'const isThere = true || requiredPeers',
    bounds: { ...QUIET, crashes: 1 },
    finds: /^I6/,
  },
  {
    name: 'a member that came back has what it accepted',
    file: `${FOLDER}/peer-reports.ts`,
    replace: 'Math.min(fork, report.durableSeq)',
    by: 'fork',
    bounds: { ...QUIET, crashes: 1 },
    finds: /^I6/,
  },
]
