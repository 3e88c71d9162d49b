/** What is asked about snapshots is answered as if the list were looked through. */
import t from 'tap'
import { SnapshotIndex } from '../../../engine/control/snapshot-index.ts'
import { SCHEDULED_LABEL } from '../../../engine/control/snapshot-schedule.ts'
import type { Snapshot } from '../../../engine/volume/descriptor.ts'
import { Random } from '../../sim/random.ts'

const NONE = { ids: [], names: [], after: { seq: 0, id: '' }, limit: 0 }

t.test('by id, by name and by page, while snapshots come and go', (t) => {
  const random = new Random('snapshot index')
  const index = new SnapshotIndex()
  let list: Snapshot[] = []
  for (let seq = 1; seq <= 400; seq++) {
    if (list.length > 0 && random.chance(0.4)) {
      const gone = list[random.int(list.length)]
      list = list.filter((one) => one !== gone)
    } else {
      const labels = random.chance(0.3) ? { [SCHEDULED_LABEL]: `${random.int(1000)}` } : { of: `${seq}` }
      const title = { name: `n${random.int(20)}`, createdAtMs: seq, labels }
      const kind = random.int(4)
      const one: Snapshot = { id: `s${random.int(10_000)}-${seq}`, seq, pinnedBy: kind === 0 ? 'clone' : null }
      list = [...list, { ...one, ...(kind === 1 ? {} : { title }) }]
      // What a rollback keeps stands at the seq of a snapshot right before it.
      if (kind === 2) list = [...list, { id: `kept-${seq}`, seq, pinnedBy: null }]
    }
    index.follow(list)
    const shown = list.filter(({ pinnedBy }) => pinnedBy === null)
    const inOrder = [...shown].sort((a, b) => a.seq - b.seq || (a.id < b.id ? -1 : 1))
    const last = inOrder.at(-1)
    t.same(index.summary, {
      count: shown.length,
      newest: last?.title?.name ?? last?.id ?? '',
      newestAtMs: last?.title?.createdAtMs ?? 0,
      newestScheduledAtMs: Math.max(0, ...shown.map(({ title }) => Number(title?.labels[SCHEDULED_LABEL] ?? 0))),
    })
    t.equal(index.bytes, list.length === 0 ? 0 : JSON.stringify(list).length - 1)
    const ids = shown.map(({ id }) => id)
    const found = index.answer({ ...NONE, limit: 1000 }).snapshots.map(({ id }) => id)
    t.same(found, inOrder.map(({ id }) => id))
    const paged: string[] = []
    for (let after = NONE.after; ; ) {
      const page = index.answer({ ...NONE, after, limit: 3 }).snapshots
      paged.push(...page.map(({ id }) => id))
      const last = page.at(-1)
      if (last === undefined) break
      after = { seq: last.seq, id: last.id }
    }
    t.same(paged, found)
    const wanted = { ...NONE, ids: ids.slice(0, 1), names: ['n3'] }
    const expected = shown.filter(({ id, title }) => id === ids[0] || title?.name === 'n3').map(({ id }) => id)
    t.same(index.answer(wanted).snapshots.map(({ id }) => id).sort(), expected.sort())
  }
  t.end()
})

t.test('a page goes on behind a snapshot that was deleted meanwhile', (t) => {
  const list = [2, 4, 6].map((seq): Snapshot => ({ id: `s${seq}`, seq, pinnedBy: null }))
  const index = new SnapshotIndex().follow(list)
  index.follow([list[0]!, list[2]!])
  t.same(index.answer({ ...NONE, after: { seq: 4, id: 's4' }, limit: 5 }).snapshots.map(({ id }) => id), ['s6'])
  t.same(index.answer({ ...NONE, ids: ['s4'] }).snapshots, [])
  t.end()
})

t.test('without a title it is called by its id', (t) => {
  const index = new SnapshotIndex().follow([{ id: 'old', seq: 9, pinnedBy: null }])
  const told = { id: 'old', name: 'old', seq: 9, sizeBytes: 0, createdAtMs: 0, labels: {}, group: '' }
  t.same(index.answer({ ...NONE, names: ['old'] }), { count: 1, bytes: index.bytes, snapshots: [told] })
  t.end()
})
