/**
 * Risk: a volume that becomes smaller takes away what was acknowledged, what a snapshot shows, or gives back what was
 * trimmed (SPEC W9, I26). Seeds whose volume shrinks and grows under load and faults: none may complain now, and bugs
 * planted in it have to be found.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { checkInside } from './checker/inside-the-volume.ts'
import type { LoggedRecord } from './checker/history.ts'
import { isHunted, runsWell } from './focused-seeds.ts'
import { PLANTED_SHRINKS } from './planted/shrinks.ts'
import { swarmOf } from './run-seed.ts'
import { hasShrinks } from './shrink-focus.ts'

t.setTimeout(300_000)

/** One in ten has shrinks. */
const SEEDS = Array.from({ length: 8 }, (_, i) => 10_006 + 10 * i)
/** Where bugs are looked for, until one is found: which one it is changes with every line of the core. */
const KNOWN = [10_006, 10_026, 10_086, 10_106, 10_126]
const HUNTED = [...KNOWN, ...Array.from({ length: 150 }, (_, i) => 10_006 + 10 * i)]

t.test('which seeds have them', (t) => {
  for (const seed of SEEDS) t.ok(hasShrinks(swarmOf(seed)), `seed ${seed}`)
  t.notOk([6, 9_996, 10_005, 10_008].some((seed) => hasShrinks(swarmOf(seed))), 'the others are what they were')
  t.end()
})

t.test('no checker complains, and volumes become smaller', (t) => {
  let shrinks = 0
  runsWell(t, SEEDS, 1, (run) => (shrinks += run.shrinks))
  t.ok(shrinks >= 8, `${shrinks} times`)
  t.end()
})

for (const bug of PLANTED_SHRINKS) {
  t.test(bug.name, (t) => isHunted(t, bug, { seeds: HUNTED, store: 'memory', isFound: (one) => one === bug.checker }))
}

const record = (seq: number, rest: Partial<LoggedRecord>): LoggedRecord =>
  ({ epoch: 1, seq, kind: 'control', lba: 0, blockCount: 0, stamps: [], request: '', change: undefined, ...rest })
const write = (seq: number, lba: number, stamp: number): LoggedRecord =>
  record(seq, { kind: 'write', lba, blockCount: 1, stamps: [stamp], request: `w${seq}` })
const sized = (seq: number, operation: 'resize' | 'shrink', blocks: number): LoggedRecord =>
  record(seq, { change: { operation, sizeBytes: blocks * 4096 } })

t.test('the checker: the end moves over zeroes, and nothing lies beyond it', (t) => {
  const inside = (...log: LoggedRecord[]) => checkInside(log, 8 * 4096)
  const trim = record(2, { kind: 'trim', lba: 4, blockCount: 4, request: 't' })
  t.same(inside(write(1, 7, 11), trim, sized(3, 'shrink', 4), write(4, 3, 12)), [])
  t.match(inside(write(1, 7, 11), sized(2, 'shrink', 4)), [{ message: /block 7 shows 11 behind the end/ }])
  t.match(inside(sized(1, 'shrink', 4), write(2, 4, 11)), [{ message: /ends at block 5 of 4/ }])
  t.same(inside(sized(1, 'shrink', 4), sized(2, 'resize', 6), write(3, 5, 11)), [])
  const snapshot = record(2, { change: { operation: 'snapshot', id: 's' } })
  const trimmed = record(3, { kind: 'trim', lba: 4, blockCount: 4, request: 't' })
  const back = record(5, { change: { operation: 'rollback', to: 's' } })
  const log = [write(1, 7, 11), snapshot, trimmed, sized(4, 'shrink', 4), back]
  t.match(checkInside(log, 8 * 4096), [{ message: /block 7 shows 11 behind the end/ }])
  t.end()
})
