/**
 * How fast what looks at the medium in the background goes, and in which pieces: scrubs of copies
 * (engine/volume/copy-scrub.ts) and the check of what holds segments together (structure-check.ts).
 */
import type { Task } from '../task.ts'

/** The longest read, and what is verified in one turn. */
export const READ_BLOCKS = 256
/** What lies between two pieces that are wanted is read along when it is no more than this. */
export const GAP_BLOCKS = 16

export interface Pace {
  /** Whether so many bytes may be read now; it may take its time. False: it ends here. */
  wait(bytes: number): Task<boolean>
  /** Of one read now. */
  blocksMost(): number
}
