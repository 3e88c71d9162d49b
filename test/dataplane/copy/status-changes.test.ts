/** What a worker tells its main thread of its copies: what changed since the last answer it knows, or everything. */
import t from 'tap'
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../../engine/control/node-status.ts'
import type { CopyStatus } from '../../../engine/control/node-status.ts'
import type { DiskStatus } from '../../../engine/volume/volume-spec.ts'
import { KnownStatus, StatusTeller } from '../../../dataplane/copy/status-changes.ts'
import type { StatusChanges } from '../../../dataplane/copy/status-changes.ts'

const copyOf = (volumeId: string, change: Partial<CopyStatus> = {}): CopyStatus => ({
  volumeId, copyId: `copy of ${volumeId}`, role: 'replica', epoch: 1, isConsistent: true, isWhole: true,
  durability: 'durable', durabilityNext: '',
  isVirgin: false, lostSlices: 0, diskUuids: ['one', 'two'], usedBytes: 0, logicalBytes: 0,
  snapshots: 0, newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0, seq: 7, commitSeq: 7, lagBytes: 0,
  hearsPrimary: true, held: '', isPoolFull: false, awaits: [], heldRequests: 0, joining: '', failure: '',
  ...NEVER_SCRUBBED, ...NOTHING_SHARED, ...change,
})

const diskOf = (freeBytes: number): DiskStatus => ({
  uuid: 'one', path: '/d', pool: 'default', tags: [], state: 'online', reason: '', capacityBytes: 100, freeBytes,
  reserveBytes: 0, checksumErrors: 0,
})

function pair() {
  const teller = new StatusTeller()
  const known = new KnownStatus()
  const world = { disks: [diskOf(50)], copies: [copyOf('a'), copyOf('b'), copyOf('c')] }
  /** As a worker makes all of it anew for each answer, and a message port copies it. */
  const answer = (since = known.since): StatusChanges => structuredClone(teller.tell(since, structuredClone(world)))
  const byVolume = (copies: CopyStatus[]) => copies.toSorted((one, other) => (one.volumeId < other.volumeId ? -1 : 1))
  const ask = () => {
    const changes = answer()
    const { disks, copies } = known.take(changes)
    return { changes, disks, copies: byVolume(copies) }
  }
  return { known, world, answer, ask, byVolume }
}

const told = ({ isWhole, copies, gone }: StatusChanges) => ({
  isWhole, copies: copies.map(({ volumeId }) => volumeId), gone,
})

t.test('at first all is told, then what changed', async (t) => {
  const { world, ask } = pair()
  const first = ask()
  t.same(told(first.changes), { isWhole: true, copies: ['a', 'b', 'c'], gone: [] })
  t.same(first.copies, world.copies)
  const second = ask()
  t.same(told(second.changes), { isWhole: false, copies: [], gone: [] })
  t.same(second.copies, world.copies, 'what is not told again is still there')
  t.equal(second.copies[0], first.copies[0], 'as the same object, so that nobody has to compare it')

  world.disks = [diskOf(40)]
  t.same(ask().disks, world.disks, 'disks are told every time')
})

t.test('every field counts', async (t) => {
  const { world, ask } = pair()
  ask()
  const other = (value: CopyStatus[keyof CopyStatus]) =>
    typeof value === 'boolean' ? !value : typeof value === 'number' ? value + 1 : `another ${String(value)}`
  for (const key of Object.keys(copyOf('a')) as Array<keyof CopyStatus>) {
    if (key === 'volumeId') continue
    for (const value of key === 'diskUuids' ? [['one'], ['two', 'one'], []] : [other(copyOf('b')[key])]) {
      world.copies[1] = { ...world.copies[1]!, [key]: value }
      const { changes, copies } = ask()
      t.same(told(changes).copies, ['b'], `${key}: ${String(value)}`)
      t.same(copies, world.copies)
    }
  }
})

t.test('what comes and goes', async (t) => {
  const { world, ask, byVolume } = pair()
  ask()
  world.copies = [copyOf('c', { seq: 8 }), copyOf('a'), copyOf('d')]
  const { changes, copies } = ask()
  t.same(told(changes), { isWhole: false, copies: ['c', 'd'], gone: ['b'] })
  t.same(copies, byVolume(world.copies))
  world.copies = [copyOf('a'), copyOf('b'), copyOf('d')]
  const next = ask()
  t.same(told(next.changes), { isWhole: false, copies: ['b'], gone: ['c'] }, 'as many as before')
  t.same(next.copies, world.copies)
  world.copies = []
  t.same(ask().copies, [])
  t.same(told(ask().changes), { isWhole: false, copies: [], gone: [] }, 'once')
})

t.test('an answer that got lost is followed by a whole one', async (t) => {
  const { world, answer, ask } = pair()
  ask()
  world.copies = [copyOf('a'), copyOf('b', { role: 'primary' })]
  t.same(told(answer()), { isWhole: false, copies: ['b'], gone: ['c'] }, 'nobody takes it')
  const { changes, copies } = ask()
  t.same(told(changes), { isWhole: true, copies: ['a', 'b'], gone: [] })
  t.same(copies, world.copies)
  t.same(told(ask().changes), { isWhole: false, copies: [], gone: [] }, 'from then on what changed')
})

t.test('two questions at a time, and somebody who knows nothing', async (t) => {
  const { known, world, answer, ask } = pair()
  ask()
  const { since } = known
  world.copies[0] = copyOf('a', { seq: 8 })
  const first = answer(since)
  world.copies[0] = copyOf('a', { seq: 9 })
  const second = answer(since)
  t.same([told(first).copies, told(second).isWhole], [['a'], true], 'the second was asked before the first was known')
  t.equal(known.take(first).copies.find(({ volumeId }) => volumeId === 'a')?.seq, 8)
  t.equal(known.take(second).copies.find(({ volumeId }) => volumeId === 'a')?.seq, 9)

  world.copies = [copyOf('a', { seq: 10 })]
  t.same(told(answer(0)), { isWhole: true, copies: ['a'], gone: [] }, 'a stranger is told all')
  const { changes, copies } = ask()
  t.same([changes.isWhole, copies], [true, world.copies], 'and whoever asked before him, too')

  const next = answer()
  answer()
  known.take(next)
  world.copies[0] = copyOf('a', { seq: 11 })
  const skipped = { ...answer(), isWhole: false, number: known.since + 2 }
  t.throws(() => known.take(skipped), 'changes of something else are not taken')
})
