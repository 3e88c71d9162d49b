/**
 * Risk: a case in which others lost data, or stood still for ever, is only met by luck. Each file here is such a case.
 *
 *   node test/scenario/scenario.test.ts PIECE ... [--trace]    only files whose names hold one of the pieces
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runScenario } from './scenario.ts'

const pieces = process.argv.slice(2).filter((word) => !word.startsWith('--'))
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.txt'))
const chosen = files.filter((name) => pieces.length === 0 || pieces.some((piece) => name.includes(piece)))

for (const name of chosen.sort()) {
  const text = readFileSync(join(import.meta.dirname, name), 'utf8')
  t.test(name, (t) => {
    t.match(text, /^# /, 'it begins with what others got wrong')
    for (const store of ['memory', 'real'] as const) {
      const { failure, trace } = runScenario(text, store)
      t.equal(failure, undefined, store)
      if (process.argv.includes('--trace')) process.stdout.write(`${trace}\n`)
    }
    t.end()
  })
}

t.test('the page on what is proved counts them', (t) => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/proof.md'), 'utf8')
  const counts = [...page.matchAll(/(\d+) scenarios,|`test\/scenario` has (\d+) cases/g)]
  t.same(counts.map(([, row, text]) => Number(row ?? text)), [files.length, files.length])
  t.end()
})

t.test('what is not so is found', (t) => {
  const failure = (text: string) => runScenario(text).failure
  t.match(failure('write c1 0 as a\nread c1 0 is zeroes'), /line 2: block 0 is a, not zeroes/)
  t.match(failure('now primary n2'), /line 1: not so: primary n2/)
  t.match(failure('evict n1'), /line 1: there is nothing to change/)
  t.match(failure('isolate n1 n2 n3\nwrite c1 0'), /line 2: it does not come true: write is answered/)
  t.match(failure('jump n1'), /line 1: an unknown word: jump/)
  t.end()
})
