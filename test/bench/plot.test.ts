/** The plot: a bar for each server of each panel, as long as its figure, and nothing that breaks the XML. */
import t from 'tap'
import { plot } from '../../bench/volume/plot.ts'

const bar = (label: string, median: number, isOurs = false) =>
  ({ label, median, least: median / 2, most: median * 1.25, isOurs })

const widths = (svg: string): number[] =>
  [...svg.matchAll(/<rect x="92"[^>]* width="([\d.]+)"/g)].map(([, width]) => Number(width))

t.test('bars are in proportion within a panel, and ours stand out', async (t) => {
  const bars = [bar('durable', 1000, true), bar('qemu-wt', 500), bar('psync', 0)]
  const svg = plot('Title', 'note', [{ title: '4k', unit: 'IOPS', bars }])
  const [ours, theirs, nothing] = widths(svg)
  t.ok(Math.abs(ours! / theirs! - 2) < 0.01)
  t.equal(nothing, 0)
  t.equal(svg.match(/#2f6fdf/g)?.length, 1)
  t.match(svg, />1,000</)
})

t.test('panels have scales of their own and fill the columns from the shortest', async (t) => {
  const panels = [1, 10, 100, 1000].map((value) => ({ title: `p${value}`, unit: 'MB/s', bars: [bar('a', value)] }))
  const svg = plot('Title', 'note', panels)
  t.equal(new Set(widths(svg)).size, 1, 'the longest bar of each is as long')
  t.equal(new Set([...svg.matchAll(/<g transform="translate\((\d+ \d+)\)/g)].map(([, at]) => at)).size, 4)
})

t.test('names are text, whatever they hold', async (t) => {
  const svg = plot('a < b & c', '"quoted"', [{ title: 'x > y', unit: 'IOPS', bars: [bar('<script>', 1)] }])
  t.match(svg, 'a &lt; b &amp; c')
  t.match(svg, '&quot;quoted&quot;')
  t.notMatch(svg, '<script>')
})
