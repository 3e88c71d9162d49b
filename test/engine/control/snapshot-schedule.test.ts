/** When a scheduled snapshot is missing: once for each time at which somebody decides, whatever clocks do. */
import fc from 'fast-check'
import t from 'tap'
import { SCHEDULED_LABEL, missingTime, scheduledAtMs } from '../../../engine/control/snapshot-schedule.ts'
import { SnapshotIndex } from '../../../engine/control/snapshot-index.ts'
import type { Snapshot } from '../../../engine/volume/descriptor.ts'

const HOUR_MS = 3_600_000
const keep = { last: 1, hourly: 0, daily: 0, weekly: 0 }
const hourly = { everyMs: HOUR_MS, keep }
const at = (hours: number): number => hours * HOUR_MS

t.test('one is missing when there is none of the newest time', async (t) => {
  t.equal(missingTime(hourly, [0], at(5.5)), at(5), 'the first one, at once')
  t.equal(missingTime(hourly, [at(5)], at(5.999)), undefined)
  t.equal(missingTime(hourly, [at(5)], at(6)), at(6))
  t.equal(missingTime(hourly, [at(2)], at(6.5)), at(6), 'of what was missed, the newest only')
  t.equal(missingTime(hourly, [at(2), at(6)], at(6.5)), undefined, 'one who knows is enough')
})

t.test('a clock that was ahead neither stops a schedule nor makes two of one time', async (t) => {
  t.equal(missingTime(hourly, [at(100)], at(6.5)), at(6), 'one of the future does not count')
  t.equal(missingTime(hourly, [at(100)], at(100.5)), undefined, 'until it is its time')
  t.equal(missingTime(hourly, [at(6)], at(5.9)), at(5), 'a clock that is behind')
})

t.test('another period: what lies within the new one counts', async (t) => {
  const every5 = { everyMs: 300_000, keep }
  t.equal(missingTime(hourly, [at(5) + 35 * 60_000], at(5) + 37 * 60_000), undefined)
  t.equal(missingTime(every5, [at(5)], at(5) + 37 * 60_000), at(5) + 35 * 60_000)
})

t.test('however seldom and by whatever clocks it is looked at: one a time at most, and one of each time that is seen',
  async () => {
    const look = fc.record({ passMs: fc.nat(3 * HOUR_MS), skewMs: fc.integer({ min: -HOUR_MS, max: HOUR_MS }) })
    fc.assert(fc.property(fc.array(look, { maxLength: 60 }), (some) => {
      let nowMs = at(1000)
      const made = new Set<number>()
      for (const { passMs, skewMs } of some) {
        nowMs += passMs
        const seenMs = nowMs + skewMs
        const missing = missingTime(hourly, [...made], seenMs)
        if (missing !== undefined) {
          if (made.has(missing) || missing > seenMs || missing <= seenMs - HOUR_MS) return false
          made.add(missing)
        }
        // Nothing is missing for who looks again.
        if (missingTime(hourly, [...made], seenMs) !== undefined) return false
      }
      return true
    }))
  })

t.test('the summary of a volume: how many, the newest, and the last time of a schedule', async (t) => {
  const snapshot = (id: string, seq: number, title?: Snapshot['title'], pinnedBy: string | null = null): Snapshot =>
    ({ id, seq, pinnedBy, ...(title === undefined ? {} : { title }) })
  const summaryOf = (list: Snapshot[]) => new SnapshotIndex().follow(list).summary
  const scheduled = (ms: number) => ({ [SCHEDULED_LABEL]: String(ms) })
  t.same(summaryOf([]), { count: 0, newest: '', newestAtMs: 0, newestScheduledAtMs: 0 })
  t.match(summaryOf([snapshot('old', 3)]), { count: 1, newest: 'old', newestAtMs: 0 }, 'of before they had titles')
  const some = [
    snapshot('a', 9, { name: 'hand', createdAtMs: 90, labels: {} }),
    snapshot('b', 4, { name: 'one', createdAtMs: 40, labels: scheduled(40) }),
    snapshot('c', 7, { name: 'two', createdAtMs: 75, labels: scheduled(70) }),
    snapshot('d', 12, { name: 'pinned', createdAtMs: 99, labels: scheduled(95) }, 'a clone'),
  ]
  t.same(summaryOf(some), { count: 3, newest: 'hand', newestAtMs: 90, newestScheduledAtMs: 70 })
  const read = (text: string) => scheduledAtMs({ [SCHEDULED_LABEL]: text })
  for (const text of ['', '-1', '1e9', 'x', '9'.repeat(16)]) t.equal(read(text), undefined)
})
