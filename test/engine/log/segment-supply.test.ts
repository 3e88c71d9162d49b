/** Risk: a stream prepares the last segments of a disk for itself, and the others wait for ever. */
import t from 'tap'
import { SegmentSupply } from '../../../engine/log/segment-supply.ts'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import type { ClockPort, DiskPort } from '../../../engine/ports.ts'

const SEGMENT_BYTES = 64 * 1024
/** Streams that were told that the disk has none left. */
const shortOf: number[] = []

function supplyOf(grants: SharedSegmentGrants, streamId: number): SegmentSupply {
  const disk = {
    write: (_at: number, _data: unknown, done: (ok: boolean) => void) => void done(true),
    sync: (done: (ok: boolean) => void) => done(true),
  } as unknown as DiskPort
  const clock = { nowMs: () => 0, defer: (run: () => void) => run(), after: () => {} } as unknown as ClockPort
  return new SegmentSupply({
    disk,
    clock,
    grants,
    streamId,
    segmentBytes: SEGMENT_BYTES,
    ahead: 8,
    keepFree: 3,
    logBytes: () => 0,
    onReady: () => {},
    onShort: () => void shortOf.push(streamId),
    onFailed: (reason) => t.fail(reason),
  })
}

t.test('what is prepared ahead leaves every stream something to take', async (t) => {
  const grants = new SharedSegmentGrants(10)
  const [idle, other] = [supplyOf(grants, 0), supplyOf(grants, 1)]
  idle.start()
  other.start()
  t.equal(grants.freeCount(), 3)
  t.ok(other.available >= 3)
  t.type(other.take(), 'number')
})

t.test('the last ones are still handed out, and who gets none is told', async (t) => {
  const grants = new SharedSegmentGrants(3)
  const supply = supplyOf(grants, 0)
  t.type(supply.take(), 'undefined')
  t.same(shortOf, [], 'it has not begun')
  supply.start()
  t.equal(grants.freeCount(), 3, 'none is prepared')
  t.same([supply.take(), supply.take(), supply.take(), supply.take()].map((one) => typeof one),
    ['number', 'number', 'number', 'undefined'])
  t.same(shortOf, [0])
})
