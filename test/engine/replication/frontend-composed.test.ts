/** Risk: the memory of a write is given away while it may be sent again, or never. */
import t from 'tap'
import { FrontendBench } from './frontend-bench.ts'

const cells = (value: number): number[] => [value, value, value, value]

t.test('what was composed ends with the last answer, when all parts were answered well', async (t) => {
  const bench = new FrontendBench({ partBytesMax: 4096 }).open()
  bench.write(1, 0, [...cells(1), ...cells(2)])
  const [first, second] = bench.requests()
  bench.reply(first!)
  t.same(bench.ended, [], 'the other part may be sent again')
  bench.reply(second!)
  t.same(bench.ended, [cells(1), cells(2)])
  bench.reply(second!)
  t.equal(bench.ended.length, 2, 'once')
})

t.test('a write that a copy refused or nobody waits for', async (t) => {
  const bench = new FrontendBench({ partBytesMax: 4096 }).open()
  bench.write(1, 0, [...cells(1), ...cells(2)])
  for (const [i, part] of bench.requests().entries())
    bench.reply(part, i === 0 ? { ok: true, versions: [] } : { ok: false, code: 'no-space' })
  t.same(bench.ended, [], 'it may be on its way still')
  bench.block(2, 5, 7, 2)
  const write = bench.request()
  bench.step({ type: 'connection-closed', connection: 2 })
  t.same(bench.ended, [], 'a copy may have it, and be asked again')
  bench.reply(write)
  t.same(bench.ended, [cells(7)], 'answered, wanted or not')
})

t.test('of a narrow write that was merged twice the second', async (t) => {
  const bench = new FrontendBench().open()
  bench.write(1, 1, [5])
  bench.reply(bench.request())
  const first = bench.request()
  bench.reply(first, { ok: false, code: 'edge-changed' })
  bench.reply(bench.request())
  bench.reply(bench.request())
  t.same(bench.ended, [[0, 5, 0, 0]], 'the first may lie with who refused it')
})
