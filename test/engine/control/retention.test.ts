/** Which snapshots a rule keeps, and that it deletes nothing that it was not asked to. */
import fc from 'fast-check'
import t from 'tap'
import { retained } from '../../../engine/control/retention.ts'
import type { RetentionRule } from '../../../engine/control/retention.ts'

const NONE: RetentionRule = { last: 0, hourly: 0, daily: 0, weekly: 0 }

/** One for each time, in that order. */
const made = (...times: string[]) => times.map((time, index) => ({
  id: time, seq: index + 1, createdAtMs: time.startsWith('?') ? 0 : Date.parse(`${time}:00Z`),
}))

const kept = (times: readonly string[], rule: Partial<RetentionRule>): string[] =>
  [...retained(made(...times), { ...NONE, ...rule })].sort()

t.test('the newest, and the newest of each period in which there are any', async (t) => {
  const times = [
    '2026-11-22T23:59', '2026-11-23T00:00', '2026-11-29T10:00',
    '2026-11-30T04:10', '2026-11-30T04:50', '2026-11-30T05:00',
  ]
  t.same(kept(times, { last: 2 }), times.slice(4))
  t.same(kept(times, { last: 9 }), times)
  t.same(kept(times, { hourly: 2 }), [times[4], times[5]], '04:50 for 4 o\'clock')
  t.same(kept(times, { daily: 2 }), [times[2], times[5]])
  t.same(kept(times, { daily: 3 }), [times[1], times[2], times[5]], 'days without any do not count')
  t.same(kept(times, { weekly: 2 }), [times[2], times[5]], 'the 30th is a Monday, the 29th the week before')
  t.same(kept(times, { weekly: 3 }), [times[0], times[2], times[5]], 'and the 22nd a Sunday')
  t.same(kept(times, { last: 1, daily: 2 }), [times[2], times[5]], 'for any reason')
  t.same(kept([...times, '?'], { last: 1 }), [times[5], '?'].sort(), 'of no known time: kept')
  t.same(kept(times, {}), [])
})

t.test('any snapshots, any rule: at most what was asked for, the newest always, more keeps more', async () => {
  const snapshots = fc.array(fc.integer({ min: 1, max: 4e12 }), { maxLength: 30 })
    .map((times) => times.map((createdAtMs, seq) => ({ id: `${seq}`, seq, createdAtMs })))
  const count = fc.integer({ min: 0, max: 5 })
  const rules = fc.record({ last: count, hourly: count, daily: count, weekly: count })
  fc.assert(fc.property(snapshots, rules, rules, (all, a, b) => {
    const first = retained(all, a)
    const { last, hourly, daily, weekly } = a
    const most = last + hourly + daily + weekly
    const isNewestKept = all.length === 0 || most === 0 || first.has(all.at(-1)!.id)
    const more = { last: last + b.last, hourly: hourly + b.hourly, daily: daily + b.daily, weekly: weekly + b.weekly }
    const second = retained(all, more)
    return first.size <= most && isNewestKept && [...first].every((id) => second.has(id))
  }))
})
