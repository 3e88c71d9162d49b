/** Requests counted where they begin and end, in any order; the time in which the oldest was held, without a timer. */
import t from 'tap'
import { HELD_AFTER_MS, RequestMeter } from '../../../dataplane/meters/request-meter.ts'
import type { MeteredRequest } from '../../../dataplane/meters/request-meter.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../../dataplane/nbd/protocol.ts'

class Scene {
  nowMs = 1000
  readonly meter = new RequestMeter({
    nowMs: () => this.nowMs,
    after: () => { throw new Error('a meter has no timer') },
    defer: () => { throw new Error('nor anything to put off') },
  })

  begin(type = NBD_CMD_WRITE, lengthBytes = 4096): MeteredRequest {
    const request = { type, lengthBytes, beganMs: 0, older: undefined, newer: undefined }
    this.meter.look()
    this.meter.begin(request)
    return request
  }

  later(ms: number): void {
    this.nowMs += ms
  }
}

t.test('counts, bytes and latencies by operation', async (t) => {
  const scene = new Scene()
  const read = scene.begin(NBD_CMD_READ, 8192)
  const write = scene.begin()
  const flush = scene.begin(NBD_CMD_FLUSH, 0)
  t.match(scene.meter.figures(), { unanswered: 3, oldestMs: 0 })
  scene.later(3)
  scene.meter.end(write, false)
  scene.later(1)
  t.match(scene.meter.figures(), { unanswered: 2, oldestMs: 4, heldMs: 0 })
  const endedMs = scene.meter.end(read, true)
  scene.meter.end(flush, false)
  scene.later(40)
  scene.meter.left([endedMs])
  const { operations, reply, unanswered, oldestMs } = scene.meter.figures()
  const of = (operation: string) => operations.find((one) => one.operation === operation)!
  t.match(of('read'), { requests: 1, errors: 1, bytes: 8192, latency: { sumMs: 4 } })
  t.match(of('write'), { requests: 1, errors: 0, bytes: 4096, latency: { sumMs: 3 } })
  t.match(of('flush'), { requests: 1, errors: 0, bytes: 0, latency: { sumMs: 4 } })
  t.match(of('trim'), { requests: 0 })
  // Bounds: 0.1, 0.25, 0.5, 1, 2.5, 5 ms, ...
  t.equal(of('read').latency.counts[5], 1, 'above 2.5 ms, at most 5')
  t.equal(reply.counts.reduce((sum, count) => sum + count), 1)
  t.equal(reply.sumMs, 40)
  t.match({ unanswered, oldestMs }, { unanswered: 0, oldestMs: 0 })
})

t.test('held is the time in which the oldest waits beyond a second, counted once', async (t) => {
  const scene = new Scene()
  const oldest = scene.begin()
  scene.later(500)
  const second = scene.begin()
  scene.later(HELD_AFTER_MS - 500 + 20)
  t.equal(scene.meter.figures().heldMs, 20, 'who looks sees what has passed')
  t.equal(scene.meter.figures().heldMs, 20, 'once')
  scene.later(2000)
  scene.meter.end(second, false)
  t.equal(scene.meter.figures().heldMs, 2020, 'of two that wait at once, once')
  scene.later(100)
  const third = scene.begin()
  scene.meter.end(oldest, false)
  t.equal(scene.meter.figures().heldMs, 2120)
  scene.later(HELD_AFTER_MS)
  t.equal(scene.meter.figures().heldMs, 2120, 'the next one has a second of its own')
  scene.later(5)
  scene.meter.end(third, false)
  scene.later(10_000)
  t.equal(scene.meter.figures().heldMs, 2125, 'nothing is held while nothing is asked')
})
