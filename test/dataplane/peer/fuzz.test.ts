/** Risk: bytes nobody thought of. Some seconds of each fuzzer; `npm run fuzz -- peer-frames` runs as long as wished. */
import t from 'tap'
import { fuzz as fuzzFrames } from '../../fuzz/peer-frames.ts'
import { fuzz as fuzzPreface } from '../../fuzz/peer-preface.ts'

t.test('frames', async (t) => {
  for (let seed = 1; seed <= 3000; seed++) fuzzFrames(seed)
  t.pass('3000 seeds')
})

t.test('prefaces', async (t) => {
  for (let seed = 1; seed <= 3000; seed++) fuzzPreface(seed)
  t.pass('3000 seeds')
})
