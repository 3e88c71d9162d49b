/**
 * Risk: what was true when it was said, and arrives when it is not any more. Seeds in which that was found.
 */
import t from 'tap'
import { runSeed } from './run-seed.ts'

t.test('what lies beyond the end of a history that lacks a resize is not back when the volume grows', (t) => {
  t.same(runSeed({ seed: 3076, store: 'real' }).violations, [])
  t.end()
})
