/** The regression guard's comparison: planted regressions are found; noise and another machine are none. */
import t from 'tap'
import {
  errorOfMedian, LEAST_MARGIN, sentence, verdicts, whyNotCompared, type Accepted, type Costs,
} from '../../bench/guard/verdict.ts'
import { Random } from '../sim/random.ts'

const QUIET = [10, 10.1, 9.9, 10.05, 9.95]
const scaled = (costs: readonly number[], by: number): number[] => costs.map((cost) => cost * by)
const worse = (before: Costs, now: Costs): string[] =>
  verdicts(before, now).filter(({ isWorse }) => isWorse).map(({ name }) => name)

t.test('a planted regression is found, and named', async (t) => {
  const before = { writes: QUIET, reads: scaled(QUIET, 0.3) }
  t.same(worse(before, { ...before, reads: scaled(QUIET, 0.3 * 1.08) }), ['reads'])
  const [one] = verdicts({ writes: QUIET }, { writes: scaled(QUIET, 1.2) })
  t.equal(sentence(one!), 'writes costs more than accepted: 10.00 pieces of work an operation before, ' +
    '12.00 now (+20.0 %), bound 10.50')
})

t.test('what got cheaper, or dearer by less than two runs of the same commit differ, is no regression', async (t) => {
  t.same(worse({ writes: QUIET }, { writes: QUIET }), [])
  t.same(worse({ writes: QUIET }, { writes: scaled(QUIET, 0.5) }), [])
  t.same(worse({ writes: QUIET }, { writes: scaled(QUIET, 1 + 0.9 * LEAST_MARGIN) }), [])
  const [one] = verdicts({ writes: QUIET }, { writes: scaled(QUIET, 0.9) })
  t.match(sentence(one!), /^writes is within bounds: .* 9\.00 now \(-10\.0 %\)/)
})

t.test('rounds that differ widen the bound, on either side', async (t) => {
  const noisy = [10, 12, 8, 11, 9]
  t.ok(errorOfMedian(noisy) > 5 * errorOfMedian(QUIET))
  for (const [before, now] of [[QUIET, noisy], [noisy, QUIET]]) {
    t.same(worse({ writes: before! }, { writes: scaled(now!, 1.1) }), [], '10 % is within their noise')
    t.same(worse({ writes: before! }, { writes: scaled(now!, 1.6) }), ['writes'], '60 % is not')
  }
})

t.test('of a thousand pairs of runs of the same thing few are called worse; of 15 % more few are missed', async (t) => {
  const random = new Random(7)
  const normal = (): number => Array.from({ length: 12 }, () => random.u32() / 2 ** 32).reduce((a, b) => a + b, -6)
  const run = (mean: number): number[] => Array.from({ length: 5 }, () => mean * (1 + 0.03 * normal()))
  let [alarms, missed] = [0, 0]
  for (let i = 0; i < 1000; i++) {
    alarms += worse({ one: run(10) }, { one: run(10) }).length
    missed += 1 - worse({ one: run(10) }, { one: run(11.5) }).length
  }
  t.ok(alarms <= 10, `${alarms} false alarms`)
  t.ok(missed <= 50, `${missed} missed`)
})

t.test('figures of another machine, or of other cases, are not compared', async (t) => {
  const here = { processor: 'A', node: '24.1.0' }
  const accepted: Accepted = { commit: 'abc', ...here, costs: { writes: QUIET } }
  t.equal(whyNotCompared(accepted, here, { writes: QUIET }), undefined)
  t.match(whyNotCompared(undefined, here, {}), /nothing was accepted yet; .*--accept/)
  t.match(whyNotCompared(accepted, { ...here, processor: 'B' }, { writes: QUIET }), /another processor \(A, here B\)/)
  t.match(whyNotCompared(accepted, { ...here, node: '26.0.0' }, { writes: QUIET }), /another node/)
  t.match(whyNotCompared(accepted, here, { writes: QUIET, reads: QUIET }), /only one of the two runs has reads/)
  t.match(whyNotCompared(accepted, here, {}), /only one of the two runs has writes/)
})
