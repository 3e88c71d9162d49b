/**
 * Power cuts at the disk operations of a scripted run (C1), of short sequences of operations (C2), and while the
 * store comes back, three deep (C3): all that was written, only what was synced, single writes missing, torn at 512 B
 * and 4 KiB; with the index as it was, without its last batch, and lost. A selection; CRASH_ALL=1 takes every
 * operation and all sequences of up to three, `node test/crash/run.ts` many seeds.
 */
// test-timeout-seconds: 1800
import t from 'tap'
import { ALPHABET, cutEverywhere, SCRIPT, sequences, trySequence } from '../sim/checker/crash-cases.ts'

t.setTimeout(1_800_000)
const ALL = process.env.CRASH_ALL === '1'

t.test('C1: a power cut at every operation of a script', (t) => {
  const counts = { runs: 0, images: 0, seconds: 0 }
  for (const [seed, first] of [
    [1, 0],
    [2, 1],
  ] as const)
    cutEverywhere(SCRIPT, { seed, choicesMost: ALL ? 12 : 6, stride: ALL ? 1 : 3, first }, counts)
  t.ok(counts.images > 1000, `${counts.images} images in ${counts.seconds.toFixed(1)} s`)
  t.end()
})

t.test('C1: two disks', (t) => {
  const counts = { runs: 0, images: 0, seconds: 0 }
  const options = {
    world: {
      disks: 2,
      segments: 12,
      segmentBytes: 64 * 1024,
      pagesMax: 3,
      checkpointBytes: 64 * 1024,
      pendingMax: 20,
    },
  }
  cutEverywhere(SCRIPT, { seed: 3, choicesMost: 4, stride: ALL ? 1 : 5, options }, counts)
  t.ok(counts.images > 200, `${counts.images} images in ${counts.seconds.toFixed(1)} s`)
  t.end()
})

t.test('C2: short sequences of operations', (t) => {
  const counts = { runs: 0, images: 0, seconds: 0 }
  for (const length of ALL ? [1, 2, 3] : [1, 2]) {
    let n = 0
    for (const letters of sequences(length)) {
      // All single ones; of pairs every letter comes before and behind several others.
      if (!ALL && length === 2 && (n++ * 7) % 16 > 4) continue
      try {
        trySequence(
          letters,
          { choicesMost: 3, stride: ALL || length === 1 ? 1 : 3, first: n, indexes: ['all', 'lost'] },
          counts,
        )
      } catch (error) {
        t.fail(`${letters.join(', ')}: ${(error as Error).stack}`)
      }
    }
  }
  t.ok(
    counts.runs > Object.keys(ALPHABET).length,
    `${counts.runs} sequences, ${counts.images} images in ${counts.seconds.toFixed(1)} s`,
  )
  t.end()
})

t.test('C3: a crash while the store comes back from a crash while it comes back', (t) => {
  const counts = { runs: 0, images: 0, seconds: 0 }
  for (let seed = 1; seed <= (ALL ? 20 : 2); seed++)
    cutEverywhere(
      SCRIPT,
      { seed, choicesMost: 3, stride: ALL ? 5 : 23, first: seed, depth: 2, indexes: ['all', 'lost'] },
      counts,
    )
  t.ok(counts.images > 1000, `${counts.images} images in ${counts.seconds.toFixed(1)} s`)
  t.end()
})
