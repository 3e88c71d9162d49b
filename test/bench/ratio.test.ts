/** Ratios are taken within a round, then summed up; a round that one side lacks is no round. */
import t from 'tap'
import { ratios, spread } from '../../bench/volume/ratio.ts'

t.test('a spread is median, least and most', async (t) => {
  t.same(spread([3, 1, 2]), { median: 2, least: 1, most: 3 })
  t.same(spread([4, 1, 2, 3]), { median: 2.5, least: 1, most: 4 })
  t.same(spread([7]), { median: 7, least: 7, most: 7 })
  t.ok(Number.isNaN(spread([]).median), 'of nothing: no number')
})

t.test('the machine may slow down between rounds', async (t) => {
  t.same(spread(ratios([100, 50, 200], [50, 25, 100])), { median: 2, least: 2, most: 2 })
})

t.test('rounds that one side lacks are left out', async (t) => {
  t.same(ratios([1, undefined, 3, 4], [2, 2, undefined]), [0.5])
  t.same(ratios([1], [0]), [])
})
