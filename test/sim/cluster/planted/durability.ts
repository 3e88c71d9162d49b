/**
 * Bugs planted in how the durability of a volume changes (SPEC W10), without the asserts that see them at once where
 * the checkers have to find them in what is answered, and in what is left when power fails.
 */
import type { Edit } from '../../mutants.ts'

export type DurabilityBug = Edit & { name: string; also: Edit[]; checker: string }

const core = (file: string, replace: string, by: string): Edit => ({ file: `engine/replication/${file}`, replace, by })

const WHOLE = "durabilityAt(state, tail) === 'durable' || isFresh"
const BECOMES_WHOLE = "durabilityAt(state, state.log.durableSeq) === 'durable') becomeWhole"

export const PLANTED_DURABILITY: readonly DurabilityBug[] = [
  {
    name: 'a change of the durability counts when it is written',
    checker: 'acknowledged-is-durable',
    ...core('copy-state.ts', 'return Math.min(writtenSeq, seq - 1)', 'return writtenSeq'),
    also: [],
  },
  {
    name: 'a record behind a change counts as one before it until that is applied',
    checker: 'acknowledged-is-durable',
    ...core(
      'copy-state.ts',
      "if (durabilityAt(state, durableSeq) === 'durable') return durableSeq",
      "if (state.durability === 'durable') return durableSeq",
    ),
    also: [],
  },
  {
    name: 'a boot takes away what a change to durable gave',
    checker: 'acknowledged-is-durable',
    ...core('copy-state.ts', WHOLE, "state.copyId === '' || isFresh"),
    also: [core('copy-log.ts', BECOMES_WHOLE, 'false) becomeWhole')],
  },
  {
    name: 'who accepted a change to writeback, and has not applied it, counts as whole',
    checker: 'acknowledged-is-durable',
    ...core('copy-state.ts', WHOLE, "state.durability === 'durable' || isFresh"),
    also: [],
  },
  {
    name: 'a copy that is filled keeps the durability it had',
    checker: 'acknowledged-is-durable',
    ...core('fill-target.ts', 'state.durability = message.durability ?? state.durability', 'void message.durability'),
    also: [],
  },
  {
    name: 'a write with FUA is answered by the durability that is applied',
    checker: 'acknowledged-is-durable',
    ...core(
      'primary.ts',
      "if (operation.fua && durabilityAt(state, state.log.tail) === 'writeback')",
      "if (operation.fua && state.durability === 'writeback')",
    ),
    also: [],
  },
]
