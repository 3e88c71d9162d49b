/** The parts of a run add up to it, whoever ran beside whom. */
import t from 'tap'
import { RunParts } from './run-parts.ts'

t.test('each moment is divided among those under way', (t) => {
  const parts = new RunParts()
  parts.began('a', 10)
  parts.began('b', 12)
  parts.began('c', 14)
  t.equal(parts.ended('a', 17), 2 + 1 + 1)
  t.equal(parts.ended('b', 17), 1 + 1)
  t.equal(parts.ended('c', 20), 1 + 3)
  parts.began('later', 30)
  t.equal(parts.ended('later', 31), 1, 'nobody has what nothing ran in')
  t.end()
})
