/**
 * Bugs planted in the hold of a group snapshot (SPEC W8, I25), without the assert that sees them at once where the
 * checker has to find them in what clients saw. Two worlds look for them: `test/engine/replication/group-world.ts`, of
 * two primaries, and seeds of the simulator with several volumes.
 */
import type { Edit } from '../../mutants.ts'

export type HoldBug = Edit & { name: string; also: Edit[] }

const core = (file: string, replace: string, by: string): Edit => ({ file: `engine/replication/${file}`, replace, by })
const ASSERT = "  assert(!isHeld(turn, primary), 'I25: nothing of a client is ordered in a hold')\n"
const noAssert = core('primary.ts', ASSERT, '')

/** What is ordered in a hold. */
export const ORDERED_IN_HOLD: readonly HoldBug[] = [
  {
    name: 'a request that comes in a hold is ordered',
    ...core('primary.ts', 'isFull(turn) || isHeld(turn, primary)\n', 'isFull(turn)\n'),
    also: [noAssert],
  },
  {
    name: 'a request that waited is ordered in a hold',
    ...core('primary.ts', '&& !isFull(turn) && !isHeld(turn, primary)) {', '&& !isFull(turn)) {'),
    also: [noAssert],
  },
]

/** A hold that is not what it should be. */
export const WRONG_HOLDS: readonly HoldBug[] = [
  {
    name: 'a snapshot is taken although its hold is over',
    ...core('hold.ts', '=== hold && isHeld(turn, primary) ?', '=== hold ?'),
    also: [],
  },
  {
    name: 'a hold that comes again begins again',
    ...core('hold.ts', '  if (primary.hold?.token === command.hold) return refuse(', '  void ('),
    also: [],
  },
  {
    name: 'a snapshot does not ask for its hold',
    ...core('control.ts', 'hold === undefined ? undefined : holdRefusal(turn, primary, hold)', 'void holdRefusal'),
    also: [],
  },
]
