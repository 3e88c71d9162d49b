/**
 * Risk: a change that was painted is not told after it was written, or bytes that are no change set are taken for one.
 */
import t, { type Test } from 'tap'
import { addChanges, CHANGE, ChangePaint, encodeChanges } from '../../../engine/log/change-set.ts'
import { SLICE_BLOCKS } from '../../../engine/units.ts'
import { Random } from '../../sim/random.ts'

function same(t: Tap, paint: ChangePaint, what: string): number {
  const bytes = encodeChanges(paint)
  const other = new ChangePaint()
  t.ok(addChanges(bytes, other), what)
  t.ok(Buffer.compare(paint.kinds, other.kinds) === 0, `${what}: the same blocks`)
  for (let page = 0; page < other.pages.length; page++) {
    const has = other.kinds.subarray(page * 256, (page + 1) * 256).some((kind) => kind !== 0)
    if (has !== (other.pages[page] !== 0)) t.fail(`${what}: page ${page}`)
  }
  return bytes.length
}
type Tap = Pick<Test, 'ok' | 'fail'>

t.test('the ends of a slice, all of it, and nothing', (t) => {
  const paint = new ChangePaint()
  t.equal(same(t, paint, 'nothing'), 1)
  paint.put(0, 1, CHANGE.written)
  paint.put(SLICE_BLOCKS - 1, 1, CHANGE.look)
  same(t, paint, 'both ends')
  paint.put(0, SLICE_BLOCKS, CHANGE.look)
  t.ok(same(t, paint, 'all') < 8)
  t.ok(paint.hasLook(1023))
  paint.put(1023 * 256, 256, CHANGE.written)
  t.notOk(paint.hasLook(1023), 'what is painted later counts')
  paint.clear()
  t.notOk(paint.kinds.some((kind) => kind !== 0))
  t.end()
})

t.test('what changed here and there takes three bytes a block, whatever changed an eighth of a byte each', (t) => {
  const random = new Random('changes')
  const paint = new ChangePaint()
  for (let i = 0; i < 2600; i++) paint.put(random.int(SLICE_BLOCKS), 1, CHANGE.written)
  t.ok(same(t, paint, 'one in a hundred') < 2600 * 2.6)
  for (let at = 0; at < SLICE_BLOCKS; at += 2) paint.put(at, 1, at % 4 === 0 ? CHANGE.look : CHANGE.written)
  t.ok(same(t, paint, 'each second one') <= 1 + SLICE_BLOCKS / 4)
  t.end()
})

t.test('values are added up in any order', (t) => {
  const [trimmed, written] = [new ChangePaint(), new ChangePaint()]
  trimmed.put(10, 20, CHANGE.look)
  written.put(15, 25, CHANGE.written)
  for (const order of [[trimmed, written], [written, trimmed]]) {
    const both = new ChangePaint()
    for (const one of order) t.ok(addChanges(encodeChanges(one), both))
    const runs: number[][] = []
    both.eachRun(0, SLICE_BLOCKS, (...run) => runs.push(run))
    t.same(runs, [[10, 20, CHANGE.look], [30, 10, CHANGE.written]])
  }
  t.end()
})

t.test('other bytes are refused', (t) => {
  const paint = new ChangePaint()
  for (const bytes of [[], [0], [3, 1, 1], [1, 128], [1, 5], [1, 255, 255, 255, 127, 0], [2], [1, 0, 255, 255, 255, 1]])
    t.notOk(addChanges(Uint8Array.from(bytes), paint), bytes.join())
  const random = new Random('bytes')
  for (let i = 0; i < 2000; i++) {
    const bytes = Uint8Array.from({ length: random.int(12) }, () => random.int(256))
    bytes[0] = 1
    addChanges(bytes, paint)
  }
  t.equal(paint.kinds.length, SLICE_BLOCKS)
  t.end()
})
