/** What `holdfast status` says of scrubs: the oldest, and those that never were, which an age would hide. */
import t from 'tap'
import type { Status } from '../../cluster/api/node-messages.ts'
import { describeScrubs } from '../../cli/status.ts'

const DAY_MS = 86_400_000
const NOW_MS = 100 * DAY_MS

const said = (
  copiesNeverScrubbed: number, oldestScrubAtMs: number, now = { copiesScrubbing: 0, scrubPercent: 0 },
): string[] => {
  const oldest = oldestScrubAtMs === 0 ? { oldestScrubVolume: '', oldestScrubNode: '' } : {
    oldestScrubVolume: 'db', oldestScrubNode: 'n2',
  }
  return describeScrubs({ copiesNeverScrubbed, oldestScrubAtMs, ...oldest, ...now } as Status, NOW_MS)
}

t.test('one line, where there is anything to scrub', async (t) => {
  const oldest = 'scrubs: the oldest deep one ended 6d ago (volume db on n2)'
  t.same(said(0, 0), [], 'a node by itself, a cluster without volumes, or a controller of before')
  t.same(said(3, 0), ['scrubs: no deep one of 3 copies has ended yet'])
  t.same(said(0, NOW_MS - 6 * DAY_MS), [oldest])
  t.same(said(2, NOW_MS - 6 * DAY_MS), [`${oldest}; none has ended yet of 2 other copies`])
  const now = { copiesScrubbing: 2, scrubPercent: 41 }
  t.same(said(2, 0, now), ['scrubs: 2 under way, 41 % of it is done; no deep one of 2 copies has ended yet'])
  t.same(said(0, 0, now), ['scrubs: 2 under way, 41 % of it is done'])
  t.match(said(0, NOW_MS + 1), [/ended 0s ago/], 'a clock that was set back')
})
