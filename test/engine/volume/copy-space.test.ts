/** Control records of a copy take space, and each makes the former one dead: the log goes on as long as they come. */
import t from 'tap'
import { CopyWorld, write } from '../../sim/copy-world.ts'

const SEGMENTS = 12

t.test('a log to which only facts are written is cleaned for as long as they come', (t) => {
  const world = new CopyWorld({ seed: 31, segments: SEGMENTS, segmentBytes: 128 * 1024 })
  world.open()
  const { targets: [target] } = world.copy
  world.epoch(1, 1)
  for (let seq = 2; seq <= 60; seq++) {
    world.append(write(1, seq, seq, [100 + seq]))
    world.settle()
    world.copy.apply(seq, {})
  }
  const { stream } = target!
  const { holdSegments } = stream.context
  // Each holds 14 of them.
  for (let epoch = 2; epoch < 2 + 14 * SEGMENTS * 2; epoch++) {
    if (!t.ok(world.keep({ promise: { epoch, primary: 'n1' } }))) break
    if (stream.freeSegments < holdSegments - 1) {
      t.fail(`after ${epoch} facts ${stream.freeSegments} segments are free`)
      break
    }
  }
  t.match(world.readStamps(2, 3), [102, 103, 104])
  t.end()
})

t.test('facts that are given all at once are all kept, though the pool has room for a third of them only', (t) => {
  const world = new CopyWorld({ seed: 32, segments: SEGMENTS, segmentBytes: 128 * 1024 })
  world.open()
  world.epoch(1, 1)
  world.settle()
  const first = 1000
  const last = first + 14 * SEGMENTS * 3
  const kept = new Set<number>()
  world.copy.onEvent = (event) => {
    if (event.type === 'kept') kept.add(event.token)
  }
  for (let epoch = first; epoch <= last; epoch++) world.copy.keep(epoch, { promise: { epoch, primary: 'n1' } })
  world.world.clock.runUntil(() => kept.has(last) || world.copy.failedReason !== '')
  t.equal(kept.size, last - first + 1)
  t.same(world.copy.stored().facts.promise, { epoch: last, primary: 'n1' })
  t.end()
})
