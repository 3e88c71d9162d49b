/**
 * A second share of seeds for mechanisms that meet what breaks them once in some hundred of the seeds that look at
 * them: a refusal that comes back, a hand-over that was lost, what a slow store says of an erased copy, a torn end that
 * is rot. Drawn apart, for one of five seeds that nothing else was drawn for: what the others are like does not change.
 */
import { drawnApart } from './focus.ts'
import type { Focus } from './focus.ts'
import { lostHandOvers, rottenTails } from './plot-focus.ts'
import { staleCommits, staleIndexes, staleReads } from './stale-focus.ts'
import type { Swarm } from './swarm.ts'

const FOCI: readonly Focus[] = [staleCommits, staleCommits, staleReads, staleIndexes, lostHandOvers, rottenTails]

export const setRare = (swarm: Swarm): Swarm | undefined => drawnApart(swarm, 'rare', 1 / 5, FOCI)
