/**
 * Risk: the elected node decides by what was not told it, because it was taken for a figure; or it never hears of a
 * copy that is written all the time, because others are told first.
 */
import t from 'tap'
import { figuresShare, ReportedCopies } from '../../../cluster/reconcile/report-changes.ts'
import type { Changes } from '../../../cluster/reconcile/report-changes.ts'
import type { CopyStatus, NodeStatus } from '../../../engine/control/node-status.ts'
import { paperCopy, paperDisks } from '../../../bench/scale/paper-records.ts'

const IDS = ['a', 'b', 'c', 'd', 'e']
const statusOf = (copies: CopyStatus[]): NodeStatus =>
  ({ node: 'n1', instance: 'i', isOpen: true, disks: paperDisks('n1'), copies })
const fresh = (): CopyStatus[] => IDS.map((id) => paperCopy(id, 'n1', 'replica'))
const written = (copy: CopyStatus, seq: number): CopyStatus => ({
  ...copy, seq, commitSeq: seq, usedBytes: seq * 4096, logicalBytes: seq * 4096, heldRequests: seq % 3,
})
const ids = ({ status }: Changes): string[] => status.copies.map(({ volumeId }) => volumeId)

function told(share: number): { reported: ReportedCopies; take(copies: CopyStatus[]): Changes } {
  const reported = new ReportedCopies()
  const take = (copies: CopyStatus[]): Changes => {
    const changes = reported.changes(statusOf(copies))
    reported.answered(changes, { isTaken: true, ticket: 't', beats: '', figures: share })
    return changes
  }
  return { reported, take }
}

t.test('of copies that are written so many are told as are asked for, each in its turn', async (t) => {
  const { take } = told(2)
  t.match(take(fresh()), { isWhole: true })
  const turns = [1, 2, 3, 4, 5].map((seq) => ids(take(fresh().map((copy) => written(copy, seq)))).join(''))
  t.same(turns, ['ab', 'cd', 'ea', 'bc', 'de'])
})

t.test('what is not said is told of all', async (t) => {
  const { take } = told(0)
  take(fresh())
  t.same(ids(take(fresh().map((copy) => written(copy, 1)))), IDS)
})

t.test('what decides is told at once, beside those whose turn it is, and with its figures', async (t) => {
  const { take } = told(1)
  const copies = fresh()
  take(copies)
  const decisive: Array<Partial<CopyStatus>> = [
    { role: 'primary' }, { epoch: 2 }, { isConsistent: false }, { isWhole: false }, { durability: 'writeback' },
    { durabilityNext: 'writeback' }, { isVirgin: true }, { lostSlices: 1 }, { diskUuids: ['x'] },
    { hearsPrimary: false }, { held: 'why' }, { isPoolFull: true }, { awaits: ['n2'] }, { failure: 'why' },
    { sharedSlices: 1 }, { isHydrating: true }, { lostBlocks: 1 }, { levels: 1 }, { readers: 1 },
    { isLastReader: true }, { joining: 'why' }, { lagBytes: 1 }, { snapshots: 1 },
  ]
  for (const [i, change] of decisive.entries()) {
    const now = copies.map((copy) => written(copy, i + 1))
    now[4] = { ...now[4]!, ...change }
    const found = take(now)
    t.equal(found.status.copies.length, 2, JSON.stringify(change))
    t.same(found.status.copies.find(({ volumeId }) => volumeId === 'e'), now[4])
    take(copies.map((copy, at) => (at === 4 ? copy : written(copy, i + 1))))
  }
})

t.test('that an empty copy is empty no more is told at once, and so is the contrary', async (t) => {
  const { take } = told(1)
  const empty = fresh().map((copy) => ({ ...copy, logicalBytes: 0 }))
  take(empty)
  const busy = empty.map((copy) => ({ ...copy, seq: 1 }))
  busy[4] = { ...busy[4]!, logicalBytes: 4096 }
  t.same(ids(take(busy)).toSorted(), ['a', 'e'])
  const erased = busy.map((copy) => ({ ...copy, seq: 2, logicalBytes: 0 }))
  t.same(ids(take(erased)).toSorted(), ['b', 'e'])
})

t.test('figures of a copy that its node does not know the fate of are always told', async (t) => {
  const { take } = told(1)
  const virgin = (seq: number) => fresh().map((copy) => ({ ...written(copy, seq), isVirgin: true }))
  take(virgin(0))
  t.same(ids(take(virgin(1))), IDS, 'a clone begins behind a seq')
})

t.test('an answer that it was not taken: all again; what is gone is told', async (t) => {
  const { reported, take } = told(1)
  take(fresh())
  t.match(take(fresh().slice(1)), { isWhole: false, gone: ['a'] })
  const changes = reported.changes(statusOf(fresh()))
  t.same(ids(changes), ['a'])
  reported.answered(changes, { isTaken: false, ticket: 't', beats: '', figures: 1 })
  t.match(reported.changes(statusOf(fresh())), { isWhole: true })
})

t.test('a small cluster tells of all, a large one of a few each', async (t) => {
  t.same([1, 3, 100, 1000].map(figuresShare), [2000, 666, 20, 4])
})
