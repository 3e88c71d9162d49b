/** Self times of a profile: callees do not count, idle time is no work. */
import t from 'tap'
import { busyMs, selfTimes } from '../../bench/volume/profile.ts'

t.test('time goes to the function that ran, wherever it was called from', async (t) => {
  const frame = (functionName: string, url = '', lineNumber = -1) => ({ functionName, url, lineNumber })
  const file = 'file:///somewhere/clone/engine/log/log-stream.ts'
  const times = selfTimes({
    nodes: [
      { id: 1, callFrame: frame('(idle)') },
      { id: 2, callFrame: frame('append', file, 9) },
      { id: 3, callFrame: frame('append', file, 9) },
      { id: 4, callFrame: frame('', file, 19) },
    ],
    samples: [1, 2, 3, 4],
    timeDeltas: [5000, 1000, 2000, 500],
  })
  t.same(times, [
    { name: '(idle)', ms: 5 },
    { name: 'append engine/log/log-stream.ts:10', ms: 3 },
    { name: '(anonymous) engine/log/log-stream.ts:20', ms: 0.5 },
  ])
  t.equal(busyMs(times), 3.5)
})
