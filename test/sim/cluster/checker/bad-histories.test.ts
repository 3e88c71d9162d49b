/** Every checker finds the bad history that was made for it by hand, and lets the good twin pass. */
import t from 'tap'
import {
  withHolder,
  withMember,
  withoutHolder,
  withPrimary,
  withSuccessor,
  type VolumeConfig,
} from '../../../../engine/replication/configuration.ts'
import { checkAnswer, checkAnswered, checkBegun, checkFlush, type MemberLog } from './acknowledged-is-durable.ts'
import { CommittedLog, checkContent } from './copies-identical.ts'
import type { ClientOperation, History, LoggedRecord, Violation } from './history.ts'
import { checkCopiesAfterRemoval, checkReadsAfterRemoval } from './nothing-comes-back.ts'
import { checkSessionsInOrder, Holders } from './holders.ts'
import { OnePrimaryPerEpoch } from './one-primary-per-epoch.ts'
import { checkProgress } from './progress.ts'
import { checkReadsMatchHistory } from './reads-match-history.ts'

type Kind = ClientOperation['kind']

function operation(kind: Kind, request: string, start: number, end: number, more: Partial<ClientOperation> = {}) {
  const op: ClientOperation = {
    client: 'c1',
    request,
    kind,
    lba: 0,
    blockCount: 1,
    stamps: [],
    start,
    end,
    result: end === Infinity ? 'none' : 'ok',
    seq: 0,
    ...more,
  }
  return op
}

const write = (request: string, start: number, end: number, more: Partial<ClientOperation> = {}) =>
  operation('write', request, start, end, more)
const read = (request: string, start: number, end: number, stamp: number) =>
  operation('read', request, start, end, { stamps: [stamp] })

function record(seq: number, request: string, stamp: number, more: Partial<LoggedRecord> = {}): LoggedRecord {
  const base = { epoch: 1, seq, kind: 'write' as const, lba: 0, blockCount: 1, stamps: [stamp], request }
  return { ...base, change: undefined, ...more }
}

const history = (log: LoggedRecord[], ...operations: ClientOperation[]): History => ({
  operations,
  eras: [{ from: 0, cutSeq: 0, log }],
})

function says(
  t: { same(a: unknown, b: unknown): unknown; match(a: string, b: RegExp): unknown },
  violations: Violation[],
  pattern?: RegExp,
): void {
  if (pattern === undefined) t.same(violations, [])
  else t.match(violations.map(({ message }) => message).join('\n'), pattern)
}

t.test('reads-match-history', (t) => {
  const two = [record(1, 'a', 11), record(2, 'b', 12)]
  const check = (log: LoggedRecord[], ...operations: ClientOperation[]) =>
    checkReadsMatchHistory(history(log, ...operations))
  const both = [write('a', 1, 2), write('b', 3, 4)]
  says(t, check(two, ...both, read('r', 5, 6, 12)))
  says(t, check(two, ...both, read('r', 5, 6, 11)), /returned 11/)
  says(t, check(two, ...both, read('r', 5, 6, 0)), /returned zeroes/)
  says(t, check(two, write('a', 1, 2), write('b', 3, 8), read('r', 5, 6, 11)))
  says(t, check(two, write('a', 1, 2), write('b', 3, 9), read('r', 4, 5, 12), read('s', 6, 7, 11)), /s by c1.*11/)
  says(t, check([two[0]!], write('a', 1, 2), write('b', 3, Infinity), read('r', 4, 5, 12)), /returned 12/)
  says(t, check([two[0]!, record(2, 'a', 11)], write('a', 1, 2)), /in the log twice/)
  says(t, check([record(1, 'b', 12), record(2, 'a', 11)], ...both), /stands at seq 1, below 2/)
  // The block is trimmed, or rolled back, and before anybody asked for it a read has found it so.
  const trimmed = [record(1, 'a', 11), record(2, 'b', 0, { kind: 'trim', stamps: [] })]
  const trim = (start: number) => operation('trim', 'b', start, Infinity)
  says(t, check(trimmed, write('a', 1, 2), read('r', 3, 4, 0), trim(5)), /r by c1.* returned zeroes/)
  says(t, check(trimmed, write('a', 1, 2), read('r', 3, 6, 0), trim(5)))
  const change = (seq: number, control: LoggedRecord['change']) =>
    record(seq, '', 0, { kind: 'control', stamps: [], change: control })
  const rolledBack = [
    change(1, { operation: 'snapshot', id: 's' }),
    record(2, 'a', 11),
    change(3, { operation: 'rollback', to: 's' }),
  ]
  const rollback = operation('control', '', 5, 6, { client: 'operator', seq: 3 })
  says(t, check(rolledBack, write('a', 1, 2), read('r', 3, 4, 0), rollback), /r by c1.* returned zeroes/)
  says(t, check(rolledBack, write('a', 1, 2), read('r', 3, 7, 0), rollback))
  // A hand-over is answered with the commit point, which is a write's.
  const handOver = operation('control', '', 5, 6, { client: 'operator', seq: 1 })
  says(t, check([record(1, 'a', 7)], write('a', 1, Infinity), read('r', 3, 4, 7), handOver))
  const over = (base: number) => checkReadsMatchHistory({ ...history(two, ...both), bases: new Map([[12, base]]) })
  says(t, over(11))
  says(t, over(0), /took 0 for its rest, and the block held 11/)
  says(t, check(two, both[0]!, write('b', 3, 4, { result: 'edge-changed' })), /answered edge-changed/)
  t.end()
})

t.test('reads-match-history: sent again on another connection, and held for too long', (t) => {
  const check = (log: LoggedRecord[], ...operations: ClientOperation[]) =>
    checkReadsMatchHistory(history(log, ...operations))
  const first = write('a', 1, 4, { result: 'again' })
  const again = write('b', 1, 4)
  const over = write('c', 5, 6)
  // Once or twice, before what came after the answer; what was answered by another one needs not be there.
  says(t, check([record(1, 'a', 11), record(2, 'b', 11), record(3, 'c', 12)], first, again, over))
  says(t, check([record(1, 'b', 11), record(2, 'c', 12)], first, again, over))
  says(t, checkAnswered(history([record(1, 'b', 11), record(2, 'c', 12)], first, again, over)))
  const late = [record(1, 'b', 11), record(2, 'c', 12), record(3, 'a', 11)]
  says(t, check(late, first, again, over), /c by c1 .*stands at seq 2, below 3/)
  // An error in time says nothing to others; whose session it is goes on behind it.
  const failed = write('a', 1, 2, { result: 'timeout', session: 1 })
  const next = (session: number) => write('b', 3, 4, { session })
  says(t, check([record(1, 'a', 11), record(2, 'b', 12)], failed, next(1)))
  says(t, check([record(1, 'b', 12)], failed, next(1)))
  says(t, check([record(1, 'b', 12), record(2, 'a', 11)], failed, next(2)))
  says(t, check([record(1, 'b', 12), record(2, 'a', 11)], failed, next(1)), /b by c1 .*stands at seq 1, below 2/)
  const seen = (session: number) => ({ ...read('r', 3, 4, 0), session })
  says(t, check([record(1, 'a', 11)], failed, seen(2)))
  says(t, check([record(1, 'a', 11)], failed, seen(1)), /returned zeroes/)
  t.end()
})

t.test('reads-match-history: a new era excuses what it cut, and nothing else', (t) => {
  const operations = [write('a', 1, 2), write('b', 3, 4)]
  const eras = [
    { from: 0, cutSeq: 0, log: [record(1, 'a', 11), record(2, 'b', 12)] },
    { from: 5, cutSeq: 1, log: [record(1, 'a', 11)] },
  ]
  says(t, checkReadsMatchHistory({ operations: [...operations, read('r', 6, 7, 11)], eras }))
  says(t, checkReadsMatchHistory({ operations: [...operations, read('r', 6, 7, 0)], eras }), /returned zeroes/)
  says(t, checkAnswered({ operations, eras }))
  // Refused by who was made the primary without it, it may be; before that, or when it was not cut, it may not.
  const refused = (request: string, end: number) => [write(request, 1, end, { result: 'range' })]
  says(t, checkReadsMatchHistory({ operations: refused('b', 6), eras }))
  says(t, checkReadsMatchHistory({ operations: refused('b', 4), eras }), /answered range and is in the log at seq 2/)
  says(t, checkReadsMatchHistory({ operations: refused('a', 6), eras }), /answered range and is in the log at seq 1/)
  t.end()
})

t.test('acknowledged-is-durable', (t) => {
  const member = (node: string, durableSeq: number, epoch = 1): MemberLog => ({
    node,
    storedSeq: 9,
    durableSeq,
    has: (of) => of === epoch,
    hadWritten: () => false,
    hadDurable: () => false,
  })
  const lostPower: MemberLog = { ...member('n2', 4), storedSeq: 4, hadWritten: (_, seq) => seq <= 5 }
  const id = { epoch: 1, seq: 5 }
  says(t, checkAnswer('a', id, [member('n1', 5), member('n2', 7)], true))
  says(t, checkAnswer('a', id, [member('n1', 5), member('n2', 4)], true), /n2 .* only up to 4/)
  says(t, checkAnswer('a', id, [member('n1', 5), member('n2', 4)], false))
  says(t, checkAnswer('a', id, [member('n1', 5), lostPower], false))
  says(t, checkAnswer('a', id, [member('n1', 5), lostPower], true), /n2/)
  says(t, checkAnswer('a', { epoch: 1, seq: 6 }, [lostPower], false), /n2/)
  says(t, checkAnswer('a', id, [member('n1', 5, 2)], true), /n1/)
  says(t, checkAnswer('a', undefined, [], true), /no copy has applied/)
  says(t, checkFlush('f', 5, [member('n1', 5)]))
  says(t, checkBegun(1, 5, [member('n1', 5), member('n2', 6)]))
  says(t, checkBegun(1, 5, [member('n1', 5), member('n2', 4)]), /is not durable on n2/)
  says(t, checkBegun(1, 5, [member('n1', 5, 2)]), /is not durable on n1/)
  says(t, checkFlush('f', 6, [member('n1', 5)]), /covers seq 6/)
  const wasTaken: MemberLog = { ...member('n1', 0), hadDurable: (seq) => seq <= 6 }
  says(t, checkFlush('f', 6, [wasTaken]))
  says(t, checkFlush('f', 7, [wasTaken]), /covers seq 7/)
  says(t, checkAnswer('a', { epoch: 1, seq: 7 }, [wasTaken], true), /n1/)
  says(t, checkAnswered(history([], write('a', 1, 2))), /not in the log/)
  says(t, checkAnswered({ ...history([], write('a', 1, 2)), lost: new Set(['b']) }), /not in the log/)
  says(t, checkAnswered({ ...history([], write('a', 1, 2)), lost: new Set(['a']) }))
  says(t, checkAnswered(history([], write('a', 1, Infinity))))
  t.end()
})

const CONFIG: VolumeConfig = {
  volumeId: 'v',
  epoch: 1,
  primary: 'n1',
  inSync: ['n1', 'n2'],
  members: {
    n1: { copyId: 'a', state: 'in-sync' },
    n2: { copyId: 'b', state: 'in-sync' },
    n3: { copyId: 'c', state: 'catching-up' },
  },
  minInSync: 1,
  attach: { generation: 1, mode: 'single', holders: { c1: 1 } },
  nonce: 'x',
}

t.test('one-primary-per-epoch', (t) => {
  const yes = () => true
  const fresh = () => new OnePrimaryPerEpoch(CONFIG)
  const promoted = withPrimary(CONFIG, 'n2', 'y')!
  says(t, fresh().configured(promoted, yes))
  says(
    t,
    fresh().configured(promoted, (node) => node !== 'n2'),
    /not consistent/,
  )
  const no = () => false
  says(t, fresh().configured({ ...promoted, inSync: ['n1', 'n2'] }, no, 'n1'))
  says(t, fresh().configured({ ...promoted, inSync: ['n1', 'n2'] }, no, 'n2'), /n2 was promoted and is not consistent/)
  says(t, fresh().configured(withMember(CONFIG, 'n3', [], 'z')!, no, 'n1'), /n3 joined and is not consistent/)
  says(t, fresh().configured({ ...promoted, epoch: 1 }, yes), /epoch 1 is/)
  says(t, fresh().configured({ ...promoted, primary: 'n3', inSync: ['n3'] }, yes), /outside the set/)
  says(t, fresh().configured({ ...promoted, epoch: 0 }, yes), /went back/)
  says(t, fresh().configured({ ...CONFIG, minInSync: 2, epoch: 2, inSync: ['n1'] }, yes), /fell below/)
  says(
    t,
    fresh().configured(withMember(CONFIG, 'n3', [], 'z')!, (node) => node !== 'n3'),
    /n3 joined/,
  )
  const checker = fresh()
  checker.configured(withSuccessor(CONFIG, 'n2', 'y')!, yes)
  const what = { kind: 'read' as const, arrivedAt: 5 }
  says(t, checker.served('n1', 1, what))
  says(t, checker.served('n1', 2, what), /serves under epoch 2 of n2/)
  says(t, checker.served('n2', 2, what))
  checker.active(2, 8)
  says(t, checker.served('n1', 1, { ...what, arrivedAt: 7 }))
  says(t, checker.served('n1', 1, { ...what, arrivedAt: 9 }), /while 2 is active/)
  says(t, checker.promiseTold('n3', 4))
  says(t, checker.promiseTold('n3', 3), /from 4 to 3/)
  checker.promiseKept('n3', 4)
  says(t, checker.promiseTold('n3', 5))
  says(t, checker.promiseFound('n3', 4, true))
  says(t, checker.promiseTold('n3', 5))
  checker.promiseKept('n3', 5)
  says(t, checker.promiseFound('n3', 4, true), /came back with promise 4, and had kept 5/)
  says(t, checker.promiseFound('n3', 3, false))
  says(t, checker.promiseTold('n3', 4))
  says(t, checker.promiseUsed('n3', 5, 4), /durable promise is 4/)
  const fence = (...incarnations: Array<[number, number]>) => ({ brokenGeneration: 0, incarnations })
  says(t, checker.fenceUsed('n3', fence([1, 9]), fence([1, 9], [2, 1])))
  says(t, checker.fenceUsed('n3', fence([2, 2]), fence([2, 1])), /answers fence/)
  t.end()
})

t.test('holders', (t) => {
  const shared = { generation: 2, mode: 'shared' as const, holders: { c1: 1, c2: 2 } }
  const config = { ...CONFIG, attach: shared }
  const checker = new Holders(config)
  const what = { kind: 'write' as const, generation: 1, arrivedAt: 5 }
  says(t, checker.opened('n1', 1, 'c1', 1, 1))
  says(t, checker.opened('n1', 1, 'c3', 2, 1), /opens generation 2 of c3/)
  says(t, checker.served('n1', 'c1', what))
  says(t, checker.served('n1', 'c2', what), /serves generation 1 of c2/)
  const without = withoutHolder(config, 'c1', 'x')
  checker.configured(without)
  says(t, checker.served('n1', 'c1', { ...what, arrivedAt: 8 }))
  const added = withHolder(without, 'c3', 'shared', 'x')
  checker.configured(added)
  says(t, checker.opened('n1', 1, 'c3', 3, 10))
  says(t, checker.served('n1', 'c2', { ...what, generation: 2, arrivedAt: 11 }))
  says(t, checker.served('n1', 'c1', { ...what, arrivedAt: 9 }))
  says(t, checker.served('n1', 'c1', { ...what, arrivedAt: 11 }), /serves generation 1 of c1/)
  checker.configured({ ...withoutHolder(added, 'c2', 'x'), epoch: 2 })
  says(t, checker.opened('n2', 2, 'c2', 2, 12), /opens generation 2 of c2/)
  checker.active(2, 13)
  says(t, checker.served('n2', 'c2', { ...what, generation: 2, arrivedAt: 14 }), /serves generation 2 of c2/)
  says(t, checker.refused('c2', 2))
  says(t, checker.refused('c3', 3), /generation 3 of c3 is refused/)
  const readers = new Holders({ ...config, attach: { ...shared, mode: 'read-only' } })
  says(t, readers.served('n1', 'c1', { ...what, kind: 'flush' }))
  says(t, readers.served('n1', 'c1', what), /write of a read-only volume/)
  t.end()
})

t.test('holders: sessions in the log', (t) => {
  const log = [record(1, '1.1.1.0', 11), record(2, '', 0), record(3, '1.2.1.0', 12), record(4, '2.1.1.0', 13)]
  says(t, checkSessionsInOrder(history(log).eras, true))
  const back = [...log, record(5, '1.2.2.0', 14)]
  says(t, checkSessionsInOrder(history(back).eras, true), /seq 5 is of session 1.2, behind one of 2.1/)
  says(t, checkSessionsInOrder(history(back).eras, false))
  const older = [...log, record(5, '1.1.2.0', 14)]
  says(t, checkSessionsInOrder(history(older).eras, false), /seq 5 is of session 1.1, behind one of 1.2/)
  t.end()
})

t.test('copies-identical', (t) => {
  const log = new CommittedLog()
  const never = () => false
  says(t, log.applied('n1', record(1, 'a', 11), 1, never))
  says(t, log.applied('n2', record(1, 'a', 11), 2, never))
  says(t, log.applied('n2', record(1, 'b', 12), 2, never), /was applied there before/)
  says(t, log.applied('n2', record(1, 'a', 13), 2, never), /was applied there before/)
  says(t, log.applied('n2', record(3, 'c', 13), 2, never), /nobody has applied seq 2/)
  says(
    t,
    log.applied('n2', record(1, 'd', 14, { epoch: 9 }), 3, () => true),
  )
  t.equal(log.eras.length, 2)
  says(t, log.applied('n2', record(1, 'a', 11), 4, never, { isOut: true }))
  says(t, log.applied('n2', record(1, 'a', 11), 4, never), /was applied there before/)
  says(t, log.applied('n2', record(2, 'e', 15), 4, never, { isOut: true }))
  t.equal(log.idOf('a'), undefined)
  // What ends late is one history, too: that of who led it.
  says(t, log.applied('n3', record(2, 'e', 15), 4, never, { isOut: true, leads: false }))
  says(t, log.applied('n3', record(2, 'x', 16), 4, never, { isOut: true, leads: true }), /ended late/)
  const silent = new CommittedLog()
  says(t, silent.applied('n1', record(1, 'a', 11), 1, never))
  says(t, silent.late('n2', record(1, 'a', 11), false))
  says(t, silent.late('n2', record(2, 'b', 12), true))
  says(t, silent.late('n3', record(2, 'b', 12), false))
  says(t, silent.late('n3', record(2, 'b', 13), false), /ended late/)
  says(t, silent.late('n3', record(3, 'c', 14), false), /before its primary/)
  // A force may lose what was there before it, and nothing once its own epoch has begun.
  const forced = new CommittedLog()
  const under = (epoch: number, more = {}) => ({ ...more, epoch })
  says(t, forced.applied('n1', record(1, 'a', 11), 1, never))
  says(t, forced.applied('n1', record(2, 'b', 12), 2, never))
  forced.forced(100)
  says(t, forced.applied('n2', record(2, '', 0, { epoch: 100, kind: 'control' }), 3, never, under(100)))
  t.equal(forced.eras.length, 2)
  says(t, forced.applied('n3', record(1, '', 0, { epoch: 101, kind: 'control' }), 4, never, under(101)), /before/)
  says(t, new CommittedLog().applied('n3', record(1, 'a', 11), 1, never, { leads: false }), /before its primary/)
  const head = (stamp: number) => [{ node: 'n1', head: new Map([[0, stamp]]), snapshots: new Map() }]
  says(t, checkContent(head(14), log.log))
  says(t, checkContent(head(11), log.log), /block 0 holds 11, the log says 14/)
  const snapped = [...log.log, record(2, '', 0, { kind: 'control', change: { operation: 'snapshot', id: 's' } })]
  says(t, checkContent(head(14), snapped), /has no snapshot s/)
  says(t, log.applied('n2', record(3, 'f', 15), 4, never, { isOut: true, leads: false }), /before its primary/)
  t.end()
})

t.test('nothing-comes-back', (t) => {
  const trimmed = [record(1, 'a', 11), record(2, 't', 0, { kind: 'trim', stamps: [] })]
  const operations = [write('a', 1, 2), operation('trim', 't', 3, 4)]
  says(t, checkReadsAfterRemoval(history(trimmed, ...operations, read('r', 5, 6, 0))))
  says(t, checkReadsAfterRemoval(history(trimmed, ...operations, read('r', 5, 6, 11))), /removed at seq 2 \(trim\)/)
  says(
    t,
    checkReadsAfterRemoval(history(trimmed, write('a', 1, 2), operation('trim', 't', 3, 7), read('r', 5, 6, 11))),
  )
  const control = (seq: number, change: LoggedRecord['change']) => record(seq, '', 0, { kind: 'control', change })
  const rolledBack = [
    control(1, { operation: 'snapshot', id: 's' }),
    record(2, 'a', 11),
    control(3, { operation: 'rollback', to: 's' }),
  ]
  const copy = (stamp: number) => [{ node: 'n2', head: new Map([[0, stamp]]), snapshots: new Map() }]
  says(t, checkCopiesAfterRemoval(copy(0), rolledBack))
  says(t, checkCopiesAfterRemoval(copy(11), rolledBack), /n2 holds 11 .* \(rollback\)/)
  t.end()
})

t.test('progress', (t) => {
  const quiet = {
    healMs: 1000,
    unanswered: [],
    config: CONFIG,
    healthy: ['n1', 'n2'],
    roles: new Map([['n1', 'primary']]),
  }
  says(t, checkProgress(quiet))
  says(t, checkProgress({ ...quiet, unanswered: [write('a', 1, Infinity)] }), /1 requests without an answer/)
  says(t, checkProgress({ ...quiet, healthy: ['n1', 'n2', 'n3'] }), /n3 not in the in-sync set/)
  t.end()
})
