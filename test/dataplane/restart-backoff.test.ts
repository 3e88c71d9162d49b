/** Restarts: quick at first, never busy in a crash loop, quick again once a daemon has settled. */
import t from 'tap'
import { RestartBackoff } from '../../dataplane/restart-backoff.ts'

t.test('doubles to a bound, and starts over after a minute of life', async (t) => {
  const backoff = new RestartBackoff()
  t.same(Array.from({ length: 9 }, () => backoff.delayMs(0)), [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000])
  t.same([59_999, 60_000, 0].map((ranMs) => backoff.delayMs(ranMs)), [5000, 50, 100])
})
