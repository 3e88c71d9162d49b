/**
 * Random operations on a store against a model of stamped sectors: overlapping requests, several volumes and disks,
 * tiny segments and caches, kills, power cuts (also while it opens), lost, stale and damaged indexes. A bounded
 * selection; the long run is `node test/crash/run.ts`.
 */
// test-timeout-seconds: 240
import t, { type Test } from 'tap'
import { runModel } from '../../sim/checker/model-run.ts'
import { Random } from '../../sim/random.ts'
import { StoreWorld } from '../../sim/store-world.ts'

const told = (t: Test, outcome: ReturnType<typeof runModel>): void => {
  t.equal(outcome.failure, undefined, outcome.failure ?? 'no run fails')
  t.comment(JSON.stringify(outcome))
}

t.test('one to three disks, everything happens', (t) => {
  told(t, runModel({ from: 1, seeds: 30, operations: 250, mode: 'plain' }))
  t.end()
})

t.test('nothing crashes, much overlaps', (t) => {
  told(t, runModel({ from: 1001, seeds: 12, operations: 600, mode: 'plain', options: { calm: true } }))
  t.end()
})

t.test('a page cache of two pages and checkpoints all the time', (t) => {
  const world = { pagesMax: 2, checkpointBytes: 16 * 1024, pendingMax: 8 }
  told(t, runModel({ from: 2001, seeds: 12, operations: 250, mode: 'plain', options: { world } }))
  t.end()
})

t.test('nearly full', (t) => {
  told(t, runModel({ from: 3001, seeds: 10, operations: 250, mode: 'plain', options: { fill: 0.62 } }))
  t.end()
})

t.test('ranges at any byte', (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const world = new StoreWorld({ seed, segments: 16 })
    const store = world.open()
    const bytes = 1 << 20
    world.await((done) => store.createVolume(world.spec('odd', bytes, { blockSizeBytes: 512 }), done))
    const device = store.device('odd')!
    const model = new Uint8Array(bytes)
    const random = new Random(`bytes ${seed}`)
    for (let i = 0; i < 150; i++) {
      // Most of them in a few blocks, so that they meet.
      const offset = random.int(random.pick([20_000, bytes - 20_000]))
      const length = 1 + random.int(random.pick([3, 5000, 12_000]))
      const kind = random.int(10)
      const errno = world.await<number>((done) => {
        if (kind < 6) {
          const data = random.bytes(new Uint8Array(length))
          model.set(data, offset)
          device.write(offset, data, false, done)
        } else if (kind < 8) {
          model.fill(0, offset, offset + length)
          if (kind === 6) device.trim(offset, length, false, done)
          else device.writeZeroes(offset, length, { noHole: true, fua: false }, done)
        } else {
          const into = new Uint8Array(length).fill(0xa5)
          device.read(offset, into, (errno) => {
            if (Buffer.compare(into, model.subarray(offset, offset + length)) !== 0)
              t.fail(`seed ${seed}: bytes at ${offset} differ`)
            done(errno)
          })
        }
      })
      if (errno !== 0) t.fail(`seed ${seed}: errno ${errno}`)
    }
    const all = new Uint8Array(bytes)
    t.equal(
      world.await<number>((done) => device.read(0, all, done)),
      0,
    )
    t.equal(Buffer.compare(all, model), 0, `seed ${seed}: the whole volume`)
  }
  t.end()
})
