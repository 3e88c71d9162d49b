/** No segment is ever owned twice, alone or with threads racing; initialised and low ones go first. */
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { SharedSegmentGrants } from '../../../engine/log/segment-grants.ts'
import { Random } from '../../sim/random.ts'

t.test('initialised ones first, then the lowest', (t) => {
  const grants = new SharedSegmentGrants(70)
  for (const segment of [69, 31, 64]) grants.setInitialised(segment)
  grants.claim(0, 3)
  const order: Array<number | undefined> = []
  for (let i = 0; i < 6; i++) order.push(grants.grant(1))
  t.same(order, [31, 64, 69, 1, 2, 3])
  t.equal(grants.freeCount(), 63)
  t.same([grants.owner(0), grants.owner(69), grants.owner(4)], [3, 1, undefined])
  grants.release(2)
  grants.release(64)
  t.equal(grants.initialised(64), true, 'stays initialised')
  t.same([grants.grant(0), grants.grant(0), grants.grant(0)], [64, 2, 4])
  t.end()
})

t.test('a full disk grants nothing, whatever the count', (t) => {
  for (const count of [1, 31, 32, 33, 64, 100]) {
    const grants = new SharedSegmentGrants(count)
    const seen = new Set<number>()
    for (let i = 0; i < count; i++) seen.add(grants.grant(0)!)
    t.equal(seen.size, count)
    t.equal(grants.grant(0), undefined)
    t.equal(grants.freeCount(), 0)
    grants.release(count - 1)
    t.equal(grants.grant(0), count - 1)
  }
  t.end()
})

t.test('bugs of the caller stop', (t) => {
  const grants = new SharedSegmentGrants(4)
  grants.claim(1, 0)
  t.throws(() => grants.claim(1, 0), /one stream/)
  t.throws(() => grants.release(2), /once/)
  t.throws(() => grants.claim(4, 0), /of this disk/)
  grants.setGeneration(1, 2 ** 32 - 1)
  t.equal(grants.generation(1), 2 ** 32 - 1)
  t.throws(() => grants.setGeneration(1, 5), /never goes back/)
  t.throws(() => new SharedSegmentGrants(5, grants.buffer), /fits/)
  t.end()
})

t.test('against a plain set, at random', (t) => {
  const random = new Random('grants')
  const grants = new SharedSegmentGrants(50)
  const taken = new Set<number>()
  for (let i = 0; i < 20_000; i++) {
    if (random.chance(0.5)) {
      const free = Array.from({ length: 50 }, (_, segment) => segment).filter((segment) => !taken.has(segment))
      const want = free.find((segment) => grants.initialised(segment)) ?? free[0]
      const got = grants.grant(random.int(3))
      if (got !== want) return t.fail(`granted ${got}, not ${want}`)
      if (got !== undefined) taken.add(got)
    } else if (taken.size > 0) {
      const segment = random.pick([...taken])
      grants.setInitialised(segment)
      grants.release(segment)
      taken.delete(segment)
    }
    if (grants.freeCount() !== 50 - taken.size) return t.fail('free count')
  }
  t.pass('20,000 steps agree')
  t.end()
  return undefined
})

t.test('two threads never own the same segment', (t) => {
  const segmentCount = 40
  const grants = new SharedSegmentGrants(segmentCount)
  // Each thread writes its mark into the segment's cell while it owns it, and finds anything else there a failure.
  const cells = new SharedArrayBuffer(segmentCount * 4)
  const url = new URL('../../../engine/log/segment-grants.ts', import.meta.url).href
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.url).then(({ SharedSegmentGrants }) => {
      const grants = new SharedSegmentGrants(workerData.segmentCount, workerData.grants)
      const cells = new Int32Array(workerData.cells)
      let clashes = 0, granted = 0
      const mine = []
      for (let i = 0; i < 200_000; i++) {
        const segment = mine.length < 30 ? grants.grant(workerData.stream) : undefined
        if (segment !== undefined) {
          granted++
          if (Atomics.compareExchange(cells, segment, 0, workerData.stream + 1) !== 0) clashes++
          mine.push(segment)
        } else if (mine.length > 0) {
          const segment = mine.splice(i % mine.length, 1)[0]
          if (Atomics.compareExchange(cells, segment, workerData.stream + 1, 0) !== workerData.stream + 1) clashes++
          grants.release(segment)
        }
      }
      for (const segment of mine) {
        Atomics.store(cells, segment, 0)
        grants.release(segment)
      }
      parentPort.postMessage({ clashes, granted })
    })`
  let left = 2
  for (const stream of [0, 1]) {
    const worker = new Worker(code, {
      eval: true,
      workerData: { url, segmentCount, grants: grants.buffer, cells, stream },
    })
    worker.once('message', ({ clashes, granted }) => {
      t.equal(clashes, 0)
      t.ok(granted > 1000, `${granted} grants`)
    })
    worker.once('exit', () => {
      if (--left > 0) return
      t.equal(grants.freeCount(), segmentCount)
      t.end()
    })
  }
})
