/** The simulated ports keep their own promises: what a crash may lose, what it must not, and that a seed repeats. */
import t from 'tap'
import { SimClock } from './clock.ts'
import { SimDisk, type CrashChoice } from './disk.ts'
import { SimIndex } from './index.ts'
import { Random } from './random.ts'

const block = (fill: number) => new Uint8Array(4096).fill(fill)
const never = () => {
  throw new Error('must not be called')
}

function diskOf(seed: number, writeNowChance = 0) {
  const random = new Random(seed)
  const clock = new SimClock(random.fork('clock'))
  const disk = new SimDisk({ sizeBytes: 1 << 20, clock, random: random.fork('disk'), writeNowChance })
  return { clock, disk, random }
}

t.test('a seed repeats, another one differs', (t) => {
  const draw = (seed: number | string) => {
    const random = new Random(seed)
    return [random.u32(), random.u32(), random.float(), random.fork().u32()]
  }
  t.same(draw(1), draw(1))
  t.notSame(draw(1), draw(2))
  t.notSame(draw(1), draw(2 ** 32 + 1))
  const random = new Random('even')
  const seen = new Array<number>(10).fill(0)
  for (let i = 0; i < 10_000; i++) seen[random.int(10)]!++
  t.ok(seen.every((count) => count > 850 && count < 1150), seen.join())
  t.end()
})

t.test('the clock runs in order of time, defers to the end of a turn and skips what was cancelled', (t) => {
  const clock = new SimClock()
  const ran: string[] = []
  clock.after(10, () => ran.push('b'))
  clock.after(5, () => {
    clock.defer(() => ran.push('deferred'))
    ran.push('a')
  })
  clock.after(7, never).cancel()
  clock.complete(8, () => ran.push('completion'))
  clock.runUntilIdle()
  t.same(ran, ['a', 'deferred', 'completion'])
  t.equal(clock.nowMs(), 8)
  clock.advance(1)
  t.equal(ran.length, 3)
  clock.advance(1)
  t.same([ran.at(-1), clock.nowMs()], ['b', 10])
  const times: number[] = []
  const random = new Random(3)
  for (let i = 0; i < 500; i++) {
    const at = random.int(100)
    clock.after(at, () => times.push(at))
  }
  clock.advance(100)
  t.same(times, [...times].sort((a, b) => a - b))
  clock.after(1, never)
  clock.dropAll()
  t.equal(clock.step(), false)
  t.end()
})

t.test('a power cut keeps what a sync covered, and any part of the rest', (t) => {
  const found = new Set<string>()
  for (let seed = 0; seed < 40; seed++) {
    const { clock, disk, random } = diskOf(seed)
    disk.write(0, [block(1)], () => {})
    clock.runUntilIdle()
    disk.sync(() => {})
    disk.write(4096, [block(2)], () => {})
    clock.runUntilIdle()
    disk.write(8192, [block(3), block(4)], () => {})
    t.equal(disk.unsyncedCount, 2)
    for (const choice of disk.crashChoices(random, 20)) {
      const after = new SimDisk({ sizeBytes: 1 << 20, clock, random, image: disk.image(choice) })
      const bytes = after.peek(0, 16384)
      t.equal(Buffer.compare(bytes.subarray(0, 4096), block(1)), 0, 'the synced one')
      found.add(`${choice.kind}: ${[4096, 8192, 8704, 12288].map((at) => bytes[at]).join()}`)
    }
  }
  for (const want of ['all: 2,3,3,4', 'synced: 0,0,0,0', 'drop: 2,0,0,0', 'drop: 0,3,3,4', 'only: 2,0,0,0']) {
    t.ok(found.has(want), want)
  }
  t.ok([...found].some((line) => line.startsWith('torn: 2,3,0')), 'torn at 512 B')
  t.ok(found.has('torn: 2,3,3,0'), 'torn at 4 KiB')
  t.ok(found.has('subset: 0,3,3,4'))
  t.ok([...found].some((line) => line.startsWith('shredded: 0,0,3')), 'later sectors without earlier ones')
  t.end()
})

t.test('a sync covers only what had completed when it started', (t) => {
  const { clock, disk } = diskOf(1)
  disk.latencyMs = [5, 5]
  disk.write(0, [block(1)], () => {})
  disk.latencyMs = [1, 1]
  disk.sync(() => t.equal(disk.peek(0, 4096)[0], 0))
  clock.runUntilIdle()
  t.equal(disk.peek(0, 4096)[0], 1)
  t.equal(disk.crash({ kind: 'synced' }).peek(0, 4096)[0], 0)
  t.end()
})

t.test('the death of the process leaves the page cache, which a later power cut may lose', (t) => {
  const { clock, disk } = diskOf(1, 1)
  t.equal(disk.write(0, [block(7)], never), true)
  const second = disk.kill()
  t.equal(second.peek(0, 4096)[0], 7)
  t.equal(second.unsyncedCount, 1)
  disk.sync(never)
  clock.runUntilIdle()
  t.equal(second.image({ kind: 'synced' }).sectors().length, 0)
  second.sync(() => {})
  clock.runUntilIdle()
  t.equal(second.crash({ kind: 'synced' }).peek(0, 4096)[0], 7)
  t.end()
})

t.test('faults: errors end the disk, other ones lie', (t) => {
  const { clock, disk } = diskOf(9, 1)
  const outcomes: string[] = []
  disk.failAt('read')
  disk.read(0, block(0), (ok) => outcomes.push(`read ${ok}`))
  disk.read(0, block(0), (ok) => outcomes.push(`read ${ok}`))
  disk.misdirectAt(1, 8192)
  disk.loseAt(2)
  disk.write(0, [block(1)], never)
  disk.write(4096, [block(2)], never)
  t.same([0, 4096, 8192].map((at) => disk.peek(at, 4096)[0]), [0, 0, 1])
  clock.runUntilIdle()
  disk.stall()
  disk.sync((ok) => outcomes.push(`sync ${ok}`))
  clock.runUntilIdle()
  t.same(outcomes.sort(), ['read false', 'read true'])
  disk.resume()
  clock.runUntilIdle()
  t.equal(outcomes.pop(), 'sync true')
  disk.failAt('sync', 2)
  for (let i = 0; i < 2; i++) disk.sync((ok) => outcomes.push(`sync ${ok}`))
  disk.write(0, [block(1)], (ok) => outcomes.push(`write ${ok}`))
  disk.read(0, block(0), (ok) => outcomes.push(`read ${ok}`))
  clock.runUntilIdle()
  t.same(outcomes.slice(2).sort(), ['read false', 'sync false', 'sync false', 'write false'], 'for good, for all')
  t.end()
})

t.test('rot changes one sector, on the medium too', (t) => {
  for (const how of ['flip', 'zero', 'ones', 'stale', 'neighbour'] as const) {
    const { clock, disk, random } = diskOf(4, 1)
    for (let i = 0; i < 2; i++) disk.write(0, [random.bytes(new Uint8Array(8192))], never)
    disk.sync(() => {})
    clock.runUntilIdle()
    const before = disk.peek(0, 8192)
    t.equal(disk.damage(3584, how), true)
    const after = disk.peek(0, 8192)
    for (let at = 0; at < 8192; at += 512) {
      const same = Buffer.compare(before.subarray(at, at + 512), after.subarray(at, at + 512)) === 0
      if (same === (at === 3584)) t.fail(`${how} ${at}`)
    }
    t.same(disk.crash({ kind: 'synced' }).peek(0, 8192), after, how)
    t.equal(disk.writtenSectors().length, 16)
  }
  t.end()
})

t.test('contract: the caller is stopped at its bugs', (t) => {
  const { clock, disk } = diskOf(2)
  t.throws(() => disk.write(1, [block(1)], never), /whole number/)
  t.throws(() => disk.write(0, [new Uint8Array(100)], never), /whole number/)
  t.throws(() => disk.write(1 << 20, [block(1)], never), /lies on/)
  t.throws(() => disk.tryRead(-4096, block(1)), /lies on/)
  const buffer = block(1)
  disk.write(0, [buffer], never)
  t.throws(() => disk.write(0, [block(2)], never), /one place/)
  buffer[5] = 9
  t.throws(() => clock.runUntilIdle(), /changed by its owner/)
  t.end()
})

t.test('an index batch is all or nothing, and durable at its done', (t) => {
  const seen = new Set<string>()
  for (let seed = 0; seed < 30; seed++) {
    const random = new Random(seed)
    const clock = new SimClock(random)
    const index = new SimIndex({ clock, random })
    const key = (n: number) => Uint8Array.of(n, 255, 0)
    const put = (n: number) => ({ type: 'put' as const, key: key(n), value: Uint8Array.of(n) })
    index.batch([put(200), put(3), put(100)], () => {})
    clock.runUntilIdle()
    index.batch([put(5), put(6), { type: 'del', key: key(3) }], () => {})
    index.batch([put(7)], () => {})
    const after = index.crash({ kind: 'subset', seed })
    after.range({ from: key(0), below: key(200), limit: 10 }, (ok, entries) => {
      seen.add(`${ok} ${entries.map(([key, value]) => `${key[0]}=${value[0]}`).join()}`)
    })
    clock.runUntilIdle()
  }
  t.same([...seen].sort(), [
    'true 3=3,100=100',
    'true 3=3,7=7,100=100',
    'true 5=5,6=6,100=100',
    'true 5=5,6=6,7=7,100=100',
  ])
  t.end()
})

t.test('an index fails when told, clears, and opens at an older state', (t) => {
  const random = new Random(1)
  const clock = new SimClock(random)
  const index = new SimIndex({ clock, random })
  const log: string[] = []
  const key = Uint8Array.of(1)
  const get = (index: SimIndex) => index.getMany([key], (ok, [value]) => log.push(`${ok} ${value?.[0]}`))
  const settle = () => {
    clock.runUntilIdle()
    return log.splice(0).join('; ')
  }
  index.batch([{ type: 'put', key, value: Uint8Array.of(10) }], () => {})
  clock.runUntilIdle()
  const old = index.image({ kind: 'synced' })
  index.failAt('batch')
  index.batch([{ type: 'put', key, value: Uint8Array.of(11) }], (ok) => log.push(`batch ${ok}`))
  t.equal(settle(), 'batch false')
  index.batch([{ type: 'put', key, value: Uint8Array.of(12) }], () => {})
  clock.runUntilIdle()
  get(index)
  t.equal(settle(), 'true 12')
  get(new SimIndex({ clock, random, image: old }))
  t.equal(settle(), 'true 10')
  index.damage()
  get(index)
  t.equal(settle(), 'false undefined')
  index.clear((ok) => log.push(`clear ${ok}`))
  t.equal(settle(), 'clear true')
  get(index)
  t.equal(settle(), 'true undefined')
  t.equal(index.size, 0)
  t.end()
})

t.test('every crash choice is bounded by its count', (t) => {
  const { clock, disk, random } = diskOf(5)
  t.same([...disk.crashChoices(random, 9)].map((choice: CrashChoice) => choice.kind), ['all', 'synced'])
  for (let i = 0; i < 20; i++) disk.write(i * 4096, [block(i)], () => {})
  clock.runUntilIdle()
  t.equal([...disk.crashChoices(random, 9)].length, 9)
  t.equal([...disk.crashChoices(random, 500)].length, 500)
  t.end()
})
