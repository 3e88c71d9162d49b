/**
 * Risk: a long run that is stopped and goes on counts seeds twice, or leaves some out.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { withSection } from '../../proof-page.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { ENDED_PROCESS, ROW_SEEDS, runLong, type LongRunOptions } from './long-run.ts'
import { noTotals, summaryOf } from './run-totals.ts'

const OPTIONS: LongRunOptions = {
  from: 1,
  seeds: 2 * ROW_SEEDS,
  store: 'memory',
  isTwice: false,
  jobs: 1,
  minutes: Infinity,
  keepsGoing: true,
  file: undefined,
}

const told: Array<[found: number, seeds: number]> = []
const whole = await runLong({ ...OPTIONS, progress: (found, totals) => void told.push([found.length, totals.seeds]) })

t.test('what a row found is told when the row ends', async (t) => {
  t.same(told, [
    [0, ROW_SEEDS],
    [0, 2 * ROW_SEEDS],
  ])
})

t.test('in pieces, of which one was stopped, and by several processes it adds up to the same', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'kept', 'run.json')
  t.equal(whole.seeds, OPTIONS.seeds)
  const none = await runLong({ ...OPTIONS, file, minutes: 0 })
  t.same([none, existsSync(file)], [noTotals(), false], 'a bound that is over begins nothing')
  const stop = new AbortController()
  const stopped = { ...OPTIONS, file, stop: stop.signal, progress: () => stop.abort() }
  const first = await runLong(stopped)
  t.equal(first.seeds, ROW_SEEDS, 'what runs is ended and kept')
  t.same(await runLong(stopped), first, 'and nothing is begun')
  const rest = await runLong({ ...OPTIONS, file, jobs: 2, seeds: ROW_SEEDS + 1 })
  t.same({ ...rest, cpuSeconds: 0 }, { ...whole, cpuSeconds: 0 }, 'only what was missing is run, in whole rows')
  const again = await runLong({ ...OPTIONS, file })
  t.same(again, rest, 'nothing is left')
})

t.test('a seed that ends its process is told by its number', async (t) => {
  const ends = `const say = process.send.bind(process)
    process.send = (message) => {
      say(message)
      if (message.began === 13) process.exit(7)
    }`
  process.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(ends)}`
  t.teardown(() => delete process.env.NODE_OPTIONS)
  const { seeds, violations } = await runLong(OPTIONS)
  t.match(violations, [{ seed: 13, checker: ENDED_PROCESS, message: /seed 3 of its row, ended \(7\)/ }])
  t.equal(seeds, ROW_SEEDS, 'the row of before')
})

t.test('a summary, and its place on the page', (t) => {
  const totals = { ...noTotals(), seeds: 1234, operations: 200, kinds: { crash: 3, pause: 5 } }
  const summary = new Map(summaryOf(totals))
  t.equal(summary.get('seeds'), '1,234')
  t.equal(summary.get('faults and actions'), '8, 4.0 for each 100 operations')
  t.equal(summary.get('by kind'), 'pause 5, crash 3')
  const page = 'a\n<!-- sim: written by npm run sim -->\nold\n<!-- end of sim -->\nb\n'
  t.equal(
    withSection(page, 'sim', ['new']),
    'a\n<!-- sim: written by npm run sim -->\nnew\n<!-- end of sim -->\nb\n',
  )
  t.throws(() => withSection('nothing', 'sim', []), /no section/)
  t.end()
})
