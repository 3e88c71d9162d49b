/**
 * Bugs of what becomes of a block that every copy has lost (SPEC D4, D8): only seeds that lose some at their end meet
 * them, and those are above the counted ones, so a test of its own hunts them (last-loss.test.ts).
 */
import { storeBug, testBug } from './planted-bug.ts'

const KEPT_MARKS = 'test/engine/replication/kept-marks.test.ts'

/** What seeds at their end lose too few blocks for. */
export const MANY_LOSSES = [
  testBug('marks that were found in the map are not kept', 'D9', KEPT_MARKS, [
    ['replication/kept-marks.ts', '{ ids, isMore: true, from }', '{ ids: marks.ids, isMore: true, from }'],
  ]),
  testBug('a fill leaves out marks in front of where they are looked for', 'D9', KEPT_MARKS, [
    [
      'replication/kept-marks.ts',
      '{ ids: ids.slice(0, marksMost), isMore: true }',
      '{ ...marks, ids: ids.slice(0, marksMost), isMore: true }',
    ],
  ]),
  testBug('marks of snapshots are not looked for', 'D9', 'test/engine/volume/lost-mark.test.ts', [
    ['volume/mark-search.ts', 'isAny ||= older.some((words) => isMark(words, 0))', 'void older'],
  ]),
]

export const LOSSES = [
  storeBug('who has it damaged too says nothing', 'I22, D4', [
    ['replication/repair.ts', 'if (damaged.length > 0) answer.damaged = damaged.map(idOf)', ''],
  ]),
  storeBug('what was lost is not asked for again', 'I22, D4', [
    [
      'replication/repair.ts',
      'Object.assign(known, notedAt(id, -Infinity, turn.nowMs))',
      'endReads(turn, [known], false)',
    ],
  ]),
  storeBug('one that has it damaged speaks for all', 'I22, D4', [
    [
      'replication/repair.ts',
      'others.every((node) => hasNoneAt(one, node))',
      'others.some((node) => hasNoneAt(one, node))',
    ],
  ]),
  storeBug('a filling waits for a member that is away', 'I22, D8', [
    ['replication/fill-source.ts', '      waitNoLonger(state, fill)\n', ''],
  ]),
  storeBug('a copy forgets of which blocks it has but marks', 'D9', [
    ['replication/fill-target.ts', 'takeMarks(state, versions)', 'void takeMarks'],
  ]),
  storeBug('marks that a copy had no room for are never looked for', 'D9', [
    ['replication/kept-marks.ts', '  port.store.findMarks(', '  void ('],
  ]),
  storeBug('a process does not ask for marks of the one before', 'D9', [
    ['replication/copy.ts', 'askForMarks(turn)', 'void askForMarks'],
  ]),
  storeBug('a filling waits for ever where a block is lost', 'I22, D8', [
    ['replication/fill-losses.ts', '      fill.lost.push(id)\n', ''],
  ]),
  storeBug('a mark is read as a block', 'I9, D8', [
    ['volume/copy-reader.ts', '    if (isLostMark(transformOf(words, w))) return undefined\n', ''],
    ['volume/copy-reader.ts', 'run === 1 && isLostMark(transformOf(words, 0))', 'run === 0'],
  ]),
  storeBug('what came back stays a mark', 'D3, D8', [['volume/copy-repair.ts', ' & ~TRANSFORM.lost', '']]),
  storeBug('a scrub takes a mark for a block', 'I17, D8', [
    ['volume/medium-blocks.ts', '  if (isLostMark(transformOf(words, at))) return false\n', ''],
  ]),
]
