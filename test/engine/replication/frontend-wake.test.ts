/** A frontend is woken for everything it waits for, also by a timer that is late. */
import t from 'tap'
import { createFrontend, stepFrontend } from '../../../engine/replication/frontend.ts'
import type { FrontendEvent, FrontendPort } from '../../../engine/replication/frontend-port.ts'
import { OPTIONS } from './frontend-bench.ts'

t.test('an event between the time of a timer and its tick takes nothing away', (t) => {
  const state = createFrontend(OPTIONS)
  let askedMs = Infinity
  let token = 0
  const port: FrontendPort = {
    send: () => undefined,
    answer: () => undefined,
    readConfig: (of) => (token = of),
    wakeAt: (atMs) => (askedMs = Math.min(askedMs, atMs)),
    compose: () => ({ bytes: 0, data: undefined }),
    composedEnded: () => undefined,
  }
  let nowMs = 1000
  const step = (event: FrontendEvent): void => stepFrontend(state, event, nowMs, port)
  step({ type: 'tick' })
  step({ type: 'config-read', token, ok: false, value: undefined })
  const first = askedMs
  t.ok(first < Infinity, 'it looks again')
  nowMs = first + 5
  step({ type: 'request', connection: 1, tag: 1, operation: { type: 'flush' } })
  step({ type: 'config-read', token, ok: false, value: undefined })
  t.equal(askedMs, first, 'the timer is late, and asked for its earliest')
  askedMs = Infinity
  step({ type: 'tick' })
  t.ok(askedMs < Infinity, 'it has not forgotten the later one')
  t.end()
})
