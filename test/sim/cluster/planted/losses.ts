/**
 * Bugs of what becomes of a block that every copy has lost (SPEC D4): only seeds that lose some at their end meet them,
 * and those are above the counted ones, so a test of its own hunts them (last-loss.test.ts).
 */
import { storeBug } from './planted-bug.ts'

export const LOSSES = [
  storeBug('who has it damaged too says nothing', 'I22, D4', [
    ['replication/repair.ts', 'if (damaged.length > 0) answer.damaged = damaged.map(idOf)', ''],
  ]),
  storeBug('what was lost is not asked for again', 'I22, D4', [
    ['replication/repair.ts', 'Object.assign(known, notedAt(id, -Infinity))', 'endReads(turn, [known], false)'],
  ]),
  storeBug('one that has it damaged speaks for all', 'I22, D4', [
    [
      'replication/repair.ts',
      'others.every((node) => hasNoneAt(one, node))',
      'others.some((node) => hasNoneAt(one, node))',
    ],
  ]),
]
