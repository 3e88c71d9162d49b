/**
 * Bugs planted in how a volume becomes smaller (SPEC W9, I26), without the asserts that see them at once where the
 * checkers have to find them in the log and in what copies hold.
 */
import type { Edit } from '../../mutants.ts'

export type ShrinkBug = Edit & { name: string; also: Edit[]; checker: string }

const core = (file: string, replace: string, by: string): Edit => ({ file: `engine/replication/${file}`, replace, by })
const NO_ASSERTS = [
  core('primary.ts', "assert(isWithin, 'I26: nothing of a client is ordered beyond the end')", 'void isWithin'),
  core(
    'copy-log.ts',
    "assert(endBytes <= state.sizeBytes, 'I26: what is applied lies inside the volume')",
    'void endBytes',
  ),
]

export const PLANTED_SHRINKS: readonly ShrinkBug[] = [
  {
    name: 'the end moves over data',
    checker: 'inside-the-volume',
    ...core('shrink.ts', '  if (bytes > 0) return', '  if (bytes < 0) return'),
    also: [],
  },
  {
    name: 'a write that is ordered while the data are counted is not seen',
    checker: 'inside-the-volume',
    ...core('shrink.ts', '> shrinking.sizeBytes) shrinking.isWrittenBeyond = true', '> shrinking.sizeBytes) return'),
    also: [],
  },
  {
    name: 'the data are counted before everything is applied',
    checker: 'inside-the-volume',
    ...core('shrink.ts', '|| state.log.appliedSeq < shrinking.afterSeq) return', ') return'),
    also: [],
  },
  {
    name: 'what comes behind the order is not cut off',
    checker: 'inside-the-volume',
    ...core('primary.ts', 'return !isBeyondOrdered(turn, primary, operation)\n  refuse', 'return true\n  refuse'),
    also: NO_ASSERTS,
  },
  {
    name: 'a rollback brings back what lies behind the end',
    checker: 'inside-the-volume',
    ...core('control.ts', 'if (to > own) return', 'if (to < 0) return'),
    also: [],
  },
  {
    name: 'what only larger snapshots have is not filled',
    checker: 'copies-identical',
    ...core('fill-source.ts', 'const sliceCount = turn.port.store.slicesShown()', 'const sliceCount = slicesOf(state)'),
    also: [],
  },
]
