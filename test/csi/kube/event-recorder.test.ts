/** Risk: Events hold up or fail who tells them, flood the API, or grow without end in this process. */
import t from 'tap'
import type { ApiAnswer, ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { EventRecorder } from '../../../csi/kube/event-recorder.ts'
import type { ToldEvent } from '../../../csi/kube/event-recorder.ts'

const PVC = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: 'db', name: 'data-0', uid: 'u1' }
const NODE = { apiVersion: 'v1', kind: 'Node', name: 'worker-1', uid: 'u2' }
const told = (change: Partial<ToldEvent> = {}): ToldEvent =>
  ({ about: PVC, type: 'Warning', reason: 'VolumeDegraded', note: 'a copy is missing', ...change })
const failed = (status: number): ApiAnswer =>
  ({ ok: false, failure: { status, isUnknown: status === 0, reason: 'no' } })

function recorder(answer: (call: ApiCall) => ApiAnswer | undefined = () => undefined) {
  const calls: ApiCall[] = []
  const lines: string[] = []
  const clock = { nowMs: 0, paused: 0 }
  const events = new EventRecorder({
    client: {
      call: async (call) => {
        calls.push(call)
        return answer(call) ?? { ok: true, body: {} }
      },
    },
    component: 'holdfast-controller', instance: 'pod-1', log: (line) => lines.push(line),
    nowMs: () => clock.nowMs, wallMs: () => clock.nowMs,
    pause: async (ms) => {
      clock.nowMs += ms
      clock.paused++
    },
  })
  return { events, calls, lines, clock, settled: () => new Promise((resolve) => setImmediate(resolve)) }
}

t.test('an Event says what happened to which object', async (t) => {
  const { events, calls, settled } = recorder()
  events.tell(told())
  events.tell(told({ about: NODE, type: 'Normal', note: 'x'.repeat(5000) }))
  await settled()
  t.match(calls[0], {
    method: 'POST', path: '/api/v1/namespaces/db/events', body: {
      kind: 'Event', type: 'Warning', reason: 'VolumeDegraded', message: 'a copy is missing', count: 1,
      involvedObject: PVC, source: { component: 'holdfast-controller', host: 'pod-1' },
    },
  })
  t.equal(calls[1]?.path, '/api/v1/namespaces/default/events', 'of what has no namespace')
  const body = calls[1]!.body as { message: string; involvedObject: object }
  t.equal(body.message.length, 1000)
  t.notOk('namespace' in body.involvedObject)
})

t.test('the same again is counted, and put every 30 s at most', async (t) => {
  const { events, calls, clock, settled } = recorder(({ method, path }) =>
    (method === 'PATCH' && clock.nowMs > 100_000 ? failed(404) : path === '' ? failed(500) : undefined))
  for (let i = 0; i < 100; i++) events.tell(told())
  await settled()
  t.equal(calls.length, 1)
  clock.nowMs = 31_000
  events.tell(told())
  await settled()
  t.match(calls[1], { method: 'PATCH', path: /^\/api\/v1\/namespaces\/db\/events\/data-0\.[0-9a-f]{16}$/ })
  t.equal((calls[1]!.body as { count: number }).count, 101)
  clock.nowMs = 110_000
  events.tell(told())
  await settled()
  t.same(calls.slice(2).map(({ method }) => method), ['PATCH', 'POST'], 'forgotten there: put anew')
})

t.test('the rate is bounded, and what waits', async (t) => {
  const { events, calls, clock, lines, settled } = recorder()
  for (let i = 0; i < 2000; i++) events.tell(told({ note: `n ${i}` }))
  for (let i = 0; i < 300; i++) await settled()
  t.equal(calls.length, 501, 'one is on its way while 500 wait')
  t.equal(events.leftOut, 1499)
  t.match(lines, [/too many wait/])
  t.ok(clock.nowMs >= (450 / 5) * 1000 - 1, `${clock.nowMs} ms for 450 beyond the first`)
})

t.test('an API that fails is tried three times, and nobody hears of it', async (t) => {
  for (const [status, tries] of [[0, 3], [503, 3], [429, 3], [403, 1]] as const) {
    const { events, calls, settled } = recorder(() => failed(status))
    events.tell(told())
    for (let i = 0; i < 20; i++) await settled()
    t.equal(calls.length, tries, `status ${status}`)
    t.equal(events.leftOut, 1)
  }
  const { events, calls, settled } = recorder(({ method }) => (method === 'POST' ? failed(0) : undefined))
  events.tell(told())
  for (let i = 0; i < 20; i++) await settled()
  t.same(calls.map(({ method }) => method), ['POST', 'PATCH'], 'what may have been put is not put twice')
})

t.test('its end waits for what is told, and not for ever', async (t) => {
  const { events, calls } = recorder()
  events.tell(told())
  await events.close()
  events.tell(told({ note: 'late' }))
  t.equal(calls.length, 1)
  const silent = new EventRecorder({
    client: { call: () => new Promise(() => undefined) }, component: 'c', instance: 'i', log: () => undefined,
  })
  silent.tell(told())
  await silent.close(10)
})
