/** Schedules as text: what is read comes back, and everything else is refused with what is allowed. */
import t from 'tap'
import { checkSchedule, scheduleText } from '../../../cluster/api/schedule-request.ts'
import { HoldfastError } from '../../../engine/errors.ts'

t.test('what is read comes back in one form', async (t) => {
  t.same(checkSchedule('every 1h keep-last 24'), {
    everyMs: 3_600_000, keep: { last: 24, hourly: 0, daily: 0, weekly: 0 },
  })
  t.same(checkSchedule('  every 60m  keep-weekly 8 keep-last 0 keep-daily 7 '), {
    everyMs: 3_600_000, keep: { last: 0, hourly: 0, daily: 7, weekly: 8 },
  })
  for (const text of ['every 1m keep-last 1000', 'every 1h keep-last 24 keep-hourly 2 keep-daily 7 keep-weekly 4']) {
    t.equal(scheduleText(checkSchedule(text)), text)
  }
  t.equal(scheduleText(checkSchedule('every 60m keep-daily 7 keep-last 3')), 'every 1h keep-last 3 keep-daily 7')
  for (const text of ['', ' ', 'none']) t.equal(checkSchedule(text), undefined)
  t.equal(scheduleText(undefined), '')
})

t.test('what is refused', async (t) => {
  const table: Array<[text: string, allowed: RegExp]> = [
    ['1h', /e\.g\. `every 1h keep-last 24/],
    ['every 1h', /to keep 1 to 1000 in all/],
    ['every 1h keep 24', /keep-last N/],
    ['every 1h keep-last', /e\.g\. `every/],
    ['every 1h keep-last -1', /keep-last N/],
    ['every 1h keep-last 2 keep-last 3', /each once/],
    ['every 1h keep-last 0', /to keep 1 to 1000/],
    ['every 1h keep-last 600 keep-daily 600', /to keep 1 to 1000/],
    ['every 59s keep-last 1', /every 1m to 8784h/],
    ['every 9000h keep-last 1', /every 1m to 8784h/],
    ['every day keep-last 1', /every 1m to 8784h/],
  ]
  for (const [text, allowed] of table) {
    try {
      checkSchedule(text)
      t.fail(text)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      t.equal(error.code, 'parameter', text)
      t.match(error.message, allowed, text)
    }
  }
})
